"""The nearest voxel of a mask, block by block: against all pairs, and distance transforms."""

from __future__ import annotations

import edt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.ops.near_voxels import NearestVoxels


def searched(search: NearestVoxels, mask: np.ndarray, side: tuple[int, int, int], order: int = 0) -> NearestVoxels:
    blocks = search.blocks(side)
    for core in [blocks[i] for i in np.random.default_rng(order).permutation(len(blocks))] if order else blocks:
        box = core.grow((1, 1, 1)).clip(mask.shape)
        search.add(mask[box.slices], box, core)
    return search


def brute(places: np.ndarray, mask: np.ndarray, size: tuple, offset: tuple, reach: float) -> tuple:
    index = np.argwhere(mask)
    home = np.rint((places - offset) / size)
    distance, voxel = np.full(len(places), np.inf), np.full(len(places), -1)
    for row, place in enumerate(places - offset):
        off = place - index * size
        apart = np.sqrt(off[:, 0] ** 2 + off[:, 1] ** 2 + off[:, 2] ** 2)
        own = (index == home[row]).all(axis=1)
        apart[own] = 0
        if len(apart) and (apart.min() <= reach):
            distance[row] = apart.min()
            voxel[row] = np.ravel_multi_index(tuple(index[apart.argmin()]), mask.shape)  # argwhere is in order
    return distance, voxel


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.002, 0.05, 0.5, 1.0, 0.0]), st.booleans())
def test_the_same_as_all_pairs_for_any_blocks(seed: int, dense: float, whole: bool) -> None:
    """Random masks, voxels of three sides, places inside, outside and beyond the volume, ties among them."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 15, 3).tolist())
    size = (10.0, 10.0, 10.0) if seed % 2 else (13.0, 7.5, 10.0)
    offset = (0.0, 0.0, 0.0) if seed % 3 else (5.0, -3.0, 0.25)
    mask = rng.random(shape) < dense
    at = rng.uniform(-3, np.array(shape) + 2, (25, 3))
    places = (np.rint(at) if whole else at) * size + offset
    reach = float(rng.choice([4.0, 25.0, 60.0, 1e4]))
    expected = brute(places, mask, size, offset, reach)
    for order, side in ((0, (20, 20, 20)), (0, (3, 4, 5)), (seed, (1, 7, 2))):
        found = searched(NearestVoxels(places, size, shape, reach=reach, offset=offset), mask, side, order)
        assert np.array_equal(found.distance, expected[0])
        assert np.array_equal(found.voxel, expected[1])


def test_the_same_as_a_distance_transform() -> None:
    rng = np.random.default_rng(3)
    mask = rng.random((30, 40, 50)) < 0.001
    size = (12.0, 8.0, 10.0)
    whole = edt.edt(~mask, anisotropy=size)
    index = np.argwhere(np.ones(mask.shape, bool))[::37]
    found = searched(NearestVoxels(index * np.array(size), size, mask.shape, reach=1e9), mask, (16, 16, 16))
    assert found.distance == pytest.approx(whole[tuple(index.T)], rel=1e-6)


def test_only_blocks_within_reach_are_asked_for() -> None:
    search = NearestVoxels(np.array([[55.0, 55, 55]]), (1.0, 1.0, 1.0), (1000, 1000, 1000), reach=20.0)
    blocks = search.blocks((10, 10, 10))
    assert blocks[0] == Box((50, 50, 50), (60, 60, 60))
    # cubes of 10 whose nearest voxels are within 20: by hand along an axis 2 on each side, corners are farther
    assert {(b.start[0], b.start[1], b.start[2]) for b in blocks} == {
        (10 * z, 10 * y, 10 * x)
        for z in range(10)
        for y in range(10)
        for x in range(10)
        if sum(max(0, 10 * c - 55, 55 - 10 * c - 9) ** 2 for c in (z, y, x)) <= (20 + np.sqrt(3) / 2) ** 2
    }
    assert search.distance.tolist() == [np.inf]


def test_no_places() -> None:
    search = NearestVoxels(np.zeros((0, 3)), (1.0, 1.0, 1.0), (4, 4, 4), reach=5.0)
    assert search.blocks((2, 2, 2)) == []
    search.add(np.ones((4, 4, 4), bool), Box((0, 0, 0), (4, 4, 4)), Box((0, 0, 0), (4, 4, 4)))
