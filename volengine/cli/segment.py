"""volengine segment"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.execute import execute
from volengine.cli.options import from_options, recipe_options
from volengine.engine.options import RunOptions
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import SEGMENT


@click.command("segment")
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for NAME__FEATURE.ome.zarr, or a store for one feature.")
@click.option("--model", "model_files", multiple=True, help="A model file; repeat for several.")
@click.option("--network-file", "own", multiple=True, help="An own network of a model, FILE.py:Class; it is run.")
@recipe_options(SegmentRecipe)
@recipe_options(RunOptions)
def command(
    sources: tuple[str, ...], out: str, model_files: tuple[str, ...], own: tuple[str, ...], **values: Any
) -> None:
    """Apply networks to SOURCES (files, folders, globs, .txt lists): one prediction per feature."""
    options = from_options(RunOptions, values)
    values["models"] = (*(values["models"] or ()), *model_files) or None
    values["network_files"] = (*(values["network_files"] or ()), *own) or None
    recipe = from_options(SegmentRecipe, values)
    jobs, run_dir = jobs_of(SEGMENT, expand(sources), out, recipe, options)
    execute(jobs, run_dir, options)
