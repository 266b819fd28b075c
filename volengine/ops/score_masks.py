"""Scores of predictions against labels, computed from sums, so that blocks can be added up in any order.

Labels are 0 (background), 1 (feature) and 2 (ignore: the voxel does not count). All sums are whole numbers, also the
cross-entropies (in units of 2⁻²⁰), so a score does not depend on blocks.

>>> import numpy as np
>>> counts = count(np.array([[[0.9, 0.8, 0.3]]]), np.array([[[1, 0, 0]]]), threshold=0.5)
>>> scores(counts)["precision"], scores(counts)["recall"]
(0.5, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.ops.stored import TOLERANCE

BACKGROUND, FEATURE, IGNORE = 0, 1, 2
UNIT = 2**20
"""Cross-entropies are stored as integers in units of 1 / UNIT."""

SURE = 1e-7
"""For the cross-entropy, floats are clipped to this and 1 minus this; integers to half a step, 0.5 / 255."""

EPSILON = 1e-6
"""Added to the denominators of Surface-Dice, as in membrain-seg."""

COUNTS = ("voxels", "both", "found", "truth", "entropy", "skeleton", "skeleton_in", "truth_skeleton", "truth_in")
"""Names of the sums that :func:`count` and :func:`count_skeletons` return."""

Counts = dict[str, int]


def labels_of(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Check labels (0, 1 and 2) and convert them to uint8.

    Raises
    ------
    InputError
        There is another value; the message names it, and the volume ``where`` it was found.
    """
    fits = (values == BACKGROUND) | (values == FEATURE) | (values == IGNORE)  # a byte per voxel; np.isin takes ten
    if not fits.all():
        odd = values[~fits]
        raise InputError(
            f"{where}: labels are 0 (background), 1 (feature) and 2 (ignore), but it holds {odd.min()}. If these "
            "are class ids, choose the classes with ids."
        )
    return values.astype(np.uint8)


def checked_numbers(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Return a mask, class ids or numbered objects as they are.

    Raises
    ------
    InputError
        A value is NaN, which would differ from 0 and so be found, or negative: IMOD's signed bytes, for example, are
        -128 where there is nothing.
    """
    if values.dtype.kind in "fi" and values.size:
        low, high = values.min(), values.max()
        if not (low >= 0 and high < np.inf):  # also where they are no numbers
            raise InputError(
                f"{where}: holds values from {low} to {high}; masks, class ids and numbered objects are 0 where there "
                "is nothing, and positive elsewhere. Replace NaN and negative values (IMOD's signed bytes of a mask: "
                "add 128)."
            )
    return values


def labels_of_ids(values: NDArray[Any], ids: Sequence[int], ignore_id: int | None = None) -> list[NDArray[np.uint8]]:
    """Make the labels (uint8: 0, 1, 2) of each of ``ids`` from a volume of class ids; ``ignore_id`` is 2 in all."""
    out = [(values == i).astype(np.uint8) for i in ids]
    if ignore_id is not None:
        ignored = values == ignore_id
        for labels in out:
            labels[ignored] = IGNORE
    return out


def probabilities(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Convert a prediction to probabilities: integers (0 to 255) are divided by 255, floats stay as they are.

    Raises
    ------
    InputError
        A value is outside of 0 to 1 by more than :data:`~volengine.ops.stored.TOLERANCE` (integers: of 0 to 255), or
        NaN; the message names ``where``.
    """
    if values.dtype.kind in "ui":
        if values.size and (values.min() < 0 or values.max() > 255):
            raise InputError(f"{where}: holds {values.min()} to {values.max()}; integers from 0 to 255 are expected.")
        return values / np.float32(255)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # also where they are no numbers
        raise InputError(
            f"{where}: holds values from {low:g} to {high:g}; a prediction holds probabilities from 0 to 1. "
            "Logits or masks are something else: see prediction_kind."
        )
    return values


def count(
    prediction: NDArray[Any], labels: NDArray[Any], threshold: float | None, where: str = "the prediction"
) -> Counts:
    """Count the voxels of a prediction against labels.

    Parameters
    ----------
    prediction
        Probabilities: floating point, or integers of which 255 is 1.0.
    labels
        0, 1 or 2, of the same shape.
    threshold
        Voxels with a higher probability are found. ``None``: the prediction is a mask; its non-zero voxels are found,
        and ``entropy`` is 0.
    where
        How error messages name the prediction.

    Returns
    -------
    dict
        ``voxels``: number of voxels that count (labels other than 2). Of these: ``found``, ``truth`` and ``both``.
        ``entropy``: binary cross-entropy (natural logarithm) summed over them, in units of 1 / UNIT.

    Raises
    ------
    InputError
        The shapes differ, or a value is no probability.
    """
    if prediction.shape != labels.shape:
        raise InputError(f"{where} has the shape {prediction.shape}, its labels {labels.shape}.")
    counted, truth = labels != IGNORE, labels == FEATURE
    found = mask_of(prediction, threshold) & counted
    return {
        "voxels": int(np.count_nonzero(counted)),
        "both": int(np.count_nonzero(found & truth)),
        "found": int(np.count_nonzero(found)),
        "truth": int(np.count_nonzero(truth)),
        "entropy": 0 if threshold is None else _entropy(prediction[counted], truth[counted], where),
    }


def mask_of(prediction: NDArray[Any], threshold: float | None) -> NDArray[np.bool_]:
    """Return the voxels that are found: those above the threshold; without a threshold, those that are not 0.

    For integers the threshold is rounded as in picking: a threshold that was written as n / 255 means n.
    """
    if threshold is None:
        nonzero: NDArray[np.bool_] = prediction != 0
        return nonzero
    level = math.floor(round(threshold * 255, 9)) if prediction.dtype.kind in "ui" else threshold
    above: NDArray[np.bool_] = prediction > level
    return above


def _entropy(prediction: NDArray[Any], truth: NDArray[np.bool_], where: str) -> int:
    sure = SURE if prediction.dtype.kind == "f" else 0.5 / 255
    p = np.clip(probabilities(prediction, where).astype(np.float64), sure, 1 - sure)
    np.subtract(1, p, out=p, where=~truth)
    return int(np.rint(-np.log(p) * UNIT).astype(np.int64).sum())


def count_skeletons(
    found: NDArray[np.bool_],
    skeleton: NDArray[np.bool_],
    labels: NDArray[Any],
    truth_skeleton: NDArray[np.bool_],
) -> Counts:
    """Count the voxels of two skeletons, without ignored voxels.

    Parameters
    ----------
    found, skeleton
        Mask of the found voxels, and its skeleton.
    labels, truth_skeleton
        Labels 0, 1, 2, and the skeleton of ``labels == 1``.

    Returns
    -------
    dict
        ``skeleton`` and ``truth_skeleton``: voxels of both skeletons. ``skeleton_in``: voxels of the found skeleton
        that lie in the true mask. ``truth_in``: voxels of the true skeleton that lie in the found mask.
    """
    counted, truth = labels != IGNORE, labels == FEATURE
    skeleton, truth_skeleton = skeleton & counted, truth_skeleton & counted
    return {
        "skeleton": int(np.count_nonzero(skeleton)),
        "skeleton_in": int(np.count_nonzero(skeleton & truth)),
        "truth_skeleton": int(np.count_nonzero(truth_skeleton)),
        "truth_in": int(np.count_nonzero(truth_skeleton & found)),
    }


def scores(counts: Mapping[str, int], *, entropy: bool = True) -> dict[str, float]:
    """Compute scores from counts; a score that is not defined (no voxel found, no truth) is NaN.

    Parameters
    ----------
    counts
        Sums of :func:`count` and, for Surface-Dice, :func:`count_skeletons`, over all blocks.
    entropy
        Whether the cross-entropy was counted.

    Returns
    -------
    dict
        ``dice`` 2|A ∩ B| / (|A| + |B|), 1 if both are empty, NaN if no voxel counts; ``precision``, ``recall``;
        ``bce``, the mean binary cross-entropy (NaN without ``entropy``); and, if skeletons were counted,
        ``surface_precision`` = |skeleton(prediction) ∩ truth| / |skeleton(prediction)|, ``surface_recall`` =
        |skeleton(truth) ∩ prediction| / |skeleton(truth)| and their harmonic mean ``surface_dice``, each with 10⁻⁶ in
        the denominator as in membrain-seg (all three NaN if there is neither skeleton).
    """
    nan = math.nan
    both, found, truth, voxels = (counts[k] for k in ("both", "found", "truth", "voxels"))
    out = {
        "dice": 2 * both / (found + truth) if found + truth else (1.0 if voxels else nan),
        "precision": both / found if found else nan,
        "recall": both / truth if truth else nan,
        "bce": counts.get("entropy", 0) / UNIT / voxels if voxels and entropy else nan,
    }
    if "skeleton" in counts:
        if counts["skeleton"] or counts["truth_skeleton"]:
            precision = counts["skeleton_in"] / (counts["skeleton"] + EPSILON)
            recall = counts["truth_in"] / (counts["truth_skeleton"] + EPSILON)
            surface = 2 * precision * recall / (precision + recall + EPSILON)
        else:
            precision = recall = surface = nan
        out |= {"surface_dice": surface, "surface_precision": precision, "surface_recall": recall}
    return out


def confusion(
    predictions: Sequence[NDArray[Any]],
    labels: Sequence[NDArray[Any]],
    thresholds: Sequence[float | None],
) -> NDArray[np.int64]:
    """Count voxels by predicted class (rows) and true class (columns): background first, then the features.

    The predicted class of a voxel is the feature with the largest probability among those that are found there (masks
    count as 1); of equal ones the first. Its true class is the first feature whose label is 1. A voxel that is ignored
    by any of the labels does not count.

    Parameters
    ----------
    predictions, labels, thresholds
        One of each per feature, as for :func:`count`; all arrays have one shape.

    Returns
    -------
    (features + 1, features + 1) int64
    """
    n = len(predictions) + 1
    predicted = np.zeros(predictions[0].shape, np.int64)
    true, counted = predicted.copy(), np.ones(predicted.shape, bool)
    best = np.zeros(predicted.shape, np.float32)
    for k, (values, truth, threshold) in enumerate(zip(predictions, labels, thresholds, strict=True), 1):
        found = mask_of(values, threshold)
        scale = np.float32(255 if values.dtype.kind in "ui" else 1)
        strength = found.astype(np.float32) if threshold is None else values.astype(np.float32) / scale
        wins = found & (strength > best)
        predicted[wins], best[wins] = k, strength[wins]
        true[(true == 0) & (truth == FEATURE)] = k
        counted &= truth != IGNORE
    return np.bincount((predicted * n + true)[counted], minlength=n * n).reshape(n, n)
