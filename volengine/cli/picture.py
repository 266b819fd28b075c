"""volengine picture"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.messages import say
from volengine.cli.options import from_options, recipe_options, source_and_out
from volengine.tasks.picture.recipe import PictureRecipe
from volengine.tasks.picture.verb import picture


@click.command(
    "picture",
    cls=Command,
    examples=(
        "volengine picture TS_01.ome.zarr --out TS_01.png",
        "volengine picture TS_01.mrc --slice z=40,y=middle --mean 5 --out slices.svg",
        "volengine picture TS_01.mrc --overlay TS_01__core.ome.zarr,TS_01.star --out TS_01.png",
    ),
)
@source_and_out("The file to write: .png, or .svg with rings, lines and texts as vectors.")
@recipe_options(PictureRecipe)
def command(source: str, out: str, **values: Any) -> None:
    """Draw slices of SOURCE (any volume) with predictions, labels, picks and surfaces over them."""
    notes: list[str] = []
    picture(source, out, from_options(PictureRecipe, values), notes=notes)
    for note in notes:
        say(note)
    say(f"{out}: written")
