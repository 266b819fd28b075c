"""Geodesic distances from the border of an open surface.

>>> import numpy as np
>>> corners = np.array([[0.0, 0, 0], [0, 0, 30], [0, 40, 0], [0, 40, 30], [0, 20, 15]])
>>> faces = np.array([[0, 1, 4], [1, 3, 4], [3, 2, 4], [2, 0, 4]])
>>> from_border(corners, faces).tolist(), from_border(corners, faces, apart=10).round(3).tolist()
([0.0, 0.0, 0.0, 0.0, 25.0], [0.0, 0.0, 0.0, 0.0, 15.0])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.ops.surfaces.geodesic import Geodesics, check_edges, proper
from volengine.ops.surfaces.insert import insert_points

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]


def from_border(
    vertices: ArrayLike,
    faces: ArrayLike,
    *,
    reach: float = np.inf,
    apart: float = np.inf,
    name: str = "The surface",
) -> Floats:
    """Distance of each vertex from the nearest border, along the surface; exact for its triangles (:mod:`.geodesic`).

    Parameters
    ----------
    vertices, faces
        The surface: (v, 3), z, y, x, and (m, 3). An edge that one face has is a border.
    reach
        Distances up to this are right; what is farther may be infinite.
    apart
        Distances are those from the vertices of borders, and from points between them that are no farther apart than
        this along the border. So they are too large, by at most ``apart ** 2 / (8 * distance)``. Infinite: from the
        vertices alone.
    name
        How messages call the surface.

    Returns
    -------
    (v,), in the unit of the vertices; infinite where no border can be reached: everywhere on a closed surface.

    Raises
    ------
    InputError
        More than two faces have an edge in common.
    DependencyError
        The extra ``surfaces`` is not installed, and there is a border.
    """
    at, corners = np.asarray(vertices, np.float64).reshape(-1, 3), np.asarray(faces, np.int64).reshape(-1, 3)
    corners = corners[proper(corners)]
    sides = corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    _, inverse, counts = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True)
    border = np.flatnonzero(counts[inverse.ravel()] == 1)
    if not len(border):
        return np.full(len(at), np.inf)
    check_edges(corners, name)
    face, weights = _between(at, sides, border, apart)
    fine = insert_points(at, corners, face, weights)
    sources = np.unique(np.concatenate([sides[border].ravel(), fine.vertex]))
    field = Geodesics(fine.vertices, fine.faces, name=name).from_vertices(sources, reach)
    return field.at(np.arange(len(at)))


def _between(at: Floats, sides: Int64, border: Int64, apart: float) -> tuple[list[int], Floats]:
    """Points that divide the sides of faces that are borders: their faces, and their barycentric weights there."""
    face: list[int] = []
    weights: list[list[float]] = []
    for side in border.tolist() if np.isfinite(apart) else ():
        a, b = sides[side]
        parts = int(np.ceil(np.linalg.norm(at[a] - at[b]) / apart))
        for k in range(1, parts):
            weight = [0.0, 0.0, 0.0]
            weight[side % 3], weight[(side % 3 + 1) % 3] = 1 - k / parts, k / parts
            face.append(side // 3)
            weights.append(weight)
    return face, np.array(weights, np.float64).reshape(-1, 3)
