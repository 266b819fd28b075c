"""Filters of neighbourhoods: as scipy, scikit-image or plain loops have them; the same bits wherever they begin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from volengine.ops.filters import local

KINDS = {
    "median": {"radius": 1},
    "bilateral": {"sigma_vox": 0.8, "sigma_value": 0.7},
    "nlm": {"patch": 1, "search": 2, "strength": 0.8, "noise": 0.2},
    "diffusion": {"iterations": 3, "kappa": 0.5},
}


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(kind, volume):
    margin = local.reach(kind, KINDS[kind])
    return local.apply(kind, np.pad(volume, margin, mode="reflect"), KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(st.data())
def test_a_block_with_its_halo_has_the_bits_of_the_whole(kind, data):
    shape = data.draw(st.tuples(*[st.integers(8, 14)] * 3))
    volume = noise(shape)
    margin = local.reach(kind, KINDS[kind])
    wide, every = np.pad(volume, margin, mode="reflect"), whole(kind, volume)
    starts = [data.draw(st.integers(0, n - 1)) for n in shape]
    stops = [data.draw(st.integers(a + 1, n)) for a, n in zip(starts, shape, strict=True)]
    cut = tuple(slice(a, b + 2 * margin) for a, b in zip(starts, stops, strict=True))
    core = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
    np.testing.assert_array_equal(local.apply(kind, wide[cut], KINDS[kind]), every[core])


@pytest.mark.parametrize("kind", KINDS)
def test_mirrored_volumes_give_mirrored_results(kind):
    """So one reflection of the sum of all margins is as good as one before each filter."""
    volume = noise((9, 10, 11))
    np.testing.assert_allclose(whole(kind, volume[:, ::-1]), whole(kind, volume)[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_becomes_less_and_a_constant_stays(kind):
    volume = noise((12, 12, 12)) * 0.3
    assert whole(kind, volume).std() < 0.85 * volume.std()
    np.testing.assert_allclose(whole(kind, np.full((8, 8, 8), 3, np.float32)), 3, rtol=1e-6)


def test_median_is_scipys():
    volume = noise((7, 8, 9))
    np.testing.assert_array_equal(whole("median", volume), ndimage.median_filter(volume, 3, mode="mirror"))


def test_nlm_is_nearly_that_of_scikit_image():
    """Its fast mode approximates exp by 3 %, and leaves out weights below exp(-5), of which there are none here."""
    volume = noise((12, 13, 14)) * np.float32(0.2)
    values = {"patch": 1, "search": 2, "strength": 1.0, "noise": 0.1}
    found = local.apply("nlm", np.pad(volume, 3, mode="reflect"), values)
    wanted = denoise_nl_means(volume.astype(float), patch_size=3, patch_distance=2, h=1.0, sigma=0.1, fast_mode=True)
    inner = (slice(4, -4),) * 3
    np.testing.assert_allclose(found[inner], wanted[inner], atol=2e-3)
    assert np.corrcoef(found[inner].ravel(), wanted[inner].ravel())[0, 1] > 0.999


def test_nlm_is_the_plain_sum():
    volume = noise((7, 7, 7)).astype(float)
    cube = lambda at: volume[tuple(slice(c - 1, c + 2) for c in at)]  # noqa: E731
    total = weights = 0.0
    for offset in itertools.product(range(-2, 3), repeat=3):
        at = tuple(3 + d for d in offset)
        weight = np.exp(-max(((cube(at) - cube((3, 3, 3))) ** 2).mean() - 2 * 0.2**2, 0) / 0.8**2)
        total, weights = total + weight * volume[at], weights + weight
    found = local.nlm(volume.astype(np.float32), 1, 2, 0.8, 0.2)
    assert found.shape == (1, 1, 1)
    assert found.item() == pytest.approx(total / weights, abs=1e-5)


def test_bilateral_is_the_plain_sum():
    volume = noise((5, 5, 5)).astype(float)
    total = weights = 0.0
    for offset in itertools.product(range(-2, 3), repeat=3):
        near = volume[tuple(2 + d for d in offset)]
        weight = np.exp(-sum(d * d for d in offset) / 2 - (near - volume[2, 2, 2]) ** 2 / (2 * 0.5**2))
        total, weights = total + weight * near, weights + weight
    found = local.bilateral(volume.astype(np.float32), 1.0, 0.5)
    assert found.shape == (1, 1, 1)
    assert found.item() == pytest.approx(total / weights, abs=1e-5)


def test_an_edge_stays_where_a_gaussian_would_smear_it():
    step = np.zeros((10, 10, 20), np.float32)
    step[:, :, 10:] = 5
    noisy = step + noise(step.shape) * np.float32(0.2)
    for kind, values in (
        ("diffusion", {"iterations": 20, "kappa": 1.0}),
        ("bilateral", {"sigma_vox": 1.5, "sigma_value": 1.0}),
    ):
        margin = local.reach(kind, values)
        found = local.apply(kind, np.pad(noisy, margin, mode="reflect"), values)
        assert np.abs(found - step)[:, :, 8:12].max() < 0.4
        assert (found - step).std() < 0.5 * 0.2


def test_diffusion_without_edges_has_the_width_that_is_stated():
    """sqrt(2 iterations / 7) voxels."""
    spike = np.zeros((41, 41, 41), np.float32)
    spike[20, 20, 20] = 1e-3
    found = local.diffusion(spike, 10, 1e6)
    at = np.arange(21) - 10
    assert np.sqrt((found.sum((0, 1)) * at**2).sum() / found.sum()) == pytest.approx(np.sqrt(20 / 7), rel=1e-3)
    assert found.sum() == pytest.approx(1e-3, rel=1e-4)
