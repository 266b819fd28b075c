"""Tilings: a volume cut into blocks whose cores are whole numbers of shards.

A *block* is the unit of compute. Its *core* is what it writes; the *halo* is what it reads around the core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import PlanError

AXES = "zyx"


@dataclass(frozen=True, slots=True)
class Tiling:
    """Blocks of shape ``core`` from the volume's origin on; the last ones are cut off at the volume's end."""

    shape: Index3
    core: Index3

    def __post_init__(self) -> None:
        if any(n < 1 for n in self.shape) or any(c < 1 for c in self.core):
            raise PlanError(f"A tiling needs positive sizes: shape {self.shape}, block {self.core}.")

    @property
    def grid(self) -> Index3:
        """Number of blocks along z, y, x."""
        return index3(-(-n // c) for n, c in zip(self.shape, self.core, strict=True))

    def __len__(self) -> int:
        return prod(self.grid)

    def index(self, number: int) -> Index3:
        """Grid index of the block with this running number (C order)."""
        _, gy, gx = self.grid
        z, rest = divmod(number, gy * gx)
        y, x = divmod(rest, gx)
        return z, y, x

    def number(self, index: Sequence[int]) -> int:
        """Running number (C order) of a grid index."""
        _, gy, gx = self.grid
        return (index[0] * gy + index[1]) * gx + index[2]

    def box(self, number: int) -> Box:
        """The core of a block."""
        start = index3(i * c for i, c in zip(self.index(number), self.core, strict=True))
        return Box(start, index3(a + c for a, c in zip(start, self.core, strict=True))).clip(self.shape)

    def __iter__(self) -> Iterator[Box]:
        return (self.box(i) for i in range(len(self)))

    def owner(self, voxel: Sequence[int]) -> int:
        """Number of the block whose core holds this voxel."""
        return self.number([v // c for v, c in zip(voxel, self.core, strict=True)])


def check_multiple(block: Sequence[int], shard: Sequence[int], shape: Sequence[int]) -> None:
    """Refuse a block that would share a shard with its neighbour: that loses data silently.

    A block that covers the whole axis may have any size.
    """
    for axis, b, s, n in zip(AXES, block, shard, shape, strict=True):
        if b % s and b < n:
            below, above = b // s * s, -(-b // s) * s
            use = f"use {above}" if below == 0 else f"use {below} or {above}"
            raise PlanError(f"Block {tuple(block)} is not a multiple of shard {tuple(shard)} on axis {axis}; {use}.")
