"""Scores of predictions against labels as sums, so that blocks can be added up in any order.

Labels are 0 (background), 1 (feature) and 2 (ignore: the voxel does not count). Everything that is counted is a whole
number, cross-entropies too (in units of 2⁻²⁰), so a score does not depend on blocks.

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

BACKGROUND, FEATURE, IGNORE = 0, 1, 2
UNIT = 2**20
"""Cross-entropies are counted in units of 1 / UNIT."""

SURE = 1e-7
"""Probabilities are taken to lie between this and 1 minus this (integers: half a step, 0.5 / 255, from both ends)."""

EPSILON = 1e-6
"""In the denominators of Surface-Dice, as in membrain-seg."""

COUNTS = ("voxels", "both", "found", "truth", "entropy", "skeleton", "skeleton_in", "truth_skeleton", "truth_in")
"""What :func:`count` and :func:`count_skeletons` count, see there."""

Counts = dict[str, int]


def labels_of(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Labels 0, 1, 2 as uint8.

    Raises
    ------
    InputError
        Another value; the message says which, and ``where``.
    """
    odd = values[~np.isin(values, (BACKGROUND, FEATURE, IGNORE))]
    if odd.size:
        raise InputError(
            f"{where}: labels are 0 (background), 1 (feature) and 2 (ignore), but it holds {odd.min()}. If these "
            "are class ids, name them: ids."
        )
    return values.astype(np.uint8)


def labels_of_ids(values: NDArray[Any], ids: Sequence[int], ignore_id: int | None = None) -> list[NDArray[np.uint8]]:
    """Labels of each class of a volume of class ids; voxels that equal ``ignore_id`` are 2 in all of them."""
    out = [(values == i).astype(np.uint8) for i in ids]
    if ignore_id is not None:
        ignored = values == ignore_id
        for labels in out:
            labels[ignored] = IGNORE
    return out


def probabilities(values: NDArray[Any], where: str) -> NDArray[Any]:
    """A prediction's values as probabilities: integers (0 to 255) divided by 255, floating numbers as they are.

    Raises
    ------
    InputError
        Values outside of 0 to 1, or no numbers.
    """
    if values.dtype.kind in "ui":
        if values.size and (values.min() < 0 or values.max() > 255):
            raise InputError(f"{where}: holds {values.min()} to {values.max()}; integers from 0 to 255 are expected.")
        return values / np.float32(255)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= 0 and high <= 1):  # also where they are no numbers
        raise InputError(
            f"{where}: holds values from {low:g} to {high:g}; a prediction holds probabilities from 0 to 1. "
            "Logits or masks are something else: see prediction_kind."
        )
    return values


def count(
    prediction: NDArray[Any], labels: NDArray[Any], threshold: float | None, where: str = "the prediction"
) -> Counts:
    """Count a prediction's voxels against labels.

    Parameters
    ----------
    prediction
        Probabilities: floating numbers, or integers where 255 is 1.0; voxels above the threshold are found. With
        ``threshold=None`` a mask: what is not 0 is found, and there is no cross-entropy.
    labels
        0, 1 or 2, same shape.

    Returns
    -------
    dict
        ``voxels`` that count; ``found``, ``truth`` and ``both``, of these; ``entropy``: binary cross-entropy summed
        over them, in units of 1 / UNIT, natural logarithm.
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
    """The voxels that are found: above the threshold, or without one those that are not 0.

    The level of integers is rounded as in picking: a threshold written as n / 255 means n.
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
    """Count the voxels of two skeletons, outside of ignored voxels.

    ``skeleton`` is that of ``found``, ``truth_skeleton`` that of ``labels == 1``; ``skeleton_in`` and ``truth_in`` are
    the parts of the one that lie in the other's mask.
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
    """Scores from counts; what cannot be said (no voxel found, no truth) is NaN.

    Returns
    -------
    dict
        ``dice`` 2|A ∩ B| / (|A| + |B|), 1 if both are empty; ``precision``, ``recall``; ``bce``, the mean binary
        cross-entropy (NaN without ``entropy``); and, if skeletons were counted, ``surface_precision`` =
        |skeleton(prediction) ∩ truth| / |skeleton(prediction)|, ``surface_recall`` = |skeleton(truth) ∩ prediction| /
        |skeleton(truth)| and their harmonic mean ``surface_dice``, each with 10⁻⁶ in the denominator as in
        membrain-seg (all three NaN where there is neither skeleton).
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
    """Voxels by what was predicted (rows) and what is true (columns): background first, then the features.

    A voxel is predicted to be the feature of the largest probability among those found there (masks count as 1), of
    equal ones the first; it truly is the first feature whose label is 1. Voxels that any of the labels ignores do not
    count.

    Returns
    -------
    ndarray, int64, (features + 1, features + 1)
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
