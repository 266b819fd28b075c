"""Normals of faces and vertices, from the order of the corners.

Faces go counterclockwise seen from the side to which their normal points, in the right-handed frame x, y, z. Components
are in the order z, y, x, which is a left-handed frame, so the factors of the cross product change places.

>>> flat = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0]])
>>> vertex_normals(flat, np.array([[0, 1, 2]])).tolist()              # x, then y: z
[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Array = NDArray[Any]


def area_vectors(vertices: Floats, faces: Array) -> Floats:
    """(m, 3) normals of faces z, y, x, as long as twice the face's area."""
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    found: Floats = np.cross(c - a, b - a)
    return found


def face_normals(vertices: Floats, faces: Array) -> Floats:
    """(m, 3) unit normals of faces z, y, x; 0 for a face without area."""
    return unit(area_vectors(vertices, faces))


def vertex_normals(vertices: Floats, faces: Array) -> Floats:
    """(n, 3) unit normals z, y, x: the mean of the faces around, weighted by their angles; 0 where there is no face.

    The weights are those of Thürmer and Wüthrich (J. Graphics Tools 3, 1998, 43), so the normal does not depend on how
    a plane is triangulated.
    """
    if not len(faces):
        return np.zeros_like(vertices)
    vector = area_vectors(vertices, faces)
    length = np.linalg.norm(vector, axis=1)
    across = vector / np.where(length > 0, length, 1)[:, None]
    total = np.zeros_like(vertices)
    for n in range(3):
        here, right, left = (vertices[faces[:, (n + k) % 3]] for k in range(3))
        angle = np.arctan2(length, np.einsum("ij,ij->i", right - here, left - here))
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, n], angle * across[:, axis], minlength=len(vertices))
    size = np.linalg.norm(total, axis=1)
    found: Floats = total / np.where(size > 0, size, 1)[:, None]
    return found


def area_normals(vertices: Floats, faces: Array) -> Floats:
    """(n, 3) unit normals z, y, x: the mean of the faces around, weighted by their areas; 0 where there is no face."""
    vector = area_vectors(vertices, faces)
    total = np.zeros_like(vertices)
    for axis in range(3):
        total[:, axis] = np.bincount(faces.ravel(), np.repeat(vector[:, axis], 3), minlength=len(vertices))
    return unit(total)


def unit(vectors: Floats) -> Floats:
    """The vectors with length 1; one of length 0 stays 0 (and no zero is negative)."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Floats = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0) + 0.0
    return found
