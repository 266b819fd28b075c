"""Another voxel size by sums of neighbours, block by block: ``linear`` and ``area``.

Voxel 0 stays where it is, and voxel i of the new grid lies at the position p = i n / m of the old one: a place (index
times voxel size) is the same on both, and the origin does not move. (:mod:`volengine.ops.resample`, which networks use
on the way there and back, lets both grids begin at one face instead.) With s = max(1, n / m), the side of a new voxel:

- ``area``: the mean over the box from p - s/2 to p + s/2, each voxel counting by its share of it;
- ``linear``: a triangle from p - s to p + s, which for smaller voxels is linear interpolation.

Beyond the volume its border voxel is repeated. Weights depend on whole numbers alone, so blocks do not change a bit.

>>> weights_of(8, 4, 1, 2, "area").round(2).tolist(), indices_of(8, 4, 1, 2, "area").tolist()
([[0.0], [0.25], [0.5], [0.25], [0.0]], [[0], [1], [2], [3], [4]])
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.ops.resample import passes_bytes

Method = Literal["linear", "area"]


def reach(n: int, m: int) -> int:
    """Voxels of the old grid that are read on each side of the space that a block of the new one covers."""
    return 0 if n == m else ceil(max(1.0, n / m)) + 1


def _offsets(n: int, m: int) -> NDArray[np.int64]:
    wide = ceil(max(1.0, n / m))
    return np.arange(-wide, wide + 1)


def indices_of(n: int, m: int, start: int, stop: int, how: Method) -> NDArray[np.int64]:
    """Indices into the old axis (taps, outputs) of the outputs ``start .. stop``."""
    first = np.arange(start, stop) * n // m
    found: NDArray[np.int64] = np.clip(first[None, :] + _offsets(n, m)[:, None], 0, n - 1)
    return found


def weights_of(n: int, m: int, start: int, stop: int, how: Method) -> NDArray[np.float32]:
    """Weights (taps, outputs) float32, that add up to 1 for each output."""
    out = np.arange(start, stop, dtype=np.int64) * n
    part = (out - out // m * m) / m  # the position is first + part
    away = np.abs(_offsets(n, m)[:, None] - part[None, :])
    wide = max(1.0, n / m)
    if how == "linear":
        weights = np.maximum(0.0, 1 - away / wide)
    else:
        weights = np.clip(wide / 2 + 0.5 - away, 0.0, 1.0)
    found: NDArray[np.float32] = (weights / weights.sum(axis=0)).astype(np.float32)
    return found


def rescale(array: NDArray[Any], out_shape: Sequence[int], how: Method) -> NDArray[np.float32]:
    """Rescale a whole array (z, y, x) to another shape; see :func:`rescale_block`."""
    whole, out = index3(array.shape), index3(out_shape)
    return rescale_block(array, Box.of_shape(whole), whole, Box.of_shape(out), out, how)


def rescale_block(
    array: NDArray[Any], box: Box, shape: Index3, out: Box, out_shape: Index3, how: Method
) -> NDArray[np.float32]:
    """Rescale one block.

    Parameters
    ----------
    array, box
        Voxels of any real dtype, and the box of the old grid that they cover: the space of ``out`` and :func:`reach`
        voxels around it, as far as the volume reaches.
    shape, out_shape
        Shapes of both grids.
    out
        The wanted box of the new grid.
    how
        ``linear`` or ``area``.

    Returns
    -------
    float32 of the shape of ``out``; sums are computed in float32, in the order of the taps.
    """
    values = array.astype(np.float32, copy=False)
    for axis in range(3):
        n, m, a, b = shape[axis], out_shape[axis], out.start[axis], out.stop[axis]
        if n == m:
            at = slice(a - box.start[axis], b - box.start[axis])
            values = values[(slice(None),) * axis + (at,)]
            continue
        index = indices_of(n, m, a, b, how) - box.start[axis]
        weights = weights_of(n, m, a, b, how)
        sides = [1, 1, 1]
        sides[axis] = b - a
        total = np.zeros([b - a if k == axis else side for k, side in enumerate(values.shape)], np.float32)
        for taps, weight in zip(index, weights, strict=True):
            if weight.any():
                part = values.take(np.clip(taps, 0, values.shape[axis] - 1), axis=axis)  # beyond it weights are 0
                part *= weight.reshape(sides)
                total += part
        values = total
    return np.ascontiguousarray(values)


def rescale_bytes(core: Sequence[int], shape: Sequence[int], out_shape: Sequence[int]) -> int:
    """Bytes that :func:`rescale_block` allocates at most for a block ``core`` of the new grid."""
    ends = zip(core, shape, out_shape, strict=True)
    sides = [min(-(-c * n // m) + 2 * reach(n, m) + 2, n) for c, n, m in ends]
    return passes_bytes(sides, core)
