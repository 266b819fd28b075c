"""volengine stats"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.messages import say
from volengine.cli.options import NO_NETWORK, VOLUME, from_options, recipe_options, texts_option
from volengine.core.stopping import WITHOUT_OUT, if_stopped
from volengine.engine.options import RunOptions
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.stats.case import StatsCase
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
from volengine.tasks.stats.verb import STATS, stats


@click.command(
    "stats",
    cls=Command,
    examples=(
        "volengine stats picks --out counts",
        "volengine stats TS_01.ome.zarr#labels/atlas --truth truth --radius-nm 15",
        "volengine stats TS_01__receptor.star --surface TS_01__membrane.surfaces --out on-membrane",
    ),
)
@click.argument("inputs", nargs=-1, required=True)
@click.option("--out", help="Folder for tables (CSV), stats.json and plots; without, the text below is all.")
@texts_option("--truth", "truth", "Inputs that are known to be right: the counting error; may be repeated.")
@click.option("--groups", help="CSV with the columns tomogram and group: pooled tables for each group, too.")
@texts_option("--volume", "volumes", VOLUME)
@texts_option("--surface", "surfaces", "Sets of surfaces, mesh files or folders: measured on these, too.")
@recipe_options(StatsRecipe)
@recipe_options(SurfaceStatsRecipe)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(
    inputs: tuple[str, ...],
    out: str | None,
    truth: tuple[str, ...],
    groups: str | None,
    volumes: tuple[str, ...],
    surfaces: tuple[str, ...],
    **values: Any,
) -> None:
    """Count the particles of INPUTS: picks, class ids or numbered objects.

    Numbers, volumes, densities, nearest-neighbour distances and clusters of each class, per tomogram and pooled. INPUTS
    are tables of picks, label volumes (store.ome.zarr#labels/NAME for labels in a store), folders and globs. With
    --surface the same along surfaces, and concentrations, occupancy, contacts and Ripley's functions there.
    """
    options = from_options(RunOptions, values)
    recipe = from_options(StatsRecipe, values)
    given = sorted(name for name, value in values.items() if value is not None)
    if given and not surfaces:
        raise click.UsageError(f"--{given[0].replace('_', '-')} needs --surface.")
    surface_recipe = from_options(SurfaceStatsRecipe, values)
    more: dict[str, Any] = {"groups": groups, "surfaces": surfaces, "surface_recipe": surface_recipe}
    if out is None and (options.dry_run or options.part):
        raise click.UsageError("--dry-run and --part need --out.")
    if out is None:
        with if_stopped(WITHOUT_OUT):
            click.echo(stats(inputs, None, recipe, options, truth=truth, volumes=volumes, **more).text())
        return
    with if_stopped("Nothing was counted yet: the same command begins anew."):
        case = StatsCase.find(
            inputs,
            out,
            recipe,
            STATS.run_dir(out, options),
            truth=truth,
            volumes=volumes,
            identity=options.identity,
            **more,
        )
    case.check_place(options.overwrite)
    jobs, run_dir = jobs_of(STATS, case.volumes(), out, recipe, options)
    if jobs:
        execute(jobs, run_dir, options)
    if options.dry_run or not case.complete:  # another part of the run may still be counting
        return
    say(case.finish(options).text())
    say(f"tables: {out}")
