"""Kernels of the tree of ``stats``, and the memory they need; the method is in :mod:`volengine.ops.stats_cells`."""

from __future__ import annotations

import math
from typing import Any

from volengine.core.block import Block, Result
from volengine.core.boxes import index3
from volengine.ops.cells import NODE_BYTES, PASS_BYTES
from volengine.ops.stats_cells import add_ids, ids_in, join_cell_classes, leaves_of, parts_of, sizes_of
from volengine.tasks.common.cell_tables import blocks_inside, check_affords, covered
from volengine.tasks.stats.description import VOXELS_PER_OBJECT, class_rules, objects_of_ids

ID_BYTES = 200
"""Bytes for a number in the tables that are added up; measured with tracemalloc."""


def join_objects(
    block: Block,
    core: list[int],
    rules: dict[str, Any],
    roi: list[int] | None = None,
    memory_bytes: float = math.inf,
) -> Result:
    """Kernel: join the parts of a cell, and finish the objects of an atlas that lie in it as a whole.

    Parameters
    ----------
    core
        Shape of the blocks of ``stats-objects``, voxels z, y, x.
    rules
        :class:`~volengine.ops.stats_labels.ClassRules` as JSON.
    roi
        The part of the volume that is counted, z0, y0, x0, z1, y1, x1 in voxels; ``None``: the whole volume.
    memory_bytes
        Memory that may be used.

    Returns
    -------
    Result
        The table of :func:`volengine.ops.stats_cells.join_cell_classes`, and the ``ids`` of the classes in the cell.

    Raises
    ------
    MemoryRefusedError
        It needs more.
    InputError
        There are too many ids in the whole volume.
    """
    leaves = "seams" in block.tables
    tables = block.tables["seams" if leaves else "cells"]
    parts = leaves_of(tables) if leaves else parts_of(tables)
    nodes, passes = sizes_of(parts)
    what = f"{nodes} parts of objects that reach from part to part, and {passes} borders between them"
    advice = "count fewer classes (--classes, --ids), or parts of the volume (--roi)"
    check_affords(NODE_BYTES * nodes + PASS_BYTES * passes, memory_bytes, block, what, advice)
    part = covered(block, roi)
    inside = blocks_inside(block, index3(core), part)
    found = join_cell_classes(parts, inside, block.shape, class_rules(rules))
    found |= ids_in(list(tables.values()), parts, whole=block.box == part)
    return Result(table=found, counts={"objects": len(found["class"])})


def join_objects_bytes(voxels: int, memory_bytes: int) -> int:
    """Bytes that :func:`join_objects` needs for a cell of ``voxels`` voxels: it refuses more than ``memory_bytes``."""
    return min(memory_bytes, 550 * (voxels // VOXELS_PER_OBJECT))


def add_objects(block: Block, last: bool, memory_bytes: float = math.inf) -> Result:
    """Kernel: add up the voxels of numbered objects in a cell.

    Parameters
    ----------
    last
        Whether the cell is the whole volume.
    memory_bytes
        Memory that may be used.

    Returns
    -------
    Result
        The table of :func:`volengine.ops.stats_cells.add_ids`; of the last cell the objects.

    Raises
    ------
    MemoryRefusedError
        It needs more.
    """
    tables = list(block.tables["parts"].values())
    rows = sum(table["id"].size for table in tables)
    what, advice = f"{rows} rows of numbered objects", "or count parts of the volume (--roi)"
    check_affords(ID_BYTES * rows, memory_bytes, block, what, advice)
    return objects_of_ids(tables) if last else Result(table=add_ids(tables))


def add_objects_bytes(voxels: int, memory_bytes: int) -> int:
    """Bytes that :func:`add_objects` needs for a cell of ``voxels`` voxels: it refuses more than ``memory_bytes``."""
    return min(memory_bytes, ID_BYTES * (voxels // VOXELS_PER_OBJECT))
