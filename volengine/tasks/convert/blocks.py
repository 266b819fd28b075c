"""Kernel of ``convert``, and the memory that it needs."""

from __future__ import annotations

from volengine.core.block import Block, Result
from volengine.core.errors import InputError
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

    Raises
    ------
    InputError
        Labels are negative.
    """
    voxels = block.arrays["source"]
    if kind == "labels" and voxels.dtype.kind in "if" and voxels.size and (lowest := voxels.min()) < 0:
        raise InputError(
            f"Block at {block.box.start}: labels are 0 and more, but the smallest value here is {lowest}. IMOD writes "
            "masks as signed bytes, -128 for 0 and -127 for 1: add 128 (newstack -mode 6), or write them anew."
        )
    return Result(levels_of(voxels, factors, kind), counts={"voxels converted": voxels.size})


def copy_block_bytes(voxels: int) -> int:
    """Bytes that :func:`copy_block` needs for a block of ``voxels`` voxels: the float64 sums of the first mean."""
    return 8 * voxels
