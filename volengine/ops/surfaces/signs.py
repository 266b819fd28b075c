"""On which side of a surface places lie.

The sign is that of the angle between the way from the nearest point of the surface to the place, and the *pseudonormal*
there: the normal of a face, the mean of two of them on an edge, and the mean by angles at a corner. With these the sign
is right everywhere around a closed surface that does not cross itself (Baerentzen & Aanaes, IEEE Trans. Vis. Comput.
Graph. 11:243, 2005); with normals of faces alone it is wrong beside sharp edges.

>>> flat = Surface([[5.0, -9, -9], [5.0, -9, 9], [5.0, 9, 0]], [[0, 1, 2]])
>>> side_of(np.array([[9.0, 0, 0], [0.0, 0, 0]]), flat, np.array([0, 0])).tolist()
[1, -1]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.normals import face_normals
from volengine.ops.surfaces.triangles import nearest_on

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ON_SIDE = 1e-9
"""Share of a face's size up to which a point counts as one of its sides or corners."""


def side_of(places: Floats, surface: Surface, face: Ints) -> NDArray[np.int8]:
    """Return the side of a surface on which each place lies.

    Parameters
    ----------
    places
        (n, 3) z, y, x, in the unit of the surface.
    surface
        The surface; its faces go round one way, and where it has normals these say which side is which.
    face
        (n,) the face that is the nearest of each place (:func:`~volengine.ops.surfaces.proximity.nearest_on`).

    Returns
    -------
    (n,) 1 outside of a closed surface and on the side of the normals of an open one, -1 on the other side, 0 on it.

    Raises
    ------
    InputError
        Neighbouring faces go round in opposite ways, so that there are no sides.
    """
    _check_wound(surface)
    corners = surface.vertices[surface.faces.astype(np.int64)]
    normal = face_normals(surface.vertices, surface.faces.astype(np.int64))
    found = np.zeros(len(places), np.int8)
    if not len(places):
        return found
    near, weights = _nearest_point(places, corners[face])
    pseudo = normal[face].copy()
    on = weights > ON_SIDE
    _on_edges(surface, face, on, normal, pseudo)
    _on_corners(surface, face, on, corners, normal, pseudo)
    along = np.einsum("ij,ij->i", places - near, pseudo)
    return np.asarray(np.sign(along) * _outwards(surface, corners, normal), np.int8)


def welded(surface: Surface) -> Surface:
    """The surface with one vertex where several have the same place, as files of corners have at seams; no columns.

    Faces of which two corners are one vertex then are left out. A surface without such vertices is returned as it is.
    """
    places, first, number = np.unique(surface.vertices, axis=0, return_index=True, return_inverse=True)
    if len(places) == len(surface.vertices):
        return surface
    faces = number.ravel()[surface.faces]
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    normals = None if surface.normals is None else surface.normals[first]
    return Surface(places, faces[whole], normals, number=surface.number)


def inside_closed(places: Floats, surface: Surface) -> NDArray[np.bool_]:
    """Return which places lie inside of a closed surface.

    Raises
    ------
    InputError
        The surface is not closed, or its faces do not go round one way.
    """
    if not surface.closed:
        raise InputError(f"{surface.name} has {len(surface.borders)} border edges: nothing is inside of it.")
    inside = ((places >= surface.vertices.min(axis=0)) & (places <= surface.vertices.max(axis=0))).all(axis=1)
    rows = np.flatnonzero(inside)
    if len(rows):
        near = nearest_on(places[rows], surface.vertices, surface.faces)
        inside[rows] = side_of(places[rows], surface, near.face) < 0
    found: NDArray[np.bool_] = inside
    return found


def _outwards(surface: Surface, corners: Floats, normal: Floats) -> int:
    """1 if the faces' normals point to the positive side, else -1."""
    if surface.closed:
        middle = corners.reshape(-1, 3).mean(axis=0)
        off = corners - middle
        volume = -np.einsum("ij,ij->i", off[:, 0], np.cross(off[:, 1], off[:, 2])).sum()
        return 1 if volume >= 0 else -1
    if surface.normals is None:
        return 1
    agree = np.einsum("ij,ij->i", surface.normals[surface.faces].sum(axis=1), normal) * surface.areas
    return 1 if agree.sum() >= 0 else -1


def _check_wound(surface: Surface) -> None:
    """Refuse edges along which more than one face more goes one way than the other."""
    sides = surface.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).astype(np.int64)
    way = np.where(sides[:, 0] < sides[:, 1], 1, -1)
    _, edge = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
    bad = int((np.abs(np.bincount(edge.ravel(), way)) > 1).sum()) if len(sides) else 0
    if bad:
        raise InputError(
            f"{surface.name}: at {bad} edges neighbouring faces go round in opposite ways, so that it has no sides; "
            "make its faces consistent (trimesh: fix_normals; MeshLab: re-orient all faces)."
        )


def _nearest_point(places: Floats, corners: Floats) -> tuple[Floats, Floats]:
    """The point of each triangle that is the nearest of its place, and its weights of the three corners (n, 3)."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, off = b - a, c - a, places - a

    def dot(one: Floats, other: Floats) -> Floats:
        found: Floats = np.einsum("ij,ij->i", one, other)
        return found

    normal = np.cross(ab, ac)
    square = dot(normal, normal)
    over = 1 / np.where(square > 0, square, 1)
    v, w = dot(np.cross(off, ac), normal) * over, dot(np.cross(ab, off), normal) * over
    weights = np.stack([1 - v - w, v, w], axis=1)
    above = (square > 0) & (weights >= 0).all(axis=1)
    best = np.where(above, 0.0, np.inf)
    for k in range(3):
        p, q = corners[:, k], corners[:, (k + 1) % 3]
        way = q - p
        t = np.clip(dot(places - p, way) / np.where((far := dot(way, way)) > 0, far, 1), 0, 1)
        apart = np.linalg.norm(places - p - t[:, None] * way, axis=1)
        nearer = ~above & (apart < best)
        best[nearer] = apart[nearer]
        mine = np.zeros((int(nearer.sum()), 3))
        mine[:, k], mine[:, (k + 1) % 3] = 1 - t[nearer], t[nearer]
        weights[nearer] = mine
    near: Floats = np.einsum("ni,nij->nj", weights, corners)
    return near, weights


def _on_edges(surface: Surface, face: Ints, on: NDArray[np.bool_], normal: Floats, pseudo: Floats) -> None:
    """On an edge: the sum of the normals of its faces."""
    rows = np.flatnonzero(on.sum(axis=1) == 2)
    if not len(rows):
        return
    mine = surface.faces[face[rows]].astype(np.int64)
    ends = np.sort(mine[on[rows]].reshape(-1, 2), axis=1)
    sides = np.sort(surface.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).astype(np.int64), axis=1)
    count = len(surface.vertices)
    wanted, place = np.unique(ends @ [count, 1], return_inverse=True)
    keys = sides @ [count, 1]
    at = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    met = wanted[at] == keys
    summed = np.zeros((len(wanted), 3))
    np.add.at(summed, at[met], np.repeat(normal, 3, axis=0)[met])
    pseudo[rows] = summed[place.ravel()]


def _on_corners(
    surface: Surface, face: Ints, on: NDArray[np.bool_], corners: Floats, normal: Floats, pseudo: Floats
) -> None:
    """At a corner: the sum of the normals of its faces, each times its angle there."""
    rows = np.flatnonzero(on.sum(axis=1) == 1)
    if not len(rows):
        return
    vertex = surface.faces[face[rows]].astype(np.int64)[on[rows]]
    wanted: NDArray[Any] = np.zeros(len(surface.vertices), bool)
    wanted[vertex] = True
    summed = np.zeros((len(surface.vertices), 3))
    for k in range(3):
        some = np.flatnonzero(wanted[surface.faces[:, k]])
        one = corners[some, (k + 1) % 3] - corners[some, k]
        other = corners[some, (k + 2) % 3] - corners[some, k]
        sine, cosine = np.linalg.norm(np.cross(one, other), axis=1), np.einsum("ij,ij->i", one, other)
        np.add.at(summed, surface.faces[some, k], np.arctan2(sine, cosine)[:, None] * normal[some])
    pseudo[rows] = summed[vertex]
