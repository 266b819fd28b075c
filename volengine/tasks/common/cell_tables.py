"""What the kernels of trees of cells share: names of columns, which blocks a cell holds, the memory they may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import MemoryRefusedError
from volengine.core.tiling import Tiling


def with_prefix(prefix: str, table: Table) -> Table:
    """Return a table whose columns have names with this beginning."""
    return {prefix + key: column for key, column in table.items()}


def of_prefix(prefix: str, table: Table) -> Table:
    """Return the columns whose names have this beginning, without it."""
    return {key.removeprefix(prefix): column for key, column in table.items() if key.startswith(prefix)}


def covered(block: Block, roi: Sequence[int] | None) -> Box:
    """Return what all blocks cover: the roi (z0, y0, x0, z1, y1, x1 in voxels), or the whole volume (``None``)."""
    return Box.of_shape(block.shape) if roi is None else Box(index3(roi[:3]), index3(roi[3:]))


def blocks_inside(block: Block, core: Index3, part: Box) -> Callable[[NDArray[np.int64]], NDArray[np.bool_]]:
    """Return the function that says which blocks, by their numbers, lie in a cell.

    Parameters
    ----------
    block
        The cell.
    core
        Shape of the blocks, voxels z, y, x.
    part
        What the blocks cover.
    """
    blocks = Tiling(block.shape, core, part.start, part.stop)
    _, gy, gx = blocks.grid
    first = [(a - s) // c for a, s, c in zip(block.box.start, blocks.start, core, strict=True)]
    behind = [-(-(b - s) // c) for b, s, c in zip(block.box.stop, blocks.start, core, strict=True)]

    def inside(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        z, rest = np.divmod(numbers, gy * gx)
        within = np.ones(numbers.size, bool)
        for at, a, b in zip((z, rest // gx, rest % gx), first, behind, strict=True):
            within &= (at >= a) & (at < b)
        return within

    return inside


def check_affords(need: int, memory_bytes: float, block: Block, what: str, advice: str) -> None:
    """Refuse tables that a unit may not hold.

    Raises
    ------
    MemoryRefusedError
        They need more than ``memory_bytes``; ``what`` says what there is, ``advice`` what to do besides.
    """
    if need > memory_bytes:
        raise MemoryRefusedError(
            f"Voxels {block.box.start} to {block.box.stop} have {what}, which need {need / 1e9:.2f} GB together; "
            f"{memory_bytes / 1e9:.2f} GB are planned. Give workers more memory (--memory-limit, fewer --workers), "
            f"{advice}."
        )
