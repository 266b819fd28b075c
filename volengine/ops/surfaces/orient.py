"""To which side a surface points, and how it is turned round.

>>> flat = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0]])
>>> points_to(flat, np.array([[0, 1, 2]]), (5, 0, 0))
True
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.ops.surfaces.normals import area_vectors

Floats = NDArray[np.float64]
Array = NDArray[Any]


def points_to(vertices: Floats, faces: Array, place: ArrayLike) -> bool:
    """Whether a surface shows a place its front: whether normals point to its side, weighted by area.

    Parameters
    ----------
    vertices, faces
        (n, 3) z, y, x; (m, 3).
    place
        z, y, x, in the unit of the vertices.
    """
    normal = area_vectors(vertices, faces)
    to = np.asarray(place, np.float64) - vertices[faces].mean(axis=1)
    size = np.linalg.norm(to, axis=1)
    return float((np.einsum("ij,ij->i", normal, to) / np.where(size > 0, size, 1)).sum()) > 0


def turned(faces: Array) -> Array:
    """The same faces seen from the other side."""
    return np.ascontiguousarray(faces[:, [0, 2, 1]])
