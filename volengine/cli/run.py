"""volengine run"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.messages import say
from volengine.cli.options import from_options, recipe_options
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.options import RunOptions
from volengine.tasks.run import RunRecipe, pages_of_run, run_jobs_of


@click.command(
    "run",
    cls=Command,
    examples=(
        "volengine run recipe.yaml 'tomograms/*.mrc' --out results --workers 4",
        "volengine run recipe.yaml manifest.csv --out results",
    ),
)
@click.argument("recipe_file")
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for tomograms, predictions, picks and the run folder.")
@click.option(
    "--report/--no-report",
    default=True,
    help="Make pages (HTML) of what was found: run/report in --out; volengine report makes them later, too.",
)
@recipe_options(RunOptions)
def command(recipe_file: str, sources: tuple[str, ...], out: str, report: bool, **values: Any) -> None:
    """Run the recipe RECIPE_FILE (YAML) on SOURCES (files, folders, globs, .txt lists), or on a manifest.

    The manifest of a collection (.csv, .star, .yaml) gives tomograms parameters of their own; see volengine collection.
    """
    options = from_options(RunOptions, values)
    recipe = RunRecipe.from_json(read_yaml(recipe_file), where=recipe_file)
    jobs, run_dir, skipped = run_jobs_of(sources, out, recipe, options)
    if skipped:
        say(f"{len(skipped)} left out (state skip): {', '.join(skipped)}")
    execute(jobs, run_dir, options, pages_of_run(run_dir, options, say) if report else None)
