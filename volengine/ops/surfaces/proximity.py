"""Distances from the vertices of a surface: to other surfaces, to points, to the faces of the volume.

Distances to surfaces are those to the nearest point of their triangles, not only to vertices. They are exact: centroids
of triangles are searched, nearest first, until no other triangle can be nearer.

>>> flat = np.array([[5.0, -90, -90], [5.0, 90, -90], [5.0, 0, 90]])
>>> nearest_on(np.array([[0.0, 0, 0], [5.0, 0, 3]]), flat, np.array([[0, 1, 2]])).distance.tolist()
[5.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.core.volume import Vector3

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AT_ONCE = 1 << 18
"""Pairs of a point and a triangle that are held at a time, about."""

FIRST = 8
"""Triangles with which each point is compared first."""

LONGEST = 3.0
"""Triangles larger than so many typical ones are searched in parts, so that a few of them do not slow all others."""


class Nearest(NamedTuple):
    """The nearest face of each point: its distance (n,), and its number (of equally near ones the lowest)."""

    distance: Floats
    face: Ints


def nearest_on(points: Floats, vertices: Floats, faces: NDArray[Any]) -> Nearest:
    """Distance of each point from the nearest point of a mesh.

    Parameters
    ----------
    points
        (n, 3).
    vertices, faces
        The mesh, in the same unit; at least one face.

    Raises
    ------
    InputError
        The mesh has no faces.
    """
    from scipy.spatial import cKDTree

    if not len(faces):
        raise InputError("There is no distance to a surface without faces.")
    corners = vertices[np.asarray(faces, np.int64)]
    parts, owner = _parts(corners)
    middle = parts.mean(axis=1)
    reach = float(np.linalg.norm(parts - middle[:, None], axis=2).max())
    tree = cKDTree(middle)
    best, face = np.full(len(points), np.inf), np.full(len(points), -1, np.int64)
    left, many = np.arange(len(points)), min(FIRST, len(parts))
    while len(left):
        open_again = []
        for begin in range(0, len(left), max(1, AT_ONCE // many)):
            some = left[begin : begin + max(1, AT_ONCE // many)]
            far, found = tree.query(points[some], many)
            far, found = far.reshape(len(some), -1), found.reshape(len(some), -1)
            candidate = owner[found]
            apart = _to_triangles(np.repeat(points[some], far.shape[1], axis=0), corners[candidate.ravel()])
            apart = apart.reshape(far.shape)
            least = apart.min(axis=1)
            best[some] = least
            face[some] = np.where(apart == least[:, None], candidate, len(corners)).min(axis=1)
            open_again.append(some[far[:, -1] - reach <= least])  # another one could be as near
        if many == len(parts):
            break
        left, many = np.concatenate(open_again), min(4 * many, len(parts))
    return Nearest(best, face)


def _parts(corners: Floats) -> tuple[Floats, Ints]:
    """Triangles of about one size that cover all triangles, and whose part each is."""
    owner = np.arange(len(corners))
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    most = LONGEST * max(float(np.median(sides.max(axis=1))), 1e-3 * float(sides.max()))
    done, owners = [], []
    while len(corners):
        sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)  # from corner k to k + 1
        longest, small = sides.argmax(axis=1), sides.max(axis=1) <= most
        done.append(corners[small])
        owners.append(owner[small])
        corners, owner, longest = corners[~small], owner[~small], longest[~small]
        rows = np.arange(len(corners))
        a, b, c = corners[rows, longest], corners[rows, (longest + 1) % 3], corners[rows, (longest + 2) % 3]
        half = (a + b) / 2
        corners = np.concatenate([np.stack([a, half, c], 1), np.stack([half, b, c], 1)])
        owner = np.concatenate([owner, owner])
    return np.concatenate(done), np.concatenate(owners)


def _to_triangles(points: Floats, corners: Floats) -> Floats:
    """Distance of each point from its triangle: to the plane if it lies above it, else to the nearest side."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(ab, ac)
    square = np.einsum("ij,ij->i", normal, normal)
    off = points - a
    height = np.einsum("ij,ij->i", off, normal)
    over = 1 / np.where(square > 0, square, 1)
    v = np.einsum("ij,ij->i", np.cross(off, ac), normal) * over
    w = np.einsum("ij,ij->i", np.cross(ab, off), normal) * over
    above = (square > 0) & (v >= 0) & (w >= 0) & (v + w <= 1)
    sides = np.full(len(points), np.inf)
    for k in range(3):
        p, q = corners[:, k], corners[:, (k + 1) % 3]
        along = q - p
        length = np.einsum("ij,ij->i", along, along)
        t = np.clip(np.einsum("ij,ij->i", points - p, along) / np.where(length > 0, length, 1), 0, 1)
        sides = np.minimum(sides, np.linalg.norm(points - p - t[:, None] * along, axis=1))
    return np.where(above, np.abs(height) * np.sqrt(over), sides)


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
