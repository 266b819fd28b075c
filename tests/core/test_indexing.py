"""An index of a volume selects what NumPy selects, or is refused."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes

import volengine.core.indexing as indexing
from volengine.core.boxes import Box
from volengine.core.errors import InputError, VolengineError
from volengine.core.indexing import bounds, selected

SHAPE = (5, 4, 7)


@given(shapes.basic_indices(SHAPE, allow_newaxis=False))
def test_an_index_selects_what_numpy_selects(key: Any) -> None:
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    ranges, dropped = selected(key, SHAPE)
    found = array[np.ix_(*ranges)].squeeze(axis=dropped)
    np.testing.assert_array_equal(found, array[key])
    if found.size:
        box = bounds(ranges)
        assert all(r.start in range(a, b) for r, a, b in zip(ranges, box.start, box.stop, strict=True))
        assert Box.of_shape(SHAPE).contains(box)


@given(st.tuples(*(st.integers(0, n) for n in SHAPE)), st.tuples(*(st.integers(0, n) for n in SHAPE)))
def test_a_box_inside_selects_its_voxels(start: tuple[int, int, int], stop: tuple[int, int, int]) -> None:
    ranges, dropped = selected(Box(start, stop), SHAPE)
    assert dropped == ()
    assert tuple(map(len, ranges)) == Box(start, stop).shape


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (5, "Index 5 is outside of axis z, which has 5 voxels"),
        ((0, -5), "Index -5 is outside of axis y, which has 4 voxels"),
        ((0, 0, 0, 0), "three axes .* has 4"),
        ((..., 0, ...), "one '...' only"),
        (None, "None cannot select"),
        (True, "True cannot select"),
        (np.bool_(True), "cannot select"),
        (1.0, "1.0 cannot select"),
        ([0, 1], "cannot select from a volume; it takes whole numbers, slices"),
        (np.ones(SHAPE, bool), "cannot select"),
        ("z", "'z' cannot select"),
    ],
    ids=str,
)
def test_what_numpy_would_refuse_or_select_otherwise_is_refused(key: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message) as caught:
        selected(key, SHAPE)
    assert isinstance(caught.value, VolengineError)


def test_a_box_that_leaves_the_volume_is_refused() -> None:
    with pytest.raises(InputError, match=r"from \(0, 0, 0\) to \(5, 4, 8\) leaves the volume of \(5, 4, 7\)"):
        selected(Box((0, 0, 0), (5, 4, 8)), SHAPE)


def test_numbers_of_numpy_count_as_whole_numbers() -> None:
    assert selected(np.int64(2), SHAPE) == selected(2, SHAPE)


def test_the_examples_of_the_module_hold() -> None:
    assert doctest.testmod(indexing).failed == 0
