"""Cutting a surface along a way over its edges, so that a tube can be laid flat.

The vertices of the way become two, one for each side; at the ends of the way they stay one, unless they lie on a
border. Faces keep their order.

>>> flat = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1.0], [0, 2, 0], [0, 2, 1]])
>>> two = Surface(flat, np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4], [3, 5, 4]]))
>>> len(cut_along(two, np.array([2, 3])).borders), len(two.borders)
(8, 6)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def border_loops(surface: Surface) -> list[Ints]:
    """The vertices of each border, the longest border (angstrom) first, of equally long ones that of lower number."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = surface.borders
    if not len(edges):
        return []
    n = len(surface.vertices)
    _, part = connected_components(coo_array((np.ones(len(edges)), edges.T), shape=(n, n)), directed=False)
    names, loop = np.unique(part[edges[:, 0]], return_inverse=True)
    length = np.linalg.norm(surface.vertices[edges[:, 0]] - surface.vertices[edges[:, 1]], axis=1)
    total = np.bincount(loop, length, minlength=len(names))
    return [np.unique(edges[loop == k]) for k in np.argsort(-total, kind="stable")]


def shortest_way(surface: Surface, start: Ints, stop: Ints) -> Ints:
    """The vertices of the shortest way over edges from any of ``start`` to any of ``stop``; empty if there is none."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    faces, n = surface.faces.astype(np.int64), len(surface.vertices)
    ends = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    length = np.linalg.norm(surface.vertices[ends[:, 0]] - surface.vertices[ends[:, 1]], axis=1)
    graph = coo_array((np.maximum(length, 1e-9), ends.T), shape=(n, n)).tocsr()
    distance, before, _ = dijkstra(graph, directed=False, indices=start, return_predecessors=True, min_only=True)
    last = int(stop[np.argmin(distance[stop])])
    if not np.isfinite(distance[last]):
        return np.empty(0, np.int64)
    way = [last]
    while before[way[-1]] >= 0:
        way.append(int(before[way[-1]]))
    return np.array(way[::-1], np.int64)


def cut_along(surface: Surface, way: Ints) -> Surface:
    """Cut a surface along a way over its edges; normals and columns are left out."""
    faces = surface.faces.astype(np.int64).copy()
    steps = {(a, b) for a, b in zip(way[:-1].tolist(), way[1:].tolist(), strict=True)}
    steps |= {(b, a) for a, b in steps}
    around = _faces_at(faces, way)
    sides = {(int(faces[n, k]), int(faces[n, (k + 1) % 3])): n for of in around.values() for n in of for k in range(3)}
    changed = faces.copy()
    fresh: list[int] = []
    for place, vertex in enumerate(way.tolist()):
        ahead = (vertex, int(way[place + 1])) if place + 1 < len(way) else (int(way[place - 1]), vertex)
        if ahead not in sides:
            continue
        left = _sector(faces, around[vertex], vertex, sides[ahead], steps)
        if len(left) == len(around[vertex]):
            continue  # an end of the way within the surface: there is one side only
        number = len(surface.vertices) + len(fresh)
        fresh.append(vertex)
        for n in left:
            changed[n][faces[n] == vertex] = number
    return Surface(np.concatenate([surface.vertices, surface.vertices[fresh]]), changed.astype(np.int32))


def _faces_at(faces: Ints, vertices: Ints) -> dict[int, list[int]]:
    """The faces at each of some vertices."""
    found: dict[int, list[int]] = {int(v): [] for v in vertices}
    wanted = np.zeros(int(faces.max(initial=-1)) + 1, bool)
    wanted[vertices] = True
    for n, k in np.argwhere(wanted[faces]).tolist():
        found[int(faces[n, k])].append(n)
    return found


def _sector(faces: Ints, around: list[int], vertex: int, first: int, steps: set[tuple[int, int]]) -> set[int]:
    """The faces at a vertex that are reached from the first one without crossing the way."""
    spokes: dict[int, list[int]] = {}
    for n in around:
        for other in faces[n].tolist():
            if other != vertex and (vertex, other) not in steps:
                spokes.setdefault(other, []).append(n)
    found, open_ = {first}, [first]
    while open_:
        n = open_.pop()
        for other in faces[n].tolist():
            for neighbour in spokes.get(other, []) if other != vertex else []:
                if neighbour not in found:
                    found.add(neighbour)
                    open_.append(neighbour)
    return found
