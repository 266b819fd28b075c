"""volengine skeleton"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.options import NO_NETWORK, from_options, recipe_options
from volengine.engine.options import RunOptions
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.skeleton.recipe import SkeletonRecipe
from volengine.tasks.skeleton.verb import SKELETON


@click.command(
    "skeleton",
    cls=Command,
    examples=(
        "volengine skeleton TS_01__membrane.ome.zarr --out TS_01_skeleton.ome.zarr",
        "volengine skeleton labels.mrc --out thin --input mask --labels 1,2",
        "volengine skeleton TS_01__microtubule.ome.zarr --lines --out lines.csv --min-length-nm 50",
    ),
)
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="A store (.ome.zarr), with --lines a table (.csv); or a folder.")
@recipe_options(SkeletonRecipe)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(sources: tuple[str, ...], out: str, **values: Any) -> None:
    """The mid-surface of membranes as labels, or the centrelines of filaments as tables.

    SOURCES are predictions, masks or labels (files, folders, globs, .txt lists). The result does not depend on blocks.
    """
    options = from_options(RunOptions, values)
    jobs, run_dir = jobs_of(SKELETON, expand(sources), out, from_options(SkeletonRecipe, values), options)
    execute(jobs, run_dir, options)
