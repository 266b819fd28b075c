"""Normals of a mesh, and points on its faces.

A point on a mesh is named by its face and three weights of the face's corners, which add up to 1. Everything that the
corners have (place, normal, columns) is interpolated with these weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.normals import face_normals, unit, vertex_normals

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SurfacePoints:
    """Points on the faces of a mesh.

    Parameters
    ----------
    place
        (n, 3) angstrom, z, y, x.
    normal
        (n, 3) unit vectors, z, y, x: those of the corners, interpolated.
    face
        (n,) numbers of faces.
    weights
        (n, 3) weights of the face's corners.
    """

    place: Floats
    normal: Floats
    face: Ints
    weights: Floats

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, rows: Any) -> SurfacePoints:
        """Some of the points, by a mask or indices."""
        return SurfacePoints(self.place[rows], self.normal[rows], self.face[rows], self.weights[rows])


def normals_of(surface: Surface) -> Floats:
    """(n, 3) unit normals z, y, x: the surface's own, or else those of the faces, weighted by the angle at the vertex.


    Raises
    ------
    InputError
        A vertex that faces use has no normal: its faces have no area, or cancel.
    """
    if surface.normals is not None:
        normals = unit(surface.normals)
    else:
        normals = vertex_normals(surface.vertices, surface.faces)
    used = np.unique(surface.faces)
    bad = used[~np.isfinite(normals[used]).all(axis=1) | ~normals[used].any(axis=1)]
    if len(bad):
        raise InputError(
            f"{surface.name}: {len(bad)} vertices have no normal (the first is {bad[0]}): their faces have no area. "
            "Mend the mesh (merge vertices, remove faces without area), or give it normals."
        )
    return normals


def on_faces(surface: Surface, normals: Floats, face: Ints, weights: Floats) -> SurfacePoints:
    """Points from faces and weights; ``normals`` are those of the vertices.

    Where the normals of a face's corners cancel, the normal of the face is taken.
    """
    corners = surface.faces[face]
    place = np.einsum("ij,ijk->ik", weights, surface.vertices[corners])
    mixed = np.einsum("ij,ijk->ik", weights, normals[corners])
    weak = np.linalg.norm(mixed, axis=1) < 1e-6
    if weak.any():
        mixed[weak] = face_normals(surface.vertices, surface.faces)[face[weak]]
    return SurfacePoints(place, unit(mixed), face, weights)


def column_at(values: NDArray[Any], surface: Surface, points: SurfacePoints) -> Floats:
    """(n,) a column of the vertices at points, interpolated."""
    mixed: Floats = np.einsum("ij,ij->i", points.weights, values[surface.faces[points.face]].astype(np.float64))
    return mixed


def tangents(normal: Floats) -> tuple[Floats, Floats]:
    """Two unit vectors across each normal, z, y, x: those to which the x and y axis of a particle with rot = 0 point.

    Parameters
    ----------
    normal
        (n, 3) unit vectors, z, y, x.

    Returns
    -------
    x and y axis, (n, 3) each, z, y, x. With the normal as z axis they are a right-handed frame in x, y, z: the columns
    of :func:`volengine.core.orientation.euler_to_matrix` of :func:`~volengine.core.orientation.normal_to_euler`.
    """
    from volengine.core.orientation import euler_to_matrix, normal_to_euler

    matrix = euler_to_matrix(normal_to_euler(normal))
    return matrix[:, ::-1, 0], matrix[:, ::-1, 1]
