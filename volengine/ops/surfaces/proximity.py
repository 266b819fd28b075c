"""Distances from the vertices of a surface: to other surfaces, to points, to the faces of the volume.

Those to surfaces are exact (:mod:`.triangles`), and only surfaces that can be the nearest are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.boxes import Index3
from volengine.core.surface import Surface
from volengine.core.volume import Vector3
from volengine.ops.surfaces.triangles import nearest_on

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class NearestSurface(NamedTuple):
    """The nearest of several surfaces: distance (n,), its number and the number of its face, (n,)."""

    distance: Floats
    number: Ints
    face: Ints


def box_around(surface: Surface) -> Floats:
    """(2, 3) least and largest coordinates of a surface."""
    return np.stack([surface.vertices.min(axis=0), surface.vertices.max(axis=0)])


def nearest_surface(places: Floats, boxes: Mapping[int, Floats], read: Callable[[int], Surface]) -> NearestSurface:
    """Distance of each place from the nearest of several surfaces.

    Parameters
    ----------
    places
        (n, 3).
    boxes
        The surfaces that count: :func:`box_around` each, by its number.
    read
        Gives a surface by its number; asked only for those that can be the nearest of some place, once each.

    Returns
    -------
    NearestSurface
        NaN, 0 and -1 if there are no surfaces. Of equally near ones that of the lowest number.
    """
    best = np.full(len(places), np.inf)
    number, face = np.zeros(len(places), np.int64), np.full(len(places), -1, np.int64)
    if not len(places):
        return NearestSurface(best, number, face)
    mine = np.stack([places.min(axis=0), places.max(axis=0)])
    apart = {one: _between_boxes(mine, box) for one, box in boxes.items()}
    for one in sorted(apart, key=lambda one: (apart[one], one)):
        if apart[one] > best.max():  # so are all others
            break
        low, high = boxes[one]
        rows = np.flatnonzero(np.linalg.norm(np.maximum(0, np.maximum(low - places, places - high)), axis=1) <= best)
        if not len(rows):
            continue
        other = read(one)
        found = nearest_on(places[rows], other.vertices, other.faces)
        nearer = (found.distance < best[rows]) | ((found.distance == best[rows]) & (one < number[rows]))
        rows = rows[nearer]
        best[rows], number[rows], face[rows] = found.distance[nearer], one, found.face[nearer]
    return NearestSurface(np.where(np.isfinite(best), best, np.nan), number, face)


def _between_boxes(one: Floats, other: Floats) -> float:
    """The least distance between points of two boxes."""
    return float(np.linalg.norm(np.maximum(0, np.maximum(other[0] - one[1], one[0] - other[1]))))


def nearest_point(places: Floats, points: ArrayLike) -> tuple[Floats, Ints]:
    """Distance of each place from the nearest of some points, and its index; NaN and -1 if there are none."""
    from scipy.spatial import cKDTree

    targets = np.asarray(points, np.float64).reshape(-1, 3)
    if not len(targets):
        return np.full(len(places), np.nan), np.full(len(places), -1, np.int64)
    far, index = cKDTree(targets).query(places)
    return far, index.astype(np.int64)


def to_volume_faces(places: Floats, shape: Index3, voxel_size: Vector3) -> Floats:
    """Distance of each place from the nearest of the six faces of its volume; negative outside.

    The faces are the outer sides of the outermost voxels: half a voxel beyond their centres.

    >>> to_volume_faces(np.array([[0.0, 50, 50], [45.0, 50, 95]]), (10, 11, 11), (10.0, 10.0, 10.0)).tolist()
    [5.0, 10.0]
    """
    size = np.asarray(voxel_size)
    low, high = places + size / 2, (np.asarray(shape) - 0.5) * size - places
    found: Floats = np.minimum(low, high).min(axis=1)
    return found
