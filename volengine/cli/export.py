"""volengine export"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.options import from_options, recipe_options
from volengine.tasks.export import ExportRecipe, export


@click.command("export", cls=Command)
@click.argument("source")
@click.argument("out")
@recipe_options(ExportRecipe)
def command(source: str, out: str, **values: Any) -> None:
    """Write SOURCE (an OME-Zarr image or labels) as the MRC or OME-TIFF file OUT."""
    volume = export(source, out, from_options(ExportRecipe, values))
    click.echo(f"{out}: {' x '.join(map(str, volume.shape))} {volume.dtype}, {volume.voxel_size} angstrom (z, y, x)")
