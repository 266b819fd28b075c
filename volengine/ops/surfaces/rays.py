"""Straight lines through a mesh: where a ray from each of many points first meets a face.

Faces are sorted into cubic cells; a ray visits points along itself that are half a cell apart, and is compared with the
faces of the cells in which these lie. A face is in every cell that its box, widened by a quarter of a cell, touches, so
that no face on the ray is missed. The memory is that of the faces and of the rays; each ray costs what is near it.

>>> flat = np.array([[5.0, -9, -9], [5.0, 9, -9], [5.0, 0, 9]])
>>> hit = first_hits(np.zeros((1, 3)), np.array([[1.0, 0, 0]]), flat, np.array([[0, 1, 2]]), 0.0, 20.0)
>>> hit.distance.tolist(), hit.face.tolist()
([5.0], [0])
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RAYS_AT_ONCE = 1 << 14
MOST_CELLS = 1 << 21
"""Coordinates of cells along an axis; three of them make a key of 63 bits."""


class Hits(NamedTuple):
    """The first face on each ray: distance (n,), NaN if there is none, and its number, then -1."""

    distance: Floats
    face: Ints


class FaceCells:
    """The faces of a mesh, sorted into cubic cells.

    Parameters
    ----------
    vertices, faces
        (n, 3) and (m, 3).
    """

    def __init__(self, vertices: Floats, faces: NDArray[Any]):
        self.corners = vertices[np.asarray(faces, np.int64)]
        low, high = self.corners.min(axis=1), self.corners.max(axis=1)
        size = np.linalg.norm(high - low, axis=1)
        self.least = low.min(axis=0) if len(low) else np.zeros(3)
        extent = float((high.max(axis=0) - self.least).max()) if len(low) else 1.0
        self.side = max(2.0 * float(np.median(size)) if len(low) else 1.0, float(extent) / (MOST_CELLS - 8), 1e-9)
        first = self._cell(low - self.side / 4)
        sides = self._cell(high + self.side / 4) - first + 1
        many = sides.prod(axis=1)
        face = np.repeat(np.arange(len(many)), many)
        within = np.arange(int(many.sum())) - np.repeat(np.cumsum(many) - many, many)
        per = sides[face]
        step = np.stack(
            [within // (per[:, 1] * per[:, 2]), within // per[:, 2] % per[:, 1], within % per[:, 2]], axis=1
        )
        keys = self._key(first[face] + step)
        order = np.argsort(keys, kind="stable")
        self.face = face[order]
        self.keys, self.start = np.unique(keys[order], return_index=True)
        self.stop = np.append(self.start[1:], len(face))

    def _cell(self, at: Floats) -> Ints:
        return np.floor((at - self.least) / self.side).astype(np.int64)

    def _key(self, cell: Ints) -> Ints:
        inside = ((cell >= -4) & (cell < MOST_CELLS - 4)).all(axis=1)
        z, y, x = (cell + 4).T
        key: Ints = np.where(inside, (z * MOST_CELLS + y) * MOST_CELLS + x, -1)
        return key

    def near(self, at: Floats) -> tuple[Ints, Ints]:
        """Pairs of a point's number and a face of its cell."""
        if not len(self.keys):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        key = self._key(self._cell(at))
        row = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        many = np.where(self.keys[row] == key, self.stop[row] - self.start[row], 0)
        point = np.repeat(np.arange(len(at)), many)
        within = np.arange(int(many.sum())) - np.repeat(np.cumsum(many) - many, many)
        return point, self.face[self.start[row][point] + within]


def first_hits(
    points: Floats, directions: Floats, vertices: Floats, faces: NDArray[Any], least: float, most: float
) -> Hits:
    """The first face that each ray meets at a distance from ``least`` (not included) to ``most``.

    Parameters
    ----------
    points, directions
        (n, 3) begins and unit vectors. A ray whose direction is not finite meets nothing.
    vertices, faces
        The mesh.
    least, most
        Distances, in the unit of the vertices. Of faces at equal distances the one of the lower number counts.
    """
    cells = FaceCells(vertices, faces)
    distance, face = np.full(len(points), np.nan), np.full(len(points), -1, np.int64)
    for begin in range(0, len(points), RAYS_AT_ONCE):
        part = slice(begin, begin + RAYS_AT_ONCE)
        distance[part], face[part] = _cast(cells, points[part], directions[part], least, most)
    return Hits(distance, face)


def _cast(cells: FaceCells, points: Floats, directions: Floats, least: float, most: float) -> tuple[Floats, Ints]:
    best, face = np.full(len(points), np.inf), np.full(len(points), -1, np.int64)
    rays = np.flatnonzero(np.isfinite(directions).all(axis=1) & np.isfinite(points).all(axis=1))
    step = cells.side / 2
    for k in range(int(np.ceil(most / step)) + 1):
        row, candidate = cells.near(points[rays] + k * step * directions[rays])
        ray = rays[row]
        at = _meet(points[ray], directions[ray], cells.corners[candidate])
        good = (at > least) & (at <= most)
        ray, candidate, at = ray[good], candidate[good], at[good]
        order = np.lexsort((candidate, at, ray))
        ray, first = np.unique(ray[order], return_index=True)
        candidate, at = candidate[order][first], at[order][first]
        nearer = (at < best[ray]) | ((at == best[ray]) & (candidate < face[ray]))
        best[ray[nearer]], face[ray[nearer]] = at[nearer], candidate[nearer]
        rays = rays[best[rays] > (k + 0.5) * step]  # what is nearer was in a cell that was visited
        if not len(rays):
            break
    return np.where(np.isfinite(best), best, np.nan), face


def _meet(points: Floats, directions: Floats, corners: Floats) -> Floats:
    """Distance at which each ray meets its triangle, its rim included; NaN if it does not (Möller & Trumbore, 1997)."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(directions, ac)
    det = np.einsum("ij,ij->i", ab, across)
    flat = np.abs(det) <= 1e-14 * np.linalg.norm(ab, axis=1) * np.linalg.norm(ac, axis=1)
    over = 1 / np.where(flat, 1, det)
    off = points - a
    u = np.einsum("ij,ij->i", off, across) * over
    turned = np.cross(off, ab)
    v = np.einsum("ij,ij->i", directions, turned) * over
    at = np.einsum("ij,ij->i", ac, turned) * over
    rim = 1e-9
    good = ~flat & (u >= -rim) & (v >= -rim) & (u + v <= 1 + rim)
    found: Floats = np.where(good, at, np.nan)
    return found
