"""The kernel of ``segment`` that averages the predictions of an ensemble from several grids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result
from volengine.core.boxes import Index3, index3
from volengine.ops.quantise import Rounding, store
from volengine.ops.resample import Filter, resample_block, resample_bytes
from volengine.tasks.common.levels import levels_of
from volengine.tasks.segment.description import UNCERTAINTY, above_half, uncertainty_of

Values = NDArray[np.float32]


def mean_block(
    block: Block,
    shapes: list[list[int]],
    weights: dict[str, list[int]],
    how: Filter,
    sigmoid: bool,
    dtype: Any,
    rounding: Rounding,
    factors: list[list[int]],
    counted: Sequence[str] = (),
) -> Result:
    """Kernel: resample the means of each grid to a block of the tomogram's grid, average and encode them.

    Parameters
    ----------
    shapes
        Shape of each grid, voxels z, y, x.
    weights
        For each array ``NUMBER/PRODUCT`` the number of models on this grid, and on all grids.
    how
        The filter, see :mod:`volengine.ops.resample`.
    sigmoid
        Whether the sigmoid of the mean is stored.
    dtype, rounding, factors
        As in :class:`volengine.tasks.segment.description.Encoding`.
    counted
        As in :func:`volengine.tasks.segment.blocks.predict`.

    Returns
    -------
    Result
        Stored values ``product@level``, (z, y, x).
    """
    arrays: dict[str, Any] = {}
    features = dict.fromkeys(name.partition("/")[2] for name in sorted(weights) if not name.endswith(UNCERTAINTY))
    for feature in features:
        found = _on_grids(block, feature, shapes, weights, how)
        mean = _mean(found)
        written = {feature: _probabilities(mean) if sigmoid else mean}
        uncertain = uncertainty_of(feature)
        if f"0/{uncertain}" in weights or any(name.endswith(f"/{uncertain}") for name in weights):
            inner = _on_grids(block, uncertain, shapes, weights, how)
            written[uncertain] = _spread(mean, found, inner)
        for name, values in written.items():
            arrays |= levels_of(store(values, dtype, rounding), factors, "probability", name)
    return Result(arrays, counts=above_half(arrays, counted))


def mean_block_bytes(core: Index3, halos: Sequence[Index3], shapes: Sequence[Index3], out_shape: Index3) -> int:
    """Bytes that :func:`mean_block` needs.

    Parameters
    ----------
    core
        Shape of a block's core, voxels z, y, x.
    halos, shapes
        For each grid the voxels read around a block, and its shape.
    out_shape
        Shape of the tomogram.
    """
    resampled = max(resample_bytes(core, h, s, out_shape) for h, s in zip(halos, shapes, strict=True))
    return resampled + (4 * (2 * len(shapes) + 3) + 8) * math.prod(core)


def _on_grids(
    block: Block, product: str, shapes: list[list[int]], weights: Mapping[str, list[int]], how: Filter
) -> list[tuple[float, Values]]:
    """For each grid that has the product its weight, and its values on the tomogram's grid."""
    found = []
    for number, shape in enumerate(map(index3, shapes)):
        name = f"{number}/{product}"
        if name not in weights:
            continue
        values = block.arrays[name]
        if shape != block.shape:
            values = resample_block(values, block.boxes[name], shape, block.box, block.shape, how, "edge")
        mine, every = weights[name]
        found.append((mine / every, values))
    return found


def _mean(found: Sequence[tuple[float, Values]]) -> Values:
    total = np.zeros(found[0][1].shape, np.float32)
    for weight, values in found:
        total += values * np.float32(weight)
    return total


def _spread(mean: Values, means: Sequence[tuple[float, Values]], inner: Sequence[tuple[float, Values]]) -> Values:
    """Standard deviation of a mixture: the variances within the grids, and that of their means."""
    total = np.zeros(mean.shape, np.float32)
    for (weight, own), (_, spread) in zip(means, inner, strict=True):
        total += (np.square(spread) + np.square(own - mean)) * np.float32(weight)
    return np.sqrt(total, out=total)


def _probabilities(logits: Values) -> Values:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
