"""Kernels that make segmentations of copick, and the memory that they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result
from volengine.core.errors import InputError
from volengine.ops.stored import ONE, as_prediction, checked_span, mask_in
from volengine.tasks.common.levels import levels_of

SHOWN = 8


def mask_block(block: Block, factors: Sequence[Sequence[int]], where: str) -> Result:
    """Kernel: a mask of 0 and 1, of any type, as uint8.

    Raises
    ------
    InputError
        Another value is there.
    """
    voxels = block.arrays["source"]
    mask = (voxels == 1).astype(np.uint8)
    others = (mask == 0) & (voxels != 0)  # also NaN
    if others.any():
        raise InputError(
            f"{where}: a segmentation of one object in copick holds 0 and 1, and here are {_some(voxels[others])} in "
            f"voxels {block.box.start} to {block.box.stop}. If these are probabilities, give --threshold 0.5; if they "
            "are labels of several objects, --out 'config.json#seg=NAME-multilabel'; if they number the particles of "
            "one object, make a mask of them first."
        )
    return _made(mask, factors)


def mask_block_bytes(voxels: int) -> int:
    """Bytes of the mask, of the comparisons, and of the modes of the coarser levels."""
    return 6 * voxels


def above_block(block: Block, factors: Sequence[Sequence[int]], where: str, threshold: float) -> Result:
    """Kernel: 1 where a probability exceeds a threshold; of integers 255 is 1.0, unless the volume is a mask.

    Raises
    ------
    InputError
        The values are no probabilities.
    """
    values = as_prediction(block.arrays["source"], mask=mask_in(block.tables))
    checked_span(values, block.box, where)
    # A threshold of n / 255 becomes exactly n.
    above = threshold if values.dtype.kind == "f" else round(threshold * ONE, 9)
    return _made((values > above).astype(np.uint8), factors)


def above_block_bytes(voxels: int) -> int:
    """Bytes of the prediction, the comparison, the mask and the modes of the coarser levels."""
    return 7 * voxels


def labels_block(
    block: Block, factors: Sequence[Sequence[int]], where: str, labels: Sequence[Sequence[int]], dtype: str
) -> Result:
    """Kernel: labels of several objects, each value replaced by the label of its object.

    Parameters
    ----------
    labels
        Pairs of a value of the source, and the label that it becomes. 0 stays 0.

    Raises
    ------
    InputError
        Another value is there.
    """
    voxels = block.arrays["source"]
    made = np.zeros(voxels.shape, dtype)
    known = voxels == 0
    for old, new in labels:
        here = voxels == old
        made[here] = new
        known |= here
    if not known.all():
        there = ", ".join(str(old) for old, _ in labels[:SHOWN]) or "none"
        raise InputError(
            f"{where}: in voxels {block.box.start} to {block.box.stop} are {_some(voxels[~known])}, which are labels "
            f"of none, or of several, of the project's pickable_objects; those of one are {there}. Labels of copick "
            "say which object a voxel is, not which particle."
        )
    return _made(made, factors)


def labels_block_bytes(voxels: int) -> int:
    """Bytes of the labels (at most 4 per voxel), of the comparisons, and of the modes of the coarser levels."""
    return 16 * voxels


def _made(array: NDArray[Any], factors: Sequence[Sequence[int]]) -> Result:
    counts = {"voxels converted": array.size, "voxels labelled": int(np.count_nonzero(array))}
    return Result(levels_of(array, factors, "labels"), counts=counts)


def _some(values: NDArray[Any]) -> str:
    """Some of the values, for a message."""
    found = np.unique(values[:100_000])[:SHOWN]
    return "values such as " + ", ".join(f"{v:g}" for v in found.tolist())
