"""Kernel of ``denoise``, and the memory that it needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.errors import InputError
from volengine.tasks.common.levels import levels_of


def mean_of_halves(
    block: Block, halves: Sequence[str], grey: bool, dtype: str, factors: Sequence[Sequence[int]]
) -> Result:
    """Kernel: the mean of the answers to the halves, in the grey values of the tomogram. No halo needed.

    Parameters
    ----------
    halves
        Names of the inputs with the answers, float32; tables of the same names hold ``volume``: mean and standard
        deviation of each half.
    grey
        Whether an answer is multiplied by the standard deviation of its half, and its mean added.
    dtype, factors
        Type of the result, and of each level how many voxels of level 0 one voxel spans, z, y, x.

    Returns
    -------
    Result
        Arrays ``@0``, ``@1`` ... (z, y, x); summed in float64, in the order of the halves.

    Raises
    ------
    InputError
        A result is beyond the range of float16.
    """
    total = np.zeros(block.box.shape, np.float64)
    for name in halves:
        answer = block.core_of(name)
        mean, std = block.tables[name][0]["volume"].tolist() if grey else (0.0, 1.0)
        total += answer * np.float64(std) + mean
    total /= len(halves)
    with np.errstate(over="ignore"):
        made = total.astype(dtype)
    if not np.isfinite(made).all():
        raise InputError(
            f"Block at {block.box.start}: a denoised voxel is {np.abs(total).max():g}, which {dtype} does not hold; "
            "use --dtype float32, or --units model."
        )
    return Result(levels_of(made, factors, "intensity"), counts={"voxels denoised": made.size})


def mean_of_halves_bytes(voxels: int) -> int:
    """Bytes that :func:`mean_of_halves` needs for a block of so many voxels: two float64 arrays and a mask, or the
    float64 sums of the first coarser level.
    """
    return 18 * voxels
