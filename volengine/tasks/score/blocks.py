"""Kernel of ``score``, and the memory that it needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import Box, index3
from volengine.core.errors import WiderHaloError
from volengine.ops.score_masks import (
    COUNTS,
    FEATURE,
    checked_numbers,
    confusion,
    count,
    count_skeletons,
    labels_of,
    labels_of_ids,
    mask_of,
)
from volengine.ops.stored import as_prediction, checked_span, is_mask, mask_in, span


def score_block(
    block: Block,
    names: list[str],
    thresholds: list[float | None],
    prediction_ids: list[int],
    ids: list[int],
    ignore_id: int | None,
    instances: bool,
    skeleton: str,
    region: list[int],
    scale: float | None = None,
) -> Result:
    """Kernel: count the voxels of a block from which scores are computed.

    The inputs are the arrays ``prediction0``, ``prediction1`` ... (probabilities or masks) and ``truth0``, ``truth1``
    ... (labels), one of each per feature, (z, y, x) with their halo. With class ids a single array holds all features.

    Parameters
    ----------
    names
        Names of the features, in the order of the arrays.
    thresholds
        For each feature the probability above which a voxel is found; ``None`` if the prediction is a mask.
    prediction_ids, ids, ignore_id, instances, skeleton
        As in :class:`~volengine.tasks.score.recipe.ScoreRecipe`.
    region
        The part of the volume that is scored: z0, y0, x0, z1, y1, x1 in voxels.
    scale
        The number by which probabilities are divided, or ``None``.

    Returns
    -------
    Result
        A table of int64: ``counts`` (1, features, number of :data:`~volengine.ops.score_masks.COUNTS`), and
        ``confusion`` (1, features + 1, features + 1), predicted by true, whose first row and column are the background.

    Raises
    ------
    WiderHaloError
        A mask is thicker than the halo, so its skeleton cannot be computed; the engine reads the block again.
    InputError
        A label is not 0, 1 or 2, a prediction is not a probability, or a mask holds NaN or negative values.
    """
    part = block.box.intersect(Box(index3(region[:3]), index3(region[3:])))
    n = len(names)
    rows = np.zeros((1, n, len(COUNTS)), np.int64)
    if part.empty:
        return Result(table={"counts": rows, "confusion": np.zeros((1, n + 1, n + 1), np.int64)})
    box = block.boxes["prediction0"]
    local = part.slices_in(box)
    found = _found(block, names, thresholds, prediction_ids, scale)
    labels = _labels(block, names, ids, ignore_id, instances)
    for values, threshold, name in zip(found, thresholds, names, strict=True):
        if threshold is not None:
            checked_span(values[local], part, _of(name), scale)
    for k, (values, truth) in enumerate(zip(found, labels, strict=True)):
        counts = count(values[local], truth[local], thresholds[k], _of(names[k]))
        if skeleton != "none":
            counts |= _skeletons(block, part, mask_of(values, thresholds[k]), truth, skeleton)
        rows[0, k] = [counts.get(name, 0) for name in COUNTS]
    matrix = confusion([v[local] for v in found], [t[local] for t in labels], thresholds)
    return Result(table={"counts": rows, "confusion": matrix[None]}, counts={"voxels scored": part.size})


def score_block_bytes(voxels: int, read: int, features: int, skeleton: str) -> int:
    """Bytes that :func:`score_block` needs for a core of ``voxels`` voxels, and ``read`` voxels with the halo."""
    return voxels * (40 + 10 * features) + read * features + (80 * read if skeleton == "3d" else 0)


def _of(name: str) -> str:
    return f"the prediction of {name}"


def _found(
    block: Block, names: list[str], thresholds: list[float | None], prediction_ids: list[int], scale: float | None
) -> list[Any]:
    """The prediction (probabilities or a mask) of each feature, halo included."""
    if prediction_ids:
        values = checked_numbers(block.arrays["prediction0"], "the prediction")
        return [values == i for i in prediction_ids]
    found = []
    for k, (name, threshold) in enumerate(zip(names, thresholds, strict=True)):
        values, kind = block.arrays[f"prediction{k}"], f"kind{k}"
        if threshold is None:
            found.append(checked_numbers(values, _of(name)))
            continue
        if values.dtype.kind in "ui" and kind not in block.tables and scale is None:
            is_mask(*span(values), _of(name))  # refuses what is no prediction
        found.append(as_prediction(values, mask=mask_in(block.tables, kind), scale=scale))
    return found


def _labels(block: Block, names: list[str], ids: list[int], ignore_id: int | None, instances: bool) -> list[Any]:
    """The labels of each feature, halo included."""
    arrays = block.arrays
    if ids:
        return labels_of_ids(checked_numbers(arrays["truth0"], "the truth"), ids, ignore_id)
    truth = {name: arrays[f"truth{k}"] for k, name in enumerate(names)}
    if instances:
        checked = [checked_numbers(values, f"the truth of {name}") for name, values in truth.items()]
        return [(values != 0).astype(np.uint8) for values in checked]
    return [labels_of(values, f"the truth of {name}") for name, values in truth.items()]


def _skeletons(block: Block, part: Box, found: Any, labels: Any, skeleton: str) -> dict[str, int]:
    from volengine.ops.skeleton import halo_needed, slice_skeleton, surface_skeleton

    box, made = block.boxes["prediction0"], []
    for mask in (found, labels == FEATURE):
        if skeleton == "2d":
            made.append(slice_skeleton(mask)[part.slices_in(box)])
            continue
        halo = halo_needed(mask, box, block.box, block.shape)
        if halo is not None:
            raise WiderHaloError(halo)
        made.append(surface_skeleton(mask, box, part, block.shape))
    local = part.slices_in(box)
    return count_skeletons(found[local], made[0], labels[local], made[1])
