"""Slices of volumes as rasters of a frame's pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.volume import Volume
from volengine.io.open import OpenVolume, open_source
from volengine.tasks.picture.frame import Frame

SLICES_AT_ONCE = 32
"""Slices that are read at once for a mean."""


def level_for(volume: OpenVolume, frame: Frame) -> OpenVolume:
    """The coarsest level of a volume whose voxels in the frame are not larger than the frame's pixels."""
    found = volume
    for number in range(1, len(volume.levels)):
        level = volume.at_level(number)
        if any(level.voxel_size[a] > frame.angstrom_per_pixel * (1 + 1e-3) for a in frame.across):
            break
        found = level
    return found


def plane_of(volume: Volume, frame: Frame, count: int = 1) -> NDArray[np.float32]:
    """The frame's slice of a volume, or the mean of ``count`` slices around it, (y, x) float32; voxels as stored."""
    box = frame.box_in(volume, count)
    total: NDArray[np.float64] | None = None
    depth = box.shape[frame.axis]
    source = open_source(volume)
    for first in range(0, depth, SLICES_AT_ONCE):
        start, stop = list(box.start), list(box.stop)
        start[frame.axis] += first
        stop[frame.axis] = min(stop[frame.axis], start[frame.axis] + SLICES_AT_ONCE)
        part = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        some = source.read(part).sum(axis=frame.axis, dtype=np.float64)
        total = some if total is None else total + some
    assert total is not None
    return (total / depth).astype(np.float32)


def labels_of(volume: Volume, frame: Frame) -> NDArray[Any]:
    """The frame's slice of labels, (y, x), as stored."""
    labels: NDArray[Any] = np.take(open_source(volume).read(frame.box_in(volume)), 0, axis=frame.axis)
    return labels


def fitted(plane: NDArray[Any], frame: Frame, volume: Volume) -> NDArray[Any]:
    """A plane that :func:`plane_of` or :func:`labels_of` has read, as the frame's pixels.

    Numbers of the type float32 are averaged where pixels are larger than voxels; everything else is the nearest voxel.
    """
    from PIL import Image

    height, width = frame.pixels
    box = frame.box_in(volume)
    bounds = []  # of the frame in the plane: a level's voxels may reach beyond it
    for axis in frame.across:
        ratio = frame.voxel_size[axis] / volume.voxel_size[axis]
        low, high = frame.box.start[axis] * ratio, frame.box.stop[axis] * ratio
        size = box.shape[axis]
        bounds.append((max(0.0, low - box.start[axis]), min(float(size), high - box.start[axis])))
    (top, bottom), (left, right) = bounds
    if plane.dtype == np.float32:
        means = Image.Resampling.BOX  # of the voxels in a pixel; where voxels are larger, the nearest one
        small = Image.fromarray(plane).resize((width, height), means, box=(left, top, right, bottom))
        return np.asarray(small, np.float32)
    rows = np.clip((top + (np.arange(height) + 0.5) * (bottom - top) / height).astype(int), 0, plane.shape[0] - 1)
    columns = np.clip((left + (np.arange(width) + 0.5) * (right - left) / width).astype(int), 0, plane.shape[1] - 1)
    return plane[np.ix_(rows, columns)]
