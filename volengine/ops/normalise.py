"""Normalisation of a network's input; never by block, so that results do not depend on blocks.

==============  ===========================================================================================
``none``        the values themselves, as float32
``per_slice``   (x - mean) / (std + 1e-6 std of the volume) with mean and std of the whole z slice
``per_patch``   (x - mean) / std of the network's whole input: the patch with its context
``volume``      (x - mean) / std of the whole volume
``global_mad``  (x - mean) / (1.4826 MAD) of a sample of the volume (Ais); MAD: median of |x - median|
==============  ===========================================================================================

None of them depends on the unit of the grey values: a tomogram that is multiplied by 1e-9 gives the same input of the
network. Where all voxels are equal, the result is 0. (In ``per_slice``, slices with almost nothing in them are not
blown up: 1e-6 of the volume's standard deviation is added.) Ais adds a fixed number to the divisor instead, 1e-6 or
for ``global_mad`` 1e-7, and so gives volumes of tiny grey values too little contrast; ``--compat ais`` does as Ais
does, see :data:`AIS_EPSILON`.

Standard deviations are those of the population (divided by n). Statistics are computed in an order that does not depend
on blocks. A slice is divided into cells of :data:`CELL` voxels from the volume's origin. Each cell of each slice yields
its count, its sum, and its squared deviations from its own mean (float64). The cells are combined by the formula of
Chan, Golub & LeVeque (1983) with exactly rounded sums (``math.fsum``), which do not depend on the order of the terms.
So two volumes with the same voxels have the same statistics to the last bit, however they are stored or tiled.

>>> slab = np.arange(8.0).reshape(2, 2, 2)
>>> mean, std = combine([slice_moments(slab)]).per_slice()
>>> mean.tolist(), std.round(3).tolist()
([1.5, 5.5], [1.118, 1.118])
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
from volengine.ops.sums import sum_of_squares

Normalisation = Literal["none", "per_slice", "per_patch", "volume", "global_mad"]

SLICE_FLOOR = 1e-6
"""Share of the volume's standard deviation that is added to that of each slice."""
AIS_EPSILON: dict[Normalisation, float] = {"per_slice": 1e-6, "per_patch": 1e-6, "volume": 1e-6, "global_mad": 1e-7}
"""What Ais adds to the divisor of each normalisation."""
MAD_SLICES = 32
CONSTANT = {"f": 2.0**-24, "d": 2.0**-48}
"""By the type of the arithmetic: the largest ratio of standard deviation to mean that is an error of rounding."""
CELL = 512
"""Side of the square cells in which a slice's statistics are added up, voxels."""


def slice_moments(slab: NDArray[np.generic]) -> NDArray[np.float64]:
    """Compute count, sum, and sum of squared deviations of every cell of every slice.

    Parameters
    ----------
    slab
        Voxels z, y, x of any real dtype. Along y and x it must begin at a multiple of :data:`CELL` of the volume, and
        end at one or at the volume's end.

    Returns
    -------
    (z, cells, 3) float64
    """
    nz, ny, nx = slab.shape
    rows = [slice(y, y + CELL) for y in range(0, ny, CELL)]
    columns = [slice(x, x + CELL) for x in range(0, nx, CELL)]
    out = np.empty((nz, len(rows) * len(columns), 3))
    for z in range(nz):
        for k, (y, x) in enumerate((y, x) for y in rows for x in columns):
            cell = slab[z, y, x].astype(np.float64).ravel()  # a copy: it is changed below
            total = cell.sum()
            cell -= total / cell.size
            out[z, k] = cell.size, total, sum_of_squares(cell)
    return out


def mad_sample(slab: NDArray[np.generic], box: Box, shape: Index3) -> NDArray[np.float32]:
    """Select the voxels of a box that belong to the sample for :func:`mad_statistics`.

    The sample is that of Ais: up to :data:`MAD_SLICES` slices, evenly spaced from the first to the last, without a
    margin along y and x of a fifth of the side, but at most 64 voxels.

    Parameters
    ----------
    slab
        The voxels of ``box``.
    box
        A box inside of the volume.
    shape
        Shape of the volume, z, y, x.

    Returns
    -------
    (n,) float32
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
    """Compute centre and scale of ``global_mad``: the mean, and 1.4826 times the median absolute deviation.

    This is the method of Ais 1.2 (``core/normalization``). With the factor 1.4826 the scale of a normal distribution is
    its standard deviation.

    Parameters
    ----------
    samples
        The arrays of :func:`mad_sample` of all parts of the volume.

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
    return centre, float(1.4826 * np.median(values, overwrite_input=True))


def check_mad(centre: float, scale: float, where: str) -> None:
    """Refuse statistics of ``global_mad`` by which nothing can be divided.

    Raises
    ------
    InputError
        More than half of the voxels of the sample are equal, so the median absolute deviation is 0.
    """
    if not scale > CONSTANT["f"] * abs(centre):
        raise InputError(
            f"{where}: the median absolute deviation is {scale / 1.4826:g} (mean {centre:g}), because more than half "
            "of the voxels are equal; such a volume has no normalisation global_mad. Cut away what is empty, or use a "
            "model with another normalisation."
        )


@dataclass(frozen=True)
class Moments:
    """Combined statistics: (count, mean, sum of squared deviations), one row per slice, and for the whole volume."""

    slices: NDArray[np.float64]
    whole: tuple[float, float, float]

    def per_slice(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of each slice, (z,) float64."""
        return self.slices[:, 1], np.sqrt(self.slices[:, 2] / self.slices[:, 0])

    def volume(self) -> tuple[float, float]:
        """Return mean and standard deviation of the volume."""
        count, mean, squares = self.whole
        return mean, sqrt(squares / count)


def combine(cells: Iterable[NDArray[np.float64]]) -> Moments:
    """Combine the cells of a volume's parts to the statistics of its slices and of the whole.

    Parameters
    ----------
    cells
        Arrays (z, cells, 3) of :func:`slice_moments`. Each covers all slices; together they cover the whole plane.
        Their order does not matter.

    Raises
    ------
    InputError
        A voxel is not finite; the message names the first such slice.
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
    """Return count, mean and squared deviations of the union of parts (count, sum, squared deviations)."""
    count = fsum(parts[:, 0])
    mean = fsum(parts[:, 1]) / count
    means = parts[:, 1] / parts[:, 0]
    squares = fsum(parts[:, 2]) + fsum(parts[:, 0] * (means - mean) ** 2)
    return count, mean, squares


def slice_scale(std: NDArray[np.float64], whole: float) -> NDArray[np.float64]:
    """The divisors of ``per_slice``: the standard deviations of the slices and a small share of the volume's."""
    return std + SLICE_FLOOR * whole


def standardise(
    values: NDArray[np.generic],
    mean: NDArray[np.float64] | float,
    std: NDArray[np.float64] | float,
    out: NDArray[np.float32],
    epsilon: float = 0.0,
) -> None:
    """Write ``(values - mean) / (std + epsilon)`` to ``out``.

    It is computed in float32, or in float64 if the voxels have more than float32 can hold.

    Parameters
    ----------
    values
        Voxels z, y, x, any real dtype.
    mean, std
        Numbers, or arrays with one number per slice, (z,).
    out
        float32, of the shape of ``values``.
    epsilon
        0: the result does not depend on the unit of the values. It is 0 where ``std`` is not larger than the rounding
        error of ``mean``, because then all values are equal. Otherwise a number that is added, see :data:`AIS_EPSILON`.
    """
    kind = np.result_type(values.dtype, np.float32)
    shift, scale = np.asarray(mean, kind), np.asarray(std, np.float64) + epsilon
    if not epsilon:
        scale = np.where(scale > CONSTANT[kind.char] * np.abs(mean), scale, np.inf)
    divisor = scale.astype(np.float32)
    divisor = np.where(divisor > 0, divisor, np.float32(np.inf))
    wide = (slice(None), None, None) if shift.ndim else ()
    np.subtract(values, shift[wide], out=out, dtype=kind, casting="unsafe")
    np.divide(out, divisor[wide], out=out)


def standardise_itself(values: NDArray[np.float32], epsilon: float = 0.0) -> None:
    """Standardise an array in place with its own mean and (population) standard deviation; see :func:`standardise`."""
    deviations = values.astype(np.float64)
    mean = deviations.mean()
    deviations -= mean
    standardise(values, float(mean), sqrt(sum_of_squares(deviations) / deviations.size), values, epsilon)
