"""Radiation damage: it follows the dose, in the order of acquisition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.sim.imaging.damage import WEIGHT_V_A3, critical_dose, damage_filter, damaged
from volengine.sim.imaging.optics import Damage
from volengine.sim.seeds import stream

PHYSICAL = ("b-factor", "critical-dose")
LIKENESS = ("cts", "cts2023")


def _speckle(seed: int = 0, size: int = 48) -> np.ndarray:
    """A random potential that vanishes at the border, V A."""
    image = np.zeros((size, size), np.float32)
    image[14:-14, 14:-14] = np.random.default_rng(seed).random((size - 28, size - 28)) * 300
    return image


def test_critical_dose_as_published() -> None:
    """Grant and Grigorieff: at 3 A resolution some 4.3 e/A^2, at 20 A some 39; 0.8 of it at 200 kV; no end at 0."""
    assert critical_dose(1 / 3) == pytest.approx(0.245 * 3**1.665 + 2.81)
    assert critical_dose(np.array([1 / 3, 1 / 20])) == pytest.approx([4.335, 38.73], rel=1e-3)
    assert critical_dose(0.1, 200.0) / critical_dose(0.1) == pytest.approx(0.8, abs=0.005)
    assert critical_dose(0.0) == math.inf


def test_filters_are_their_formulas() -> None:
    k2 = np.array([0.0, 0.01, 0.04])
    b = 4 * 0.022 * 50
    assert damage_filter(k2, Damage(), 50) == pytest.approx(np.exp(-b * k2 / 4))
    faded = damage_filter(k2, Damage(model="critical-dose"), 50)
    assert faded[0] == 1
    assert faded[1] == pytest.approx(math.exp(-50 / (2 * (0.245 * 0.1**-1.665 + 2.81))))
    assert np.all(damage_filter(k2, Damage(model="none"), 50) == 1)
    assert damage_filter(0.01, Damage(model="critical-dose"), float(critical_dose(0.1))) == pytest.approx(
        math.exp(-0.5)
    )


@pytest.mark.parametrize("model", PHYSICAL)
@settings(max_examples=15)
@example(before=94.0, own=1.0, voxel=1.0, strength=3.0)  # wide filter: what wraps around in the larger image counts
@given(before=st.floats(0, 120), own=st.floats(0.1, 5), voxel=st.floats(1, 12), strength=st.floats(0.1, 3))
def test_the_image_is_filtered_at_the_middle_of_its_exposure(
    model: str, before: float, own: float, voxel: float, strength: float
) -> None:
    image = _speckle()
    damage = Damage(model=model, strength=strength)  # type: ignore[arg-type]
    made = damaged(image, voxel, damage, (before, own))
    n = 240  # room enough that nothing wraps around
    k = np.fft.fftfreq(n, voxel)
    wide = np.zeros((n, n))
    wide[: len(image), : len(image)] = image
    wanted = np.fft.ifft2(np.fft.fft2(wide) * damage_filter(k[:, None] ** 2 + k**2, damage, before + own / 2)).real
    assert made == pytest.approx(wanted[: len(image), : len(image)], abs=0.4)  # of 300
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
    with pytest.raises(InputError, match="one of b-factor"):
        Damage(model="burnt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sensitivity_a2 is -1"):
        Damage(sensitivity_a2=-1)
