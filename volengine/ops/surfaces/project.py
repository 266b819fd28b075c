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
from volengine.ops.surfaces.normals import face_normals, vertex_normals
from volengine.ops.surfaces.triangles import nearest_on, on_triangles

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]


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
    The nearest point of a face is that of Ericson, Real-Time Collision Detection (2005), 5.1.5 (:mod:`.triangles`). The
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
    distance, face = nearest_on(where, at, corners)
    near, weights = on_triangles(where, at[corners[face]])
    side = _sides(where - near, face, weights, at, corners)
    return Projected(near, face, weights, distance, distance * side)


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
    return np.where(np.einsum("ij,ij->i", away, chosen) < 0, -1.0, 1.0)
