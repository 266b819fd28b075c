"""Radiation damage: it follows the dose, in the order of acquisition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.sim.imaging.damage import (
    WEIGHT_V_A3,
    critical_dose,
    damage_filter,
    damaged,
    dose_weighted,
    exposure_filter,
)
from volengine.sim.imaging.optics import Damage
from volengine.sim.seeds import stream

PHYSICAL = ("b-factor", "critical-dose")
LIKENESS = ("cts", "cts2023")


def _speckle(seed: int = 0, size: int = 48) -> np.ndarray:
    """A random potential that vanishes at the border, V A."""
    image = np.zeros((size, size), np.float32)
    image[14:-14, 14:-14] = np.random.default_rng(seed).random((size - 28, size - 28)) * 300
    return image


LEFT = {  # amplitude at 40, 20, 10, 5 A after 30, 60, 120 e/A^2, by the programs' own formulas
    ("critical-dose", None, 300): ((0.88, 0.68, 0.35, 0.10), (0.77, 0.46, 0.12, 0.01), (0.60, 0.21, 0.01, 0)),
    ("critical-dose", None, 200): ((0.85, 0.62, 0.27, 0.05), (0.73, 0.38, 0.07, 0), (0.53, 0.14, 0.01, 0)),
    ("b-factor", None, 300): ((0.98, 0.93, 0.74, 0.30), (0.96, 0.86, 0.55, 0.09), (0.93, 0.74, 0.30, 0.01)),
    ("b-factor", 0.08, 300): ((0.97, 0.89, 0.62, 0.15), (0.94, 0.79, 0.39, 0.02), (0.89, 0.62, 0.15, 0)),
    ("b-factor", 0.022, 300): ((0.99, 0.97, 0.88, 0.59), (0.98, 0.94, 0.77, 0.35), (0.97, 0.88, 0.59, 0.12)),
}


@pytest.mark.parametrize(("model", "sensitivity", "voltage"), LEFT)
def test_what_is_left_is_what_grant_and_grigorieff_warp_and_parakeet_leave(
    model: str, sensitivity: float | None, voltage: float
) -> None:
    damage = Damage(model=model, sensitivity_a2=sensitivity)  # type: ignore[arg-type]
    k2 = np.array([40.0, 20, 10, 5]) ** -2
    for dose, wanted in zip((30, 60, 120), LEFT[model, sensitivity, voltage], strict=True):
        assert damage_filter(k2, damage, dose, voltage) == pytest.approx(wanted, abs=0.0075)


def test_critical_dose_as_published() -> None:
    """Grant and Grigorieff: at 3 A some 4.3 e/A^2, at 20 A some 39; 0.8 of it at 200 kV, 0.532 at 100; no end at 0."""
    assert critical_dose(1 / 3) == pytest.approx(0.245 * 3**1.665 + 2.81)
    assert critical_dose(np.array([1 / 3, 1 / 20])) == pytest.approx([4.335, 38.73], rel=1e-3)
    for voltage, factor in ((300, 1), (200, 0.8), (100, 0.532), (250, 0.9)):
        assert critical_dose(0.1, voltage) / critical_dose(0.1) == pytest.approx(factor)
    rising = [float(critical_dose(0.1, voltage)) for voltage in range(40, 500, 5)]
    assert rising == sorted(rising)
    assert critical_dose(0.0) == math.inf


def test_the_default_is_the_critical_dose_and_leaves_the_mean() -> None:
    assert damage_filter([0.0, 1 / 20**2], Damage(), 118.0) == pytest.approx([1, 0.22], abs=0.005)
    parakeet = Damage(model="b-factor", sensitivity_a2=0.022)
    assert parakeet.b_a2_per_dose == pytest.approx(1.737, abs=1e-3)
    assert damage_filter(1 / 20**2, parakeet, 118.0) == pytest.approx(0.88, abs=0.005)
    assert np.all(damage_filter([0.0, 0.01, 0.04], Damage(model="none"), 50) == 1)
    assert exposure_filter([0.0, 1e-30], Damage(), (3.0, 2.0)) == pytest.approx([1, 1])


@settings(max_examples=20)
@given(
    model=st.sampled_from(PHYSICAL),
    before=st.floats(0, 150),
    own=st.floats(0, 150),
    k=st.floats(0, 0.3),
    voltage=st.floats(80, 400),
)
def test_an_exposure_is_the_mean_of_its_frames(model: str, before: float, own: float, k: float, voltage: float) -> None:
    """Against a sum over many short frames; a series that is taken as one exposure is the mean of its images."""
    damage = Damage(model=model)  # type: ignore[arg-type]
    frames = before + own * (np.arange(200) + 0.5) / 200
    wanted = np.mean([damage_filter(k * k, damage, dose, voltage) for dose in frames])
    assert exposure_filter(k * k, damage, (before, own), voltage) == pytest.approx(wanted, abs=1e-3)
    parts = [exposure_filter(k * k, damage, (before + n * own / 5, own / 5), voltage) for n in range(5)]
    assert exposure_filter(k * k, damage, (before, own), voltage) == pytest.approx(np.mean(parts), rel=1e-9)


@pytest.mark.parametrize("model", PHYSICAL)
@settings(max_examples=8)
@example(before=94.0, own=1.0, voxel=1.0, strength=3.0)  # wide filter: what wraps around in the larger image counts
@given(before=st.floats(0, 120), own=st.floats(0.1, 5), voxel=st.floats(1, 12), strength=st.floats(0.1, 3))
def test_the_image_is_the_mean_over_its_exposure(
    model: str, before: float, own: float, voxel: float, strength: float
) -> None:
    image = _speckle()
    damage = Damage(model=model, strength=strength)  # type: ignore[arg-type]
    made = damaged(image, voxel, damage, (before, own))
    n = 240  # room enough that nothing wraps around
    k = np.fft.fftfreq(n, voxel)
    wide = np.zeros((n, n))
    wide[: len(image), : len(image)] = image
    filtered = np.fft.fft2(wide) * exposure_filter(k[:, None] ** 2 + k**2, damage, (before, own))
    wanted = np.fft.ifft2(filtered).real[: len(image), : len(image)]
    assert made == pytest.approx(wanted, abs=0.4)  # of 300
    if model == "b-factor":  # the other spreads as |r|^-3.7, over the border
        assert made.sum() == pytest.approx(image.sum(), rel=5e-3)
    assert made.dtype == np.float32


@pytest.mark.parametrize("model", [*PHYSICAL, *LIKENESS])
def test_damage_grows_with_the_order_and_knows_no_angle(model: str) -> None:
    """A dose-symmetric and a one-way series: what counts is the place in the order."""
    image, damage, dose = _speckle(), Damage(model=model), 2.5  # type: ignore[arg-type]
    left = []
    for place in (0, 8, 20, 40):
        made = damaged(image, 3.0, damage, (place * dose, dose), stream(1, "damage", 7))
        left.append(float(np.abs(made - image).mean()))
    assert left == sorted(left)
    assert left[-1] > 1.5 * left[0]


@pytest.mark.parametrize("model", LIKENESS)
def test_likeness_is_blur_and_noise_by_the_formulas(model: str) -> None:
    flat, voxel, dose = np.zeros((300, 300), np.float32), 8.0, 60.0
    noise = damaged(flat, voxel, Damage(model=model, strength=2), (dose - 2, 2.0), stream(1))  # type: ignore[arg-type]
    units = {"cts": 5 * voxel * 0.02 * 2 * dose, "cts2023": 0.01 * 2 * dose}[model]
    assert noise.std() == pytest.approx(units * WEIGHT_V_A3 / voxel**2, rel=0.02)
    assert abs(noise.mean()) < 0.02 * noise.std()
    point = np.zeros((301, 301), np.float32)
    point[150, 150] = 1e9
    spread = damaged(point, voxel, Damage(model=model, strength=2), (dose - 2, 2.0), stream(1))  # type: ignore[arg-type]
    sigma = {"cts": 0.02 * 2 * dose / 10, "cts2023": math.sqrt(0.01 * 2 * dose * 0.1)}[model]
    assert spread[150, 151] / spread[150, 150] == pytest.approx(math.exp(-1 / (2 * sigma**2)), abs=1e-6)
    total = 1 - (1 - math.exp(-dose * voxel / 800)) / 2 if model == "cts" else 1
    assert spread[146:155, 146:155].sum() / 1e9 == pytest.approx(total, rel=1e-3)


def test_the_noise_of_2023_is_larger_where_there_is_mass() -> None:
    image = np.zeros((200, 200), np.float32)
    image[:, 100:] = 1000
    made = damaged(image, 9.0, Damage(model="cts2023"), (58.0, 2.0), stream(4))
    ratio = made[:, 110:190].std() / made[:, 10:90].std()
    assert ratio == pytest.approx(1 + math.sqrt(9.0), rel=0.03)


@pytest.mark.parametrize("model", [*PHYSICAL, *LIKENESS, "none"])
def test_no_dose_no_damage(model: str) -> None:
    image = _speckle()
    assert np.array_equal(damaged(image, 5.0, Damage(model=model), (0.0, 0.0)), image)  # type: ignore[arg-type]
    assert np.array_equal(damaged(image, 5.0, Damage(model=model, strength=0), (9.0, 1.0)), image)  # type: ignore[arg-type]


def test_wrong_doses_and_a_missing_random_generator_are_refused() -> None:
    with pytest.raises(InputError, match="dose is -1"):
        damaged(_speckle(), 5.0, Damage(), (-1.0, 1.0))
    with pytest.raises(InputError, match="dose is nan"):
        damaged(_speckle(), 5.0, Damage(), (0.0, math.nan))
    with pytest.raises(InputError, match="random generator"):
        damaged(_speckle(), 5.0, Damage(model="cts"), (0.0, 1.0))
    with pytest.raises(InputError, match="not finite"):
        damaged(np.full((3, 3), np.inf), 5.0, Damage(), (0.0, 1.0))
    with pytest.raises(InputError, match="one of critical-dose"):
        Damage(model="burnt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sensitivity_a2 is -1"):
        Damage(model="b-factor", sensitivity_a2=-1)
    with pytest.raises(InputError, match=r"sensitivity_a2 is 0\.022, but the model is critical-dose.*model: b-factor"):
        Damage(sensitivity_a2=0.022)
    with pytest.raises(InputError, match="one or the other"):
        Damage(model="b-factor", sensitivity_a2=0.022, b_factor_a2=4)


def test_images_are_weighted_by_the_formula() -> None:
    """A wave keeps its shape, and the share of its frequency."""
    x = np.arange(240) * np.ones((200, 1))
    for period in (4, 10, 40):
        wave = np.cos(2 * np.pi * x / period).astype(np.float32)
        made = dose_weighted(wave, 10.0, (40.0, 3.0), 200.0)
        frames = 40 + 3 * (np.arange(300) + 0.5) / 300
        critical = 0.8 * (0.245 * (10.0 * period) ** 1.665 + 2.81)
        left = np.mean(np.exp(-frames / (2 * critical)))
        inside = (slice(80, 120), slice(80, 160))
        assert made[inside] == pytest.approx(left * wave[inside], abs=5e-3)
    assert made.shape == (200, 240)
