"""volengine surface"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.options import NO_NETWORK, from_options, recipe_options
from volengine.engine.options import RunOptions
from volengine.tasks.common.inputs import expand, without_uncertainty
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.surface.recipe import SurfaceRecipe
from volengine.tasks.surface.verb import SURFACE


@click.command(
    "surface",
    cls=Command,
    examples=(
        "volengine surface TS_01__membrane.ome.zarr --out TS_01.surfaces --min-area-nm2 500",
        "volengine surface TS_01.ome.zarr#labels/vesicles --instances --out surfaces --vertex-area-nm2 4",
        "volengine surface TS_01__membrane.ome.zarr --out middle --side middle",
    ),
)
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="A set, NAME.surfaces, for one source; or a folder for a set of each.")
@recipe_options(SurfaceRecipe)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(sources: tuple[str, ...], out: str, **values: Any) -> None:
    """Triangle meshes of the objects in SOURCES (predictions, masks, labels): a set of surfaces of each.

    A set is a folder with a PLY file for each surface and a table, surfaces.csv: area, volume, whether it is closed,
    holes, genus. volengine surfaces works on sets.
    """
    options = from_options(RunOptions, values)
    recipe = from_options(SurfaceRecipe, values)
    jobs, run_dir = jobs_of(SURFACE, without_uncertainty(expand(sources)), out, recipe, options)
    execute(jobs, run_dir, options)
