"""Kernels of ``stats``, and the memory that they need."""

from __future__ import annotations

from typing import Any

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import Index3, index3
from volengine.ops.inside import inside_only
from volengine.ops.stats_labels import (
    class_basins,
    count_ids,
    join_classes,
    resolve_classes,
    whole_ids,
)
from volengine.tasks.common.cell_tables import covered
from volengine.tasks.stats.description import VOXELS_PER_OBJECT, class_rules, objects_of_ids


def objects_block(block: Block, rules: dict[str, Any], where: str, roi: list[int] | None = None) -> Result:
    """Kernel: find the local regions of each class in a block of class ids.

    Parameters
    ----------
    rules
        :class:`~volengine.ops.stats_labels.ClassRules` as JSON.
    where
        Name of the volume, for messages.
    roi
        The part of the volume that is counted, z0, y0, x0, z1, y1, x1 in voxels: outside of it there is nothing.
        ``None``: the whole volume.

    Returns
    -------
    Result
        A table of regions, see :func:`volengine.ops.stats_labels.class_basins`.
    """
    labels = whole_ids(block.arrays["labels"], where)
    labels = inside_only(labels, block.boxes["labels"], covered(block, roi))
    return Result(table=class_basins(labels, block.boxes["labels"], block.box, block.shape, class_rules(rules)))


def objects_block_bytes(voxels: int, read: int, dtype: str, roi: bool) -> int:
    """Bytes that :func:`objects_block` needs for a core of ``voxels`` voxels, and ``read`` voxels with the halo.

    They hold the components of the core; for one split class at a time its mask, heights and basins; and a copy of
    floating-point labels as integers; with a ``roi`` one more copy.
    """
    wide = 8 if np.dtype(dtype).kind == "f" else 0
    wide += roi * max(wide, np.dtype(dtype).itemsize)
    return (7 + wide) * read + 40 * voxels + 64 * 2**20


def seams_block(block: Block, rules: dict[str, Any]) -> Result:
    """Kernel: join the regions of each class in a block with those of its neighbours, from their tables."""
    return Result(table=join_classes(block.number, block.tables["objects"], block.box, block.shape, class_rules(rules)))


def seams_block_bytes(shape: Index3) -> int:
    """Bytes that :func:`seams_block` needs for a block of this shape (z, y, x), for the voxels of its faces."""
    z, y, x = shape
    return 2 * (z * y + y * x + z * x) * (27 * 16 + 300)


def resolve_objects(block: Block, shape: list[int], rules: dict[str, Any]) -> Result:
    """Reduce kernel: the objects of all classes of an atlas.

    Returns
    -------
    Result
        A table with one row per object: ``class``, ``position_vox`` and ``voxels``.
    """
    found = resolve_classes(block.tables["parts"], index3(shape), class_rules(rules))
    return Result(table=found, counts={"objects": len(found["class"])})


def resolve_objects_bytes(voxels: int) -> int:
    """Bytes that :func:`resolve_objects` needs for a volume of ``voxels`` voxels."""
    return 550 * (voxels // VOXELS_PER_OBJECT)


def ids_block(block: Block, where: str) -> Result:
    """Kernel: count the voxels of each numbered object in a block, and sum their coordinates."""
    return Result(table=count_ids(whole_ids(block.arrays["labels"], where), block.box))


def ids_block_bytes(voxels: int) -> int:
    """Bytes that :func:`ids_block` needs for a block of ``voxels`` voxels."""
    return 64 * voxels


def merge_objects(block: Block) -> Result:
    """Reduce kernel: the numbered objects of a volume; the table is like that of :func:`resolve_objects`."""
    return objects_of_ids(list(block.tables["parts"].values()))


def merge_objects_bytes(voxels: int) -> int:
    """Bytes that :func:`merge_objects` needs for a volume of ``voxels`` voxels."""
    return 200 * (voxels // VOXELS_PER_OBJECT)
