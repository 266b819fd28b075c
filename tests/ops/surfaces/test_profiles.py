"""Profiles: cubic convolution against polynomials, parts against the whole; leaflets whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.ops.surfaces.profiles import PAD, bilayer, sampled

AT = np.arange(-10, 10.01, 0.25)


def leaflets(apart, width, middle=0.0, heights=(1.0, 1.0)):
    left, right = middle - apart / 2, middle + apart / 2
    return -heights[0] * np.exp(-(((AT - left) / width) ** 2) / 2) - heights[1] * np.exp(
        -(((AT - right) / width) ** 2) / 2
    )


def test_values_between_voxels_are_exact_for_polynomials_of_degree_two() -> None:
    z, y, x = np.indices((9, 11, 13)).astype(float)
    values = 2 * z * z - y * x + 3 * x * x - y + 5
    index = np.random.default_rng(0).uniform(2, 6, (50, 3))
    a, b, c = index.T
    box = Box.of_shape(values.shape)
    np.testing.assert_allclose(sampled(values, box, values.shape, index), 2 * a * a - b * c + 3 * c * c - b + 5)
    assert sampled(values, box, values.shape, np.array([[3.0, 4, 5]]))[0] == values[3, 4, 5]
    outside = sampled(values, box, values.shape, np.array([[-0.1, 4, 5], [0, 0, 0], [8, 10, 12], [8, 10, 12.1]]))
    assert np.isnan(outside).tolist() == [True, False, False, True]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_part_gives_the_same_numbers_as_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(20, 18, 16)).astype(np.float32)
    index = rng.uniform(0, 1, (30, 3)) * (np.array(values.shape) - 1)
    index = index[np.all(np.abs(index - index[0]) < 5, axis=1)]
    low, high = np.floor(index.min(0)).astype(int) - PAD, np.ceil(index.max(0)).astype(int) + PAD + 1
    box = Box(tuple(low.tolist()), tuple(high.tolist())).clip(values.shape)
    whole = sampled(values, Box.of_shape(values.shape), values.shape, index)
    np.testing.assert_array_equal(sampled(values[box.slices], box, values.shape, index), whole)


@pytest.mark.parametrize(("apart", "width"), [(4.0, 0.8), (4.0, 1.4), (3.5, 1.2), (6.0, 1.0)])
@pytest.mark.parametrize("middle", [0.0, -1.37, 2.1])
def test_the_distance_of_two_leaflets(apart: float, width: float, middle: float) -> None:
    profiles = np.stack([leaflets(apart, width, middle, (1, h)) for h in (1.0, 0.8, 1.3)])
    found = bilayer(profiles, AT, least=2, most=8)
    np.testing.assert_allclose(found.thickness, apart, rtol=0.005)
    np.testing.assert_allclose(found.offset, middle, atol=0.02)
    assert found.fit.min() > 0.99
    assert (found.peaks <= apart + 0.05).all()  # tops that overlap are nearer
    bright = bilayer(-profiles, AT, dark=False, least=2, most=8)
    np.testing.assert_array_equal(bright.thickness, found.thickness)


def test_noise_of_a_tenth() -> None:
    rng = np.random.default_rng(1)
    profiles = leaflets(4.0, 1.0) + 0.05 * rng.normal(size=(300, len(AT)))
    found = bilayer(profiles, AT, least=2, most=8)
    assert np.isnan(found.thickness).mean() < 0.05
    assert np.nanmedian(found.thickness) == pytest.approx(4, rel=0.03)


def test_what_is_no_bilayer_has_no_thickness() -> None:
    single, merged = leaflets(0.0, 1.5), leaflets(2.0, 1.5)
    gap = leaflets(4.0, 1.0)
    gap[7] = np.nan
    rows = np.stack([single, merged, np.zeros(len(AT)), np.linspace(0, 1, len(AT)), gap, leaflets(9.0, 0.8)])
    found = bilayer(rows, AT, least=1, most=8)
    assert np.isnan(found.thickness).all()
    np.testing.assert_array_equal(np.isnan(found.peaks), np.isnan(found.thickness))
