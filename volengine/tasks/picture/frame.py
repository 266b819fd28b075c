"""The rectangle of a volume that a slice shows, and its way to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.volume import Volume

Floats = NDArray[np.float64]


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

    def box_in(self, volume: Volume, count: int = 1) -> Box:
        """The voxels of a volume that cover the frame: the volume itself, one of its levels, or one of the same extent.

        Parameters
        ----------
        volume
            Its faces are those of the frame's volume.
        count
            Number of slices of the frame's volume, around its own.
        """
        low, high = self.index - (count - 1) // 2, self.index + count // 2
        starts, stops = [], []
        for axis in range(3):
            ratio = self.voxel_size[axis] / volume.voxel_size[axis]
            size = volume.shape[axis]
            if axis == self.axis:
                first, last = (int((n + 0.5) * ratio) for n in (low, high))
                first, last = max(0, min(first, size - 1)), max(0, min(last, size - 1))
                starts.append(first)
                stops.append(last + 1)
            else:
                first = int(self.box.start[axis] * ratio + 1e-6)
                starts.append(min(first, size - 1))
                stops.append(max(min(size, int(np.ceil(self.box.stop[axis] * ratio - 1e-6))), starts[-1] + 1))
        return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))
