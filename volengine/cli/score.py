"""volengine score"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.messages import say
from volengine.cli.options import NO_NETWORK, VOLUME, from_options, recipe_options, texts_option
from volengine.engine.options import RunOptions
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.common.kinds import is_picks
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.score.table import checked_table, read_scores
from volengine.tasks.score.verb import SCORE, score


@click.command(
    "score",
    cls=Command,
    examples=(
        "volengine score TS_01__membrane.ome.zarr TS_01_membrane.mrc",
        "volengine score picks truth.star --radius-nm 12 --out scores.csv",
        "volengine score predictions/ labelsTest/ --patches --out benchmark.csv",
    ),
)
@click.argument("prediction")
@click.argument("truth")
@click.option("--out", help="Table to write (.csv); beside it the same as .json, and .confusion.csv.")
@texts_option("--volume", "volumes", VOLUME)
@click.option(
    "--patches",
    is_flag=True,
    help="MemBrain's benchmark: folders of patches and of labels with the same names; Dice and Surface-Dice for each "
    "data set (the name before the first _), as means and of all counts together.",
)
@recipe_options(ScoreRecipe)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(
    prediction: str, truth: str, out: str | None, volumes: tuple[str, ...], patches: bool, **values: Any
) -> None:
    """Score PREDICTION (volumes or picks) against TRUTH (labels or known positions).

    Volumes: Dice, Surface-Dice, precision, recall and cross-entropy of each feature, outside of ignored voxels. Picks:
    precision, recall, F1 and localisation error. With several features also which is taken for which.
    """
    options = from_options(RunOptions, values)
    recipe = from_options(ScoreRecipe, values)
    if patches:
        from volengine.tasks.score.benchmark import scored_patches

        if volumes or options.dry_run or options.part:
            raise click.UsageError("--volume, --dry-run and --part are not for --patches.")
        made = scored_patches(prediction, truth, recipe, out=out, overwrite=options.overwrite)
        (click.echo if out is None else say)(made.text())
        made.check()
        return
    if out is None and (options.dry_run or options.part):
        raise click.UsageError("--dry-run and --part need --out.")
    if out is None or volumes or is_picks(prediction):
        text = score(prediction, truth, recipe, options, out=out, volumes=volumes).text()
        (click.echo if out is None else say)(text)
        return
    jobs, run_dir = jobs_of(SCORE, {"score": (prediction, truth)}, checked_table(out), recipe, options)
    execute(jobs, run_dir, options)
    if not options.dry_run and Path(out).exists():  # one of several parts may end before the last
        say(read_scores(out).text())
