"""How often values occur in a volume: counts of probabilities and grey values, block by block.

>>> import numpy as np
>>> counts = ProbabilityCounts((0.5,))
>>> counts.add(np.array([0, 127, 128, 255], np.uint8))
>>> counts.above, counts.largest, int(counts.bins.sum())
([2], 1.0, 4)

The sums do not depend on the order or the shape of the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ONE = 255
"""Stored value of the probability 1 in integers."""

EDGES: NDArray[np.float64] = np.arange(ONE + 2) / (ONE + 1)
"""(257,) edges of the bins of probabilities: bin k has the integers k, and floating-point numbers from k / 256 on."""

GREY_BINS = 128


class ProbabilityCounts:
    """Counts the values of a prediction.

    Parameters
    ----------
    thresholds
        Probabilities; the voxels above each are counted, as ``pick`` does it.
    """

    def __init__(self, thresholds: Sequence[float] = ()):
        self.thresholds = tuple(thresholds)
        self.bins: NDArray[np.int64] = np.zeros(ONE + 1, np.int64)
        self.above = [0] * len(self.thresholds)
        self.largest = 0.0
        self.voxels = 0

    def add(self, values: NDArray[Any]) -> None:
        """Count the values of a block: uint8 (255 is 1), or floating-point probabilities."""
        flat = values.reshape(-1)
        if not flat.size:
            return
        self.voxels += flat.size
        if flat.dtype.kind == "f":
            numbers = flat.astype(np.float32)
            self.bins += np.bincount(np.clip(numbers * (ONE + 1), 0, ONE).astype(np.uint8), minlength=ONE + 1)
            self.above = [n + int(np.count_nonzero(flat > t)) for n, t in zip(self.above, self.thresholds, strict=True)]
            self.largest = max(self.largest, float(flat.max()))
            return
        counts = np.bincount(flat.astype(np.uint8), minlength=ONE + 1)
        self.bins += counts
        levels = (math.floor(round(t * ONE, 9)) for t in self.thresholds)  # rounded, so that n / 255 becomes exactly n
        self.above = [n + int(counts[level + 1 :].sum()) for n, level in zip(self.above, levels, strict=True)]
        self.largest = max(self.largest, float(flat.max()) / ONE)


def grey_counts(values: NDArray[Any], low: float = 0.1, high: float = 99.9) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Count grey values in equal bins between two percentiles; what lies beyond is counted in the first and last bin.

    Parameters
    ----------
    values
        An array of any shape; values that are not finite are left out.
    low, high
        Percentiles.

    Returns
    -------
    (129,) edges and (128,) counts; all zeros on 0 to 1 if there is no finite value.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return np.linspace(0, 1, GREY_BINS + 1), np.zeros(GREY_BINS, np.int64)
    first, last = (float(v) for v in np.percentile(finite, [low, high]))
    if not last > first:
        first, last = float(finite.min()), float(finite.max())
    if not last > first:
        last = first + 1.0
    edges = np.linspace(first, last, GREY_BINS + 1)
    counts, _ = np.histogram(np.clip(finite, first, last), edges)
    return edges, counts.astype(np.int64)


def number_counts(
    values: NDArray[Any], bins: int = 30, weights: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Count numbers in equal bins from 0 (or the smallest, if negative) to the largest.

    Parameters
    ----------
    values
        (n,) numbers; those that are not finite are left out.
    bins
        Number of bins.
    weights
        (n,) what each number counts; default: 1.

    Returns
    -------
    (bins + 1,) edges and (bins,) counts: integers, with ``weights`` floating-point numbers.

    Examples
    --------
    >>> edges, counts = number_counts(np.array([1.0, 4.0]), 2, np.array([0.5, 3.0]))
    >>> edges.tolist(), counts.tolist()
    ([0.0, 2.0, 4.0], [0.5, 3.0])
    """
    finite = np.asarray(values, np.float64)
    known = np.isfinite(finite)
    finite = finite[known]
    low, high = (min(0.0, float(finite.min())), float(finite.max())) if finite.size else (0.0, 1.0)
    counts, edges = np.histogram(
        finite, bins, (low, high if high > low else low + 1.0), weights=None if weights is None else weights[known]
    )
    return edges, counts
