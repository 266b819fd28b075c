"""What values are taken for, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.ops.stored import TOLERANCE, as_prediction, check_scale, checked_span, is_mask, prediction_dtype, span

INTEGERS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint64"]


@given(st.sampled_from(INTEGERS).flatmap(lambda t: arrays(t, (2, 3, 4), elements=st.integers(0, 1))))
def test_a_mask_of_any_integers_is_probability_0_and_1(values: np.ndarray) -> None:
    low, high = span(values)
    assert is_mask(low, high, "m")
    made = as_prediction(values, mask=True)
    assert made.dtype == prediction_dtype(values.dtype) == "uint8"
    assert np.array_equal(made, np.where(values, 255, 0))


@given(st.sampled_from(INTEGERS[2:]).flatmap(lambda t: arrays(t, (2, 3, 4), elements=st.integers(0, 255))))
def test_integers_beyond_1_are_bytes(values: np.ndarray) -> None:
    values[0, 0, 0] = 2
    assert not is_mask(*span(values), "p")
    assert np.array_equal(as_prediction(values), values)


def test_bytes_and_floats_are_not_copied() -> None:
    for dtype in ("uint8", "float16", "float32", "float64"):
        values = np.zeros((2, 2, 2), dtype)
        assert as_prediction(values) is values
        assert prediction_dtype(dtype) == dtype


@pytest.mark.parametrize(
    ("low", "high", "labels", "words"),
    [
        (-128, -127, False, "IMOD"),
        (-3, 4, False, "negative"),
        (-1, 0, False, "negative"),
        (0, 256, False, "--scale 1000"),
        (0, 65535, False, "--scale 65535"),
        (0, 2, True, "labels up to 2"),
    ],
)
def test_other_integers_are_refused(low: int, high: int, labels: bool, words: str) -> None:
    with pytest.raises(InputError, match=words):
        is_mask(low, high, "x.mrc", labels=labels)


def test_numbers_that_int64_does_not_hold_are_refused_too() -> None:
    with pytest.raises(InputError, match="scale"):
        is_mask(*span(np.array([[[2**64 - 1]]], np.uint64)), "x.mrc")


BOX = Box((0, 0, 0), (1, 2, 2))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 0.5, 1, np.nan], "1 of 4 values .* NaN"),
        ([0, 0.5, np.inf, -np.inf], "2 of 4 values .* NaN or infinite"),
        ([0, 0.5, 1, 255], r"0 to 255 \(25.0% of them.*--scale 255"),
        ([0, 0.5, 1, -4], "logits"),
        ([0, 0.5, 1, 1.01], "--scale"),
        ([0, 1, 2, 3], "whole numbers.*labels.*--ids.*--scale 255"),
    ],
)
def test_what_is_no_probability_is_refused(dtype: str, values: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        checked_span(np.array(values, dtype).reshape(1, 2, 2), BOX, "x.mrc")
    assert "voxels (0, 0, 0) to (1, 2, 2)" in str(refused.value)


def test_rounding_is_no_reason_to_refuse() -> None:
    values = np.array([-TOLERANCE / 2, 0.5, 1 + TOLERANCE / 2, 0], np.float32).reshape(1, 2, 2)
    assert checked_span(values, BOX, "x.mrc") == pytest.approx((-TOLERANCE / 2, 1 + TOLERANCE / 2))
    assert checked_span(np.array([[[0, 51]]], np.uint8), BOX, "x.mrc") == (0, 0.2)


@given(arrays("float32", (2, 3, 4), elements=st.floats(0, 1, width=32)), st.sampled_from([100.0, 255.0, 65535.0]))
def test_a_scale_is_undone(values: np.ndarray, scale: float) -> None:
    scaled = as_prediction(values * np.float32(scale), scale=scale)
    assert scaled.dtype == prediction_dtype("float32", scale) == "float32"
    np.testing.assert_allclose(scaled, values, rtol=2e-7, atol=1e-37)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_is_positive(scale: float) -> None:
    with pytest.raises(InputError, match="--scale"):
        check_scale(scale)
