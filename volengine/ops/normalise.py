"""Normalising what a network sees; never by block, so that results do not depend on blocks.

==============  ===========================================================================================
``none``        values as they are, as float32
``per_slice``   (x - mean) / (std + 1e-6) with mean and standard deviation of the whole z slice (Ais)
``per_patch``   (x - mean) / (std + 1e-6) of what the network sees at once: the patch with its context
``volume``      (x - mean) / (std + 1e-6) of the whole volume
``global_mad``  (x - mean) / (1.4826 MAD + 1e-7) of a sample of the volume (Ais); MAD: median of |x - median|
==============  ===========================================================================================

Standard deviations are those of the population (divided by n). Statistics are made in a fixed order that no block
shape enters: a slice is cut into cells of :data:`CELL` from the volume's origin; each cell of each slice gives its
count, sum and squared deviations from its own mean (float64); cells are combined by the pairwise formula of Chan,
Golub & LeVeque (1983) with exactly rounded sums (``math.fsum``), which do not depend on order. Two volumes with the
same voxels thus have the same statistics to the last bit, however they are stored or tiled.

>>> moments = combine([slice_moments(slab)])            # one row per slice: count, sum, squared deviations
>>> mean, std = moments.per_slice()
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError

Normalisation = Literal["none", "per_slice", "per_patch", "volume", "global_mad"]

EPSILON = 1e-6
MAD_SLICES = 32
CELL = 512
"""Side of the square cells, voxels, in which a slice's statistics are added up."""


def slice_moments(slab: NDArray[np.generic]) -> NDArray[np.float64]:
    """Count, sum, and sum of squared deviations of every cell of every slice.

    Parameters
    ----------
    slab
        Voxels z, y, x of any real dtype; y and x begin at a multiple of :data:`CELL` in the volume and end at one, or
        at the volume's end.

    Returns
    -------
    ndarray, float64, (z, cells, 3)
    """
    nz, ny, nx = slab.shape
    rows = [slice(y, y + CELL) for y in range(0, ny, CELL)]
    columns = [slice(x, x + CELL) for x in range(0, nx, CELL)]
    out = np.empty((nz, len(rows) * len(columns), 3))
    for z in range(nz):
        for k, (y, x) in enumerate((y, x) for y in rows for x in columns):
            cell = np.ascontiguousarray(slab[z, y, x], dtype=np.float64).ravel()
            total = cell.sum()
            cell -= total / cell.size
            out[z, k] = cell.size, total, np.dot(cell, cell)
    return out


def mad_sample(slab: NDArray[np.generic], box: Box, shape: Index3) -> NDArray[np.float32]:
    """The voxels of a box that :func:`mad_statistics` is made of, in one row.

    Ais's sample: of up to :data:`MAD_SLICES` slices, evenly spread from the first to the last, what lies further than
    a fifth of the side, but at most 64 voxels, from the edges in y and x.

    Parameters
    ----------
    slab
        The voxels of ``box``, part of a volume of ``shape``.
    """
    nz, ny, nx = shape
    chosen = {int(z) for z in np.linspace(0, nz - 1, min(MAD_SLICES, nz))}
    inside = [z - box.start[0] for z in sorted(chosen) if box.start[0] <= z < box.stop[0]]
    cuts = []
    for n, a, b in ((ny, box.start[1], box.stop[1]), (nx, box.start[2], box.stop[2])):
        margin = min(int(0.2 * n), 64)
        cuts.append(slice(max(margin - a, 0), max(min(n - margin, b) - a, 0)))
    return np.ascontiguousarray(slab[inside][:, cuts[0], cuts[1]], dtype=np.float32).ravel()


def mad_statistics(samples: Iterable[NDArray[np.float32]]) -> tuple[float, float]:
    """Centre and scale of ``global_mad``: the sample's mean, and 1.4826 times its median absolute deviation + 1e-7.

    After Ais 1.2 (``core/normalization``); 1.4826 makes the deviation that of a normal distribution.

    Raises
    ------
    InputError
        A voxel is not finite.
    """
    values = np.concatenate(list(samples))
    if not np.isfinite(values).all():
        raise InputError("Voxels are not finite (NaN or infinity); replace them first.")
    centre = float(values.mean(dtype=np.float64))
    values -= np.median(values)
    np.abs(values, out=values)
    return centre, float(1.4826 * np.median(values, overwrite_input=True)) + 1e-7


@dataclass(frozen=True)
class Moments:
    """Combined statistics: one row (count, mean, squared deviations) per slice, and of the whole."""

    slices: NDArray[np.float64]
    whole: tuple[float, float, float]

    def per_slice(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each slice."""
        return self.slices[:, 1], np.sqrt(self.slices[:, 2] / self.slices[:, 0])

    def volume(self) -> tuple[float, float]:
        """Mean and standard deviation of the volume."""
        count, mean, squares = self.whole
        return mean, sqrt(squares / count)


def combine(cells: Iterable[NDArray[np.float64]]) -> Moments:
    """Statistics of slices and volume from the cells of all parts of them.

    Parameters
    ----------
    cells
        Arrays (z, cells, 3) of :func:`slice_moments`, side by side in y and x: all with the same z; in any order.

    Raises
    ------
    InputError
        A voxel is not finite; the message says in which slice.
    """
    together = np.concatenate(list(cells), axis=1)
    bad = np.flatnonzero(~np.isfinite(together).all(axis=(1, 2)))
    if bad.size:
        raise InputError(
            f"{bad.size} slices hold voxels that are not finite (NaN or infinity), the first one z = {bad[0]}; "
            "networks cannot be normalised over them. Replace these voxels first."
        )
    rows = [_merge(row) for row in together]
    slices = np.array(rows)
    as_sums = np.stack([slices[:, 0], slices[:, 0] * slices[:, 1], slices[:, 2]], axis=1)
    return Moments(slices, _merge(as_sums))


def _merge(parts: NDArray[np.float64]) -> tuple[float, float, float]:
    """Count, mean and squared deviations of the union of parts (count, sum, squared deviations)."""
    count = fsum(parts[:, 0])
    mean = fsum(parts[:, 1]) / count
    means = parts[:, 1] / parts[:, 0]
    squares = fsum(parts[:, 2]) + fsum(parts[:, 0] * (means - mean) ** 2)
    return count, mean, squares


def standardise(
    values: NDArray[np.generic],
    mean: NDArray[np.float64] | float,
    std: NDArray[np.float64] | float,
    out: NDArray[np.float32],
) -> None:
    """``(values - mean) / (std + 1e-6)`` in float32, written to ``out``.

    ``mean`` and ``std`` are numbers, or one per slice (length z of ``values``).
    """
    shift, scale = np.asarray(mean, np.float32), np.asarray(std, np.float64) + EPSILON
    wide = (slice(None), None, None) if shift.ndim else ()
    np.subtract(values, shift[wide], out=out, dtype=np.float32, casting="unsafe")
    np.divide(out, scale.astype(np.float32)[wide], out=out)


def standardise_itself(values: NDArray[np.float32]) -> None:
    """The same with the array's own mean and standard deviation, in place."""
    deviations = values.astype(np.float64)
    mean = deviations.mean()
    deviations -= mean
    flat = deviations.ravel()
    standardise(values, float(mean), sqrt(float(np.dot(flat, flat)) / flat.size), values)
