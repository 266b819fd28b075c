"""The average of a training's particles on a cylinder about the normal: what says the angle of a network's picks.

Only particles whose table says an angle about the normal count. The average is kept if the angles of particles that it
has not seen come out right: found from the vertices next to them, as for picks, and gathered at one angle or, of
particles with a symmetry, at multiples of 360 degrees / n (:func:`volengine.ops.surfaces.turns.fold_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from volengine.core.orientation import euler_to_matrix
from volengine.core.surface import Surface
from volengine.ops.surfaces.patches import Cylinder, places_around
from volengine.ops.surfaces.points import on_faces, tangents
from volengine.ops.surfaces.project import project
from volengine.ops.surfaces.subdivision import subdivided
from volengine.ops.surfaces.turns import fold_of
from volengine.tasks.surfaces.in_plane import average_turner

if TYPE_CHECKING:
    from volengine.tasks.surfaces.sampler import Sampler

Floats = NDArray[np.float64]
ANGLES = 72
"""Angles of the average."""
UPRIGHT = 0.5
"""Smallest cosine between a particle's axis and the normal for which its angle about the normal means something."""
LEAST = 12
"""Particles from which on an average is made, and its angles are judged."""


@dataclass(frozen=True)
class Oriented:
    """Particles of one surface: places (n, 3), matrices (n, 3, 3), how the tomogram is read, its mean and deviation."""

    surface: Surface
    place: Floats
    matrix: Floats
    sample: Sampler
    mean: float
    deviation: float


@dataclass(frozen=True)
class Average:
    """An average that says angles: values, symmetry, median error in degrees, and how many particles it was judged on.

    ``unseen`` is whether these were none of those of the average.
    """

    values: NDArray[np.float32]
    fold: int
    error_deg: float
    judged: int
    unseen: bool


def rotations(euler: Floats | None, known: NDArray[np.bool_] | None, count: int) -> Floats:
    """(n, 3, 3) matrices of particles; NaN where the angle about the normal is not known.

    Tables of picks from surfaces say themselves for which picks it is. In others it is known unless it is 0 everywhere,
    as programs write it that know the normal only.
    """
    if euler is None or (known is None and not euler[:, 0].any()):
        return np.full((count, 3, 3), np.nan)
    matrix = euler_to_matrix(euler)
    return matrix if known is None else np.where(known[:, None, None], matrix, np.nan)


def turns_on(normal: Floats, matrix: Floats) -> Floats:
    """(n,) rot in degrees of particles about normals (n, 3); NaN where it is not known or the particle does not stand.

    It is the rot for which the particle's x axis has the same direction across the normal.
    """
    x_axis, y_axis = tangents(normal)
    axis, up = matrix[:, ::-1, 0], matrix[:, ::-1, 2]
    # rot turns the reference about its own z axis by -rot before it is tilted
    rot = -np.degrees(np.arctan2(np.einsum("ij,ij->i", axis, y_axis), np.einsum("ij,ij->i", axis, x_axis)))
    stands = np.einsum("ij,ij->i", up, normal) >= UPRIGHT
    return np.where(stands, rot, np.nan)


def class_average(shown: Sequence[Oriented], kept: Sequence[Oriented], grid: Cylinder, near: float) -> Average | None:
    """Average the particles of ``shown``, and judge the angles by those of ``kept``.

    Parameters
    ----------
    shown, kept
        Particles on surfaces.
    grid
        The cylinder that the network sees.
    near
        Longest edge of the mesh whose vertices stand for picks, angstrom.

    Returns
    -------
    ``None`` if too few particles have an angle, or if the angles of the average are no better than chance.
    """
    fine = Cylinder(grid.heights, grid.radii, ANGLES)
    total, count = np.zeros(fine.shape), 0
    for one in shown:
        sums, number = _sum(one, fine)
        total, count = total + sums, count + number
    if count < LEAST:
        return None
    values = (total / count).astype(np.float32)
    errors = np.concatenate([np.empty(0), *(_errors(one, fine, values, near) for one in kept)])
    unseen = len(errors) >= LEAST
    if not unseen:
        errors = np.concatenate([errors, *(_errors(one, fine, values, near) for one in shown)])
    fold, error = fold_of(errors)
    return Average(values, fold, error, len(errors), unseen) if fold else None


def _sum(one: Oriented, grid: Cylinder) -> tuple[Floats, int]:
    """Sum of the patches of a surface's particles, turned back, and their number."""
    if not len(one.place):
        return np.zeros(grid.shape), 0
    found = project(one.place, one.surface.vertices, one.surface.faces)
    assert one.surface.normals is not None
    points = on_faces(one.surface, one.surface.normals, found.face, found.weights)
    rot = turns_on(points.normal, one.matrix)
    patches = (one.sample(places_around(points.place, points.normal, grid)) - one.mean) / one.deviation
    good = np.isfinite(rot) & np.isfinite(patches).all(axis=(1, 2, 3))
    # a patch shows at the angle a what the particle has at a + rot
    spectrum = np.fft.rfft(patches[good], axis=3)
    order = np.arange(spectrum.shape[3])
    back = np.exp(-1j * np.radians(rot[good])[:, None] * order)
    turned = np.fft.irfft(spectrum * back[:, None, None, :], grid.angles, axis=3)
    return turned.sum(axis=0), int(good.sum())


def _errors(one: Oriented, grid: Cylinder, values: NDArray[np.float32], near: float) -> Floats:
    """Errors of the angles that are found from the vertices next to particles, where they are known, degrees."""
    if not len(one.place):
        return np.empty(0)
    fine = subdivided(replace(one.surface, columns={}), near)
    chosen = KDTree(fine.vertices).query(one.place)[1]
    turned = average_turner(grid, values.astype(np.float64), one.sample)(fine, chosen, near)
    error = turned.rot_deg - turns_on(turned.normal, one.matrix)
    found: Floats = error[turned.known & np.isfinite(error)]
    return found
