"""Hollow tubes that touch: a line for each, of its length, or the word that the lines say little."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.ops.filaments import centrelines

ONE = (1.0, 1.0, 1.0)


def touching(*tubes):
    """Voxels of tubes (begin, end, outer, inner) whose axes lie around 0."""
    ends = np.array([end for begin, stop, *_ in tubes for end in (begin, stop)], float)
    first = np.floor(ends.min(axis=0)) - 12
    places = np.stack(np.indices(np.ceil(ends.max(axis=0) - first + 12).astype(int)), -1) + first
    mask = np.zeros(places.shape[:3], bool)
    for begin, end, outer, inner in tubes:
        way = np.subtract(end, begin, dtype=float)
        length = np.linalg.norm(way)
        away = places - begin
        height = away @ way / length
        far = np.linalg.norm(away - height[..., None] * way / length, axis=-1)
        mask |= (far <= outer) & (far >= inner) & (height >= 0) & (height <= length)
    return np.argwhere(mask)


def lengths(voxels, to_ends=True):
    found = centrelines(voxels, ONE, least=20, to_ends=to_ends)
    assert not any(line.wall for line in found)
    nodes = [node for line in found for node in line.nodes]
    assert len(set(nodes)) == len(nodes)  # none is said to meet another
    return sorted(line.length for line in found)


@pytest.mark.parametrize("gap", [15, 17])
def test_hollow_tubes_side_by_side_have_a_line_each(gap):
    """They were one line."""
    voxels = touching(((0, 0, 0), (0, 0, 60), 8, 5), ((0, gap, 0), (0, gap, 60), 8, 5))
    assert lengths(voxels) == pytest.approx([60, 60], rel=0.03)
    assert lengths(voxels, to_ends=False) == pytest.approx([50, 50], abs=2)


@pytest.mark.parametrize(("radius", "long", "gap"), [(3, 30, 6), (3, 50, 5), (4, 30, 8), (6, 50, 11)])
def test_solid_filaments_side_by_side_say_so_and_wide_ones_do_not(radius, long, gap):
    """Short pairs were one line without a word."""
    one, two = (((0, y, 0), (0, y, long), radius, 0) for y in (0, gap))
    found = centrelines(touching(one, two), ONE, least=12, to_ends=True)
    assert found
    assert all(line.wall for line in found)
    voxels = touching(one)
    wide = np.unique(np.concatenate([voxels + np.array([0, y, 0]) for y in range(radius)]), axis=0)
    (line,) = centrelines(wide, ONE, least=12, to_ends=True)
    assert not line.wall
    assert line.length == pytest.approx(long, rel=0.05)


@pytest.mark.parametrize(("radius", "arm", "apart"), [(4, 15, 0), (6, 15, 0), (6, 15, 11.4), (3, 25, 0), (6, 25, 11.4)])
def test_filaments_that_cross_are_pieces_of_their_lengths_or_say_that_they_say_little(radius, arm, apart):
    """Of two thick ones with short arms one bent line of half of each was left, without a word."""
    one = ((0, 0, -arm), (0, 0, arm), radius, 0)
    two = ((apart, -arm, 0), (apart, arm, 0), radius, 0)
    found = centrelines(touching(one, two), ONE, least=12, to_ends=True)
    assert found
    if not all(line.wall for line in found):
        assert not any(line.wall for line in found)
        assert [line.length for line in found] == pytest.approx([arm + 0.5] * 4, rel=0.05)
    else:
        assert arm < 25


def test_three_in_a_row_staggered_oblique_and_closed_ones():
    """They were six bent lines, one in the form of an S, one line, and a closed wall without a line."""
    row = [((0, y, 0), (0, y, 60), 8, 5) for y in (0, 16, 32)]
    assert lengths(touching(*row)) == pytest.approx([60] * 3, rel=0.03)
    staggered = touching(((0, 0, 0), (0, 0, 45), 8, 5), ((0, 16, 25), (0, 16, 75), 8, 5))
    assert lengths(staggered) == pytest.approx([45, 50], rel=0.03)
    oblique = touching(((0, 0, 0), (0, 0, 70), 8, 5), ((9, 0, 0), (9, 17, 70), 8, 5))
    assert lengths(oblique) == pytest.approx([70, 72], rel=0.03)
    capped = touching(((0, 0, 0), (0, 0, 60), 8, 0))
    far = np.hypot(*(capped[:, :2] - 12).T)
    capped = capped[(far >= 5) | (np.abs(capped[:, 2] - 42) > 26)]
    beside = np.unique(np.concatenate([capped, capped + np.array([0, 16, 0])]), axis=0)
    assert lengths(beside) == pytest.approx([60, 60], rel=0.03)


def test_what_lies_along_a_hollow_tube_and_is_none_says_so():
    """A solid filament was lost, or made a branch of the tube; a lumen with a plug beside another tube."""
    along = touching(((0, 0, 0), (0, 0, 60), 8, 5), ((0, 12, 0), (0, 12, 60), 4, 0))
    apart = touching(((0, 0, 0), (0, 0, 80), 4, 0), ((0, 8.5, 0), (0, 15, 80), 5, 3))
    plugged = touching(((0, 0, 0), (0, 0, 80), 8, 5), ((0, 0, 38), (0, 0, 39), 8, 0), ((0, 16, 0), (0, 16, 80), 8, 5))
    for voxels in (along, apart, plugged):
        found = centrelines(voxels, ONE, least=20, to_ends=True)
        assert found
        assert all(line.wall for line in found)


def test_a_plug_or_a_short_branch_leaves_a_hollow_tube_its_line():
    tube = ((0, 0, 0), (0, 0, 80), 8, 5)
    assert lengths(touching(tube, ((0, 0, 38), (0, 0, 42), 8, 0))) == pytest.approx([80], rel=0.02)
    assert lengths(touching(tube, ((0, 7, 30), (0, 16, 30), 3, 0))) == pytest.approx([80], rel=0.02)


@settings(max_examples=5, deadline=None)
@given(
    long=st.tuples(st.floats(50, 70), st.floats(50, 70)),
    outer=st.tuples(st.floats(6, 9), st.floats(6, 9)),
    wall=st.floats(2.2, 3.5),
    slope=st.floats(-0.4, 0.4),
    turn=st.floats(0, 0.5),
    gap=st.floats(-1, 0.3),
    shift=st.floats(-20, 20),
)
def test_pairs_that_touch_have_their_lengths_or_say_that_they_say_little(long, outer, wall, slope, turn, gap, shift):
    way, aside = np.array([0, np.sin(slope), np.cos(slope)]), np.array([0, np.cos(slope), -np.sin(slope)])
    up = np.array([sum(outer) + gap, 0, 0])
    other = np.cos(turn) * way + np.sin(turn) * aside
    middles = (np.zeros(3), up + shift * way)
    tubes = [
        (middle - along * length / 2, middle + along * length / 2, radius, radius - wall)
        for middle, along, length, radius in zip(middles, (way, other), long, outer, strict=True)
    ]
    found = centrelines(touching(*tubes), ONE, least=20, to_ends=True)
    assert found
    if not any(line.wall for line in found):
        assert len(found) == 2
        assert sum(line.length for line in found) == pytest.approx(sum(long), rel=0.03)
