"""What the two kernels share that find the middles of plateaus in a block: for small volumes, and for cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from volengine.core.block import Block, Table
from volengine.ops.plateaus import block_middles
from volengine.ops.stored import as_prediction, mask_in
from volengine.tasks.pick.description import VOXELS_PER_REGION, region_rules


def middles_of(block: Block, found: Table, rules: dict[str, Any], scale: float | None) -> Table:
    """Return the table of :func:`volengine.ops.plateaus.block_middles` for a block.

    Parameters
    ----------
    block
        With the arrays ``prediction`` and ``basin``.
    found
        Where each region is highest.
    rules
        Fields of :class:`~volengine.ops.basin_graph.RegionRules`.
    scale
        The number by which values are divided, or ``None``.
    """
    values = as_prediction(block.arrays["prediction"], mask=mask_in(block.tables), scale=scale)
    basin = block.arrays["basin"].astype(np.uint32, copy=False)
    return block_middles(block.number, basin, values, block.box, block.shape, found, region_rules(rules))


def middles_bytes(inside: int, plane: int, itemsize: int, copies: bool) -> int:
    """Bytes that :func:`middles_of` needs for ``inside`` voxels in slices of ``plane`` voxels.

    A voxel of the prediction has ``itemsize`` bytes; ``copies``: it is not what is stored, but made of it.
    """
    return 160 * plane + 550 * (inside // VOXELS_PER_REGION) + itemsize * copies * inside
