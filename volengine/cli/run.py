"""volengine run"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.options import from_options, recipe_options
from volengine.engine.options import RunOptions
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.common.yaml_recipes import read_yaml
from volengine.tasks.run import RUN, RunRecipe


@click.command(
    "run",
    cls=Command,
    examples=("volengine run recipe.yaml 'tomograms/*.mrc' --out results --workers 4",),
)
@click.argument("recipe_file")
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for tomograms, predictions, picks and the run folder.")
@recipe_options(RunOptions)
def command(recipe_file: str, sources: tuple[str, ...], out: str, **values: Any) -> None:
    """Run the recipe RECIPE_FILE (YAML) on SOURCES (files, folders, globs, .txt lists)."""
    options = from_options(RunOptions, values)
    recipe = RunRecipe.from_json(read_yaml(recipe_file), where=recipe_file)
    jobs, run_dir = jobs_of(RUN, expand(sources), out, recipe, options)
    execute(jobs, run_dir, options)
