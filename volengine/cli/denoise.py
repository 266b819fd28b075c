"""volengine denoise"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.options import from_options, recipe_options, texts_option
from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.denoise.recipe import DenoiseRecipe
from volengine.tasks.denoise.verb import DENOISE

NETWORK = ("patch", "overlap", "window", "edge", "exact", "tta", "batch", "precision", "backend")


@click.command(
    "denoise",
    cls=Command,
    examples=(
        "volengine denoise TS_1_even.mrc --other TS_1_odd.mrc --model m.safetensors --out TS_1.ome.zarr",
        "volengine denoise 'halves/*_even.mrc' --pair even,odd --model m.safetensors --out denoised",
    ),
    sections={"Network": NETWORK},
)
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for NAME__denoised.ome.zarr, or a store for one tomogram.")
@recipe_options(DenoiseRecipe)
@texts_option("--network-file", "own", "The same as --network-files.", hidden=True)
@recipe_options(RunOptions)
def command(sources: tuple[str, ...], out: str, own: tuple[str, ...], **values: Any) -> None:
    """Denoise SOURCES (tomograms, or the first halves of tomograms) with a network trained on half sets."""
    options = from_options(RunOptions, values)
    values["network_files"] = (*(values["network_files"] or ()), *own) or None
    recipe = from_options(DenoiseRecipe, values)
    found = expand(sources)
    if recipe.other and len(found) > 1:
        raise InputError(
            f"--other is the other half of one tomogram, but there are {len(found)}; say how the names of halves "
            "differ: --pair even,odd."
        )
    jobs, run_dir = jobs_of(DENOISE, found, out, recipe, options)
    execute(jobs, run_dir, options)
