"""Areas of a surface where a value of its vertices lies below levels: rings of a distance, classes of a column.

>>> import numpy as np
>>> corners, faces = np.array([[0.0, 0, 0], [0, 0, 2], [0, 2, 0]]), np.array([[0, 1, 2]])
>>> area_below(corners, faces, [0.0, 2.0, 2.0], [1.0, 2.0]).tolist()    # linear between vertices
[0.5, 2.0]
>>> round(float(area_within(corners, faces, [0.0, 2.0, 2.0], [1.0])[0]) / np.pi, 6)    # a distance: a quarter of a disc
0.25
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

PAIRS = 200_000
"""Pairs of a face and a level that are computed together: some 100 MB."""


def face_areas(vertices: Floats, faces: NDArray[np.integer]) -> Floats:
    """(m,) areas of faces."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    found: Floats = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return found


def area_below(vertices: ArrayLike, faces: ArrayLike, values: ArrayLike, levels: ArrayLike) -> Floats:
    """Area where a value, linear in each face, is at most each level.

    Parameters
    ----------
    vertices, faces
        (v, 3) and (m, 3).
    values
        (v,) a value at each vertex. A face with an infinite or missing one counts nowhere.
    levels
        (k,) ascending.

    Returns
    -------
    (k,) areas, in the square of the vertices' unit; exact for values that are linear in each face.
    """
    at, corners, level = _given(vertices, faces, levels)
    value = np.asarray(values, np.float64)[corners]
    area = face_areas(at, corners)
    known = np.isfinite(value).all(axis=1)
    value, area = np.sort(value[known], axis=1), area[known]

    def part(face: Int64, which: Int64) -> Floats:
        a, b, c = value[face].T
        t = level[which]
        low = np.square(t - a) / np.where(b > a, (b - a) * (c - a), 1.0)
        high = 1 - np.square(c - t) / np.where(c > b, (c - a) * (c - b), 1.0)
        found: Floats = area[face] * np.where(t < b, low, np.where(t < c, high, 1.0))
        return found

    return _summed(value[:, 0], value[:, 2], area, level, part)


def area_within(vertices: ArrayLike, faces: ArrayLike, distance: ArrayLike, radii: ArrayLike) -> Floats:
    """Area within each distance of a point, from the distances of the vertices.

    Parameters
    ----------
    vertices, faces
        (v, 3) and (m, 3).
    distance
        (v,) the distance of each vertex, 0 or more. A face with an infinite one counts nowhere: distances must be known
        one edge farther than the largest radius.
    radii
        (k,) ascending.

    Returns
    -------
    (k,) areas, in the square of the vertices' unit.

    Notes
    -----
    On a flat piece, the square of the distance to a point is the square of the position plus something linear. So
    what is interpolated in a face is d² − |p|², and the part of a face within a radius is its section with a disc:
    exact where the way to the face is flat, with an error of second order elsewhere. (A distance that is interpolated
    itself is too large inside of faces near the point.)
    """
    corners = np.asarray(faces, np.int64).reshape(-1, 3)
    return Discs(vertices, corners).within(np.arange(len(corners)), distance, radii)


class Discs:
    """The areas of :func:`area_within` from many points of one surface, whose faces are measured once.

    Parameters
    ----------
    vertices, faces
        (v, 3) and (m, 3).
    """

    def __init__(self, vertices: ArrayLike, faces: ArrayLike):
        at, self.faces, _ = _given(vertices, faces, ())
        self.area = face_areas(at, self.faces)
        self.some = self.area > 0
        flat = _flattened(at[self.faces], self.some)
        self.length, self.u, self.v = flat[:, 1, 0], flat[:, 2, 0], flat[:, 2, 1]
        self.longest = np.linalg.norm(flat - flat[:, [1, 2, 0]], axis=2).max(axis=1, initial=0.0)

    def within(self, rows: Int64, distance: ArrayLike, radii: ArrayLike) -> Floats:
        """(k,) areas of some faces, by their numbers, within radii; ``distance`` is that of all vertices."""
        level = np.atleast_1d(np.asarray(radii, np.float64))
        value = np.asarray(distance, np.float64)[self.faces[rows]]
        known = np.isfinite(value).all(axis=1) & self.some[rows]
        rows, value = rows[known], value[known]
        area, length, u, v = self.area[rows], self.length[rows], self.u[rows], self.v[rows]
        squared = np.square(value)
        gx = (squared[:, 1] - np.square(length) - squared[:, 0]) / length
        gy = (squared[:, 2] - np.square(u) - np.square(v) - squared[:, 0] - gx * u) / v
        cx, cy = -gx / 2, -gy / 2
        lift = squared[:, 0] - (np.square(cx) + np.square(cy))
        low = np.maximum(value.min(axis=1) - self.longest[rows], 0.0)  # no point of a face is nearer

        def part(face: Int64, which: Int64) -> Floats:
            radius = np.sqrt(np.maximum(np.square(level[which]) - lift[face], 0.0))
            x, y = cx[face], cy[face]
            seen = ((-x, -y), (length[face] - x, -y), (u[face] - x, v[face] - y))
            return np.clip(_disc_and_triangle(seen, radius), 0.0, area[face])

        return _summed(low, value.max(axis=1, initial=0.0), area, level, part)


def _given(vertices: ArrayLike, faces: ArrayLike, levels: ArrayLike) -> tuple[Floats, Int64, Floats]:
    corners = np.asarray(faces, np.int64).reshape(-1, 3)
    return np.asarray(vertices, np.float64), corners, np.atleast_1d(np.asarray(levels, np.float64))


def _summed(low: Floats, high: Floats, area: Floats, levels: Floats, part: object) -> Floats:
    """Whole faces below each level, and the parts of those that it crosses."""
    begins = np.searchsorted(levels, low, side="right")
    ends = np.searchsorted(levels, high, side="left")
    whole = np.cumsum(np.bincount(ends, area, minlength=len(levels) + 1))[: len(levels)]
    found: Floats = whole.astype(np.float64)
    for face, which in _pairs(begins, ends):
        found += np.bincount(which, part(face, which), minlength=len(levels))  # type: ignore[operator]
    return found


def _pairs(begins: Int64, ends: Int64) -> Iterator[tuple[Int64, Int64]]:
    """The faces and the levels from ``begins`` to before ``ends`` of each, some at a time."""
    counts = np.maximum(ends - begins, 0)
    rows = np.flatnonzero(counts)
    last = np.cumsum(counts[rows])
    start = 0
    while start < len(rows):
        before = last[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(last, before + PAIRS, side="right")))
        some, n = rows[start:stop], counts[rows[start:stop]]
        offset = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        yield np.repeat(some, n), np.repeat(begins[some], n) + offset
        start = stop


def _flattened(corners: Floats, some: NDArray[np.bool_]) -> Floats:
    """(m, 3, 2) the corners of each triangle in its plane, the first at 0 and the second on the first axis.

    Those without area, not among ``some``, are all at 0.
    """
    flat = np.zeros((len(corners), 3, 2))
    a, b = (corners[:, 1] - corners[:, 0])[some], (corners[:, 2] - corners[:, 0])[some]
    length = np.linalg.norm(a, axis=1)
    flat[some, 1, 0] = length
    flat[some, 2, 0] = np.einsum("ij,ij->i", a, b) / length
    flat[some, 2, 1] = np.linalg.norm(np.cross(a, b), axis=1) / length
    return flat


def _disc_and_triangle(corners: Sequence[tuple[Floats, Floats]], radius: Floats) -> Floats:
    """Areas of the sections of discs around 0 with triangles, from the x and y of corners that go counterclockwise.

    Each edge adds, with its sign, the section of the disc with the triangle of 0 and the edge: sectors where the edge
    is outside, a triangle where it is inside; an edge without length adds nothing. (An end that is inside keeps its
    bits: near 0 a direction is all noise.)
    """
    total = np.zeros(len(radius))
    squared = np.square(radius)
    for i in range(3):
        (ax, ay), (bx, by) = corners[i], corners[(i + 1) % 3]
        dx, dy = bx - ax, by - ay
        length = dx * dx + dy * dy
        some = length > 0  # seen from far away, the ends of a sliver's edge round to one place
        length = np.where(some, length, 1.0)
        half = -(ax * dx + ay * dy) / length
        root = np.sqrt(np.maximum(half * half - (ax * ax + ay * ay - squared) / length, 0.0))
        first, second = np.clip(half - root, 0.0, 1.0), np.clip(half + root, 0.0, 1.0)
        px, py = ax + first * dx, ay + first * dy
        qx, qy = np.where(second < 1, ax + second * dx, bx), np.where(second < 1, ay + second * dy, by)
        turn = np.arctan2(ax * py - ay * px, ax * px + ay * py) + np.arctan2(qx * by - qy * bx, qx * bx + qy * by)
        total += np.where(some, squared * turn + (px * qy - py * qx), 0.0)
    return total / 2
