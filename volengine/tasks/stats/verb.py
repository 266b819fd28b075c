"""stats: how many particles of each class, how dense, how far apart, in which clusters; per tomogram and pooled.

Picks are read as they are. Label volumes are counted block by block: an atlas of class ids by connected components
(or the watershed of ``pick``), a volume of numbered objects by its numbers. Each volume leaves one small file in the
run folder, so a second call with another eps or another group counts nothing again. With a truth, the counting error of
each class is reported, and which objects are right.

>>> from volengine.tasks.stats.recipe import StatsRecipe
>>> from volengine.tasks.stats.verb import stats
>>> recipe = StatsRecipe(classes=("ribosome", "TRiC"), ids=(3, 4), split=("TRiC",), min_voxels=50)
>>> found = stats(["labels/*.mrc"], "stats", recipe, groups="regions.csv")                       # doctest: +SKIP
>>> found.pooled("TRiC")["clusters"]                                                            # doctest: +SKIP
"""

from __future__ import annotations

import tempfile

from volengine.core.paths import PathLike, PathsLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.run import run_jobs
from volengine.tasks.common.jobs import Request, Verb, jobs_of
from volengine.tasks.stats.case import LabelVolume, StatsCase
from volengine.tasks.stats.plan import plan_stats
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.tables import Stats


def request(given: LabelVolume, out: str, recipe: StatsRecipe) -> Request[Volume, StatsRecipe, str]:
    """One label volume with its own recipe and file: those of a truth are others than those of the inputs."""
    return Request(given.key, given.volume, given.recipe, given.file)


STATS = Verb("stats", request, plan_stats)


def stats(
    inputs: PathsLike,
    out: PathLike | None = None,
    recipe: StatsRecipe | None = None,
    options: RunOptions | None = None,
    *,
    truth: PathsLike = (),
    groups: PathLike | None = None,
) -> Stats:
    """Count objects and describe where they lie.

    Parameters
    ----------
    inputs
        Tables of picks (named ``TOMOGRAM__CLASS``, or of several tomograms), label volumes, stores (all their labels)
        or ``store.ome.zarr#labels/atlas``, folders, globs, ``.txt`` lists of volumes.
    out
        Folder for the tables (CSV), ``stats.json`` and plots; without, nothing is kept.
    recipe, options
        What is counted, and how to run.
    truth
        Inputs of the same kinds that are known to be right: the counting error of each of their classes is reported.
    groups
        A CSV with the columns ``tomogram`` and ``group``: pooled tables are also made for each group.

    Returns
    -------
    Stats
        ``found["classes"]``, ``found["pooled"]`` ... rows; ``found.pooled("ribosome")``; ``text()``.

    Raises
    ------
    InputError
        No voxel size; a class that is counted twice; sources of a tomogram that do not fit each other; classes or
        tomograms without a name, a group or a truth.
    """
    recipe, options = recipe or StatsRecipe(), options or RunOptions()
    if out is None:
        with tempfile.TemporaryDirectory() as kept:
            return stats(inputs, kept, recipe.with_(plots=False), options, truth=truth, groups=groups)
    folder = path_text(out)
    case = StatsCase.find(inputs, folder, recipe, STATS.run_dir(folder, options), truth=truth, groups=groups)
    jobs, run_dir = jobs_of(STATS, case.volumes(), folder, recipe, options)
    if jobs:
        run_jobs(jobs, run_dir, options).check()
    return case.finish()
