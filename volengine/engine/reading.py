"""Reading a box that may reach outside of the volume: the edge rule defines the voxels there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.engine.stage import EdgeRule
from volengine.io.names import Source


def source_indices(start: int, stop: int, size: int, edge: EdgeRule) -> NDArray[np.int64]:
    """Return, for each position in ``start .. stop``, the index in ``0 .. size`` from which its voxel is copied.

    ``reflect`` mirrors without repeating the border voxel, as often as needed; ``edge`` repeats the border voxel. With
    ``zero`` and ``clip`` positions outside get the nearest index; the caller sets them to 0 or cuts them off.
    """
    at = np.arange(start, stop)
    if edge == "reflect" and size > 1:
        period = 2 * (size - 1)
        return np.abs((at + (size - 1)) % period - (size - 1))
    return np.clip(at, 0, size - 1)


def read_box(source: Source, box: Box, edge: EdgeRule) -> NDArray[Any]:
    """Read a box that may reach outside of the volume; the edge rule defines the voxels there."""
    shape = source.shape
    inside = box.clip(shape)
    if inside == box:
        return source.read(box)
    wanted = [source_indices(a, b, n, edge) for a, b, n in zip(box.start, box.stop, shape, strict=True)]
    need = Box(index3(w.min() for w in wanted), index3(w.max() + 1 for w in wanted))
    data = source.read(need)
    local = [w - a for w, a in zip(wanted, need.start, strict=True)]
    for axis, at in enumerate(local):
        if not np.array_equal(at, np.arange(data.shape[axis])):
            data = np.take(data, at, axis=axis)
    if edge == "zero":
        data = np.array(data)
        for axis, (a, b, n) in enumerate(zip(box.start, box.stop, shape, strict=True)):
            view = np.moveaxis(data, axis, 0)
            view[: max(0, min(-a, b - a))] = 0
            view[max(0, n - a) :] = 0
    return data


def reached(region: Box, shape: Index3) -> Box:
    """Return a box around the voxels that are read; beyond a face these are mirrored, or copies of the nearest."""
    inside = region.clip(shape)
    if inside == region:
        return region
    ends = zip(inside.start, region.start, inside.stop, region.stop, strict=True)
    beyond = [max(a - b, d - c, 0) for a, b, c, d in ends]
    return region.grow(index3(n + 1 if n else 0 for n in beyond))
