"""Chunks that stay in memory for a while: for readers that come back to the same places, as training does.

>>> cache = ChunkCache(256_000_000)
>>> source = cache.over(open_source(volume), volume)                                         # doctest: +SKIP
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.volume import Volume
from volengine.io.names import Source

Key = tuple[str, str, Index3]


class ChunkCache:
    """Recently read chunks of any number of volumes, at most ``limit`` bytes in all; the oldest go first."""

    def __init__(self, limit: int):
        self.limit = limit
        self.held = 0
        self._chunks: OrderedDict[Key, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def over(self, source: Source, volume: Volume) -> Source:
        """The source with this cache before it; an unchunked one (the system caches its file) stays as it is."""
        if volume.chunks is None or volume.chunks == volume.shape:
            return source
        return CachedSource(source, volume, self)

    def get(self, key: Key) -> NDArray[Any] | None:
        """A chunk, if it is here."""
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
                return self._chunks[key]
        return None

    def put(self, key: Key, chunk: NDArray[Any]) -> None:
        """Keep a chunk, and let the oldest go that have no place beside it."""
        if chunk.nbytes > self.limit:
            return
        with self._lock:
            if key not in self._chunks:
                self._chunks[key] = chunk
                self.held += chunk.nbytes
            while self.held > self.limit:
                _, gone = self._chunks.popitem(last=False)
                self.held -= gone.nbytes


class CachedSource:
    """A source that reads whole chunks and remembers them."""

    def __init__(self, source: Source, volume: Volume, cache: ChunkCache):
        self._source, self._cache = source, cache
        self._name = (volume.url, volume.path)
        self._chunks = volume.chunks or volume.shape

    @property
    def shape(self) -> Index3:
        """Voxels z, y, x."""
        return self._source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels."""
        return self._source.dtype

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box inside of the volume: a new array."""
        out = np.empty(box.shape, self.dtype)
        ranges = [range(a // c, -(-b // c)) for a, b, c in zip(box.start, box.stop, self._chunks, strict=True)]
        for cell in itertools.product(*ranges):
            start = index3(i * c for i, c in zip(cell, self._chunks, strict=True))
            whole = Box(start, index3(a + c for a, c in zip(start, self._chunks, strict=True))).clip(self.shape)
            part = whole.intersect(box)
            out[part.slices_in(box)] = self._chunk(index3(cell), whole)[part.slices_in(whole)]
        return out

    def _chunk(self, cell: Index3, box: Box) -> NDArray[Any]:
        key = (*self._name, cell)
        chunk = self._cache.get(key)
        if chunk is None:
            chunk = self._source.read(box)
            self._cache.put(key, chunk)
        return chunk
