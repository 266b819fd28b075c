"""Kernel of ``interact``, and the memory that it needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.rules import parse_rules
from volengine.ops.interact import RuleChain
from volengine.tasks.common.levels import levels_of


def gate_block(
    block: Block,
    rules: list[Any],
    voxel_size: list[float],
    compat: Literal["", "ais"],
    factors: dict[str, list[list[int]]],
) -> Result:
    """Kernel: apply the rules to the predictions of a block.

    Parameters
    ----------
    rules
        The rules as JSON, in the order in which they act.
    voxel_size
        Voxel size in angstrom, z, y, x.
    compat
        ``ais``: compute exactly as Ais does.
    factors
        For each feature that the rules change the factors of its levels.

    Returns
    -------
    Result
        The changed features on all levels, named ``feature@level``; for each one the count of voxels that became 0.
    """
    z, y, x = voxel_size
    chain = RuleChain(parse_rules(rules), (z, y, x), compat)
    gated = chain.gate(block.arrays, block.boxes, block.box, block.shape, factors)
    arrays: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for name, array in gated.items():
        arrays |= levels_of(np.ascontiguousarray(array), factors[name], "probability", name)
        counts[f"{name} voxels erased"] = int(np.count_nonzero(block.core_of(name)) - np.count_nonzero(array))
    return Result(arrays, counts=counts)


def gate_block_bytes(inside: int, read: Iterable[int], gated: int, itemsize: int) -> int:
    """Bytes that :func:`gate_block` needs.

    Parameters
    ----------
    inside
        Number of voxels of the block's core.
    read
        Number of voxels of each input, halo included.
    gated
        Number of voxels, halo included, of all inputs that change, because these are copied.
    itemsize
        Bytes per voxel.
    """
    return gated * itemsize + max(read) * (itemsize + 4) + inside
