"""Curvature of a surface: its two principal curvatures at each vertex, from the shape of its surroundings.

Around each vertex a piece of surface is fitted to the vertices within a radius, weighted by the areas that they stand
for. With the foot of the vertex on the piece as origin, h along the normal, x and y along the principal directions, the
piece is ``h + (k1 x² + k2 y²) / 2 + (w k1 + (1 - w) k2) h² / 2 = 0`` with ``w = k1² x² / (k1² x² + k2² y²)``. Of
spheres and cylinders this is exact, all around, with a gradient of length 1: what least squares make small are the
distances from the surface. So the result does not depend on the radius, as that of a quadric does (``h²`` left out, as
of Garimella & Swartz, LA-UR-03-8240, 2003), whose curvature is too large by ``radius² k² / 4``, and the radius may be
as large as the radius of curvature. That is what the staircases of masks need: their error falls with its third power.
The fit is repeated in the frame, with the foot and the directions, of the one before.

The radius of each fit is the given one where the surface is flat, and else :data:`REACH` radii of curvature, of the
more bent direction, as the fit before found it, but at least half of the given one: farther away on a surface more of
its curvature is another one (those of a torus change along it).

The sign follows the normals: curvature is positive where the surface bends away from its normal, as a sphere does whose
normals point outwards. ``k1 >= k2``. The staircases of a mesh made of a mask average out if the radius is some voxels.

>>> import trimesh
>>> ball = trimesh.creation.icosphere(4, 50.0)
>>> from volengine.core.surface import Surface
>>> found = curvature(Surface(ball.vertices[:, ::-1], ball.faces), radius=15.0)
>>> float((50 * found.k1).max().round(3)), float((50 * found.k2).min().round(3))
(1.0, 1.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.neighbourhood import Pairs, cut_out, discs
from volengine.ops.surfaces.normals import area_normals

Floats = NDArray[np.float64]

LEAST_POINTS = 8
"""Vertices that a fit needs at least; it has six unknowns."""

PASSES = 5
"""Number of fits: each one in the frame, and with the curvatures, of the one before."""

REACH = 1.15
"""Radius of a fit, in radii of curvature, at most. With a larger one the curvatures of a ring (2.5 times as wide as its
tube, of a prediction) would be worse; and neighbours are seen up to 78 degrees, which is 1.26 radii of a ball."""

LEAST = 0.5
"""Radius of a fit, in parts of the given one, at least: where a surface is rough, not all of its bends are meant."""

LEAST_STEPS = 3.0
"""Radius of a fit, in steps of the mesh (roots of the mean area of a vertex), at least; or all that was asked for."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """Curvature of each vertex, in one over the unit of the vertices; NaN where it cannot be said.

    Parameters
    ----------
    k1, k2
        (n,) principal curvatures, ``k1 >= k2``.
    normals
        (n, 3) unit normals of the fitted pieces, z, y, x; smoother than those of the faces.
    heights
        (n,) how far the vertex is above the fitted piece, along the normal.
    """

    k1: Floats
    k2: Floats
    normals: Floats
    heights: Floats

    @property
    def mean(self) -> Floats:
        """(n,) mean curvature, ``(k1 + k2) / 2``."""
        return (self.k1 + self.k2) / 2

    @property
    def gaussian(self) -> Floats:
        """(n,) Gaussian curvature, ``k1 k2``."""
        return self.k1 * self.k2

    @property
    def curvedness(self) -> Floats:
        """(n,) ``sqrt((k1² + k2²) / 2)`` (Koenderink & van Doorn, Image Vis. Comput. 10:557, 1992)."""
        return np.sqrt((self.k1**2 + self.k2**2) / 2)

    @property
    def shape_index(self) -> Floats:
        """(n,) ``2/π atan((k1 + k2) / (k1 - k2))``, of the same source: 1 a cap, 0.5 a ridge, 0 a saddle, -1 a cup.

        A plane has none: 0.
        """
        index: Floats = 2 / np.pi * np.arctan2(self.k1 + self.k2, self.k1 - self.k2)
        return index


def curvature(surface: Surface, radius: float, rows: NDArray[Any] | None = None) -> Curvature:
    """Fit the curvatures of a surface at each vertex.

    Parameters
    ----------
    surface
        With normals or not: those of its faces are used, which its normals may turn to the other side.
    radius
        Largest radius of the neighbourhoods, angstrom; at least three times the mesh's steps. No vertex farther than
        this from another one has a say in its curvature. Where the surface is more bent, a smaller one is used,
        down to half of it: radii of curvature from 0.45 times this one on are measured.
    rows
        Numbers of the vertices that are asked for, ascending; default: all. The result has a row for each, the same
        bytes as with all. Only what is near them is looked at.

    Raises
    ------
    InputError
        The radius is not positive.
    """
    if not radius > 0:
        raise InputError(f"The radius of neighbourhoods must be positive, not {radius} angstrom.")
    wanted = np.arange(len(surface.vertices)) if rows is None else np.asarray(rows, np.int64)
    part, links = cut_out(surface.vertices, surface.faces, wanted, radius)
    at, normals, areas = surface.vertices[part], oriented_normals(surface)[part], surface.vertex_areas[part]
    inside = np.searchsorted(part, wanted)
    k1, k2 = np.full((2, len(wanted)), np.nan)
    unit, height = normals[inside], np.full(len(wanted), np.nan)
    for pairs in discs(at, normals, links, radius, inside):
        centres, many = np.unique(pairs.centre, return_counts=True)
        enough = many >= LEAST_POINTS
        if not enough.any():
            continue
        keep = np.repeat(enough, many)
        pairs = Pairs(pairs.centre[keep], pairs.near[keep])
        fit = _Fit(at, normals, areas, pairs, radius)
        for _ in range(PASSES):
            fit.step()
        row = np.searchsorted(inside, centres[enough])
        k1[row], k2[row], unit[row], height[row] = fit.k1, fit.k2, fit.normal, fit.above
    return Curvature(k1, k2, unit, height)


def oriented_normals(surface: Surface) -> Floats:
    """Unit normals of the faces around each vertex, on the side to which the surface's own normals point, if any."""
    normals = area_normals(surface.vertices, surface.faces)
    if surface.normals is not None:
        turned = np.einsum("ij,ij->i", normals, surface.normals) < 0
        normals[turned] *= -1
    return normals


class _Fit:
    """The fits of a run of centres; every step begins with the frames and curvatures of the one before."""

    def __init__(self, at: Floats, normals: Floats, areas: Floats, pairs: Pairs, radius: float):
        self.first = np.flatnonzero(np.diff(pairs.centre, prepend=-1))
        self.many = np.diff([*self.first, len(pairs.centre)])
        self.away = at[pairs.near] - at[pairs.centre]
        self.square = np.einsum("ij,ij->i", self.away, self.away)
        self.area = areas[pairs.near]
        self.most = radius
        steps = LEAST_STEPS * np.sqrt(self._sum(self.area) / self.many)
        self.radius = self.least = np.clip(steps, LEAST * radius, radius)
        self.normal = _unit(self._sum(normals[pairs.near] * self._weight()[:, None]), normals[pairs.centre[self.first]])
        self.along = _across(self.normal)
        self.k1 = self.k2 = self.above = np.zeros(len(self.first))

    def _sum(self, values: Floats) -> Floats:
        total: Floats = np.add.reduceat(values, self.first, axis=0)
        return total

    def _weight(self) -> Floats:
        """Weights of the pairs, falling to the radius; a little remains beyond it, for centres with few neighbours."""
        share = np.minimum(self.square / np.repeat(self.radius, self.many) ** 2, 1)
        weight: Floats = self.area * ((1 - share) ** 1.5 + 1e-9)
        return weight

    def step(self) -> None:
        """Fit a piece of surface, and take normals, directions, curvatures and the next radius from it."""
        other = np.cross(self.normal, self.along)
        unit = np.repeat(self.radius, self.many)
        x, y, h = (
            np.einsum("kj,kj->k", np.repeat(axis, self.many, axis=0), self.away) / unit
            for axis in (self.along, other, self.normal)
        )
        h = h + np.repeat(self.above, self.many) / unit  # heights are negative where the surface bends away
        bent, less = (np.repeat(self.k1, self.many) * x) ** 2, (np.repeat(self.k2, self.many) * y) ** 2
        both = bent + less
        share = np.where(both > 0, bent / np.where(both > 0, both, 1), 0.5)
        weight = self._weight()
        terms = [(x * x + share * h * h) / 2, x * y, (y * y + (1 - share) * h * h) / 2, x, y, np.ones_like(x)]
        matrix, right = np.empty((len(self.first), 6, 6)), np.empty((len(self.first), 6))
        for a, term in enumerate(terms):
            weighted = term * weight
            right[:, a] = self._sum(weighted * h)
            for b in range(a, 6):
                matrix[:, a, b] = matrix[:, b, a] = self._sum(weighted * terms[b])
        matrix += 1e-12 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] * np.eye(6)
        a, b, c, p, q, level = np.linalg.solve(matrix, right[:, :, None])[:, :, 0].T
        self._take(-np.array([a, b, c]) / self.radius, p, q, level * self.radius, other)
        bend = np.maximum(np.maximum(np.abs(self.k1), np.abs(self.k2)), REACH / self.most)
        self.radius = np.maximum(REACH / bend, self.least)

    def _take(self, second: Floats, p: Floats, q: Floats, level: Floats, other: Floats) -> None:
        """From second and first derivatives of the height: the shape operator, and a frame along its directions."""
        slope = np.sqrt(1 + p * p + q * q)
        normal = _unit(self.normal - p[:, None] * self.along - q[:, None] * other, self.normal)
        x = _unit(self.along + p[:, None] * self.normal, self.along)  # along the surface
        y = np.cross(normal, x)
        # directions of the plane in which x and y lie: the shape operator in an orthonormal frame of the surface
        ux, uy = 1 / np.sqrt(1 + p * p), -p * q / (np.sqrt(1 + p * p) * slope)
        vy = np.sqrt(1 + p * p) / slope
        a, b, c = second / slope
        xx = ux * ux * a
        xy = ux * (uy * a + vy * b)
        yy = uy * uy * a + 2 * uy * vy * b + vy * vy * c
        half, off = (xx - yy) / 2, np.hypot((xx - yy) / 2, xy)
        turn = np.arctan2(xy, half) / 2
        self.k1, self.k2 = (xx + yy) / 2 + off, (xx + yy) / 2 - off
        self.along = np.cos(turn)[:, None] * x + np.sin(turn)[:, None] * y
        self.normal, self.above = normal, self.above - level / slope


def _unit(vectors: Floats, instead: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.where(length > 0, vectors / np.where(length > 0, length, 1), instead)
    return unit


def _across(normals: Floats) -> Floats:
    """A unit vector across each normal."""
    axis = np.eye(3)[np.abs(normals).argmin(axis=1)]
    return _unit(np.cross(normals, axis), axis)
