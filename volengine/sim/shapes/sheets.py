"""Open membranes that run through a whole box: endoplasmic reticulum, the edge of a cell.

>>> import numpy as np
>>> one = sheet(np.random.default_rng(1), (300.0, 800.0, 800.0), SheetRecipe(normal=(0, 0, 1), amplitude_a=0))
>>> from volengine.sim.shapes.membranes import distance_to
>>> np.round(distance_to(one, [[100, 400, 400], [100, 400, 450], [100, 400, 350]])).tolist()
[0.0, 50.0, -50.0]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.specimen import Membrane
from volengine.sim.rotations import random_directions
from volengine.sim.shapes.surfaces import REACH, Cloud, SmoothField, signed_distance_of_heights

Floats = NDArray[np.float64]
Vector3 = tuple[float, float, float]

STEP = 10.0  # angstrom between the points of a sheet


@dataclass(frozen=True)
class SheetRecipe(Recipe):
    """A gently curved membrane that runs through the whole box, as of endoplasmic reticulum or a cell's edge.

    Parameters
    ----------
    normal
        Direction its normal points to, z, y, x; (0, 0, 0) draws one across z, so that the sheet stands on edge, as
        membranes must to be seen in a tomogram.
    position
        Where along the normal it runs, as a share of the box: 0.5 is through the centre.
    wavelength_a
        Of its undulations, angstrom, at least 600.
    amplitude_a
        Root mean square of their height, angstrom.
    spacing_a
        Of the grid of distances, angstrom.
    """

    normal: Vector3 = (0.0, 0.0, 0.0)
    position: float = 0.5
    wavelength_a: float = 2000.0
    amplitude_a: float = 60.0
    spacing_a: float = 10.0

    def check(self) -> None:
        # sharpest bend of a wave: 1 / (3 sigma (2 pi / wavelength)^2) stays above 2 REACH
        if self.wavelength_a < 600 or not 0 <= self.amplitude_a <= self.wavelength_a**2 / (60 * REACH * 4):
            raise InputError(
                f"A sheet with waves of {self.wavelength_a} A, {self.amplitude_a} A high, bends too sharply: "
                f"wavelength_a is at least 600, amplitude_a at most wavelength_a^2 / {60 * REACH * 4:g}."
            )
        if not 0 <= self.position <= 1 or not 4 <= self.spacing_a <= 20:
            raise InputError(f"position {self.position} is 0 to 1 and spacing_a {self.spacing_a} 4 to 20.")


def sheet(
    rng: np.random.Generator, size_a: Vector3, recipe: SheetRecipe, *, name: str = "membrane", instance: int = 1
) -> Membrane:
    """A membrane through a box that reaches from 0 to ``size_a`` (angstrom, z, y, x); its normal points outward."""
    size = np.asarray(size_a, float)
    frame = _frame(_direction(rng, recipe))
    half = math.sqrt(float((size * size).sum())) / 2 + 2 * REACH
    waves = SmoothField.random(rng, (2 * half, 2 * half), recipe.wavelength_a, recipe.amplitude_a)
    along = float((np.abs(frame[2]) * size).sum())
    anchor = size / 2 + frame[2] * ((recipe.position - 0.5) * along)

    spacing = recipe.spacing_a
    corner = np.full(3, -spacing)
    rest = [
        np.arange(math.ceil(s / spacing) + 3) * spacing + c - a for s, c, a in zip(size, corner, anchor, strict=True)
    ]
    height = _along(rest, frame[2])
    unsure = np.abs(height) <= float(np.abs(waves.knot).max())  # a spline stays between its knots
    above = height > 0
    one, two = (_along(rest, axis)[unsure] + half for axis in frame[:2])
    above[unsure] = height[unsure] > waves.at(one, two)

    cloud = _cloud(waves, frame, half).moved(anchor)
    useful = ((cloud.point > corner - 2 * REACH) & (cloud.point < size + 2 * REACH)).all(axis=1)
    kept = Cloud(cloud.point[useful], cloud.normal[useful])
    distance = signed_distance_of_heights(kept, above, corner, spacing) if len(kept) else _far(above)
    return Membrane(name, instance, (-spacing, -spacing, -spacing), spacing, distance)


def _direction(rng: np.random.Generator, recipe: SheetRecipe) -> Floats:
    """The unit normal of the recipe, or one across z."""
    given = np.asarray(recipe.normal, float)
    while not given.any():
        given = random_directions(rng, 1)[0] * np.array([0.0, 1.0, 1.0])
    unit: Floats = given / math.sqrt(float((given * given).sum()))
    return unit


def _frame(normal: Floats) -> tuple[Floats, Floats, Floats]:
    """Two unit axes across a normal, and the normal."""
    other = np.array([1.0, 0.0, 0.0]) if abs(normal[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    first = np.cross(other, normal)
    first /= math.sqrt(float((first * first).sum()))
    return first, np.cross(normal, first), normal


def _cloud(waves: SmoothField, frame: tuple[Floats, Floats, Floats], half: float) -> Cloud:
    """The points of a wavy plane through 0."""
    first, second, normal = frame
    line = np.arange(0.0, 2 * half, STEP)
    steep_1 = (waves(line + 1, line) - waves(line - 1, line)) / 2
    steep_2 = (waves(line, line + 1) - waves(line, line - 1)) / 2
    one, two = (line - half)[:, None, None], (line - half)[None, :, None]
    point = one * first + two * second + waves(line, line)[..., None] * normal
    slope = normal - steep_1[..., None] * first - steep_2[..., None] * second
    slope /= np.sqrt((slope * slope).sum(-1))[..., None]
    return Cloud(point.reshape(-1, 3), slope.reshape(-1, 3))


def _along(rest: list[Floats], direction: Floats) -> Floats:
    """Coordinate along a direction at every point of a grid given by its axes."""
    z, y, x = (line * d for line, d in zip(rest, direction, strict=True))
    found: Floats = z[:, None, None] + y[:, None] + x
    return found


def _far(above: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The distance where no sheet is near."""
    return np.where(above, np.float32(REACH), np.float32(-REACH))
