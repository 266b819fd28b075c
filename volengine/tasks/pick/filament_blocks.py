"""Kernels that trace filaments in the tree of ``pick``: a component in the cell that finished it.

The voxels of all components of a block are read once. Those of a component that was finished in a cell are all in the
blocks of that cell; there its filaments are traced, and the voxels of others go up, with their labels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from volengine.core.block import Block, Result
from volengine.ops.cells import labels_of_block
from volengine.ops.regions import relabel
from volengine.tasks.common.cell_tables import check_affords, of_prefix, with_prefix
from volengine.tasks.pick.description import COLUMN, VOXELS_PER_REGION, cells_holding
from volengine.tasks.pick.filaments import GATHERED_BYTES, LEFT, OF_COMPONENT, FilamentRules, traced


def voxels_by_cells(block: Block) -> Result:
    """Kernel: the voxels of all components in a block, with their labels.

    Returns
    -------
    Result
        The table has ``left.label`` (n,) and ``left.index`` (n, 3), z, y, x in the volume.
    """
    basin = block.arrays["basin"].astype(np.uint32, copy=False)
    label = relabel(basin, labels_of_block(block.number, cells_holding(block)))
    index = np.argwhere(label)
    table = {"label": label[tuple(index.T)], "index": (index + np.array(block.box.start)).astype(np.int32)}
    return Result(table=with_prefix(LEFT, table))


def voxels_by_cells_bytes(inside: int, cell: int, levels: int) -> int:
    """Bytes that :func:`voxels_by_cells` needs for a block of ``inside`` voxels, up to all of them in components.

    The tables of the cells that hold it are those of ``relabel_by_cells``.
    """
    return 44 * inside + 64 * levels * (cell // VOXELS_PER_REGION)


def trace_cell(block: Block, rules: dict[str, Any], memory_bytes: float = math.inf) -> Result:
    """Kernel: points along the filaments of the components that were finished in a cell.

    Parameters
    ----------
    rules
        Fields of :class:`~volengine.tasks.pick.filaments.FilamentRules`.
    memory_bytes
        Memory that may be used.

    Returns
    -------
    Result
        The points of :func:`volengine.tasks.pick.filaments.traced` as picks, filaments numbered in the cell; its
        components, named ``component.<column>``; and the voxels of other components, as ``voxels_by_cells`` has them.

    Raises
    ------
    MemoryRefusedError
        It needs more.
    """
    tables = [of_prefix(LEFT, table) for table in block.tables["voxels"].values()]
    count = sum(table["label"].size for table in tables)
    what = f"{count} voxels of components that are filaments"
    advice = "raise the threshold, or pick parts of the volume"
    check_affords(GATHERED_BYTES * count, memory_bytes, block, what, advice)
    label = np.concatenate([table["label"] for table in tables])
    index = np.concatenate([table["index"] for table in tables])
    (finished,) = block.tables["label"].values()
    mine = np.isin(label, finished[f"{COLUMN}label"])
    left = {"label": label[~mine], "index": index[~mine]}
    label, index = label[mine], index[mine]  # and no more of the others than goes up
    points, components = traced(label, index, block.shape, FilamentRules(**rules), memory_bytes)
    counts = {"picks": points["label"].size, "filaments": int(components["filaments"].sum())}
    table = {**with_prefix(COLUMN, points), **with_prefix(OF_COMPONENT, components), **with_prefix(LEFT, left)}
    return Result(table=table, counts=counts)


def trace_cell_bytes(memory_bytes: int) -> int:
    """Bytes that :func:`trace_cell` needs: as many as it may use, because it refuses what does not fit."""
    return memory_bytes
