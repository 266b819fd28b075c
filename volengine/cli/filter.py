"""volengine filter"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.options import NO_NETWORK, from_options, recipe_options
from volengine.core.errors import InputError
from volengine.core.recipe import field_texts
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.options import RunOptions
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.filter.recipe import FilterRecipe
from volengine.tasks.filter.step import Step
from volengine.tasks.filter.steps import STEPS, parse_steps, step_of_text
from volengine.tasks.filter.verb import FILTER

F = TypeVar("F", bound=Callable[..., Any])


def step_options(function: F) -> F:
    """A decorator that adds an option for each step, in the order in which they are applied."""
    for name, kind in reversed(STEPS.items()):
        flag, text = "--" + name.replace("_", "-"), _help(kind)
        if not field_texts(kind):
            function = click.option(flag, name, is_flag=True, default=None, help=text)(function)
        else:
            function = click.option(flag, name, metavar="VALUE|NAME=VALUE,...", default=None, help=text)(function)
    return function


def _help(kind: type[Step]) -> str:
    """The first line of a step's docstring, and the names of its parameters."""
    names = ", ".join(field_texts(kind))
    return f"Step: {(kind.__doc__ or '').splitlines()[0]}" + (f" [{names}]" if names else "")


@click.command(
    "filter",
    cls=Command,
    examples=(
        "volengine filter TS_01.ome.zarr --deconvolve 5 --out filtered",
        "volengine filter 'tomograms/*.mrc' --match-voxel-size 10 --low-pass 40 --out filtered",
        "volengine filter TS_01.mrc --steps filters.yaml --out TS_01_filtered.ome.zarr",
        "volengine filter TS_01.mrc --spectrum --out TS_01.tsv",
    ),
)
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--out", required=True, help="A store (NAME.ome.zarr) for one source, or a folder for NAME__filtered.ome.zarr."
)
@click.option("--steps", "steps_file", metavar="FILE", help="YAML file with a list named 'steps', in any order.")
@step_options
@recipe_options(FilterRecipe, leave_out=("steps",))
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(sources: tuple[str, ...], out: str, steps_file: str | None, **values: Any) -> None:
    """Apply filters to the tomograms SOURCES (files, folders, globs, .txt lists).

    Each step is an option. Those that are given are applied in the order in which this page lists them; a file with
    --steps may have any order, and steps more than once. A step takes the value of its first parameter, or names and
    values: --deconvolve 5, --deconvolve defocus_um=5,strength=0.8.
    """
    options = from_options(RunOptions, values)
    steps = [step_of_text(name, values.pop(name)) for name in STEPS if values.get(name) not in (None, False)]
    values = {key: value for key, value in values.items() if key not in STEPS}
    if steps_file is not None:
        if steps:
            raise InputError("Give the steps as options, or in the file of --steps, and not both.")
        given = read_yaml(steps_file)
        given = given["filter"] if isinstance(given.get("filter"), dict) else given  # the recipe of a run, too
        if "steps" not in given:
            raise InputError(f"{steps_file}: a list named 'steps' is missing.")
        told = {key: value for key, value in values.items() if value is not None}
        recipe = FilterRecipe.from_json({**given, **told, "steps": parse_steps(given["steps"], steps_file)}, steps_file)
    else:
        recipe = from_options(FilterRecipe, values, steps=steps)
    jobs, run_dir = jobs_of(FILTER, expand(sources), out, recipe, options)
    execute(jobs, run_dir, options)
