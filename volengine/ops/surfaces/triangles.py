"""The nearest points of triangles: of one for each point, and of a mesh.

Distances to a mesh are those to the nearest point of its triangles, not only to vertices. They are exact: centroids of
triangles are searched, nearest first, until no other triangle can be nearer.

>>> flat = np.array([[5.0, -90, -90], [5.0, 90, -90], [5.0, 0, 90]])
>>> nearest_on(np.array([[0.0, 0, 0], [5.0, 0, 3]]), flat, np.array([[0, 1, 2]])).distance.round(9).tolist()
[5.0, 0.0]
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AT_ONCE = 1 << 18
"""Pairs of a point and a triangle that are held at a time, about."""

FIRST = 8
"""Triangles with which each point is compared first."""

FLAT = 1e-4
"""Triangles whose height is less than this share of their length count as lines: of these, the weights of inner points
say nothing, for rounding."""

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
            each = np.repeat(points[some], far.shape[1], axis=0)
            near, _ = on_triangles(each, corners[candidate.ravel()])
            apart = np.square(each - near).sum(axis=1).reshape(far.shape)
            least = apart.min(axis=1)
            best[some] = least
            face[some] = np.where(apart == least[:, None], candidate, len(corners)).min(axis=1)
            # another one could be as near
            open_again.append(some[(far[:, -1] - reach) * (1 - 1e-9) <= np.sqrt(least)])
        if many == len(parts):
            break
        left, many = np.concatenate(open_again), min(4 * many, len(parts))
    return Nearest(np.sqrt(best), face)


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


def on_triangles(points: Floats, corners: Floats) -> tuple[Floats, Floats]:
    """The nearest point of a triangle for each point, and its barycentric weights.

    Parameters
    ----------
    points
        (n, 3).
    corners
        (n, 3, 3): the three corners of the triangle of each point.

    Returns
    -------
    (n, 3) points and (n, 3) weights, 0 or more, with the sum 1.
    """
    a, b, c = (corners[:, i] for i in range(3))
    ab, ac, ap = b - a, c - a, points - a
    d1, d2 = _dot(ab, ap), _dot(ac, ap)
    d3, d4 = _dot(ab, points - b), _dot(ac, points - b)
    d5, d6 = _dot(ab, points - c), _dot(ac, points - c)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    one, none = np.ones_like(d1), np.zeros_like(d1)
    t_ab, t_ac = _over(d1, d1 - d3), _over(d2, d2 - d6)
    t_bc = _over(d4 - d3, (d4 - d3) + (d5 - d6))
    whole = va + vb + vc
    v, w = _over(vb, whole), _over(vc, whole)
    choices = [
        ((d1 <= 0) & (d2 <= 0), (one, none, none)),
        ((d3 >= 0) & (d4 <= d3), (none, one, none)),
        ((d6 >= 0) & (d5 <= d6), (none, none, one)),
        ((vc <= 0) & (d1 >= 0) & (d3 <= 0), (1 - t_ab, t_ab, none)),
        ((vb <= 0) & (d2 >= 0) & (d6 <= 0), (1 - t_ac, none, t_ac)),
        ((va <= 0) & (d4 >= d3) & (d5 >= d6), (none, 1 - t_bc, t_bc)),
    ]
    conditions = [condition for condition, _ in choices]
    weights = np.stack(
        [np.select(conditions, [w3[i] for _, w3 in choices], (1 - v - w, v, w)[i]) for i in range(3)], axis=1
    )
    near = np.einsum("ni,nij->nj", weights, corners)
    flat = np.flatnonzero(np.abs(whole) < FLAT**2 * np.maximum(_dot(ab, ab), _dot(ac, ac)) ** 2)
    if len(flat):
        near[flat], weights[flat] = _on_sides(points[flat], corners[flat])
    return near, weights


def _on_sides(points: Floats, corners: Floats) -> tuple[Floats, Floats]:
    """The nearest point of a triangle's sides for each point, and its weights."""
    near, weights, least = np.empty_like(points), np.zeros_like(points), np.full(len(points), np.inf)
    for k in range(3):
        a, b = corners[:, k], corners[:, (k + 1) % 3]
        t = np.clip(_over(_dot(points - a, b - a), _dot(b - a, b - a)), 0, 1)
        there = a + t[:, None] * (b - a)
        apart = np.square(points - there).sum(axis=1)
        rows = np.flatnonzero(apart < least)
        near[rows], least[rows], weights[rows] = there[rows], apart[rows], 0.0
        weights[rows, k], weights[rows, (k + 1) % 3] = 1 - t[rows], t[rows]
    return near, weights


def _dot(a: Floats, b: Floats) -> Floats:
    found: Floats = np.einsum("ij,ij->i", a, b)
    return found


def _over(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)
