"""score: compare predictions with labels, and picks with known positions.

Volumes are compared block by block. A score is computed from sums of whole numbers, so it is the same for every block
shape, number of workers and order of execution. Skeletons (for Surface-Dice) are computed per block too: the halo of a
block is as wide as the thickness of its mask requires.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, PathsByFeature, PathsLike, path_text, path_texts, paths_by_feature
from volengine.core.stopping import WITHOUT_OUT, if_stopped
from volengine.engine.options import RunOptions
from volengine.tasks.common.grids import grids_of
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.kinds import is_picks
from volengine.tasks.common.lying import Asked
from volengine.tasks.score.inputs import Case, Where
from volengine.tasks.score.picks import score_picks
from volengine.tasks.score.plan import plan_score
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.score.table import Scores, checked_table, files_of, own_files, read_scores, write_own

Compared = tuple[Where, Where]
"""The paths of a prediction and of its truth."""


def request(compared: Compared, out: str, recipe: ScoreRecipe, options: RunOptions) -> Request[Case, ScoreRecipe, str]:
    """Open a prediction and its truth (metadata only), pair them by feature; ``out`` is the table of scores."""
    case = Case.find(*compared, recipe, options.identity)
    return Request(case.name, case, recipe, out)


SCORE = Verb("score", request, plan_score, endings=(".csv",))


def score(
    prediction: PathsByFeature,
    truth: PathsByFeature,
    recipe: ScoreRecipe | None = None,
    options: RunOptions | None = None,
    *,
    out: PathLike | None = None,
    volumes: PathsLike = (),
) -> Scores:
    """Score a prediction against labels, or picks against known positions.

    Parameters
    ----------
    prediction, truth
        Volumes of one tomogram: a file, a store, labels in a store (``store.ome.zarr#labels/core``), or a folder or
        glob of volumes named ``TOMOGRAM__FEATURE``; the truth may also be a store with several labels. Or tables of
        picks: a file, or a folder of tables named ``TOMOGRAM__FEATURE``. Or a mapping with a path for each feature.
    recipe, options
        What is compared, and how to run.
    out
        A ``.csv`` file for the scores; the same scores are written beside it as ``.json``, and the confusion as
        ``.confusion.csv``. Default: nothing is written.
    volumes
        For tables of picks: the tomograms. Only rows of these tomograms count, chosen by name; voxel size, shape
        and origin that a table does not state are those of its tomogram.

    Returns
    -------
    Scores
        One row per feature, for example ``scores["membrane"]["dice"]``; see ``rows``, ``confusion``, ``text()`` and
        ``to_json()``.

    Raises
    ------
    InputError
        The volumes have different grids, a feature has no truth, or the values are neither labels nor probabilities;
        or a file at ``out`` is not as an earlier call has written it (``overwrite`` replaces it).

    Examples
    --------
    >>> import volengine
    >>> scores = volengine.score("predictions/TS_01__ribosome.ome.zarr", "TS_01_ribosome.mrc")
    >>> scores["ribosome"]["dice"]
    1.0
    """
    prediction, truth = paths_by_feature(prediction), paths_by_feature(truth)
    recipe, options = ScoreRecipe.of(recipe), options or RunOptions()
    table = None if out is None else checked_table(path_text(out))
    if is_picks(prediction):
        if table is not None:
            own_files(table, options.overwrite).check(path.name for path in files_of(table))
        if recipe.roi:
            raise InputError(
                "--roi is for volumes; picks are compared with all known positions. Leave out those of other parts "
                "first: volengine picks filter --region."
            )
        found = score_picks(
            prediction,
            truth,
            recipe.features,
            recipe.radius_nm,
            recipe.voxel_size,
            asked=Asked(recipe.mask_grid, recipe.any_origin),
            volumes=grids_of(path_texts(volumes), recipe.voxel_size) if volumes else None,
        )
        if table is not None:
            write_own(found, table, overwrite=options.overwrite)
        return found
    if volumes:
        raise InputError(f"--volume is for tables of picks, and {prediction} is none that can be read: leave it out.")
    if table is None:
        with tempfile.TemporaryDirectory() as folder, if_stopped(WITHOUT_OUT, instead=True):
            return score(prediction, truth, recipe, options, out=str(Path(folder) / "scores.csv"))
    run_one(SCORE, (prediction, truth), table, recipe, options)
    return read_scores(table)
