"""Neighbours on a surface: the nearest ones of each point, the angles between their orientations, and clusters.

>>> import numpy as np
>>> of, to, far = np.array([0, 0, 1]), np.array([1, 2, 0]), np.array([5.0, 3.0, 5.0])
>>> found = nearest_of(of, to, far, count=2, neighbours=2)
>>> found.index.tolist(), found.distance.tolist()
([[2, 1], [0, -1]], [[3.0, 5.0], [5.0, inf]])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.orientation import euler_to_matrix
from volengine.ops.stats_points import Clusters, join_clusters, number_clusters

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest neighbours of points.

    Parameters
    ----------
    index
        (n, k) int64 numbers of the neighbours, the nearest first; -1: there is none.
    distance
        (n, k) their distances; infinite where there is none.
    """

    index: Int64
    distance: Floats


def nearest_of(of: ArrayLike, to: ArrayLike, distance: ArrayLike, *, count: int, neighbours: int) -> Neighbours:
    """The nearest neighbours from a list of pairs.

    Parameters
    ----------
    of, to, distance
        (p,) pairs: the point, its neighbour and their distance.
    count
        Number of points.
    neighbours
        How many are wanted of each. Of equally near ones the first by number.
    """
    a, b, far = np.asarray(of, np.int64), np.asarray(to, np.int64), np.asarray(distance, np.float64)
    order = np.lexsort((b, far, a))
    a, b, far = a[order], b[order], far[order]
    rank = np.arange(len(a)) - np.searchsorted(a, a)
    index, apart = np.full((count, neighbours), -1, np.int64), np.full((count, neighbours), np.inf)
    kept = (rank < neighbours) & np.isfinite(far)
    index[a[kept], rank[kept]], apart[a[kept], rank[kept]] = b[kept], far[kept]
    return Neighbours(index, apart)


@dataclass(frozen=True, eq=False)
class Turns:
    """Angles between the orientations of points and their neighbours, degrees.

    Parameters
    ----------
    turn
        (p,) by how much the neighbour is turned about the normal, counterclockwise seen from the normal's tip, after
        its own tangent plane has been turned into that of the point: -180 to 180, with C2 -90 to 90.
    bearing
        (p,) the direction to the neighbour in the point's tangent plane, counterclockwise from its own x axis;
        as above.
    whole
        (p,) the angle of the rotation that turns one orientation into the other, 0 to 180.
    """

    turn: Floats
    bearing: Floats
    whole: Floats


def turns(
    places: ArrayLike, normals: ArrayLike, euler: ArrayLike, of: ArrayLike, to: ArrayLike, *, c2: bool = False
) -> Turns:
    """Angles between the orientations of points and their neighbours.

    Parameters
    ----------
    places, normals
        (n, 3) places of the points and unit normals of the surface there, z, y, x.
    euler
        (n, 3) rot, tilt, psi in degrees.
    of, to
        (p,) the pairs.
    c2
        The particles look the same after half a turn about their z axis: the smaller one of the angles is given.

    Notes
    -----
    A normal is taken on the side to which the particle's z axis points. A particle whose x axis is along the normal has
    no direction in the plane: NaN.
    """
    at = np.asarray(places, np.float64)[:, ::-1]
    frames = euler_to_matrix(euler)
    up = np.asarray(normals, np.float64)[:, ::-1]
    up = np.where(np.einsum("ni,ni->n", up, frames[:, :, 2])[:, None] < 0, -up, up)
    one, other = np.asarray(of, np.int64), np.asarray(to, np.int64)
    axis = _in_plane(frames[:, :, 0], up)
    carried = _carried(axis[other], up[other], up[one])
    turn = _signed(axis[one], carried, up[one])
    bearing = _signed(axis[one], _in_plane(at[other] - at[one], up[one]), up[one])
    between = np.einsum("nji,njk->nik", frames[one], frames[other])
    whole = _rotation_angle(between)
    if c2:
        half = between.copy()
        half[:, :2] *= -1  # half a turn of the point about its own z
        whole = np.minimum(whole, _rotation_angle(half))
        turn, bearing = (np.where(np.isnan(v), v, (v + 90) % 180 - 90) for v in (turn, bearing))
    return Turns(turn, bearing, whole)


def angles_between(one: ArrayLike, other: ArrayLike) -> Floats:
    """(n,) angles between pairs of vectors, degrees, 0 to 180."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    found: Floats = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), np.einsum("ij,ij->i", a, b)))
    return found


def _rotation_angle(matrix: Floats) -> Floats:
    found: Floats = np.degrees(np.arccos(np.clip((np.trace(matrix, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    return found


def _in_plane(vectors: Floats, up: Floats) -> Floats:
    """Unit vectors along the part of vectors that is across a normal; NaN if there is none."""
    flat = vectors - np.einsum("ni,ni->n", vectors, up)[:, None] * up
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    found: Floats = np.divide(flat, length, out=np.full_like(flat, np.nan), where=length > 1e-9)
    return found


def _carried(vectors: Floats, start: Floats, stop: Floats) -> Floats:
    """Vectors turned by the smallest rotation that turns one normal into another (Rodrigues)."""
    axis = np.cross(start, stop)
    cosine = np.einsum("ni,ni->n", start, stop)[:, None]
    along = np.einsum("ni,ni->n", axis, vectors)[:, None]
    scale = np.divide(1.0, 1 + cosine, out=np.zeros_like(cosine), where=cosine > -1 + 1e-12)
    turned: Floats = vectors * cosine + np.cross(axis, vectors) + axis * along * scale
    return turned


def _signed(start: Floats, stop: Floats, up: Floats) -> Floats:
    sine = np.einsum("ni,ni->n", np.cross(start, stop), up)
    found: Floats = np.degrees(np.arctan2(sine, np.einsum("ni,ni->n", start, stop)))
    return found


def clusters_of(of: ArrayLike, to: ArrayLike, distance: ArrayLike, *, count: int, min_points: int) -> Clusters:
    """Density-based clusters (DBSCAN) from the pairs of points that are neighbours.

    Parameters
    ----------
    of, to, distance
        (p,) all pairs of neighbours, in both directions; a point itself need not be among them.
    count
        Number of points.
    min_points
        A point with at least this many neighbours, itself included, is a core point.

    Returns
    -------
    Clusters
        As those of :func:`volengine.ops.stats_points.dbscan`: a border point belongs to the cluster of its nearest core
        point, of equally near ones of the first.
    """
    a, b, far = np.asarray(of, np.int64), np.asarray(to, np.int64), np.asarray(distance, np.float64)
    apart = a != b
    a, b, far = a[apart], b[apart], far[apart]
    core = np.bincount(a, minlength=count) + 1 >= min_points
    both = core[a] & core[b]
    root = join_clusters(np.arange(count), np.minimum(a[both], b[both]), np.maximum(a[both], b[both]))
    belongs = np.where(core, root, -1)
    border = ~core[a] & core[b]
    order = np.lexsort((b[border], far[border], a[border]))
    outer, first = np.unique(a[border][order], return_index=True)
    belongs[outer] = root[b[border][order][first]]
    return Clusters(number_clusters(belongs), core)
