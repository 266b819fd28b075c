"""skeleton: the mid-surface of membranes, computed exactly in blocks, or the centrelines of filaments.

A mid-surface is the ridge of the distance to the background (:mod:`volengine.ops.skeleton`), one voxel in each column
across the surface. Lines are those of :mod:`volengine.ops.filaments`.
"""

from __future__ import annotations

from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.layout import join_url
from volengine.tasks.common.named import open_sized
from volengine.tasks.skeleton.plan import plan_skeleton
from volengine.tasks.skeleton.recipe import SkeletonRecipe


def request(source: str, out: str, recipe: SkeletonRecipe, options: RunOptions) -> Request[Volume, SkeletonRecipe, str]:
    """Open one source; its product is ``out``, or ``<name>_skeleton`` in the folder ``out``."""
    from volengine.core.errors import InputError

    volume = open_sized(source, identity=options.identity)
    ending = ".csv" if recipe.lines else ".ome.zarr"
    product = out if SKELETON.is_product(out) else join_url(out, f"{volume.name}_skeleton{ending}")
    if product.endswith(".csv") != recipe.lines:
        said = "lines are a table (.csv)" if recipe.lines else "a mid-surface is a store (.zarr); lines need --lines"
        raise InputError(f"--out {out}: {said}.")
    return Request(volume.name, volume, recipe, product)


SKELETON = Verb("skeleton", request, plan_skeleton, endings=(".zarr", ".csv"))


def skeleton(
    source: PathLike, out: PathLike, recipe: SkeletonRecipe | None = None, options: RunOptions | None = None
) -> str:
    """Thin the membranes of a volume to their mid-surfaces, or its filaments to lines.

    Parameters
    ----------
    source
        A prediction, a mask or labels: any file or store that :func:`volengine.open_volume` opens, also
        ``store.ome.zarr#labels/NAME``.
    out
        The store to write: labels on the skeleton, those of the source or 1. With the recipe's ``lines`` a table
        (``NAME.csv``) with a row for each line; its points and a graph are written beside it (``NAME.points.csv``,
        ``NAME.am``). Or a folder, for ``<name>_skeleton.ome.zarr`` or ``.csv``.
    recipe, options
        What is thinned, and how to run.

    Returns
    -------
    str
        The store, or the table of lines.

    Raises
    ------
    InputError
        The source is a tomogram, or a value is no probability or no label.
    MemoryRefusedError
        The voxels of filaments do not fit into a worker.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.SkeletonRecipe(threshold=0.5)
    >>> thin = volengine.skeleton("predictions/TS_01__ribosome.ome.zarr", "thin.ome.zarr", recipe)
    >>> volengine.open_volume(thin).kind
    'labels'
    """
    plan = run_one(SKELETON, path_text(source), path_text(out), SkeletonRecipe.of(recipe), options or RunOptions())
    return plan.images[0].url if plan.images else str(plan.finish[0].params["out"])
