"""Concentrations: classes of values, and intervals of pooled ones."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.ops.surfaces.concentration import areas_in, counts_in, interval, levels_of


def ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[0] / sums[1])


def test_a_value_at_a_level_is_in_the_class_below_it_but_for_the_lowest() -> None:
    assert counts_in([0.0, 1.0, 1.5, 2.0, 2.1, -1, np.nan, np.inf], [0.0, 1, 2]).tolist() == [2, 2]
    assert areas_in([0.5, 3.0, 7.0]).tolist() == [3.0, 4.0]


def test_one_value_is_one_class() -> None:
    levels = levels_of(3.0, 3.0, 10)
    assert len(levels) == 2
    assert counts_in([3.0, 3.0], levels).tolist() == [2]
    assert levels_of(0.0, 10.0, 4).tolist() == [0, 2.5, 5, 7.5, 10]


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Counts of 40 surfaces of different areas, 3 for each unit of area: with 40 surfaces some 93 % of intervals."""
    rng = np.random.default_rng(0)
    inside = 0
    for k in range(200):
        area = rng.uniform(5, 20, 40)
        parts = np.stack([rng.poisson(3 * area), area], axis=1)
        low, high = interval(parts, ratio, 300, (k,))
        inside += bool(low <= 3 <= high)
    assert 0.87 <= inside / 200 <= 0.98


def test_intervals_are_those_of_their_seed_and_none_of_one_surface() -> None:
    parts = np.array([[3.0, 1], [5, 2], [1, 1]])
    assert interval(parts, ratio, 100, 1) == interval(parts, ratio, 100, 1)
    assert interval(parts, ratio, 100, 1) != interval(parts, ratio, 100, 2)
    for some, resamples in ((parts[:1], 100), (parts, 0)):
        assert np.isnan(interval(some, ratio, resamples, 1)).all()


def test_what_is_not_known_in_some_draws_is_left_out_of_them() -> None:
    def value(sums: np.ndarray) -> np.ndarray:
        return np.array([sums[0] / sums[1] if sums[1] else np.nan, np.nan])

    low, high = interval(np.array([[2.0, 1], [0, 0], [0, 0]]), value, 200, 0)
    assert low[0] == high[0] == pytest.approx(2.0)
    assert np.isnan([low[1], high[1]]).all()
