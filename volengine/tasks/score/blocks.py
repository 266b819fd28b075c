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
    confusion,
    count,
    count_skeletons,
    labels_of,
    labels_of_ids,
    mask_of,
)


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
        A label is not 0, 1 or 2, or a prediction is not a probability.
    """
    part = block.box.intersect(Box(index3(region[:3]), index3(region[3:])))
    n = len(names)
    rows = np.zeros((1, n, len(COUNTS)), np.int64)
    if part.empty:
        return Result(table={"counts": rows, "confusion": np.zeros((1, n + 1, n + 1), np.int64)})
    box = block.boxes["prediction0"]
    local = part.slices_in(box)
    found, labels = _values(block, names, prediction_ids, ids, ignore_id, instances)
    for k, (values, truth) in enumerate(zip(found, labels, strict=True)):
        counts = count(values[local], truth[local], thresholds[k], f"the prediction of {names[k]}")
        if skeleton != "none":
            counts |= _skeletons(block, part, mask_of(values, thresholds[k]), truth, skeleton)
        rows[0, k] = [counts.get(name, 0) for name in COUNTS]
    matrix = confusion([v[local] for v in found], [t[local] for t in labels], thresholds)
    return Result(table={"counts": rows, "confusion": matrix[None]}, counts={"voxels scored": part.size})


def score_block_bytes(voxels: int, read: int, features: int, skeleton: str) -> int:
    """Bytes that :func:`score_block` needs for a core of ``voxels`` voxels, and ``read`` voxels with the halo."""
    return voxels * (40 + 10 * features) + (80 * read if skeleton == "3d" else 0)


def _values(
    block: Block, names: list[str], prediction_ids: list[int], ids: list[int], ignore_id: int | None, instances: bool
) -> tuple[list[Any], list[Any]]:
    """The prediction (probabilities or a mask) and the labels of each feature, halo included."""
    arrays = block.arrays
    if prediction_ids:
        found = [arrays["prediction0"] == i for i in prediction_ids]
    else:
        found = [arrays[f"prediction{k}"] for k in range(len(names))]
    if ids:
        return found, labels_of_ids(arrays["truth0"], ids, ignore_id)
    truth = [arrays[f"truth{k}"] for k in range(len(names))]
    if instances:
        return found, [(values != 0).astype(np.uint8) for values in truth]
    return found, [labels_of(values, f"the truth of {name}") for name, values in zip(names, truth, strict=True)]


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
