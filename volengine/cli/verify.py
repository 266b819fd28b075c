"""volengine verify"""

from __future__ import annotations

import json
from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.options import from_options, recipe_options
from volengine.engine.options import RunOptions
from volengine.tasks.verify.verb import verify

KEPT = ("workers", "scheduler", "memory_limit", "device", "retries", "progress")
"""Options of a run that count for what is made again."""


@click.command("verify", cls=Command)
@click.argument("paths", nargs=-1, required=True)
@click.option("--deep/--no-deep", default=False, help="Read every object and compare checksums. [default: no]")
@click.option("--repair/--no-repair", default=False, help="Make again what a run can make. [default: no]")
@click.option("--json/--no-json", "as_json", default=False, help="Print the result as JSON. [default: no]")
@recipe_options(RunOptions, leave_out=tuple(f for f in RunOptions.__dataclass_fields__ if f not in KEPT))
def command(paths: tuple[str, ...], deep: bool, repair: bool, as_json: bool, **values: Any) -> int:
    """List what is missing, damaged or foreign in PATHS (run folders, stores, folders of them).

    The exit code is 0 if everything is as it was written, and 1 if not.
    """
    found = verify(paths, deep=deep, repair=repair, options=from_options(RunOptions, values))
    click.echo(json.dumps(found.to_json(), indent=1) if as_json else found.text())
    return 0 if found else 1
