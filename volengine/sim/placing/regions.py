"""Membranes in the placement of particles: their cells, the regions that they enclose, and their proteins.

A membrane owns its cells: only its own proteins may enter them, and no protein reaches through its own membrane into
another.

>>> regions = enclose(occupancy, [vesicle], points=[surface_points])                    # doctest: +SKIP
>>> placements, reports = fill(occupancy, templates, layers, rng, 1, regions)              # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError
from volengine.core.specimen import Membrane
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.placing.solids import Solid
from volengine.sim.rotations import multiply, spins, towards
from volengine.sim.shapes.membranes import HEAD, distance_to

Floats = NDArray[np.float64]

_SIDES = {"outside": 0.0, "inside": 1.0, "either": 0.5}  # share that is turned over
_UP = (1.0, 0.0, 0.0)  # z, y, x


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Points on mid-planes of membranes at which proteins may be placed.

    Parameters
    ----------
    point, normal
        (n, 3) float64, z, y, x: positions in angstrom, and outward unit normals. The points should be evenly
        distributed.
    owner
        (n,) int: owner of the membrane's cells in the occupancy grid.
    group
        (n,) int: instance of the membrane, which becomes the ``group`` of its proteins.
    half_thickness_a
        (n,) float64: distance from the mid-plane to the faces on which peripheral proteins sit, angstrom.
    """

    point: Floats
    normal: Floats
    owner: NDArray[np.int64]
    group: NDArray[np.int64]
    half_thickness_a: Floats

    def __len__(self) -> int:
        return len(self.point)

    @classmethod
    def of(cls, points: ArrayLike, normals: ArrayLike, owner: int, group: int, half_thickness_a: float) -> Surfaces:
        """The points and outward normals of one membrane; normals are normalised.

        Raises
        ------
        InputError
            The arrays differ in shape, or a normal has length 0.
        """
        point, normal = (np.asarray(a, float).reshape(-1, 3) for a in (points, normals))
        z, y, x = normal.T
        length = np.sqrt(z * z + y * y + x * x)
        if point.shape != normal.shape or not (length > 0).all():
            raise InputError(f"{len(point)} surface points need as many normals of length above 0, not {len(normal)}.")
        count = len(point)
        return cls(
            point,
            normal / length[:, None],
            np.full(count, owner, np.int64),
            np.full(count, group, np.int64),
            np.full(count, half_thickness_a, float),
        )

    @classmethod
    def joined(cls, parts: Sequence[Surfaces]) -> Surfaces:
        """The points of several membranes."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def within(self, occupancy: Occupancy) -> Surfaces:
        """The points that lie in the box."""
        high = occupancy.low + occupancy.edge * occupancy.shape
        kept = ((self.point >= occupancy.low) & (self.point < high)).all(1)
        return Surfaces(*(getattr(self, f.name)[kept] for f in fields(self)))


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions that membranes define.

    Parameters
    ----------
    inside
        (z, y, x) bool, per cell of the grid: inside of a vesicle, without its membrane. ``None``: there is no vesicle.
    surfaces
        Points at which membrane proteins may be placed; ``None``: there are none.
    """

    inside: NDArray[np.bool_] | None = None
    surfaces: Surfaces | None = None


@dataclass(frozen=True)
class Seat:
    """How a protein is placed in or on a membrane.

    Parameters
    ----------
    peripheral
        Whether its lowest point sits on the membrane's face; otherwise its pivot lies on the mid-plane.
    side
        Direction of its +z axis: ``"outside"``, ``"inside"``, or ``"either"`` at random.
    offset_a
        Shift along its +z axis, angstrom.
    """

    peripheral: bool = False
    side: str = "outside"
    offset_a: float = 0.0

    def __post_init__(self) -> None:
        if self.side not in _SIDES:
            raise InputError(f"A membrane protein points {', '.join(_SIDES)}, not {self.side!r}.")


def seated(
    surfaces: Surfaces, solids: Sequence[Solid], seat: Seat, rng: np.random.Generator
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Draw a pose in a membrane for each solid, at a random point with a random spin.

    Returns
    -------
    ndarray, ndarray, ndarray
        Positions (n, 3) in angstrom, quaternions (n, 4), and rows of ``surfaces`` (n,).
    """
    row = rng.integers(len(surfaces), size=len(solids))
    flipped = _SIDES[seat.side]
    normal = surfaces.normal[row] * np.where(rng.random(len(row)) < flipped, -1.0, 1.0)[:, None]
    quaternion = multiply(towards(normal), spins(rng, _UP, len(row)))
    rise = np.full(len(row), seat.offset_a)
    if seat.peripheral:
        rise += surfaces.half_thickness_a[row] - np.array([float(s.fill[:, 0].min()) for s in solids])
    return surfaces.point[row] + normal * rise[:, None], quaternion, row


def enclose(
    occupancy: Occupancy,
    membranes: Sequence[Membrane],
    points: Sequence[tuple[ArrayLike, ArrayLike] | None] = (),
) -> Regions:
    """Take the cells of membranes, and find the regions that they enclose and the points for their proteins.

    A cell belongs to a membrane if its centre is at most half the membrane's thickness, plus the length of the heads,
    from the mid-plane.

    Parameters
    ----------
    occupancy
        The grid, which gains the membranes' cells.
    membranes
        The membranes.
    points
        For each membrane its surface points and outward normals, or ``None`` for a membrane without proteins. Empty: no
        membrane takes proteins.

    Raises
    ------
    InputError
        The numbers of membranes and of entries in ``points`` differ.
    """
    if len(points) not in (0, len(membranes)):
        raise InputError(f"There are {len(membranes)} membranes and {len(points)} sets of surface points.")
    if not membranes:
        return Regions()
    inside = np.zeros(occupancy.shape, bool)
    surfaces = []
    for number, membrane in enumerate(membranes):
        owner = occupancy.new_owner()
        half = membrane.thickness / 2 + HEAD
        wall = _mark(occupancy, membrane, half, inside)
        occupancy.take_mask(wall, owner)
        if points and (at := points[number]) is not None:
            surfaces.append(Surfaces.of(*at, owner, membrane.instance, half))
    inside &= occupancy.owner == 0
    standing = Surfaces.joined(surfaces).within(occupancy) if surfaces else None
    return Regions(inside, standing if standing is not None and len(standing) else None)


def _mark(occupancy: Occupancy, membrane: Membrane, half: float, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mask of the membrane's cells; the cells that it encloses are added to ``inside``."""
    wall = np.zeros(occupancy.shape, bool)
    window = []
    for low, edge, count, corner, n in zip(
        occupancy.low, occupancy.edge, occupancy.shape, membrane.corner, membrane.distance.shape, strict=True
    ):
        first = math.ceil((corner - low) / edge - 0.5)
        last = math.floor((corner + (n - 1) * membrane.spacing - low) / edge - 0.5)
        window.append(slice(max(0, first), max(0, min(count, last + 1))))
    z, y, x = window
    for layer in range(z.start, z.stop):
        centre = occupancy.centres(layer, (z, y, x))
        distance = distance_to(membrane, centre.reshape(-1, 3)).reshape(centre.shape[:2])
        wall[layer, y, x] = np.abs(distance) <= half
        inside[layer, y, x] |= distance < -half
    return wall
