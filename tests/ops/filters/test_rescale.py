"""Other voxel sizes by means of neighbours: places stay, means stay, blocks do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box, index3
from volengine.ops.filters.rescale import reach, rescale, rescale_block, weights_of

sides = st.tuples(*[st.integers(1, 15)] * 3)


@pytest.mark.parametrize("how", ["linear", "area"])
@pytest.mark.parametrize(("n", "m"), [(40, 20), (40, 27), (20, 40), (30, 41)])
def test_a_ramp_keeps_its_places(how, n, m):
    """Voxel i lies at i n / m; the faces are left out, where the border voxel is repeated."""
    ramp = np.arange(n, dtype=np.float32).reshape(1, 1, n)
    found = rescale(ramp, (1, 1, m), how)[0, 0]
    at = np.arange(m) * n / m
    inner = (at > 3 * n / m) & (at < n - 1 - 3 * n / m)
    tolerance = 1e-4 if how == "area" and n > m and n % m == 0 else 1e-4 if how == "linear" and n < m else 0.3
    np.testing.assert_allclose(found[inner], at[inner], atol=tolerance)


def test_binning_by_two_takes_the_halves_of_both_neighbours():
    """The new voxel reaches from p - 1 to p + 1 voxels: all of voxel p, half of each beside it."""
    found = rescale(np.array([0, 8, 2, 4, 6, 2, 9, 9], np.float32).reshape(1, 1, 8), (1, 1, 4), "area")
    assert found.ravel().tolist() == [(0 / 2 + 0 + 8 / 2) / 2, (4 + 2 + 2) / 2, (2 + 6 + 1) / 2, (1 + 9 + 4.5) / 2]


@pytest.mark.parametrize("how", ["linear", "area"])
@given(st.integers(1, 40), st.integers(1, 40))
def test_weights_are_shares(how, n, m):
    weights = weights_of(n, m, 0, m, how)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize("how", ["linear", "area"])
@settings(max_examples=40)
@given(sides, sides, st.data())
def test_a_block_has_the_bits_of_the_whole(how, shape, out_shape, data):
    volume = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    every = rescale(volume, out_shape, how)
    assert every.shape == out_shape
    start = index3(data.draw(st.integers(0, m - 1)) for m in out_shape)
    stop = index3(data.draw(st.integers(a + 1, m)) for a, m in zip(start, out_shape, strict=True))
    out, ends = Box(start, stop), list(zip(start, stop, shape, out_shape, strict=True))
    space = Box(index3(a * n // m for a, _, n, m in ends), index3(-(-b * n // m) for _, b, n, m in ends))
    box = space.grow(index3(map(reach, shape, out_shape))).clip(shape)
    found = rescale_block(volume[box.slices], box, shape, out, out_shape, how)
    np.testing.assert_array_equal(found, every[out.slices])
