"""volengine verify"""

from __future__ import annotations

import json
from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.messages import say
from volengine.cli.options import from_options, recipe_options, texts_option
from volengine.engine.options import RunOptions
from volengine.tasks.verify.verb import verify

KEPT = (
    *(
        "workers",
        "cluster",
        "max_workers",
        "wait_for_workers",
        "scheduler",
        "insecure",
        "tls_ca",
        "tls_cert",
        "tls_key",
    ),
    *("memory_limit", "device", "retries", "progress"),
)
"""Options of a run that count for what is made again."""


@click.command(
    "verify",
    cls=Command,
    examples=(
        "volengine verify results --deep",
        "volengine verify results --repair --workers 4",
        "volengine verify results --repair --cluster slurm.yaml",
    ),
)
@click.argument("paths", nargs=-1, required=True)
@click.option("--deep/--no-deep", default=False, help="Read every object and compare checksums. [default: no]")
@click.option("--repair/--no-repair", default=False, help="Make again what a run can make. [default: no]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@texts_option("--plugins", "plugins", help="Installed packages whose kernels --repair may run.")
@recipe_options(RunOptions, leave_out=tuple(f for f in RunOptions.__dataclass_fields__ if f not in KEPT))
def command(
    paths: tuple[str, ...], deep: bool, repair: bool, as_json: bool, plugins: tuple[str, ...], **values: Any
) -> int:
    """List what is missing, damaged or foreign in PATHS (run folders, stores, folders of them).

    The exit code is 0 if everything is as it was written, and 1 if not.
    """
    options = from_options(RunOptions, values)
    found = verify(paths, deep=deep, repair=repair, options=options, plugins=plugins)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1))
    else:
        say(found.text())
    return 0 if found else 1
