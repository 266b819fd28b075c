"""Exact percentiles from counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volengine.core.errors import InputError
from volengine.ops.filters import order

numbers = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32))


def of_parts(values, wanted, cuts):
    parts = np.split(values, sorted(cuts))
    places = order.places_of(order.ranks_of(len(values), wanted), [order.upper_counts(p) for p in parts if len(p)])
    return order.percentiles(
        wanted, len(values), places, [order.lower_counts(p, places["bin"]) for p in parts if len(p)]
    )


@given(numbers, st.floats(0, 100), st.floats(0, 100), st.lists(st.integers(0, 60), max_size=4))
def test_percentiles_are_those_of_numpy_whatever_the_parts(values, low, high, cuts):
    cuts = [min(c, len(values)) for c in cuts]
    wanted = np.percentile(values.astype(float), [low, high])
    np.testing.assert_allclose(of_parts(values, (low, high), cuts), wanted, rtol=1e-9, atol=1e-9)


@given(numbers)
def test_keys_have_the_order_of_the_values_and_come_back(values):
    values = values + np.float32(0)
    keys = order.keys(values)
    np.testing.assert_array_equal(np.argsort(keys, kind="stable"), np.argsort(values, kind="stable"))
    np.testing.assert_array_equal(order.values_of(keys), values)


def test_infinity_is_refused():
    with pytest.raises(InputError, match="not finite"):
        of_parts(np.array([1, np.inf], np.float32), (0.0, 100.0), [])
