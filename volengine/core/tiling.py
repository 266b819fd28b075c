"""Tilings: the division of a volume into blocks whose cores are whole numbers of shards.

A *block* is the unit of compute. It writes the voxels of its *core*, and reads the core with a *halo* around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import PlanError

AXES = "zyx"


@dataclass(frozen=True)
class Tiling:
    """Blocks of shape ``core`` that begin at the volume's origin; the last ones are cut off at the volume's end.

    With ``start`` and ``stop`` the blocks cover only a part of the volume, a roi: they begin at its start and
    are cut off at its stop. Their boxes are still in voxels of the whole volume.

    Parameters
    ----------
    shape
        Shape of the volume, voxels z, y, x.
    core
        Shape of a block's core, voxels z, y, x.
    start, stop
        First voxel of the roi, and the one behind its last; default: the whole volume.

    Raises
    ------
    PlanError
        A side is less than 1, or the roi is empty or leaves the volume.

    >>> tiling = Tiling((64, 64, 64), (16, 32, 32), start=(10, 0, 0), stop=(30, 64, 64))
    >>> tiling.grid, tiling.box(7)
    ((2, 2, 2), Box(start=(26, 32, 32), stop=(30, 64, 64)))
    """

    shape: Index3
    core: Index3
    start: Index3 = (0, 0, 0)
    stop: Index3 | None = None

    def __post_init__(self) -> None:
        if any(n < 1 for n in self.shape) or any(c < 1 for c in self.core):
            raise PlanError(f"A tiling needs positive sizes: shape {self.shape}, block {self.core}.")
        roi = self.roi
        if roi.empty or not Box.of_shape(self.shape).contains(roi):
            raise PlanError(f"The roi from {self.start} to {self.stop} is empty or leaves the volume {self.shape}.")

    @cached_property
    def roi(self) -> Box:
        """The part of the volume that the blocks cover."""
        return Box(self.start, self.shape if self.stop is None else self.stop)

    @cached_property
    def grid(self) -> Index3:
        """Number of blocks along z, y, x."""
        return index3(-(-n // c) for n, c in zip(self.roi.shape, self.core, strict=True))

    def __len__(self) -> int:
        return prod(self.grid)

    def index(self, number: int) -> Index3:
        """Return the grid index of the block with this number (C order)."""
        _, gy, gx = self.grid
        z, rest = divmod(number, gy * gx)
        y, x = divmod(rest, gx)
        return z, y, x

    def number(self, index: Sequence[int]) -> int:
        """Return the number (C order) of the block with this grid index."""
        _, gy, gx = self.grid
        return (index[0] * gy + index[1]) * gx + index[2]

    def box(self, number: int) -> Box:
        """Return the box of a block's core."""
        start = index3(s + i * c for s, i, c in zip(self.start, self.index(number), self.core, strict=True))
        return Box(start, index3(a + c for a, c in zip(start, self.core, strict=True))).intersect(self.roi)

    def __iter__(self) -> Iterator[Box]:
        return (self.box(i) for i in range(len(self)))

    def owner(self, voxel: Sequence[int]) -> int:
        """Return the number of the block whose core holds this voxel."""
        return self.number([(v - s) // c for v, s, c in zip(voxel, self.start, self.core, strict=True)])


def check_multiple(block: Sequence[int], shard: Sequence[int], shape: Sequence[int]) -> None:
    """Refuse blocks that would share a shard with a neighbour: two writers of one shard lose data silently.

    Parameters
    ----------
    block
        Shape of the block core, voxels z, y, x.
    shard
        Shape of a shard, voxels z, y, x.
    shape
        Shape of the volume. A block that covers a whole axis may have any size along it.

    Raises
    ------
    PlanError
        Along an axis the block is not a multiple of the shard; the message names the nearest multiples.
    """
    for axis, b, s, n in zip(AXES, block, shard, shape, strict=True):
        if b % s and b < n:
            below, above = b // s * s, -(-b // s) * s
            use = f"use {above}" if below == 0 else f"use {below} or {above}"
            raise PlanError(f"Block {tuple(block)} is not a multiple of shard {tuple(shard)} on axis {axis}; {use}.")
