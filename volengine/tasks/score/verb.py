"""score: predictions against labels, picks against known positions.

Volumes are read block by block; a score is made of whole numbers that are added up, so it is the same for every block
shape, number of workers and order. Skeletons (for Surface-Dice) are local too: a block is read with as much around it
as the thickness of its mask needs.

>>> scores = score("TS_01__membrane.ome.zarr", "TS_01_membrane.mrc", out="scores.csv")         # doctest: +SKIP
>>> scores["membrane"]["surface_dice"]                                                         # doctest: +SKIP
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from volengine.core.paths import PathLike, PathsByFeature, path_text, paths_by_feature
from volengine.engine.options import RunOptions
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.score.inputs import Case, Where
from volengine.tasks.score.picks import is_picks, score_picks
from volengine.tasks.score.plan import plan_score
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.score.table import Scores, checked_table, read_scores

Compared = tuple[Where, Where]
"""The paths of a prediction and of its truth."""


def request(compared: Compared, out: str, recipe: ScoreRecipe) -> Request[Case, ScoreRecipe, str]:
    """Open a prediction and its truth, and pair them by feature; ``out`` is the table of scores."""
    case = Case.find(*compared, recipe)
    return Request(case.name, case, recipe, out)


SCORE = Verb("score", request, plan_score, endings=(".csv",))


def score(
    prediction: PathsByFeature,
    truth: PathsByFeature,
    recipe: ScoreRecipe | None = None,
    options: RunOptions | None = None,
    *,
    out: PathLike | None = None,
) -> Scores:
    """Score a prediction (or picks) against what is known.

    Parameters
    ----------
    prediction, truth
        Paths of volumes: a file or store, ``store.ome.zarr#labels/core``, a folder or glob of volumes of one tomogram
        named ``TOMOGRAM__FEATURE``, for the truth also a store with several labels. Or of tables of picks: a file, or a
        folder of tables named ``TOMOGRAM__FEATURE``. Or a path for each feature.
    recipe, options
        What is compared, and how to run.
    out
        A ``.csv`` to write; beside it the same as ``.json``, and ``.confusion.csv``.

    Returns
    -------
    Scores
        ``scores["membrane"]["dice"]``; ``rows``, ``confusion``, ``text()``, ``to_json()``.

    Raises
    ------
    InputError
        Volumes on different grids, a feature without truth, values that are neither labels nor probabilities.
    """
    recipe, options = recipe or ScoreRecipe(), options or RunOptions()
    prediction, truth = paths_by_feature(prediction), paths_by_feature(truth)
    table = None if out is None else checked_table(path_text(out))
    if is_picks(prediction):
        found = score_picks(prediction, truth, recipe.features, recipe.radius_nm, recipe.voxel_size)
        if table is not None:
            found.write(table)
        return found
    if table is None:
        with tempfile.TemporaryDirectory() as folder:
            return score(prediction, truth, recipe, options, out=str(Path(folder) / "scores.csv"))
    run_one(SCORE, (prediction, truth), table, recipe, options)
    return read_scores(table)
