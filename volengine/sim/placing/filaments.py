"""Filaments: worm-like chains of units with twist and rise, which avoid obstacles.

The centreline of a filament is a discrete worm-like chain: from one node to the next it turns by a small random angle
about an axis across it, so that the mean cosine of the angle between directions ``s`` apart is ``exp(-s / P)`` (Kratky
& Porod 1949; ``P`` is the persistence length). Each node has one unit, turned by the twist, or a ring of units
(microtubules): a left-handed helix, along which the azimuth falls as it rises.

>>> node = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)  # position and frame: the filament runs along z
>>> kind = FilamentKind(twist_deg=90.0, rise_a=30.0, persistence_um=10.0)
>>> position, frame = onward(*node, kind, about_z(kind.twist_deg), bend=(0.0, 0.0))
>>> position
(30.0, 0.0, 0.0)

:func:`place_filaments` grows filaments in a box. A step that meets an obstacle is tried again with larger turns; if no
turn is free, the filament ends in this direction and grows in the other. Short filaments are dropped. The z axis of a
template is the axis of the filament; its pivot lies on the axis, or on the ring.

Random numbers are processed only by arithmetic and square roots, so a seed gives the same bytes on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.specimen import Placements, Template, rotation_matrix
from volengine.core.volume import Vector3
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.placing.solids import Solid
from volengine.sim.recipe.filaments import FilamentKind, FilamentsRecipe, nodes_of
from volengine.sim.rotations import multiply, random_circle, spins, towards

Floats = NDArray[np.float64]
Quaternion = tuple[float, float, float, float]
Node = tuple[Vector3, Quaternion]
"""Position on the centreline, angstrom, z, y, x; and the frame, whose z axis is tangential and which has the twist."""

TRIES = 20
"""Number of places that are tried for each filament."""
RETRIES = 4
"""Number of larger turns that are tried if a step meets an obstacle."""
WIDER_DEG = 2.0
"""Degrees by which the turns become larger at each new try of a step."""
STIFF_UM = 100.0
"""A filament with at least this persistence length ends at an obstacle and does not turn away."""


@dataclass(frozen=True, eq=False)
class Filaments:
    """Filaments in a box.

    Parameters
    ----------
    placements
        The units of all filaments; ``instance`` and ``group`` are the filament's number.
    centrelines
        For each filament, by its number, its nodes (n, 3), angstrom, z, y, x.
    """

    placements: Placements
    centrelines: dict[int, Floats]


def units(kind: FilamentKind, position: Vector3, frame: Quaternion) -> list[tuple[Floats, Floats]]:
    """Position (angstrom, z, y, x) and quaternion of each unit at a node."""
    if kind.protofilaments == 1:
        return [(np.array(position), np.array(frame))]
    matrix = rotation_matrix(frame)[0][::-1, ::-1]
    tilt = _about_x(-kind.skew_deg)
    found = []
    for number in range(kind.protofilaments):
        # rising along the helix of monomers the azimuth falls; the twist of the height is that of the protofilaments
        rise = number * kind.stagger_a
        spin = about_z(kind.twist_deg * rise / kind.rise_a - 360 * number / kind.protofilaments)
        cosine, sine = spin[0] ** 2 - spin[3] ** 2, 2 * spin[0] * spin[3]
        z, y, x = rise, sine * kind.radius_a, cosine * kind.radius_a
        at = np.array([p + row[0] * z + row[1] * y + row[2] * x for p, row in zip(position, matrix, strict=True)])
        found.append((at, np.array(_times(_times(frame, spin), tilt))))
    return found


def place_filaments(
    rng: np.random.Generator,
    space: Occupancy,
    size_a: Vector3,
    template: Template,
    recipe: FilamentsRecipe,
    *,
    template_number: int = 0,
    first_instance: int = 1,
) -> Filaments:
    """Grow filaments in a box, and take their cells of ``space``.

    Parameters
    ----------
    rng
        Source of all random numbers.
    space
        The occupied cells; filaments do not cross its walls.
    size_a
        Size of the box, which begins at 0, angstrom, z, y, x.
    template
        Template of the unit.
    recipe
        Number, lengths and structure of the filaments.
    template_number, first_instance
        Index of the template in the specimen's list, and number of the first filament.

    Returns
    -------
    Filaments
        Fewer than requested if there was not enough space.
    """
    solid = space.solid(template)
    growers = [_Grower(rng, space, size_a, _ring(kind, solid), recipe, kind) for kind, _ in recipe.built]
    upto = np.cumsum([share for _, share in recipe.built])[:-1]
    parts: list[Placements] = []
    lines: dict[int, Floats] = {}
    while len(lines) < recipe.count:
        grower = growers[int(np.searchsorted(upto, rng.random(), "right")) if len(growers) > 1 else 0]
        nodes = grower.filament()
        if nodes is None:
            break
        number = first_instance + len(lines)
        rows = [unit for position, frame in nodes for unit in units(grower.kind, position, frame)]
        which = np.full(len(rows), template_number, np.int32)
        same = np.full(len(rows), number, np.int32)
        position, quaternion = (np.array(values) for values in zip(*rows, strict=True))
        parts.append(Placements(which, same, position, quaternion, same))
        lines[number] = np.array([position for position, _ in nodes])
    return Filaments(Placements.joined(parts), lines)


def _ring(kind: FilamentKind, solid: Solid) -> Solid:
    """The solid of all units at a node, in its frame: the first point of every unit, then the second of each ..."""
    here = [(at, rotation_matrix(turn)[0][::-1, ::-1]) for at, turn in units(kind, (0, 0, 0), (1, 0, 0, 0))]

    def turned(points: NDArray[np.float32]) -> NDArray[np.float32]:
        z, y, x = points.astype(np.float64).T
        each = [[r[0] * z + r[1] * y + r[2] * x + p for r, p in zip(matrix, at, strict=True)] for at, matrix in here]
        return np.transpose(each, (2, 0, 1)).reshape(-1, 3).astype(np.float32)

    return Solid(turned(solid.fill), turned(solid.test), solid.volume * kind.protofilaments)


@dataclass(frozen=True, eq=False)
class _Grower:
    rng: np.random.Generator
    space: Occupancy
    size: Vector3
    ring: Solid  # all units at a node
    recipe: FilamentsRecipe
    kind: FilamentKind

    def filament(self) -> list[Node] | None:
        """The nodes of a filament at a random place; ``None`` if it does not fit."""
        for _ in range(TRIES):
            begin = [share * length for share, length in zip(self.rng.random(3).tolist(), self.size, strict=True)]
            steep = round(math.sin(math.radians(self.recipe.inclination_deg)), 12)
            z = (2 * float(self.rng.random()) - 1) * steep
            flat = random_circle(self.rng, 1)[0] * math.sqrt(1 - z * z)
            frame = multiply(towards([[z, flat[0], flat[1]]]), spins(self.rng, (1.0, 0.0, 0.0), 1))[0]
            w, i, j, k = frame.tolist()
            nodes = self._grown((begin[0], begin[1], begin[2]), (w, i, j, k))
            if nodes is not None:
                return nodes
        return None

    def _grown(self, begin: Vector3, frame: Quaternion) -> list[Node] | None:
        """Grow a filament from a place, onward, then backward, and take its cells; ``None`` if it is too short."""
        low, high = self.recipe.length_nm
        kind = self.kind
        wanted = nodes_of(low + (high - low) * float(self.rng.random()), kind)
        if not self._free(begin, frame):
            return None
        nodes = [(begin, frame)]
        for backward in (False, True):
            node: Node | None = nodes[0] if backward else nodes[-1]
            while node is not None and len(nodes) < wanted and self._inside(node[0]):
                node = self._step(*node, backward)
                if node is not None:
                    nodes.insert(0 if backward else len(nodes), node)
        if len(nodes) < kind.minimum_units:
            return None
        for position, now in nodes:
            self.space.take(self.ring, position, now)
        return nodes

    def _step(self, position: Vector3, frame: Quaternion, backward: bool) -> Node | None:
        """The next node; ``None`` if no tried turn is free."""
        kind = self.kind
        twist = about_z(-kind.twist_deg if backward else kind.twist_deg)
        for attempt in range(RETRIES + 1 if kind.persistence_um < STIFF_UM else 1):
            wide = kind.bend + attempt * math.radians(WIDER_DEG)
            one, two = (self.rng.standard_normal(2) * wide).tolist()
            node = (_backward if backward else onward)(position, frame, kind, twist, (one, two))
            if self._free(*node):
                return node
        return None

    def _free(self, position: Vector3, frame: Quaternion) -> bool:
        """Whether the units of a node meet no taken cell."""
        return not self.space.clashes(self.ring, position, frame)

    def _inside(self, position: Vector3) -> bool:
        return all(0 <= p <= n for p, n in zip(position, self.size, strict=True))


# -- steps of a chain ------------------------------------------------------------------------------------------------


def onward(
    position: Vector3, frame: Quaternion, kind: FilamentKind, twist: Quaternion, bend: tuple[float, float]
) -> tuple[Vector3, Quaternion]:
    """The next node: it lies along the frame's z axis, and its frame is bent, then twisted."""
    z, y, x = _axis(frame)
    at = (position[0] + kind.rise_a * z, position[1] + kind.rise_a * y, position[2] + kind.rise_a * x)
    return at, _times(_times(frame, _bend(bend)), twist)


def _backward(
    position: Vector3, frame: Quaternion, kind: FilamentKind, twist: Quaternion, bend: tuple[float, float]
) -> tuple[Vector3, Quaternion]:
    """The previous node, from which :func:`onward` leads to this one (``twist`` is the inverse twist)."""
    before = _times(_times(frame, twist), _bend(bend))
    z, y, x = _axis(before)
    return (position[0] - kind.rise_a * z, position[1] - kind.rise_a * y, position[2] - kind.rise_a * x), before


def _bend(bend: tuple[float, float]) -> Quaternion:
    """Quaternion of a turn about the axes x and y by small angles (radian)."""
    x, y = bend[0] / 2, bend[1] / 2
    length = math.sqrt(1 + x * x + y * y)
    return 1 / length, x / length, y / length, 0.0


def about_z(angle_deg: float) -> Quaternion:
    """Quaternion of a turn about z."""
    w, z = _halved(angle_deg)
    return w, 0.0, 0.0, z


def _about_x(angle_deg: float) -> Quaternion:
    """Quaternion of a turn about x."""
    w, x = _halved(angle_deg)
    return w, x, 0.0, 0.0


def _halved(angle_deg: float) -> tuple[float, float]:
    """Cosine and sine of half an angle; rounded, because the last bits of sines differ between machines."""
    half = math.radians(angle_deg) / 2
    w, s = round(math.cos(half), 13), round(math.sin(half), 13)
    length = math.sqrt(w * w + s * s)
    return w / length, s / length


def _axis(q: Quaternion) -> Vector3:
    """The z axis of a frame, as z, y, x."""
    w, x, y, z = q
    return 1 - 2 * (x * x + y * y), 2 * (y * z - x * w), 2 * (x * z + y * w)


def _times(a: Quaternion, b: Quaternion) -> Quaternion:
    """The quaternion that turns by ``b``, then by ``a``, normalised."""
    w = a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]
    x = a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2]
    y = a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1]
    z = a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0]
    length = math.sqrt(w * w + x * x + y * y + z * z)
    return w / length, x / length, y / length, z / length
