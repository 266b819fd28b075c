"""Planning trees of cells: boxes of up to 64 blocks, of up to 64 cells, and so on up to the whole volume.

A stage of cells reads the tables of what lies in each; so no unit gathers the tables of a volume. ``pick`` and
``stats`` are made so; what their kernels share is in :mod:`volengine.tasks.common.cell_tables`.
"""

from __future__ import annotations

import math

from volengine.core.boxes import Index3, index3
from volengine.engine.memory import HEADROOM
from volengine.engine.options import RunOptions

CELL_PARTS = 64
"""Largest number of parts of a cell: blocks, or smaller cells."""

LEAST_BYTES, BESIDE_BYTES = 100_000_000, 500_000_000
"""The least memory for the tables of a unit; and what of a worker's memory they leave to everything else."""


def table_memory(options: RunOptions) -> int:
    """Return the bytes that a unit which works on tables may use, and refuses to exceed."""
    return max(LEAST_BYTES, int(options.limit_bytes() * HEADROOM) - BESIDE_BYTES)


def cells_of(shape: Index3, core: Index3) -> list[Index3]:
    """Return the shape of the cells of each level, voxels z, y, x: multiples of the former, the last holds the volume.

    >>> cells_of((256, 16384, 16384), (256, 256, 256))
    [(256, 2048, 2048), (256, 16384, 16384)]
    """
    cells: list[Index3] = []
    while not cells or any(c < n for c, n in zip(core, shape, strict=True)):
        factor = [1, 1, 1]
        while True:
            sides = [c * f for c, f in zip(core, factor, strict=True)]
            short = [axis for axis in range(3) if sides[axis] < shape[axis]]
            if not short or 2 * math.prod(factor) > CELL_PARTS:
                break
            factor[min(short, key=lambda axis: sides[axis])] *= 2
        core = index3(c * f for c, f in zip(core, factor, strict=True))
        cells.append(core)
    return cells
