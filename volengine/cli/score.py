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
from volengine.tasks.score.picks import is_picks
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.score.table import checked_table, read_scores
from volengine.tasks.score.verb import SCORE, score


@click.command(
    "score",
    cls=Command,
    examples=(
        "volengine score TS_01__membrane.ome.zarr TS_01_membrane.mrc",
        "volengine score picks truth.star --radius-nm 12 --out scores.csv",
    ),
)
@click.argument("prediction")
@click.argument("truth")
@click.option("--out", help="Table to write (.csv); beside it the same as .json, and .confusion.csv.")
@texts_option("--volume", "volumes", VOLUME)
@recipe_options(ScoreRecipe)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(prediction: str, truth: str, out: str | None, volumes: tuple[str, ...], **values: Any) -> None:
    """Score PREDICTION (volumes or picks) against TRUTH (labels or known positions).

    Volumes: Dice, Surface-Dice, precision, recall and cross-entropy of each feature, outside of ignored voxels. Picks:
    precision, recall, F1 and localisation error. With several features also which is taken for which.
    """
    options = from_options(RunOptions, values)
    recipe = from_options(ScoreRecipe, values)
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
