"""Slices of volumes for the page: read along any axis, as 16-bit numbers over a range that is that of all slices.

A slice crosses a layer of chunks, and its neighbours cross the same ones. So a layer is read once, in cells of many
chunks, and kept as 16-bit numbers; near the end of a layer, the next one is read ahead.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError, VolengineError
from volengine.core.tiling import AXES
from volengine.io.cached import ChunkCache
from volengine.io.open import OpenVolume, open_source
from volengine.ops.score_masks import probabilities
from volengine.ops.slice_values import TOP, filtered, sixteen_bits
from volengine.web.view.scene import contrast_of

CACHE_BYTES = 240_000_000
"""Of cells that are kept, of all tomograms: two layers of 64 slices of 928 x 928."""
CELL = 4_000_000
"""Voxels that are read at once."""
MOST_SLICES = 31
"""Slices of which a mean can be shown."""
AHEAD = 16
"""Slices before the end of a layer at which the next one is read, if it is not known yet."""
STEP = 8
"""Slices that somebody who walks through them jumps at most."""

Span = tuple[float, float]


@dataclass(frozen=True)
class _Volume:
    """A volume whose slices are read: how values become 16 bits, and its cells along an axis."""

    volume: OpenVolume
    axis: int
    bits: Callable[[NDArray[Any]], NDArray[np.uint16]]
    kind: str

    @property
    def chunked(self) -> bool:
        """Whether slices are put together from cells; files without chunks are kept by the operating system."""
        chunks, shape = self.volume.chunks, self.volume.shape
        if chunks is None or chunks == shape or chunks[self.axis] == 1:
            return False
        return self.layer_bytes <= CACHE_BYTES

    @property
    def layer_bytes(self) -> int:
        """Bytes of a layer in the cache."""
        across = prod(n for a, n in enumerate(self.volume.shape) if a != self.axis)
        return 2 * across * self.cell[self.axis]

    @property
    def cell(self) -> Index3:
        """The shape of a cell: one chunk thick, some wide."""
        sides = list(self.volume.chunks or self.volume.shape)
        for axis in (2, 1, 0):
            while axis != self.axis and sides[axis] < self.volume.shape[axis] and 2 * prod(sides) <= CELL:
                sides[axis] *= 2
        return index3(sides)

    def cells(self, layer: int) -> list[Index3]:
        """The numbers of the cells of a layer."""
        counts = [-(-n // c) for n, c in zip(self.volume.shape, self.cell, strict=True)]
        ranges = [range(layer, layer + 1) if a == self.axis else range(n) for a, n in enumerate(counts)]
        return [index3(one) for one in itertools.product(*ranges)]

    def box(self, cell: Index3) -> Box:
        """The voxels of a cell."""
        start = index3(i * c for i, c in zip(cell, self.cell, strict=True))
        return Box(start, index3(a + c for a, c in zip(start, self.cell, strict=True))).clip(self.volume.shape)

    def key(self, cell: Index3) -> tuple[str, str, Index3]:
        """The name of a cell in the cache."""
        return f"{self.volume.where} {self.volume.identity}", f"{self.kind} {self.axis}", cell


class Slices:
    """Reads slices; several threads may use it."""

    def __init__(self) -> None:
        self._cache = ChunkCache(CACHE_BYTES)
        self._contrasts: OrderedDict[str, Span] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._ahead: threading.Thread | None = None
        self._last: tuple[Any, int] = (None, 0)

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

        Values beyond the range count as its ends, in means and filters, too.

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
        across, own = axis_number(axis), self.span(volume)
        _check(volume, axis, index)
        read = _Volume(volume, across, lambda values: sixteen_bits(values, own), "grey")
        if mean == 1 and name == "none":
            return self._plane(read, index), own
        around = range(max(0, index - mean // 2), min(volume.shape[across], index + mean // 2 + 1))
        total = np.zeros([n for a, n in enumerate(volume.shape) if a != across])
        for one in around:
            total += self._plane(read, one)
        plane = own[0] + total * ((own[1] - own[0]) / (TOP * len(around)))
        span = self.span(volume, name)
        return sixteen_bits(filtered(plane, name, sigma), span), span

    def probability(self, volume: OpenVolume, axis: str, index: int) -> NDArray[np.uint16]:
        """A slice of a prediction, 16 bits from 0 to 1; errors as of :meth:`grey`."""
        _check(volume, axis, index)

        def bits(values: NDArray[Any]) -> NDArray[np.uint16]:
            return sixteen_bits(probabilities(values, volume.where), (0.0, 1.0))

        return self._plane(_Volume(volume, axis_number(axis), bits, "probability"), index)

    # -- layers ------------------------------------------------------------------------------------------------

    def _plane(self, read: _Volume, index: int) -> NDArray[np.uint16]:
        shape, axis = read.volume.shape, read.axis
        if not read.chunked:
            start, stop = [0, 0, 0], list(shape)
            start[axis], stop[axis] = index, index + 1
            values = open_source(read.volume).read(Box(index3(start), index3(stop)))
            return read.bits(np.take(values, 0, axis))
        layer, within = divmod(index, read.cell[axis])
        out = np.empty([n for a, n in enumerate(shape) if a != axis], np.uint16)
        for cell in read.cells(layer):
            part = tuple(s for a, s in enumerate(read.box(cell).slices) if a != axis)
            out[part] = np.take(self._cell(read, cell), within, axis)
        self._look_ahead(read, index)
        return out

    def _cell(self, read: _Volume, cell: Index3) -> NDArray[np.uint16]:
        found = self._cache.get(read.key(cell))
        if found is None:
            with self._reading:  # one at a time, for the memory; the reader itself uses all cores
                found = self._cache.get(read.key(cell))
                if found is None:
                    found = read.bits(open_source(read.volume).read(read.box(cell)))
                    self._cache.put(read.key(cell), found)
                    _give_back()
        return found

    def _look_ahead(self, read: _Volume, index: int) -> None:
        """Read the next layer in the background, if somebody walks towards it."""
        if 2 * read.layer_bytes > CACHE_BYTES:  # it would drive out the one in view
            return
        thick, count = read.cell[read.axis], read.volume.shape[read.axis]
        key = read.key(index3((0, 0, 0)))[:2]
        with self._lock:
            last, self._last = self._last, (key, index)
            walked = index - last[1] if last[0] == key else 0
            if not 0 < abs(walked) <= STEP or self._ahead is not None:
                return
            layer = (index + (AHEAD if walked > 0 else -AHEAD)) // thick
            if layer == index // thick or not 0 <= layer * thick < count:
                return
            self._ahead = threading.Thread(target=self._read_ahead, args=(read, layer), daemon=True)
            self._ahead.start()

    def _read_ahead(self, read: _Volume, layer: int) -> None:
        try:
            for cell in read.cells(layer):
                self._cell(read, cell)
        except (VolengineError, OSError):  # it is said when the slice is asked for
            pass
        finally:
            with self._lock:
                self._ahead = None


def _give_back() -> None:
    """Give memory that reading has freed back to the system; glibc keeps it, some 100 MB."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _check(volume: OpenVolume, axis: str, index: int) -> None:
    count = volume.shape[axis_number(axis)]
    if not 0 <= index < count:
        raise InputError(f"Slice {index} along {axis} is not one of the {count} (0 to {count - 1}).")


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
