"""volengine export"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.messages import quiet, say
from volengine.cli.options import from_options, recipe_options, source_and_out
from volengine.tasks.export import ExportRecipe, export


@click.command(
    "export",
    cls=Command,
    examples=(
        "volengine export TS_01.ome.zarr --out TS_01.mrc",
        "volengine export TS_01.ome.zarr --group labels/core --out core.mrc",
    ),
)
@source_and_out("The file to write: MRC (.mrc .rec .map ...) or OME-TIFF (.tif .tiff), by its ending.")
@recipe_options(ExportRecipe)
def command(source: str, out: str, **values: Any) -> None:
    """Write SOURCE (an OME-Zarr image or labels) as an MRC or OME-TIFF file."""
    volume = export(source, out, from_options(ExportRecipe, values), progress=not quiet())
    say(f"{out}: {' x '.join(map(str, volume.shape))} {volume.dtype}, {volume.voxel_size} angstrom (z, y, x)")
