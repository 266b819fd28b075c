"""stats: number, density, distances and clusters of the particles of each class, per tomogram and pooled.

Tables of picks are read whole. Label volumes are counted block by block: in an atlas of class ids an object is a
connected component (or a region of the watershed of ``pick``), in a volume of numbered objects it is a number. The
objects of each volume are kept in a small file in the run folder, so a second call with another ``eps_nm`` or another
table of groups does not count the volumes again. With a truth, the counting error of each class is reported, with
recall and precision. With surfaces, the particles of each tomogram are measured on these, too.
"""

from __future__ import annotations

import tempfile
from typing import Any

from volengine.core.paths import PathLike, PathsLike, path_text
from volengine.core.stopping import WITHOUT_OUT, if_stopped
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.run import run_jobs
from volengine.tasks.common.jobs import Request, Verb, jobs_of
from volengine.tasks.stats.case import LabelVolume, StatsCase
from volengine.tasks.stats.plan import plan_stats
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
from volengine.tasks.stats.tables import Stats


def request(
    given: LabelVolume, out: str, recipe: StatsRecipe, options: RunOptions
) -> Request[Volume, StatsRecipe, str]:
    """What the plan of a label volume is made from; a volume of the truth has its own recipe and file."""
    return Request(given.key, given.volume, given.recipe, given.file)


STATS = Verb("stats", request, plan_stats, light=True)


def stats(
    inputs: PathsLike,
    out: PathLike | None = None,
    recipe: StatsRecipe | None = None,
    options: RunOptions | None = None,
    *,
    truth: PathsLike = (),
    groups: PathLike | None = None,
    volumes: PathsLike = (),
    surfaces: PathsLike = (),
    surface_recipe: SurfaceStatsRecipe | None = None,
) -> Stats:
    """Count the particles of each class, and describe how they are distributed.

    Parameters
    ----------
    inputs
        Tables of picks (named ``TOMOGRAM__CLASS``, or with several tomograms), label volumes, stores (all their labels)
        or ``store.ome.zarr#labels/atlas``, folders, globs, ``.txt`` lists of volumes.
    out
        Folder for the tables (CSV), ``stats.json`` and plots. Default: nothing is kept.
    recipe, options
        What is counted, and how to run.
    truth
        Inputs of the same kinds that hold the true particles: the counting error of each of their classes is reported.
    groups
        A CSV file with the columns ``tomogram`` and ``group``: pooled tables are made for each group, too.
    volumes
        The tomograms of tables of picks. Only rows of these tomograms count, chosen by name; voxel size, shape
        and origin that a table does not state are those of its tomogram. Label volumes among the inputs are asked, too,
        for a table that lacks them.
    surfaces
        Sets of surfaces (``TS_01__membrane.surfaces``), mesh files, folders or globs: the particles are projected to
        them, and distances along the surface, Ripley's functions and concentrations per area are computed, too.
    surface_recipe
        What is measured on surfaces.

    Returns
    -------
    Stats
        Rows by table, for example ``found["classes"]``; ``found.pooled("ribosome")`` is one row; ``found.text()`` is a
        summary.

    Raises
    ------
    InputError
        A source has no voxel size; two sources count the same class of a tomogram; the sources of a tomogram differ in
        extent; a class has no name, or a tomogram no group, no truth or, with surfaces, none of these; a file in
        ``out`` is not as an earlier call has written it (``overwrite`` replaces it).

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.StatsRecipe(classes=("ribosome",), ids=(1,), kind="atlas", min_voxels=50)
    >>> found = volengine.stats("TS_01_ribosome.mrc", recipe=recipe)
    >>> found.pooled("ribosome")["objects"]
    2
    """
    recipe, options = StatsRecipe.of(recipe), options or RunOptions()
    if out is None:
        with tempfile.TemporaryDirectory() as folder, if_stopped(WITHOUT_OUT, instead=True):
            quiet = recipe.with_(plots=False)
            more: Any = {"surfaces": surfaces, "surface_recipe": surface_recipe}
            return stats(inputs, folder, quiet, options, truth=truth, groups=groups, volumes=volumes, **more)
    out = path_text(out)
    case = StatsCase.find(
        inputs,
        out,
        recipe,
        STATS.run_dir(out, options),
        truth=truth,
        groups=groups,
        volumes=volumes,
        identity=options.identity,
        surfaces=surfaces,
        surface_recipe=surface_recipe,
    )
    case.check_place(options.overwrite)
    jobs, run_dir = jobs_of(STATS, case.volumes(), out, recipe, options)
    if jobs:
        run_jobs(jobs, run_dir, options).check()
    return case.finish(options)
