"""Images: doses, transmission, counting, halves, and the physics that must not depend on pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ctf_zeros import ctf_zeros
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.sim.imaging.ctf import apply_ctf, ctf, interaction_constant
from volengine.sim.imaging.exposure import (
    Exposed,
    Shot,
    apply_mtf,
    expose,
    halved,
    normalise,
    path_a,
    transmission,
)
from volengine.sim.imaging.optics import Damage, Detector, Exposure, Optics
from volengine.sim.seeds import stream

WHOLE = Exposure(damage=Damage(model="none"))
ICE = np.zeros((64, 72), np.float32)


def _object(seed: int = 0, shape: tuple[int, int] = (64, 72)) -> np.ndarray:
    """Projected potential of something like protein, V A, fading to ice at the border."""
    rng = np.random.default_rng(seed)
    fade = np.outer(np.hanning(shape[0]), np.hanning(shape[1]))
    made: np.ndarray = (rng.random(shape) * 300 * fade).astype(np.float32)
    return made


# -- dose and counting -------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.floats(0.05, 5), st.floats(1, 16), st.floats(0.2, 1), st.integers(0, 99))
def test_ice_counts_are_poisson(dose: float, voxel: float, dqe: float, seed: int) -> None:
    """Mean and variance are DQE times the electrons that arrive, so the squared signal to noise is too."""
    taken = expose(ICE, voxel, Shot(0, dose), WHOLE.with_(detector=Detector(dqe=dqe)), stream(seed))
    mean, n = dose * voxel**2 * dqe, ICE.size
    assert taken.flat == pytest.approx(mean)
    assert taken.expected == pytest.approx(mean)
    assert taken.counts.mean(dtype=float) == pytest.approx(mean, abs=5 * math.sqrt(mean / n))
    spread = math.sqrt((mean + 2 * mean**2) / n)  # of the sample variance of Poisson numbers
    assert taken.counts.var(dtype=float) == pytest.approx(mean, abs=5 * spread)
    assert np.array_equal(taken.counts, np.rint(taken.counts))
    assert taken.counts.dtype == taken.expected.dtype == np.float32


@settings(max_examples=15)
@given(st.integers(2, 5), st.floats(1, 4), st.floats(-60, 60), st.floats(0, 2000), st.integers(0, 9))
def test_counts_per_area_do_not_depend_on_the_pixel(
    factor: int, voxel: float, tilt: float, thickness: float, seed: int
) -> None:
    """One object in small and in large pixels."""
    fine = np.kron(_object(seed, (24, 30)), np.ones((factor, factor)))
    coarse = _object(seed, (24, 30))
    shot = Shot(tilt, 3.0, thickness_a=thickness)
    one = expose(fine, voxel, shot, WHOLE, stream(seed))
    other = expose(coarse, voxel * factor, shot, WHOLE, stream(seed))
    area = voxel**2
    assert one.flat / area == pytest.approx(other.flat / (area * factor**2))
    assert one.expected.mean(dtype=float) / area == pytest.approx(
        other.expected.mean(dtype=float) / (area * factor**2), rel=2e-3
    )


def test_a_noisy_image_has_the_expected_image_as_its_mean() -> None:
    shot, rng = Shot(30, 1.0, thickness_a=500), stream(2)
    images = [expose(_object(), 6.0, shot, WHOLE, rng) for _ in range(200)]
    counts = np.stack([i.counts for i in images]).astype(float)
    expected = images[0].expected.astype(float)
    z = (counts.mean(0) - expected) / np.sqrt(expected / len(images))
    assert abs(z.mean()) < 0.06
    assert z.std() == pytest.approx(1, abs=0.05)
    assert (counts.var(0, ddof=1) / expected).mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("order", ["ctf-first", "counts-first"])
def test_no_dose_no_noise(order: str) -> None:
    exposure = WHOLE.with_(order=order)
    rng = stream(1)
    before = rng.bit_generator.state["state"]["counter"].copy()
    free = expose(_object(), 6.0, Shot(20, 0.0, thickness_a=400), exposure, rng, halves=True)
    assert np.array_equal(rng.bit_generator.state["state"]["counter"], before)  # nothing was drawn
    one = expose(_object(), 6.0, Shot(20, 1.0, thickness_a=400), exposure, stream(2))
    assert np.array_equal(free.counts, free.expected)
    assert np.array_equal(free.counts, one.expected)
    assert free.flat == one.flat
    assert free.halves is not None
    assert np.array_equal(free.halves[0] + free.halves[1], free.counts)


def test_same_stream_same_bytes_and_halves_change_nothing() -> None:
    def take(number: int, halves: bool = False, model: str = "b-factor") -> Exposed:
        exposure = Exposure(damage=Damage(model=model))  # type: ignore[arg-type]
        return expose(_object(), 8.0, Shot(40, 2.0, 30.0, 500), exposure, stream(5, "counts", number), halves)

    for model in ("b-factor", "cts"):
        assert take(1, model=model).counts.tobytes() == take(1, True, model).counts.tobytes()
        assert take(1, model=model).counts.tobytes() != take(2, model=model).counts.tobytes()


# -- contrast ----------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.floats(-70, 70), st.floats(3, 14), st.integers(0, 5))
def test_noise_free_contrast_is_that_of_a_weak_phase_object(tilt: float, voxel: float, seed: int) -> None:
    """Comparable for any dose; protein is dark."""
    image = _object(seed)
    made = [expose(image, voxel, Shot(tilt, dose, thickness_a=700), WHOLE, stream(1)) for dose in (0.0, 0.5, 4.0)]
    wanted = -2 * interaction_constant(300) * apply_ctf(image, voxel, WHOLE.optics, tilt)
    for one in made:
        assert normalise(one.expected, one.flat) == pytest.approx(wanted, abs=1e-5)
    assert (made[0].normalised()[20:-20, 20:-20]).mean() < 0


@settings(max_examples=10)
@given(st.floats(1.5, 6), st.sampled_from([200.0, 300.0]), st.sampled_from([0.0, 90.0]), st.integers(0, 5))
def test_zeros_of_a_white_object_are_seen_in_an_exposed_image(
    defocus: float, voltage: float, plate: float, seed: int
) -> None:
    n, voxel = 256, 6.0
    optics = Optics(defocus_um=defocus, voltage_kv=voltage, phase_shift_deg=plate, envelope=0)
    white = np.random.default_rng(seed).standard_normal((n, n)).astype(np.float32)
    taken = expose(white, voxel, Shot(0, 0.0), WHOLE.with_(optics=optics), stream(0)).normalised()
    window = np.hanning(n)[:, None] * np.hanning(n)
    power = np.abs(np.fft.rfft2(taken * window)) ** 2
    bins = np.rint(np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)) * n).astype(int)
    radial = np.bincount(bins.ravel(), power.ravel()) / np.bincount(bins.ravel())
    zeros = ctf_zeros(optics, 0.5 / voxel) * n * voxel
    apart = [z for i, z in enumerate(zeros) if 5 < z < n / 2 - 4 and np.all(np.abs(np.delete(zeros, i) - z) > 6)]
    assert apart
    for zero in apart:
        near = np.arange(int(zero) - 2, int(zero) + 4)
        assert abs(near[radial[near].argmin()] - zero) <= 1


def test_damage_follows_the_order_of_acquisition_not_the_angle() -> None:
    """Of a dose-symmetric series the last images, at high tilt to either side, have lost most, the first least."""
    point = np.zeros((65, 65), np.float32)
    point[32, 32] = 100
    exposure = Exposure(damage=Damage(model="b-factor", b_factor_a2=0.32), optics=Optics(envelope=0))
    sharp = WHOLE.with_(optics=Optics(envelope=0))
    order = [0, 3, -3, -6, 6, 9, -9, -12, 12]
    left = {}
    for place, angle in enumerate(order):
        one = expose(point, 3.0, Shot(angle, 0.0, 15.0 * place), exposure, stream(0)).normalised()
        none = expose(point, 3.0, Shot(angle, 0.0), sharp, stream(0)).normalised()
        left[angle] = float(np.square(one, dtype=float).sum() / np.square(none, dtype=float).sum())
    assert sorted(left, key=lambda a: -left[a]) == order
    assert left[0] == pytest.approx(1)
    again = expose(point, 3.0, Shot(12, 0.0, 15.0), exposure, stream(0)).normalised()
    base = expose(point, 3.0, Shot(12, 0.0), sharp, stream(0)).normalised()
    assert float(np.square(again, dtype=float).sum() / np.square(base, dtype=float).sum()) == pytest.approx(
        left[3], rel=5e-3
    )


def test_too_dense_specimens_are_cut_at_no_electrons_and_counted() -> None:
    dense = np.zeros((65, 65), np.float32)
    dense[32, 32] = 1e6
    taken = expose(dense, 8.0, Shot(0, 5.0), WHOLE, stream(0))
    unclipped = 1 - 2 * interaction_constant(300) * apply_ctf(dense, 8.0, WHOLE.optics)
    assert taken.clipped == (unclipped < 0).sum() > 0
    assert taken.expected.min() == 0
    assert np.all(taken.counts[taken.expected == 0] == 0)
    assert expose(_object(), 8.0, Shot(0, 5.0), WHOLE, stream(0)).clipped == 0


def test_counting_first_colours_the_noise() -> None:
    """The noise of CryoTomoSim's order follows the CTF, that of a microscope is white; the mean is the same."""
    optics = Optics(defocus_um=3, envelope=0)
    n, voxel = 256, 6.0
    k = np.hypot(np.fft.fftfreq(n, voxel)[:, None], np.fft.rfftfreq(n, voxel))
    for order, colour in (("ctf-first", np.ones_like(k)), ("counts-first", ctf(k, optics) ** 2)):
        exposure = WHOLE.with_(optics=optics, order=order)
        taken = expose(np.zeros((n, n)), voxel, Shot(0, 2.0), exposure, stream(3))
        power = np.abs(np.fft.rfft2(taken.counts - taken.flat)) ** 2 / (n * n * taken.flat)
        bands = np.rint(k / k[0, 1] / 4).astype(int).ravel()
        size = np.bincount(bands)
        made, wanted = np.bincount(bands, power.ravel()) / size, np.bincount(bands, colour.ravel()) / size
        assert made[6:32] == pytest.approx(wanted[6:32], abs=0.2)
        if order == "counts-first":
            assert np.corrcoef(made[6:32], wanted[6:32])[0, 1] > 0.95
    weak = _object() * 0.01
    first = expose(weak, voxel, Shot(0, 0.0), WHOLE, stream(0))
    other = expose(weak, voxel, Shot(0, 0.0), WHOLE.with_(order="counts-first"), stream(0))
    assert other.normalised() == pytest.approx(first.normalised(), abs=2e-5)


# -- transmission ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tilt", "factor"), [(0.0, 1.0), (60.0, 2.0), (-60.0, 2.0), (45.0, math.sqrt(2))])
def test_transmission_goes_with_the_path(tilt: float, factor: float) -> None:
    through = transmission(Shot(tilt, 1.0, thickness_a=600), ICE.shape, WHOLE)
    assert through == pytest.approx(math.exp(-600 * factor / 3800))
    taken = expose(ICE, 10.0, Shot(tilt, 2.0, thickness_a=600), WHOLE, stream(1))
    assert taken.flat == pytest.approx(2 * 100 * 0.84 * through)
    assert transmission(Shot(tilt, 1.0, thickness_a=600), ICE.shape, WHOLE.with_(scatter=0)) == 1
    assert transmission(Shot(tilt, 1.0, thickness_a=600), ICE.shape, WHOLE.with_(scatter=2)) == pytest.approx(
        through**2
    )


@pytest.mark.parametrize("tilt", [88.0, -89.0, 89.9])
def test_no_image_near_90_degrees_is_black(tilt: float) -> None:
    taken = expose(ICE, 10.0, Shot(tilt, 2.0, thickness_a=1800), WHOLE, stream(1))
    assert taken.flat == pytest.approx(2 * 100 * 0.84 * math.exp(-4))
    assert np.isfinite(taken.counts).all()


@settings(max_examples=20)
@given(st.floats(-80, 80), st.integers(1, 50))
def test_a_map_of_thickness_is_looked_up_on_the_untilted_specimen(tilt: float, width: int) -> None:
    """A wedge: its thickness where the ray crosses the middle, over the cosine."""
    x = np.arange(width) - (width - 1) / 2
    wedge = np.tile(500 + 3 * x, (4, 1))
    cosine = math.cos(math.radians(tilt))
    path = path_a(Shot(tilt, 1.0, thickness_a=wedge), (4, width))
    wanted = (500 + 3 * np.clip(x / cosine, x[0], x[-1])) / cosine
    assert path == pytest.approx(np.tile(wanted, (4, 1)))
    even = path_a(Shot(tilt, 1.0, thickness_a=np.full((4, width), 320.0)), (4, width))
    assert even == pytest.approx(path_a(Shot(tilt, 1.0, thickness_a=320.0), (4, width)))


def test_thick_places_are_darker() -> None:
    thickness = np.full(ICE.shape, 500.0)
    thickness[:, 36:] = 2400.0
    taken = expose(ICE, 10.0, Shot(0, 2.0, thickness_a=thickness), WHOLE, stream(1))
    ratio = taken.expected[:, 36:].mean() / taken.expected[:, :36].mean()
    assert ratio == pytest.approx(math.exp(-1900 / 3800))
    assert taken.flat == pytest.approx(taken.expected.mean(), rel=1e-5)


# -- detector ----------------------------------------------------------------------------------------------

MTF = (1.0, 0.9, 0.7, 0.5, 0.3)


def test_mtf_scales_every_frequency_and_keeps_the_mean() -> None:
    n = 128
    x = np.arange(n)
    for cycles, value in ((0, 1.0), (16, 0.9), (32, 0.7), (24, 0.8), (48, 0.5)):
        wave = np.tile(np.cos(2 * math.pi * cycles * x / n), (n, 1)).astype(np.float32)
        blurred = apply_mtf(wave, 5.0, Detector(mtf=MTF))
        inner = (slice(40, 88), slice(40, 88))
        assert blurred[inner] == pytest.approx(wave[inner] * value, abs=0.01)
    assert apply_mtf(np.full((20, 20), 9, np.float32), 5.0, Detector(mtf=MTF)) == pytest.approx(9, abs=1e-4)
    assert apply_mtf(wave, 5.0, Detector()) is wave


@pytest.mark.parametrize("mtf_noise", ["white", "filtered"])
def test_mtf_shapes_the_noise_only_where_electrons_leave_spots(mtf_noise: str) -> None:
    n = 256
    detector = Detector(mtf=MTF, mtf_noise=mtf_noise)  # type: ignore[arg-type]
    taken = expose(np.zeros((n, n)), 6.0, Shot(0, 3.0), WHOLE.with_(detector=detector), stream(8))
    power = np.abs(np.fft.rfft2(taken.counts - taken.flat)) ** 2 / (n * n * taken.flat)
    share = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)) * 2
    for low in (0.1, 0.4, 0.8):
        band = (share > low) & (share < low + 0.1)
        wanted = np.interp(low + 0.05, np.linspace(0, 1, 5), MTF) ** 2 if mtf_noise == "filtered" else 1
        assert power[band].mean() == pytest.approx(wanted, rel=0.08)
    free = [
        expose(_object(), 6.0, Shot(0, 0.0), WHOLE.with_(detector=d), stream(0)).expected
        for d in (detector, Detector())
    ]
    assert free[0].std() < 0.97 * free[1].std()


# -- halves ------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.floats(0.2, 60), st.integers(0, 99))
def test_halves_sum_to_the_whole_and_are_independent(mean: float, seed: int) -> None:
    counts = stream(seed, "whole").poisson(mean, (120, 120)).astype(np.float32)
    one, other = halved(counts, stream(seed, "halves"))
    assert np.array_equal(one + other, counts)
    assert one.min() >= 0
    assert other.min() >= 0
    n = counts.size
    for half in (one, other):
        assert half.mean(dtype=float) == pytest.approx(mean / 2, abs=5 * math.sqrt(mean / 2 / n))
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / math.sqrt(n)


@pytest.mark.parametrize(
    "exposure",
    [WHOLE, WHOLE.with_(order="counts-first"), WHOLE.with_(detector=Detector(mtf=MTF, mtf_noise="filtered"))],
)
def test_halves_of_an_exposed_image(exposure: Exposure) -> None:
    thickness = np.linspace(100, 900, ICE.size).reshape(ICE.shape)
    taken = expose(_object(), 7.0, Shot(35, 2.0, thickness_a=thickness), exposure, stream(6), halves=True)
    assert taken.halves is not None
    one, other = taken.halves
    assert one + other == pytest.approx(taken.counts, abs=2e-3)
    apart = (one - taken.expected / 2).ravel(), (other - taken.expected / 2).ravel()
    assert abs(np.corrcoef(*apart)[0, 1]) < 5 / math.sqrt(ICE.size)
    assert normalise(one, taken.flat / 2).mean() == pytest.approx(taken.normalised().mean(), abs=0.02)


# -- refusals ----------------------------------------------------------------------------------------------


def test_wrong_angles_and_doses_are_refused() -> None:
    with pytest.raises(InputError, match=r"89\.9"):
        Shot(90.0, 1.0)
    for dose in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="dose_e_per_a2 is"):
            Shot(0.0, dose)
        with pytest.raises(InputError, match="before_e_per_a2 is"):
            Shot(0.0, 1.0, dose)
    with pytest.raises(InputError, match="thickness_a"):
        Shot(0.0, 1.0, thickness_a=-5.0)
    with pytest.raises(InputError, match=r"\(3, 3\); the image has \(64, 72\)"):
        expose(ICE, 5.0, Shot(0.0, 1.0, thickness_a=np.ones((3, 3))), WHOLE, stream(0))
    bad = ICE.copy()
    bad[3, 4] = np.nan
    with pytest.raises(InputError, match="projection has 1 of 4608 pixels"):
        expose(bad, 5.0, Shot(0.0, 1.0), WHOLE, stream(0))
    with pytest.raises(InputError, match="can be counted"):
        expose(ICE, 1000.0, Shot(0.0, 100.0), WHOLE, stream(0))
    with pytest.raises(InputError, match="must be positive"):
        normalise(ICE, 0.0)
    with pytest.raises(InputError, match="first of them 1"):
        Detector(mtf=(0.9, 0.5))
    with pytest.raises(InputError, match="380 nm"):
        Exposure(imfp_a=0.5)
