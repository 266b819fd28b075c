"""Open membranes that cross a whole box, such as endoplasmic reticulum or a plasma membrane.

>>> import numpy as np
>>> one = sheet(np.random.default_rng(1), (300.0, 800.0, 800.0), SheetsRecipe(height_nm=0), (0, 0, 1), position=0.5)
>>> from volengine.sim.shapes.membranes import distance_to
>>> np.round(distance_to(one, [[100, 400, 400], [100, 400, 450], [100, 400, 350]])).tolist()
[0.0, 50.0, -50.0]
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.specimen import Membrane
from volengine.core.volume import Vector3
from volengine.sim.recipe.membranes import SheetsRecipe
from volengine.sim.rotations import random_directions
from volengine.sim.shapes.surfaces import REACH, Cloud, SmoothField, signed_distance_of_heights

Floats = NDArray[np.float64]

STEP = 10.0  # angstrom between the points of a sheet
SPACING = 10.0  # angstrom, of the grid of distances


def across_z(rng: np.random.Generator) -> Floats:
    """Draw a unit vector (3,) perpendicular to z.

    A sheet with this normal is parallel to the beam of the untilted specimen, so the missing wedge does not hide it.
    """
    drawn = np.zeros(3)
    while not drawn.any():
        drawn = random_directions(rng, 1)[0] * np.array([0.0, 1.0, 1.0])
    unit: Floats = drawn / math.sqrt(float((drawn * drawn).sum()))
    return unit


def sheet(
    rng: np.random.Generator,
    size_a: Vector3,
    recipe: SheetsRecipe,
    normal: ArrayLike,
    position: float,
    *,
    instance: int = 1,
) -> Membrane:
    """Make a wavy membrane that crosses a whole box.

    Parameters
    ----------
    rng
        Random generator for the waves.
    size_a
        The box extends from 0 to this position, angstrom, z, y, x.
    recipe
        Wavelength and height of the waves, and the name of the class.
    normal
        (3,): unit vector z, y, x; it points to the side that counts as outside.
    position
        Position along the normal, as a share of the box: 0.5 is the centre.
    instance
        Instance number of the membrane.

    Returns
    -------
    The membrane, with its signed distance on a grid of 10 A.
    """
    size = np.asarray(size_a, float)
    frame = _frame(np.asarray(normal, float))
    half = math.sqrt(float((size * size).sum())) / 2 + 2 * REACH
    waves = SmoothField.random(rng, (2 * half, 2 * half), 10 * recipe.wavelength_nm, 10 * recipe.height_nm)
    along = float((np.abs(frame[2]) * size).sum())
    anchor = size / 2 + frame[2] * ((position - 0.5) * along)

    corner = np.full(3, -SPACING)
    rest = [
        np.arange(math.ceil(s / SPACING) + 3) * SPACING + c - a for s, c, a in zip(size, corner, anchor, strict=True)
    ]
    height = _along(rest, frame[2])
    unsure = np.abs(height) <= float(np.abs(waves.knot).max())  # a B-spline stays within the range of its knots
    above = height > 0
    one, two = (_along(rest, axis)[unsure] + half for axis in frame[:2])
    above[unsure] = height[unsure] > waves.at(one, two)

    cloud = _cloud(waves, frame, half).moved(anchor)
    useful = ((cloud.point > corner - 2 * REACH) & (cloud.point < size + 2 * REACH)).all(axis=1)
    kept = Cloud(cloud.point[useful], cloud.normal[useful])
    distance = signed_distance_of_heights(kept, above, corner, SPACING) if len(kept) else _far(above)
    return Membrane(recipe.name, instance, (-SPACING, -SPACING, -SPACING), SPACING, distance)


def _frame(normal: Floats) -> tuple[Floats, Floats, Floats]:
    """Two unit vectors perpendicular to a normal and to each other, and the normal."""
    other = np.array([1.0, 0.0, 0.0]) if abs(normal[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    first = np.cross(other, normal)
    first /= math.sqrt(float((first * first).sum()))
    return first, np.cross(normal, first), normal


def _cloud(waves: SmoothField, frame: tuple[Floats, Floats, Floats], half: float) -> Cloud:
    """The points and normals of a wavy plane through 0."""
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
    """The coordinate along a direction, at every point of the grid with these axes."""
    z, y, x = (line * d for line, d in zip(rest, direction, strict=True))
    found: Floats = z[:, None, None] + y[:, None] + x
    return found


def _far(above: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The distances if the sheet is nowhere within reach."""
    return np.where(above, np.float32(REACH), np.float32(-REACH))
