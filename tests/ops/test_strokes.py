"""Strokes in a slice equal what a loop over all voxels says, by exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from volengine.core.errors import InputError
from volengine.ops.strokes import (
    brush,
    cropped,
    fill,
    fill_labels,
    interpolated,
    joined_points,
    noise_of,
    polygon,
    rows_of,
    take_above,
)

SHAPE = (9, 11)
quarters = st.integers(-12, 56).map(lambda n: n / 4)
points = st.tuples(quarters, quarters)
masks = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed))


def near(voxel: tuple[int, int], begin, end, radius: float) -> bool:
    """Whether the distance of a voxel to a segment is at most a radius, in exact fractions."""
    (r, c), (r0, c0), (r1, c1) = (tuple(map(Fraction, p)) for p in (voxel, begin, end))
    length = (r1 - r0) ** 2 + (c1 - c0) ** 2
    t = ((r - r0) * (r1 - r0) + (c - c0) * (c1 - c0)) / length if length else Fraction(0)
    t = min(max(t, Fraction(0)), Fraction(1))
    apart = (r - r0 - t * (r1 - r0)) ** 2 + (c - c0 - t * (c1 - c0)) ** 2
    return apart <= Fraction(radius) ** 2


@settings(max_examples=25, deadline=None)
@given(st.lists(points, min_size=1, max_size=5), st.integers(2, 16).map(lambda n: n / 4))
@example([(2.0, 2.0), (2.0, 2.0)], 1.0)
def test_a_brush_covers_what_is_within_its_radius_of_the_way(path, radius: float) -> None:
    ends = path[1:] or path
    expected = [
        [any(near((r, c), a, b, radius) for a, b in zip(path, ends, strict=False)) for c in range(SHAPE[1])]
        for r in range(SHAPE[0])
    ]
    found = brush(path, radius, SHAPE)
    assert (found.whole(SHAPE) == np.array(expected)).all()
    assert found.mask.size == 0 or (found.mask.any(0)[[0, -1]].all() and found.mask.any(1)[[0, -1]].all())


def inside(voxel: tuple[int, int], corners) -> bool:
    """Even-odd rule in exact fractions: sides that cross the voxel's row at its column or left of it."""
    r, c = map(Fraction, voxel)
    count = 0
    for a, b in zip(corners, [*corners[1:], corners[0]], strict=True):
        (r0, c0), (r1, c1) = sorted((tuple(map(Fraction, a)), tuple(map(Fraction, b))))
        if r0 <= r < r1 and c0 + (r - r0) * (c1 - c0) / (r1 - r0) <= c:
            count += 1
    return count % 2 == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(points, min_size=3, max_size=7))
@example([(0.0, 0.0), (0.0, 4.0), (4.0, 4.0), (4.0, 0.0)])
def test_a_polygon_holds_the_voxels_whose_middles_are_inside(corners) -> None:
    expected = [[inside((r, c), corners) for c in range(SHAPE[1])] for r in range(SHAPE[0])]
    assert (polygon(corners, SHAPE).whole(SHAPE) == np.array(expected)).all()


def test_polygons_with_a_common_side_share_no_voxel_and_leave_none_out() -> None:
    left = polygon([(0, 0), (0, 5.5), (9, 3.25), (9, 0)], SHAPE).whole(SHAPE)
    right = polygon([(0, 5.5), (0, 11), (9, 11), (9, 3.25)], SHAPE).whole(SHAPE)
    assert not (left & right).any()
    assert (left | right).all()


def flooded(like: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
    out, waiting = np.zeros(like.shape, bool), [seed]
    while waiting:
        r, c = waiting.pop()
        if 0 <= r < like.shape[0] and 0 <= c < like.shape[1] and like[r, c] and not out[r, c]:
            out[r, c] = True
            waiting += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return out


@settings(max_examples=20, deadline=None)
@given(masks, st.floats(0.5, 8), st.floats(0, 4))
def test_a_fill_is_a_flood_within_circle_and_band(rng: np.random.Generator, radius: float, band: float) -> None:
    grey = np.rint(rng.normal(size=SHAPE) * 8) / 8
    seed = tuple(int(rng.integers(n)) for n in SHAPE)
    rows, columns = np.indices(SHAPE)
    circle = (rows - seed[0]) ** 2 + (columns - seed[1]) ** 2 <= radius**2
    noise = noise_of(np.where(circle, grey, np.nan))
    expected = flooded(circle & (np.abs(grey - grey[seed]) <= band * noise), seed)
    assert (fill(grey, seed, radius, band).whole(SHAPE) == expected).all()
    scaled = fill(grey * 8 - 512, seed, radius, band).whole(SHAPE)  # exact in binary
    assert (scaled == expected).all(), "neither scale nor mean may matter"
    labels = (grey > 0).astype(np.uint8)
    assert (fill_labels(labels, seed, radius).whole(SHAPE) == flooded(circle & (labels == labels[seed]), seed)).all()
    assert (fill_labels(labels, seed).whole(SHAPE) == flooded(labels == labels[seed], seed)).all()


def test_the_noise_is_that_of_gaussian_noise_and_edges_hardly_change_it() -> None:
    grey = np.random.default_rng(1).normal(0, 3, (200, 200))
    assert noise_of(grey) == pytest.approx(3, rel=0.03)
    grey[:, 100:] += 1000
    assert noise_of(grey) == pytest.approx(3, rel=0.05)
    assert noise_of(np.zeros((1, 1))) == 0


def signed(mask: np.ndarray) -> np.ndarray:
    """Distance to the nearest voxel of the other kind, by comparing all pairs; beyond the slice nothing is drawn."""
    wide = np.pad(mask, 1)
    at, kind = np.argwhere(np.ones_like(wide)), wide.ravel()
    apart = cdist(at, at)
    out = np.where(kind, apart[:, ~kind].min(1), -apart[:, kind].min(1))
    return out.reshape(wide.shape)[1:-1, 1:-1]


@settings(max_examples=12, deadline=None)
@given(masks, st.integers(1, 4))
def test_slices_between_two_are_means_of_signed_distances(rng: np.random.Generator, count: int) -> None:
    first, last = (rng.random(SHAPE) < 0.6 for _ in range(2))
    found = interpolated(first, last, count)
    back = interpolated(last, first, count)
    for number, plane in enumerate(found, 1):
        mean = ((count + 1 - number) * signed(first) + number * signed(last)) / (count + 1)
        sure = np.abs(mean) > 1e-9
        assert (plane == (mean > 0))[sure].all()
        assert (plane == back[count - number]).all()


def test_between_two_discs_lies_a_disc_of_the_mean_radius() -> None:
    small, large = (brush([(20, 20)], r, (41, 41)).whole((41, 41)) for r in (6.0, 14.0))
    (middle,) = interpolated(small, large, 1)
    assert np.sqrt(middle.sum() / np.pi) == pytest.approx(10, abs=0.5)


def test_outlines_that_hardly_overlap_and_empty_slices_are_refused() -> None:
    one, other = np.zeros((2, *SHAPE), bool)
    one[:4, :4], other[3:, 3:] = True, True
    with pytest.raises(InputError, match="hardly overlap: 1 voxels of 16"):
        interpolated(one, other, 2)
    with pytest.raises(InputError, match="Nothing is drawn in the last"):
        interpolated(one, np.zeros(SHAPE, bool), 2)


def test_runs_are_rows_of_voxels() -> None:
    expected = np.zeros(SHAPE, bool)
    expected[2, 3:7], expected[4, 0:11] = True, True
    assert (rows_of([[2, 3, 5], [2, 4, 7], [4, 0, 11]], SHAPE).whole(SHAPE) == expected).all()
    for wrong in ([[2, 3, 3]], [[9, 0, 1]], [[0, 0, 12]], [[-1, 0, 1]]):
        with pytest.raises(InputError, match="is empty or leaves the slice"):
            rows_of(wrong, SHAPE)
    with pytest.raises(InputError, match="three whole numbers"):
        rows_of([[0.5, 1, 2]], SHAPE)


def test_what_is_above_a_threshold_is_taken_and_nan_is_not() -> None:
    values = np.array([0.2, 0.7, 0.71, np.nan], np.float32)
    assert take_above(values, 0.7).tolist() == [False, False, True, False]
    assert not take_above(values, 0.1, np.zeros(4, bool)).any()


@pytest.mark.parametrize(
    ("points", "radius", "message"),
    [
        ([(1, 2)], 0.4, "0.5 voxels or more"),
        ([(1, 2)], float("nan"), "0.5 voxels or more"),
        ([], 2, "pairs of numbers"),
        ([(1, 2, 3)], 2, "pairs of numbers"),
        ([("a", "b")], 2, "pairs of numbers"),
        ([(1, float("inf"))], 2, "is not a number, or lies more"),
    ],
)
def test_impossible_strokes_are_refused(points, radius: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        brush(points, radius, SHAPE)


def test_outside_of_the_slice_nothing_is_drawn() -> None:
    assert brush([(-50, -50), (-50, 50)], 3, SHAPE).mask.size == 0
    assert polygon([(20, 20), (20, 30), (30, 20)], SHAPE).mask.size == 0
    assert cropped(np.zeros(SHAPE, bool)).mask.size == 0
    with pytest.raises(InputError, match="lies outside of the slice"):
        fill(np.zeros(SHAPE), (9, 0), 3, 1)
    with pytest.raises(InputError, match="begins at a number"):
        fill(np.full(SHAPE, np.nan), (1, 1), 3, 1)


def test_points_are_kept_in_parts_of_a_voxel_without_repeats() -> None:
    assert joined_points([(1, 2), (1, 2.0001), (1.5, 2)]) == [[1.0, 2.0], [1.5, 2.0]]
