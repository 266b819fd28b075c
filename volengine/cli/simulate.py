"""volengine simulate"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.messages import say
from volengine.cli.options import from_options, recipe_options
from volengine.core.yaml_recipes import read_yaml
from volengine.engine.options import RunOptions
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.simulate.presets import PRESETS, preset
from volengine.tasks.simulate.record import centred, missing
from volengine.tasks.simulate.verb import SIMULATE, limits_of_samples, samples_of


@click.command(
    "simulate",
    cls=Command,
    examples=(
        "volengine simulate --list",
        "volengine simulate cytoplasm --out simulated --count 10 --workers 4",
    ),
)
@click.argument("recipe_file", required=False)
@click.option("--out", help="Folder for tomograms, truth and the run folder.")
@click.option("-n", "--count", default=1, show_default=True, help="How many samples.")
@click.option("--first", default=1, show_default=True, help="Number of the first sample.")
@click.option("--seed", type=int, help="Another seed than the recipe's.")
@click.option("--strict", is_flag=True, help="A sample fails if not all that the recipe counts found a place.")
@click.option("--list", "listed", is_flag=True, help="List presets and structures of the package, and end.")
@recipe_options(RunOptions)
def command(
    recipe_file: str | None,
    out: str | None,
    count: int,
    first: int,
    seed: int | None,
    strict: bool,
    listed: bool,
    **values: Any,
) -> None:
    """Simulate samples of RECIPE_FILE (YAML, or the name of a preset): specimen, tilt series, tomogram, truth."""
    options = from_options(RunOptions, values)
    if listed:
        click.echo(_list())
        return
    if recipe_file is None or out is None:
        raise click.UsageError("Give a RECIPE_FILE (or a preset: volengine simulate --list) and --out.")
    known = recipe_file in PRESETS and not Path(recipe_file).exists()
    given = preset(recipe_file) if known else read_yaml(recipe_file)
    given |= ({} if seed is None else {"seed": seed}) | ({"strict": True} if strict else {})
    base = "." if known else str(Path(recipe_file).parent)
    jobs, run_dir = jobs_of(SIMULATE, samples_of(given, count, first, base), out, given, options)
    for text in limits_of_samples(given, count, first):
        say(text)
    execute(jobs, run_dir, options)
    for job in () if options.dry_run else jobs:
        if short := missing(out, job.name):
            say(f"{job.name}: not all found a place ({short})")
        for text in centred(out, job.name):
            say(f"{job.name}: {text}")


def _list() -> str:
    from volengine.tasks.simulate.structures import SHIPPED

    lines = ["Presets:", *(f"  {name:22s} {text}" for name, text in PRESETS.items()), "", "Structures:"]
    lines += [f"  {name:22s} {file}" for name, file in SHIPPED.items()]
    lines += [
        "  globule-KDA            a procedural stand-in: a compact particle of that mass, for example globule-120"
    ]
    lines += ["  barrel-KDA             a procedural stand-in: two rings of seven, hollow"]
    return "\n".join(lines)
