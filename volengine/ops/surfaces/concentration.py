"""Concentration: points per area, by classes of a value, with intervals of pooled values over surfaces.

>>> import numpy as np
>>> counts_in([0.5, 1.0, 7.0], [0.0, 1.0, 2.0]).tolist()
[2, 0]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]


def counts_in(values: ArrayLike, levels: ArrayLike) -> Int64:
    """(k - 1,) numbers of values between levels: above the lower to the upper one, the lowest level included."""
    value, level = np.asarray(values, np.float64), np.asarray(levels, np.float64)
    place = np.searchsorted(level, value, side="left") - 1
    place[value == level[0]] = 0
    inside = (place >= 0) & (place < len(level) - 1) & np.isfinite(value)
    return np.bincount(place[inside], minlength=len(level) - 1).astype(np.int64)


def areas_in(below: ArrayLike) -> Floats:
    """(k - 1,) areas between levels from the areas below each; what lies at the lowest level is in the first class.

    >>> areas_in([1.0, 3.0, 7.0]).tolist()
    [3.0, 4.0]
    """
    upper = np.asarray(below, np.float64)[1:]
    return np.diff(upper, prepend=0.0)


def levels_of(low: float, high: float, bins: int) -> Floats:
    """Levels of equal classes; one class if there is one value only."""
    if not high > low:
        return np.array([low, np.nextafter(high, np.inf)])
    return np.linspace(low, high, bins + 1)


def interval(
    parts: Floats, value: Callable[[Floats], Floats], resamples: int, seed: int | Sequence[int], level: float = 0.95
) -> tuple[Floats, Floats]:
    """Bootstrap interval of a value of pooled surfaces (Efron and Tibshirani 1993, chapter 13: percentiles).

    Parameters
    ----------
    parts
        (n, ...) sums of each surface.
    value
        The value of their sum over the first axis.
    resamples, seed
        How often n surfaces are drawn with replacement, and the seed.
    level
        Share of the draws in the interval.

    Returns
    -------
    The lower and the upper end; NaN of fewer than two surfaces or without resamples.
    """
    n = len(parts)
    whole = np.asarray(value(parts.sum(axis=0)), np.float64)
    if n < 2 or resamples < 1:
        return np.full(whole.shape, np.nan), np.full(whole.shape, np.nan)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    sums = np.tensordot(weights.astype(np.float64), parts, axes=1)
    found = np.array([value(one) for one in sums])
    low, high = _quantiles(found, [(1 - level) / 2, (1 + level) / 2])
    return low, high


def _quantiles(values: Floats, shares: list[float]) -> tuple[Floats, Floats]:
    """Quantiles over the first axis of what is known; NaN where nothing is."""
    empty = np.isnan(values).all(axis=0)
    filled = np.where(empty, 0.0, values)
    low, high = np.nanquantile(filled, shares, axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)
