"""Resampling to another voxel size, block by block, with the same bytes as for the whole volume.

Both grids cover the same space from edge to edge. Along an axis ``n_in`` voxels become ``n_out``, and the centre of
output voxel i lies at ``(i + 1/2) n_in / n_out - 1/2`` in voxels of the input (the convention of
``skimage.transform.resize`` and of torch's ``align_corners=False``). Every output voxel is a weighted sum of the input
voxels around that position. The weights depend on i, ``n_in`` and ``n_out`` only, and the axes are resampled one after
the other. So the result does not depend on the block in which a voxel is computed.

Filters:

- ``linear``: linear interpolation. For larger output voxels, a Gaussian of sigma ``(n_in / n_out - 1) / 2`` voxels, cut
  off at 4 sigma, is applied before. This is ``skimage.transform.resize`` with order 1 and anti-aliasing, which Ais
  uses.
- ``lanczos``: a sinc windowed by a sinc of three lobes, scaled to the coarser of the two grids. It keeps the spectrum
  almost up to the new Nyquist frequency, like cropping the Fourier transform (MemBrain), but without wrap-around at the
  borders.
- ``corners``: linear interpolation at ``i (n_in - 1) / (n_out - 1)``, so that the centres of the first and last voxels
  coincide, as in ``scipy.ndimage.zoom``. Ais uses it to resample its predictions. It shifts structures near borders by
  up to half a voxel, so it is used only to reproduce the results of Ais.

Voxels outside of the volume are mirrored without repeating the border voxel (``reflect``), or equal to the border voxel
(``edge``).

>>> resampled_shape((100, 200, 200), (8.0, 8.0, 8.0), (10.0, 10.0, 10.0), axes="zyx")
(80, 160, 160)
>>> import numpy as np
>>> ramp = np.arange(8, dtype=np.float32).reshape(1, 1, 8)
>>> resample(ramp, (1, 1, 4), "linear", "edge")[0, 0, 1:3].tolist()
[2.5, 4.5]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3

Filter = Literal["linear", "lanczos", "corners"]
EdgeRule = Literal["reflect", "edge"]

TRUNCATE = 4.0
LOBES = 3


def resampled_shape(
    shape: Sequence[int],
    voxel_size: Sequence[float],
    wanted: Sequence[float],
    *,
    axes: str = "zyx",
    tolerance: float = 0.0,
) -> Index3:
    """Compute the shape of a volume at another voxel size: ``round(n v / w)`` along each axis, at least 1.

    Parameters
    ----------
    shape
        Shape of the volume, z, y, x.
    voxel_size
        Voxel size of the volume v, angstrom, z, y, x.
    wanted
        Wanted voxel size w, angstrom, z, y, x. It is reached to within half a voxel over the length of the axis.
    axes
        Axes that may change: ``zyx`` or ``yx``.
    tolerance
        An axis does not change if ``v / w`` differs from 1 by less than this (Ais and MemBrain use 0.05).
    """
    sides = []
    for axis, n, v, w in zip("zyx", shape, voxel_size, wanted, strict=True):
        near = abs(v / w - 1) < tolerance
        sides.append(n if near or axis not in axes else max(1, round(n * v / w)))
    return index3(sides)


def reach(shape: Sequence[int], out_shape: Sequence[int], how: Filter) -> Index3:
    """Return the halo, in voxels of the input (z, y, x), that an output block needs around the space that it covers."""
    return index3(_axis_reach(n, m, how) for n, m in zip(shape, out_shape, strict=True))


def _axis_reach(n: int, m: int, how: Filter) -> int:
    if n == m:
        return 0
    if how == "lanczos":
        return ceil(LOBES * max(1.0, n / m)) + 1
    if how == "corners":
        return ceil(max(1.0, n / m) / 2) + 1
    return 1 + _radius(n, m)


def _radius(n: int, m: int) -> int:
    """Return the radius of the Gaussian before linear interpolation, voxels of the input."""
    return int(TRUNCATE * max(0.0, (n / m - 1) / 2) + 0.5)


@dataclass(frozen=True)
class Taps:
    """Indices and weights along one axis: ``out[i] = sum_k weights[k, i] * in[index[k, i]]``.

    Parameters
    ----------
    index
        (taps, outputs) int64 indices into the input.
    weights
        (taps, outputs) float32; they add up to 1 for each output.
    """

    index: NDArray[np.int64]
    weights: NDArray[np.float32]


@lru_cache(maxsize=64)
def axis_taps(n: int, m: int, start: int, stop: int, how: Filter, edge: EdgeRule) -> Taps:
    """Compute the taps of the outputs ``start .. stop`` of an axis that is resampled from ``n`` to ``m`` voxels."""
    out = np.arange(start, stop, dtype=np.int64)
    if how == "corners":
        top, below = out * (n - 1), max(m - 1, 1)
    else:
        top, below = (2 * out + 1) * n - m, 2 * m
    first = top // below  # exact: the place of an output is a ratio of integers
    part = (top - first * below) / below
    offsets, weights = _lanczos(part, n / m) if how == "lanczos" else _linear(part, n, m, how)
    index = _inside(first[None, :] + offsets[:, None], n, edge)
    return Taps(index, weights.astype(np.float32))


def _linear(part: NDArray[np.float64], n: int, m: int, how: Filter) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    radius = _radius(n, m) if how == "linear" else 0
    gauss = np.ones(1)
    if radius:
        at = np.arange(-radius, radius + 1)
        gauss = np.exp(-0.5 * (at / ((n / m - 1) / 2)) ** 2)
        gauss /= gauss.sum()
    weights = np.zeros((2 * radius + 2, len(part)))
    weights[:-1] += gauss[:, None] * (1 - part)
    weights[1:] += gauss[:, None] * part
    return np.arange(-radius, radius + 2), weights


def _lanczos(part: NDArray[np.float64], factor: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    wide = max(1.0, factor)
    offsets = np.arange(-ceil(LOBES * wide), ceil(LOBES * wide) + 2)
    x = (offsets[:, None] - part[None, :]) / wide
    weights = np.where(np.abs(x) < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0.0)
    return offsets, weights / weights.sum(axis=0)


def _inside(at: NDArray[np.int64], n: int, edge: EdgeRule) -> NDArray[np.int64]:
    if edge == "edge" or n == 1:
        return np.clip(at, 0, n - 1)
    period = 2 * (n - 1)
    mirrored: NDArray[np.int64] = np.abs((at + n - 1) % period - (n - 1))
    return mirrored


def resample(array: NDArray[Any], out_shape: Sequence[int], how: Filter, edge: EdgeRule) -> NDArray[np.float32]:
    """Resample a whole array (z, y, x) to another shape; see :func:`resample_block`."""
    whole = index3(out_shape)
    return resample_block(array, Box.of_shape(array.shape), index3(array.shape), Box.of_shape(whole), whole, how, edge)


def resample_block(
    array: NDArray[Any], box: Box, shape: Index3, out: Box, out_shape: Index3, how: Filter, edge: EdgeRule
) -> NDArray[np.float32]:
    """Resample one block of a volume.

    Parameters
    ----------
    array, box
        Voxels of any real dtype, and the box of the input that they cover. It must contain the space that ``out``
        covers and :func:`reach` voxels around it, as far as the volume reaches.
    shape
        Shape of the whole input.
    out, out_shape
        The wanted box of the output, and the shape of the whole output.
    how, edge
        Filter, and edge rule.

    Returns
    -------
    float32, of the shape of ``out``. Sums are computed in float32, in the order of the taps.
    """
    values = array.astype(np.float32, copy=False)
    for axis in range(3):
        n, m = shape[axis], out_shape[axis]
        if n == m:
            here = slice(out.start[axis] - box.start[axis], out.stop[axis] - box.start[axis])
            values = values[(slice(None),) * axis + (here,)]
            continue
        taps = axis_taps(n, m, out.start[axis], out.stop[axis], how, edge)
        values = _along(values, axis, taps.index - box.start[axis], taps.weights)
    return np.ascontiguousarray(values)


def _along(
    values: NDArray[np.float32], axis: int, index: NDArray[np.int64], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    shape = [1, 1, 1]
    shape[axis] = -1
    sides = list(values.shape)
    sides[axis] = index.shape[1]
    total = np.zeros(sides, np.float32)
    for at, weight in zip(index, weights, strict=True):
        if weight.any():
            part = values.take(at, axis=axis)
            part *= weight.reshape(shape)
            total += part
    return total


def resample_bytes(core: Sequence[int], halo: Sequence[int], shape: Sequence[int], out_shape: Sequence[int]) -> int:
    """Bytes that :func:`resample_block` allocates at most: float32, one axis after the other.

    Parameters
    ----------
    core
        Shape of the block on the grid of ``out_shape``, voxels z, y, x.
    halo
        Voxels of the grid of ``shape`` that are read around it.
    shape, out_shape
        Shapes of the grid that is read, and of the grid that is written.
    """
    sides = [min(-(-c * n // m) + 2 * h + 1, n) for c, n, m, h in zip(core, shape, out_shape, halo, strict=True)]
    return passes_bytes(sides, core)


def passes_bytes(sides: list[int], core: Sequence[int]) -> int:
    """Bytes of float32 passes along one axis after the other, from a box with these sides to the core."""
    peak = before = prod(sides)
    for axis, c in enumerate(core):
        sides[axis] = c
        after = prod(sides)
        peak, before = max(peak, before + 2 * after), after
    return 4 * peak
