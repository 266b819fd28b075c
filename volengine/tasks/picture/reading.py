"""Slices of volumes as rasters of a frame's pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.volume import Vector3, Volume
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


def raster_of(
    volume: OpenVolume, frame: Frame, offset: Vector3 | None = None, *, count: int = 1, nearest: bool = False
) -> NDArray[Any]:
    """A slice of a volume as the frame's pixels.

    Parameters
    ----------
    volume
        The volume; of a store the coarsest level is read that is fine enough.
    frame
        What is shown.
    offset
        Place of the centre of the volume's first voxel, angstrom; ``None``: its faces are those of the frame's volume.
    count
        The slice is the mean of so many around it.
    nearest
        Take the nearest voxel for each pixel, as stored.

    Returns
    -------
    (height, width): float32, of each pixel the mean of its voxels, or the nearest voxel where voxels are larger; with
    ``nearest`` of the volume's dtype. Pixels beyond the volume are 0.
    """
    level = level_for(volume, frame)
    if offset is not None:  # levels begin at the same face
        z, y, x = (at + (b - a) / 2 for at, a, b in zip(offset, volume.voxel_size, level.voxel_size, strict=True))
        offset = (z, y, x)
    out = np.zeros(frame.pixels, level.dtype if nearest else np.float32)
    box = frame.box_in(level, offset, 1 if nearest else count)
    if box is None:
        return out
    (rows, top, bottom), (columns, left, right) = (
        _span(frame, level, offset, axis, pixels) for axis, pixels in zip(frame.across, frame.pixels, strict=True)
    )
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return out
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    y, x = (box.start[axis] for axis in frame.across)
    at = (top - y, bottom - y, left - x, right - x)
    if nearest:
        out[rows, columns] = _nearest(np.take(open_source(level).read(box), 0, frame.axis), shape, at)
    else:
        out[rows, columns] = _averaged(_mean(level, box, frame.axis), shape, at)
    return out


def _mean(volume: Volume, box: Box, axis: int) -> NDArray[np.float32]:
    total: NDArray[np.float64] | None = None
    depth = box.shape[axis]
    source = open_source(volume)
    for first in range(0, depth, SLICES_AT_ONCE):
        start, stop = list(box.start), list(box.stop)
        start[axis] += first
        stop[axis] = min(stop[axis], start[axis] + SLICES_AT_ONCE)
        part = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        some = source.read(part).sum(axis=axis, dtype=np.float64)
        total = some if total is None else total + some
    assert total is not None
    return (total / depth).astype(np.float32)


def _span(frame: Frame, volume: Volume, offset: Vector3 | None, axis: int, pixels: int) -> tuple[slice, float, float]:
    """The pixels along an axis that lie in a volume, and where these begin and end in its voxels, from its face."""
    low, high = frame.bounds_in(volume, offset, axis)
    step, size = (high - low) / pixels, volume.shape[axis]
    if low > -1e-3 and high < size + 1e-3:
        return slice(0, pixels), max(low, 0.0), min(high, float(size))
    first = max(0, int(np.ceil(-low / step - 1e-6)))
    stop = min(pixels, int(np.floor((size - low) / step + 1e-6)))
    return slice(first, stop), max(low + first * step, 0.0), min(low + stop * step, float(size))


def _averaged(plane: NDArray[Any], shape: tuple[int, int], at: tuple[float, float, float, float]) -> NDArray[Any]:
    from PIL import Image

    (height, width), (top, bottom, left, right) = shape, at
    means = Image.Resampling.BOX  # of the voxels in a pixel; where voxels are larger, the nearest one
    return np.asarray(Image.fromarray(plane).resize((width, height), means, box=(left, top, right, bottom)), np.float32)


def _nearest(plane: NDArray[Any], shape: tuple[int, int], at: tuple[float, float, float, float]) -> NDArray[Any]:
    (height, width), (top, bottom, left, right) = shape, at
    rows = np.clip((top + (np.arange(height) + 0.5) * (bottom - top) / height).astype(int), 0, plane.shape[0] - 1)
    columns = np.clip((left + (np.arange(width) + 0.5) * (right - left) / width).astype(int), 0, plane.shape[1] - 1)
    return plane[np.ix_(rows, columns)]
