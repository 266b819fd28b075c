"""Facts that the planner of ``surface`` and its kernels share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from volengine.core.recipe import Recipe
from volengine.core.volume import Vector3
from volengine.ops.surfaces.components import Seen
from volengine.ops.surfaces.sides import Side

VOXELS_PER_OBJECT = 64
"""Memory for tables is planned for one object in so many voxels; the engine refuses to read more than fits."""

ROW = ("number", "vertex", "vertices", "face", "faces")
"""Columns of the table of a block's pieces: the surface, and where its vertices and faces are in the block's file."""

MEASURED = (
    *("number", "part", "vertices", "faces", "area_nm2", "volume_nm3", "closed"),
    *("islands", "border_loops", "genus", "object_voxels"),
)
"""Columns of the table of finished surfaces."""

MOST_CELLS = 2**19
"""Most cells in which the voxels of a label are gathered, to whose side normals point."""

VERTEX_BYTES, REMESHED_BYTES = 1000, 4200
"""Bytes that a unit needs for a vertex of a surface that it merges and smooths, and remeshes; see the tests."""


@dataclass(frozen=True)
class Objects(Recipe):
    """How the voxels of a volume become objects, as parameters of kernels.

    Parameters
    ----------
    seen
        What the volume is taken for.
    where
        Name of the volume, for messages.
    level
        The threshold, in values of the prediction.
    scale
        Number by which values are divided.
    ids
        The class ids that count; none: there must be one number only.
    """

    seen: Seen
    where: str
    level: float = 0.5
    scale: float | None = None
    ids: tuple[int, ...] = ()


TERRACES_VOX, UNEVEN = 8.0, 1.01
"""Steps of voxels make waves up to so many voxels; voxels whose sides differ by less are cubes."""


@dataclass(frozen=True)
class Finish(Recipe):
    """How the mesh of an object is finished, as parameters of a kernel; lengths in angstrom.

    Parameters
    ----------
    voxel_size
        Angstrom, z, y, x.
    origin
        Of the tomogram, angstrom: the files hold positions.
    smooth
        Waves shorter than this are smoothed.
    vertex_area
        Wanted area of a vertex, square angstrom.
    side, towards, max_thickness
        Which faces of membranes, to which place they point, how thick membranes are at most.
    split, touch
        Whether membranes that touch are divided, and how wide the place is at most.
    """

    voxel_size: tuple[float, float, float]
    origin: tuple[float, float, float]
    smooth: float = 0.0
    vertex_area: float | None = None
    side: Side = "both"
    towards: tuple[float, float, float] | None = None
    max_thickness: float = 150.0
    split: bool = False
    touch: float = 500.0

    @property
    def terraces(self) -> float:
        """Waves shorter than this are steps of voxels that are longer in one direction; 0: none are."""
        longest = max(self.voxel_size)
        return TERRACES_VOX * longest if longest > UNEVEN * min(self.voxel_size) else 0.0

    @property
    def voxel(self) -> Vector3:
        """The voxel size."""
        return self.voxel_size

    def bytes_for(self, vertices: int) -> int:
        """Bytes that a surface of so many vertices needs while it is finished."""
        more = self.vertex_area is not None or self.side != "both" or self.split
        return (REMESHED_BYTES if more else VERTEX_BYTES) * vertices


def mesh_name(number: int, part: int) -> str:
    """Name of the file in the scratch folder of a surface, or of a part of it.

    >>> mesh_name(7, 0)
    '0007-000.ply'
    """
    return f"{number:04d}-{part:03d}.ply"


def share_of(rank: Any, shares: int) -> Any:
    """The unit that finishes a surface, by its place in the order of sizes: large ones go to different units."""
    return np.asarray(rank) % shares


def shares_for(voxels: int) -> int:
    """Number of units that finish surfaces, for a volume of so many voxels."""
    return int(min(256, max(1, voxels // 2**21)))


def levels_in(tables: Mapping[str, Any]) -> list[str]:
    """The names of the inputs ``level-1``, ``level-2`` ... in this order."""
    return sorted((n for n in tables if n.startswith("level-")), key=lambda n: int(n.rpartition("-")[2]))
