"""Mean and standard deviation of a volume, or of a part of it that a mask names, from the moments of fixed cells.

The cells are those of :mod:`volengine.ops.normalise`; sums over them are exactly rounded, so blocks do not matter.

>>> slab = np.arange(8.0).reshape(2, 2, 2)
>>> mean_and_std([cell_moments(slab, slab > 5)])
(6.5, 0.5)
"""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.ops.normalise import CELL, slice_moments
from volengine.ops.sums import sum_of_squares


def cell_moments(slab: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Compute count, sum, and sum of squared deviations of every cell of every slice.

    Parameters
    ----------
    slab
        Voxels z, y, x, as for :func:`volengine.ops.normalise.slice_moments`.
    mask
        Which of them count; default: all.

    Returns
    -------
    (z, cells, 3) float64; a cell without any voxel has 0, 0, 0.
    """
    if mask is None:
        return slice_moments(slab)
    nz, ny, nx = slab.shape
    places = [(y, x) for y in range(0, ny, CELL) for x in range(0, nx, CELL)]
    out = np.zeros((nz, len(places), 3))
    for z in range(nz):
        for k, (y, x) in enumerate(places):
            at = (z, slice(y, y + CELL), slice(x, x + CELL))
            cell = slab[at][mask[at]].astype(np.float64)
            if cell.size:
                total = cell.sum()
                cell -= total / cell.size
                out[z, k] = cell.size, total, sum_of_squares(cell)
    return out


def mean_and_std(cells: Iterable[NDArray[np.float64]]) -> tuple[float, float]:
    """Combine the cells of all parts of a volume, in any order (Chan, Golub and LeVeque 1983).

    Raises
    ------
    InputError
        No voxel counts.
    """
    parts = np.concatenate([cell.reshape(-1, 3) for cell in cells])
    parts = parts[parts[:, 0] > 0]
    if not len(parts):
        raise InputError("The mask of the normalisation holds no voxel: it is 0 everywhere.")
    count = fsum(parts[:, 0])
    mean = fsum(parts[:, 1]) / count
    squares = fsum(parts[:, 2]) + fsum(parts[:, 0] * (parts[:, 1] / parts[:, 0] - mean) ** 2)
    return mean, sqrt(squares / count)
