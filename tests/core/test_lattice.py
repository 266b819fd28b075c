"""The patch lattice: MONAI's rule, one owner per patch, overhang and halo that suffice and are needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices
from monai.inferers.utils import _get_scan_interval

from volengine.core.boxes import Box
from volengine.core.errors import PlanError
from volengine.core.lattice import AxisLattice, Lattice
from volengine.core.tiling import Tiling
from volengine.ops.patches import source_index

EDGES = ("reflect", "edge", "zero")


@st.composite
def axes(draw):
    """Any axis lattice: sliding with and without margin, mirrored, tiles; with context."""
    n = draw(st.integers(1, 60))
    low, high = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    if draw(st.booleans()):
        align = draw(st.sampled_from([1, 2, 4]))
        return AxisLattice.tiles(n, align * draw(st.integers(1, 8)), low, align)
    patch = draw(st.integers(1, 40))
    margin = draw(st.integers(0, (patch - 1) // 2))
    overlap = draw(st.sampled_from([0, 0.1, 0.25, 0.5, 0.7, 0.9]))
    if draw(st.booleans()):
        return AxisLattice.sliding(n, patch, overlap, margin, low, low).mirror()
    return AxisLattice.sliding(n, patch, overlap, margin, low, high)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 60), st.integers(1, 40), st.sampled_from([0, 0.25, 0.5, 0.7]), st.integers(0, 4))
def test_a_mirrored_lattice_lies_as_on_the_mirrored_volume(n, patch, overlap, context):
    axis = AxisLattice.sliding(n, patch, overlap, 0, context, context)
    mirrored = axis.mirror()
    assert mirrored.starts == tuple(n - patch - s for s in reversed(axis.starts))
    spans = [mirrored.input_span(i) for i in range(mirrored.count)]
    assert spans == [(n - b, n - a) for a, b in (axis.input_span(i) for i in reversed(range(axis.count)))]
    assert mirrored.mirror().starts == axis.starts
    assert (mirrored is axis) == (axis.starts == mirrored.starts)


def test_what_cannot_be_mirrored_is_refused():
    for axis in (AxisLattice.tiles(20, 8, 1), AxisLattice.sliding(20, 8, low=1, high=0)):
        with pytest.raises(PlanError, match="same context"):
            axis.mirror()


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(*[st.integers(1, 70)] * 3),
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(0, 0.95)] * 3),
)
def test_patches_lie_where_monai_puts_them(shape, patch, overlap):
    padded = [max(n, p) for n, p in zip(shape, patch, strict=True)]
    interval = _get_scan_interval(padded, patch, 3, overlap)
    theirs = [[s.start for s in box] for box in dense_patch_slices(padded, patch, interval)]
    before = [max(0, p - n) // 2 for n, p in zip(shape, patch, strict=True)]
    lattice = Lattice.sliding(shape, patch, overlap)
    mine = [lattice.box(i).start for i in np.ndindex(*lattice.grid)]
    assert mine == [tuple(a - b for a, b in zip(start, before, strict=True)) for start in theirs]
    assert len(lattice) == len(theirs)


@settings(deadline=None, max_examples=300)
@given(axes(), st.integers(1, 60))
def test_each_patch_has_one_owner_whose_overhang_and_halo_suffice(axis, core):
    over = axis.overhang(core)
    reached = 0
    owners = []
    for edge in EDGES:
        low, high = axis.halo(core, edge)
        need_low = need_high = 0
        for start in range(0, axis.n, core):
            stop = min(start + core, axis.n)
            for i in axis.owned(start, stop):
                owners.append(i)
                begin, end = axis.span(i)
                assert start <= max(begin, 0) < stop
                reached = max(reached, min(end, axis.n) - stop)
                used = source_index(*axis.input_span(i), axis.n, edge)
                if edge == "zero":
                    a, b = axis.input_span(i)
                    used = np.arange(max(a, 0), min(b, axis.n))
                need_low = max(need_low, start - used.min())
                need_high = max(need_high, used.max() + 1 - stop)
        assert low >= need_low
        assert high >= need_high
        assert (low, high) == (max(need_low, 0), max(need_high, 0))
    assert sorted(owners) == sorted(list(range(axis.count)) * 3)
    assert over == max(reached, 0)


@settings(deadline=None, max_examples=200)
@given(axes(), st.data())
def test_touching_patches_and_neighbours(axis, data):
    start = data.draw(st.integers(0, axis.n - 1))
    stop = data.draw(st.integers(start + 1, axis.n))
    spans = [axis.span(i) for i in range(axis.count)]
    assert list(axis.touching(start, stop)) == [i for i, (a, b) in enumerate(spans) if a < stop and b > start]
    covered = np.zeros(axis.n, int)
    for i, (a, b) in enumerate(spans):
        covered[max(a, 0) : b] += 1
        near = [s - a for s, t in spans if s < a + axis.patch and s + axis.patch > a]
        assert axis.neighbours(i) == ((0,) if axis.cut else tuple(near))
    assert covered.min() >= 1


def test_tiles_follow_the_stride_and_stay_in_the_volume():
    axis = AxisLattice.tiles(50, 16, radius=5, align=4)
    assert [axis.span(i) for i in range(axis.count)] == [(0, 16), (16, 32), (32, 48), (48, 50)]
    assert [axis.input_span(i) for i in range(axis.count)] == [(0, 24), (8, 40), (24, 52), (40, 52)]


def test_margin_gives_every_voxel_context():
    axis = AxisLattice.sliding(100, 40, 0.25, margin=8)
    assert axis.start(0) == -8
    assert axis.span(axis.count - 1)[1] == 108
    whole = AxisLattice.sliding(512, 576, margin=32)
    assert (whole.count, whole.span(0)) == (1, (-32, 544))


def test_blocks_own_all_patches_once_in_three_dimensions():
    lattice = Lattice.sliding((50, 33, 20), (16, 8, 30), (0.5, 0.25, 0))
    owned = [i for box in Tiling((50, 33, 20), (16, 10, 20)) for i in lattice.owned(box)]
    assert len(owned) == len(set(owned)) == len(lattice)
    assert list(lattice.touching(Box.of_shape((50, 33, 20)))) == list(np.ndindex(*lattice.grid))


def test_errors_say_the_numbers():
    with pytest.raises(PlanError, match=r"reach 15 voxels beyond blocks of \(8, 64, 64\) on axis z"):
        Lattice.sliding((64, 64, 64), (16, 16, 16), (0.9, 0, 0)).overhang((8, 64, 64))
    with pytest.raises(PlanError, match="margin of 20"):
        AxisLattice.sliding(100, 40, 0, margin=20)
    with pytest.raises(PlanError, match="overlap"):
        AxisLattice.sliding(100, 40, 1.0)
    with pytest.raises(PlanError, match="multiple of the network's stride 4"):
        AxisLattice.tiles(100, 6, 0, 4)
