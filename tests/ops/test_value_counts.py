"""Counts of values, beside NumPy; however a volume is cut in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.ops.value_counts import EDGES, ProbabilityCounts, grey_counts, number_counts

THRESHOLDS = (0.1, 0.5, 128 / 255, 0.999)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 7), st.sampled_from(["uint8", "float16", "float32"]))
def test_any_blocks_give_the_counts_of_the_whole(seed: int, step: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 256, 60).astype(np.uint8) if dtype == "uint8" else rng.random(60).astype(dtype)
    counts = ProbabilityCounts(THRESHOLDS)
    for start in range(0, whole.size, step):
        counts.add(whole[start : start + step])
    if dtype == "uint8":
        assert counts.bins.tolist() == np.bincount(whole, minlength=256).tolist()
        above = [int((whole.astype(int) > round(t * 255, 9)).sum()) for t in THRESHOLDS]
        assert counts.largest == whole.max() / 255
    else:
        assert counts.bins.tolist() == np.histogram(whole.astype(float), EDGES)[0].tolist()
        above = [int((whole > t).sum()) for t in THRESHOLDS]
        assert counts.largest == float(whole.max())
    assert counts.above == above
    assert counts.voxels == whole.size


def test_grey_values_between_percentiles() -> None:
    values = np.append(np.random.default_rng(0).normal(size=10_000), [np.nan, np.inf, 1e6, -1e6])
    edges, counts = grey_counts(values)
    finite = values[np.isfinite(values)]
    assert (edges[0], edges[-1]) == pytest.approx(np.percentile(finite, [0.1, 99.9]))
    assert counts.sum() == finite.size
    inside = (finite > edges[3]) & (finite < edges[-4])
    assert counts[3:-3].sum() == inside.sum()


@pytest.mark.parametrize("values", [np.zeros(0), np.full(5, 3.0), np.full(4, np.nan)])
def test_nothing_to_count_and_one_value_alone(values: np.ndarray) -> None:
    edges, counts = grey_counts(values)
    assert (np.diff(edges) > 0).all()
    assert counts.sum() == np.isfinite(values).sum()
    edges, counts = number_counts(values)
    assert (np.diff(edges) > 0).all()
    assert counts.sum() == np.isfinite(values).sum()
