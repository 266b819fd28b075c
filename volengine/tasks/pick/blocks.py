"""Kernels of ``pick``, and the memory that they need; the method is in :mod:`volengine.ops.basins` and ``regions``."""

from __future__ import annotations

from typing import Any

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import index3
from volengine.ops.basins import block_basins
from volengine.ops.heights import BasinRules
from volengine.ops.regions import RegionRules, block_labels, join_seams, relabel, resolve
from volengine.tasks.common.levels import levels_of
from volengine.tasks.pick.description import COLUMN

VOXELS_PER_REGION = 5000
"""For the memory of ``resolve``, planned before anything is known: predictions measured had 900 to 40,000."""


def basins_block(block: Block, **rules: Any) -> Result:
    """Kernel: local regions of a block; ``rules`` are those of :class:`~volengine.ops.heights.BasinRules`."""
    basin, table = block_basins(
        block.arrays["prediction"], block.boxes["prediction"], block.box, block.shape, BasinRules(**rules)
    )
    return Result({"basin": basin}, table)


def basins_block_bytes(crop: int, inside: int, itemsize: int) -> int:
    """Bytes that :func:`basins_block` needs.

    ``crop`` voxels with the halo and ``inside`` in the core, of ``itemsize`` bytes.
    """
    return 6 * crop + (15 + itemsize) * inside


def seams_block(block: Block, **rules: Any) -> Result:
    """Kernel: a block's regions joined with those around it."""
    table = join_seams(block.number, block.tables["basins"], block.box, block.shape, BasinRules(**rules))
    return Result(table=table)


def seams_block_bytes(shell: int) -> int:
    """Bytes that :func:`seams_block` needs for a block of ``shell`` voxels on its faces."""
    return shell * (27 * 16 + 300)


def resolve_picks(block: Block, shape: list[int], rules: dict[str, Any]) -> Result:
    """Kernel: picks of the volume and labels of all local regions, as one table."""
    triples = {key: tuple(rules[key]) for key in ("margin_vox", "scale")}
    picks, lookup = resolve(block.tables["seams"], index3(shape), RegionRules(**{**rules, **triples}))
    table = {**{COLUMN + key: column for key, column in picks.items()}, **lookup}
    return Result(table=table, counts={"picks": picks["label"].size})


def resolve_picks_bytes(voxels: int) -> int:
    """Bytes that :func:`resolve_picks` needs for a prediction of so many voxels."""
    return 550 * (voxels // VOXELS_PER_REGION)


def relabel_block(block: Block, factors: list[list[int]]) -> Result:
    """Kernel: the label image of a block on every level."""
    lookup = next(iter(block.tables["resolve"].values()))
    basin = block.arrays["basin"].astype(np.uint32, copy=False)
    return Result(levels_of(relabel(basin, block_labels(block.number, lookup)), factors, "labels"))


def relabel_block_bytes(inside: int) -> int:
    """Bytes that :func:`relabel_block` needs for a block of so many voxels."""
    return 8 * inside
