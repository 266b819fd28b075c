"""Filaments: chains of units by twist and rise, that bend as worms do and go round what is in their way.

A filament's centreline is a discrete worm-like chain: from one node to the next it turns by a small random angle about
an axis across it, so that the mean cosine between directions ``s`` apart is ``exp(-s / P)`` (Kratky & Porod 1949; ``P``
is the persistence length). At every node stands one unit, turned by the twist, or a ring of units (microtubules).

>>> import numpy as np
>>> actin = KINDS["actin"]
>>> chain = worm(np.random.default_rng(1), actin, steps=100)
>>> chain.position.shape, chain.quaternion.shape
((101, 3), (101, 4))

:func:`place_filaments` grows filaments into a box. A step that meets something is tried again with wider turns; where
none is free the filament ends, first in one direction, then in the other. Short ones are dropped. A template's z axis
is the filament's, and its pivot lies on the axis, or on the ring where there is one.

Only arithmetic and square roots are done on random numbers: same seed, same bytes, on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.specimen import Placements, Template, rotation_matrix
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.placing.solids import Solid
from volengine.sim.rotations import multiply, random_circle, spins, towards

Floats = NDArray[np.float64]
Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

WIDER_DEG = 2.0
"""By how much more a filament may turn at each new try of a step."""


@dataclass(frozen=True)
class FilamentKind(Recipe):
    """How a kind of filament is built.

    Parameters
    ----------
    twist_deg, rise_a
        From one node to the next, along the template's z axis.
    persistence_um
        Persistence length.
    protofilaments
        Units at each node, in a ring; 1: one unit, its pivot on the axis.
    radius_a
        Of the ring.
    start_a
        Along the axis, from one protofilament to the next.
    minimum_units
        Least number of nodes of a filament.
    """

    twist_deg: float
    rise_a: float
    persistence_um: float
    protofilaments: int = 1
    radius_a: float = 0.0
    start_a: float = 0.0
    minimum_units: int = 10

    def check(self) -> None:
        if not self.rise_a > 0 or self.protofilaments < 1 or self.minimum_units < 1 or self.radius_a < 0:
            raise InputError(
                f"A filament cannot be built with a rise of {self.rise_a} A, {self.protofilaments} protofilaments at "
                f"{self.radius_a} A and at least {self.minimum_units} units."
            )
        if not self.persistence_um * 1e4 >= 5 * self.rise_a:
            raise InputError(
                f"A persistence length of {self.persistence_um} um is too short for a rise of {self.rise_a} A: "
                "it is at least five times the rise."
            )

    @property
    def bend(self) -> float:
        """Standard deviation, radian, of the turn about each of the two axes across the filament, per node."""
        return math.sqrt(self.rise_a / (self.persistence_um * 1e4))


KINDS = {
    # Egelman, Francis & DeRosier 1982; Gittes et al. 1993 (persistence)
    "actin": FilamentKind(-166.15, 27.3, 9.0, minimum_units=20),
    # McGough et al. 1997 (twist); McCullough et al. 2008 (persistence)
    "cofilactin": FilamentKind(-162.0, 27.6, 2.2, minimum_units=20),
    # 13 protofilaments, three-start helix of monomers of 40.6 A; Gittes et al. 1993; of short ones less: Pampaloni 2006
    "microtubule": FilamentKind(0.0, 81.2, 1000.0, 13, 112.0, 3 * 40.6 / 13, 10),
}


def persistence_of_cone(flexibility_deg: float, rise_a: float) -> float:
    """Persistence length, um, of a chain whose every step turns uniformly within a cone of this half angle."""
    if not 0 < flexibility_deg < 90:
        raise InputError(f"A cone of {flexibility_deg} degrees is none; give 0 to 90.")
    return -rise_a / math.log((1 + math.cos(math.radians(flexibility_deg))) / 2) / 1e4


@dataclass(frozen=True)
class FilamentRecipe(Recipe):
    """Filaments in a box.

    Parameters
    ----------
    count
        How many to place.
    length_a
        Shortest and longest; drawn uniformly. They end where they leave the box.
    inclination_deg
        Largest angle between a filament's first direction and the plane y, x.
    tries
        Places tried for each filament.
    retries
        Wider turns tried where a step meets something.
    bundle
        Filaments of one bundle: the others start beside the first one, in its direction.
    bundle_spacing_a
        From one filament's axis to the next of its bundle.
    """

    count: int = 0
    length_a: tuple[float, float] = (1000.0, 4000.0)
    inclination_deg: float = 15.0
    tries: int = 20
    retries: int = 4
    bundle: int = 1
    bundle_spacing_a: float = 120.0

    def check(self) -> None:
        low, high = self.length_a
        if not 0 < low <= high:
            raise InputError(f"Lengths of filaments are a positive range, not {low} to {high} A.")
        if not 0 <= self.inclination_deg <= 90:
            raise InputError(f"inclination_deg is from 0 to 90, not {self.inclination_deg}.")
        if self.count < 0 or self.tries < 1 or self.retries < 0 or self.bundle < 1 or self.bundle_spacing_a <= 0:
            raise InputError(f"count, tries, retries, bundle or bundle_spacing_a is too small: {self.to_json()}.")


@dataclass(frozen=True, eq=False)
class Chain:
    """The nodes of a filament.

    Parameters
    ----------
    position
        (n, 3), angstrom, z, y, x: the centreline.
    quaternion
        (n, 4): frames, whose z axis is the direction and which turn with the twist.
    """

    position: Floats
    quaternion: Floats


@dataclass(frozen=True, eq=False)
class Filaments:
    """Filaments in a box.

    Parameters
    ----------
    placements
        Their units; ``instance`` and ``group`` are the filament's number.
    centrelines
        (n, 3) nodes, angstrom, z, y, x, by the filament's number.
    asked
        How many the recipe wanted.
    """

    placements: Placements
    centrelines: dict[int, Floats]
    asked: int


def worm(
    rng: np.random.Generator,
    kind: FilamentKind,
    steps: int,
    begin: Vector3 = (0.0, 0.0, 0.0),
    frame: Quaternion = (1.0, 0.0, 0.0, 0.0),
) -> Chain:
    """A chain in empty space: ``steps`` steps from ``begin`` (angstrom, z, y, x) in the direction of ``frame``'s z."""
    twist = _about_z(kind.twist_deg)
    nodes = [(begin, frame)]
    for one, two in rng.standard_normal((steps, 2)).tolist():
        nodes.append(_onward(*nodes[-1], kind, twist, (one * kind.bend, two * kind.bend)))
    return Chain(np.array([p for p, _ in nodes]), np.array([q for _, q in nodes]))


def units(kind: FilamentKind, position: Vector3, frame: Quaternion) -> list[tuple[Floats, Floats]]:
    """Position and quaternion of the units at a node."""
    if kind.protofilaments == 1:
        return [(np.array(position), np.array(frame))]
    matrix = rotation_matrix(frame)[0][::-1, ::-1]
    found = []
    for number in range(kind.protofilaments):
        spin = _about_z(360 * number / kind.protofilaments)
        cosine, sine = spin[0] ** 2 - spin[3] ** 2, 2 * spin[0] * spin[3]
        z, y, x = number * kind.start_a, sine * kind.radius_a, cosine * kind.radius_a
        at = np.array([p + row[0] * z + row[1] * y + row[2] * x for p, row in zip(position, matrix, strict=True)])
        found.append((at, np.array(_times(frame, spin))))
    return found


def place_filaments(
    rng: np.random.Generator,
    space: Occupancy,
    size_a: Vector3,
    templates: Sequence[Template],
    kind: FilamentKind,
    recipe: FilamentRecipe,
    *,
    first_template: int = 0,
    first_instance: int = 1,
) -> Filaments:
    """Grow filaments into a box; they take their cells of ``space``.

    Parameters
    ----------
    rng
        What draws them.
    space
        What is taken; its walls confine the filaments.
    size_a
        The box reaches from 0 to here, angstrom, z, y, x.
    templates
        Of the unit; one of them is drawn for each node.
    kind, recipe
        How filaments are built, and how many.
    first_template, first_instance
        Index of ``templates[0]`` in the specimen's list, and number of the first filament.

    Returns
    -------
    The filaments; fewer than asked for where no room was left.
    """
    rings = [_ring(kind, space.solid(t)) for t in templates]
    grower = _Grower(rng, space, size_a, rings, kind, recipe)
    parts: list[Placements] = []
    lines: dict[int, Floats] = {}
    beside: Iterator[tuple[Floats, Quaternion]] = iter(())
    while len(lines) < recipe.count:
        start = next(beside, None)
        grown = grower.filament() if start is None else grower.grown(*start)
        if grown is None:
            if start is None:
                break
            continue
        number = first_instance + len(lines)
        if start is None:
            beside = grower.beside(grown.chain)
        count = len(grown.position)
        same = np.full(count, number, np.int32)
        which = (grown.template + first_template).astype(np.int32)
        parts.append(Placements(which, same, grown.position, grown.quaternion, same))
        lines[number] = grown.chain.position
    return Filaments(Placements.joined(parts), lines, recipe.count)


def _ring(kind: FilamentKind, solid: Solid) -> Solid:
    """The solid of all units at a node, in its frame: every unit's first point, then every unit's second ..."""
    here = [(at, rotation_matrix(turn)[0][::-1, ::-1]) for at, turn in units(kind, (0, 0, 0), (1, 0, 0, 0))]

    def turned(points: NDArray[np.float32]) -> NDArray[np.float32]:
        z, y, x = points.astype(np.float64).T
        each = [[r[0] * z + r[1] * y + r[2] * x + p for r, p in zip(matrix, at, strict=True)] for at, matrix in here]
        return np.transpose(each, (2, 0, 1)).reshape(-1, 3).astype(np.float32)

    return Solid(turned(solid.fill), turned(solid.test), solid.volume * kind.protofilaments)


@dataclass(frozen=True, eq=False)
class _Grown:
    chain: Chain
    template: NDArray[np.int64]
    position: Floats
    quaternion: Floats


@dataclass(frozen=True, eq=False)
class _Grower:
    rng: np.random.Generator
    space: Occupancy
    size: Vector3
    rings: list[Solid]  # for each template: all units at a node
    kind: FilamentKind
    recipe: FilamentRecipe

    def filament(self) -> _Grown | None:
        """A filament at a random place, or none."""
        for _ in range(self.recipe.tries):
            begin = np.array([share * length for share, length in zip(self.rng.random(3), self.size, strict=True)])
            steep = round(math.sin(math.radians(self.recipe.inclination_deg)), 12)
            z = (2 * float(self.rng.random()) - 1) * steep
            flat = random_circle(self.rng, 1)[0] * math.sqrt(1 - z * z)
            frame = multiply(towards([[z, flat[0], flat[1]]]), spins(self.rng, (1.0, 0.0, 0.0), 1))[0]
            w, i, j, k = frame.tolist()
            grown = self.grown(begin, (w, i, j, k))
            if grown is not None:
                return grown
        return None

    def beside(self, chain: Chain) -> Iterator[tuple[Floats, Quaternion]]:
        """Starts of the other filaments of a bundle: about the middle of the first one, on rings of six, twelve ..."""
        middle = len(chain.position) // 2
        w, i, j, k = chain.quaternion[middle].tolist()
        matrix = rotation_matrix((w, i, j, k))[0][::-1, ::-1]
        left, ring = self.recipe.bundle - 1, 1
        while left > 0:
            for number in range(min(left, 6 * ring)):
                spin = _about_z(60 * number / ring)
                y = 2 * spin[0] * spin[3] * ring * self.recipe.bundle_spacing_a
                x = (spin[0] ** 2 - spin[3] ** 2) * ring * self.recipe.bundle_spacing_a
                yield chain.position[middle] + matrix[:, 1] * y + matrix[:, 2] * x, (w, i, j, k)
            left, ring = left - 6 * ring, ring + 1

    def grown(self, begin: Floats, frame: Quaternion) -> _Grown | None:
        """A filament from a place, first onward, then backward; its cells are taken. None if it stays too short."""
        low, high = self.recipe.length_a
        wanted = max(math.ceil((low + (high - low) * float(self.rng.random())) / self.kind.rise_a) + 1, 2)
        z, y, x = begin.tolist()
        first = self._free((z, y, x), frame)
        if first is None:
            return None
        nodes, drawn = [((z, y, x), frame)], [first]
        for backward in (False, True):
            position, now = nodes[0] if backward else nodes[-1]
            while len(nodes) < wanted and self._inside(position):
                step = self._step(position, now, backward)
                if step is None:
                    break
                position, now, number = step
                nodes.insert(0 if backward else len(nodes), (position, now))
                drawn.insert(0 if backward else len(drawn), number)
        if len(nodes) < self.kind.minimum_units:
            return None
        for (position, now), number in zip(nodes, drawn, strict=True):
            self.space.take(self.rings[number], position, now)
        rows = [unit for position, now in nodes for unit in units(self.kind, position, now)]
        chain = Chain(np.array([p for p, _ in nodes]), np.array([q for _, q in nodes]))
        which = np.repeat(drawn, self.kind.protofilaments)
        return _Grown(chain, which, np.array([p for p, _ in rows]), np.array([q for _, q in rows]))

    def _step(self, position: Vector3, frame: Quaternion, backward: bool) -> tuple[Vector3, Quaternion, int] | None:
        """The next node and its template, where there is room."""
        kind = self.kind
        twist = _about_z(-kind.twist_deg if backward else kind.twist_deg)
        for attempt in range(self.recipe.retries + 1):
            wide = kind.bend + attempt * math.radians(WIDER_DEG)
            one, two = (self.rng.standard_normal(2) * wide).tolist()
            move = _backward if backward else _onward
            at, turn = move(position, frame, kind, twist, (one, two))
            number = self._free(at, turn)
            if number is not None:
                return at, turn, number
        return None

    def _free(self, position: Vector3, frame: Quaternion) -> int | None:
        """The template drawn for a node, or none if its units meet something."""
        number = int(self.rng.integers(len(self.rings))) if len(self.rings) > 1 else 0
        return None if self.space.clashes(self.rings[number], position, frame) else number

    def _inside(self, position: Vector3) -> bool:
        return all(0 <= p <= n for p, n in zip(position, self.size, strict=True))


# -- steps of a chain ------------------------------------------------------------------------------------------------


def _onward(
    position: Vector3, frame: Quaternion, kind: FilamentKind, twist: Quaternion, bend: tuple[float, float]
) -> tuple[Vector3, Quaternion]:
    """The next node: along the frame's z axis; its frame is bent, then twisted."""
    z, y, x = _axis(frame)
    at = (position[0] + kind.rise_a * z, position[1] + kind.rise_a * y, position[2] + kind.rise_a * x)
    return at, _times(_times(frame, _bend(bend)), twist)


def _backward(
    position: Vector3, frame: Quaternion, kind: FilamentKind, twist: Quaternion, bend: tuple[float, float]
) -> tuple[Vector3, Quaternion]:
    """The node before: :func:`_onward` leads from it to this one (``twist`` is the inverse)."""
    before = _times(_times(frame, twist), _bend(bend))
    z, y, x = _axis(before)
    return (position[0] - kind.rise_a * z, position[1] - kind.rise_a * y, position[2] - kind.rise_a * x), before


def _bend(bend: tuple[float, float]) -> Quaternion:
    """A turn about the axes x and y; for small angles by these angles."""
    x, y = bend[0] / 2, bend[1] / 2
    length = math.sqrt(1 + x * x + y * y)
    return 1 / length, x / length, y / length, 0.0


def _about_z(angle_deg: float) -> Quaternion:
    """A turn about z. Rounded: the last bits of sines differ from machine to machine."""
    half = math.radians(angle_deg) / 2
    w, z = round(math.cos(half), 13), round(math.sin(half), 13)
    length = math.sqrt(w * w + z * z)
    return w / length, 0.0, 0.0, z / length


def _axis(q: Quaternion) -> Vector3:
    """The z axis of a frame, as z, y, x."""
    w, x, y, z = q
    return 1 - 2 * (x * x + y * y), 2 * (y * z - x * w), 2 * (x * z + y * w)


def _times(a: Quaternion, b: Quaternion) -> Quaternion:
    """Turn by ``b``, then by ``a``; made unit again."""
    w = a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]
    x = a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2]
    y = a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1]
    z = a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0]
    length = math.sqrt(w * w + x * x + y * y + z * z)
    return w / length, x / length, y / length, z / length
