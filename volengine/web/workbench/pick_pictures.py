"""Pictures of picks for the grid: read chunk-wise where they are asked for, and kept as chunks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.io.cached import ChunkCache
from volengine.io.open import OpenVolume, open_source
from volengine.ops.pick_pictures import along_axes, eight_bits
from volengine.web.workbench.slices import axis_number

CACHE_BYTES = 128_000_000
MOST_SIDE, MOST_MEAN = 160, 31


class PickPictures:
    """Reads pictures; several threads may use it."""

    def __init__(self) -> None:
        self._cache = ChunkCache(CACHE_BYTES)

    def read(
        self,
        volume: OpenVolume,
        positions: NDArray[np.float64],
        span: tuple[float, float],
        *,
        axis: str,
        side: int,
        mean: int,
        turned: Sequence[NDArray[np.float64] | None] | None = None,
    ) -> NDArray[np.uint8]:
        """The pictures of some picks of one volume, (n, side, side).

        Parameters
        ----------
        volume
            The tomogram.
        positions
            (n, 3) voxels, z, y, x; the voxel nearest to a pick is in the middle, number ``side // 2``.
        span
            The values that are black and white.
        axis
            Across which axis; ``own``: that of each particle.
        side, mean
            Voxels of a side, and of how many slices the mean is taken.
        turned
            With ``own``: of each pick its axes x, y, z as columns, z, y, x; ``None`` for one without.

        Raises
        ------
        InputError
            There is no such axis, or a size is beyond what is shown.
        """
        if not (1 <= side <= MOST_SIDE and 1 <= mean <= MOST_MEAN and mean % 2):
            raise InputError(
                f"A picture has 1 to {MOST_SIDE} voxels a side, and an odd number of 1 to {MOST_MEAN} slices."
            )
        across = None if axis == "own" else axis_number(axis)
        source = self._cache.over(open_source(volume), volume)
        out = np.zeros((len(positions), side, side), np.uint8)
        chunks = np.asarray(volume.chunks or volume.shape)
        size = np.asarray(volume.voxel_size)
        for at in np.lexsort((np.rint(positions) // chunks)[:, ::-1].T).tolist():
            centre = np.rint(positions[at]).astype(np.int64)
            axes = None if across is not None or turned is None else turned[at]
            if across is None and axes is None:
                continue  # it has no axis of its own
            if axes is None:
                assert across is not None
                extent = np.full(3, side)
                extent[across] = mean
                start = centre - extent // 2
            else:
                step = size.min() / size
                extent = 2 * np.ceil(np.hypot(side, mean) * step + 1).astype(np.int64) + 1
                start = centre - extent // 2
            whole = Box(index3(start.tolist()), index3((start + extent).tolist()))
            box = whole.clip(volume.shape)
            if any(b <= a for a, b in zip(box.start, box.stop, strict=True)):
                continue
            values = source.read(box).astype(np.float64)
            if axes is not None:
                picture = along_axes(values, positions[at] - np.asarray(box.start), axes, side, mean, step)
                out[at] = eight_bits(picture, *span)
                continue
            assert across is not None
            flat = eight_bits(values.mean(axis=across), *span)
            rows, columns = (s for a, s in enumerate(box.slices_in(whole)) if a != across)
            out[at][rows, columns] = flat
        return out
