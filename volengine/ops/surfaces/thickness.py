"""Thickness of a slab: how far its other face is, along the normal of each vertex.

A ray goes from the vertex against its normal, through the material. What it meets first counts, if it is a face that
looks the other way: its normal is less than 60 degrees from the ray. So planes, spheres and cylinders have exactly
their thickness, and where a membrane ends or branches there is none. The same in the direction of the normal is the
*gap*: the distance to the next part of the same surface that faces this one, for example across a crista.

>>> import trimesh
>>> slab = trimesh.creation.box((60, 60, 8))
>>> for _ in range(3):
...     slab = slab.subdivide()
>>> found = thickness(Surface(slab.vertices[:, ::-1], slab.faces), most=20.0)
>>> middle = np.abs(slab.vertices[:, :2]).max(axis=1) < 29
>>> float(found.thickness[middle].max().round(6)), bool(np.isnan(found.gap).all())
(8.0, True)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.ops.surfaces.curvature import oriented_normals
from volengine.ops.surfaces.rays import first_hits

Floats = NDArray[np.float64]

FACING = 0.5
"""Least cosine between a ray and the normal of the face that it meets: 60 degrees."""

LEAST_STEP = 1e-3
"""A ray begins this part of the mesh's typical step away from its vertex, whose own faces it would meet else."""


class Thickness(NamedTuple):
    """Distances in the unit of the vertices, (n,), NaN where there is no facing face: through the slab, and across."""

    thickness: Floats
    gap: Floats


def thickness(
    surface: Surface, most: float, normals: Floats | None = None, rows: NDArray[Any] | None = None
) -> Thickness:
    """How far the facing face of the same surface is from each vertex, on both sides.

    Parameters
    ----------
    surface
        A surface with both faces of its slab, normals away from the material, as marching cubes gives them.
    most
        Largest distance, angstrom.
    normals
        (n, 3) directions; default: those of the faces around each vertex. Where the mesh has staircases those of
        :func:`volengine.ops.surfaces.curvature.curvature` are better, because each ray is as long as it is oblique.
    rows
        Numbers of the vertices that are asked for; default: all. ``normals`` and the result have a row for each, the
        same bytes as with all. Only faces near them are looked at.
    """
    oriented = oriented_normals(surface)
    wanted = np.arange(len(surface.vertices)) if rows is None else np.asarray(rows, np.int64)
    unit = oriented[wanted] if normals is None else normals
    points = surface.vertices[wanted]
    faces = surface.faces if rows is None else _near(surface, points, most)
    a, b, c = (surface.vertices[faces[:, k]] for k in range(3))
    outward = -np.cross(b - a, c - a)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-30)
    side = np.einsum("ij,ij->i", outward, oriented[faces[:, 0]]) if len(faces) else np.zeros(0)
    outward[side < 0] *= -1  # surfaces may have their normals on the other side of their faces
    least = LEAST_STEP * float(np.sqrt(np.median(surface.areas))) if len(surface.faces) else 0.0
    unit = np.where(np.abs(unit).sum(axis=1, keepdims=True) > 0, unit, np.nan)
    found = []
    for sign in (-1.0, 1.0):
        hits = first_hits(points, sign * unit, surface.vertices, faces, least, most)
        # through the slab the facing face looks along the ray, across a gap against it: both against the normal
        facing = -np.einsum("ij,ij->i", outward[hits.face], unit) if len(faces) else np.zeros(len(points))
        found.append(np.where((hits.face >= 0) & (facing >= FACING), hits.distance, np.nan))
    return Thickness(*found)


def _near(surface: Surface, points: Floats, most: float) -> NDArray[np.int32]:
    """The faces, in their order, that reach into the box in which rays from points end."""
    if not len(points):
        return surface.faces[:0]
    wide = most * (1 + 1e-9)
    low, high = points.min(axis=0) - wide, points.max(axis=0) + wide
    kept = np.ones(len(surface.faces), bool)
    for axis in range(3):
        corner = surface.vertices[:, axis][surface.faces]
        kept &= (corner.min(axis=1) <= high[axis]) & (corner.max(axis=1) >= low[axis])
    return surface.faces[kept]
