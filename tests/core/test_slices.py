"""The notation of slices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.core.slices import Slice

SHAPE, VOXEL = (40, 50, 61), (10.0, 8.0, 12.5)


@pytest.mark.parametrize(
    ("text", "axis", "index"),
    [
        ("z=0", 0, 0),
        ("Z = 39", 0, 39),
        ("z=middle", 0, 20),
        ("x=middle", 2, 30),
        ("y=100%", 1, 49),
        ("y=0%", 1, 0),
        ("x=50%", 2, 30),
        ("z=12.4nm", 0, 12),
        ("z=12.6 nm", 0, 13),
        ("y=39.2nm", 1, 49),
    ],
)
def test_a_slice_is_the_voxel_that_is_named_or_the_nearest_to_the_place(text: str, axis: int, index: int) -> None:
    found = Slice.parse(text)
    assert found.axis == axis
    assert found.index(SHAPE, VOXEL, "a.mrc") == index


@pytest.mark.parametrize("text", ["", "40", "w=3", "z=-1", "z=2.5", "z=101%", "z=1e3", "z=4nm5", "zz=3", "z=nan"])
def test_what_is_no_slice_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="slice"):
        Slice.parse(text)


@pytest.mark.parametrize("text", ["z=40", "z=39.6nm", "y=50"])
def test_a_slice_outside_is_refused_with_the_end_of_the_axis(text: str) -> None:
    with pytest.raises(InputError, match=r"a\.mrc: has no slice .* ends at (39|49)"):
        Slice.parse(text).index(SHAPE, VOXEL, "a.mrc")


@given(st.sampled_from("zyx"), st.integers(0, 39))
def test_voxel_and_its_place_mean_the_same_slice(axis: str, number: int) -> None:
    one = Slice.parse(f"{axis}={number}")
    nm = number * VOXEL[one.axis] / 10
    assert Slice.parse(f"{axis}={nm:.6f}nm").index(SHAPE, VOXEL, "") == one.index(SHAPE, VOXEL, "") == number
