"""The live view of a collection: one table, failures first, and one total with its bar and the time that is left.

It shows a :class:`~volengine.engine.census.Census` and reads nothing itself, so that it costs what ``status`` costs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from volengine.engine.census import Census, Standing, State
from volengine.engine.show import absent, reason, time_left

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

COLOURS: dict[State, str] = {
    "failed": "bold red",
    "running": "cyan",
    "stopped": "yellow",
    "changed": "magenta",
    "waiting": "dim",
    "finished": "green",
    "skipped": "dim",
}

LEAST_ROWS = 4
"""Rows of the table on the smallest terminal."""

AROUND = 12
"""Lines of the view around the rows of the table."""


def live_view(found: Census, title: str, rows: int) -> RenderableType:
    """Make the view of a collection.

    Parameters
    ----------
    found
        What became of its tomograms.
    title
        What it is called, for example its manifest.
    rows
        Most rows of the table. Those that failed come first, then those at work, those that have changed, those that
        wait, and those that are finished; what does not fit is counted.

    Returns
    -------
    RenderableType
        For ``Console.print`` of rich.
    """
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("tomogram", no_wrap=True, max_width=40)
    table.add_column("state", no_wrap=True)
    table.add_column("units", justify="right", no_wrap=True)
    table.add_column("stage, why it failed, or what has changed", ratio=1, no_wrap=True, overflow="ellipsis")
    shown = _chosen(found, rows)
    for one in shown:
        units = f"{one.done}/{one.units}" if one.units else ""
        colour = COLOURS[one.state]
        what = Text(_why(one), colour) if one.why else Text(one.stage)
        table.add_row(Text(one.name), Text(one.state, colour), units, what)
    more = found.total - found.counts()["skipped"] - len(shown)
    parts: list[RenderableType] = [_total(found), table]
    if more > 0:
        parts.append(Text(f"... and {more} more ('volengine collection status --json' lists all)", "dim"))
    for part, holder in found.working.items():
        parts.append(Text(f"at work{f' (part {part})' if part else ''}: {holder}", "dim"))
    if not found.there:
        parts.append(Text(absent(found), COLOURS["failed"]))
    if not found.working:
        parts.append(Text("nobody is at work", "dim"))
    return Panel(Group(*parts), title=Text(title), title_align="left", border_style="dim")


def _why(one: Standing) -> str:
    """Why a tomogram failed, or what has changed, without its name and the folders of its file: these fill the line."""
    return re.sub(r"^\S*/(?=[^\s/]+:)", "", reason(one).removeprefix(f"{one.name}: "))


def _chosen(found: Census, rows: int) -> list[Standing]:
    """The tomograms that are shown, the last finished ones first among those."""
    order: tuple[State, ...] = ("failed", "running", "stopped", "changed", "waiting", "finished")
    shown: list[Standing] = []
    for state in order:
        of = found.of(state)
        if state == "finished":
            of = sorted(of, key=lambda one: -(one.ended or 0.0))
        elif state == "waiting" and (done := found.of("finished")):
            # one that was just finished says more than the tenth that waits
            of = of[: max(1, rows - len(shown) - min(3, len(done)))]
        shown += of[: max(0, rows - len(shown))]
    return shown


def _total(found: Census) -> RenderableType:
    """The bar over all tomograms, how many are in which state, and the time that is left."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts = found.counts()
    total = found.total - counts["skipped"]
    begun = sum(one.done / one.units for one in found.volumes if one.state in ("running", "stopped") and one.units)
    share = (counts["finished"] + begun) / total if total else 1.0
    told: Text = Text("  ").join(
        Text.assemble((f"{number} {state}", COLOURS[state]))
        for state, number in ((s, counts[s]) for s in COLOURS)
        if number
    )
    left = time_left(found).removeprefix("; ")
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    grid.add_row(f"{counts['finished']} of {total}", ProgressBar(100.0, 100.0 * share), f"{100 * share:.0f} %")
    outer = Table.grid(expand=True)
    outer.add_row(grid)
    outer.add_row(told)
    outer.add_row(Text(left or "the time that is left is not known yet" if found.working else left))
    return outer


def watch_live(look: Callable[[], Census], title: str, every_s: float, console: Console | None = None) -> None:
    """Show a collection again and again in the same place, until nobody works there any more or Ctrl-C.

    Parameters
    ----------
    look
        Counts the tomograms.
    title
        As for :func:`live_view`.
    every_s
        Seconds between two looks.
    console
        Where to; default: the terminal.
    """
    from rich.console import Console
    from rich.live import Live

    screen = Console() if console is None else console
    found = look()
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(live_view(found, title, max(LEAST_ROWS, screen.height - AROUND)), refresh=True)
            if not found.working:
                return
            time.sleep(every_s)
            found = look()
