"""Regions of interest: the notation means the voxels that a slice would, in voxels and in nm."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import InputError, PlanError
from volengine.core.roi import Roi, check_roi, roi_box, roi_text
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume

SHAPE, TEN = (32, 64, 48), (10.0, 10.0, 10.0)


@st.composite
def pairs(draw, n):
    start = draw(st.integers(0, n - 1))
    return start, draw(st.integers(start + 1, n))


@given(st.tuples(*(pairs(n) for n in SHAPE)), st.tuples(*(st.tuples(st.booleans(), st.booleans()) for _ in SHAPE)))
def test_voxels_are_those_of_a_slice_and_empty_ends_are_the_volumes(sides, empty):
    text = ",".join(
        f"{'' if a == 0 and e[0] else a}:{'' if b == n and e[1] else b}"
        for (a, b), n, e in zip(sides, SHAPE, empty, strict=True)
    )
    box = roi_box(text, SHAPE, TEN, "v")
    assert (box.start, box.stop) == (tuple(a for a, _ in sides), tuple(b for _, b in sides))
    assert roi_box(roi_text(box), SHAPE, TEN, "v") == box


@given(
    st.floats(0.5, 40.0),
    st.integers(0, 3000).map(lambda v: Fraction(v, 10)),
    st.integers(1, 3000).map(lambda v: Fraction(v, 10)),
)
def test_nm_hold_the_voxels_whose_places_are_not_below_the_start_and_below_the_stop(size, start, length):
    n, stop = 8000, start + length
    place = [Fraction(size) * i / 10 for i in range(n)]  # nm
    near = Fraction(1, 10**6) * Fraction(size) / 10
    wanted = [i for i, p in enumerate(place) if start - near <= p < stop - near]
    text = f"{float(start)}nm:{float(stop)}nm,:,:"
    if stop > place[-1] or not wanted:
        return
    box = roi_box(text, (n, 1, 1), (size, 1.0, 1.0), "v")
    assert (box.start[0], box.stop[0]) == (wanted[0], wanted[-1] + 1)


def test_ends_in_nm_by_hand():
    # Voxels of 7.84 A are at 0, 0.784, 1.568 ... nm: 100 nm is 127.55 voxels, and 78.4 nm is voxel 100 itself.
    assert roi_box("100nm:,:,:", (200, 4, 4), (7.84,) * 3, "v").start == (128, 0, 0)
    assert roi_box("78.4nm:156.8nm,:,:", (300, 4, 4), (7.84,) * 3, "v") == Box((100, 0, 0), (200, 4, 4))
    # In voxels of 1 nm both units say the same, and neighbours share no voxel.
    assert roi_box("3nm:7nm,:,:", SHAPE, TEN, "v") == roi_box("3:7,:,:", SHAPE, TEN, "v")
    assert roi_box("6.5nm:9nm,:,:", SHAPE, TEN, "v").start[0] == roi_box("3nm:6.5nm,:,:", SHAPE, TEN, "v").stop[0] == 7


@pytest.mark.parametrize(
    "text",
    ["3nm:7nm,:,5nm:", "3:7,:,5:nm", "3:7,:,5: nm", " 3 nm : 7 nm , : , 5 nm : ", "3.0nm:7nm,:48nm,5nm:48nm"],
)
def test_the_unit_stands_behind_every_number_or_once_at_the_end(text):
    assert Roi.parse(text).in_nm
    box = roi_box(text, SHAPE, TEN, "v")
    assert (box.start, box.stop[0], box.stop[2]) == ((3, 0, 5), 7, 48)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1:2,3:4", "2 axes instead of 3"),
        ("1:2,3:4,5:6,7:8", "4 axes instead of 3"),
        ("1:2,3,5:6", "no start:stop along y"),
        ("1:2:2,:,:", "no start:stop along z"),
        ("1:2,:,-5:", "'-5' along x is negative"),
        ("a:2,:,:", "'a' along z is no number"),
        ("1e3:2,:,:", "is no number"),
        ("1:2A,:,:", "is no number"),
        ("1.5:2,:,:", "1.5 along z is no whole number of voxels"),
        ("1nm:2,:,:", "some numbers have the unit nm and some have none"),
        ("0:10,:,1nm:2nm", "some numbers have the unit nm and some have none"),
        ("5:5,:,:", "ends at 5 and starts at 5"),
        (":0,:,:", "ends at 0 and starts at 0"),
        ("9:5,:,:", "ends at 5 and starts at 9"),
        ("9" * 5000 + ":,:,:", "is no number"),
        ("", "1 axes"),
        ("nm", "1 axes"),
    ],
)
def test_what_is_no_region_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        Roi.parse(text)


def test_a_region_that_leaves_the_volume_is_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"'0:33,:,:' is 0 to 33 along z, but TS.mrc has 32 voxels \(32 nm\)"):
        roi_box("0:33,:,:", SHAPE, TEN, "TS.mrc")
    with pytest.raises(InputError, match=r"'32:,:,:' is 32 to 32 along z, but TS.mrc has 32 voxels"):
        roi_box("32:,:,:", SHAPE, TEN, "TS.mrc")
    with pytest.raises(InputError, match=r"is 0:40 nm along z, voxels 0 to 40, but TS.mrc has 32 voxels \(32 nm\)"):
        roi_box("0nm:40nm,:,:", SHAPE, TEN, "TS.mrc")
    with pytest.raises(InputError, match="no voxel in it"):
        roi_box("1.2nm:1.6nm,:,:", SHAPE, TEN, "TS.mrc")


@given(st.text(alphabet="0123456789:,.nm -\n", max_size=30))
def test_any_text_is_a_region_or_refused(text):
    try:
        box = roi_box(text, SHAPE, TEN, "v")
    except InputError:
        return
    assert not box.empty
    assert Box.of_shape(SHAPE).contains(box)


def test_no_region_is_accepted_where_it_may_be_left_out():
    check_roi("")
    with pytest.raises(InputError, match="--roi"):
        check_roi("all")


def test_a_part_has_the_origin_of_its_first_voxel():
    volume = Volume("v.mrc", SHAPE, "int8", (10.0, 5.0, 2.5), origin=(-100.0, 7.0, 0.0), kind="labels", name="v")
    part = volume.cut(Box((3, 4, 5), (10, 20, 30)))
    assert (part.shape, part.origin) == ((7, 16, 25), (-70.0, 27.0, 12.5))
    assert (part.voxel_size, part.kind, part.name) == (volume.voxel_size, "labels", "v")


@given(st.data())
def test_blocks_of_a_roi_cover_it_once_in_voxels_of_the_whole(data):
    shape = data.draw(st.tuples(*(st.integers(1, 12),) * 3))
    sides = data.draw(st.tuples(*(pairs(n) for n in shape)))
    core = data.draw(st.tuples(*(st.integers(1, 8),) * 3))
    tiling = Tiling(shape, core, tuple(a for a, _ in sides), tuple(b for _, b in sides))
    seen = np.zeros(shape, int)
    for number, box in enumerate(tiling):
        seen[box.slices] += 1
        assert tiling.owner(box.start) == number
        assert tiling.number(tiling.index(number)) == number
    wanted = np.zeros(shape, int)
    wanted[tiling.roi.slices] = 1
    np.testing.assert_array_equal(seen, wanted)


def test_a_roi_that_leaves_the_volume_is_refused():
    for start, stop in (((0, 0, 0), (9, 8, 8)), ((3, 0, 0), (3, 8, 8)), ((-1, 0, 0), (8, 8, 8))):
        with pytest.raises(PlanError, match="leaves the volume"):
            Tiling((8, 8, 8), (4, 4, 4), start, stop)
