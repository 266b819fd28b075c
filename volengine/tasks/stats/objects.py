"""The objects that ``stats`` counts: those of one class, of one source, of one tomogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM
from volengine.tasks.common.lying import Lattice

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

NM3_PER_UM3 = 1e9

Part = tuple[tuple[float, float, float], tuple[float, float, float]]
"""A part of a tomogram: the places where its voxels begin and end, nm from the first voxel's, z, y, x."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one class in one tomogram, in the order z, y, x of their positions.

    Parameters
    ----------
    where
        The source of the objects, for messages and tables.
    position_nm
        (n, 3) float64, z, y, x, in nanometres from the centre of the tomogram's first voxel.
    voxels
        (n,) int64: number of voxels; -1 if it is not known.
    volume_nm3
        (n,) float64; NaN if it is not known.
    islands, island_voxels
        Number of objects that were too small, and of their voxels.
    euler
        (n, 3) float64: rot, tilt, psi in degrees; ``None`` if the source has no orientations.
    """

    where: str
    position_nm: Floats
    voxels: Int64
    volume_nm3: Floats
    islands: int = 0
    island_voxels: int = 0
    euler: Floats | None = None

    def __post_init__(self) -> None:
        turned = () if self.euler is None else tuple(self.euler.T)
        order = np.lexsort((*turned, self.voxels, *self.position_nm.T[::-1]))
        for name in ("position_nm", "voxels", "volume_nm3", "euler"):
            column = getattr(self, name)
            object.__setattr__(self, name, None if column is None else column[order])

    def __len__(self) -> int:
        return len(self.position_nm)

    @classmethod
    def of_picks(cls, picks: Picks, where: str) -> Objects:
        """The picks as objects, with their sizes if the table has them."""
        n = len(picks)
        voxel_nm3 = float(np.prod(picks.voxel_size)) / NM_TO_ANGSTROM**3
        voxels = np.full(n, -1, np.int64) if picks.size_vox is None else picks.size_vox
        volume = np.where(voxels >= 0, voxels * voxel_nm3, np.nan)
        if picks.volume_a3 is not None:
            volume = picks.volume_a3 / NM_TO_ANGSTROM**3
        return cls(where, picks.place / NM_TO_ANGSTROM, voxels, volume, euler=picks.euler)


@dataclass(frozen=True, eq=False)
class Tomogram:
    """The objects of one tomogram.

    Parameters
    ----------
    name
        The tomogram's name.
    extent_nm
        Its sides in nanometres, z, y, x; ``None`` if no source states them.
    classes
        Objects by class.
    part_nm
        The part of it in which objects were counted; ``None``: all of it.
    """

    name: str
    extent_nm: tuple[float, float, float] | None
    classes: Mapping[str, Objects]
    part_nm: Part | None = None

    @property
    def volume_um3(self) -> float:
        """Volume in which objects were counted, in cubic micrometres; NaN if it is not known."""
        sides = self.extent_nm if self.part_nm is None else np.subtract(*self.part_nm[::-1])
        return float("nan") if sides is None else float(np.prod(sides)) / NM3_PER_UM3


@dataclass(frozen=True, eq=False)
class SourceObjects:
    """The objects of one tomogram in one source.

    Parameters
    ----------
    tomogram
        The tomogram's name.
    where
        The source: the path of a table, or the name of a store and the array in it.
    extent_nm
        The tomogram's sides in nanometres, z, y, x; ``None`` if the source does not state them.
    slack_nm
        Largest distance of objects outside of the extent, and largest difference between extents: two voxels.
    classes
        Objects by class.
    box
        The source's name for messages, and the voxels that it states.
    part_nm
        The part of the tomogram in which objects were counted; ``None``: all of it.
    """

    tomogram: str
    where: str
    extent_nm: tuple[float, float, float] | None
    slack_nm: float
    classes: Mapping[str, Objects]
    box: Lattice
    part_nm: Part | None = None


def moved(source: SourceObjects, offset_nm: Sequence[float]) -> SourceObjects:
    """The objects of a source, with positions that are shifted by an offset, nm, z, y, x."""
    if not any(offset_nm):
        return source
    shift = np.asarray(offset_nm)
    classes = {k: replace(one, position_nm=one.position_nm + shift) for k, one in source.classes.items()}
    return replace(source, classes=classes)


def extent_of(shape: Sequence[int], voxel_size: Sequence[float]) -> tuple[float, float, float]:
    """Sides of a volume in nanometres, z, y, x."""
    z, y, x = (n * v / NM_TO_ANGSTROM for n, v in zip(shape, voxel_size, strict=True))
    return z, y, x


def part_of(box: Box, voxel_size: Sequence[float]) -> Part:
    """The places of a box of voxels, in nanometres: index * voxel size of its start and of its stop."""
    return extent_of(box.start, voxel_size), extent_of(box.stop, voxel_size)
