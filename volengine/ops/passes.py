"""Keys of voxels, and the best pass between every two touching regions.

A *key* is one uint64: the squared distance to the background in the upper 24 bits, and the linear index in the volume
in the lower 40. Keys are unique; they order voxels by distance, and voxels of equal distance by index.

>>> keys = key_of(np.array([9, 4]), np.array([70, 71]))
>>> index_of_key(keys).tolist(), bool(keys[0] > keys[1])
([70, 71], True)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

INDEX_BITS = 40
MAX_VOXELS = 1 << INDEX_BITS
"""Largest number of voxels of a volume (about 10**12); the indices of larger ones do not fit into keys."""

_KEEP = 1 << 15  # rows gathered before the best are picked

_PIECE = 1 << 15  # rows put in order at a time

_BUCKET_BITS = 16  # of the table of :class:`_Sieve`, so that it stays in the cache
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd number near 2**64 / golden ratio: its multiples are spread evenly


def key_of(d2: NDArray[Any], index: NDArray[Any]) -> Keys:
    """Make keys (uint64) of squared distances (below 2**24) and linear indices (below 2**40)."""
    key: Keys = (d2.astype(np.uint64) << np.uint64(INDEX_BITS)) | index.astype(np.uint64)
    return key


def index_of_key(key: Keys) -> NDArray[np.int64]:
    """Return the linear indices of keys, int64."""
    return (key & np.uint64(MAX_VOXELS - 1)).astype(np.int64)


class Passes:
    """Collects pairs of touching voxels and keeps the best pair of every two regions.

    Pairs are ordered by their lower key, then by their higher one: a flood from above crosses the pair whose lower
    voxel is highest. It takes 24 bytes of memory for each of at most ``max(2**15, 2 * passes)`` rows, and as much for
    sorting. Most pairs are dropped before they are gathered, because a better one of the same regions is known.

    Who goes through a volume in order can :meth:`settle` the passes of regions that are behind: they are not sorted
    again with every new one, and need 40 bytes each at the end.
    """

    def __init__(self) -> None:
        self._sieve = _Sieve()
        self._pairs: list[NDArray[np.uint64]] = []
        self._low: list[Keys] = []
        self._high: list[Keys] = []
        self._rows = 0
        self._limit = _KEEP
        self._unsettled = _KEEP
        self._settled: list[tuple[Keys, Keys, Keys]] = []

    def add(self, a: NDArray[Any], b: NDArray[Any], key_a: Keys, key_b: Keys) -> None:
        """Add pairs of voxels.

        Parameters
        ----------
        a, b
            (n,) regions of the voxels, below 2**32; ``a`` and ``b`` differ in every row.
        key_a, key_b
            (n,) keys of the voxels.
        """
        if not a.size:
            return
        first = np.minimum(a, b).astype(np.uint64)
        pair = (first << np.uint64(32)) | np.maximum(a, b).astype(np.uint64)
        low = np.minimum(key_a, key_b)
        kept = self._sieve.kept(pair, low)
        self._pairs.append(pair[kept])
        self._low.append(low[kept])
        self._high.append(np.maximum(key_a[kept], key_b[kept]))
        self._rows += kept.size
        if self._rows > self._limit:
            self._reduce()
            self._limit = max(_KEEP, 2 * self._rows)

    def settle(self, last: NDArray[Any], before: int) -> None:
        """Put aside the passes to which no other pair of voxels will be added.

        Parameters
        ----------
        last
            For each region the index of its last voxel.
        before
            All voxels of lower index were added, together with the voxels that they touch: a pass of two regions is
            complete if one of them has its last voxel before this one.
        """
        if self._rows <= self._unsettled:
            return
        self._reduce()
        pair, low, high = self._pairs[0], self._low[0], self._high[0]
        first = last.take((pair >> np.uint64(32)).astype(np.intp))
        done = np.minimum(first, last.take((pair & np.uint64(0xFFFFFFFF)).astype(np.intp))) < before
        if done.any():
            self._settled.append((pair[done], low[done], high[done]))
            np.logical_not(done, out=done)
            self._pairs, self._low, self._high = [pair[done]], [low[done]], [high[done]]
            self._rows = self._pairs[0].size
        self._limit = self._unsettled = max(_KEEP, 2 * self._rows)

    def _reduce(self) -> None:
        if not self._pairs:
            return
        pair = _joined(self._pairs)
        order = np.argsort(pair)
        pair = pair[order]
        low = _joined(self._low)[order]
        high = _joined(self._high)[order]
        first = np.flatnonzero(np.append(True, pair[1:] != pair[:-1]))
        best = np.maximum.reduceat(low, first)
        high[low != np.repeat(best, np.diff(np.append(first, pair.size)))] = 0
        self._pairs, self._low, self._high = [pair[first]], [best], [np.maximum.reduceat(high, first)]
        self._rows = first.size

    def arrays(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32], Keys, Keys]:
        """Return the regions a < b, and the lower and higher key of their best pass, ordered by (a, b)."""
        self._sieve.clear()
        self._reduce()
        for column, parts in enumerate((self._pairs, self._low, self._high)):
            parts += [settled[column] for settled in self._settled]
        if not self._pairs:
            none = np.zeros(0, np.uint64)
            return none.astype(np.uint32), none.astype(np.uint32), none, none
        if self._settled:  # no pair of regions is in two of the parts
            self._settled.clear()
            pair = _joined(self._pairs)
            order = np.argsort(pair).astype(np.uint32 if pair.size < 1 << 32 else np.intp)
            pair.sort()
            self._pairs.append(pair)
            for parts in (self._low, self._high):
                parts.append(_ordered(_joined(parts), order))
        pair = self._pairs[0]
        a, b = (pair >> np.uint64(32)).astype(np.uint32), pair.astype(np.uint32)
        return a, b, self._low[0], self._high[0]


def _joined(parts: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """Concatenate a list, and empty it: otherwise there would be two of every column."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _ordered(column: Keys, order: NDArray[Any]) -> Keys:
    """The rows of a column in another order; by pieces, because numpy takes them by indices of 8 bytes."""
    found = np.empty_like(column)
    for start in range(0, order.size, _PIECE):
        part = slice(start, start + _PIECE)
        column.take(order[part], out=found[part], mode="clip")
    return found


class _Sieve:
    """Remembers the best low key of some pairs of regions, to drop rows that are worse.

    A pair has one bucket of the table, which holds the pair that came last. A row is dropped only if its own pair holds
    the bucket with a better key; the row that had this key was kept. So the best rows of every pair are always kept.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all, and keep no memory until the next row."""
        self._holder = self._best = np.zeros(0, np.uint64)

    def kept(self, pair: NDArray[np.uint64], low: Keys) -> NDArray[np.intp]:
        """Return the rows that may be the best of their pair."""
        if not self._holder.size:
            self._holder, self._best = np.zeros((2, 1 << _BUCKET_BITS), np.uint64)
        bucket = ((pair * _SPREAD) >> np.uint64(64 - _BUCKET_BITS)).astype(np.intp)
        new = np.flatnonzero(self._holder.take(bucket) != pair)
        if new.size:
            self._best[bucket[new]] = 0
            self._holder[bucket[new]] = pair[new]
        mine = self._holder.take(bucket) == pair
        np.maximum.at(self._best, bucket[mine], low[mine])
        worse = mine & (low < self._best.take(bucket))
        return np.flatnonzero(~worse)
