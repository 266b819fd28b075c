"""Kernels of ``skeleton``, and the memory that they need."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, nothing
from volengine.core.boxes import Box
from volengine.core.errors import InputError, WiderHaloError
from volengine.ops.stored import as_prediction, checked_span, mask_in
from volengine.tasks.common.cell_tables import check_affords
from volengine.tasks.common.levels import levels_of
from volengine.tasks.skeleton.description import AREA_UNITS, WALLS
from volengine.tasks.skeleton.lines import LINE_COLUMNS, POINT_COLUMNS, LineRules, traced_lines

LINE_BYTES = 360
"""Bytes for each voxel of the object while lines are traced: gathered, sorted, joined to components."""


def skeleton_block(
    block: Block,
    factors: list[list[int]],
    layers: str,
    voxel_size: list[float],
    dtype: str,
    where: str,
    threshold: float | None,
    labels: list[int],
    scale: float | None = None,
) -> Result:
    """Kernel: the mid-surface of the object in a block.

    Parameters
    ----------
    factors
        Per level, how many voxels of level 0 one voxel spans, z, y, x.
    layers, labels
        As in :class:`~volengine.tasks.skeleton.recipe.SkeletonRecipe`.
    voxel_size
        Angstrom, z, y, x.
    dtype
        Of the output: 1 on the skeleton, or the label.
    where
        How messages name the volume.
    threshold
        The probability above which a voxel belongs to the object; ``None`` if the volume is a mask or holds labels.
    scale
        The number by which probabilities are divided, or ``None``.

    Returns
    -------
    Result
        The skeleton on all levels. The table has one row: ``voxels``, ``area`` (:data:`AREA_UNITS`; 0 for a ridge), and
        ``deep``: voxels of the object so far inside that they have no skeleton.

    Raises
    ------
    WiderHaloError
        The object is thicker than the halo; the engine reads the block again.
    InputError
        A value is no probability, or no label.
    """
    from volengine.ops.skeleton import DEEPEST, column_areas, depth, halo_needed, single_layer, surface_ridge

    box, core = block.boxes["source"], block.box
    mask = object_of(block, where, threshold, labels, scale)
    if not mask.any():
        table = {name: np.zeros(1, np.int64) for name in ("voxels", "area", "deep")}
        return Result(levels_of(nothing(core.shape, dtype), factors, "labels"), table)
    halo = halo_needed(mask, box, core, block.shape)
    if halo is not None:
        raise WiderHaloError(halo)
    found = (single_layer if layers == "one" else surface_ridge)(mask, box, core, block.shape)
    out = np.zeros(core.shape, dtype)
    at = tuple((found.place - np.array(core.start)).T)
    labelled = threshold is None and block.arrays["source"].dtype.kind in "iu"
    out[at] = block.core_of("source")[at] if labelled else 1
    areas = column_areas(found.direction, voxel_size) if layers == "one" else np.zeros(0)
    table = {
        "voxels": np.array([len(found.place)], np.int64),
        "area": np.array([np.rint(areas * AREA_UNITS).astype(np.int64).sum()], np.int64),
        "deep": np.array([int((depth(mask)[core.slices_in(box)] > DEEPEST - 4).sum())], np.int64),
    }
    return Result(levels_of(out, factors, "labels"), table, counts={"skeleton voxels": len(found.place)})


def skeleton_block_bytes(read: int, inside: int) -> int:
    """Bytes that :func:`skeleton_block` needs for ``read`` voxels with the halo, ``inside`` of them in the core."""
    return 110 * read + 8 * inside


def object_of(
    block: Block, where: str, threshold: float | None, labels: list[int], scale: float | None
) -> NDArray[np.bool_]:
    """The voxels of the object, with the halo of the input ``source``."""
    values = block.arrays["source"]
    if threshold is None:
        return _labelled(values, block.boxes["source"], where, labels)
    prediction = as_prediction(values, mask=mask_in(block.tables), scale=scale)
    checked_span(prediction[block.box.slices_in(block.boxes["source"])], block.box, where, scale)
    level = threshold * 255 if prediction.dtype.kind in "iu" else threshold
    above: NDArray[np.bool_] = prediction > level
    return above


def _labelled(values: NDArray[Any], box: Box, where: str, labels: list[int]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{where}: block {box.start} to {box.stop} holds values that are not finite; it is no mask.")
    if values.dtype.kind in "if" and values.size and values.min() < 0:
        raise InputError(
            f"{where}: block {box.start} to {box.stop} holds {values.min()}; masks and labels are 0 and more."
        )
    mask: NDArray[np.bool_] = np.isin(values, labels) if labels else values != 0
    return mask


def object_voxels(
    block: Block, where: str, threshold: float | None, labels: list[int], scale: float | None = None
) -> Result:
    """Kernel: the places of the object's voxels in a block, for lines.

    Returns
    -------
    Result
        The table has ``index`` (n, 3) int32, z, y, x in the volume.
    """
    index = np.argwhere(object_of(block, where, threshold, labels, scale))
    return Result(table={"index": (index + np.array(block.box.start)).astype(np.int32)}, counts={"voxels": len(index)})


def object_voxels_bytes(inside: int) -> int:
    """Bytes that :func:`object_voxels` needs for ``inside`` voxels, up to all of them in the object."""
    return 44 * inside


def trace_lines(block: Block, rules: dict[str, Any], memory_bytes: float = math.inf) -> Result:
    """Kernel: the centrelines of all components, from the voxels of all blocks.

    Parameters
    ----------
    rules
        Fields of :class:`~volengine.tasks.skeleton.lines.LineRules`.
    memory_bytes
        Memory that may be used.

    Returns
    -------
    Result
        Columns ``line.NAME``, one row for each line, and ``point.NAME``, one for each of their points; and
        :data:`~volengine.tasks.skeleton.description.WALLS`.

    Raises
    ------
    MemoryRefusedError
        It needs more.
    """
    tables = block.tables["voxels"].values()
    count = sum(len(table["index"]) for table in tables)
    advice = "raise the threshold, choose labels, or trace a part of the volume (--roi)"
    check_affords(LINE_BYTES * count, memory_bytes, block, f"{count} voxels of filaments", advice)
    index = np.concatenate([np.zeros((0, 3), np.int32), *(table["index"] for table in tables)])
    lines, points, walls = traced_lines(index, LineRules(**rules), memory_bytes - LINE_BYTES * count)
    assert set(lines) == set(LINE_COLUMNS)
    assert set(points) == set(POINT_COLUMNS)
    table = {f"line.{k}": v for k, v in lines.items()} | {f"point.{k}": v for k, v in points.items()}
    return Result(table={**table, WALLS: np.array([walls])}, counts={"lines": len(lines["line"])})


def trace_lines_bytes(memory_bytes: int) -> int:
    """Bytes that :func:`trace_lines` needs: as many as it may use, because it refuses what does not fit."""
    return memory_bytes
