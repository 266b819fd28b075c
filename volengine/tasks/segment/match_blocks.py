"""Kernels of ``segment`` that resample: a tomogram to the grid of the networks, and predictions back onto its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from volengine.core.block import Block, Result
from volengine.core.boxes import Index3, index3
from volengine.ops.quantise import Rounding, store
from volengine.ops.resample import EdgeRule, Filter, resample_block, resample_bytes
from volengine.tasks.common.levels import levels_of
from volengine.tasks.segment.description import above_half
from volengine.tasks.segment.images import check_finite, image_of


def match_block(block: Block, shape: Index3, how: Filter, unsigned: bool = False) -> Result:
    """Kernel: resample the tomogram, whose shape is ``shape``, to a block of the networks' grid, float32.

    With ``unsigned``, its signed bytes are taken for unsigned ones.
    """
    check_finite(block, "image")
    block = replace(block, arrays={"image": image_of(block, unsigned)})
    found = _resampled(block, "image", shape, how, "reflect")
    return Result({"matched": found})


def match_block_bytes(core: Index3, halo: Index3, shape: Index3, out_shape: Index3) -> int:
    """Bytes that :func:`match_block` needs: it resamples the block in float32, one axis after the other.

    Parameters
    ----------
    core
        Shape of a block's core on the grid of ``out_shape``, voxels z, y, x.
    halo
        Voxels read around it on the grid of ``shape``.
    shape, out_shape
        Shapes of the grid that is read and of the grid that is written.
    """
    return resample_bytes(core, halo, shape, out_shape)


def restore_block(
    block: Block,
    shape: Index3,
    how: Filter,
    dtype: Any,
    rounding: Rounding,
    factors: list[list[int]],
    counted: Sequence[str] = (),
) -> Result:
    """Kernel: resample predictions from the networks' grid to a block of the tomogram's grid, and encode them.

    Parameters
    ----------
    shape
        Shape of the networks' grid, voxels z, y, x.
    how
        The filter, see :mod:`volengine.ops.resample`.
    dtype, rounding, factors
        As in :class:`volengine.tasks.segment.description.Encoding`.
    counted
        As in :func:`volengine.tasks.segment.blocks.predict`.

    Returns
    -------
    Result
        Stored values ``product@level``, (z, y, x).
    """
    arrays: dict[str, Any] = {}
    for name in block.arrays:
        values = store(_resampled(block, name, shape, how, "edge"), dtype, rounding)
        arrays |= levels_of(values, factors, "probability", name)
    return Result(arrays, counts=above_half(arrays, counted))


def restore_block_bytes(core: Index3, halo: Index3, shape: Index3, out_shape: Index3) -> int:
    """Bytes that :func:`restore_block` needs; the arguments are those of :func:`match_block_bytes`."""
    return match_block_bytes(core, halo, shape, out_shape) + 8 * math.prod(core)


def _resampled(block: Block, name: str, shape: Index3, how: Filter, edge: EdgeRule) -> Any:
    return resample_block(block.arrays[name], block.boxes[name], index3(shape), block.box, block.shape, how, edge)
