"""volengine status"""

from __future__ import annotations

import click

from volengine.cli.command import Command
from volengine.engine.show import status


@click.command(
    "status",
    cls=Command,
    examples=("volengine status results/run",),
)
@click.argument("run_dir")
def command(run_dir: str) -> None:
    """Show the progress of the run in RUN_DIR: finished units per stage, time per unit."""
    click.echo(status(run_dir))
