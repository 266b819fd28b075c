"""Exact geodesic distances on a mesh: from a vertex to those near it, and from the border.

``pygeodesic`` computes them (Mitchell, Mount, Papadimitriou, SIAM J. Comput. 16 (1987) 647, in the form of Surazhsky et
al., ACM Trans. Graph. 24 (2005) 553): exact on the mesh, along paths that cross faces.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from volengine.core.errors import DependencyError, InputError
from volengine.core.surface import Surface

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Geodesics:
    """Geodesic distances around the vertices of a mesh.

    A way of at most R on the surface stays within R of its start in space, too. So only the faces that reach into that
    ball are given to the algorithm, and the result is that of the whole mesh.

    Parameters
    ----------
    surface
        The mesh; an edge may have two faces at most.

    Raises
    ------
    InputError
        An edge has three faces or more.
    DependencyError
        ``pygeodesic`` is not installed.
    """

    def __init__(self, surface: Surface):
        surface = proper(surface)
        self._surface = surface
        need_manifold(surface)
        _library()
        self._tree = KDTree(surface.vertices)
        corners = surface.vertices[surface.faces]
        self._longest = float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(initial=0.0))
        order = np.argsort(surface.faces.ravel(), kind="stable")
        self._faces_of = (order // 3).astype(np.int64)
        self._first = np.searchsorted(surface.faces.ravel()[order], np.arange(len(surface.vertices) + 1))

    def near(self, vertex: int, radius: float) -> tuple[Ints, Floats]:
        """Vertices that are nearer than ``radius`` to one, itself included, and their distances, angstrom.

        Parameters
        ----------
        vertex
            Number of a vertex.
        radius
            Angstrom.

        Returns
        -------
        Numbers of vertices, rising, and distances.
        """
        ball = np.array(sorted(self._tree.query_ball_point(self._surface.vertices[vertex], radius + self._longest)))
        there = np.zeros(len(self._surface.vertices), bool)
        there[ball] = True
        around = np.concatenate([self._faces_of[self._first[v] : self._first[v + 1]] for v in ball])
        rows = np.unique(around)
        rows = rows[there[self._surface.faces[rows]].all(axis=1)]
        if not len(rows):
            return np.array([vertex]), np.zeros(1)
        names, faces = np.unique(self._surface.faces[rows], return_inverse=True)
        start = np.flatnonzero(names == vertex)
        if not len(start):
            return np.array([vertex]), np.zeros(1)
        distance = _distances(self._surface.vertices[names], faces.reshape(-1, 3), start)
        close = distance < radius * (1 - 1e-9)  # at the radius itself they are not nearer, however it is rounded
        return names[close].astype(np.int64), distance[close]


def from_border(surface: Surface) -> Floats:
    """(n,) geodesic distance of each vertex from the nearest corner of a border, angstrom; infinite if it is closed.

    Raises
    ------
    InputError, DependencyError
        As :class:`Geodesics`.
    """
    surface = proper(surface)
    found = np.full(len(surface.vertices), np.inf)
    corners = np.unique(surface.borders)
    if not len(corners):
        return found
    need_manifold(surface)
    names, faces = np.unique(surface.faces, return_inverse=True)
    start = np.searchsorted(names, corners)
    found[names] = _distances(surface.vertices[names], faces.reshape(-1, 3), start)
    return found


def proper(surface: Surface) -> Surface:
    """The surface without faces that name a vertex twice, which are lines."""
    a, b, c = surface.faces.T
    good = (a != b) & (b != c) & (c != a)
    return surface if good.all() else replace(surface, faces=surface.faces[good])


def need_manifold(surface: Surface) -> None:
    """Refuse a mesh in which an edge has more than two faces: there is no way of walking across it."""
    sides = np.sort(surface.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).astype(np.int64), axis=1)
    edges, counts = np.unique(sides, axis=0, return_counts=True)
    if (counts > 2).any():
        raise InputError(
            f"{surface.name}: {int((counts > 2).sum())} edges have more than two faces (the first joins the vertices "
            f"{edges[counts > 2][0].tolist()}); geodesic distances need two at most. Make the surface anew."
        )


def _library() -> Any:
    try:
        from pygeodesic import geodesic
    except ImportError as error:
        raise DependencyError("Geodesic distances need pygeodesic: pip install 'volengine[surfaces]'") from error
    return geodesic


def _distances(vertices: Floats, faces: Ints, start: Ints) -> Floats:
    """Distances of all vertices from the nearest of ``start``; infinite where no way leads.

    The library is given only the faces that it can reach: for others it reads memory that it has not written.
    """
    found = np.full(len(vertices), np.inf)
    faces = faces[_reached(faces, start)]
    names, inner = np.unique(faces, return_inverse=True)
    inside = np.flatnonzero(np.isin(names, start))
    if len(inside):
        algorithm = _library().PyGeodesicAlgorithmExact(
            np.ascontiguousarray(vertices[names]), inner.reshape(-1, 3).astype(np.int32)
        )
        found[names] = np.asarray(algorithm.geodesicDistances(inside.astype(np.int32), None)[0], np.float64)
    found[start] = 0.0
    return found


def _reached(faces: Ints, start: Ints) -> NDArray[np.bool_]:
    """Faces to which a way leads across edges from a face that has a vertex of ``start``."""
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2)
    _, edge = np.unique(sides[:, 0] * (faces.max(initial=0) + 1) + sides[:, 1], return_inverse=True)
    owner = np.repeat(np.arange(len(faces)), 3)
    n = len(faces) + int(edge.max(initial=-1)) + 1
    links = coo_array((np.ones(len(owner), bool), (owner, len(faces) + edge)), shape=(n, n))
    part = connected_components(links, directed=False)[1][: len(faces)]
    return np.isin(part, part[np.isin(faces, start).any(axis=1)])
