"""volengine crop"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.messages import say
from volengine.cli.options import NO_NETWORK, from_options, recipe_options, source_and_out
from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.io.open import open_volume
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.crop import CROP, CropRecipe, crop


@click.command(
    "crop",
    cls=Command,
    examples=(
        "volengine crop TS_01.ome.zarr --roi 100:300,:,200:600 --out part.ome.zarr",
        "volengine crop TS_01.mrc --roi 80nm:240nm,:,: --out part.mrc",
    ),
)
@source_and_out(
    "What to write, by its ending: OME-Zarr (.ome.zarr), MRC (.mrc .rec .map ...) or OME-TIFF (.tif .tiff)."
)
@recipe_options(CropRecipe)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(source: str, out: str, **values: Any) -> None:
    """Write a part of SOURCE (any volume; STORE#labels/NAME for labels) as a volume of its own, with its origin."""
    options, recipe = from_options(RunOptions, values), from_options(CropRecipe, values)
    if CROP.is_product(out):
        jobs, run_dir = jobs_of(CROP, [source], out, recipe, options)
        execute(jobs, run_dir, options)
        if options.dry_run:
            return
        part = open_volume(out)
    elif options.dry_run:
        raise InputError(f"{out}: --dry-run shows the plan of an OME-Zarr image; a file is written without one.")
    else:
        part = crop(source, out, recipe, options)
    origin = ", ".join(f"{v:g}" for v in part.origin)
    say(f"{out}: {' x '.join(map(str, part.shape))} {part.dtype}, origin {origin} angstrom (z, y, x)")
