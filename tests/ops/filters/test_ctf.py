"""Deconvolution: the formulas of Warp and MemBrain, on the frequency that a wave has."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.core.errors import InputError
from volengine.ops.filters.ctf import Lens, Ratio, ctf_mean, first_zero, transfer_gain, wiener_gain
from volengine.sim.imaging.ctf import ctf as simulated
from volengine.sim.imaging.optics import Optics

F = np.linspace(0, 0.08, 400)


def test_the_ctf_is_that_of_the_simulator():
    lens = Lens((3.5,), amplitude_contrast=0.1, cs_mm=2.0, voltage_kv=200.0, phase_shift_deg=40.0)
    optics = Optics(defocus_um=3.5, amplitude_contrast=0.1, cs_mm=2.0, voltage_kv=200.0, phase_shift_deg=40.0)
    np.testing.assert_allclose(ctf_mean(F, lens), simulated(F, optics), atol=1e-9)


def test_the_first_zero_without_aberration_is_where_lambda_defocus_f2_is_1():
    """0.019687 angstrom * 30,000 angstrom * f² = 1 at 1 / 24.30 angstrom."""
    assert 1 / first_zero(Lens((3.0,), cs_mm=0, amplitude_contrast=0)) == pytest.approx(24.302, abs=1e-3)
    lens = Lens((5.0,))
    assert ctf_mean(np.array([first_zero(lens)]), lens) == pytest.approx(0, abs=1e-9)
    assert 1 / first_zero(lens) == pytest.approx(31.7, abs=0.05)


def test_no_first_zero_is_an_error_that_says_what_to_do():
    with pytest.raises(InputError, match=r"underfocus of -1 micrometre has no first zero.*lowpass=false"):
        first_zero(Lens((-1.0,)))


def test_the_mean_over_a_range_of_defocus_is_that_of_many():
    steps = 5 + 1.5 * ((np.arange(4000) + 0.5) / 4000 - 0.5)
    np.testing.assert_allclose(
        ctf_mean(F, Lens((5.0,), width_um=1.5)), ctf_mean(F, Lens(tuple(steps.tolist()))), atol=1e-5
    )
    flipped = ctf_mean(F, Lens((5.0,), width_um=1.5, flipped=True))
    np.testing.assert_allclose(flipped, ctf_mean(F, Lens(tuple(steps.tolist()), flipped=True)), atol=0.02)
    assert (flipped >= 0).all()


@pytest.mark.parametrize(
    ("share", "membrain", "warp"),
    [(0.04, 818.7, 1340.6), (0.16, 449.3, 403.8), (0.48, 90.72, 16.46), (0.95, 8.65, 0.1497)],
)
def test_ratios_at_10_angstrom(share, membrain, warp):
    """By hand: 1000 exp(-100 * 0.16 / 20) and 2000 exp(-100 * 0.16 / 10): the same falloff is not the same ratio."""
    f, lens = np.array([share / 20]), Lens((5.0,))
    assert Ratio("membrain", lowpass=False).at(f, 10.0, lens) == pytest.approx(membrain, rel=1e-3)
    assert Ratio("warp").at(f, 10.0, lens) == pytest.approx(warp, rel=1e-3)


def tom_deconv(defocus_um, falloff, strength, highpass, voxel_a, flipped, shift_deg):
    """The table of Warp's `tom_deconv.m`, for 2048 radii from 0 to Nyquist, in its own units (metres, volts)."""
    u = np.arange(2048) / 2047
    rise = 1 - np.cos(np.minimum(1, u / highpass) * np.pi)
    snr = np.exp(-u * falloff * 100 / voxel_a) * 10 ** (3 * strength) * rise
    wave = 12.2643247 / np.sqrt(300e3 * (1 + 300e3 * 0.978466e-6)) * 1e-10
    k2 = (u / 2 / (voxel_a * 1e-10)) ** 2
    w = np.pi / 2 * (wave**3 * 2.7e-3 * k2**2 + 2 * wave * (-defocus_um * 1e-6) * k2) - np.radians(shift_deg)
    ctf = -np.sqrt(1 - 0.07**2) * np.sin(w) + 0.07 * np.cos(w)
    ctf = np.abs(ctf) if flipped else ctf
    with np.errstate(divide="ignore"):
        return u / 2 / voxel_a, ctf / (ctf * ctf + 1 / snr)


@pytest.mark.parametrize(
    ("flipped", "shift", "strength", "falloff"), [(False, 0, 1, 1), (True, 0, 0.67, 1.2), (False, 70, 0.5, 0.8)]
)
def test_the_gain_is_that_of_warp(flipped, shift, strength, falloff):
    f, wanted = tom_deconv(4.2, falloff, strength, 0.02, 9.0, flipped, shift)
    lens = Lens((4.2,), phase_shift_deg=shift, flipped=flipped)
    found = wiener_gain(f, 9.0, lens, Ratio("warp", strength, falloff, 0.02))
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())  # its wavelength is 3e-5 longer
    assert found[0] == 0


@pytest.mark.parametrize(
    ("name", "lens", "ratio", "voxel"),
    [
        ("deconv", Lens((5.0,)), Ratio("membrain"), 15.0),
        ("deconv_fall", Lens((3.0,)), Ratio("membrain", 0.5, 0.7), 15.0),
        (
            "deconv_skip",
            Lens((3.0,), amplitude_contrast=0.1, voltage_kv=200.0),
            Ratio("membrain", 0.8, 1.2, 0.04, lowpass=False),
            10.0,
        ),
    ],
)
def test_the_gain_is_that_of_membrain_at_the_radii_that_it_takes(membrain, name, lens, ratio, voxel):
    """What the original does otherwise, put back here: radii in units of the root mean square side (rounded for the
    CTF), an odd last axis that becomes even. The volume is no cube, so its frequencies are those of no wave."""
    source, wanted = membrain("in").transpose(2, 1, 0), membrain(name)
    sides = np.array(source.shape)
    k = [np.fft.fftfreq(n) * n for n in sides[:2]] + [np.arange(sides[2] // 2 + 1)]
    r = np.sqrt(k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + k[2] ** 2)
    unit = np.sqrt((sides**2).mean()) * voxel
    transfer = ctf_mean(np.maximum(np.round(r), 1e-3) / unit, lens)
    snr = ratio.at(np.maximum(r, 1e-3) / unit, voxel, lens)
    gain = transfer * snr / (transfer**2 * snr + 1)
    found = np.fft.irfftn(np.fft.rfftn(source) * gain).transpose(2, 1, 0)
    assert found.shape == wanted.shape == (36, 48, 41)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * wanted.std())


def test_flipping_and_multiplying():
    lens = Lens((5.0,))
    signs = transfer_gain(F, lens, "flip")
    assert set(signs) == {-1.0, 1.0}
    assert (signs * ctf_mean(F, lens) >= 0).all()
    np.testing.assert_array_equal(transfer_gain(F, lens, "multiply"), ctf_mean(F, lens))
