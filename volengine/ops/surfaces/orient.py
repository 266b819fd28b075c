"""Normals of faces and vertices, and to which side they point.

>>> flat = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0]])
>>> vertex_normals(flat, np.array([[0, 1, 2]])).tolist()              # x, then y: z, in the right-handed frame x, y, z
[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Array = NDArray[Any]


def face_normals(vertices: Floats, faces: Array) -> Floats:
    """(m, 3) normals z, y, x, as long as twice the face's area, on the side from which it is counterclockwise."""
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    found: Floats = np.cross(c - a, b - a)  # z, y, x is a left-handed frame: the factors change places
    return found


def vertex_normals(vertices: Floats, faces: Array) -> Floats:
    """(n, 3) unit normals z, y, x: the mean of the faces around, weighted by their angles; 0 where there is no face.

    The weights are those of Thürmer and Wüthrich (1998), so the normal does not depend on how a plane is triangulated.
    """
    if not len(faces):
        return np.zeros_like(vertices)
    normal = face_normals(vertices, faces)
    length = np.linalg.norm(normal, axis=1)
    unit = normal / np.where(length > 0, length, 1)[:, None]
    total = np.zeros_like(vertices)
    for n in range(3):
        here, right, left = (vertices[faces[:, (n + k) % 3]] for k in range(3))
        u, v = right - here, left - here
        angle = np.arctan2(length, np.einsum("ij,ij->i", u, v))
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, n], angle * unit[:, axis], minlength=len(vertices))
    size = np.linalg.norm(total, axis=1)
    found: Floats = total / np.where(size > 0, size, 1)[:, None]
    return found


def points_to(vertices: Floats, faces: Array, place: ArrayLike) -> bool:
    """Whether a surface shows a place its front: whether normals point to its side, weighted by area.

    Parameters
    ----------
    vertices, faces
        (n, 3) z, y, x; (m, 3).
    place
        z, y, x, in the unit of the vertices.
    """
    normal = face_normals(vertices, faces)
    to = np.asarray(place, np.float64) - vertices[faces].mean(axis=1)
    size = np.linalg.norm(to, axis=1)
    return float((np.einsum("ij,ij->i", normal, to) / np.where(size > 0, size, 1)).sum()) > 0


def turned(faces: Array) -> Array:
    """The same faces seen from the other side."""
    return np.ascontiguousarray(faces[:, [0, 2, 1]])
