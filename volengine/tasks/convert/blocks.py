"""Kernel of ``convert``, and the memory that it needs."""

from __future__ import annotations

from volengine.core.block import Block, Result
from volengine.core.volume import Kind
from volengine.tasks.common.levels import levels_of


def copy_block(block: Block, factors: list[list[int]], kind: Kind) -> Result:
    """Kernel: a block of the source on every level."""
    return Result(levels_of(block.arrays["source"], factors, kind))


def copy_block_bytes(voxels: int) -> int:
    """Bytes that :func:`copy_block` needs for a block of so many voxels: the float64 sums of the first mean."""
    return 8 * voxels
