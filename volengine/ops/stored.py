"""What stored values mean: probabilities, a mask, or something that is no prediction at all.

A *prediction* holds probabilities: floating-point numbers from 0 to 1, or uint8 of which 255 is 1.0. Other programs
write masks of 0 and 1 in any type of integers, probabilities times 100 or 255, logits, and tomograms look like neither.
The difference between a mask and a prediction in bytes cannot be seen in a part: a volume is a mask if it holds nothing
but 0 and 1 anywhere, so :func:`is_mask` decides by the span of the whole volume.

>>> import numpy as np
>>> as_prediction(np.array([[[0, 1]]], np.int16), mask=True).tolist()
[[[0, 255]]]
>>> as_prediction(np.array([[[0, 51]]], np.float32), scale=255).round(6).tolist()
[[[0.0, 0.20000000298023224]]]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from volengine.core.block import Table
from volengine.core.boxes import Box
from volengine.core.errors import InputError

TOLERANCE = 1e-3
"""How far floating-point probabilities may lie outside of 0 to 1: programs round, and resample."""

ONE = 255
"""The integer that stands for a probability of 1."""

_LARGEST = 2**62

Array = NDArray[Any]


def span(values: Array) -> tuple[int, int]:
    """The smallest and the largest of integers or truth values; (0, 0) of none. Beyond ±2⁶²: that number."""
    if not values.size:
        return 0, 0
    return max(int(values.min()), -_LARGEST), min(int(values.max()), _LARGEST)


def is_mask(low: int, high: int, where: str, *, labels: bool = False) -> bool:
    """Decide what a volume of integers holds: a mask (only 0 and 1), or a prediction (0 to 255).

    Parameters
    ----------
    low, high
        Smallest and largest value of the whole volume.
    where
        How messages name the volume.
    labels
        The volume says that it holds labels, so it cannot be a prediction.

    Raises
    ------
    InputError
        It is neither.
    """
    if low < 0:
        signed = (
            " IMOD writes masks as signed bytes, -128 for 0 and -127 for 1: add 128 (newstack -mode 6), or write them "
            "as mode 1."
            if low == -128 and high <= -127
            else ""
        )
        raise InputError(
            f"{where} holds integers from {low} to {high}: negative ones are no probabilities and no mask, but those "
            f"of a tomogram, or labels that another program has shifted.{signed} Give integers from 0 to 255 (255 is "
            "1.0), a mask of 0 and 1, or floating numbers from 0 to 1."
        )
    if high <= 1:
        return True
    if labels:
        raise InputError(
            f"{where} holds labels up to {high}: the numbers of classes or objects, which are no probabilities. Give "
            "the prediction of one feature, or a mask of 0 and 1; volengine stats counts the objects of labels."
        )
    if high > ONE:
        raise InputError(
            f"{where} holds integers from {low} to {high}; integers of a prediction go from 0 to 255 (255 is 1.0). If "
            f"these are probabilities times a number, state it: --scale {_likely(high)}. If they are a tomogram, "
            "segment it first; if they number objects, use volengine stats."
        )
    return False


def prediction_dtype(dtype: DTypeLike, scale: float | None = None) -> str:
    """The dtype of what :func:`as_prediction` makes of values of a dtype."""
    if scale is not None:
        return "float32"
    return np.dtype(dtype).name if np.dtype(dtype).kind == "f" else "uint8"


def as_prediction(values: Array, *, mask: bool = False, scale: float | None = None) -> Array:
    """Turn stored values into a prediction: floating-point numbers up to 1, or uint8 up to 255.

    Parameters
    ----------
    values
        Stored values: floating point, integers from 0 to 255, or truth values.
    mask
        Integers are 0 and 1, and mean the probabilities 0 and 1.
    scale
        Values are divided by it (float32); then integers may be of any size.

    Returns
    -------
    Array of :func:`prediction_dtype` and of the same shape; the values themselves where nothing changes.
    """
    if scale is not None:
        scaled: Array = np.divide(values, np.float32(scale), dtype=np.float32, casting="unsafe")
        return scaled
    if values.dtype.kind == "f" or (values.dtype == np.uint8 and not mask):
        return values
    made = values.astype(np.uint8)
    if mask:
        made *= np.uint8(ONE)
    return made


def checked_span(prediction: Array, box: Box, where: str, scale: float | None = None) -> tuple[float, float]:
    """Check that values are probabilities; return the smallest and the largest one.

    Parameters
    ----------
    prediction
        Values of a box, as :func:`as_prediction` returns them.
    box, where
        The box, and how messages name the volume.
    scale
        The number by which the values were divided.

    Raises
    ------
    InputError
        A floating-point value is NaN, or outside of 0 to 1 by more than :data:`TOLERANCE`.
    """
    if not prediction.size:
        return 0.0, 0.0
    low, high = prediction.min(), prediction.max()
    if prediction.dtype.kind != "f":
        return float(low) / ONE, float(high) / ONE
    if low >= -TOLERANCE and high <= 1 + TOLERANCE:  # false if there is NaN
        return float(low), float(high)
    raise InputError(_refusal(prediction, box, where, scale))


def check_scale(scale: float | None) -> None:
    """Refuse a ``--scale`` that is not positive."""
    if scale is not None and not 0 < scale < math.inf:
        raise InputError(f"--scale must be positive, not {scale}.")


def mask_in(tables: Mapping[str, Mapping[int, Table]], name: str = "kind") -> bool:
    """Whether the decision among a block's tables, if there is one, says that a volume is a mask."""
    return name in tables and bool(tables[name][0]["mask"][0])


def _refusal(prediction: Array, box: Box, where: str, scale: float | None) -> str:
    there = f"in voxels {box.start} to {box.stop}"
    divided = "" if scale is None else f", divided by --scale {scale:g}"
    odd = int(np.count_nonzero(~np.isfinite(prediction)))
    if odd:
        return (
            f"{where}: {odd} of {prediction.size} values {there} are NaN or infinite{divided}; a prediction holds "
            "probabilities from 0 to 1. Replace these values, or make the prediction again."
        )
    low, high = float(prediction.min()), float(prediction.max())
    outside = np.count_nonzero((prediction < -TOLERANCE) | (prediction > 1 + TOLERANCE)) / prediction.size
    if low < -TOLERANCE:
        advice = (
            "Negative values are those of a tomogram, or logits: give the prediction of a network, as probabilities "
            "(volengine segment makes one)"
        )
    elif high > 1 and scale is None and (prediction == np.rint(prediction)).all():
        advice = (
            "They are whole numbers. If they are labels, say what they are to a verb that takes labels (volengine "
            "surface --ids or --instances, volengine stats), or make a mask of one; if they are probabilities times a "
            f"number, state it: --scale {255 if high <= ONE else _likely(int(high))}"
        )
    else:
        advice = (
            "If they are probabilities times a number, state it, for example --scale 100 for percent or --scale 255 "
            "for bytes; if they are a tomogram, segment it first"
        )
    return (
        f"{where} holds values from {low:g} to {high:g}{divided} ({outside:.1%} of them outside of 0 to 1) {there}; a "
        f"prediction holds probabilities from 0 to 1. {advice}."
    )


def _likely(high: int) -> int:
    """The number by which integers up to ``high`` probably were multiplied."""
    return next((n for n in (1000, 10_000, 32767, 65535) if high <= n), high)
