"""Coarser copies of an array: the mean of intensities, the most frequent label.

>>> import numpy as np
>>> ramp = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
>>> downsample(ramp, (1, 1, 2)).tolist()
[[[0.5, 2.5, 4.0]]]
>>> [level.shape for level in pyramid(np.zeros((8, 20, 20), np.uint8), [(1, 1, 1), (2, 2, 2), (4, 4, 4)])]
[(8, 20, 20), (4, 10, 10), (2, 5, 5)]

Coarse voxel ``i`` covers the fine voxels ``factor * i`` to ``factor * (i + 1) - 1``. If the array ends inside of a
coarse voxel, the last fine voxel is repeated; zeros would darken the edge. So the result has ``ceil(n / factor)``
voxels. A block that begins at a multiple of the factor, and ends at one or at the volume's end, gives the same voxels
as the whole volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Index3, index3
from volengine.core.errors import PlanError
from volengine.core.volume import Kind

Array = NDArray[Any]


def downsample(array: Array, factor: Index3, kind: Kind = "intensity") -> Array:
    """Make a coarser copy of an array.

    Parameters
    ----------
    array
        Voxels, z, y, x; floating point or integers.
    factor
        Fine voxels per coarse voxel along z, y, x.
    kind
        ``labels``: take the most frequent value (see :func:`mode`); otherwise the mean (see :func:`mean`).

    Returns
    -------
    Array of the same dtype with ``ceil(n / factor)`` voxels along each axis; integer means are rounded half to even.

    Raises
    ------
    PlanError
        The array does not have three axes, or a factor is below 1.
    """
    _check(array, factor)
    if kind == "labels":
        return mode(array, factor)
    return _to_dtype(mean(array, factor), array.dtype)


def pyramid(array: Array, factors: Sequence[Index3], kind: Kind = "intensity") -> list[Array]:
    """Make several coarser copies of an array, each from the one before.

    Means are passed from level to level without rounding, so each level is rounded only once.

    Parameters
    ----------
    array
        Voxels of level 0, z, y, x.
    factors
        For each level, voxels of ``array`` per voxel of the level, z, y, x. Each factor must be a multiple of the one
        before it. ``(1, 1, 1)`` gives ``array`` itself.
    kind
        As for :func:`downsample`.

    Returns
    -------
    One array per factor, of the array's dtype.

    Raises
    ------
    PlanError
        A factor is not a multiple of the one before it.
    """
    levels, fine, reached = [], array, index3((1, 1, 1))
    for factor in factors:
        if any(f < 1 or f % r for f, r in zip(factor, reached, strict=True)):
            raise PlanError(f"Level factor {tuple(factor)} is not a multiple of the one before, {reached}.")
        step = index3(f // r for f, r in zip(factor, reached, strict=True))
        _check(fine, step)
        reached = index3(factor)
        if step == (1, 1, 1):
            levels.append(_to_dtype(fine, array.dtype))
        elif kind == "labels":
            fine = mode(fine, step)
            levels.append(fine)
        else:
            fine = mean(fine, step)
            levels.append(_to_dtype(fine, array.dtype))
    return levels


def mean(array: Array, factor: Index3) -> Array:
    """Compute the mean of every ``factor`` voxels as floating point, not rounded to the array's dtype.

    The result is float64 for float64 and for integers of more than 16 bits, otherwise float32. Sums of integers of up
    to 32 bits are exact. Floating-point sums are always taken in the same order (along z, then y, then x), so the
    result does not depend on where a block begins. A coarse voxel that covers a NaN is NaN.
    """
    if factor == (1, 1, 1):
        return array.astype(_float_of(array.dtype), copy=False)
    total = array
    for axis, f in enumerate(factor):
        total = _sum_along(total, axis, f, _sum_dtype(array.dtype, prod(factor)))
    result = _float_of(array.dtype)
    divided: Array = np.divide(total, result.type(prod(factor)), dtype=result)
    return divided


def mode(array: Array, factor: Index3) -> Array:
    """Find the most frequent value of every ``factor`` voxels; of equally frequent ones the smallest that is not 0.

    Labels are preferred to background so that thin structures do not fall apart at coarse levels: a membrane of one
    voxel covers at most half of a 2 x 2 x 2 cell.
    """
    _check(array, factor)
    padded = _pad(array, factor)
    low, high = _extreme(padded, factor, np.minimum), _extreme(padded, factor, np.maximum)
    mixed = np.nonzero((low != high).ravel())[0]
    if mixed.size:
        values = np.stack([corner.ravel()[mixed] for corner in _corners(padded, factor)])
        low.ravel()[mixed] = _most_frequent(values)
    return low


def _extreme(array: Array, factor: Index3, smaller_or_larger: np.ufunc) -> Array:
    """Return the smallest or largest of every ``factor`` voxels."""
    for axis, f in enumerate(factor):
        index: list[slice] = [slice(None)] * 3
        parts = []
        for k in range(f):
            index[axis] = slice(k, None, f)
            parts.append(array[tuple(index)])
        array = parts[0].copy() if f == 1 and axis == 0 else parts[0]
        for part in parts[1:]:
            array = smaller_or_larger(array, part)
    return np.ascontiguousarray(array)


def _most_frequent(values: Array) -> Array:
    """Return the most frequent value of each column; ties go to the smallest value but 0. ``values`` is overwritten."""
    _sort_columns(values)  # equal values in runs, the smallest first
    run = np.ones(values.shape[1], np.int16)
    best: Array = values[0].copy()
    count = run.copy()
    for before, value in pairwise(values):
        run *= value == before
        run += 1
        better = (run > count) | ((run == count) & (best == 0) & (value != 0))
        np.copyto(best, value, where=better)
        np.maximum(count, run, out=count)
    return best


def _sort_columns(values: Array) -> None:
    """Sort each column in place. Up to 8 rows are compared as wholes, several times faster than ``sort``."""
    rows = len(values)
    if rows > 8:
        values.sort(axis=0)
        return
    for turn in range(rows):
        for k in range(turn % 2, rows - 1, 2):
            low = np.minimum(values[k], values[k + 1])
            np.maximum(values[k], values[k + 1], out=values[k + 1])
            values[k] = low


def _check(array: Array, factor: Index3) -> None:
    if array.ndim != 3 or len(factor) != 3 or any(f < 1 for f in factor):
        raise PlanError(
            f"Cannot coarsen an array of shape {array.shape} by {tuple(factor)}: it takes three axes and factors >= 1."
        )


def _float_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    wide = dtype.itemsize > 4 or (dtype.kind in "iu" and dtype.itemsize > 2)
    return np.dtype(np.float64 if wide else np.float32)


def _sum_dtype(dtype: np.dtype[Any], count: int) -> np.dtype[Any]:
    """Return the smallest dtype for sums of ``count`` values; integers of up to 32 bits add up exactly in it."""
    if dtype.kind not in "iu":
        return _float_of(dtype)
    if dtype.itemsize == 8:
        return np.dtype(np.float64)
    for wider in (np.int16, np.int32, np.int64):
        if count * 2 ** (8 * dtype.itemsize) <= np.iinfo(wider).max:
            return np.dtype(wider)
    return np.dtype(np.float64)


def _sum_along(array: Array, axis: int, factor: int, dtype: np.dtype[Any]) -> Array:
    """Return the sums of every ``factor`` neighbours along one axis; the last sum repeats the last voxel."""
    if factor == 1:
        return array.astype(dtype, copy=False)
    n = array.shape[axis]
    whole = n // factor

    def part(start: int, stop: int, step: int = 1) -> Array:
        index = [slice(None)] * 3
        index[axis] = slice(start, stop, step)
        return array[tuple(index)]

    shape = list(array.shape)
    shape[axis] = -(-n // factor)
    out = np.empty(shape, dtype)
    body: list[slice] = [slice(None)] * 3
    body[axis] = slice(0, whole)
    inner = out[tuple(body)]
    if whole:
        np.add(part(0, whole * factor, factor), part(1, whole * factor, factor), out=inner, dtype=dtype)
        for k in range(2, factor):
            np.add(inner, part(k, whole * factor, factor), out=inner, dtype=dtype)
    if n % factor:
        body[axis] = slice(whole, whole + 1)
        rest = part(whole * factor, n).sum(axis=axis, keepdims=True, dtype=dtype)
        out[tuple(body)] = rest + dtype.type(factor - n % factor) * part(n - 1, n).astype(dtype)
    return out


def _to_dtype(values: Array, dtype: np.dtype[Any]) -> Array:
    """Convert to a dtype; floating-point values are rounded half to even for integers."""
    if dtype.kind in "iu" and values.dtype.kind == "f":
        values = np.rint(values)
    return values.astype(dtype, copy=False)


def _pad(array: Array, factor: Index3) -> Array:
    """Pad the array to a multiple of the factor by repeating its last voxels."""
    missing = [-n % f for n, f in zip(array.shape, factor, strict=True)]
    return np.pad(array, [(0, m) for m in missing], mode="edge") if any(missing) else array


def _corners(array: Array, factor: Index3) -> list[Array]:
    fz, fy, fx = factor
    return [array[z::fz, y::fy, x::fx] for z in range(fz) for y in range(fy) for x in range(fx)]
