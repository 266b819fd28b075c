"""volengine movie"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.messages import quiet, say
from volengine.cli.options import from_options, recipe_options, source_and_out
from volengine.tasks.picture.recipe import MovieRecipe
from volengine.tasks.picture.verb import movie


@click.command(
    "movie",
    cls=Command,
    examples=(
        "volengine movie TS_01.ome.zarr --out TS_01.gif",
        "volengine movie TS_01.mrc --overlay TS_01__core.ome.zarr --every 2 --out TS_01.mp4",
    ),
)
@source_and_out("The file to write: .gif, .webp, or .mp4, which needs the program ffmpeg.")
@recipe_options(MovieRecipe)
def command(source: str, out: str, **values: Any) -> None:
    """Draw the slices of SOURCE (any volume) one after the other, with predictions, labels, picks and surfaces."""
    notes: list[str] = []
    movie(source, out, from_options(MovieRecipe, values), notes=notes, progress=not quiet())
    for note in notes:
        say(note)
    say(f"{out}: written")
