"""Quantisation: exact half-to-even rounding, Ais's truncation, floats."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.ops.quantise import probability, quantise

SCALE = 2.0**30


def ties():
    """Sums at which 255 p is as near as possible to k + 1/2, and their neighbours."""
    middle = [Fraction(2 * k + 1, 510) * 2**30 for k in range(255)]
    return st.sampled_from(middle).flatmap(lambda m: st.integers(int(m) - 2, int(m) + 2))


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.integers(0, 2**30), ties()))
def test_uint8_rounds_half_to_even_exactly(total):
    sums = np.full((1, 1, 1), total, np.int32)
    exact = Fraction(total * 255, 2**30)
    assert quantise(sums, SCALE)[0, 0, 0] == round(exact)
    assert quantise(sums, SCALE, "uint8", "truncate")[0, 0, 0] == int(exact)


def test_halves_go_to_the_even_number():
    sums = np.array([2**29, 2**29 + 1, 2**29 - 1], np.int32).reshape(1, 1, 3)  # 127.5 and its neighbours
    assert quantise(sums, SCALE).ravel().tolist() == [128, 128, 127]
    assert quantise(sums, SCALE, "uint8", "truncate").ravel().tolist() == [127, 127, 127]


def test_probabilities_are_cut_off_values_are_not():
    sums = np.array([-5, 2**30 + 255, 2**30], np.int32).reshape(1, 1, 3)
    assert quantise(sums, SCALE).ravel().tolist() == [0, 255, 255]
    assert quantise(sums, SCALE, "float32").max() == 1
    assert quantise(sums, SCALE, "float32").min() == 0
    assert quantise(sums, 2.0**20, "float32", bounded=False).max() > 1023


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_are_the_nearest_number(dtype):
    sums = np.random.default_rng(0).integers(0, 2**30, (4, 5, 6), dtype=np.int32)
    np.testing.assert_array_equal(quantise(sums, SCALE, dtype), (sums / SCALE).astype(dtype))


def test_probability_of_stored_predictions():
    np.testing.assert_array_equal(
        probability(np.array([0, 51, 255], np.uint8)), np.array([0, 51, 255], np.float32) / np.float32(255)
    )
    assert probability(np.float16([0.5])).dtype == np.float32


def test_what_cannot_be_stored_is_refused():
    sums = np.zeros((1, 1, 1), np.int32)
    with pytest.raises(InputError, match="int8"):
        quantise(sums, SCALE, "int8")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no probabilities"):
        quantise(sums, SCALE, bounded=False)
    with pytest.raises(InputError, match="truncate"):
        quantise(sums, SCALE, "float32", "truncate")
