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

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.block import Table
from volengine.core.errors import InputError

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

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
    clusters are the same. Time and memory grow with the number of pairs of neighbours (16 bytes per pair).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if not eps > 0 or not np.isfinite(eps) or min_points < 1:
        raise InputError(f"DBSCAN needs a positive distance and at least 1 point, not {eps} and {min_points}.")
    given = _points(points)
    n = len(given)
    if not n:
        return Clusters(np.zeros(0, np.int64), np.zeros(0, bool))
    order = np.lexsort(given.T[::-1])
    where = given[order]
    pairs = cKDTree(where).query_pairs(eps * (1 + _SLACK), output_type="ndarray")
    a, b = pairs[_apart(where[pairs[:, 0]], where[pairs[:, 1]]) <= eps].T
    core = np.bincount(a, minlength=n) + np.bincount(b, minlength=n) + 1 >= min_points

    joined = core[a] & core[b]
    graph = coo_array((np.ones(int(joined.sum())), (a[joined], b[joined])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    belongs = np.where(core, component, -1)

    either = np.stack([np.concatenate([a, b]), np.concatenate([b, a])])
    outer, inner = either[:, ~core[either[0]] & core[either[1]]]
    best = np.lexsort((inner, _apart(where[outer], where[inner]), outer))
    outer, first = np.unique(outer[best], return_index=True)
    belongs[outer] = component[inner[best][first]]

    label, is_core = np.zeros(n, np.int64), np.zeros(n, bool)
    label[order], is_core[order] = _numbered(belongs), core
    return Clusters(label, is_core)


def _numbered(belongs: NDArray[np.integer]) -> Int64:
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
    where, label, core = where[order], clusters.label[order], clusters.core[order]
    centre, spread = np.zeros((clusters.count, 3)), np.zeros(clusters.count)
    for k in range(clusters.count):
        mine = where[label == k + 1]
        centre[k] = mine.mean(axis=0)
        spread[k] = np.sqrt(np.square(mine - centre[k]).sum(axis=1).mean())
    return {
        "cluster": np.arange(1, clusters.count + 1, dtype=np.int64),
        "points": clusters.sizes,
        "cores": np.bincount(label[core], minlength=clusters.count + 1)[1:].astype(np.int64),
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
