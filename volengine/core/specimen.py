"""Specimens as tables: rigid templates, the placements of their copies, and closed membranes.

Positions are angstrom, z, y, x, in the frame of the volume, where voxel (0, 0, 0) has its centre at 0. A *template* is
a particle in its own frame, with its pivot at 0. A *placement* rotates a template and moves its pivot to a position.
Rotations are unit quaternions (w, x, y, z) that act on column vectors (x, y, z), as is usual in the field; arrays of
positions are z, y, x.

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
    """Rotation matrices of unit quaternions.

    Parameters
    ----------
    quaternion
        (n, 4) or (4,), w, x, y, z; of length 1.

    Returns
    -------
    (n, 3, 3) float64, acting on column vectors x, y, z.
    """
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
        Name of the structure that it was made from.
    classes
        Class names of its parts.
    point
        (n, 3) float32: positions relative to the pivot, angstrom, z, y, x.
    weight
        (n,) float32: integrated potential of each point, V A^3 (volt times cubic angstrom).
    part
        (n,) uint8: index into ``classes`` of the part that a point belongs to.
    displaced
        Cubic angstrom of solvent that a weight of 1 V A^3 displaces.
    solid
        Whether it has a sharp surface (gold). A voxel that it fills less than half of is then not labelled.
    atoms
        Number of atoms that its points stand for; 0 if it was not made of atoms.

    Raises
    ------
    InputError
        There are no points, or the columns differ in length.
    """

    name: str
    classes: tuple[str, ...]
    point: NDArray[np.float32]
    weight: NDArray[np.float32]
    part: NDArray[np.uint8]
    displaced: float
    solid: bool = False
    atoms: int = 0

    def __post_init__(self) -> None:
        if not len(self.point) == len(self.weight) == len(self.part):
            raise InputError(f"Template {self.name!r}: points, weights and parts are of different lengths.")
        if len(self.point) == 0:
            raise InputError(f"Template {self.name!r} has no points.")

    @property
    def radius(self) -> float:
        """Distance from the pivot to the farthest point, angstrom."""
        return float(np.sqrt((self.point.astype(float) ** 2).sum(1).max()))

    @property
    def total(self) -> float:
        """Integrated potential of all points, V A^3."""
        return float(self.weight.sum(dtype=float))


@dataclass(frozen=True, eq=False)
class Placements:
    """Positions and rotations of copies of templates, one row per copy.

    Parameters
    ----------
    template
        (n,) int32: index into the list of templates.
    instance
        (n,) int32: number of the object in the label volume, from 1; the units of one filament share it.
    position
        (n, 3) float64: position of the pivot, angstrom, z, y, x.
    quaternion
        (n, 4) float64: rotation as a unit quaternion w, x, y, z.
    group
        (n,) int32: number of the cluster, bundle, filament or membrane that a row belongs to; 0 for none.
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
        """Make a table without rows."""
        none = np.zeros(0, np.int32)
        return cls(none, none, np.zeros((0, 3)), np.zeros((0, 4)), none)

    @classmethod
    def joined(cls, parts: list[Placements]) -> Placements:
        """Concatenate the rows of several tables."""
        if not parts:
            return cls.empty()
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Placements:
        return Placements(*(getattr(self, f.name)[rows] for f in fields(self)))

    def to_table(self, prefix: str = "") -> Table:
        """Return the columns by name, each name with ``prefix`` before it."""
        return {prefix + f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_table(cls, table: Table, prefix: str = "") -> Placements:
        """Make a table from columns: the inverse of :meth:`to_table`."""
        return cls(*(table[prefix + f.name] for f in fields(cls)))


@dataclass(frozen=True, eq=False)
class Membrane:
    """A closed surface: the mid-plane of a bilayer, as signed distance on a coarse grid.

    Parameters
    ----------
    name, instance
        Class name, and number of the object in the label volume.
    corner
        Position of the grid's first point, angstrom, z, y, x.
    spacing
        Distance between neighbouring grid points, angstrom.
    distance
        (z, y, x) float32: signed distance to the mid-plane, angstrom, negative inside. It is exact near the surface;
        far from it, it is only known to be at least 60 A in size.
    thickness
        Distance between the head groups of the two leaflets, angstrom.
    """

    name: str
    instance: int
    corner: tuple[float, float, float]
    spacing: float
    distance: NDArray[np.float32]
    thickness: float = 38.0
