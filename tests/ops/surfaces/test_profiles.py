"""Profiles: leaflets whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.ops.surfaces.profiles import bilayer, noise_of

AT = np.arange(-10, 10.01, 0.25)


def leaflets(apart, width, middle=0.0, heights=(1.0, 1.0)):
    left, right = middle - apart / 2, middle + apart / 2
    return -heights[0] * np.exp(-(((AT - left) / width) ** 2) / 2) - heights[1] * np.exp(
        -(((AT - right) / width) ** 2) / 2
    )


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


@pytest.mark.parametrize("noise", [0.02, 0.09, 0.2])
@pytest.mark.parametrize("known", [True, False])
def test_noise_on_a_single_band_is_no_second_leaflet(noise: float, known: bool) -> None:
    rng = np.random.default_rng(2)
    bands = [leaflets(0.0, 1.4) / 2, leaflets(0.0, 2.5) / 2, -(np.abs(AT) <= 2.0).astype(float), np.zeros(len(AT))]
    rows = np.repeat(bands, 150, axis=0) + noise * rng.normal(size=(600, len(AT)))
    found = bilayer(rows, AT, np.full(600, noise) if known else None, least=2, most=8)
    assert np.isfinite(found.thickness).reshape(4, 150).mean(axis=1).max() <= 0.02


@pytest.mark.parametrize("apart", [4.0, 5.0])
def test_two_leaflets_are_found_in_noise_that_allows_it(apart: float) -> None:
    rng = np.random.default_rng(3)
    rows = leaflets(apart, 1.0) + 0.06 * rng.normal(size=(200, len(AT)))
    found = bilayer(rows, AT, np.full(200, 0.06), least=2, most=8)
    assert np.isfinite(found.thickness).mean() > 0.9
    assert np.nanmedian(found.thickness) == pytest.approx(apart, rel=0.03)
    scaled = bilayer(1000 * rows - 7, AT, np.full(200, 60.0), least=2, most=8)
    np.testing.assert_allclose(scaled.thickness, found.thickness, rtol=1e-6)
    assert np.isnan(bilayer(rows, AT, np.full(200, 0.3), least=2, most=8).thickness).all()


def test_a_low_bump_beside_a_band_is_no_leaflet() -> None:
    rows = np.stack([leaflets(4.0, 0.8, 0.0, (1, share)) for share in (0.3, 0.45, 0.6, 0.8)])
    assert np.isfinite(bilayer(rows, AT, np.full(4, 1e-3), least=2, most=8).thickness).tolist() == [0, 0, 1, 1]


def test_values_within_a_voxel_are_not_counted_twice() -> None:
    """Noise that is the same in four values each looks like none to who takes these to be independent."""
    rng = np.random.default_rng(4)
    rows = np.repeat(rng.normal(size=(50, 40)), 4, axis=1)
    assert noise_of(rows).max() < 0.1
    np.testing.assert_allclose(noise_of(rows, 4).mean(), 1, rtol=0.1)
    at = np.arange(160) * 0.25 - 20
    found = bilayer(np.repeat(rng.normal(size=(300, 20)), 4, axis=1), at[40:120], voxel=1.0, least=2, most=8)
    assert np.isfinite(found.thickness).mean() <= 0.02


@pytest.mark.parametrize("count", [1, 3, 5])
def test_profiles_of_few_values(count: int) -> None:
    found = bilayer(np.arange(2.0 * count).reshape(2, count), np.arange(float(count)), voxel=20.0)
    assert np.isnan(found.thickness).all()


def test_two_bands_must_fit_better_than_one_by_what_the_noise_allows() -> None:
    """Of a profile whose values hardly count each, the same valley says less."""
    rows, noise = leaflets(4.0, 1.0)[None], np.array([0.1])
    assert np.isfinite(bilayer(rows, AT, noise, voxel=0.25, least=2, most=8).thickness).all()
    assert np.isnan(bilayer(rows, AT, noise, voxel=10.0, least=2, most=8).thickness).all()
