"""The grey values that viewers show of an image.

>>> display_range(open_volume("tomo.ome.zarr"))      # doctest: +SKIP
DisplayRange(low=-312.5, high=287.9, least=-2044.0, largest=1310.0)

A tomogram has a few voxels far off all others (gold beads, edges), so the range from its least to its largest value
shows nothing. The range is taken from voxels of level 0: coarser levels are averaged, and theirs would be too narrow.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from volengine.core.boxes import Box
from volengine.core.volume import Volume
from volengine.io.omezarr.arrays import ZarrSource

CUBE_VOX = 64
"""Edge of each cube of voxels that is looked at, and the lattice it lies on: a chunk of ordinary images."""
PERCENTILES = (0.1, 99.9)


class DisplayRange(NamedTuple):
    """Values shown as black and white, and the least and the largest one that may be chosen instead."""

    low: float
    high: float
    least: float
    largest: float


def display_range(volume: Volume) -> DisplayRange | None:
    """The 0.1 and the 99.9 percentile of eight cubes at a third and two thirds of each axis.

    Parameters
    ----------
    volume
        Level 0 of an image in a Zarr store. At most 8 x 64³ voxels are read (2.1 million); they depend on the shape
        alone, so the range depends on the voxels alone, not on chunks or blocks.

    Returns
    -------
    The range, with ``least <= low < high <= largest``, or ``None`` where the cubes have no two different finite
    values. Values that are no finite numbers are left out.
    """
    source = ZarrSource(volume)
    cubes = [source.read(Box((z[0], y[0], x[0]), (z[1], y[1], x[1]))).ravel() for z, y, x in _cubes(volume)]
    values = np.concatenate(cubes)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if values.size == 0:
        return None
    least, largest = float(values.min()), float(values.max())
    low, high = (float(v) for v in np.percentile(values.astype(np.float64), PERCENTILES, overwrite_input=True))
    if low == high:  # nearly all voxels are alike, as in a volume of a few points
        low, high = least, largest
    return DisplayRange(low, high, least, largest) if low < high else None


def _cubes(volume: Volume) -> list[tuple[tuple[int, int], ...]]:
    """Begin and end along z, y, x of each cube; fewer than eight where an axis is short."""
    axes = []
    for size in volume.shape:
        cells = -(-size // CUBE_VOX)
        chosen = sorted({(cells - 1) // 3, cells - 1 - (cells - 1) // 3})
        axes.append([(c * CUBE_VOX, min((c + 1) * CUBE_VOX, size)) for c in chosen])
    return list(itertools.product(*axes))
