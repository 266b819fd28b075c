"""Profiles: leaflets whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.ops.surfaces.profiles import bilayer

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
