"""Gains of passes, wedges and tapers."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.ops.filters.gains import gain_of, low_pass, taper
from volengine.ops.filters.transforms import SpectralGrid, filter_whole
from volengine.ops.filters.wedge import tilt_of, wedge_mask


def test_edges_have_the_width_that_is_stated():
    f = np.array([0.0, 0.0179, 0.02, 0.0221, 1.0])
    assert low_pass(f, 50.0, 0.2).tolist() == pytest.approx([1, 1, 0.5, 0, 0])
    assert low_pass(f, 50.0, 0.0).tolist() == [1, 1, 1, 0, 0]


def test_a_band_pass_is_a_high_pass_and_a_low_pass_and_has_no_mean():
    gains = [{"kind": "high", "resolution_a": 100.0, "edge": 0.2}, {"kind": "low", "resolution_a": 20.0, "edge": 0.2}]
    grid = SpectralGrid((20, 20, 20), (20, 20, 20), (5.0, 5.0, 5.0))
    row = gain_of(grid.columns(0, 1, 0, 11), gains, {})
    assert row[0].tolist() == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0, 0, 0, 0, 0], abs=1e-6)  # k / 100 angstrom
    assert row[:, 0].tolist() == pytest.approx([0, 0.5, 1, 1, 1, 0.5, *[0] * 9, 0.5, 1, 1, 1, 0.5], abs=1e-6)


@pytest.mark.parametrize(
    ("z", "x", "kept"), [(0, 1, 1), (1, 1, 1), (2, 1, 0), (-2, 1, 0), (1, 0, 0), (0, 0, 1), (-1, 1, 0), (-1, -1, 1)]
)
def test_what_tilts_from_minus_30_to_50_degrees_have_measured(z, x, kept):
    """Of (fz, fx) = k (sin t, cos t): (1, 1) is t = 45, (-1, 1) is -45, (2, 1) is 63, (1, 0) is 90."""
    one = (np.array([float(z)]), np.array([0.7]), np.array([float(x)]))
    assert wedge_mask(*one, (-30.0, 50.0), "y", 0.0).tolist() == [kept]
    swapped = (one[0], one[2], one[1])
    assert wedge_mask(*swapped, (-30.0, 50.0), "x", 0.0).tolist() == [kept]


def test_the_share_that_is_missing_from_120_degrees_of_tilts_is_a_third():
    rng = np.random.default_rng(0)
    z, y, x = rng.normal(size=(3, 200_000))
    assert wedge_mask(z, y, x, (-60.0, 60.0), "y", 0.0).mean() == pytest.approx(2 / 3, abs=0.005)
    soft = wedge_mask(z, y, x, (-60.0, 60.0), "y", 20.0)
    assert soft[tilt_of(z, y, x, "y") > 80].max() == 0
    assert soft[(tilt_of(z, y, x, "y") > 61) & (tilt_of(z, y, x, "y") < 79)].min() > 0


def test_a_masked_volume_is_real_and_masking_again_changes_nothing():
    noise = np.random.default_rng(2).normal(size=(11, 14, 17)).astype(np.float32)
    gains = [{"kind": "wedge", "tilts": [-40, 60], "axis": "y", "edge_deg": 0}]
    once = filter_whole(noise, gain=lambda c: gain_of(c, gains, {}))
    np.testing.assert_allclose(filter_whole(once, gain=lambda c: gain_of(c, gains, {})), once, atol=1e-5)
    left = np.abs(np.fft.fftn(once))[:, :, 0]
    assert left[1:].max() < 1e-4  # fx = 0: only the tilt axis itself is measured


def test_a_taper_falls_to_the_highest_frequency():
    k = np.array([0, 4, 4.5, 5, 6])
    assert taper(k, 0, 0, (5, 5, 5), 0.2).tolist() == pytest.approx([1, 1, 0.5, 0, 0])
    assert taper(3, 0, 4, (5, 5, 5), 0.2) == pytest.approx(0)
