"""The nearest voxel of a mask around each of many places, exact, from blocks of the mask in any division and order.

Distances are those between a place and the *centre* of a voxel; a place in a voxel of the mask has the distance 0. Only
voxels of the mask with a neighbour that is not of it can be the nearest one of a place outside, so that only these are
searched. Of equally near voxels the one with the lowest global index counts, whatever the blocks are.

>>> mask = np.zeros((1, 1, 9), bool)
>>> mask[0, 0, 6:] = True
>>> search = NearestVoxels(np.array([[0.0, 0, 20], [0, 0, 80]]), (10.0, 10.0, 10.0), (1, 1, 9), reach=45.0)
>>> search.add(mask, Box((0, 0, 0), (1, 1, 9)), Box((0, 0, 0), (1, 1, 9)))
>>> search.distance.tolist(), search.voxel.tolist()
([40.0, 0.0], [6, 8])
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.volume import Vector3

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SLACK = 1e-9
"""Relative difference of two distances up to which both are computed anew and compared exactly."""


class NearestVoxels:
    """A search that goes on block by block.

    Parameters
    ----------
    places
        (n, 3) z, y, x.
    voxel_size, shape
        The grid of the mask.
    reach
        Distances beyond it stay infinite; in the unit of the places.
    offset
        The place of the centre of voxel (0, 0, 0).
    """

    def __init__(
        self,
        places: Floats,
        voxel_size: Vector3,
        shape: Index3,
        *,
        reach: float,
        offset: Vector3 = (0.0, 0.0, 0.0),
    ):
        self.size, self.shape, self.reach = np.asarray(voxel_size, np.float64), shape, reach
        self.places = np.asarray(places, np.float64).reshape(-1, 3) - np.asarray(offset)
        self.home = np.rint(self.places / self.size)
        """Index of the voxel in which each place lies."""
        self.distance = np.full(len(self.places), np.inf)
        """(n,) distance of the nearest voxel so far; infinite if none is within the reach."""
        self.voxel = np.full(len(self.places), -1, np.int64)
        """(n,) global index of this voxel, -1 if there is none."""

    def blocks(self, side: Index3) -> list[Box]:
        """The blocks of a division of the volume in which something can be within reach, the nearest ones first.

        Parameters
        ----------
        side
            Voxels of a block, z, y, x; the division begins at voxel (0, 0, 0).
        """
        if not len(self.places):
            return []
        sides, count = np.array(side), -(-np.array(self.shape) // side)
        least = np.clip(np.floor(((self.places - self.reach) / self.size - 1) / sides), 0, count - 1).astype(np.int64)
        most = np.clip(np.floor(((self.places + self.reach) / self.size + 1) / sides), 0, count - 1).astype(np.int64)
        within = self.reach + float(np.linalg.norm(self.size)) / 2  # places lie in voxels whose centres are farther
        near: dict[tuple[int, ...], float] = {}
        for low, high in np.unique(np.concatenate([least, most], axis=1), axis=0).reshape(-1, 2, 3):
            mine = self.places[(least == low).all(axis=1) & (most == high).all(axis=1)]
            for step in np.ndindex(*(high - low + 1)):
                at = tuple((low + step).tolist())
                apart = self._to_block(mine, self._block(at, side)).min()
                if apart <= within:
                    near[at] = min(apart, near.get(at, np.inf))
        return [self._block(at, side) for at in sorted(near, key=lambda at: (near[at], at))]

    def wants(self, core: Box) -> NDArray[np.bool_]:
        """(n,) which places could be nearer to a voxel of this box than to what they have found."""
        here = ((self.home >= core.start) & (self.home < core.stop)).all(axis=1) & (self.distance > 0)
        near = self._to_block(self.places, core) <= np.minimum(self.distance, self.reach) * (1 + SLACK)
        found: NDArray[np.bool_] = here | near
        return found

    def add(self, mask: NDArray[np.bool_], box: Box, core: Box) -> None:
        """Search in a block.

        Parameters
        ----------
        mask
            bool: the mask in ``box``, which is the core with one voxel more on each side, as far as the volume reaches.
        box, core
            The boxes.
        """
        rows = np.flatnonzero(self.wants(core))
        if not len(rows) or not mask.any():
            return
        self._at_home(rows, mask, box)
        rows = rows[self.distance[rows] > 0]
        rim = np.argwhere(_rim(mask)[core.slices_in(box)]) + core.start
        if len(rows) and len(rim):
            self._search(rows, rim)

    def _block(self, at: tuple[int, ...], side: Index3) -> Box:
        start = index3(a * s for a, s in zip(at, side, strict=True))
        return Box(start, index3(min(a + s, n) for a, s, n in zip(start, side, self.shape, strict=True)))

    def _to_block(self, places: Floats, core: Box) -> Floats:
        """Distance of each place from the nearest centre of a voxel of a box, or from what lies between the centres."""
        low, high = np.array(core.start) * self.size, (np.array(core.stop) - 1) * self.size
        found: Floats = np.linalg.norm(np.maximum(0, np.maximum(low - places, places - high)), axis=1)
        return found

    def _at_home(self, rows: Ints, mask: NDArray[np.bool_], box: Box) -> None:
        """Places that lie in a voxel of the mask."""
        index = self.home[rows].astype(np.int64) - box.start
        there = ((index >= 0) & (index < mask.shape)).all(axis=1)
        rows, index = rows[there], index[there]
        of_it = mask[tuple(index.T)]
        rows = rows[of_it]
        self.distance[rows] = 0
        self.voxel[rows] = np.ravel_multi_index(tuple((index[of_it] + box.start).T), self.shape)

    def _search(self, rows: Ints, rim: Ints) -> None:
        from scipy.spatial import cKDTree

        tree = cKDTree(rim * self.size)
        bound = np.minimum(self.distance[rows], self.reach) * (1 + SLACK)
        far, found = tree.query(self.places[rows], 2, distance_upper_bound=float(bound.max()) * (1 + SLACK))
        hit = far[:, 0] <= bound
        rows, far, found = rows[hit], far[hit], found[hit]
        tied = far[:, 1] <= far[:, 0] * (1 + SLACK)
        self._keep(rows[~tied], rim[found[~tied, 0]])
        for row, apart in zip(rows[tied].tolist(), far[tied, 0].tolist(), strict=True):
            some = rim[tree.query_ball_point(self.places[row], apart * (1 + SLACK))]
            exact = self._exact(self.places[row], some)
            some = some[exact == exact.min()]
            self._keep(np.array([row]), some[np.lexsort(some.T[::-1])[:1]])

    def _keep(self, rows: Ints, index: Ints) -> None:
        """Take voxels for places that they are nearer to than what was found; each row is there once."""
        apart = self._exact(self.places[rows], index)
        flat = np.ravel_multi_index(tuple(index.T), self.shape) if len(index) else np.zeros(0, np.int64)
        nearer = (apart < self.distance[rows]) | ((apart == self.distance[rows]) & (flat < self.voxel[rows]))
        nearer &= apart <= self.reach
        self.distance[rows[nearer]], self.voxel[rows[nearer]] = apart[nearer], flat[nearer]

    def _exact(self, places: Floats, index: Ints) -> Floats:
        """Distances by one formula for all divisions into blocks."""
        z, y, x = np.moveaxis(places - index * self.size, -1, 0)
        found: Floats = np.sqrt(z * z + y * y + x * x)
        return found


def _rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels of a mask with one of six neighbours that is not of it; what lies outside of the array is not."""
    within = mask.copy()
    for axis in range(mask.ndim):
        for near, far in _shifted(axis, mask.ndim):
            within[near] &= mask[far]
        for side in (0, -1):
            within[(slice(None),) * axis + (side,)] = False
    return mask & ~within


def _shifted(axis: int, ndim: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """The slices of an array and of itself moved by one voxel, both ways."""
    first, last = [slice(None)] * ndim, [slice(None)] * ndim
    first[axis], last[axis] = slice(None, -1), slice(1, None)
    yield tuple(first), tuple(last)
    yield tuple(last), tuple(first)
