"""volengine status"""

from __future__ import annotations

from pathlib import Path

import click

from volengine.core.errors import MissingError
from volengine.engine.show import status


@click.command("status")
@click.argument("run_dir")
def command(run_dir: str) -> None:
    """How far the run in RUN_DIR is: units done per stage, time per unit."""
    if not Path(run_dir).is_dir():
        raise MissingError(f"{run_dir}: no such run folder.")
    click.echo(status(run_dir))
