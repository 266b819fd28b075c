"""Slices of volumes for the page: read along any axis, as 16-bit numbers over a range that is that of all slices."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.tiling import AXES
from volengine.io.cached import ChunkCache
from volengine.io.names import Source
from volengine.io.open import OpenVolume, open_source
from volengine.ops.score_masks import probabilities
from volengine.ops.slice_values import filtered, sixteen_bits
from volengine.web.view.scene import contrast_of

CACHE_BYTES = 128_000_000
"""Of chunks that are kept, of all tomograms."""
MOST_SLICES = 31
"""Slices of which a mean can be shown."""

Span = tuple[float, float]


class Slices:
    """Reads slices; several threads may use it."""

    def __init__(self) -> None:
        self._cache = ChunkCache(CACHE_BYTES)
        self._contrasts: OrderedDict[str, Span] = OrderedDict()
        self._lock = threading.Lock()

    def contrast(self, volume: OpenVolume) -> Span:
        """The values that are black and white at first: the display range of the store, else percentiles."""
        key = f"{volume.where} {volume.identity}"
        with self._lock:
            if key in self._contrasts:
                return self._contrasts[key]
        low, high = contrast_of(volume)
        found = (low, high) if low < high else (high, low) if high < low else (low, low + 1.0)
        with self._lock:
            self._contrasts[key] = found
            while len(self._contrasts) > 1000:
                self._contrasts.popitem(last=False)
        return found

    def span(self, volume: OpenVolume, name: str = "none") -> Span:
        """The range that the 16 bits of a slice cover: all values of small integers, else three times the contrast.

        Parameters
        ----------
        volume
            The volume.
        name
            The filter: of gradients the range begins at 0.
        """
        low, high = self.contrast(volume)
        if name == "sobel":
            return 0.0, high - low
        dtype = np.dtype(volume.dtype)
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            limits = np.iinfo(dtype)
            return float(limits.min), float(limits.max)
        return low - (high - low), high + (high - low)

    def grey(
        self, volume: OpenVolume, axis: str, index: int, *, mean: int = 1, name: str = "none", sigma: float = 1.0
    ) -> tuple[NDArray[np.uint16], Span]:
        """A slice of a tomogram: its 16-bit values (rows, columns), and the range that they cover.

        Parameters
        ----------
        volume
            The tomogram.
        axis, index
            ``z``, ``y`` or ``x``, and the number of the slice; rows and columns are the other two axes in this order.
        mean
            Of how many slices the mean is shown, an odd number; at the ends there are fewer.
        name, sigma
            As of :func:`volengine.ops.slice_values.filtered`.

        Raises
        ------
        InputError
            There is no such axis, slice or filter.
        """
        if not (1 <= mean <= MOST_SLICES and mean % 2):
            raise InputError(f"mean is {mean}; it is an odd number of slices, 1 to {MOST_SLICES}.")
        slab = self._slab(volume, axis, index, mean // 2)
        plane = slab[0] if len(slab) == 1 else slab.mean(axis=0, dtype=np.float64)
        span = self.span(volume, name)
        return sixteen_bits(filtered(plane, name, sigma), span), span

    def probability(self, volume: OpenVolume, axis: str, index: int) -> NDArray[np.uint16]:
        """A slice of a prediction, 16 bits from 0 to 1; errors as of :meth:`grey`."""
        return sixteen_bits(probabilities(self._slab(volume, axis, index, 0)[0], volume.where), (0.0, 1.0))

    def _slab(self, volume: OpenVolume, axis: str, index: int, around: int) -> NDArray[np.generic]:
        """Slices around one, the axis across them first."""
        number = axis_number(axis)
        count = volume.shape[number]
        if not 0 <= index < count:
            raise InputError(f"Slice {index} along {axis} is not one of the {count} (0 to {count - 1}).")
        start, stop = [0, 0, 0], list(volume.shape)
        start[number], stop[number] = max(0, index - around), min(count, index + around + 1)
        source: Source = self._cache.over(open_source(volume), volume)
        return np.moveaxis(source.read(Box(index3(start), index3(stop))), number, 0)


def axis_number(axis: str) -> int:
    """The number of an axis.

    Raises
    ------
    InputError
        It is none.
    """
    if len(axis) != 1 or axis not in AXES:
        raise InputError(f"axis is {axis[:20]!r}; it is z, y or x.")
    return AXES.index(axis)
