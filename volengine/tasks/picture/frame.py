"""The rectangle of a volume that a slice shows, and its way to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.volume import Vector3, Volume

Floats = NDArray[np.float64]

NEAR = 1e-6
"""Faces that are nearer to each other than this, in voxels, are the same; sizes of voxels are rounded."""


@dataclass(frozen=True)
class Frame:
    """One slice of a volume in a picture.

    Parameters
    ----------
    axis
        The axis to which it is perpendicular, 0, 1, 2 for z, y, x.
    index
        Number of the slice, voxels of the volume.
    box
        The part of the volume that is shown; along ``axis`` it is not used.
    voxel_size
        Angstrom, z, y, x.
    angstrom_per_pixel
        Width of a pixel.
    """

    axis: int
    index: int
    box: Box
    voxel_size: tuple[float, float, float]
    angstrom_per_pixel: float

    @property
    def across(self) -> tuple[int, int]:
        """The axes that go down and to the right."""
        down, right = (a for a in range(3) if a != self.axis)
        return down, right

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width, pixels."""
        down, right = (
            max(1, round(self.box.shape[a] * self.voxel_size[a] / self.angstrom_per_pixel)) for a in self.across
        )
        return down, right

    @property
    def place(self) -> float:
        """Place of the slice along its axis, angstrom from the centre of the volume's first voxel."""
        return self.index * self.voxel_size[self.axis]

    def to_pixels(self, places: Floats) -> Floats:
        """Pixels (…, 2), down and right, of places (…, 3), angstrom from the centre of the volume's first voxel.

        The faces of the part are those of the raster: its first voxel begins half a voxel before its centre, and the
        first pixel half a pixel before its own.
        """
        found = []
        for axis, pixels in zip(self.across, self.pixels, strict=True):
            step, start = self.voxel_size[axis], self.box.start[axis]
            share = (places[..., axis] / step + 0.5 - start) / self.box.shape[axis]
            found.append(share * pixels - 0.5)
        return np.stack(found, axis=-1)

    def bounds_in(self, volume: Volume, offset: Vector3 | None, axis: int) -> tuple[float, float]:
        """Where the frame begins and ends along an axis in a volume, in its voxels from its face.

        Parameters
        ----------
        volume
            The frame's volume, one of its levels, or another one.
        offset
            Place of the centre of its first voxel, angstrom; ``None``: its faces are those of the frame's volume.
        axis
            0, 1, 2 for z, y, x.
        """
        mine, other = self.voxel_size[axis], volume.voxel_size[axis]
        away = (other - mine) / 2 if offset is None else offset[axis]  # from centre to centre
        begin, end = self.box.start[axis], self.box.stop[axis]
        if axis == self.axis:
            begin, end = self.index, self.index + 1
        low, high = (((n - 0.5) * mine - away) / other + 0.5 for n in (begin, end))
        return low, high

    def box_in(self, volume: Volume, offset: Vector3 | None = None, count: int = 1) -> Box | None:
        """The voxels of a volume that cover the frame; ``None`` if it has none there.

        Parameters
        ----------
        volume, offset
            As of :meth:`bounds_in`.
        count
            Number of slices of the frame's volume, around its own, each of which is in one voxel.
        """
        starts, stops = [], []
        for axis, size in enumerate(volume.shape):
            low, high = self.bounds_in(volume, offset, axis)
            if axis == self.axis:
                ratio, middle = high - low, (low + high) / 2
                first = int(np.floor(middle - (count - 1) // 2 * ratio + NEAR))
                last = int(np.floor(middle + count // 2 * ratio + NEAR))
            else:
                first, last = int(np.floor(low + NEAR)), int(np.ceil(high - NEAR)) - 1
            first, last = max(first, 0), min(last, size - 1)
            if first > last:
                return None
            starts.append(first)
            stops.append(last + 1)
        return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))
