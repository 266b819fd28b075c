"""Conversion of fixed-point sums to stored probabilities: uint8 (255 is 1.0), float16 or float32.

Rounding is exact: the integer sum times 255 has at most 39 bits and the scale is a power of two, so float64 represents
the quotient exactly, and ``rint`` rounds it half to even.

>>> quantise(np.array([[[0, 2**29, 2**30]]], np.int32), 2.0**30).tolist()
[[[0, 128, 255]]]
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError

ProbabilityType = Literal["uint8", "float16", "float32"]
Rounding = Literal["nearest", "truncate"]


def quantise(
    sums: NDArray[np.int32],
    scale: float,
    dtype: ProbabilityType = "uint8",
    rounding: Rounding = "nearest",
    *,
    bounded: bool = True,
    sigmoid: bool = False,
) -> NDArray[np.generic]:
    """Convert fixed-point sums to stored values.

    Parameters
    ----------
    sums
        int32 sums (:mod:`volengine.ops.blend`), z, y, x; a value is ``sums / scale``.
    scale
        A power of two.
    dtype
        ``uint8``: store ``round(255 p)``; ``float16`` and ``float32``: store the nearest number.
    rounding
        ``nearest``: half to even. ``truncate``: towards zero, for uint8 only, as Ais does (0.5 becomes 127).
    bounded
        Whether the values are probabilities. They are clipped to 0..1 (rounding may have left 1 + 2^-22).
    sigmoid
        Whether the values are logits. Their sigmoid is stored, computed in float64.

    Returns
    -------
    Array of ``dtype`` and of the shape of ``sums``.

    Raises
    ------
    InputError
        The dtype is unknown, values that are no probabilities are to be stored as uint8, or floats are to be truncated.
    """
    if dtype not in get_args(ProbabilityType):
        raise InputError(f"Predictions are stored as {', '.join(get_args(ProbabilityType))}, not {dtype!r}.")
    if dtype == "uint8" and not (bounded or sigmoid):
        raise InputError("Values that are no probabilities cannot be stored as uint8; use float32 or float16.")
    if dtype != "uint8" and rounding != "nearest":
        raise InputError(f"Rounding {rounding!r} is for uint8 only, not {dtype}.")
    out = np.empty(sums.shape, dtype)
    factor = (255.0 if dtype == "uint8" else 1.0) / scale
    top = factor * scale
    for part, target in zip(sums, out, strict=True):  # slice by slice: float64 of one slice only
        values = top / (1.0 + np.exp(part * (-1.0 / scale))) if sigmoid else part * factor
        if bounded:
            np.clip(values, 0.0, top, out=values)
        _store(values, target, rounding)
    return out


def quantise_spread(
    means: NDArray[np.int32],
    squares: NDArray[np.int32],
    scale: float,
    dtype: ProbabilityType = "uint8",
    rounding: Rounding = "nearest",
) -> NDArray[np.generic]:
    """Compute the standard deviation of probabilities from the fixed-point sums of the probabilities and their squares.

    The variance is mean(p²) - mean(p)², at least 0. Both sums are exact to 1.2e-7 of their value, so standard
    deviations below about 5e-4 are rounding noise.

    Parameters
    ----------
    means, squares
        int32 sums of p and of p², of one shape.
    scale, dtype, rounding
        As for :func:`quantise`, which also describes the errors.
    """
    quantise(means[:0], scale, dtype, rounding)
    out = np.empty(means.shape, dtype)
    for first, second, target in zip(means, squares, out, strict=True):
        values = first / scale
        np.subtract(second / scale, values * values, out=values)
        np.sqrt(np.maximum(values, 0.0, out=values), out=values)
        if dtype == "uint8":
            values *= 255.0
        _store(values, target, rounding)
    return out


def store(
    values: NDArray[np.float32], dtype: ProbabilityType = "uint8", rounding: Rounding = "nearest"
) -> NDArray[np.generic]:
    """Convert float32 values to stored values.

    For ``uint8`` the values are probabilities, which are clipped to 0..1, multiplied by 255 and rounded. Otherwise the
    nearest number is stored. Parameters and errors are those of :func:`quantise`.
    """
    quantise(np.empty((0, 0, 0), np.int32), 1.0, dtype, rounding)
    if dtype != "uint8":
        return values.astype(dtype, copy=False)
    out = np.empty(values.shape, np.uint8)
    for part, target in zip(values, out, strict=True):
        _store(np.clip(part, 0.0, 1.0, dtype=np.float64) * 255.0, target, rounding)
    return out


def _store(values: NDArray[np.float64], target: NDArray[np.generic], rounding: Rounding) -> None:
    """Round the values (in place) for an integer target, and copy them into it."""
    if target.dtype == np.uint8:
        (np.rint if rounding == "nearest" else np.trunc)(values, out=values)
    target[...] = values


def probability(stored: NDArray[np.generic]) -> NDArray[np.float32]:
    """Convert a stored prediction to float32 probabilities: integers are divided by 255, floats stay as they are."""
    if np.issubdtype(stored.dtype, np.integer):
        scaled: NDArray[np.float32] = np.divide(stored, np.float32(255), dtype=np.float32)
        return scaled
    return stored.astype(np.float32, copy=False)
