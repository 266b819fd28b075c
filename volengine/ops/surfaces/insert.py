"""Points and lines put into a surface as vertices and edges; its shape stays the same.

Geodesic distances are computed from and to vertices. A point in a face, or on an edge, becomes a vertex by dividing the
faces around it, so its distances are exact, not those of the nearest vertex.

>>> import numpy as np
>>> corners, faces = np.array([[0.0, 0, 0], [0, 0, 9], [0, 9, 0]]), np.array([[0, 1, 2]])
>>> found = insert_points(corners, faces, [0], [[1 / 3, 1 / 3, 1 / 3]])
>>> found.vertices[found.vertex[0]].tolist(), len(found.faces), found.parent.tolist()
([0.0, 3.0, 3.0], 3, [0, 0, 0])
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

SNAP = 1e-4
"""A point this near to a vertex or an edge, as a share of the longest edge of its face, is put onto it. A cut goes
through a vertex whose value differs from the level by no more than this share of what it differs from a neighbour's:
no sliver is cut off, and rounding does not decide where a cut along edges goes."""


@dataclass(frozen=True, eq=False)
class Refined:
    """A surface with further vertices.

    Parameters
    ----------
    vertices, faces
        (v, 3) and (m, 3); the first vertices are those of the surface before.
    parent
        (m,) int64: the face of the surface before, of which each face is a part.
    vertex
        (n,) int64: the vertex of each inserted point.
    between, share
        Of :func:`cut_at`: (k, 2) int64 the two vertices between which each new vertex lies, and (k,) how far along.
    value
        Of :func:`cut_at`: (v,) the value at each vertex, on the cut the level itself.
    """

    vertices: Floats
    faces: Int64
    parent: Int64
    vertex: Int64
    between: Int64 = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    share: Floats = field(default_factory=lambda: np.zeros(0))
    value: Floats = field(default_factory=lambda: np.zeros(0))

    def carried(self, column: ArrayLike) -> Floats:
        """A column of the surface before, with the values of the vertices on the cut, between those of their ends."""
        before = np.asarray(column, np.float64)
        a, b = before[self.between[:, 0]], before[self.between[:, 1]]
        return np.concatenate([before, a + self.share * (b - a)])


def insert_points(vertices: ArrayLike, faces: ArrayLike, face: ArrayLike, weights: ArrayLike) -> Refined:
    """Divide faces, so that points on them become vertices.

    Parameters
    ----------
    vertices, faces
        The surface: (v, 3), z, y, x, and (m, 3).
    face, weights
        (n,) the face of each point, and (n, 3) its barycentric weights there.

    Returns
    -------
    Refined
        Points at one place share a vertex. A point moves by at most :data:`SNAP` of an edge.
    """
    work = _Divided(np.asarray(vertices, np.float64), np.asarray(faces, np.int64).reshape(-1, 3))
    places = np.asarray(weights, np.float64).reshape(-1, 3)
    found = [work.insert(int(f), w) for f, w in zip(np.asarray(face, np.int64), places, strict=True)]
    return work.refined(np.array(found, np.int64))


class _Divided:
    """Faces that are being divided."""

    def __init__(self, vertices: Floats, faces: Int64):
        self.start, self.faces = vertices, faces
        self.places: dict[int, Floats] = {}
        self.count = len(vertices)
        self.parts: dict[int, list[tuple[int, int, int]]] = {}
        sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        key = sides[:, 0] * (len(vertices) + 1) + sides[:, 1]
        self._order = np.argsort(key, kind="stable")
        self._keys = key[self._order]
        self._cut: dict[tuple[int, int], list[int]] = {}  # new vertices of a divided edge of the surface, any order

    def place(self, vertex: int) -> Floats:
        return self.places[vertex] if vertex >= len(self.start) else self.start[vertex]

    def insert(self, face: int, weights: Floats) -> int:
        a, b, c = (int(v) for v in self.faces[face])
        corners = self.start[[a, b, c]]
        at = weights @ corners
        snap = SNAP * float(np.linalg.norm(corners - corners[[1, 2, 0]], axis=1).max())
        parts = self.parts.get(face, [(a, b, c)])
        used = sorted({v for part in parts for v in part})
        gaps = [float(np.linalg.norm(self.place(v) - at)) for v in used]
        nearest = int(np.argmin(gaps))
        if gaps[nearest] <= snap:
            return used[nearest]
        edge = self._edge_near(parts, at, snap)
        if edge is None:
            return self._split_face(face, parts, at)
        u, v = edge
        whole = self._edge_of_surface(face, u, v)
        along = self.place(v) - self.place(u)
        t = float(np.dot(at - self.place(u), along) / np.dot(along, along))
        new = self._new(self.place(u) + t * along)
        around = [face] if whole is None else self._faces_of(*whole)
        for one in around:
            self.parts[one] = _edge_split(self.parts.get(one) or [self._whole(one)], u, v, new)
        return new

    def _whole(self, face: int) -> tuple[int, int, int]:
        a, b, c = self.faces[face].tolist()
        return a, b, c

    def _edge_near(self, parts: list[tuple[int, int, int]], at: Floats, snap: float) -> tuple[int, int] | None:
        edges = sorted({(min(p[i], p[i - 1]), max(p[i], p[i - 1])) for p in parts for i in range(3)})
        best: tuple[float, tuple[int, int]] | None = None
        for u, v in edges:
            start = self.place(u)
            along, to = self.place(v) - start, at - start
            length = float(np.dot(along, along))
            t = float(np.dot(to, along)) / length if length else 0.0
            gap = float(np.linalg.norm(to - min(max(t, 0.0), 1.0) * along))
            if gap <= snap and (best is None or gap < best[0]):
                best = gap, (u, v)
        return None if best is None else best[1]

    def _edge_of_surface(self, face: int, u: int, v: int) -> tuple[int, int] | None:
        """The edge of the surface of which an edge of a face's parts is a part; ``None``: it lies inside."""
        corners = self._whole(face)
        for i in range(3):
            a, b = sorted((corners[i], corners[i - 1]))
            on = {a, b, *self._cut.get((a, b), ())}
            if u in on and v in on:
                self._cut.setdefault((a, b), []).append(self.count)  # the vertex that is made next
                return a, b
        return None

    def _faces_of(self, a: int, b: int) -> list[int]:
        key = a * (len(self.start) + 1) + b
        low, high = np.searchsorted(self._keys, [key, key + 1])
        return [int(side) // 3 for side in self._order[low:high]]

    def _split_face(self, face: int, parts: list[tuple[int, int, int]], at: Floats) -> int:
        inside = [self._inside(part, at) for part in parts]
        k = int(np.argmax(inside))
        new = self._new(at)
        a, b, c = parts[k]
        self.parts[face] = [*parts[:k], (a, b, new), (b, c, new), (c, a, new), *parts[k + 1 :]]
        return new

    def _inside(self, part: tuple[int, int, int], at: Floats) -> float:
        """The least of the barycentric weights of a point in a part: below 0 outside."""
        a, b, c = (self.place(v) for v in part)
        normal = np.cross(b - a, c - a)
        area = float(np.dot(normal, normal))
        if not area:
            return -np.inf
        u = float(np.dot(np.cross(c - b, at - b), normal)) / area
        v = float(np.dot(np.cross(a - c, at - c), normal)) / area
        return min(u, v, 1 - u - v)

    def _new(self, at: Floats) -> int:
        self.places[self.count] = at
        self.count += 1
        return self.count - 1

    def refined(self, vertex: Int64) -> Refined:
        return _gathered(self.start, self.faces, list(self.places.values()), self.parts, vertex)


def _edge_split(parts: list[tuple[int, int, int]], u: int, v: int, new: int) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    for part in parts:
        if u in part and v in part:
            i = next(i for i in range(3) if {part[i], part[(i + 1) % 3]} == {u, v})
            a, b, c = part[i], part[(i + 1) % 3], part[(i + 2) % 3]
            found += [(a, new, c), (new, b, c)]
        else:
            found.append(part)
    return found


def _gathered(vertices: Floats, faces: Int64, new: list[Floats], parts: dict[int, Any], vertex: Int64) -> Refined:
    """Faces that were not divided in their order, and the parts of each in its place."""
    changed = np.array(sorted(parts), np.int64)
    kept = np.setdiff1d(np.arange(len(faces)), changed)
    made = [part for face in changed.tolist() for part in parts[face]]
    whose = [face for face in changed.tolist() for _ in parts[face]]
    every = np.concatenate([faces[kept], np.array(made, np.int64).reshape(-1, 3)])
    parent = np.concatenate([kept, np.array(whose, np.int64)])
    order = np.argsort(parent, kind="stable")
    at = np.concatenate([vertices, np.array(new, np.float64).reshape(-1, 3)])
    return Refined(at, every[order], parent[order], vertex)


def cut_at(vertices: ArrayLike, faces: ArrayLike, values: ArrayLike, level: float) -> Refined:
    """Divide faces along the line on which a value, linear in each face, has a level.

    Parameters
    ----------
    vertices, faces
        The surface.
    values
        (v,) a value at each vertex; infinite ones are above every level, and a face with one is not divided.
    level
        Where it is cut: the parts have values up to, or from, the level; within :data:`SNAP` of it vertices are on it.

    Returns
    -------
    Refined
        ``vertex`` is empty.
    """
    at, corners = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    value = _on_level(np.array(values, np.float64), corners, level)
    new: list[Floats] = []
    cuts: dict[tuple[int, int], int] = {}
    shares: list[float] = []

    def cut(a: int, b: int) -> int:
        a, b = min(a, b), max(a, b)
        if (a, b) not in cuts:
            t = (level - value[a]) / (value[b] - value[a])
            cuts[a, b] = len(at) + len(new)
            new.append(at[a] + t * (at[b] - at[a]))
            shares.append(float(t))
        return cuts[a, b]

    each = value[corners]
    crossed = np.isfinite(each).all(axis=1) & (each.min(axis=1) < level) & (each.max(axis=1) > level)
    parts: dict[int, list[tuple[int, int, int]]] = {}
    for face in np.flatnonzero(crossed).tolist():
        a, b, c = corners[face].tolist()
        for _ in range(3):  # turn until the first corner is alone on its side, or lies on the line between the others
            sign = np.sign(value[[a, b, c]] - level)
            if (sign[0] == 0) or (sign[1] == sign[2] != sign[0]):
                break
            a, b, c = b, c, a
        if value[a] == level:
            middle = cut(b, c)
            parts[face] = [(a, b, middle), (a, middle, c)]
        else:
            ab, ca = cut(a, b), cut(c, a)
            parts[face] = [(a, ab, ca), (ab, b, ca), (b, c, ca)]
    found = _gathered(at, corners, new, parts, np.zeros(0, np.int64))
    ends = np.array(list(cuts), np.int64).reshape(-1, 2)
    return replace(
        found,
        between=ends,
        share=np.array(shares, np.float64),
        value=np.concatenate([value, np.full(len(ends), float(level))]),
    )


def _on_level(value: Floats, faces: Int64, level: float) -> Floats:
    """The values, those that differ from the level by next to nothing put on it."""
    each = value[faces]
    known = np.isfinite(each).all(axis=1)
    most = np.zeros(len(value))
    np.maximum.at(most, faces[known], np.ptp(each[known], axis=1)[:, None])
    near = np.isfinite(value) & (np.abs(value - level) <= SNAP * most)
    value[near] = level
    return value
