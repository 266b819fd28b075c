"""Pyramids: means without dark edges, modes of labels, and blocks that equal the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import PlanError
from volengine.core.tiling import Tiling
from volengine.ops.pyramid import downsample, pyramid

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64")


def windows(array: np.ndarray, factor: tuple[int, int, int]):
    """Index and voxels of every coarse voxel, the last fine voxel repeated at the end: the slow truth."""
    padded = np.pad(array, [(0, -n % f) for n, f in zip(array.shape, factor, strict=True)], mode="edge")
    counts = [n // f for n, f in zip(padded.shape, factor, strict=True)]
    for index in itertools.product(*map(range, counts)):
        yield index, padded[tuple(slice(i * f, i * f + f) for i, f in zip(index, factor, strict=True))].ravel()


def slow_mean(array: np.ndarray, factor: tuple[int, int, int]) -> np.ndarray:
    out = np.empty([-(-n // f) for n, f in zip(array.shape, factor, strict=True)], np.float64)
    for index, values in windows(array.astype(np.float64), factor):
        out[index] = values.mean()
    return out if array.dtype.kind == "f" else np.rint(out).astype(array.dtype)


def slow_mode(array: np.ndarray, factor: tuple[int, int, int]) -> np.ndarray:
    out = np.empty([-(-n // f) for n, f in zip(array.shape, factor, strict=True)], array.dtype)
    for index, values in windows(array, factor):
        found, counts = np.unique(values, return_counts=True)
        most = found[counts == counts.max()]
        out[index] = most[most != 0].min() if (most != 0).any() else 0
    return out


shapes = st.tuples(*[st.integers(1, 9)] * 3)
factors = st.sampled_from([(2, 2, 2), (1, 2, 2), (2, 1, 1), (1, 1, 2), (4, 4, 4), (3, 2, 1), (1, 1, 1)])


def draw(seed: int, shape: tuple[int, int, int], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return rng.normal(3, 5, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


@given(shapes, factors, st.sampled_from(DTYPES), st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_mean_is_the_mean_of_the_voxels_covered(shape, factor, dtype, seed):
    array = draw(seed, shape, dtype)
    coarse = downsample(array, factor, "intensity")
    assert coarse.dtype == array.dtype
    expected = slow_mean(array, factor)
    if array.dtype.kind == "f":
        np.testing.assert_allclose(coarse, expected, rtol=2e-3 if dtype == "float16" else 1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(coarse, expected)


@given(shapes, factors, st.sampled_from(["uint8", "uint16", "int32", "uint32"]), st.integers(1, 6), st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_mode_is_the_most_frequent_label(shape, factor, dtype, labels, seed):
    array = np.random.default_rng(seed).integers(0, labels, shape).astype(dtype)
    coarse = downsample(array, factor, "labels")
    assert coarse.dtype == array.dtype
    np.testing.assert_array_equal(coarse, slow_mode(array, factor))


@given(
    st.tuples(*[st.integers(1, 30)] * 3),
    st.tuples(*[st.integers(1, 3)] * 3),
    st.sampled_from(["float32", "int8", "uint16"]),
    st.sampled_from(["intensity", "labels"]),
    st.integers(0, 999),
)
@settings(deadline=None, max_examples=40)
def test_blocks_equal_the_whole(shape, multiple, dtype, kind, seed):
    array = draw(seed, shape, dtype) if kind == "intensity" else draw(seed, shape, "uint16") % 4
    steps = [(1, 1, 1), (2, 2, 2), (4, 4, 4)]
    whole = pyramid(array, steps, kind)
    blocked = [np.zeros_like(level) for level in whole]
    for box in Tiling(shape, tuple(4 * m for m in multiple)):
        for level, factor, part in zip(blocked, steps, pyramid(array[box.slices], steps, kind), strict=True):
            level[box.coarsen(factor).clip(level.shape).slices] = part
    for level, expected in zip(blocked, whole, strict=True):
        assert level.tobytes() == expected.tobytes()


def test_integers_round_half_to_even():
    pairs = np.array([[[0, 1, 1, 2, 2, 3, -1, 0, -2, -1]]], np.int8)
    np.testing.assert_array_equal(downsample(pairs, (1, 1, 2)), [[[0, 2, 2, 0, -2]]])


def test_edges_do_not_darken():
    for shape in [(5, 7, 9), (101, 3, 2), (1, 1, 1)]:
        flat = np.full(shape, 100, np.float32)
        for level in pyramid(flat, [(2, 2, 2), (4, 4, 4), (8, 8, 8)]):
            assert (level == 100).all()


def test_integer_levels_are_rounded_once_each():
    """Level 2 comes from unrounded means: eight voxels of 0 and 56 of 1 are 0.875, whatever level 1 rounds to."""
    array = np.ones((4, 4, 4), np.uint8)
    array[::2, ::2, ::2] = 0
    assert pyramid(array, [(2, 2, 2), (4, 4, 4)])[1].item() == 1
    array[:] = 0
    array[::2, ::2, :] = 1  # every 2 x 2 x 2 cell has the mean 0.25, so has the whole
    array[::2, 1::2, ::2] = 1  # now 0.375
    level = pyramid(array, [(2, 2, 2), (4, 4, 4)])[1]
    assert level.item() == 0
    array[1::2, 1::2, ::2] = 1  # 0.5 in each: 0 by half to even at both levels
    assert pyramid(array, [(2, 2, 2), (4, 4, 4)])[1].item() == 0


def test_extreme_integers_do_not_overflow():
    for dtype in DTYPES[:6]:
        for value in (np.iinfo(dtype).min, np.iinfo(dtype).max):
            level = pyramid(np.full((8, 8, 8), value, dtype), [(2, 2, 2), (4, 4, 4), (8, 8, 8)])[-1]
            assert level.item() == value


def test_thin_labels_survive():
    membrane = np.zeros((8, 8, 8), np.uint8)
    membrane[:, 3, :] = 7
    assert (downsample(membrane, (2, 2, 2), "labels")[:, 1, :] == 7).all()


def test_inputs_are_left_alone():
    array = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
    before = array.copy()
    for kind in ("intensity", "labels"):
        downsample(array, (2, 2, 2), kind)[:] = 0
    np.testing.assert_array_equal(array, before)


def test_impossible_requests_are_refused():
    with pytest.raises(PlanError, match="three axes"):
        downsample(np.zeros((4, 4)), (2, 2, 2))
    with pytest.raises(PlanError, match="factors"):
        downsample(np.zeros((4, 4, 4)), (2, 0, 2))
    with pytest.raises(PlanError, match="not a multiple"):
        pyramid(np.zeros((8, 8, 8)), [(2, 2, 2), (3, 4, 4)])
    assert Box.of_shape((4, 4, 4)).coarsen((2, 2, 2)).shape == downsample(np.zeros((4, 4, 4)), (2, 2, 2)).shape
