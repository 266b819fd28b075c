"""A part of a prediction, such as one slice, computed at once in this process; nothing is written."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.on_demand import OnDemand, Tables
from volengine.engine.options import RunOptions
from volengine.tasks.segment.plan import plan_segment
from volengine.tasks.segment.recipe import SegmentRecipe

NOWHERE = "nowhere"
"""Folder of the plan; nothing is written there."""


def preview_segment(
    source: Volume, recipe: SegmentRecipe, options: RunOptions | None = None, tables: Tables | None = None
) -> dict[str, NDArray[Any]]:
    """Predict a part of a tomogram, with the voxels that :func:`volengine.segment` writes for it.

    The plan, the networks and the kernels are those of ``segment``. What it must know of the whole tomogram (its mean
    and standard deviation, for most models) is read once, and kept in ``tables``.

    Parameters
    ----------
    source
        The open tomogram.
    recipe
        Which models, how, and with ``roi`` which part.
    options
        Device and memory.
    tables
        Kept between calls: statistics of tomograms.

    Returns
    -------
    dict
        By name of the volume that ``segment`` would write (a feature, or its uncertainty) the voxels of the part
        (z, y, x), in the recipe's ``dtype``: of ``uint8`` 255 is probability 1.

    Raises
    ------
    InputError, MemoryRefusedError
        As of :func:`volengine.segment`.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.SegmentRecipe(models=("ribosome.safetensors",), roi="8:9,:,:")
    >>> preview_segment(volengine.open_volume("TS_01.ome.zarr"), recipe)["ribosome"].shape
    (1, 32, 32)
    """
    recipe = SegmentRecipe.of(recipe).with_(levels=1)
    plan = plan_segment(source, recipe, NOWHERE, PlanFolder(NOWHERE), options or RunOptions())
    made = OnDemand(plan, tables)
    return {str(image.facts["feature"]): made.read(image.volume()) for image in plan.images if not image.scratch}
