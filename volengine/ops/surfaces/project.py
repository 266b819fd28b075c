"""The nearest point of a surface: on a face, an edge or a vertex, with its side.

>>> import numpy as np
>>> corners = np.array([[0.0, 0, 0], [0, 0, 10], [0, 10, 0]])
>>> found = project([[3.0, 2, 2], [-1, 0, -4]], corners, np.array([[0, 1, 2]]))
>>> found.at.tolist(), found.signed.tolist()
([[0.0, 2.0, 2.0], [0.0, 0.0, 0.0]], [3.0, -4.123105625617661])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

PAIRS = 2_000_000
"""Pairs of a point and a face whose distance is computed together."""


@dataclass(frozen=True, eq=False)
class Projected:
    """The nearest points of a surface.

    Parameters
    ----------
    at
        (n, 3) the nearest point of each, z, y, x, in the unit of the vertices.
    face
        (n,) int64: the face on which it lies, the first of several; -1 if the surface has no faces.
    weights
        (n, 3) its barycentric weights: ``at = weights @ vertices[faces[face]]``.
    distance
        (n,) distance to it, 0 or more; infinite without faces.
    signed
        (n,) the same, negative on the side that the surface's normals do not point to.
    """

    at: Floats
    face: Int64
    weights: Floats
    distance: Floats
    signed: Floats


def face_normals(vertices: Floats, faces: NDArray[np.integer]) -> Floats:
    """Unit normals of faces, z, y, x, on the side from which the corners go counterclockwise (right-handed x, y, z).

    A face without area has the normal 0. Axes in the order z, y, x are a left-handed frame, so the cross product of
    these components is taken the other way round.

    >>> face_normals(np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0]]), np.array([[0, 1, 2]]))[0].tolist()
    [1.0, 0.0, 0.0]
    """
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    cross = np.cross(c - a, b - a)
    length = np.linalg.norm(cross, axis=1, keepdims=True)
    found: Floats = np.divide(cross, length, out=np.zeros_like(cross), where=length > 0) + 0.0
    return found


def project(points: ArrayLike, vertices: ArrayLike, faces: ArrayLike) -> Projected:
    """Find the nearest point of a surface for each point.

    Parameters
    ----------
    points
        (n, 3), z, y, x, finite, in the unit of the vertices.
    vertices, faces
        The surface: (v, 3) and (m, 3).

    Returns
    -------
    Projected
        Of equally near faces the first one is taken, so nothing depends on the order of the points.

    Raises
    ------
    InputError
        Points that are not finite or not of the shape (n, 3).

    Notes
    -----
    Candidates are the faces whose middle is nearer than the nearest vertex plus the face's radius, in a tree for each
    octave of radii; the nearest point of a face is that of Ericson, Real-Time Collision Detection (2005), 5.1.5. The
    side is that of the angle-weighted normal of the face, edge or vertex (Bærentzen and Aanæs, IEEE TVCG 11, 2005),
    which is right for every shape of closed surface.
    """
    where, at = np.asarray(points, np.float64).reshape(-1, 3), np.asarray(vertices, np.float64).reshape(-1, 3)
    corners = np.asarray(faces, np.int64).reshape(-1, 3)
    if (np.ndim(points) != 2 and np.size(points)) or not np.isfinite(where).all():
        raise InputError(f"Points to project must be finite and of shape (n, 3), not {np.shape(points)}.")
    n = len(where)
    if not n or not len(corners):
        none = np.full(n, np.inf)
        return Projected(where.copy(), np.full(n, -1), np.zeros((n, 3)), none, none.copy())
    face, squared = _nearest_faces(where, at, corners)
    near, weights = on_triangles(where, at[corners[face]])
    distance = np.sqrt(squared)
    side = _sides(where - near, face, weights, at, corners)
    return Projected(near, face, weights, distance, distance * side)


def _nearest_faces(points: Floats, vertices: Floats, faces: Int64) -> tuple[Int64, Floats]:
    """For each point the nearest face, the first of several, and its squared distance."""
    from scipy.spatial import cKDTree

    corners = vertices[faces]
    middle = corners.mean(axis=1)
    radius = np.linalg.norm(corners - middle[:, None], axis=2).max(axis=1)
    used = np.unique(faces)
    bound = cKDTree(vertices[used]).query(points)[0]
    best, squared = np.full(len(points), -1), np.full(len(points), np.inf)
    octave = np.floor(np.log2(np.maximum(radius, 1e-300))).astype(int)
    for size in np.unique(octave):
        mine = np.flatnonzero(octave == size)
        tree = cKDTree(middle[mine])
        reach = (bound + radius[mine].max()) * (1 + 1e-9) + 1e-12
        counts = tree.query_ball_point(points, reach, return_length=True)
        ends = np.cumsum(counts)
        start = 0
        while start < len(points):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + PAIRS, side="right")))
            some = np.arange(start, stop)
            lists = tree.query_ball_point(points[some], reach[some], return_sorted=True)
            row = np.repeat(some, counts[some])
            if len(row):
                candidate = mine[np.concatenate([np.asarray(one, np.int64) for one in lists])]
                near, _ = on_triangles(points[row], corners[candidate])
                _keep_best(best, squared, row, candidate, np.square(points[row] - near).sum(axis=1))
            start = stop
    return best, squared


def _keep_best(best: Int64, squared: Floats, row: Int64, face: Int64, found: Floats) -> None:
    order = np.lexsort((face, found, row))
    rows, first = np.unique(row[order], return_index=True)
    chosen = order[first]
    better = (found[chosen] < squared[rows]) | ((found[chosen] == squared[rows]) & (face[chosen] < best[rows]))
    best[rows[better]], squared[rows[better]] = face[chosen[better]], found[chosen[better]]


def on_triangles(points: Floats, corners: Floats) -> tuple[Floats, Floats]:
    """The nearest point of a triangle for each point, and its barycentric weights.

    Parameters
    ----------
    points
        (n, 3).
    corners
        (n, 3, 3): the three corners of the triangle of each point.

    Returns
    -------
    (n, 3) points and (n, 3) weights, 0 or more, with the sum 1.
    """
    a, b, c = (corners[:, i] for i in range(3))
    ab, ac, ap = b - a, c - a, points - a
    d1, d2 = _dot(ab, ap), _dot(ac, ap)
    d3, d4 = _dot(ab, points - b), _dot(ac, points - b)
    d5, d6 = _dot(ab, points - c), _dot(ac, points - c)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    one, none = np.ones_like(d1), np.zeros_like(d1)
    t_ab, t_ac = _over(d1, d1 - d3), _over(d2, d2 - d6)
    t_bc = _over(d4 - d3, (d4 - d3) + (d5 - d6))
    whole = va + vb + vc
    v, w = _over(vb, whole), _over(vc, whole)
    choices = [
        ((d1 <= 0) & (d2 <= 0), (one, none, none)),
        ((d3 >= 0) & (d4 <= d3), (none, one, none)),
        ((d6 >= 0) & (d5 <= d6), (none, none, one)),
        ((vc <= 0) & (d1 >= 0) & (d3 <= 0), (1 - t_ab, t_ab, none)),
        ((vb <= 0) & (d2 >= 0) & (d6 <= 0), (1 - t_ac, none, t_ac)),
        ((va <= 0) & (d4 >= d3) & (d5 >= d6), (none, 1 - t_bc, t_bc)),
    ]
    conditions = [condition for condition, _ in choices]
    weights = np.stack(
        [np.select(conditions, [w3[i] for _, w3 in choices], (1 - v - w, v, w)[i]) for i in range(3)], axis=1
    )
    return np.einsum("ni,nij->nj", weights, corners), weights


def _dot(a: Floats, b: Floats) -> Floats:
    found: Floats = np.einsum("ij,ij->i", a, b)
    return found


def _over(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def _sides(away: Floats, face: Int64, weights: Floats, vertices: Floats, faces: Int64) -> Floats:
    """1 or -1 for each point: on which side of the surface it lies, seen from its nearest point."""
    normals = face_normals(vertices, faces)
    chosen = normals[face].copy()
    edge_of, corner_of = (weights == 0).sum(axis=1) == 1, (weights == 0).sum(axis=1) == 2
    if corner_of.any():
        rows = np.flatnonzero(corner_of)
        chosen[rows] = vertex_normals(vertices, faces)[faces[face[rows], weights[rows].argmax(axis=1)]]
    if edge_of.any():
        rows = np.flatnonzero(edge_of)
        ends = np.sort(np.stack([faces[face[rows], (weights[rows].argmin(axis=1) + k) % 3] for k in (1, 2)], 1), axis=1)
        sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        key = sides[:, 0] * len(vertices) + sides[:, 1]
        keys, inverse = np.unique(key, return_inverse=True)
        summed = np.zeros((len(keys), 3))
        np.add.at(summed, inverse, np.repeat(normals, 3, axis=0))
        chosen[rows] = summed[np.searchsorted(keys, ends[:, 0] * len(vertices) + ends[:, 1])]
    return np.where(_dot(away, chosen) < 0, -1.0, 1.0)


def vertex_normals(vertices: Floats, faces: NDArray[np.integer]) -> Floats:
    """Angle-weighted unit normals of vertices, z, y, x; 0 where a vertex has no face."""
    normals, summed = face_normals(vertices, faces), np.zeros((len(vertices), 3))
    for k in range(3):
        here, a, b = (vertices[faces[:, (k + i) % 3]] for i in range(3))
        u, v = a - here, b - here
        angle = np.arctan2(np.linalg.norm(np.cross(u, v), axis=1), _dot(u, v))
        np.add.at(summed, faces[:, k], normals * angle[:, None])
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    found: Floats = np.divide(summed, length, out=np.zeros_like(summed), where=length > 0)
    return found
