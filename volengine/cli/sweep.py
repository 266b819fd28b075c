"""volengine sweep"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.messages import say
from volengine.cli.options import NO_NETWORK, from_options, recipe_options
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.options import RunOptions
from volengine.tasks.run import RunRecipe
from volengine.tasks.sweep.recipe import SweepRecipe
from volengine.tasks.sweep.verb import sweep


@click.command(
    "sweep",
    cls=Command,
    examples=(
        "volengine sweep recipe.yaml predictions --vary pick.core.threshold=0.3:0.9:0.1 --out tried",
        "volengine sweep recipe.yaml predictions --vary rules.1=on,off --truth known --out tried",
    ),
)
@click.argument("recipe_file")
@click.argument("predictions", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for the tables, recipes, pictures and picks.")
@recipe_options(SweepRecipe)
@recipe_options(RunOptions, leave_out=(*NO_NETWORK, "dry_run", "part", "run_dir"))
def command(recipe_file: str, predictions: tuple[str, ...], out: str, **values: Any) -> None:
    """Try many settings of the rules and picks of RECIPE_FILE (of volengine run) on PREDICTIONS, and compare them."""
    options = from_options(RunOptions, values)
    recipe = from_options(SweepRecipe, values)
    run_recipe = RunRecipe.from_json(read_yaml(recipe_file), where=recipe_file)
    click.echo(sweep(predictions, out, run_recipe, recipe, options).text())
    say(f"{out}: sweep.csv, sweep.svg, settings/")
