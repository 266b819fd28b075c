"""Vesicles: closed membranes of irregular shape.

A vesicle is a randomly oriented ellipsoid with undulations. Their spectrum is that of the thermal bending of a vesicle
(Milner & Safran, Phys. Rev. A 36, 1987, 4371): the mean square amplitude of degree l falls as
1 / ((l - 1)(l + 2) l (l + 1)). Bilayers are stiff: a shape with a radius of curvature below 50 A is smoothed until it
has none.

>>> import numpy as np
>>> some = place_vesicles(np.random.default_rng(1), (600.0, 2000.0, 2000.0), VesiclesRecipe(radius_nm=(12, 20)))
>>> [(m.spacing, float(m.distance.min()), float(m.distance.max())) for m in some]
[(8.0, -80.0, 80.0), (8.0, -80.0, 80.0), (8.0, -80.0, 80.0)]

Only arithmetic and square roots are used, so that a seed gives the same bytes on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.specimen import Membrane, rotation_matrix
from volengine.core.volume import Vector3
from volengine.sim.recipe.membranes import VesiclesRecipe
from volengine.sim.rotations import random_directions, random_quaternions
from volengine.sim.shapes.membranes import distance_to
from volengine.sim.shapes.surfaces import Cloud, signed_distance

Floats = NDArray[np.float64]

DEGREES = (2, 3, 4, 5)  # Legendre degrees of the undulations
SHARPEST = 50.0  # angstrom: smallest radius of curvature
SPACING = 8.0  # angstrom: spacing of the grids of distances
GAP = 70.0  # angstrom: smallest distance between two mid-planes
WALL_GAP = 40.0  # angstrom: smallest distance between a mid-plane and a wall
SHAPES = 20  # shapes tried for each vesicle
TRIES = 20  # positions tried for each shape


@dataclass(frozen=True, eq=False)
class Shape:
    """A star-shaped closed surface around 0, given by its radius in every direction.

    Parameters
    ----------
    axes
        (3, 3) float64: the directions of the ellipsoid's axes, unit vectors in rows.
    semi_axis
        (3,) float64: lengths of the semi-axes, angstrom.
    bump_axis, bump_degree, bump
        (n, 3), n and (n,): undulations. Each adds ``bump`` times the Legendre polynomial of its degree in the cosine of
        the angle to its axis; heights are relative to the radius of the ellipsoid.
    """

    axes: Floats
    semi_axis: Floats
    bump_axis: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    bump_degree: tuple[int, ...] = ()
    bump: Floats = field(default_factory=lambda: np.zeros(0))

    def radius(self, direction: Floats) -> Floats:
        """The distance from 0 to the surface, angstrom, (...) float64, in the directions of unit vectors (..., 3)."""
        total = np.zeros(direction.shape[:-1])
        for axis, length in zip(self.axes, self.semi_axis, strict=True):
            along = _dot(direction, axis) / length
            total += along * along
        height = np.zeros_like(total)
        for axis, degree, size in zip(self.bump_axis, self.bump_degree, self.bump, strict=True):
            height += size * _legendre(degree, _dot(direction, axis))
        return (1.0 + height) / np.sqrt(total)

    def holds(self, points: Floats) -> NDArray[np.bool_]:
        """Whether points (n, 3), angstrom, are inside: (n,) bool."""
        length = np.sqrt((points * points).sum(axis=1))
        inside: NDArray[np.bool_] = length < self.radius(points / np.maximum(length, 1e-9)[:, None])
        return inside

    def cloud(self, step: float) -> tuple[Cloud, float]:
        """Points of the surface, and its smallest radius of curvature.

        The points are regular grids on the six faces of a cube, mapped to the sphere (P. Nowell, "Mapping a cube to a
        sphere", 2005), which keeps them nearly even, and scaled by the radius.

        Parameters
        ----------
        step
            Approximate largest distance between neighbouring points, angstrom.

        Returns
        -------
        The points with their normals, and the smallest radius of curvature between neighbouring points, angstrom.
        """
        count = max(8, math.ceil(float(self.semi_axis.max()) * 1.75 / step))
        line = (np.arange(-1, count + 1) + 0.5) * (2 / count) - 1  # one more point on each side, for the slopes
        u, v = np.meshgrid(line, line, indexing="ij")
        points, normals, sharpest = [], [], 0.0
        for axis in range(3):
            for side in (-1.0, 1.0):
                at = self._face(u, v, axis, side)
                first, second = at[2:, 1:-1] - at[:-2, 1:-1], at[1:-1, 2:] - at[1:-1, :-2]
                normal = np.cross(first, second)
                normal /= np.sqrt((normal * normal).sum(-1))[..., None]
                at = at[1:-1, 1:-1]
                normal *= np.sign((normal * at).sum(-1))[..., None]
                for move, turn in ((np.diff(at, axis=a), np.diff(normal, axis=a)) for a in (0, 1)):
                    sharpest = max(sharpest, float(np.abs((move * turn).sum(-1) / (move * move).sum(-1)).max()))
                points.append(at.reshape(-1, 3))
                normals.append(normal.reshape(-1, 3))
        return Cloud(np.concatenate(points), np.concatenate(normals)), 1 / sharpest

    def _face(self, u: Floats, v: Floats, axis: int, side: float) -> Floats:
        """The points of the surface (m, n, 3) that belong to one face of the cube."""
        uu, vv = u * u, v * v
        flat = [side * np.sqrt(1 - uu / 2 - vv / 2 + uu * vv / 3), u * np.sqrt(0.5 - vv / 6), v * np.sqrt(0.5 - uu / 6)]
        direction = np.stack([flat[(k - axis) % 3] for k in range(3)], axis=-1)
        direction /= np.sqrt((direction * direction).sum(-1))[..., None]
        points: Floats = direction * self.radius(direction)[..., None]
        return points


def draw_shape(rng: np.random.Generator, radius_a: float, sphericity: float) -> Shape:
    """Draw the shape of a vesicle.

    Parameters
    ----------
    rng
        The random generator.
    radius_a
        Geometric mean of the semi-axes, angstrom.
    sphericity
        Ratio of the shortest to the longest semi-axis, above 0 and at most 1; 1 gives a sphere.

    Returns
    -------
    The shape. If a radius of curvature is below 50 A, the shape is changed towards a sphere until none is.

    Raises
    ------
    InputError
        The radius is not above 50 A, or the sphericity is out of its range.
    """
    if not radius_a > SHARPEST:
        raise InputError(f"A vesicle of radius {radius_a} A cannot keep to a radius of curvature of {SHARPEST:g} A.")
    if not 0 < sphericity <= 1:
        raise InputError(f"Sphericity is above 0 and at most 1, not {sphericity}.")
    axes = rotation_matrix(random_quaternions(rng, 1))[0]
    middle = float(rng.random())
    ratio = np.array([sphericity, sphericity + (1 - sphericity) * middle, 1.0])
    degree = tuple(d for d in DEGREES for _ in range(2 * d + 1))
    towards = random_directions(rng, len(degree))
    size = rng.standard_normal(len(degree)) * 0.6 * (1 - sphericity)
    spectrum = np.array([math.sqrt(24 / ((d - 1) * (d + 2) * d * (d + 1)) / (2 * d + 1)) for d in degree])
    strength = 1.0
    while True:
        uneven = 1 + (ratio - 1) * strength
        mean = _cube_root(float(uneven[0] * uneven[1] * uneven[2]))
        shape = Shape(axes, uneven * (radius_a / mean), towards, degree, size * spectrum * strength)
        if float(np.abs(shape.bump).sum()) < 1e-12 or (
            float(shape.bump.sum()) > -0.9 and shape.cloud(radius_a / 12)[1] >= SHARPEST
        ):
            return shape
        strength *= 0.85


def closed_membrane(cloud: Cloud, *, name: str = "membrane", instance: int = 1) -> Membrane:
    """Make the membrane whose mid-plane is a closed surface.

    Parameters
    ----------
    cloud
        The surface.
    name, instance
        Class name and instance number of the membrane.
    """
    corner, distance = signed_distance(cloud, SPACING)
    z, y, x = (float(c) for c in corner)
    return Membrane(name, instance, (z, y, x), SPACING, distance)


def place_vesicles(
    rng: np.random.Generator,
    size_a: Vector3,
    recipe: VesiclesRecipe,
    *,
    walls: str = "",
    first_instance: int = 1,
    others: tuple[Membrane, ...] = (),
) -> tuple[Membrane, ...]:
    """Place vesicles at random positions, so that none is too close to another membrane or inside of another vesicle.

    Parameters
    ----------
    rng
        The random generator.
    size_a
        The box extends from 0 to this position, angstrom, z, y, x; the centres of the vesicles are inside of it.
    recipe
        Number, sizes and shapes of the vesicles.
    walls
        The axes, letters of ``zyx``, whose two faces are walls: vesicles keep a distance from walls unless the recipe's
        ``cut`` is set. Other faces may cut vesicles.
    first_instance
        Instance number of the first vesicle.
    others
        Membranes that exist already. Vesicles may be on both sides of a sheet.

    Returns
    -------
    The vesicles in the order in which they were placed. There are fewer than the recipe's ``count`` if no position was
    found for some.

    Positions are drawn where the walls leave room, and after some that are taken the shape is drawn again. So in a thin
    slab large vesicles are rarer than the recipe's range says.
    """
    placed: list[Membrane] = []
    known = [(m, _inner_point(m)) for m in others]
    low, high = recipe.radius_nm
    for _ in range(recipe.count):
        for _ in range(SHAPES):
            radius = _uniform(rng, (10 * low, 10 * high))
            shape = draw_shape(rng, radius, _uniform(rng, recipe.sphericity))
            cloud, _ = shape.cloud(spread(radius))
            centre = _place(rng, cloud.point, shape, _room(cloud.point, size_a, "" if recipe.cut else walls), known)
            if centre is not None:
                new = closed_membrane(cloud.moved(centre), name=recipe.name, instance=first_instance + len(placed))
                placed.append(new)
                known.append((new, centre))
                break
    return tuple(placed)


def _place(
    rng: np.random.Generator,
    points: Floats,
    shape: Shape,
    room: tuple[Floats, Floats],
    known: list[tuple[Membrane, Floats | None]],
) -> Floats | None:
    """A centre at which a surface about 0 is free; ``None`` if the room is none, or no position was found."""
    low, high = room
    if (low > high).any():
        return None
    for _ in range(TRIES):
        centre: Floats = low + (high - low) * rng.random(3)
        if _free(points + centre, shape, centre, known):
            return centre
    return None


def _room(points: Floats, size_a: Vector3, walls: str) -> tuple[Floats, Floats]:
    """The lowest and the highest centre at which a surface about 0 has the required distance from the walls."""
    low, high = np.zeros(3), np.array(size_a, np.float64)
    for axis, letter in enumerate("zyx"):
        if letter in walls:
            low[axis] = WALL_GAP - float(points[:, axis].min())
            high[axis] -= WALL_GAP + float(points[:, axis].max())
    return low, high


def _free(points: Floats, shape: Shape, centre: Floats, known: list[tuple[Membrane, Floats | None]]) -> bool:
    """Whether a surface has the required distance from all others, and neither is inside of one nor encloses one."""
    for other, inner in known:
        low = np.asarray(other.corner)
        high = low + (np.asarray(other.distance.shape) - 1) * other.spacing
        apart = bool((points.max(0) < low).any() or (points.min(0) > high).any())
        if not apart:
            distance = distance_to(other, points)
            if float(np.abs(distance).min()) < GAP:
                return False
            if inner is not None and float(distance.min()) < 0:
                return False
        if inner is not None and bool(shape.holds((inner - centre)[None])[0]):
            return False
    return True


def _inner_point(membrane: Membrane) -> Floats | None:
    """The innermost point of a closed membrane; None for a sheet, whose inside extends to the edge of its grid."""
    field = membrane.distance
    if any(np.take(field, end, axis).min() < 0 for axis in range(3) for end in (0, -1)):
        return None
    deepest = np.unravel_index(int(np.argmin(field)), field.shape)
    found: Floats = np.array(deepest, np.float64) * membrane.spacing + np.array(membrane.corner)
    return found


def spread(radius_a: float) -> float:
    """The distance between points of a surface, angstrom, for an error of about 0.1 A in its signed distance."""
    return min(20.0, 0.65 * math.sqrt(radius_a))


def _dot(a: Floats, b: Floats) -> Floats:
    """Scalar products (...), written out, because a matrix product has no fixed order of summation."""
    found: Floats = a[..., 0] * b[0] + a[..., 1] * b[1] + a[..., 2] * b[2]
    return found


def _legendre(degree: int, x: Floats) -> Floats:
    """The Legendre polynomial of a degree, by Bonnet's recursion."""
    before, now = np.ones_like(x), x
    for n in range(1, degree):
        before, now = now, ((2 * n + 1) * x * now - n * before) / (n + 1)
    return now


def _cube_root(value: float) -> float:
    """The cube root by Newton's method; the last bit of a library's cube root may differ between machines."""
    root = 1.0
    for _ in range(60):
        root = (2 * root + value / (root * root)) / 3
    return root


def _uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * float(rng.random())
