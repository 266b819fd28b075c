"""The display range of an image: the values that viewers show as black and white.

>>> display_range(open_volume("tomo.ome.zarr"))      # doctest: +SKIP
DisplayRange(low=-312.5, high=287.9, least=-2044.0, largest=1310.0)

A tomogram has a few voxels with extreme values (gold beads, edges), so the range from its smallest to its largest value
would show no contrast. The range is computed from voxels of level 0, because coarser levels are averages and their
range would be too narrow.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.volume import Volume
from volengine.io.omezarr.arrays import ZarrSource

CUBE_VOX = 64
"""Side of the cubes of voxels that are sampled, and of the lattice on which they lie: a chunk of ordinary images."""
PERCENTILES = (0.1, 99.9)


class DisplayRange(NamedTuple):
    """``low`` and ``high``: values that are shown as black and white; ``least`` and ``largest``: ends of the slider."""

    low: float
    high: float
    least: float
    largest: float


def display_range(volume: Volume) -> DisplayRange | None:
    """Compute the 0.1 and 99.9 percentiles of eight cubes at one and two thirds of each axis.

    Parameters
    ----------
    volume
        Level 0 of an image in a Zarr store. At most 8 x 64³ voxels (2.1 million) are read. Their places depend on the
        shape only, so the range does not depend on chunks or blocks.

    Returns
    -------
    The range, with ``least <= low < high <= largest``; ``None`` if the cubes do not have two different finite values.
    NaN and infinite values are left out.
    """
    source = ZarrSource(volume)
    cubes = [source.read(Box((z[0], y[0], x[0]), (z[1], y[1], x[1]))).ravel() for z, y, x in _cubes(volume)]
    values = np.concatenate(cubes)
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        values = values[finite]
    if values.size == 0:
        return None
    least, largest = float(values.min()), float(values.max())
    low, high = _percentiles(values)
    if low == high:  # nearly all voxels are alike, as in a volume of a few points
        low, high = least, largest
    return DisplayRange(low, high, least, largest) if low < high else None


def _percentiles(values: NDArray[Any]) -> tuple[float, float]:
    """Compute :data:`PERCENTILES` as ``numpy.percentile`` does of these values as float64, with the same bits.

    The values are brought into order as they are, which takes half as long as it does for float64.
    """
    places = [(values.size - 1) * (p / 100) for p in PERCENTILES]
    below = [math.floor(place) for place in places]
    ends = [(n, min(n + 1, values.size - 1)) for n in below]
    ordered = np.partition(values, sorted({n for pair in ends for n in pair}))
    found = []
    for place, (n, m) in zip(places, ends, strict=True):
        a, b, t = float(ordered[n]), float(ordered[m]), place - n
        found.append(b - (b - a) * (1 - t) if t >= 0.5 else a + (b - a) * t)
    return found[0], found[1]


def _cubes(volume: Volume) -> list[tuple[tuple[int, int], ...]]:
    """Return start and stop along z, y, x of each cube; there are fewer than eight if an axis is short."""
    axes = []
    for size in volume.shape:
        cells = -(-size // CUBE_VOX)
        chosen = sorted({(cells - 1) // 3, cells - 1 - (cells - 1) // 3})
        axes.append([(c * CUBE_VOX, min((c + 1) * CUBE_VOX, size)) for c in chosen])
    return list(itertools.product(*axes))
