"""Voxels of volumes at, and around, picks: single values, and masks block by block; only what is needed is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.io.cached import ChunkCache
from volengine.io.names import Source
from volengine.io.open import open_source
from volengine.ops.near_voxels import NearestVoxels
from volengine.ops.stored import as_prediction, checked_span

CACHE_BYTES = 512 << 20
"""Chunks of a volume that are kept at a time."""

SIDE = 96
"""Voxels along each side of the blocks in which masks are searched, about; they consist of whole chunks."""

LARGEST = 1 << 23
"""Voxels of a block, at most, if chunks are large."""


def values_at(
    volume: Volume, index: NDArray[np.float64], kept: int = CACHE_BYTES
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values of single voxels, chunk by chunk.

    Parameters
    ----------
    volume
        The volume.
    index
        (n, 3) indices, z, y, x.
    kept
        Bytes of chunks that are kept.

    Returns
    -------
    (n,) values, NaN beyond the faces of the volume; and (n,) which lie inside.
    """
    there = np.asarray(((index >= 0) & (index < volume.shape)).all(axis=1))
    at = np.where(there[:, None], index, 0).astype(np.int64)
    value = np.full(len(at), np.nan)
    source = ChunkCache(kept).over(open_source(volume), volume)
    order = np.lexsort((at // (volume.chunks or volume.shape))[:, ::-1].T)
    for row in order[there[order]]:
        start = index3(at[row].tolist())
        value[row] = float(source.read(Box(start, index3(v + 1 for v in start)))[0, 0, 0])
    return value, there


@dataclass
class Voxels:
    """A volume as labels or as probabilities, read box by box.

    Parameters
    ----------
    volume
        The volume.
    where
        How messages name it.
    threshold
        Of a prediction: voxels above it belong to the feature. ``None``: the volume holds labels.
    labels
        The labels that count; none: all but 0.
    is_mask
        Of a prediction of whole numbers: whether it is a mask of 0 and 1, which only all of its values say
        (:mod:`volengine.tasks.common.readings`).
    scale
        Of a prediction: its values are divided by it.
    kept
        Bytes of chunks that are kept.
    """

    volume: Volume
    where: str
    threshold: float | None = None
    labels: tuple[int, ...] = ()
    is_mask: bool = False
    scale: float | None = None
    kept: int = CACHE_BYTES
    _source: Source = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._source = ChunkCache(self.kept).over(open_source(self.volume), self.volume)
        if self.threshold is None and self.volume.kind == "probability":
            raise InputError(f"{self.where} is a prediction, and no label volume; give it with --probability.")

    @property
    def side(self) -> Index3:
        """Voxels of a block, z, y, x."""
        return block_side(self.volume)

    def values(self, box: Box) -> Array:
        """Labels, or probabilities from 0 to 1, in a box.

        Raises
        ------
        InputError
            A label is no whole number; a value is no probability.
        """
        values = self._source.read(box)
        if self.threshold is None:
            if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
                raise InputError(
                    f"{self.where}: in voxels {box.start} to {box.stop} there are values that are no whole numbers; "
                    "labels are. A prediction is given with --probability."
                )
            return values
        prediction = as_prediction(values, mask=self.is_mask, scale=self.scale)
        checked_span(prediction, box, self.where, self.scale)
        return prediction if prediction.dtype.kind == "f" else prediction / 255

    def mask(self, box: Box) -> NDArray[np.bool_]:
        """Which voxels of a box belong to the feature."""
        values = self.values(box)
        if self.threshold is not None:
            return np.asarray(values > self.threshold)
        return np.isin(values, self.labels) if self.labels else np.asarray(values != 0)

    def at(self, index: NDArray[np.float64]) -> NDArray[Any]:
        """(n,) labels (int64, 0 beyond the faces of the volume), or probabilities (NaN there), of single voxels."""
        labels = self.threshold is None
        found = np.zeros(len(index), np.int64) if labels else np.full(len(index), np.nan)
        inside = np.asarray(((index >= 0) & (index < self.volume.shape)).all(axis=1), bool)
        at = np.where(inside[:, None], index, 0).astype(np.int64)
        order = np.lexsort((at // (self.volume.chunks or self.volume.shape))[:, ::-1].T)
        for row in order[inside[order]]:
            start = index3(at[row].tolist())
            found[row] = self.values(Box(start, index3(v + 1 for v in start)))[0, 0, 0]
        return found

    def search(self, near: NearestVoxels, *, inverse: bool = False) -> None:
        """Find the nearest voxels of the mask (or, ``inverse``, of what is not of it); only needed blocks are read."""
        for core in near.blocks(self.side):
            if near.wants(core).any():
                box = core.grow((1, 1, 1)).clip(self.volume.shape)
                mask = self.mask(box)
                near.add(~mask if inverse else mask, box, core)


def block_side(volume: Volume) -> Index3:
    """Voxels of a block of about :data:`SIDE` per side, z, y, x: whole chunks, or the parts of very large ones."""
    chunks = volume.chunks or (SIDE,) * 3
    side = [c * max(1, SIDE // c) for c in chunks]
    side = [min(s, n) for s, n in zip(side, volume.shape, strict=True)]
    while np.prod(side) > LARGEST:
        axis = int(np.argmax(side))
        side[axis] = -(-side[axis] // 2)
    return index3(side)
