"""volengine interact"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.options import NO_NETWORK, from_options, recipe_options
from volengine.core.errors import InputError
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.options import RunOptions
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.interact.verb import INTERACT, predictions_of


@click.command(
    "interact",
    cls=Command,
    examples=("volengine interact predictions --rules rules.yaml --out gated",),
)
@click.argument("sources", nargs=-1, required=True)
@click.option("--rules", "rules_file", required=True, metavar="FILE", help="YAML file with a list named 'rules'.")
@click.option("--out", required=True, help="Folder for NAME__FEATURE.ome.zarr of each changed feature.")
@recipe_options(InteractRecipe, leave_out=("rules",))
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(sources: tuple[str, ...], rules_file: str, out: str, **values: Any) -> None:
    """Apply competition and interactions to the predictions SOURCES (files, folders, globs, .txt lists)."""
    options = from_options(RunOptions, values)
    given = read_yaml(rules_file)
    if "rules" not in given:
        raise InputError(f"{rules_file}: a list named 'rules' is missing.")
    recipe = InteractRecipe.from_json({**given, **{k: v for k, v in values.items() if v is not None}}, rules_file)
    jobs, run_dir = jobs_of(INTERACT, predictions_of(expand(sources), options.identity), out, recipe, options)
    execute(jobs, run_dir, options)
