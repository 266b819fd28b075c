"""Means, medians and percentiles of numbers that stand for different areas.

>>> described(np.array([1.0, 2.0, np.nan, 9.0]), np.array([1.0, 2.0, 5.0, 1.0]))
{'mean': 3.5, 'median': 2.0, 'p5': 1.0, 'p95': 9.0}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PERCENTILES = {"median": 50.0, "p5": 5.0, "p95": 95.0}


def described(values: Floats, areas: Floats) -> dict[str, float]:
    """Mean, median and percentiles 5 and 95 of the finite values, weighted by area; empty if there are none."""
    known = np.isfinite(values) & (areas > 0)
    values, areas = values[known].astype(np.float64), areas[known]
    if not len(values):
        return {}
    low, *others = weighted_percentiles(values, areas, list(PERCENTILES.values()))
    return {"mean": float(np.average(values, weights=areas)), **dict(zip(PERCENTILES, [low, *others], strict=True))}


def weighted_percentiles(values: Floats, weights: Floats, percentiles: Sequence[float]) -> list[float]:
    """The least value up to which at least this part (in percent) of the weights lies, for each percentile."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    at = np.searchsorted(total, np.asarray(percentiles) / 100 * total[-1] * (1 - 1e-12))
    return [float(v) for v in values[order][np.minimum(at, len(values) - 1)]]
