"""Filters of frequencies whose kernel is short, block by block: one pass with a halo, and a bound on what is left out.

A gain G(f) is a convolution with the kernel h, its inverse transform. Where h is negligible beyond a reach of some
voxels, it is cut off there (with a raised cosine over the last quarter of the reach, :data:`TAPER`), and a value
depends on its surroundings alone. What the cut changes at frequency 0 is given back to the kernel, so that a constant
is filtered exactly. Blocks lie on a lattice that begins at the volume's first voxel, and their size depends on the
filter and on the volume's shape alone; each is transformed with its halo (overlap-save), so the result has the same
bits however the volume is cut. Beyond the faces the volume is mirrored without repeating the border voxel.

With e = h - (the cut kernel) the difference to the filter on the whole volume, mirrored without end, is

- root mean square over the mirrored volume: at most max over f of |E(f)|, times the standard deviation of the voxels
  (Parseval);
- of a voxel: at most the sum of |e|, times half the range of the voxels (Young).

Both are computed on a grid of four reaches a side. Between its frequencies E may be a little larger, so its maximum is
multiplied by :data:`BETWEEN`; of |h| beyond this grid, where kernels of filters with edges fall like a power of the
distance, as much is assumed as in the outer half of it.

>>> gains = [{"kind": "low", "resolution_a": 60.0, "edge": 1.0}]
>>> short = shortest(gains, (10.0, 10.0, 10.0), 0.02)
>>> short.reach, f"{short.bound.gain:.3f}"
((8, 8, 8), '0.019')
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Index3, index3
from volengine.ops.filters.faces import is_fast
from volengine.ops.filters.gains import gain_of
from volengine.ops.filters.transforms import SpectralGrid

REACHES = (8, 12, 16, 24, 32, 48, 64)
"""Reaches that are tried, in voxels of the axis with the smallest ones."""
LEAST_REACH = 4
"""Voxels that a kernel reaches at least along each axis."""
TAPER = 0.25
"""Share of the reach over which the kernel is faded."""
BETWEEN = 1.2
"""Factor for gains between the frequencies at which they are compared."""
SIDES = {8: 108, 12: 135, 16: 160, 24: 210, 32: 280, 48: 324, 64: 360}
"""Voxels of a block with its halo at most, by the reach: larger ones compute less twice, and need more memory."""


@dataclass(frozen=True)
class Bound:
    """How far the result may be from that of the whole volume.

    Parameters
    ----------
    gain
        Largest difference of the two gains, divided by the largest gain.
    rms
        The same without the division: root mean square difference / standard deviation of the voxels.
    most
        Largest difference of a voxel / half the range of the voxels.
    """

    gain: float
    rms: float
    most: float

    def said(self) -> str:
        """The bound in words."""
        return (
            f"at most {self.gain:.2g} of the largest gain: {self.rms:.2g} standard deviations of the voxels (root mean "
            f"square), and {self.most:.2g} times half their range anywhere"
        )


@dataclass(frozen=True)
class Short:
    """A kernel that is cut off, and its blocks' reach.

    Parameters
    ----------
    reach
        Voxels z, y, x beyond which the kernel is 0.
    bound
        What that changes at most.
    """

    reach: Index3
    bound: Bound

    def core(self, shape: Index3) -> Index3:
        """Voxels of a block without its halo, for a volume of this shape: each axis is cut into equal parts.

        >>> Short((8, 8, 8), Bound(0.0, 0.0, 0.0)).core((20, 90, 500))
        (20, 90, 84)
        """
        most = next(side for reach, side in SIDES.items() if reach >= max(self.reach))
        return index3(_part(n, r, most) for n, r in zip(shape, self.reach, strict=True))


def _part(n: int, reach: int, most: int) -> int:
    parts = 1
    while block_side(-(-n // parts), reach) > most:
        parts += 1
    core = -(-n // parts)
    return core + core % 2 if parts > 1 else core


def shortest(gains: Sequence[Mapping[str, Any]], voxel_size: Sequence[float], tolerance: float) -> Short:
    """Find the shortest reach with which the gain is met.

    Parameters
    ----------
    gains
        The gains, as JSON; their product is taken.
    voxel_size
        Angstrom, z, y, x.
    tolerance
        Largest difference of gains that is accepted, as a share of the largest gain.

    Returns
    -------
    Short
        If no reach of :data:`REACHES` is enough, that of the longest one, whose bound is above the tolerance.
    """
    text = json.dumps([dict(gain) for gain in gains])
    finest = min(voxel_size)
    for reach in REACHES:
        sides = index3(max(LEAST_REACH, math.ceil(reach * finest / v)) for v in voxel_size)
        short = Short(sides, _bound(text, tuple(voxel_size), sides))
        if short.bound.gain <= tolerance:
            break
    return short


@lru_cache(maxsize=256)
def _bound(gains: str, voxel_size: tuple[float, ...], reach: Index3) -> Bound:
    return _cut(gains, voxel_size, reach)[1]


def cut_kernel(gains: Sequence[Mapping[str, Any]], voxel_size: Sequence[float], reach: Index3) -> NDArray[np.float32]:
    """The kernel that is cut off: float32 (2 reach + 1 along each axis), its middle at ``reach``."""
    return _cut(json.dumps([dict(gain) for gain in gains]), tuple(voxel_size), reach)[0]


def _cut(gains: str, voxel_size: Sequence[float], reach: Index3) -> tuple[NDArray[np.float32], Bound]:
    import scipy.fft as fft

    sides = index3(4 * r for r in reach)
    wanted = _sampled(json.loads(gains), sides, voxel_size)
    kernel: NDArray[np.float32] = fft.irfftn(wanted, s=sides)
    window = [_window(n, r) for n, r in zip(sides, reach, strict=True)]
    cut = kernel * window[0][:, None, None] * window[1][:, None] * window[2]
    weight = math.prod(float(w.sum(dtype=np.float64)) for w in window)
    missing = (float(wanted[0, 0, 0]) - float(cut.sum(dtype=np.float64))) / weight
    cut += np.float32(missing) * window[0][:, None, None] * window[1][:, None] * window[2]
    wrong = float(np.abs(fft.rfftn(cut).real - wanted).max())
    whole = float(np.abs(kernel).sum(dtype=np.float64))
    middle = [np.abs(np.fft.fftfreq(n, 1 / n)) < n // 4 for n in sides]
    outer = whole - float(np.abs(kernel[np.ix_(*middle)]).sum(dtype=np.float64))
    kernel -= cut
    most = float(np.abs(kernel).sum(dtype=np.float64)) + outer
    largest = float(np.abs(wanted).max()) or 1.0
    rms = BETWEEN * wrong + 1e-6 * largest
    at = [np.arange(-r, r + 1) for r in reach]
    return cut[np.ix_(*at)], Bound(rms / largest, rms, 1.001 * most + 1e-5 * whole)


def _sampled(gains: Sequence[Mapping[str, Any]], sides: Index3, voxel_size: Sequence[float]) -> NDArray[np.float32]:
    """The product of gains at the frequencies of a grid: float32 (z, y, x of a transform of real numbers)."""
    z, y, x = (float(v) for v in voxel_size)
    grid = SpectralGrid(sides, sides, (z, y, x))
    rows, columns = grid.kept
    out = np.empty((sides[0], rows, columns), np.float32)
    for row in range(rows):
        out[:, row] = gain_of(grid.columns(row, row + 1, 0, columns), gains, {})
    return out


def _window(n: int, reach: int) -> NDArray[np.float32]:
    """Weights of the kernel along an axis: 1, and over the last :data:`TAPER` of the reach a raised cosine to 0."""
    away = np.abs(np.fft.fftfreq(n, 1 / n))
    begin = (1 - TAPER) * reach
    weights = 0.5 + 0.5 * np.cos(math.pi * np.clip((away - begin) / (reach + 1 - begin), 0.0, 1.0))
    return np.asarray(weights, np.float32)


# -- blocks ------------------------------------------------------------------------------------------------


def block_side(core: int, reach: int) -> int:
    """Voxels of a transform that holds a block with its halo.

    >>> block_side(80, 8), block_side(21, 8)
    (96, 40)
    """
    return next(side for side in itertools.count(core + 2 * reach) if side % 2 == 0 and is_fast(side))


def block_bytes(core: Index3, reach: Index3) -> int:
    """Bytes that :func:`filter_short` needs: the block, its transform, and what comes back; or for its gain, before."""
    block = 18 * math.prod(block_side(c, r) for c, r in zip(core, reach, strict=True))
    return max(block, 20 * math.prod(4 * r for r in reach)) + 2**20


def transfer_bytes(core: Index3, reach: Index3) -> int:
    """Bytes that a process keeps: the gain of its blocks."""
    return 2 * math.prod(block_side(c, r) + 2 for c, r in zip(core, reach, strict=True))


@lru_cache(maxsize=1)
def _transfer(
    gains: str, voxel_size: tuple[float, ...], reach: Index3, sides: Index3
) -> tuple[NDArray[np.float32], float]:
    """The gain of the kernel that is cut off, on the frequencies of a block; and that at frequency 0."""
    import scipy.fft as fft

    kernel = _cut(gains, voxel_size, reach)[0]
    wide = np.zeros(sides, np.float32)
    at = [np.arange(-r, r + 1) for r in reach]
    wide[np.ix_(*at)] = kernel
    return np.ascontiguousarray(fft.rfftn(wide).real), float(kernel.sum(dtype=np.float64))


def filter_short(
    values: NDArray[Any],
    gains: Sequence[Mapping[str, Any]],
    voxel_size: Sequence[float],
    reach: Index3,
    core: Index3,
) -> NDArray[np.float32]:
    """Filter one block.

    Parameters
    ----------
    values
        Voxels z, y, x of any real dtype, with a margin of ``reach``; a block at the volume's end may be smaller.
    gains, voxel_size, reach
        The gains as JSON, angstrom, and voxels.
    core
        Voxels of a full block without its margin: all blocks of a volume are transformed on one grid.

    Returns
    -------
    float32, without the margin
    """
    import scipy.fft as fft

    sides = index3(block_side(c, r) for c, r in zip(core, reach, strict=True))
    text = json.dumps([dict(gain) for gain in gains])
    transfer, constant = _transfer(text, tuple(float(v) for v in voxel_size), reach, sides)
    wide = np.zeros(sides, np.float32)
    inside = tuple(slice(n) for n in values.shape)
    wide[inside] = values
    mean = np.float32(wide[inside].mean(dtype=np.float64))
    wide[inside] -= mean
    spectrum = fft.rfftn(wide)
    spectrum *= transfer
    back = fft.irfftn(spectrum, s=sides, overwrite_x=True)
    kept = tuple(slice(r, n - r) for r, n in zip(reach, values.shape, strict=True))
    found: NDArray[np.float32] = back[kept] + np.float32(float(mean) * constant)
    return found
