"""Kernel of ``annotate suggest``, and the memory that it needs."""

from __future__ import annotations

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import Index3, index3
from volengine.core.tiling import Tiling
from volengine.ops.score_masks import probabilities
from volengine.ops.uncertain import score_patches, uncertainty, whole_probability


def uncertain_block(block: Block, patch: Index3, outline_vox: int, sure: float, where: list[str]) -> Result:
    """Kernel: how uncertain the patches of a block are.

    Parameters
    ----------
    patch
        Shape of the patches, of which a block holds whole ones.
    outline_vox, sure
        As of :class:`~volengine.tasks.annotate.suggest_recipe.SuggestRecipe`.
    where
        Names of the predictions, for messages.

    Returns
    -------
    Result
        The table has ``start`` (n, 3), ``slice`` and ``total`` of the patches that are not quite certain.
    """
    names = [name for name in ("prediction", "other") if name in block.arrays]
    levels = [
        whole_probability(probabilities(block.arrays[name], place)) for name, place in zip(names, where, strict=True)
    ]
    found = uncertainty(levels[0], levels[1] if len(levels) > 1 else None, outline_vox, sure)
    own = found[block.box.slices_in(block.boxes["prediction"])]
    shape = index3(patch)
    scores = score_patches(own, shape)
    start = np.array([box.start for box in Tiling(own.shape, shape)], np.int64).reshape(-1, 3) + block.box.start
    some = scores.total > 0
    return Result(table={"start": start[some], "slice": scores.slice[some], "total": scores.total[some]})


def uncertain_block_bytes(voxels: int, several: bool) -> int:
    """Bytes that :func:`uncertain_block` needs for a block of ``voxels`` with its halo, of one prediction or two."""
    return (2 if several else 1) * 40 * voxels
