"""The angle of picks about the normal, from the density around them: their place first, then their rotation.

A pick lies at a vertex, up to an edge away from the particle's middle, and seen from there the particle seems turned.
So the place on the surface where the reference fits best is searched first, up to one edge around the vertex: six
places around the present one, at steps of a half, a quarter and an eighth of the edge. Then the rotation is read off
finely, and picks whose rotation could be chance are marked (:mod:`volengine.ops.surfaces.turns`).

Each pick is treated alone, so that nothing depends on the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.ops.surfaces.patches import Cylinder, correlations, places_around
from volengine.ops.surfaces.points import SurfacePoints, on_faces, tangents
from volengine.ops.surfaces.project import project
from volengine.ops.surfaces.turns import best_turn, turn_is_known
from volengine.tasks.surfaces.picking_recipes import SurfacesPickRecipe

if TYPE_CHECKING:
    from volengine.tasks.surfaces.sampler import Sampler

Floats = NDArray[np.float64]
VALUES = 2_000_000
"""Values of the tomogram that are held at a time."""
LEVELS, MOVES = 3, 2
"""How often the step is halved, and steps of each length."""
FINE_DEG = 5.0
"""Largest step of the angle at which the rotation is read off."""

HEXAGON = np.stack([np.cos(np.arange(6) * np.pi / 3), np.sin(np.arange(6) * np.pi / 3)], axis=1)
"""Six directions in a plane."""
_X, _Y = HEXAGON.T
QUADRATIC = np.linalg.pinv(np.stack([_X, _Y, _X**2 / 2, _X * _Y, _Y**2 / 2], axis=1))
"""From the values at the six places above that in the middle: slopes and bends of the quadratic function, at step 1."""


class Reference(NamedTuple):
    """What particles look like: values on a cylinder about the normal of the surface, and their weights."""

    grid: Cylinder
    values: Floats
    weights: Floats


@dataclass(frozen=True)
class Turned:
    """Picks with their rotation.

    Parameters
    ----------
    place, normal
        (n, 3) z, y, x, angstrom: on the surface, where the reference fits best.
    rot_deg
        (n,) the angle about the normal; 0 where it is not known.
    known
        (n,) whether it is.
    """

    place: Floats
    normal: Floats
    rot_deg: Floats
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class Turner:
    """Finds place and rotation of picks.

    Parameters
    ----------
    sample
        Reads the tomogram.
    coarse, fine
        The reference in steps for the search, and in steps for the rotation.
    exact
        Whether the reference is what particles look like, so that it says their place also where it says no rotation.
        Else, of an average, picks without a known rotation stay where they are.
    """

    sample: Sampler
    coarse: Reference
    fine: Reference
    exact: bool = True

    def __call__(self, surface: Surface, chosen: NDArray[np.int64], reach: float) -> Turned:
        """Turn the picks at the vertices ``chosen``; ``reach``, angstrom, is how far they may be from the middle."""
        assert surface.normals is not None
        start = at = surface.vertices[chosen]
        normal = surface.normals[chosen]
        if not len(chosen):
            return Turned(at, normal, np.empty(0), np.empty(0, bool))
        near = _around(surface, start, 2 * reach)
        value = self._fit(at, normal)
        for level in range(LEVELS):
            step = reach / 2 ** (level + 1)
            for _ in range(MOVES):
                at, normal, value = self._moved(near, start, at, normal, value, step, reach)
        at, normal = self._summit(near, at, normal, value, step)
        rot, known = np.zeros(len(at)), np.zeros(len(at), bool)
        for rows in self._parts(len(at), self.fine):
            patches = self._patches(at[rows], normal[rows], self.fine)
            turn, _ = best_turn(correlations(patches, self.fine.values, self.fine.weights))
            known[rows] = turn_is_known(patches, self.fine.values, self.fine.weights)
            rot[rows] = np.where(known[rows], turn, 0.0)
        if not self.exact:
            at, normal = np.where(known[:, None], at, start), np.where(known[:, None], normal, surface.normals[chosen])
        return Turned(at, normal, rot, known)

    def _moved(
        self, near: Surface, start: Floats, at: Floats, normal: Floats, value: Floats, step: float, reach: float
    ) -> tuple[Floats, Floats, Floats]:
        """The best of the present places and six around each, not farther than ``reach`` from the start."""
        place, across, fit = self._hexagon(near, at, normal, step)
        far = np.linalg.norm(place - start[:, None], axis=2) > reach
        fit = np.where(far | ~np.isfinite(fit), -np.inf, fit)
        rows, best = np.arange(len(at)), np.argmax(fit, axis=1)
        better = fit[rows, best] > np.where(np.isfinite(value), value, -np.inf)
        return (
            np.where(better[:, None], place[rows, best], at),
            np.where(better[:, None], across[rows, best], normal),
            np.where(better, fit[rows, best], value),
        )

    def _hexagon(self, near: Surface, at: Floats, normal: Floats, step: float) -> tuple[Floats, Floats, Floats]:
        """Six places around each, on the surface: (n, 6, 3), their normals, and how well the reference fits there."""
        x_axis, y_axis = tangents(normal)
        around = at[:, None] + step * (HEXAGON[:, :1] * x_axis[:, None] + HEXAGON[:, 1:] * y_axis[:, None])
        points = _on(near, around.reshape(-1, 3))
        fit = self._fit(points.place, points.normal).reshape(-1, 6)
        return points.place.reshape(-1, 6, 3), points.normal.reshape(-1, 6, 3), fit

    def _summit(self, near: Surface, at: Floats, normal: Floats, value: Floats, step: float) -> tuple[Floats, Floats]:
        """The highest place of the quadratic function through a place and six around it, if it lies among them."""
        _, _, fit = self._hexagon(near, at, normal, step)
        x_axis, y_axis = tangents(normal)
        rise = np.where(np.isfinite(fit), fit - value[:, None], np.nan) @ QUADRATIC.T
        gx, gy, hxx, hxy, hyy = rise.T
        determinant = hxx * hyy - hxy**2
        bent = np.isfinite(determinant) & (determinant > 0) & (hxx < 0)
        scale = np.where(bent, determinant, 1)
        move = np.stack([(hxy * gy - hyy * gx) / scale, (hxy * gx - hxx * gy) / scale], axis=1)
        good = bent & (np.linalg.norm(move, axis=1) <= 1)
        move = np.where(good[:, None], step * move, 0.0)
        points = _on(near, at + move[:, :1] * x_axis + move[:, 1:] * y_axis)
        return np.where(good[:, None], points.place, at), np.where(good[:, None], points.normal, normal)

    def _fit(self, place: Floats, normal: Floats) -> Floats:
        """(n,) highest correlation over all rotations."""
        found = np.empty(len(place))
        for rows in self._parts(len(place), self.coarse):
            patches = self._patches(place[rows], normal[rows], self.coarse)
            found[rows] = best_turn(correlations(patches, self.coarse.values, self.coarse.weights))[1]
        return found

    def _patches(self, place: Floats, normal: Floats, reference: Reference) -> Floats:
        values = self.sample(places_around(place, normal, reference.grid))
        # what has no weight is not compared, so the tomogram need not reach there
        return np.where(reference.weights > 0, values, 0.0)

    @staticmethod
    def _parts(count: int, reference: Reference) -> list[slice]:
        rows = max(1, VALUES // int(np.prod(reference.grid.shape)))
        return [slice(first, first + rows) for first in range(0, count, rows)]


def _on(near: Surface, places: Floats) -> SurfacePoints:
    """The nearest points of a surface."""
    assert near.normals is not None
    found = project(places, near.vertices, near.faces)
    return on_faces(near, near.normals, found.face, found.weights)


def _around(surface: Surface, places: Floats, reach: float) -> Surface:
    """The part of a surface around places: faces with a corner within ``reach`` of one."""
    from scipy.spatial import KDTree

    distance, _ = KDTree(places).query(surface.vertices, distance_upper_bound=reach)
    kept = np.isfinite(distance)[surface.faces].any(axis=1)
    return Surface(surface.vertices, surface.faces[kept], surface.normals, number=surface.number)


def turner_of(recipe: SurfacesPickRecipe, sample: Sampler | None) -> Turner | None:
    """What finds the rotation of picks: a template that is given, or the average of a network's training.

    Returns
    -------
    ``None`` if there is neither, or if the recipe wants no rotation.
    """
    if sample is None or recipe.symmetric:
        return None
    if recipe.template is not None:
        from volengine.tasks.surfaces.scores import TEMPLATE_STEP, template_on

        step = TEMPLATE_STEP * float(min(sample.volume.voxel_size))
        coarse = template_on(recipe, step, recipe.angle_step_deg)
        fine = template_on(recipe, step, recipe.angle_step_deg / np.ceil(recipe.angle_step_deg / FINE_DEG))
        height = recipe.template_height_nm * NM
        first, second = (Reference(raised(grid, height), *rest) for grid, *rest in (coarse, fine))
        return Turner(sample, first, second)
    if recipe.model is not None:
        from volengine.nets.surface_model import load_turn_average

        found = load_turn_average(recipe.model)
        if found is None:
            return None
        facts, average = found
        return average_turner(Cylinder(facts.heights, facts.radii, average.shape[2]), average, sample)
    return None


def raised(grid: Cylinder, height: float) -> Cylinder:
    """A cylinder that begins so much higher, angstrom."""
    return Cylinder(tuple(h + height for h in grid.heights), grid.radii, grid.angles)


def average_turner(grid: Cylinder, average: Floats, sample: Sampler) -> Turner:
    """A turner whose reference is an average of particles on the cylinder of a network."""
    reference = Reference(grid, average, grid.volumes())
    return Turner(sample, reference, reference, exact=False)
