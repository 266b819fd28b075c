"""Targets of a regression: volumes of numbers that the network learns to predict, such as the ideal tomogram.

Like :class:`~volengine.tasks.train.labels.LabelFiles`, with numbers instead of labels: float32 arrays (features, z, y,
x), NaN where nothing is known. Input and target may also be the two halves of one tilt series (noise2noise: Lehtinen et
al., ICML 2018): their noise is independent, so the network can learn only the signal that they share.

>>> from volengine.io.open import open_volume
>>> volume = open_volume("TS_01.mrc")
>>> target = TargetFiles(("TS_01.ome.zarr",), volume, Box.of_shape(volume.shape), "volume")
>>> target.read(Box((0, 0, 0), (8, 8, 8))).dtype
dtype('float32')
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.model import TargetUnits
from volengine.core.volume import Volume
from volengine.io.cached import ChunkCache
from volengine.io.names import Source
from volengine.ops.blend import VALUE_LIMIT
from volengine.tasks.train.labels import open_beside
from volengine.tasks.train.samples import SCAN_SLAB


class TargetFiles:
    """Truth from volumes of numbers, one per feature.

    Parameters
    ----------
    paths
        Files or stores of the tomogram's shape; ``store.ome.zarr#labels/core`` names a group inside a store. NaN and
        infinity do not count.
    volume
        The tomogram.
    region
        The part of the volume from which statistics are computed.
    units
        ``volume``: (t - mean) / std with mean and standard deviation of the region; ``none``: unchanged.
    cache
        Cache of recently read chunks.

    Raises
    ------
    InputError
        The shape differs from the tomogram's; all numbers of the region are equal or missing; or, with ``none``, a
        number exceeds the range of a network's answers (±1023).
    """

    def __init__(
        self,
        paths: Sequence[str],
        volume: Volume,
        region: Box,
        units: TargetUnits = "volume",
        cache: ChunkCache | None = None,
    ):
        self._sources: list[Source] = []
        self._scales: list[tuple[float, float]] = []
        for path in paths:
            self._sources.append(open_beside(path, volume, cache))
            self._scales.append(_scale(self._sources[-1], region, units, path))

    def read(self, box: Box) -> NDArray[np.float32]:
        """Numbers (features, z, y, x), float32; NaN where nothing is known."""
        out = np.empty((len(self._sources), *box.shape), np.float32)
        for values, source, (mean, std) in zip(out, self._sources, self._scales, strict=True):
            np.subtract(source.read(box), mean, out=values, casting="unsafe", dtype=np.float32)
            values /= np.float32(std)
            values[~np.isfinite(values)] = np.nan
        return out


def _scale(source: Source, region: Box, units: TargetUnits, path: str) -> tuple[float, float]:
    """The number that is subtracted from a target, and the number that it is then divided by."""
    from volengine.ops.normalise import combine

    rows, low, high = [], np.inf, -np.inf
    for slab in region.slabs(SCAN_SLAB):
        for plane in source.read(slab):
            values = plane[np.isfinite(plane)].astype(np.float64)
            if values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
                rows.append([values.size, values.sum(), ((values - values.mean()) ** 2).sum()])
    if not low < high:
        what = "no number" if not rows else f"{low:g} everywhere"
        raise InputError(f"{path}: the target is {what} in the region that is used: nothing to learn from.")
    if units == "none":
        if max(-low, high) > VALUE_LIMIT:
            raise InputError(
                f"{path} holds numbers from {low:g} to {high:g}; answers are kept within ±{VALUE_LIMIT:g}. Train with "
                "--target-normalisation volume."
            )
        return 0.0, 1.0
    mean, std = combine([np.array([rows], np.float64)]).volume()
    return mean, std
