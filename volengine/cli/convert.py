"""volengine convert"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.options import NO_NETWORK, from_options, recipe_options
from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.convert.montage import MONTAGE, sections_of
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import CONVERT


@click.command(
    "convert",
    cls=Command,
    examples=(
        "volengine convert TS_01.mrc --out TS_01.ome.zarr",
        "volengine convert 'tomograms/*.mrc' --out stores --voxel-size 7.9 --workers 8",
        "volengine convert montage.st --montage --montage-shifts correlate --out sections",
        "volengine convert 'predictions/*__membrane.ome.zarr' --threshold 0.5 --out config.json",
    ),
)
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--out",
    required=True,
    help="A store (NAME.ome.zarr) for one source, or a folder; or a copick project, for masks (config.json#seg=NAME).",
)
@recipe_options(ConvertRecipe)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(sources: tuple[str, ...], out: str, **values: Any) -> None:
    """Convert MRC, TIFF, EM, HDF5, NIfTI, Amira or Zarr SOURCES (files, folders, globs, .txt lists) to OME-Zarr.

    With --out config.json masks and labels become segmentations of a copick project. With --montage the pieces of
    montages of SerialEM (MRC), or of lists of tiles (.yaml), are placed and blended, each section into one store.
    """
    options = from_options(RunOptions, values)
    recipe = from_options(ConvertRecipe, values)
    if recipe.montage:
        jobs, run_dir = jobs_of(MONTAGE, sections_of(sources, recipe), out, recipe, options)
        execute(jobs, run_dir, options)
        return
    found = expand(sources)
    if recipe.tilts and len(found) > 1 and not Path(recipe.tilts).is_dir():
        raise InputError(
            f"--tilts {recipe.tilts} is one tilt series, but there are {len(found)} sources; give a folder."
        )
    jobs, run_dir = jobs_of(CONVERT, found, out, recipe, options)
    execute(jobs, run_dir, options)
