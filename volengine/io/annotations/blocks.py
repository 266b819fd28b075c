"""Voxels of annotations, block by block: what they mean, and how a stroke keeps its own.

A layer has a code for each voxel: 0 nobody has said anything, 1 feature, 2 ignore, 3 background (erased). Volumes are
cut into blocks of :data:`BLOCK` voxels; a stroke keeps, for each block it touches, the codes of the smallest box around
its voxels there, compressed. The volume may be far larger than memory: what nobody touched takes no room.

>>> codes = np.zeros((4, 8, 8), np.uint8)
>>> codes[1, 2:4, 3:6] = FEATURE
>>> kept = packed((0, 1, 2), codes)
>>> drawn = unpacked(kept, "x")
>>> drawn.block, drawn.start, drawn.codes.shape
((0, 1, 2), (1, 2, 3), (1, 2, 3))
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import FormatError

BLOCK: Index3 = (32, 64, 64)
"""Voxels of a block, z, y, x."""

UNTOUCHED, FEATURE, IGNORE, BACKGROUND = 0, 1, 2, 3
Meaning = Literal["feature", "ignore", "background"]
CODES: dict[Meaning, int] = {"feature": FEATURE, "ignore": IGNORE, "background": BACKGROUND}
"""What a stroke can say of a voxel."""

LABELS = np.array([0, 1, 2, 0], np.uint8)
"""The label of each code, as training reads it: 0 background, 1 feature, 2 ignore."""

_HEAD = struct.Struct("<3I6B2x")


@dataclass(frozen=True)
class Drawn:
    """The voxels of one stroke in a block: ``codes`` (0: not touched), where they begin in the block, and the block."""

    block: Index3
    start: Index3
    codes: NDArray[np.uint8]

    def over(self, state: NDArray[np.uint8]) -> None:
        """Put the codes over those of the block, where they say something."""
        part = state[tuple(slice(a, a + n) for a, n in zip(self.start, self.codes.shape, strict=True))]
        np.copyto(part, self.codes, where=self.codes != UNTOUCHED)


def packed(block: Index3, codes: NDArray[np.uint8], start: Index3 = (0, 0, 0)) -> bytes:
    """Return the bytes that keep the codes of a stroke in a block; empty if it says nothing there.

    Parameters
    ----------
    block
        Index of the block.
    codes, start
        Codes of a box of the block, and where this begins in the block.
    """
    found = []
    for axis in range(3):
        there = np.flatnonzero(codes.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(there):
            return b""
        found.append((int(there[0]), int(there[-1]) + 1))
    inner = np.ascontiguousarray(codes[tuple(slice(a, b) for a, b in found)])
    at = (s + a for s, (a, _) in zip(start, found, strict=True))
    return _HEAD.pack(*block, *at, *inner.shape) + zlib.compress(inner.tobytes(), 1)


def unpacked(data: bytes, where: str) -> Drawn:
    """Read what :func:`packed` made.

    Raises
    ------
    FormatError
        It is something else.
    """
    try:
        z, y, x, *rest = _HEAD.unpack_from(data)
        start, shape = index3(rest[:3]), index3(rest[3:])
        count = shape[0] * shape[1] * shape[2]
        unpack = zlib.decompressobj()
        raw = unpack.decompress(data[_HEAD.size :], count + 1)
    except (struct.error, zlib.error) as error:
        raise FormatError(f"{where}: a block of a stroke is damaged ({error}).") from error
    codes = np.frombuffer(raw, np.uint8)
    wrong = not count or not unpack.eof or len(codes) != count or (codes > BACKGROUND).any()
    if wrong or any(s + n > edge for s, n, edge in zip(start, shape, BLOCK, strict=True)):
        raise FormatError(f"{where}: a block of a stroke holds other voxels than it says; the journal is damaged.")
    return Drawn((z, y, x), start, codes.reshape(shape))


def blocks_of(box: Box) -> Iterator[tuple[Index3, Box]]:
    """Yield the blocks that a box touches, in order: index, and the part of the box that lies in it (of the volume)."""
    ranges = (range(a // n, -(-b // n)) for a, b, n in zip(box.start, box.stop, BLOCK, strict=True))
    for z, y, x in itertools.product(*ranges):
        yield (z, y, x), box_of((z, y, x)).intersect(box)


def box_of(block: Index3) -> Box:
    """Return the voxels of a block; at the far faces of a volume they reach beyond it."""
    start = index3(i * n for i, n in zip(block, BLOCK, strict=True))
    return Box(start, index3(a + n for a, n in zip(start, BLOCK, strict=True)))
