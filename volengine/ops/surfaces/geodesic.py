"""Geodesic distances: lengths of shortest ways on a surface, exact or by the heat method, within a reach.

>>> import numpy as np
>>> corners = np.array([[0.0, 0, 0], [0, 0, 30], [0, 40, 0], [0, 40, 30]])
>>> field = Geodesics(corners, np.array([[0, 1, 2], [1, 3, 2]])).from_vertices([0])
>>> field.distance.round(6).tolist()
[0.0, 30.0, 40.0, 50.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError, require

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

Method = Literal["exact", "heat"]

NEAR_EDGES = 8.0
"""The heat method is used beyond this many mean edges from the source; nearer, distances are exact."""


@dataclass(frozen=True, eq=False)
class Field:
    """Distances of the vertices that lie within a reach of the sources.

    Parameters
    ----------
    vertices
        (k,) int64: numbers of vertices, ascending.
    distance
        (k,) their distances; infinite where no way leads.
    faces
        (m,) int64: numbers of the faces around them whose corners are all among ``vertices``: all faces of which some
        part lies within the reach.
    """

    vertices: Int64
    distance: Floats
    faces: Int64

    def at(self, vertices: ArrayLike) -> Floats:
        """Distances of some vertices; infinite beyond the reach."""
        wanted = np.asarray(vertices, np.int64)
        if not len(self.vertices):
            return np.full(len(wanted), np.inf)
        row = np.minimum(np.searchsorted(self.vertices, wanted), len(self.vertices) - 1)
        return np.where(self.vertices[row] == wanted, self.distance[row], np.inf)


DIRECT = 100_000
"""Surfaces with fewer vertices are searched for those near a source without a tree."""


class Geodesics:
    """Geodesic distances on one surface.

    Parameters
    ----------
    vertices, faces
        (v, 3), z, y, x, and (m, 3). Parts that do not hang together are infinitely far from each other.
    method
        ``exact``: windows of Mitchell, Mount and Papadimitriou (SIAM J. Comput. 16, 1987), by pygeodesic. ``heat``:
        Crane, Weischedel and Wardetzky (ACM Trans. Graph. 32, 2013), by potpourri3d, exact near the source: about 1 %
        of the distance, and much faster for a long reach.
    name
        How messages call the surface.

    Raises
    ------
    InputError
        More than two faces have an edge in common, so there is no way across it.
    DependencyError
        The extra ``surfaces`` is not installed.

    Notes
    -----
    Within a reach, only the faces that the ball of this radius around the source touches are looked at; no way of this
    length leaves it. So large surfaces cost what lies within the reach. Results do not depend on the order of calls.
    Faces that name a vertex twice are lines, and no way leads over them, nor through a single vertex at which faces
    touch.
    """

    def __init__(self, vertices: ArrayLike, faces: ArrayLike, method: Method = "exact", name: str = "The surface"):
        self.vertices = np.asarray(vertices, np.float64).reshape(-1, 3)
        self.faces = np.asarray(faces, np.int64).reshape(-1, 3)
        self.method, self.name = method, name
        self._proper = proper(self.faces)
        check_edges(self.faces[self._proper], name)
        self._exact = _exact()
        self._near = NEAR_EDGES * self.mean_edge if method == "heat" else 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process needs to make the same: solvers stay here."""
        return Geodesics, (self.vertices, self.faces, self.method, self.name)

    @cached_property
    def edges(self) -> Int64:
        """(e, 2) pairs of vertices that an edge joins, each once."""
        return _edges_of(self.faces[self._proper])[0]

    @cached_property
    def edge_lengths(self) -> Floats:
        """(e,) their lengths."""
        a, b = self.vertices[self.edges.T]
        found: Floats = np.linalg.norm(a - b, axis=1)
        return found

    @property
    def mean_edge(self) -> float:
        """Mean length of an edge; 0 without faces."""
        return float(self.edge_lengths.mean()) if len(self.edges) else 0.0

    @cached_property
    def longest_edge(self) -> float:
        """Length of the longest edge; 0 without faces."""
        at = self.vertices[self.faces[self._proper]]
        return float(np.linalg.norm(at - at[:, [1, 2, 0]], axis=2).max(initial=0.0))

    @cached_property
    def components(self) -> Int64:
        """(v,) number of the part of the surface to which each vertex belongs."""
        from scipy.sparse.csgraph import connected_components

        found: Int64 = connected_components(self._graph, directed=False)[1].astype(np.int64)
        return found

    @cached_property
    def _graph(self) -> Any:
        from scipy.sparse import csr_array

        a, b = self.edges.T
        n = len(self.vertices)
        both = (np.r_[self.edge_lengths, self.edge_lengths], (np.r_[a, b], np.r_[b, a]))
        return csr_array(both, shape=(n, n))

    @cached_property
    def _around(self) -> tuple[Int64, Int64]:
        """The faces of each vertex: where they begin, and their numbers."""
        corners = self.faces[self._proper].ravel()
        order = np.argsort(corners, kind="stable")
        starts = np.searchsorted(corners[order], np.arange(len(self.vertices) + 1))
        return starts, self._proper[order // 3]

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.vertices)

    @cached_property
    def _heat(self) -> Any:
        try:
            import potpourri3d
        except ImportError as error:
            raise require("potpourri3d", "surfaces", "--geodesic heat") from error
        return potpourri3d.MeshHeatMethodDistanceSolver(self.vertices, self.faces[self._proper].astype(np.int32))

    def bounds(self, source: int, reach: float = np.inf) -> Floats:
        """(v,) lengths of the shortest ways along edges from a vertex, never shorter than the geodesic distances."""
        from scipy.sparse.csgraph import dijkstra

        found: Floats = dijkstra(self._graph, directed=False, indices=source, limit=reach)
        return found

    def near(self, sources: int | Sequence[int] | Int64, radius: float) -> tuple[Int64, Floats]:
        """Vertices that are nearer than ``radius`` to one or to the nearest of several, which are included.

        Returns
        -------
        Numbers of vertices, rising, and distances. At the radius itself they are not nearer, however it is rounded.
        """
        source = np.unique(np.asarray(sources, np.int64))
        far = self.method == "heat" and radius > self._near
        found = self._by_heat(source, radius) if far else self._by_windows(source, radius, whole=False)
        close = found.distance < radius * (1 - 1e-9)
        return found.vertices[close], found.distance[close]

    def from_vertices(self, sources: Sequence[int] | Int64, reach: float = np.inf) -> Field:
        """Distances to the nearest of some vertices.

        Parameters
        ----------
        sources
            Numbers of vertices, at least one.
        reach
            Distances up to this are right; what is farther is infinite.
        """
        source = np.unique(np.asarray(sources, np.int64))
        if self.method == "heat" and reach > self._near:
            return self._by_heat(source, reach)
        return self._by_windows(source, reach)

    def _by_windows(self, source: Int64, reach: float, whole: bool = True) -> Field:
        """``whole``: also the distances of all corners of the faces that the reach touches."""
        margin = reach + self.longest_edge * (1 + 1e-9)
        faces = self._window(source, margin)
        margin = margin if whole else reach
        used, corners = _own(self.faces[faces])
        if not np.isin(source, used).all():  # a vertex that no face uses
            alone = np.setdiff1d(source, used)
            rest = np.intersect1d(source, used)
            more = self._by_windows(rest, reach) if len(rest) else Field(alone[:0], np.zeros(0), alone[:0])
            both = np.concatenate([more.vertices, alone])
            order = np.argsort(both)
            return Field(both[order], np.concatenate([more.distance, np.zeros(len(alone))])[order], more.faces)
        at = np.searchsorted(used, source)
        distance = self._distances(used, corners, at, margin)
        distance[at] = 0.0
        distance = np.where(distance <= margin, distance, np.inf)
        kept = np.isfinite(distance)
        return Field(used[kept], distance[kept], faces[kept[corners].all(axis=1)])

    def _distances(self, used: Int64, corners: Int64, at: Int64, margin: float) -> Floats:
        """Distances of the vertices of some faces, right up to a margin, from those at ``at``.

        The library stops at the margin, which saves a quarter. Should it fail on a vertex that it has not reached (see
        :class:`_Numpy`), it is asked without a margin.
        """
        algorithm = self._exact(self.vertices[used], corners.astype(np.int32))
        sources = at.astype(np.int32)
        try:
            limit = () if np.isinf(margin) else (margin * (1 + 1e-9),)
            return np.asarray(algorithm.geodesicDistances(sources, None, *limit)[0], np.float64)
        except OverflowError:
            pass
        joined = _reached(corners, at)
        inner, own = (np.arange(len(used)), corners) if joined.all() else _own(corners[joined])
        algorithm = self._exact(self.vertices[used[inner]], own.astype(np.int32))
        start = np.searchsorted(inner, at).astype(np.int32)
        distance = np.full(len(used), np.inf)
        distance[inner] = _asked(algorithm, start, np.arange(len(inner), dtype=np.int32))
        return distance

    def _window(self, source: Int64, margin: float) -> Int64:
        """Numbers of the faces with a corner in the ball of this radius around a source, rising."""
        if np.isinf(margin):
            return self._proper
        inside = self._ball(source, margin)
        starts, numbers = self._around
        counts = starts[inside + 1] - starts[inside]
        ends = np.cumsum(counts)
        rows = np.arange(ends[-1]) - np.repeat(ends - counts, counts) + np.repeat(starts[inside], counts)
        return np.unique(numbers[rows])

    def _ball(self, source: Int64, radius: float) -> Int64:
        """Numbers of the vertices within a straight distance of a source, ascending."""
        if len(source) == 1 and len(self.vertices) < DIRECT:
            away = self.vertices - self.vertices[source[0]]
            return np.flatnonzero(np.einsum("ij,ij->i", away, away) <= (radius * (1 + 1e-12)) ** 2)
        found = self._tree.query_ball_point(self.vertices[source], radius)
        return np.unique(np.concatenate([np.asarray(one, np.int64) for one in found]))

    def _by_heat(self, source: Int64, reach: float) -> Field:
        found = np.asarray(self._heat.compute_distance_multisource(source.tolist()), np.float64)
        apart = ~np.isin(self.components, self.components[source])
        found[apart] = np.inf
        near = self._by_windows(source, self._near)
        inner = near.distance <= self._near
        found = np.where(np.isfinite(found), np.maximum(found, self._near), np.inf)
        found[near.vertices[inner]] = near.distance[inner]
        kept = found <= reach + self.longest_edge * (1 + 1e-9)
        faces = self._proper[kept[self.faces[self._proper]].all(axis=1)]
        return Field(np.flatnonzero(kept), found[kept], faces)


class _Numpy:
    """numpy for the library: its array of the nearest sources holds any number that it may put there.

    For a vertex that no way has reached, the library answers with an infinite distance and a source that it never set,
    any of 32 bits without a sign. It puts that into an array of ``int32``, where numpy refuses half of them. This
    number is never used here; with ``int64`` it does no harm.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def zeros(shape: Any, dtype: Any = np.float64) -> NDArray[Any]:
        """An array of zeros, with 64 bits for whole numbers."""
        return np.zeros(shape, np.int64 if dtype is np.int32 else dtype)


def _exact() -> Any:
    """The library's class."""
    try:
        import pygeodesic.geodesic as library
    except ImportError as error:
        raise require("pygeodesic", "surfaces", "The geodesic distance") from error
    if not isinstance(library.numpy, _Numpy):
        library.numpy = _Numpy()
    return library.PyGeodesicAlgorithmExact


def proper(faces: Int64) -> Int64:
    """Numbers of the faces that name three vertices; the others are lines."""
    a, b, c = faces.T
    return np.flatnonzero((a != b) & (b != c) & (c != a))


def _edges_of(faces: Int64) -> tuple[Int64, Int64]:
    """The edges of faces, (e, 2) pairs of vertices, rising, each once; and how many faces each has."""
    a, b = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    base = int(faces.max(initial=0)) + 1
    key, counts = np.unique(np.minimum(a, b) * base + np.maximum(a, b), return_counts=True)
    return np.stack(np.divmod(key, base), axis=1), counts.astype(np.int64)


def _own(faces: Int64) -> tuple[Int64, Int64]:
    """The vertices that faces use, ascending, and the faces with the numbers of these."""
    used, corners = np.unique(faces, return_inverse=True)
    return used, corners.reshape(-1, 3)


def _reached(faces: Int64, sources: Int64) -> NDArray[np.bool_]:
    """Faces to which a way leads across edges from a face that has a source as a corner.

    The library is given only these: for others it reads memory that it has not written.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2)
    _, edge = np.unique(sides[:, 0] * (faces.max(initial=0) + 1) + sides[:, 1], return_inverse=True)
    owner = np.repeat(np.arange(len(faces)), 3)
    n = len(faces) + int(edge.max(initial=-1)) + 1
    links = coo_array((np.ones(len(owner), np.int8), (owner, len(faces) + edge)), shape=(n, n))
    part = connected_components(links, directed=False)[1][: len(faces)]
    return np.isin(part, part[np.isin(faces, sources).any(axis=1)])


def _asked(algorithm: Any, sources: NDArray[np.int32], targets: NDArray[np.int32]) -> Floats:
    """The library's distances; infinite for a vertex that no window reached.

    For such a vertex the library also answers with a number that was never set, and may fail on it. It is not limited
    to a distance here, because then there would be many; and where one is left, the others are asked without it.
    """
    try:
        return np.asarray(algorithm.geodesicDistances(sources, targets)[0], np.float64)
    except OverflowError:
        if len(targets) == 1:
            return np.full(1, np.inf)
        middle = len(targets) // 2
        return np.concatenate([_asked(algorithm, sources, some) for some in (targets[:middle], targets[middle:])])


def check_edges(faces: NDArray[np.integer], name: str = "The surface") -> None:
    """Refuse a surface on which more than two faces share an edge."""
    edges, counts = _edges_of(np.asarray(faces, np.int64))
    many = np.flatnonzero(counts > 2)
    if len(many):
        a, b = edges[many[0]]
        raise InputError(
            f"{name}: {len(many)} edges have more than two faces, the first, of vertices {a} and {b}, has "
            f"{counts[many[0]]}: it is not said which way leads on there. Divide the surface into its sheets, or "
            "make it again with volengine surface."
        )
