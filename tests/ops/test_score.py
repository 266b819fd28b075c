"""Scores against brute force."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from volengine.core.errors import InputError
from volengine.ops.score import coverage, dice, pair_picks, pool, share_within

POINT = st.tuples(*[st.integers(0, 4)] * 3)
POINTS = st.lists(POINT, max_size=5).map(lambda p: np.array(p, float).reshape(-1, 3))


def brute_force_match(found, truth, radius):
    """Most pairs, then the smallest sum of distances: all one-to-one assignments tried."""
    best = (0, 0.0)
    n, m = len(found), len(truth)
    small, large = (found, truth) if n <= m else (truth, found)
    for chosen in itertools.permutations(range(len(large)), len(small)):
        distance = [np.linalg.norm(small[i] - large[j]) for i, j in enumerate(chosen)]
        near = [d for d in distance if d <= radius]
        best = max(best, (len(near), -sum(near)))
    return best[0], -best[1]


@given(found=POINTS, truth=POINTS, radius=st.sampled_from([0, 1, 1.5, 2, 3]))
@settings(deadline=None, max_examples=150)
def test_the_match_is_the_best_there_is(found, truth, radius):
    match = pair_picks(found, truth, radius)
    count, total = brute_force_match(found, truth, radius)
    assert len(match.pairs) == count
    assert match.distance_vox.sum() == pytest.approx(total)
    for column, points in ((0, found), (1, truth)):
        assert len(set(match.pairs[:, column])) == count
        assert all(0 <= i < len(points) for i in match.pairs[:, column])
    assert (match.distance_vox <= radius).all()
    np.testing.assert_array_equal(match.pairs[:, 0], np.sort(match.pairs[:, 0]))
    assert sorted([*match.pairs[:, 0], *match.extra]) == list(range(len(found)))
    assert sorted([*match.pairs[:, 1], *match.missed]) == list(range(len(truth)))


def test_greedy_would_find_one_pair_less():
    found, truth = [[0, 0, 2], [0, 0, 5]], [[0, 0, 4], [0, 0, 7]]
    match = pair_picks(found, truth, 2)
    np.testing.assert_array_equal(match.pairs, [[0, 0], [1, 1]])


def test_numbers_of_a_match():
    found = [[0, 0, 0], [10, 10, 10], [50, 50, 50], [90, 90, 90]]
    truth = [[0, 0, 1], [10, 10, 13], [70, 70, 70]]
    match = pair_picks(found, truth, 3)
    assert (match.precision, match.recall, match.f1) == (2 / 4, 2 / 3, 4 / 7)
    assert match.localisation_error_vox == 2
    np.testing.assert_array_equal(match.extra, [2, 3])
    np.testing.assert_array_equal(match.missed, [2])


def test_nothing_found_nothing_there():
    point = np.zeros((1, 3))
    nothing = pair_picks([], [], 1)
    assert np.isnan([nothing.precision, nothing.recall, nothing.f1, nothing.localisation_error_vox]).all()
    assert pair_picks([], point, 1).recall == 0
    assert pair_picks(point, [], 1).precision == 0
    assert pair_picks(point, point, 0).f1 == 1


def test_thousands_of_close_points_are_matched_quickly():
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 60, (4000, 3))
    found = rng.permutation(truth + rng.normal(0, 0.2, truth.shape))[:3500]
    match = pair_picks(found, truth, 2)
    assert match.precision == 1
    assert match.recall == 3500 / 4000
    assert match.localisation_error_vox < 0.4


MASK = arrays(np.uint8, (3, 4, 5), elements=st.sampled_from([0, 0, 1, 7]))


@given(a=MASK, b=MASK, ignore=st.none() | MASK)
@settings(deadline=None, max_examples=60)
def test_dice_equals_that_of_sets_of_voxels(a, b, ignore):
    counted = [i for i in np.ndindex(a.shape) if ignore is None or not ignore[i]]
    one, two = ({i for i in counted if m[i]} for m in (a, b))
    expected = 2 * len(one & two) / (len(one) + len(two)) if one or two else 1.0
    assert dice(a, b, ignore) == expected


SPOTS = st.lists(st.tuples(*[st.floats(-2, 6)] * 3), max_size=6).map(lambda p: np.array(p, float).reshape(-1, 3))


@given(points=SPOTS, mask=MASK)
@settings(deadline=None, max_examples=60)
def test_coverage_is_the_share_of_points_in_the_mask(points, mask):
    def covered(point):
        index = [int(np.floor(c + 0.5)) for c in point]
        return all(0 <= i < n for i, n in zip(index, mask.shape, strict=True)) and bool(mask[tuple(index)])

    if len(points):
        assert coverage(points, mask) == sum(map(covered, points)) / len(points)
    else:
        assert np.isnan(coverage(points, mask))


@given(points=SPOTS, mask=MASK, distance=st.sampled_from([0, 0.5, 1, 2, 3]), region=st.none() | MASK)
@settings(deadline=None, max_examples=60)
def test_the_share_of_voxels_near_points_equals_a_search(points, mask, distance, region):
    voxels = [i for i in np.ndindex(mask.shape) if mask[i] and (region is None or region[i])]
    reach = distance * (1 + 1e-5)  # the distance itself counts, within rounding
    near = [v for v in voxels if any(np.linalg.norm(np.array(v) - p) <= reach for p in points)]
    if voxels:
        assert share_within(mask, points, distance, region) == len(near) / len(voxels)
    else:
        assert np.isnan(share_within(mask, points, distance, region))


def test_the_distance_itself_counts():
    mask = np.zeros((1, 1, 9), bool)
    mask[0, 0, 5] = True
    assert share_within(mask, [[0, 0, 2]], 3) == 1
    assert share_within(mask, [[0, 0, 2]], 2.999) == 0
    assert pair_picks([[0, 3, 4]], [[0, 0, 0]], 5).recall == 1


def test_share_within_works_in_pieces(monkeypatch):
    rng = np.random.default_rng(3)
    mask, points = rng.random((12, 12, 12)) > 0.4, rng.uniform(0, 12, (20, 3))
    whole = share_within(mask, points, 2)
    monkeypatch.setattr("volengine.ops.score._QUERY", 100)
    assert share_within(mask, points, 2) == whole


def test_wrong_shapes_are_refused():
    mask = np.zeros((2, 2, 2))
    with pytest.raises(InputError, match=r"\(n, 3\)"):
        pair_picks([[1, 2]], [[1, 2, 3]], 1)
    with pytest.raises(InputError, match="negative"):
        pair_picks([[1, 2, 3]], [[1, 2, 3]], -1)
    with pytest.raises(InputError, match="negative"):
        pair_picks([[1, 2, 3]], [[1, 2, 3]], float("nan"))
    with pytest.raises(InputError, match="shapes"):
        dice(mask, np.zeros((2, 2, 3)))
    with pytest.raises(InputError, match="ignored"):
        dice(mask, mask, np.zeros((2, 2, 3)))
    with pytest.raises(InputError, match="region"):
        share_within(mask, [[0, 0, 0]], 1, np.zeros((2, 2, 3)))


def test_pooled_pairings_count_together_and_keep_their_indices() -> None:
    rng = np.random.default_rng(0)
    sides = [(rng.uniform(0, 8, (n, 3)), rng.uniform(0, 8, (m, 3))) for n, m in ((6, 4), (0, 3), (5, 0), (7, 9))]
    matches = [pair_picks(found, truth, 5.0) for found, truth in sides]
    whole = pool(matches)
    paired = sum(len(m.pairs) for m in matches)
    assert paired > 2
    assert (whole.n_found, whole.n_truth, len(whole.pairs)) == (18, 16, paired)
    assert (whole.precision, whole.recall, whole.f1) == (paired / 18, paired / 16, 2 * paired / 34)
    found, truth = (np.concatenate([side[k] for side in sides]) for k in (0, 1))
    apart = np.linalg.norm(found[whole.pairs[:, 0]] - truth[whole.pairs[:, 1]], axis=1)
    np.testing.assert_allclose(apart, whole.distance_vox)
    assert len(whole.extra) + len(whole.pairs) == 18
    assert np.isnan(pool([]).precision)
