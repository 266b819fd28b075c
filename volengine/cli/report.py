"""volengine report"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.messages import say
from volengine.cli.options import NO_NETWORK, from_options, recipe_options
from volengine.core.errors import InputError
from volengine.core.text import counted
from volengine.engine.options import RunOptions
from volengine.tasks.report.recipe import ReportRecipe
from volengine.tasks.report.verb import report


@click.command(
    "report",
    cls=Command,
    examples=(
        "volengine report results",
        "volengine report results --slice z=40,y=middle --mean 5 --workers 4",
        "volengine report 'predictions/*.ome.zarr' 'tomograms/*.mrc' 'picks/*.star' --out pages",
    ),
)
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", help="Folder of the pages. Default: report in the run folder.")
@recipe_options(ReportRecipe)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(sources: tuple[str, ...], out: str | None, **values: Any) -> None:
    """Make pages (HTML) of SOURCES: a run or its results, with a manifest before it, or volumes, picks and surfaces.

    The pages need no server and no network. volengine run makes them at its end; only what has changed is made again.
    """
    options = from_options(RunOptions, values)
    if options.dry_run:
        raise InputError("report has no --dry-run: it reads some slices and coarse levels, and writes small files.")
    made = report(sources, out, from_options(ReportRecipe, values), options)
    say(f"{made.index}: {counted(len(made.rows), 'tomogram')}")
    made.check()
