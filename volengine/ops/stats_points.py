"""Statistics of points: nearest neighbours and clusters. No result depends on the order of the points.

>>> import numpy as np
>>> points = np.array([[0, 0, 0], [0, 0, 3], [0, 0, 4], [0, 0, 90]], float)
>>> nearest(points).tolist()
[3.0, 1.0, 1.0, 86.0]
>>> found = dbscan(points, eps=3, min_points=3)
>>> found.label.tolist(), found.core.tolist()
([1, 1, 1, 0], [False, True, False, False])
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.block import Table
from volengine.core.errors import InputError

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

RUN_PAIRS = 500_000
"""Pairs of neighbours that are in memory together while clusters are found."""

_SLACK = 1e-9
"""Relative margin that is added to the distance in queries of a tree, so that the tree's rounding drops no pair."""


def nearest(points: ArrayLike, to: ArrayLike | None = None) -> Floats:
    """Compute the distance of each point to its nearest neighbour, or to the nearest point of another set.

    Parameters
    ----------
    points
        (n, 3), any unit of length, finite.
    to
        (m, 3): the other set. Default: the same points without the point itself (another point at the same place
        counts, with distance 0).

    Returns
    -------
    (n,) float64, in the unit of the points; infinite if there is no other point.

    Raises
    ------
    InputError
        The points are not finite, or do not have the shape (n, 3).

    Notes
    -----
    The distance is computed from the coordinates of the neighbour that was found, with the squares added in the order
    of the axes. So it has the same bits for any order of the points.
    """
    from scipy.spatial import cKDTree

    here = _points(points)
    there = here if to is None else _points(to)
    k = 2 if to is None else 1
    out = np.full(len(here), np.inf)
    if not len(here) or len(there) < k:
        return out
    _, index = cKDTree(there).query(here, k=k)
    if to is None:  # of two points at one place either may come first, and both lie at distance 0
        rows = np.arange(len(here))
        index = np.where(index[:, 0] == rows, index[:, 1], index[:, 0])
    out[:] = _apart(here, there[index])
    return out


@dataclass(frozen=True)
class Clusters:
    """The result of :func:`dbscan`.

    Parameters
    ----------
    label
        (n,) int64: number of the cluster, 1 ... ``count`` by descending size; 0 for noise.
    core
        (n,) bool: whether a point is a core point.
    """

    label: Int64
    core: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """Number of clusters."""
        return int(self.label.max(initial=0))

    @property
    def sizes(self) -> Int64:
        """Number of points of each cluster, (count,) int64."""
        return np.bincount(self.label, minlength=1)[1:].astype(np.int64)


def dbscan(points: ArrayLike, eps: float, min_points: int) -> Clusters:
    """Find density-based clusters (DBSCAN).

    Parameters
    ----------
    points
        (n, 3), any unit of length, finite.
    eps
        Largest distance of two neighbours, in the unit of the points (a distance equal to it counts).
    min_points
        A point is a core point if it has at least this many neighbours, itself included.

    Returns
    -------
    Clusters
        Core points that are neighbours share a cluster. A *border* point is no core point, but has one as a neighbour;
        it belongs to the cluster of its nearest core point, and of equally near ones to the first by z, then y, then x.
        All other points are noise. Clusters are numbered by descending size; equally large ones by their first point in
        the same order.

    Raises
    ------
    InputError
        ``eps`` or ``min_points`` is not positive, or the points are not finite or do not have the shape (n, 3).

    Notes
    -----
    The method is that of Ester, Kriegel, Sander and Xu, KDD 1996. There a border point belongs to the cluster that is
    found first, which depends on the order of the points; here it does not. Core points, noise and the number of
    clusters are the same. Time grows with the number of pairs of neighbours. Memory does not: they are found for some
    points at a time, with at most :data:`RUN_PAIRS` pairs, or those of one point; it is about 150 bytes for each point,
    and 300 for each pair of a run.
    """
    from scipy.spatial import cKDTree

    if not eps > 0 or not np.isfinite(eps) or min_points < 1:
        raise InputError(f"DBSCAN needs a positive distance and at least 1 point, not {eps} and {min_points}.")
    given = _points(points)
    n = len(given)
    if not n:
        return Clusters(np.zeros(0, np.int64), np.zeros(0, bool))
    order = np.lexsort(given.T[::-1])
    where = given[order]
    tree = cKDTree(where)
    runs = _runs(tree, where, eps)

    core = np.zeros(n, bool)
    for run in runs:
        a, _, _ = _neighbours(tree, where, run, eps)
        core[run] = np.bincount(np.searchsorted(run, a), minlength=run.size) >= min_points
    root, nearest_core = np.arange(n), np.full(n, -1, np.int64)
    for run in runs:
        a, b, apart = _neighbours(tree, where, run, eps)
        joined = core[a] & core[b]
        root = join_clusters(root, a[joined], b[joined])
        border = ~core[a] & core[b]
        a, b = a[border], b[border]
        best = np.lexsort((b, apart[border], a))
        outer, first = np.unique(a[best], return_index=True)
        nearest_core[outer] = b[best][first]
    belongs = np.where(core, root, np.where(nearest_core >= 0, root[nearest_core], -1))

    label, is_core = np.zeros(n, np.int64), np.zeros(n, bool)
    label[order], is_core[order] = number_clusters(belongs), core
    return Clusters(label, is_core)


def _runs(tree: Any, where: Floats, eps: float) -> list[Int64]:
    """Divide points into runs that have about :data:`RUN_PAIRS` pairs of neighbours each, or one point with more.

    The points of a run are ascending, and near to each other, so that few boxes of the tree are searched.
    """
    cell = np.floor(where / (4 * eps))
    walk = np.lexsort(cell.T[::-1])
    ends = np.cumsum(tree.query_ball_point(where, eps * (1 + _SLACK), return_length=True)[walk])
    cuts = [0]
    while cuts[-1] < len(where):
        before = int(ends[cuts[-1] - 1]) if cuts[-1] else 0
        cuts.append(max(cuts[-1] + 1, int(np.searchsorted(ends, before + RUN_PAIRS, side="right"))))
    return [np.sort(walk[start:stop]) for start, stop in pairwise(cuts)]


def _neighbours(tree: Any, where: Floats, run: Int64, eps: float) -> tuple[Int64, Int64, Floats]:
    """Return the pairs of a point of a run and a neighbour, itself included, and their distances."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(where[run]).sparse_distance_matrix(tree, eps * (1 + _SLACK), output_type="ndarray")
    a, b = run[pairs["i"]], pairs["j"].astype(np.int64)
    apart = _apart(where[a], where[b])
    near = apart <= eps
    return a[near], b[near], apart[near]


def join_clusters(root: Int64, a: Int64, b: Int64) -> Int64:
    """Join the clusters of points that are neighbours: ``root`` is the first point of each one's cluster."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b = root[a], root[b]
    differ = a < b
    nodes, inverse = np.unique(np.concatenate([a[differ], b[differ]]), return_inverse=True)
    if not nodes.size:
        return root
    ends = inverse.reshape(2, -1)
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(nodes.size, nodes.size))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    to = np.arange(root.size)
    to[nodes] = nodes[first[component]]
    return to[root]


def number_clusters(belongs: NDArray[np.integer]) -> Int64:
    """Number the clusters from 1 by descending size, equal ones by their first member; -1 becomes 0."""
    label = np.zeros(len(belongs), np.int64)
    inside = np.flatnonzero(belongs >= 0)
    _, first, inverse, size = np.unique(belongs[inside], return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(size), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(1, len(size) + 1)
    label[inside] = rank[inverse]
    return label


def cluster_table(points: ArrayLike, clusters: Clusters) -> Table:
    """Make a table of clusters, one row each.

    Parameters
    ----------
    points
        (n, 3): the points that were given to :func:`dbscan`.
    clusters
        Its result.

    Returns
    -------
    Columns ``cluster`` (int64), ``points`` and ``cores`` (int64, numbers of points and core points), ``centre``
    (float64, (clusters, 3), the mean position) and ``radius_of_gyration`` (float64, root of the mean squared distance
    to the centre), lengths in the unit of the points.
    """
    where = _points(points)
    order = np.lexsort(where.T[::-1])  # sums in a fixed order, so that their last digits do not depend on the input's
    label = clusters.label[order]
    order = order[np.argsort(label, kind="stable")]
    where = where[order]
    ends = np.cumsum(np.bincount(label, minlength=clusters.count + 1))
    centre, spread = np.zeros((clusters.count, 3)), np.zeros(clusters.count)
    for k in range(clusters.count):
        mine = where[ends[k] : ends[k + 1]]
        centre[k] = mine.mean(axis=0)
        spread[k] = np.sqrt(np.square(mine - centre[k]).sum(axis=1).mean())
    return {
        "cluster": np.arange(1, clusters.count + 1, dtype=np.int64),
        "points": clusters.sizes,
        "cores": np.bincount(clusters.label[clusters.core], minlength=clusters.count + 1)[1:].astype(np.int64),
        "centre": centre,
        "radius_of_gyration": spread,
    }


def _apart(a: Floats, b: Floats) -> Floats:
    """Return the distances of pairs; the squares are added in the order of the axes."""
    z, y, x = (a - b).T
    distance: Floats = np.sqrt(z * z + y * y + x * x)
    return distance


def _points(points: ArrayLike) -> Floats:
    array = np.asarray(points, np.float64)
    if array.size == 0:
        return np.zeros((0, 3))
    if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
        raise InputError(f"Points must be finite and of shape (n, 3), not {array.shape}.")
    return array
