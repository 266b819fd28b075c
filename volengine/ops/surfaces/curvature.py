"""Curvature of a surface: its two principal curvatures at each vertex, from the shape of its surroundings.

Around each vertex a piece of surface is fitted to the vertices within a radius, weighted by the areas that they stand
for. In the plane across the normal, with the axes x and y along the principal directions, its height is that of a
biconic: ``h = (k1 x² + k2 y²) / (1 + sqrt(1 - k1² x² - k2² y²))``. Of spheres and cylinders this is the exact height,
so that the result does not depend on the radius, as that of a quadric does, whose curvature is too large by
``radius² k² / 4``. The fit is one of least squares of a quadric (as of Garimella & Swartz, LA-UR-03-8240, 2003) from
whose data the difference between biconic and quadric is taken, and it is repeated in the frame of the normal it finds.

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

PASSES = 4
"""Number of fits: each one in the frame, and with the curvatures, of the one before."""

STEEPEST = 0.8
"""Of the biconic: ``k1² x² + k2² y²`` is taken to be at most this."""


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
        Radius of the neighbourhoods, angstrom. Much less than the radii of curvature to be measured, at least three
        times the mesh's steps: at half the radius of curvature a torus is wrong by some percent (spheres are not).
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
        share = np.einsum("ij,ij->i", self.away, self.away) / radius**2
        self.weight = areas[pairs.near] * (1 - share) ** 2 + 1e-9 * areas[pairs.near]
        self.radius = radius
        self.normal = _unit(self._sum(normals[pairs.near] * self.weight[:, None]), normals[pairs.centre[self.first]])
        self.along = _across(self.normal)
        self.k1 = self.k2 = self.above = np.zeros(len(self.first))

    def _sum(self, values: Floats) -> Floats:
        total: Floats = np.add.reduceat(values, self.first, axis=0)
        return total

    def step(self) -> None:
        """Fit heights over the tangent planes, and take normals, directions and curvatures from the fits."""
        other = np.cross(self.normal, self.along)
        x, y, h = (
            np.einsum("kj,kj->k", np.repeat(axis, self.many, axis=0), self.away)
            for axis in (self.along, other, self.normal)
        )
        bent = np.repeat(self.k1, self.many), np.repeat(self.k2, self.many)
        root = np.sqrt(1 - np.minimum((bent[0] * x) ** 2 + (bent[1] * y) ** 2, STEEPEST))
        flat = bent[0] * x * x + bent[1] * y * y
        h = h + flat / (1 + root) - flat / 2  # heights are negative where the surface bends away
        x, y = x / self.radius, y / self.radius
        terms = [x * x / 2, x * y, y * y / 2, x, y, np.ones_like(x)]
        matrix, right = np.empty((len(self.first), 6, 6)), np.empty((len(self.first), 6))
        for a, term in enumerate(terms):
            weighted = term * self.weight
            right[:, a] = self._sum(weighted * h)
            for b in range(a, 6):
                matrix[:, a, b] = matrix[:, b, a] = self._sum(weighted * terms[b])
        matrix += 1e-12 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] * np.eye(6)
        a, b, c, p, q, level = np.linalg.solve(matrix, right[:, :, None])[:, :, 0].T
        self._take(-np.array([a, b, c]) / self.radius**2, p / self.radius, q / self.radius, level, other)

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
        self.normal, self.above = normal, -level / slope


def _unit(vectors: Floats, instead: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.where(length > 0, vectors / np.where(length > 0, length, 1), instead)
    return unit


def _across(normals: Floats) -> Floats:
    """A unit vector across each normal."""
    axis = np.eye(3)[np.abs(normals).argmin(axis=1)]
    return _unit(np.cross(normals, axis), axis)
