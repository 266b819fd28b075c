"""Reading annotations: the labels of a box, at any version, of all users or of one.

Blocks that were read are kept, up to a number of bytes, and a new stroke is put over those that it touches; so the next
slice of a viewer, or the same one after a stroke, is put together from arrays in memory.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3
from volengine.core.errors import FormatError, InputError
from volengine.io.annotations.blocks import BLOCK, FEATURE, IGNORE, LABELS, UNTOUCHED, Drawn, unpacked
from volengine.io.annotations.history import MERGED, History, Key
from volengine.io.annotations.journal import Journal

CACHE_BYTES = 2**26
"""Bytes of blocks that are kept; a slice of 1,000 x 1,000 voxels crosses 256 blocks, 32 MB."""

_BLOCK_BYTES = BLOCK[0] * BLOCK[1] * BLOCK[2]


class Layers:
    """The layers of a journal.

    Parameters
    ----------
    journal, history
        The journal, and its transactions.
    shape
        Voxels of the volume, z, y, x.
    """

    def __init__(self, journal: Journal, history: History, shape: Index3):
        self._journal, self._history, self._shape = journal, history, shape
        self._kept: OrderedDict[Key, tuple[tuple[int, int], NDArray[np.uint8]]] = OrderedDict()

    def codes(self, feature: str, box: Box, layer: str = MERGED, at: int | None = None) -> NDArray[np.uint8]:
        """Return what was said of the voxels of a box: 0 nothing, 1 feature, 2 ignore, 3 background.

        Parameters
        ----------
        feature, layer
            The feature, and a user; ``MERGED``: all users.
        box
            Inside of the volume.
        at
            A version; ``None``: the last.

        Raises
        ------
        InputError
            The box leaves the volume, or there is no such version.
        FormatError
            The journal is damaged.
        """
        if not Box.of_shape(self._shape).contains(box):
            raise InputError(f"The box from {box.start} to {box.stop} leaves the volume of shape {self._shape}.")
        version = self._history.check(at)
        out = np.zeros(box.shape, np.uint8)
        past = None if version == self._history.version else version
        pieces = [list(_pieces(a, b, n)) for a, b, n in zip(box.start, box.stop, BLOCK, strict=True)]
        for (z, in_z, to_z), (y, in_y, to_y), (x, in_x, to_x) in itertools.product(*pieces):
            if self._history.is_touched(feature, layer, (z, y, x)):
                out[to_z, to_y, to_x] = self.block(feature, layer, (z, y, x), past)[in_z, in_y, in_x]
        return out

    def labels(self, feature: str, box: Box, layer: str = MERGED, at: int | None = None) -> NDArray[np.uint8]:
        """Return the labels of a box: 0 background, 1 feature, 2 ignore; parameters and errors as of :meth:`codes`."""
        return LABELS[self.codes(feature, box, layer, at)]

    def block(self, feature: str, layer: str, block: Index3, at: int | None = None) -> NDArray[np.uint8]:
        """Return the codes of a whole block, which the caller does not change."""
        if at is not None:
            return self._made(feature, layer, block, at)
        key, stamp = (feature, layer, block), self._history.stamp(feature, block)
        found = self._kept.get(key)
        if found is None or found[0][1] != stamp[1]:
            state = self._made(feature, layer, block, self._history.version)
        else:
            (count, _), state = found
            for one in self._history.since(feature, block, count):
                if layer in (MERGED, one.user):  # none was undone since, or the second number would have changed
                    self._drawn(one.blocks[block], block).over(state)
        self._kept[key] = stamp, state
        self._kept.move_to_end(key)
        while len(self._kept) * _BLOCK_BYTES > CACHE_BYTES:
            self._kept.popitem(last=False)
        return state

    def _made(self, feature: str, layer: str, block: Index3, at: int) -> NDArray[np.uint8]:
        state = np.full(BLOCK, UNTOUCHED, np.uint8)
        base = self._history.base_blocks.get((feature, layer, block))
        for start in (
            *(() if base is None else (base,)),
            *(one.blocks[block] for one in self._history.strokes(feature, block, at, layer)),
        ):
            self._drawn(start, block).over(state)
        return state

    def _drawn(self, start: int, block: Index3) -> Drawn:
        """Read the voxels of a stroke in one block, from their place in the journal."""
        found = unpacked(self._journal.body(start), f"{self._journal.path}, byte {start}")
        if found.block != block:
            raise FormatError(f"{self._journal.path}, byte {start}: holds block {found.block}, not {block}.")
        return found

    def count(self, feature: str, layer: str = MERGED, at: int | None = None) -> dict[str, int]:
        """Count the voxels of a layer: ``feature``, and ``ignore``."""
        version = self._history.check(at)
        found = np.zeros(4, np.int64)
        for block in self._history.touched(feature, layer):
            found += np.bincount(self.block(feature, layer, block, version).ravel(), minlength=4)
        return {"feature": int(found[FEATURE]), "ignore": int(found[IGNORE])}

    def conflicts(self, feature: str, at: int | None = None) -> int:
        """Count the voxels of which two users say different things: feature, ignore or background.

        What is nobody's, or one user's alone, is no conflict; the merged layer shows what was said last.
        """
        version, users = self._history.check(at), self._history.layers(feature)
        blocks = [set(self._history.touched(feature, user)) for user in users]
        count = 0
        for block in sorted(set().union(*blocks)):
            said = [u for u, there in zip(users, blocks, strict=True) if block in there]
            if len(said) < 2:
                continue
            low, high = np.full(BLOCK, 255, np.uint8), np.zeros(BLOCK, np.uint8)
            for user in said:
                codes = self.block(feature, user, block, version)
                np.maximum(high, codes, out=high)
                np.minimum(low, np.where(codes == UNTOUCHED, np.uint8(255), codes), out=low)
            count += int(np.count_nonzero(low < high))
        return count


def _pieces(start: int, stop: int, side: int) -> Iterator[tuple[int, slice, slice]]:
    """The blocks that an interval touches: number, its part in the block, and the same part in the interval."""
    for number in range(start // side, -(-stop // side)):
        low, high = max(start, number * side), min(stop, (number + 1) * side)
        yield number, slice(low - number * side, high - number * side), slice(low - start, high - start)
