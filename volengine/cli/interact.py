"""volengine interact"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.execute import execute
from volengine.cli.options import from_options, recipe_options
from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.tasks.inputs import expand
from volengine.tasks.interact import InteractRecipe, interact_jobs
from volengine.tasks.yaml_recipes import read_yaml


@click.command("interact")
@click.argument("rules_file")
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for NAME__FEATURE.ome.zarr of each changed feature.")
@recipe_options(InteractRecipe, leave_out=("rules",))
@recipe_options(RunOptions)
def command(rules_file: str, sources: tuple[str, ...], out: str, **values: Any) -> None:
    """Apply the rules of RULES_FILE (YAML) to the predictions SOURCES (files, folders, globs, .txt lists)."""
    options = from_options(RunOptions, values)
    given = read_yaml(rules_file)
    if "rules" not in given:
        raise InputError(f"{rules_file}: a list named 'rules' is missing.")
    recipe = from_options(InteractRecipe, {**given, **{k: v for k, v in values.items() if v is not None}})
    jobs, run_dir = interact_jobs(expand(sources), out, recipe, options)
    execute(jobs, run_dir, options)
