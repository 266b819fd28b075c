"""Splitting, collapsing and flipping edges of a manifold, many at once and in a fixed order.

>>> two = np.array([[0, 1, 2], [2, 1, 3]])
>>> edges = Edges.of(two)
>>> edges.ends.tolist(), edges.faces[2].tolist()
([[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]], [0, 1])
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.ops.surfaces.normals import area_vectors

Floats = NDArray[np.float64]
Array = NDArray[Any]
Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_COSINE = 0.2
"""A face may turn by about 78 degrees at most when an edge is collapsed or flipped; else the surface would fold."""


@dataclass(frozen=True)
class Edges:
    """The edges of a manifold.

    Parameters
    ----------
    ends
        (k, 2) vertices, the smaller first, ascending.
    faces
        (k, 2) the faces of each; -1 in the second place at a border.
    across
        (k, 2) the third vertex of these faces; -1.
    of_face
        (m, 3) the edges of each face: that from corner 0 to 1, 1 to 2, 2 to 0.
    """

    ends: Int64
    faces: Int64
    across: Int64
    of_face: Int64

    @classmethod
    def of(cls, faces: Array) -> Edges:
        """Find the edges of faces, (m, 3)."""
        corners = np.asarray(faces, np.int64)
        sides = corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
        most = int(corners.max(initial=0)) + 1
        names, first, row, count = np.unique(
            sides.min(1) * most + sides.max(1), return_index=True, return_inverse=True, return_counts=True
        )
        row = row.reshape(-1)
        second = np.full(len(names), -1, np.int64)
        last = np.empty(len(names), np.int64)
        last[row] = np.arange(len(row))  # of repeated ones the last value stays
        second[count > 1] = last[count > 1]
        opposite = corners[:, [2, 0, 1]].reshape(-1)
        both = np.stack([first, second], axis=1)
        there = both >= 0
        return cls(
            np.stack(np.divmod(names, most), axis=1),
            np.where(there, both // 3, -1),
            np.where(there, opposite[both], -1),
            row.reshape(-1, 3),
        )

    @cached_property
    def border(self) -> Bools:
        """(k,) whether only one face has it."""
        return self.faces[:, 1] < 0

    def on_border(self, vertices: int) -> Bools:
        """(vertices,) whether a vertex lies on a border."""
        found = np.zeros(vertices, bool)
        found[self.ends[self.border].reshape(-1)] = True
        return found

    def lengths(self, at: Floats) -> Floats:
        """(k,) length of each edge."""
        found: Floats = np.linalg.norm(at[self.ends[:, 0]] - at[self.ends[:, 1]], axis=1)
        return found

    def apart(self, wanted: Bools, cost: Floats) -> Int64:
        """Return wanted edges of which no two share a face: in each face the one of least cost, then number."""
        rows = np.flatnonzero(wanted)
        rank = np.full(len(self.ends), len(self.ends), np.int64)
        rank[rows[np.lexsort((rows, cost[rows]))]] = np.arange(len(rows))
        best = rank[self.of_face].min(axis=1)
        good = best[self.faces[rows, 0]] == rank[rows]
        other = self.faces[rows, 1]
        good &= (other < 0) | (best[other] == rank[rows])
        found: Int64 = rows[good]
        return found


def split(at: Floats, faces: Array, edges: Edges, chosen: Int64) -> tuple[Floats, Array]:
    """Split edges, no two of one face, in their middles: each of their faces becomes two."""
    middle = len(at) + np.arange(len(chosen))
    points = at[edges.ends[chosen]].mean(axis=1)
    owner = edges.faces[chosen].reshape(-1)
    there = owner >= 0
    owner, edge, new = owner[there], np.repeat(chosen, 2)[there], np.repeat(middle, 2)[there]
    corner = np.argmax(edges.of_face[owner] == edge[:, None], axis=1)
    a, b, c = (np.take_along_axis(faces[owner], ((corner + k) % 3)[:, None], axis=1)[:, 0] for k in range(3))
    changed = faces.copy()
    changed[owner] = np.stack([a, new, c], axis=1)
    return np.concatenate([at, points]), np.concatenate([changed, np.stack([new, b, c], axis=1)])


def collapsed(
    at: Floats, faces: Array, edges: Edges, chosen: Int64, cost: Floats, longest: float
) -> tuple[Floats, Array, Int64]:
    """Collapse edges to one vertex each, of those chosen as many as do not touch each other's surroundings.

    An edge with one end on a border goes to that end, others to their middles. Refused are those that would change the
    topology (their ends have other neighbours in common than the corners of the edge's faces, or lie on borders on
    both sides of the surface), fold a face, or make an edge longer than ``longest``.

    Returns
    -------
    The vertices (those that went are still there, without faces), the faces, and which edges were collapsed, or
    were not because another one nearby was.
    """
    border = edges.on_border(len(at))
    a, b = edges.ends[chosen].T
    rows = chosen[~(border[a] & border[b] & ~edges.border[chosen])]
    rows = rows[_keeps_topology(faces, edges, rows, border)]
    goal = at[edges.ends[rows]].mean(axis=1)
    for n in (0, 1):
        fixed = border[edges.ends[rows, n]] & ~border[edges.ends[rows, 1 - n]]
        goal[fixed] = at[edges.ends[rows[fixed], n]]
    rows, goal = _shapely(at, faces, edges, rows, goal, longest)
    good = rows
    rows, goal = _alone(faces, edges.ends[rows], cost[rows], rows, goal, len(at))
    if not len(rows):
        return at, faces, good
    moved = at.copy()
    moved[edges.ends[rows, 0]] = goal
    number = np.arange(len(at))
    number[edges.ends[rows, 1]] = edges.ends[rows, 0]
    changed = number[faces]
    whole = (changed[:, 0] != changed[:, 1]) & (changed[:, 1] != changed[:, 2]) & (changed[:, 2] != changed[:, 0])
    return moved, changed[whole], good


def _keeps_topology(faces: Array, edges: Edges, rows: Int64, border: Bools) -> Bools:
    """Whether the ends of edges have no neighbours in common but the corners of the edge's faces (link condition)."""
    ends = edges.ends[rows]
    matrix = _neighbours(edges, len(border))
    # the number of neighbours in common, counted only for the pairs that matter
    common = np.asarray(matrix[ends[:, 0]].multiply(matrix[ends[:, 1]]).sum(axis=1)).reshape(-1)
    expected = np.where(edges.border[rows], 1, 2)
    # a tetrahedron, or a single triangle, would vanish
    third = edges.across[rows]
    valence = np.diff(matrix.indptr)
    least = np.where(border[np.maximum(third, 0)], 3, 4)
    enough = ((third < 0) | (valence[np.maximum(third, 0)] >= least)).all(axis=1)
    found: Bools = (common == expected) & enough
    return found


def _neighbours(edges: Edges, vertices: int) -> Any:
    from scipy.sparse import csr_array

    a, b = edges.ends.T
    row, column = np.concatenate([a, b]), np.concatenate([b, a])
    return csr_array((np.ones(len(row), np.int32), (row, column)), shape=(vertices, vertices))


def _around(faces: Array, ends: Int64, vertices: int) -> tuple[Int64, Int64]:
    """Faces around both ends of edges: (number of the edge, face), each face of the edge itself twice."""
    corner = faces.reshape(-1)
    order = np.argsort(corner, kind="stable")
    starts = np.searchsorted(corner[order], np.arange(vertices + 1))
    vertex = ends.reshape(-1)
    count = starts[vertex + 1] - starts[vertex]
    row = np.repeat(np.arange(len(vertex)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row // 2, order[starts[vertex[row]] + within] // 3


def _shapely(at: Floats, faces: Array, edges: Edges, rows: Int64, goal: Floats, longest: float) -> tuple[Int64, Floats]:
    """The edges whose collapse folds no face and makes no long edge."""
    ends = edges.ends[rows]
    edge, face = _around(faces, ends, len(at))
    gone = (edges.faces[rows[edge]] == face[:, None]).any(axis=1)
    edge, face = edge[~gone], face[~gone]
    corners = faces[face]
    points = at[corners]
    moves = (corners == ends[edge, :1]) | (corners == ends[edge, 1:])
    before = area_vectors(points.reshape(-1, 3), np.arange(len(face) * 3).reshape(-1, 3))
    points = np.where(moves[:, :, None], goal[edge][:, None], points)
    after = area_vectors(points.reshape(-1, 3), np.arange(len(face) * 3).reshape(-1, 3))
    size = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    folds = np.einsum("ij,ij->i", before, after) <= LEAST_COSINE * size
    far = np.linalg.norm(points - goal[edge][:, None], axis=2).max(axis=1) > longest
    bad = np.zeros(len(rows), bool)
    bad[edge[folds | far]] = True
    return rows[~bad], goal[~bad]


def _alone(faces: Array, ends: Int64, cost: Floats, rows: Int64, goal: Floats, vertices: int) -> tuple[Int64, Floats]:
    """Edges of which no two have a face around them in common: each is the first of all around its faces."""
    edge, face = _around(faces, ends, vertices)
    rank = np.empty(len(rows), np.int64)
    rank[np.lexsort((rows, cost))] = np.arange(len(rows))
    best = np.full(len(faces), len(rows), np.int64)
    np.minimum.at(best, face, rank[edge])
    lost = np.zeros(len(rows), bool)
    lost[edge[best[face] != rank[edge]]] = True
    return rows[~lost], goal[~lost]


def flipped(at: Floats, faces: Array, edges: Edges) -> tuple[Array, int]:
    """Flip edges where that brings the numbers of neighbours nearer to six (at borders four).

    Refused are flips that make an edge which is there already, or fold a face.

    Returns
    -------
    The faces, and how many edges were flipped.
    """
    valence = np.bincount(edges.ends.reshape(-1), minlength=len(at))
    off = valence - np.where(edges.on_border(len(at)), 4, 6)
    inner = np.flatnonzero(~edges.border)
    (a, b), (c, d) = edges.ends[inner].T, edges.across[inner].T
    gain = sum((np.abs(off[v]) - np.abs(off[v] - s) for v, s in ((a, 1), (b, 1), (c, -1), (d, -1))), np.zeros(len(a)))
    names = edges.ends[:, 0] * len(at) + edges.ends[:, 1]
    exists = np.isin(np.minimum(c, d) * len(at) + np.maximum(c, d), names)
    # the two new faces, in the sense of the old ones
    first = edges.faces[inner]
    turn = np.array([faces[first[:, 0], n] == a for n in range(3)]).argmax(axis=0)
    forward = faces[first[:, 0], (turn + 1) % 3] == b
    u, v = np.where(forward, a, b), np.where(forward, b, a)  # the first face is u, v, c; the second v, u, d
    new = np.stack([np.stack([u, d, c], axis=1), np.stack([d, v, c], axis=1)], axis=1)
    normal = area_vectors(at, faces)[first].sum(axis=1)
    made = [area_vectors(at, new[:, n]) for n in (0, 1)]
    length = np.linalg.norm(normal, axis=1)
    flat = np.ones(len(inner), bool)
    for one in made:
        flat &= np.einsum("ij,ij->i", one, normal) > 0.5 * np.linalg.norm(one, axis=1) * length
    wanted, cost = np.zeros(len(edges.ends), bool), np.zeros(len(edges.ends))
    wanted[inner] = (gain > 0) & ~exists & flat & (c != d)
    cost[inner] = -gain
    # neighbours' numbers change, too: of two flips that share a vertex one is left for the next turn
    rows = np.flatnonzero(wanted)
    at_row = np.full(len(edges.ends), -1, np.int64)
    at_row[inner] = np.arange(len(inner))
    k = at_row[rows]
    rank = np.empty(len(rows), np.int64)
    rank[np.lexsort((rows, cost[rows]))] = np.arange(len(rows))
    best = np.full(len(at), len(rows), np.int64)
    touched = np.stack([a[k], b[k], c[k], d[k]], axis=1)
    np.minimum.at(best, touched, rank[:, None])
    k = k[(best[touched] == rank[:, None]).all(axis=1)]
    changed = faces.copy()
    changed[first[k, 0]], changed[first[k, 1]] = new[k, 0], new[k, 1]
    return changed, len(k)
