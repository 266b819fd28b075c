"""Statistics of parts, merged in any order, are those of all values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volengine.ops import value_stats
from volengine.ops.value_stats import ValueStats


@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "f2", "i1", "u2", "i4", "?"]), st.integers(0, 60), elements=None, fill=st.nothing()
    ),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_parts_are_merged_to_the_whole(array: np.ndarray, cuts: list[int]) -> None:
    found = ValueStats()
    for part in np.split(array, sorted(cuts)):
        found = found.merged(ValueStats.of(part))
    wide = array.astype("f8")
    finite = wide[np.isfinite(wide)]
    assert (found.count, found.zero) == (array.size, int((array == 0).sum()))
    assert (found.nan, found.infinite) == (int(np.isnan(wide).sum()), int(np.isinf(wide).sum()))
    if not finite.size:
        assert (found.least, found.largest, found.std) == (None, None, None)
        return
    assert (found.least, found.largest) == (finite.min(), finite.max())
    if np.abs(finite).max() < 1e100:  # squares of larger ones are infinite
        spread = float(np.abs(finite).max()) or 1.0
        assert found.mean == pytest.approx(finite.mean(), rel=1e-9, abs=1e-9 * spread)
        assert found.std == pytest.approx(finite.std(), rel=1e-6, abs=1e-6 * spread)


def test_large_values_with_a_small_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A naive sum of squares would lose the spread: 1e9 + noise of 1."""
    monkeypatch.setattr(value_stats, "PIECE", 1000)
    array = 1e9 + np.random.default_rng(0).normal(size=(20, 30, 40))
    found = ValueStats.of(array)
    assert found.std == pytest.approx(array.std(), rel=1e-7)
    assert found.mean == pytest.approx(array.mean(), rel=1e-14)


def test_integers_stay_integers() -> None:
    found = ValueStats.of(np.array([2**62, -5], "i8"))
    assert (found.least, found.largest) == (-5, 2**62)
    assert isinstance(found.largest, int)
