"""What a mesh is: its edges, borders, islands, holes, genus, volume.

>>> tetrahedron = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
>>> found = shape_of(np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]), tetrahedron)
>>> found["closed"], found["islands"], found["border_loops"], found["genus"], round(found["volume"], 4)
(True, 1, 0, 0, 0.1667)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]


def sides_of(faces: Array) -> Int64:
    """(3 m, 2) the sides of faces as they go around each: 0 to 1, 1 to 2, 2 to 0."""
    found: Int64 = np.asarray(faces, np.int64)[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    return found


def edges_of(faces: Array) -> tuple[Int64, Int64]:
    """Return each edge once, (k, 2), smaller vertex first, in ascending order, and its number of faces, (k,)."""
    names, most = _names(sides_of(faces))
    unique, count = np.unique(names, return_counts=True)
    return np.stack(np.divmod(unique, most), axis=1), count


def border_edges(faces: Array) -> Int64:
    """(k, 2) edges that only one face has, smaller vertex first."""
    edges, count = edges_of(faces)
    found: Int64 = edges[count == 1]
    return found


def parts_of(faces: Array, vertices: int) -> Int64:
    """(vertices,) number of the connected part of each vertex, from 0, by first vertex; unused ones are parts, too."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b = np.asarray(faces)[:, 0], np.asarray(faces)[:, 1]
    c = np.asarray(faces)[:, 2]
    row, column = np.concatenate([a, b]), np.concatenate([b, c])
    graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(vertices, vertices))
    _, part = connected_components(graph, directed=False)
    _, first, number = np.unique(part, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    found: Int64 = rank[number.reshape(-1)]
    return found


def volume_of(vertices: Floats, faces: Array) -> float:
    """Volume that a closed mesh encloses, positive if its faces go counterclockwise seen from outside, in x, y, z."""
    return float(tetrahedra(vertices, faces).sum())


def enclosed_by(vertices: Floats, faces: Array) -> float:
    """Volume that a closed mesh encloses, 0 or more, whatever side its faces look to.

    Cavities of a body count as empty: parts that lie within one that looks the other way. (Within its box: of parts
    that look to different sides, and are entwined, nothing is known.)

    >>> cube = np.array([[z, y, x] for z in (0.0, 1) for y in (0, 1) for x in (0, 1)])
    >>> out = np.array([[0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4], [2, 6, 3], [3, 6, 7],
    ...                 [0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5]])
    >>> apart, within = np.concatenate([cube, cube + 5]), np.concatenate([cube, cube * 0.5 + 0.25])
    >>> one, two = np.concatenate([out, out + 8]), np.concatenate([out, out[:, ::-1] + 8])
    >>> [round(enclosed_by(at, f), 3) for at, f in ((cube, out), (apart, one), (apart, two), (within, two))]
    [1.0, 2.0, 2.0, 0.875]
    """
    part = parts_of(faces, len(vertices))
    volume = np.bincount(part[faces[:, 0]], tetrahedra(vertices, faces), minlength=int(part.max(initial=-1)) + 1)
    sign, size = np.where(volume < 0, -1, 1), np.abs(volume)
    solid = np.ones(len(size), np.int64)
    if (sign != sign[:1]).any():
        low, high = np.full((len(size), 3), np.inf), np.full((len(size), 3), -np.inf)
        np.minimum.at(low, part, vertices)
        np.maximum.at(high, part, vertices)
        for one in np.argsort(-size, kind="stable").tolist():
            around = (low < low[one]).all(axis=1) & (high > high[one]).all(axis=1) & (size > size[one])
            if around.any():
                nearest = int(np.flatnonzero(around)[size[around].argmin()])
                solid[one] = solid[nearest] * sign[one] * sign[nearest]
    if (solid == sign).all() or (solid == -sign).all():
        return abs(volume_of(vertices, faces))
    return float((solid * size).sum())


def tetrahedra(vertices: Floats, faces: Array) -> Floats:
    """(m,) signed volume between each face and the middle of the vertices."""
    if not len(faces):
        return np.zeros(0)
    at = (vertices - vertices.mean(axis=0))[:, ::-1]
    a, b, c = (at[faces[:, n]] for n in range(3))
    found: Floats = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
    return found


def loops_of(edges: Int64) -> int:
    """Number of closed curves, or other connected pieces, that edges make."""
    if not len(edges):
        return 0
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, row = np.unique(edges, return_inverse=True)
    row = row.reshape(-1, 2)
    n = int(row.max()) + 1
    graph = coo_array((np.ones(len(row), np.int8), (row[:, 0], row[:, 1])), shape=(n, n))
    return int(connected_components(graph, directed=False)[0])


def shape_of(vertices: Floats, faces: Array) -> dict[str, Any]:
    """Return what a mesh is, as numbers.

    Parameters
    ----------
    vertices, faces
        (n, 3), each of which a face uses; (m, 3).

    Returns
    -------
    ``area``, ``volume`` (:func:`enclosed_by`; of an open mesh NaN), in the unit of the vertices; ``closed``;
    ``islands`` (connected parts); ``border_loops`` (holes and outer borders); ``genus`` (handles, of all parts
    together: 2 islands - border loops - Euler characteristic, halved); ``manifold`` (every edge has one or two faces,
    which go around in one sense).
    """
    edges, count = edges_of(faces)
    border = edges[count == 1]
    islands = int(parts_of(faces, len(vertices)).max(initial=-1)) + 1
    loops = loops_of(border)
    euler = len(vertices) - len(edges) + len(faces)
    names, _ = _names(sides_of(faces), ordered=True)
    manifold = bool((count <= 2).all()) and len(np.unique(names)) == len(names)
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    closed = len(faces) > 0 and not len(border)
    return {
        "area": float(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()),
        "volume": enclosed_by(vertices, faces) if closed else float("nan"),
        "closed": closed,
        "islands": islands,
        "border_loops": loops,
        "genus": (2 * islands - loops - euler) // 2,
        "manifold": manifold,
    }


def _names(sides: Int64, *, ordered: bool = False) -> tuple[Int64, int]:
    """One number for each side; without ``ordered`` the same in both senses."""
    most = int(sides.max(initial=0)) + 1
    low, high = (sides[:, 0], sides[:, 1]) if ordered else (sides.min(axis=1), sides.max(axis=1))
    return low * most + high, most
