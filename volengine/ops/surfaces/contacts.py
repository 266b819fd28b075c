"""Contacts between surfaces: the area of one that lies within a distance of another.

>>> import numpy as np
>>> faces = np.array([[0, 1, 2], [1, 3, 2]])
>>> low = np.array([[0.0, 0, 0], [0, 0, 8], [0, 8, 0], [0, 8, 8]])
>>> found = contact((low, faces), (low + [3, 0, 0], faces), 5.0)
>>> found.area, found.nearest, round(found.mean, 6)
(64.0, 3.0, 3.0)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.ops.surfaces.project import project

Floats = NDArray[np.float64]
Mesh = tuple[Floats, NDArray[np.integer]]

FINE = 0.25
"""Faces with longer edges than this share of the distance are divided."""
MOST_DIVIDED = 10


@dataclass(frozen=True)
class Contact:
    """Where a surface is near to another one.

    Parameters
    ----------
    area
        Area within the distance.
    nearest
        Least distance of its vertices (of those within the distance, else NaN).
    mean
        Mean distance over the area; NaN without area.
    """

    area: float
    nearest: float
    mean: float


def contact(one: Mesh, other: Mesh, radius: float) -> Contact:
    """Measure where one surface is within a distance of another, in a straight line.

    Parameters
    ----------
    one, other
        Vertices, (v, 3), and faces, (m, 3).
    radius
        Largest distance, in the unit of the vertices.

    Notes
    -----
    Distances are those of the corners of faces, divided until their edges are at most :data:`FINE` of the radius, and
    linear between them.
    """
    corners = _near(one, other, radius)
    longest = _longest(corners)
    for _ in range(MOST_DIVIDED):
        wide = longest > FINE * radius
        if not wide.any():
            break
        corners = np.concatenate([corners[~wide], _quartered(corners[wide])])
        corners = _box(corners, other, radius)
        longest = _longest(corners)
    if not len(corners):
        return Contact(0.0, np.nan, np.nan)
    places, inverse = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    faces = inverse.reshape(-1, 3)
    distance = project(places, *other).distance
    nearest = float(distance.min())
    limit = radius * (1 + 1e-9)  # what is at the distance itself is within it, however it is rounded
    if nearest > limit:
        return Contact(0.0, np.nan, np.nan)
    area, total = _within(places, faces, distance, limit)
    return Contact(area, nearest, total / area) if area else Contact(0.0, np.nan, np.nan)


def _within(at: Floats, faces: NDArray[np.int64], distance: Floats, limit: float) -> tuple[float, float]:
    """The area where a distance, linear on each face, is below a limit; and the integral of the distance over it.

    A face whose corners lie on both sides is a triangle within the limit, or one without another triangle.
    """
    corners = at[faces]
    size = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    a, b, c = np.sort(distance[faces], axis=1).T
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where((a < limit) & (limit <= b), (limit - a) ** 2 / ((b - a) * (c - a)), 0.0) * size
        high = np.where((b < limit) & (limit < c), (c - limit) ** 2 / ((c - a) * (c - b)), 0.0) * size
    whole = np.where(b < limit, size, 0.0)
    area = whole + low - high
    total = whole * (a + b + c) / 3 + low * (a + 2 * limit) / 3 - high * (c + 2 * limit) / 3
    return float(area.sum()), float(total.sum())


def _near(one: Mesh, other: Mesh, radius: float) -> Floats:
    return _box(one[0][one[1]], other, radius)


def _box(corners: Floats, other: Mesh, radius: float) -> Floats:
    """The faces whose box comes within the radius of the other's box."""
    at = other[0][np.unique(other[1])]
    if not len(at) or not len(corners):
        return corners[:0]
    low, high = at.min(axis=0) - radius, at.max(axis=0) + radius
    kept = ((corners.max(axis=1) >= low) & (corners.min(axis=1) <= high)).all(axis=1)
    found: Floats = corners[kept]
    return found


def _longest(corners: Floats) -> Floats:
    found: Floats = np.linalg.norm(corners - corners[:, [1, 2, 0]], axis=2).max(axis=1, initial=0.0)
    return found


def _quartered(corners: Floats) -> Floats:
    a, b, c = (corners[:, i] for i in range(3))
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([np.stack(part, axis=1) for part in parts])
