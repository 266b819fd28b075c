"""Kernel of ``interact``, and the memory that it needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from volengine.core.block import Block, Result, is_blank, is_nothing, nothing
from volengine.core.rules import parse_rules
from volengine.ops.interact import RuleChain
from volengine.ops.stored import as_prediction, checked_span, mask_in
from volengine.tasks.common.levels import levels_of


def gate_block(
    block: Block,
    rules: list[Any],
    voxel_size: list[float],
    compat: Literal["", "ais"],
    factors: dict[str, list[list[int]]],
    wheres: dict[str, str],
    scale: float | None = None,
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
    wheres
        How messages name the volume of each feature.
    scale
        The number by which values are divided, or ``None``.

    Returns
    -------
    Result
        The changed features on all levels, named ``feature@level``; for each one the count of voxels that became 0.

    Raises
    ------
    InputError
        A value is no probability.
    """
    z, y, x = voxel_size
    chain = RuleChain(parse_rules(rules), (z, y, x), compat)
    predictions = {
        name: as_prediction(array, mask=mask_in(block.tables, name), scale=scale)
        for name, array in block.arrays.items()
    }
    for name, array in predictions.items():
        checked_span(array[block.box.slices_in(block.boxes[name])], block.box, wheres[name], scale)
    gated = chain.gate(predictions, block.boxes, block.box, block.shape, factors)
    arrays: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for name, array in gated.items():
        array = np.ascontiguousarray(array)
        if is_blank(array):
            array = nothing(array.shape, array.dtype)
        arrays |= levels_of(array, factors[name], "probability", name)
        before = predictions[name][block.box.slices_in(block.boxes[name])]
        left = 0 if is_nothing(array) else int(np.count_nonzero(array))
        counts[f"{name} voxels erased"] = int(np.count_nonzero(before)) - left
        counts[f"{name} voxels left"] = left
    return Result(arrays, counts=counts)


def gate_block_bytes(inside: int, read: Iterable[int], gated: int, itemsize: int, copies: bool) -> int:
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
    copies
        The predictions are not what is stored, but made of it.
    """
    read = list(read)
    return sum(read) * itemsize * copies + gated * itemsize + max(read) * (itemsize + 4) + inside
