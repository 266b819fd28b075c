"""Specimens as tables: rigid templates, where copies of them lie, and closed surfaces.

Positions are angstrom, z, y, x, in the frame of the volume: voxel (0, 0, 0) has its centre at 0. A *template* is a
particle in its own frame, about a pivot at 0. A *placement* turns a template and moves its pivot to a position.
Rotations are unit quaternions (w, x, y, z) that act on column vectors (x, y, z), as everywhere in the field; arrays of
positions are z, y, x, as everywhere here.

>>> import numpy as np
>>> quarter = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]  # about z: x becomes y
>>> np.allclose(rotation_matrix(quarter)[0] @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
True
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.block import Table
from volengine.core.errors import InputError

Floats = NDArray[np.float64]


def rotation_matrix(quaternion: ArrayLike) -> Floats:
    """Rotation matrices (n, 3, 3) that act on column vectors x, y, z, of unit quaternions (n, 4) w, x, y, z."""
    w, x, y, z = np.asarray(quaternion, float).reshape(-1, 4).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


@dataclass(frozen=True, eq=False)
class Template:
    """A rigid particle as weighted points.

    Parameters
    ----------
    name
        Of the structure it was made from.
    classes
        Class names of its parts.
    point
        (n, 3) float32, angstrom, z, y, x, about the pivot.
    weight
        (n,) float32: integrated potential of each point, V A^3 (volt times cubic angstrom).
    part
        (n,) uint8: which of ``classes`` a point belongs to.
    displaced
        Cubic angstrom of solvent that a weight of 1 V A^3 displaces.
    solid
        It has a sharp surface (gold): what it fills less than half of is not labelled as it.
    """

    name: str
    classes: tuple[str, ...]
    point: NDArray[np.float32]
    weight: NDArray[np.float32]
    part: NDArray[np.uint8]
    displaced: float
    solid: bool = False

    def __post_init__(self) -> None:
        if not len(self.point) == len(self.weight) == len(self.part):
            raise InputError(f"Template {self.name!r}: points, weights and parts are of different lengths.")
        if len(self.point) == 0:
            raise InputError(f"Template {self.name!r} has no points.")

    @property
    def radius(self) -> float:
        """Angstrom from the pivot to the farthest point."""
        return float(np.sqrt((self.point.astype(float) ** 2).sum(1).max()))

    @property
    def total(self) -> float:
        """Integrated potential, V A^3."""
        return float(self.weight.sum(dtype=float))


@dataclass(frozen=True, eq=False)
class Placements:
    """Where copies of templates lie; one row each.

    Parameters
    ----------
    template
        (n,) int32: index into the list of templates.
    instance
        (n,) int32, from 1: the object's number in the label volume; units of one filament share it.
    position
        (n, 3) float64: of the pivot, angstrom, z, y, x.
    quaternion
        (n, 4) float64: w, x, y, z.
    group
        (n,) int32: the cluster, bundle, filament or membrane that a row belongs to; 0 for none.
    """

    template: NDArray[np.int32]
    instance: NDArray[np.int32]
    position: Floats
    quaternion: Floats
    group: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.template)

    @classmethod
    def empty(cls) -> Placements:
        """No row."""
        none = np.zeros(0, np.int32)
        return cls(none, none, np.zeros((0, 3)), np.zeros((0, 4)), none)

    @classmethod
    def joined(cls, parts: list[Placements]) -> Placements:
        """The rows of several tables, one below the other."""
        if not parts:
            return cls.empty()
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Placements:
        return Placements(*(getattr(self, f.name)[rows] for f in fields(self)))

    def to_table(self, prefix: str = "") -> Table:
        """Columns by name."""
        return {prefix + f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_table(cls, table: Table, prefix: str = "") -> Placements:
        """The inverse of :meth:`to_table`."""
        return cls(*(table[prefix + f.name] for f in fields(cls)))


@dataclass(frozen=True, eq=False)
class Membrane:
    """A closed surface: the mid-plane of a bilayer, as signed distance on a coarse grid.

    Parameters
    ----------
    name, instance
        Class name, and the object's number in the label volume.
    corner
        Position of the grid's first point, angstrom, z, y, x.
    spacing
        Of the grid, angstrom.
    distance
        (z, y, x) float32, angstrom: negative inside. Exact near the surface; far from it at least 60 A large.
    thickness
        Angstrom from head group to head group.
    """

    name: str
    instance: int
    corner: tuple[float, float, float]
    spacing: float
    distance: NDArray[np.float32]
    thickness: float = 38.0
