"""volengine cluster"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Group
from volengine.cli.messages import say
from volengine.cli.options import from_options, recipe_options
from volengine.engine.hello import hello, show
from volengine.engine.options import RunOptions

KEPT = (
    *("workers", "cluster", "max_workers", "wait_for_workers", "scheduler", "insecure"),
    *("tls_ca", "tls_cert", "tls_key", "memory_limit", "run_dir"),
)
"""Options of a run that say which cluster is meant."""

SHOWN = ("workers", "cluster", "max_workers", "insecure", "memory_limit", "run_dir")
"""Those of a cluster that is started."""

FOLDER = "cluster-test.run"
"""Run folder of a test, in the present folder, unless --run-dir names another one."""


def _left_out(kept: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in RunOptions.__dataclass_fields__ if name not in kept)


@click.group(
    "cluster",
    cls=Group,
    examples=("volengine cluster show --cluster slurm.yaml", "volengine cluster test --cluster slurm.yaml"),
)
def command() -> None:
    """What --cluster starts, and whether its workers can be used."""


@command.command(
    "show",
    examples=(
        "volengine cluster show --cluster slurm --workers 16 --memory-limit 8GB",
        "volengine cluster show --cluster slurm.yaml",
    ),
)
@recipe_options(RunOptions, leave_out=_left_out(SHOWN))
def show_command(**values: Any) -> None:
    """Say what --cluster would start, with the script of a job; nothing is started."""
    options = from_options(RunOptions, values)
    click.echo(show(options, options.run_dir or FOLDER))


@command.command(
    "test",
    examples=(
        "volengine cluster test --cluster slurm.yaml --wait-for-workers 1h",
        "volengine cluster test --scheduler cluster.json --run-dir results/run",
    ),
)
@recipe_options(RunOptions, leave_out=_left_out(KEPT))
def test_command(**values: Any) -> None:
    """Run a hello on every worker of --cluster or --scheduler: versions, memory, cores, GPUs, and the run folder.

    The cluster is started, and ended again. The exit code is 2 if a worker cannot be used.
    """
    options = from_options(RunOptions, values)
    found = hello(options, options.run_dir or FOLDER, say)
    for one in found:
        click.echo(one.text())
    say(f"{len(found)} workers can be used: versions are equal, and all see {options.run_dir or FOLDER}")
