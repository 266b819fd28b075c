"""Surfaces made fit for ways on them: vertices at one place joined, sheets that touch in one point taken apart.

>>> import numpy as np
>>> bow = np.array([[0, 1, 2], [0, 3, 4]])          # two triangles with one corner in common
>>> faces, origin = apart(bow, 5)
>>> len(np.unique(faces)), origin.tolist()
(6, [0, 1, 2, 3, 4, 0])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]


def most_faces(faces: NDArray[np.integer]) -> int:
    """The largest number of faces that share an edge; 2 at most on a sheet."""
    if not len(faces):
        return 0
    return int(np.unique(_sides(faces), axis=0, return_counts=True)[1].max())


def joined(vertices: Floats, faces: NDArray[np.integer]) -> tuple[Int64, Int64]:
    """Faces of vertices at one place made to name one vertex; some files have an own copy of it for each face.

    Returns
    -------
    faces, origin
        (m, 3), without those that lose a corner, and (v,) the vertices that are left, as numbers of the old ones. If
        more than two faces came to share an edge, where two sheets touch, nothing is joined.
    """
    corners = np.asarray(faces, np.int64)
    everything = np.arange(len(vertices))
    places, first, inverse = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    if len(places) == len(vertices):
        return corners, everything
    found = inverse.ravel()[corners]
    found = found[(np.diff(np.sort(found, axis=1), axis=1) > 0).all(axis=1)]
    if most_faces(found) > 2 >= most_faces(corners):
        return corners, everything
    return found, first.astype(np.int64)


def apart(faces: NDArray[np.integer], count: int) -> tuple[Int64, Int64]:
    """A vertex in which several sheets touch becomes one vertex for each; no way leads through a point.

    Parameters
    ----------
    faces
        (m, 3), of which at most two share an edge.
    count
        Number of vertices.

    Returns
    -------
    faces, origin
        (m, 3), and (v,) for each vertex the old one whose place it has; the first ``count`` are the old ones.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    corners = np.asarray(faces, np.int64)
    sides = _sides(corners)
    at = np.arange(3 * len(corners)).reshape(-1, 3)
    ends = np.stack([at, np.roll(at, -1, axis=1)], axis=2).reshape(-1, 2)  # the corners at the ends of each side
    swapped = corners.ravel()[ends[:, 0]] != sides[:, 0]
    ends[swapped] = ends[swapped][:, ::-1]
    order = np.lexsort((sides[:, 1], sides[:, 0]))
    one, other = order[:-1], order[1:]
    same = (sides[one] == sides[other]).all(axis=1)
    a, b = ends[one[same]].ravel(), ends[other[same]].ravel()
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(corners.size, corners.size))
    _, fan = connected_components(graph, directed=False)
    vertex = corners.ravel()
    pairs, first, inverse = np.unique(np.stack([vertex, fan], 1), axis=0, return_index=True, return_inverse=True)
    again = np.concatenate([[False], pairs[1:, 0] == pairs[:-1, 0]]) if len(pairs) else np.zeros(0, bool)
    number = pairs[:, 0].copy()
    extra = np.flatnonzero(again)
    extra = extra[np.argsort(first[extra], kind="stable")]
    number[extra] = count + np.arange(len(extra))
    origin = np.concatenate([np.arange(count), pairs[extra, 0]])
    return number[inverse.ravel()].reshape(-1, 3), origin


def _sides(faces: NDArray[np.integer]) -> Int64:
    return np.sort(np.asarray(faces, np.int64)[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
