"""Kernels of the tree of ``pick``; the method is in :mod:`volengine.ops.cells`, ``cell_middles`` and ``spacing``.

A table of ``join`` has the columns of regions with the prefix ``region.``, those of open nodes with ``node.``, and the
lookup of the parts. A table of ``space`` has open picks with ``open.`` and kept ones with ``kept.``, or, of the last
cell, the numbers of all picks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, Table
from volengine.core.boxes import index3
from volengine.ops.axes import axes_of
from volengine.ops.basin_graph import RegionRules
from volengine.ops.cell_middles import named, nearest, plateaus_of_block
from volengine.ops.cells import NODE_BYTES, PASS_BYTES, join, labelled, labels_of_block, leaf, size_of
from volengine.ops.regions import relabel
from volengine.ops.spacing import KEPT_BYTES, PICK_BYTES, candidates, labels_of, numbered, space
from volengine.tasks.common.cell_tables import blocks_inside, check_affords, covered, of_prefix, with_prefix
from volengine.tasks.common.levels import levels_of
from volengine.tasks.pick.description import COLUMN, SPAN, VOXELS_PER_REGION, cells_holding, region_rules
from volengine.tasks.pick.middles import middles_bytes, middles_of

REGION, NODE, LEFT, OPEN, KEPT = "region.", "node.", "left.", "open.", "kept."
LOOKUP = ("to", "parts", "starts")
ADVICE = "raise the threshold so that there are fewer or smaller regions, or pick parts of the volume"


def join_cell(
    block: Block,
    core: list[int],
    rules: dict[str, Any],
    roi: list[int] | None = None,
    memory_bytes: float = math.inf,
) -> Result:
    """Kernel: join the parts of a cell, and finish what lies in it as a whole.

    Parameters
    ----------
    core
        Shape of the blocks of ``basins``, voxels z, y, x.
    rules
        Fields of :class:`~volengine.ops.basin_graph.RegionRules`.
    roi
        The part of the volume that is picked: z0, y0, x0, z1, y1, x1 in voxels; ``None``: the whole volume.
    memory_bytes
        Memory that may be used.

    Returns
    -------
    Result
        The tables of :func:`volengine.ops.cells.join`, and the ``span`` of the cell.

    Raises
    ------
    MemoryRefusedError
        It needs more.
    """
    if "seams" in block.tables:
        tables = block.tables["seams"]
        parts = {number: leaf(number, table) for number, table in tables.items()}
    else:
        tables = block.tables["cells"]
        parts = {number: of_prefix(NODE, table) for number, table in tables.items()}
    nodes, passes = size_of(parts)
    what = f"{nodes} local regions of components that reach from part to part, and {passes} borders between them"
    check_affords(NODE_BYTES * nodes + PASS_BYTES * passes, memory_bytes, block, what, ADVICE)
    inside = blocks_inside(block, index3(core), covered(block, roi))
    regions, open_nodes, lookup = join(parts, inside, block.shape, region_rules(rules))
    spans = np.concatenate([one[SPAN] for one in tables.values()])
    whole = np.array([[spans[:, 0].min(), spans[:, 1].max()]])
    return Result(table={**with_prefix(REGION, regions), **with_prefix(NODE, open_nodes), **lookup, SPAN: whole})


def join_cell_bytes(voxels: int, memory_bytes: int) -> int:
    """Bytes that :func:`join_cell` needs for a cell of ``voxels`` voxels: it refuses more than ``memory_bytes``."""
    return min(memory_bytes, 550 * (voxels // VOXELS_PER_REGION))


def middles_by_cells(block: Block, rules: dict[str, Any], scale: float | None = None) -> Result:
    """Kernel: the middle of each region's plateau as far as it lies in the block, as in ``middles_block``.

    Parameters
    ----------
    rules
        Fields of :class:`~volengine.ops.basin_graph.RegionRules`.
    scale
        The number by which values are divided, or ``None``.

    Returns
    -------
    Result
        The table of :func:`volengine.ops.cell_middles.named`.
    """
    holding = cells_holding(block)
    found, names = plateaus_of_block(block.number, holding, [of_prefix(REGION, table) for _, table in holding])
    return Result(table=named(middles_of(block, found, rules, scale), names))


def middles_by_cells_bytes(
    inside: int, plane: int, itemsize: int, copies: bool, cell: int, levels: int, memory_bytes: int
) -> int:
    """Bytes that :func:`middles_by_cells` needs for ``inside`` voxels in slices of ``plane`` voxels.

    These, ``itemsize`` and ``copies`` are those of ``middles_bytes``, ``cell`` and ``levels`` those of
    :func:`relabel_by_cells_bytes`; the tables of ``join`` that are read have up to 300 bytes for a region.
    """
    tables = 300 * levels * (cell // VOXELS_PER_REGION)
    return middles_bytes(inside, plane, itemsize, copies) + min(memory_bytes, tables)


def nearest_cell(block: Block, level: int, rules: dict[str, Any]) -> Result:
    """Kernel: the positions of the regions that were finished in a cell, from the middles in its parts.

    Parameters
    ----------
    level
        Level of the cell, 0 for the smallest.
    rules
        Fields of :class:`~volengine.ops.basin_graph.RegionRules`.

    Returns
    -------
    Result
        The regions with their positions, with the prefix ``region.``; the rows of others with ``left.``.
    """
    (joined,), parts = block.tables["join"].values(), list(block.tables["cells"].values())
    rows = parts if level == 0 else [of_prefix(LEFT, table) for table in parts]
    regions, left = nearest(rows, level, of_prefix(REGION, joined), block.shape, region_rules(rules))
    return Result(table={**with_prefix(REGION, regions), **with_prefix(LEFT, left)})


def nearest_cell_bytes(voxels: int, memory_bytes: int) -> int:
    """Bytes that :func:`nearest_cell` needs for a cell of ``voxels`` voxels."""
    return join_cell_bytes(voxels, memory_bytes)


def space_cell(
    block: Block,
    level: int,
    levels: int,
    rules: dict[str, Any],
    roi: list[int] | None = None,
    memory_bytes: float = math.inf,
) -> Result:
    """Kernel: decide which picks of a cell are kept; the cell of the whole volume numbers them.

    Parameters
    ----------
    level, levels
        Level of the cell, from 1, and number of levels: the last cell is the whole volume.
    rules, roi, memory_bytes
        As for :func:`join_cell`.

    Returns
    -------
    Result
        The tables of :func:`volengine.ops.spacing.space`, or that of :func:`volengine.ops.spacing.numbered`.

    Raises
    ------
    MemoryRefusedError
        It needs more.
    """
    limits, box, kept = region_rules(rules), block.box, []
    if level > 1:
        tables = list(block.tables["cells"].values())
        picks, kept = [of_prefix(OPEN, table) for table in tables], [of_prefix(KEPT, table) for table in tables]
    else:
        picks = [candidates(of_prefix(REGION, table), box) for _, table in cells_holding(block)]
    open_count, kept_count = (sum(t["index"].size for t in each) for each in (picks, kept))
    what = f"{open_count} picks to be decided and {kept_count} others"
    check_affords(PICK_BYTES * open_count + KEPT_BYTES * kept_count, memory_bytes, block, what, ADVICE)
    left, found = space(picks, kept, box, covered(block, roi), limits)
    if level < levels:
        return Result(table={**with_prefix(OPEN, left), **with_prefix(KEPT, found)})
    numbers = numbered(found, limits.min_picks)
    return Result(table=numbers, counts={"picks": numbers["index"].size})


def space_cell_bytes(voxels: int, memory_bytes: int) -> int:
    """Bytes that :func:`space_cell` needs for a cell of ``voxels`` voxels: it refuses more than ``memory_bytes``."""
    return join_cell_bytes(voxels, memory_bytes)


def label_cell(block: Block, rules: dict[str, Any]) -> Result:
    """Kernel: the labels of the regions that were finished in a cell, and the rows of the picks among them.

    Parameters
    ----------
    rules
        Fields of :class:`~volengine.ops.basin_graph.RegionRules`.

    Returns
    -------
    Result
        The lookup of :func:`volengine.ops.cells.labelled`, and the columns of the picks, whose names begin with
        ``pick.``, as those of :func:`volengine.ops.regions.resolve` by ascending label.
    """
    (joined,), limits = block.tables["join"].values(), region_rules(rules)
    (placed,) = block.tables.get("nearest", block.tables["join"]).values()
    regions = of_prefix(REGION, placed)
    labels = labels_of(regions["index"], block.tables["numbers"][0])
    lookup = labelled({key: joined[key] for key in LOOKUP}, labels)
    rows = np.flatnonzero(labels)
    rows = rows[np.argsort(labels[rows])]
    return Result(table={**lookup, **with_prefix(COLUMN, _picks(regions, labels, rows, block, limits))})


def _picks(
    regions: Table, labels: NDArray[np.int64], rows: NDArray[np.intp], block: Block, rules: RegionRules
) -> Table:
    picks: Table = {
        "position_vox": regions["position"][rows],
        "weight": regions["weight"][rows] / rules.unit,
        "label": labels[rows],
        "size_vox": regions["voxels"][rows],
    }
    if rules.orient != "none":
        voxels, sums, products = (regions[name][rows] for name in ("voxels", "sums", "products"))
        picks |= axes_of(voxels, sums, products, block.shape, rules.scale, rules.orient, rules.orient_sign)
    return picks


def label_cell_bytes(voxels: int, whole: int, memory_bytes: int) -> int:
    """Bytes that :func:`label_cell` needs for a cell of ``voxels`` voxels in a volume of ``whole``.

    It holds the numbers of all picks of the volume, 16 bytes for each.
    """
    return min(memory_bytes, 550 * (voxels // VOXELS_PER_REGION) + 32 * (whole // VOXELS_PER_REGION))


def relabel_by_cells(block: Block, factors: list[list[int]]) -> Result:
    """Kernel: replace the numbers of a block's regions by labels; returns all levels ``@0``, ``@1`` ..., uint32."""
    basin = block.arrays["basin"].astype(np.uint32, copy=False)
    return Result(levels_of(relabel(basin, labels_of_block(block.number, cells_holding(block))), factors, "labels"))


def relabel_by_cells_bytes(inside: int, cell: int, levels: int) -> int:
    """Bytes that :func:`relabel_by_cells` needs for a block of ``inside`` voxels in a smallest cell of ``cell`` voxels.

    The tables of larger cells have rows only for what is open in their parts; each counts as much as the smallest. The
    engine refuses to read more than fits (:func:`volengine.engine.memory.check_tables`).
    """
    return 8 * inside + 64 * levels * (cell // VOXELS_PER_REGION)
