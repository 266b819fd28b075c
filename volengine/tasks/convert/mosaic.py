"""What ``convert --montage`` makes one store of: pieces of one picture or volume, and where each of them lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.volume import Vector3, Volume
from volengine.io.montage.pieces import Montage
from volengine.ops.stitch import boxes_array, uncovered


@dataclass(frozen=True)
class Tile:
    """A piece: where its voxels are read, and where they are put.

    Parameters
    ----------
    volume
        The volume that holds it.
    first
        Its first voxel in that volume.
    box
        The box of the mosaic that it covers.
    """

    volume: Volume
    first: Index3
    box: Box

    @property
    def corner(self) -> Index3:
        """The first voxel of the mosaic, in voxels of the volume."""
        return index3(f - b for f, b in zip(self.first, self.box.start, strict=True))


@dataclass(frozen=True)
class Mosaic:
    """Pieces of one picture or volume.

    Parameters
    ----------
    source
        A volume that stands for what is read: the stack of a montage, the list of tiles.
    name, what
        Name of the store, and what it is for messages.
    tiles
        The pieces, in the order in which they are added.
    shape
        Shape of the mosaic, voxels.
    origin
        Position of its first voxel, angstrom.
    fill
        Value of voxels that no piece covers; ``None`` if unknown.
    facts
        Facts for the store's attributes.
    notes
        Lines for the user.
    """

    source: Volume
    name: str
    what: str
    tiles: tuple[Tile, ...]
    shape: Index3
    origin: Vector3
    fill: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def empty_vox(self) -> int:
        """Return how many voxels no piece covers, where the coordinates put them."""
        return uncovered(boxes_array([tile.box for tile in self.tiles]), self.shape)

    def like(self) -> Volume:
        """Return a volume with the grid, name and type of the mosaic."""
        return Volume(
            url=self.source.url,
            shape=self.shape,
            dtype=self.source.dtype,
            voxel_size=self.source.voxel_size,
            origin=self.origin,
            kind=self.source.kind,
            name=self.name,
        )

    def fill_value(self, *, moving: bool) -> tuple[float, int]:
        """Return the value of voxels that no piece covers, and how many there are.

        Parameters
        ----------
        moving
            Whether pieces may be moved, so that more may be left empty.

        Raises
        ------
        InputError
            A value is needed, and unknown; or it is none of the voxels' type.
        """
        empty = self.empty_vox()
        if self.fill is None:
            if empty or moving:
                share = empty / math.prod(self.shape)
                raise InputError(
                    f"{self.what}: {empty} of {math.prod(self.shape)} voxels ({share:.2%}) are in no piece, or may be "
                    "when pieces are moved, and no mean is stated that they could get. Say which value they get: "
                    "--montage-fill 0, for example."
                )
            return 0.0, 0
        dtype = np.dtype(self.source.dtype)
        value = float(self.fill)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            if not (np.isfinite(value) and info.min <= value <= info.max):
                raise InputError(f"--montage-fill {value:g} is no value of {dtype.name} ({info.min} to {info.max}).")
            value = float(np.rint(value))
        return value, empty


def mosaic_of(montage: Montage, section: int, volume: Volume, fill: float | None) -> Mosaic:
    """Return a section of a montage.

    All sections have the frame of the whole montage, so that they lie on each other.

    Parameters
    ----------
    montage
        The montage.
    section
        Number of the section.
    volume
        The stack of its pieces.
    fill
        Value of voxels that no piece covers; default: the mean that the header states, as in blendmont.
    """
    frame = montage.frame()
    height, width = montage.size
    tiles, listed = [], []
    for piece in montage.of_section(section):
        start = index3((0, piece.y - frame.start[1], piece.x - frame.start[2]))
        box = Box(start, (1, start[1] + height, start[2] + width))
        tiles.append(Tile(volume, (piece.index, 0, 0), box))
        listed.append([piece.index, piece.y, piece.x])
    z, y, x = (o + n * v for o, n, v in zip(volume.origin, frame.start, volume.voxel_size, strict=True))
    angle = montage.angle_of(section)
    facts: dict[str, Any] = {"section": section, "coordinates": montage.source, "pieces": listed}
    if angle is not None:
        facts["tilt_angle_deg"] = angle
    several = len(montage.sections) > 1
    return Mosaic(
        source=volume,
        name=f"{volume.name}_{section:03d}" if several else volume.name,
        what=f"{montage.path}, section {section}",
        tiles=tuple(tiles),
        shape=frame.shape,
        origin=(z, y, x),
        fill=stated_mean(volume) if fill is None else fill,
        facts={"montage": facts},
        notes=(f"section {section}: {len(tiles)} pieces of {height} x {width} voxels by {montage.source}",),
    )


def stated_mean(volume: Volume) -> float | None:
    """Return the mean that an MRC header states, if it lies between a minimum and a maximum that differ."""
    header = volume.facts.get("mrc", {})
    low, mean, high = (header.get(key) for key in ("minimum", "mean", "maximum"))
    if low is None or mean is None or high is None or not low <= mean <= high or low == high:
        return None
    return float(mean)
