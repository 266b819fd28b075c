"""Kernel of ``convert``, and the memory that it needs."""

from __future__ import annotations

from volengine.core.block import Block, Result
from volengine.core.volume import Kind
from volengine.tasks.common.levels import levels_of


def copy_block(block: Block, factors: list[list[int]], kind: Kind) -> Result:
    """Kernel: copy a block of the source and compute its coarser levels.

    Parameters
    ----------
    factors
        Per level, how many voxels of level 0 one voxel spans, z, y, x.
    kind
        Says how a level is computed: the mean of the voxels that it spans, or for ``labels`` the mode.

    Returns
    -------
    Result
        Arrays ``@0``, ``@1`` ... (z, y, x) in the source's dtype.
    """
    return Result(levels_of(block.arrays["source"], factors, kind))


def copy_block_bytes(voxels: int) -> int:
    """Bytes that :func:`copy_block` needs for a block of ``voxels`` voxels: the float64 sums of the first mean."""
    return 8 * voxels
