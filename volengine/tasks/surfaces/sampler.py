"""Values of a tomogram at places, read box by box: no volume is ever in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.io.cached import ChunkCache
from volengine.io.names import Source
from volengine.io.open import open_source
from volengine.ops.surfaces.profile_sampling import REACH, Order, along_normals, inside, interpolate
from volengine.tasks.common.lying import Grid

Floats = NDArray[np.float64]

CELL = 64
"""Side of the boxes that are read, voxels; they lie on a fixed lattice."""
CACHE_BYTES = 256 << 20
"""Chunks of the tomogram that are kept."""
ROWS = 1 << 13
"""Profiles that are read at a time."""


class Sampler:
    """Reads values of one volume at places.

    Parameters
    ----------
    volume
        The volume.
    order
        ``linear`` or ``cubic`` (:mod:`volengine.ops.surfaces.profile_sampling`).
    kept
        Bytes of chunks that are kept.
    grid
        How its voxels lie on those of the places; default: the first voxel's centre is the place 0.

    Raises
    ------
    InputError
        When values are read: one inside of the volume is NaN or infinite, or a label is no whole number.
    """

    def __init__(self, volume: Volume, order: Order, kept: int = CACHE_BYTES, grid: Grid | None = None):
        self.volume, self.order = volume, order
        self._source: Source = ChunkCache(kept).over(open_source(volume), volume)
        self._size = np.asarray(volume.voxel_size if grid is None else grid.voxel_size)
        self._first = np.zeros(3) if grid is None else np.asarray(grid.offset)
        self._scale = 1 / 255 if volume.kind == "probability" and np.dtype(volume.dtype).kind in "iu" else 1.0

    @classmethod
    def of(cls, volume: Volume, order: Order, kept: int, grid: Sequence[Sequence[float]] | None) -> Sampler:
        """Make one with a grid of JSON values (:meth:`~volengine.tasks.common.lying.Grid.to_json`), if there is one."""
        return cls(volume, order, kept, None if grid is None else Grid.from_json(grid))

    @property
    def voxel(self) -> float:
        """The longest side of a voxel, angstrom."""
        return float(self._size.max())

    def __call__(self, place: Floats) -> Floats:
        """Values at places (..., 3), angstrom, z, y, x; NaN outside of the volume."""
        at = self._index(place.reshape(-1, 3))
        found = np.full(len(at), np.nan)
        rows = np.flatnonzero(inside(at, self.volume.shape))
        for part in _cells(at[rows]):
            found[rows[part]] = self._box(at[rows[part]])
        if odd := int(np.count_nonzero(~np.isfinite(found[rows]))):  # outside of the volume NaN says so
            first = np.rint(at[rows][~np.isfinite(found[rows])][0]).astype(int).tolist()
            raise InputError(
                f"{self.volume.where}: near {odd} of {len(rows)} places on surfaces values are NaN or infinite, the "
                f"first near voxel {tuple(first)}; replace them."
            )
        return found.reshape(place.shape[:-1])

    def along(self, place: Floats, normal: Floats, distance: Floats, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Profiles: values (n, d) at distances along normals (n, 3), angstrom, cell by cell, so that little is held."""
        found = np.empty((len(place), len(distance)), dtype)
        for rows in _cells(self._index(place)):
            for first in range(0, len(rows), ROWS):
                part = rows[first : first + ROWS]
                found[part] = self(along_normals(place[part], normal[part], distance))
        return found

    def of_voxels(self, place: Floats) -> NDArray[Any]:
        """Values of the voxels in which places (n, 3) lie, as they are stored: labels; 0 outside of the volume."""
        index = np.floor(self._index(place) + 0.5).astype(np.int64)
        there = np.flatnonzero(((index >= 0) & (index < self.volume.shape)).all(axis=1))
        found = np.zeros(len(place), self._source.dtype)
        for part in _cells(index[there].astype(np.float64)):
            rows = there[part]
            start, stop = index[rows].min(axis=0), index[rows].max(axis=0) + 1
            voxels = self._source.read(Box(index3(start.tolist()), index3(stop.tolist())))
            found[rows] = voxels[tuple((index[rows] - start).T)]
        if found.dtype.kind == "f" and not (np.isfinite(found) & (found == np.rint(found))).all():
            raise InputError(
                f"{self.volume.where}: at surfaces there are values that are no whole numbers; labels are."
            )
        return found

    def _index(self, place: Floats) -> Floats:
        found: Floats = (place - self._first) / self._size
        return found

    def _box(self, at: Floats) -> Floats:
        reach = REACH[self.order]
        start = np.floor(at.min(axis=0)).astype(np.int64) - reach
        stop = np.floor(at.max(axis=0)).astype(np.int64) + reach + 2
        box = Box(index3(start.tolist()), index3(stop.tolist())).clip(self.volume.shape)
        voxels = self._source.read(box)
        return self._scale * interpolate(voxels, np.asarray(box.start), at, self.volume.shape, self.order)


def _cells(at_vox: Floats) -> Iterator[NDArray[np.int64]]:
    """Rows of the places in each cell of the lattice, cell by cell."""
    cell = np.floor(at_vox / CELL).astype(np.int64)
    order = np.lexsort(cell.T[::-1])
    cuts = np.flatnonzero(np.any(np.diff(cell[order], axis=0) != 0, axis=1)) + 1
    yield from (part for part in np.split(order, cuts) if len(part))
