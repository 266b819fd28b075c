"""A cache of chunks in memory, for readers that read the same places again and again, as training does.

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
    """Recently used chunks of any number of volumes, at most ``limit`` bytes in all; least recently used ones go first.

    Several threads may use it at the same time.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.held = 0
        self._chunks: OrderedDict[Key, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def over(self, source: Source, volume: Volume) -> Source:
        """Return the source with this cache before it, or the source itself if its volume is not chunked.

        The operating system caches the files of unchunked volumes.
        """
        if volume.chunks is None or volume.chunks == volume.shape:
            return source
        return CachedSource(source, volume, self)

    def get(self, key: Key) -> NDArray[Any] | None:
        """Return a chunk, or ``None`` if it is not in the cache."""
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
                return self._chunks[key]
        return None

    def put(self, key: Key, chunk: NDArray[Any]) -> None:
        """Add a chunk, and drop the least recently used ones if the cache exceeds its limit."""
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
    """A source that reads whole chunks and keeps them in a cache."""

    def __init__(self, source: Source, volume: Volume, cache: ChunkCache):
        self._source, self._cache = source, cache
        self._name = (volume.url, volume.path)
        self._chunks = volume.chunks or volume.shape

    @property
    def shape(self) -> Index3:
        """Shape of the volume, voxels z, y, x."""
        return self._source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the voxels."""
        return self._source.dtype

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box inside of the volume, z, y, x, as a new array."""
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
