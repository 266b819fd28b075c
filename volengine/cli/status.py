"""volengine status"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from volengine.cli.command import Command
from volengine.cli.options import FieldType
from volengine.engine.census import Census, census
from volengine.engine.driver_lock import drivers
from volengine.engine.show import status, survey

LEAST_S = 0.5
"""Shortest time between two looks."""


def watching(look: Callable[[], tuple[str, bool]], every_s: float | None) -> None:
    """Print what is seen; with ``every_s`` again and again, until nobody works there any more or Ctrl-C.

    Parameters
    ----------
    look
        Gives the text, and whether somebody works in the run folder.
    every_s
        Seconds between two looks; ``None``: look once.
    """
    text, working = look()
    if every_s is None:
        click.echo(text)
        return
    terminal = sys.stdout.isatty()
    while True:
        if terminal:
            click.clear()
        click.echo(text)
        if not working:
            return
        time.sleep(max(LEAST_S, every_s))
        text, working = look()


def live_terminal() -> bool:
    """Whether a view can stay in its place: standard output is a terminal that knows how to."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def shown(found: Census, as_json: bool) -> tuple[str, bool]:
    """A census as text or JSON, and whether somebody works there."""
    return (json.dumps(found.to_json(), indent=1) if as_json else survey(found)), bool(found.working)


@click.command(
    "status",
    cls=Command,
    examples=("volengine status results/run", "volengine status results/run --watch 5"),
)
@click.argument("run_dir")
@click.option("--details", is_flag=True, help="The stages of each volume, also of a run of many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: each volume with its state.")
@click.option(
    "--watch", type=FieldType(float, "watch"), help="Look again every so many seconds, as long as the run lasts."
)
def command(run_dir: str, details: bool, as_json: bool, watch: float | None) -> None:
    """Show the progress of the run in RUN_DIR: volumes by state, failures first; of few volumes each stage."""
    if as_json and details:
        raise click.UsageError("--json has all that --details shows of states; give one of them.")

    def look() -> tuple[str, bool]:
        if as_json:
            return shown(census(run_dir), as_json)
        return status(run_dir, details=details), bool(drivers(Path(run_dir)))

    watching(look, watch)
