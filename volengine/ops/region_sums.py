"""Exact sums over the voxels of each region of a block: counts, weights, coordinates, and those of the highest voxels.

Voxels come in pieces, in any order of regions. All sums are whole numbers: a piece is summed by ``numpy.bincount`` in
float64, which is exact below 2**53, and added to 64-bit integers. Two columns whose sums together have at most 53 bits
share one call. Coordinates are summed as they are in the block, and moved to the volume at the end.

>>> sums = RegionSums(2, (10, 0, 0), np.dtype("uint8"), products=False)
>>> z, y, x = np.array([[0, 0, 0], [1, 1, 2], [3, 4, 3]])
>>> values = np.array([200, 255, 130], np.uint8)
>>> sums.add(np.array([1, 1, 2]), (z, y, x), values)
>>> top = sums.highest(np.array([1, 1, 2]), values)
>>> sums.add_highest(np.array([1, 2]), (z[top], y[top], x[top]))
>>> {name: column.tolist() for name, column in sums.columns().items() if name in ("weight", "sums", "peak_sums")}
{'weight': [455, 130], 'sums': [[20, 2, 7], [10, 2, 3]], 'peak_sums': [[10, 1, 4], [10, 2, 3]]}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array, Table
from volengine.core.boxes import Index3
from volengine.ops.axes import PAIRS

Int64 = NDArray[np.int64]

WEIGHT_ONE = 1 << 24
"""Floating-point predictions are summed as multiples of 2**-24, so that sums do not depend on their order."""

_EXACT_BITS = 53  # of the whole numbers that float64 holds


class RegionSums:
    """Sums of the regions 1 ... ``count`` of a block.

    Parameters
    ----------
    count
        Number of regions. Each must have a voxel.
    start
        What is added to coordinates: z, y, x in the volume of the voxel that :meth:`add` calls 0, 0, 0.
    dtype
        Type of the values: integers, or floating point (summed as multiples of 2**-24).
    products
        Also sum the products of coordinates, see :data:`~volengine.ops.axes.PAIRS`.
    """

    def __init__(self, count: int, start: Index3, dtype: np.dtype[Any], products: bool) -> None:
        self.start = start
        self.voxels, self.weight, self.peak_voxels = np.zeros((3, count + 1), np.int64)
        self.sums, self.peak_sums = np.zeros((2, 3, count + 1), np.int64)
        self.products = np.zeros((6 if products else 0, count + 1), np.int64)
        self.peak = np.full(count + 1, -np.inf if dtype.kind == "f" else np.iinfo(dtype).min, dtype)

    def add(self, region: NDArray[np.integer], place: Sequence[Int64], values: Array) -> None:
        """Add a piece: region, coordinates (z, y, x in the block, 0 or more) and value of each voxel."""
        first, group, n = _compact(region)
        part = slice(first, first + n)
        self.voxels[part] += np.bincount(group, minlength=n)
        whole = values.dtype.kind == "u"
        z, y, x = place
        columns = [y, x, z, *([values.astype(np.int64)] if whole else [])]
        totals = [self.sums[1], self.sums[2], self.sums[0], *([self.weight] if whole else [])]
        for total, column in zip(totals, _sums_of(group, columns, n), strict=True):
            total[part] += column
        if not whole:
            for high, factor in _exact_parts(values):
                self.weight[part] += np.bincount(group, weights=high, minlength=n).astype(np.int64) * factor
        for total, (a, b) in zip(self.products, PAIRS, strict=False):
            total[part] += _sums_of(group, [place[a] * place[b]], n)[0]
        np.maximum.at(self.peak[part], group, values)

    def highest(self, region: NDArray[np.integer], values: Array) -> NDArray[np.bool_]:
        """Return which voxels of a piece have the highest value of their region; all pieces must have been added."""
        top: NDArray[np.bool_] = values == self.peak.take(region)
        return top

    def add_highest(self, region: NDArray[np.integer], place: Sequence[Int64]) -> None:
        """Add voxels of a piece that have the highest value of their region."""
        if region.size:
            first, group, n = _compact(region)
            part = slice(first, first + n)
            self.peak_voxels[part] += np.bincount(group, minlength=n)
            for total, column in zip(self.peak_sums, _sums_of(group, place, n), strict=True):
                total[part] += column

    def all_highest(self) -> None:
        """Count every voxel that was added as one of the highest: all have the same value."""
        self.peak_voxels, self.peak_sums = self.voxels, self.sums

    def columns(self) -> Table:
        """Return the columns of the table of regions, in coordinates of the volume."""
        n, start = self.voxels, np.array(self.start, np.int64)
        found = {
            "voxels": n[1:],
            "weight": self.weight[1:],
            "sums": (self.sums + start[:, None] * n)[:, 1:].T.copy(),
            "peak": self.peak[1:].astype(np.float64),
            "peak_voxels": self.peak_voxels[1:],
            "peak_sums": (self.peak_sums + start[:, None] * self.peak_voxels)[:, 1:].T.copy(),
        }
        if len(self.products):
            moved = [
                total + start[b] * self.sums[a] + start[a] * self.sums[b] + start[a] * start[b] * n
                for total, (a, b) in zip(self.products, PAIRS, strict=True)
            ]
            found["products"] = np.stack(moved)[:, 1:].T.copy()
        return found


def _compact(region: NDArray[np.integer]) -> tuple[int, NDArray[np.intp], int]:
    """The smallest region of a piece, the regions counted from it, and how many there are up to the largest.

    Regions are numbered in the order of their highest voxels, so a piece has some that are close together: sums over
    all regions of the block for each piece would take longer than those over its voxels.
    """
    first = int(region.min())
    return first, region.astype(np.intp) - first, int(region.max()) - first + 1


def _sums_of(group: NDArray[np.intp], columns: Sequence[Int64], n: int) -> list[Int64]:
    """Exact sums per group of whole numbers that are not negative; two columns in one call if there is room."""
    left, found = list(columns), []
    while left:
        low = left.pop(0)
        bits = (int(low.max()) * low.size).bit_length()
        if left and bits + (int(left[0].max()) * low.size).bit_length() <= _EXACT_BITS:
            both = np.bincount(group, weights=low + (left.pop(0) << bits), minlength=n).astype(np.int64)
            found += [both & ((1 << bits) - 1), both >> bits]
        else:
            found.append(np.bincount(group, weights=low, minlength=n).astype(np.int64))
    return found


def _exact_parts(values: Array) -> Iterator[tuple[NDArray[np.float64], int]]:
    """Values as integers, cut into (part, factor) so that sums of a piece's parts are exact in float64."""
    if values.dtype.kind != "f":
        yield values.astype(np.float64), 1
        return
    whole = np.rint(values.astype(np.float64) * WEIGHT_ONE)
    high = np.floor(whole / WEIGHT_ONE)
    yield high, WEIGHT_ONE
    yield whole - high * WEIGHT_ONE, 1
