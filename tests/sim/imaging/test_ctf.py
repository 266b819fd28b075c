"""The contrast transfer function: constants, zeros, and tilted images against a slow sum over points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ctf_zeros import ctf_zeros
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.sim.imaging.ctf import (
    BLEND_ERROR,
    _smooth_blend,
    _straight_blend,
    apply_ctf,
    ctf,
    defocus_along_x,
    envelope,
    interaction_constant,
    phase_flip,
    wavelength_a,
)
from volengine.sim.imaging.fourier import Plane
from volengine.sim.imaging.optics import Optics

PLAIN = Optics(envelope=0)
lenses = st.builds(
    Optics,
    voltage_kv=st.sampled_from([80.0, 120.0, 200.0, 300.0]),
    cs_mm=st.floats(0, 5),
    amplitude_contrast=st.floats(0, 0.3),
    defocus_um=st.floats(-8, 8),
    phase_shift_deg=st.floats(0, 120),
)


# -- constants ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voltage_kv", "wavelength", "sigma"),
    # Reimer and Kohl 2008, table of relativistic wavelengths (pm); Kirkland 2010, table of rad / (kV A)
    [(100, 0.03701, 0.9244e-3), (200, 0.02508, 0.7288e-3), (300, 0.01969, 0.6526e-3)],
)
def test_wavelength_and_interaction_constant(voltage_kv: float, wavelength: float, sigma: float) -> None:
    assert wavelength_a(voltage_kv) == pytest.approx(wavelength, abs=6e-6)
    assert interaction_constant(voltage_kv) == pytest.approx(sigma, rel=2e-4)


def test_the_sign_of_the_contrast_follows_defocus_phase_plate_and_aberration() -> None:
    """Underfocus makes potential dark in the first band; a phase plate of 90 degrees from the start; Cs works against
    underfocus."""
    k = 1 / 80
    assert ctf(0.0, PLAIN) == pytest.approx(0.07)
    assert ctf(k, PLAIN) > 0.2
    assert ctf(k, PLAIN, -5.0) < -0.2
    assert ctf(0.0, Optics(phase_shift_deg=90)) == pytest.approx(math.sqrt(1 - 0.07**2))
    assert ctf_zeros(Optics(cs_mm=2.7, defocus_um=1), 0.2)[0] > ctf_zeros(Optics(cs_mm=0, defocus_um=1), 0.2)[0]


def test_envelopes_are_their_formulas() -> None:
    nyquist = 1 / 24
    assert envelope(nyquist, Optics(envelope=0.9), 12.0) == pytest.approx(math.exp(-((1 / 0.9) ** 2)))
    assert envelope(0.1, Optics(envelope=0, b_factor_a2=80), 12.0) == pytest.approx(math.exp(-80 * 0.01 / 4))
    assert np.all(envelope(np.linspace(0, 1, 5), PLAIN, 3.0) == 1)


# -- zeros -------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(lenses, st.floats(1 / 60, 1 / 4))
def test_zeros_are_all_the_changes_of_sign(lens: Optics, k_max: float) -> None:
    try:
        zeros = ctf_zeros(lens, k_max)
    except InputError:
        assert lens.cs_mm * lens.defocus_um == 0
        return
    assert np.abs(ctf(zeros, lens)).max(initial=0) < 1e-6
    assert np.all(np.diff(zeros) >= 0)
    squared = np.linspace(k_max**2 * 1e-6, k_max**2, 100_001)
    value = ctf(np.sqrt(squared), lens)
    crossings = squared[:-1][np.signbit(value[1:]) != np.signbit(value[:-1])]
    missed = [c for c in crossings if len(zeros) == 0 or np.abs(zeros**2 - c).min() > 2e-5 * k_max**2]
    assert not missed
    assert len(zeros) - len(crossings) in range(4)  # the rest touch zero, or lie at the very ends


@settings(max_examples=25)
@given(
    st.sampled_from([200.0, 300.0]),
    st.sampled_from([0.0, 2.7, 5.0]),
    st.floats(1.0, 6.0),
    st.sampled_from([0.0, 45.0, 90.0]),
    st.integers(0, 9),
)
def test_power_spectrum_of_a_white_object_is_dark_at_the_zeros(
    voltage_kv: float, cs_mm: float, defocus_um: float, phase_shift_deg: float, seed: int
) -> None:
    lens = Optics(
        voltage_kv=voltage_kv, cs_mm=cs_mm, defocus_um=defocus_um, phase_shift_deg=phase_shift_deg, envelope=0
    )
    n, voxel = 256, 5.0
    image = apply_ctf(np.random.default_rng(seed).standard_normal((n, n)).astype(np.float32), voxel, lens)
    window = np.hanning(n)[:, None] * np.hanning(n)
    power = np.abs(np.fft.rfft2(image * window)) ** 2
    step = 1 / (n * voxel)
    ring = np.rint(np.hypot(np.fft.fftfreq(n, voxel)[:, None], np.fft.rfftfreq(n, voxel)) / step).astype(int)
    radial = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    # an object of the same statistics without a lens: mean power of white noise under this window
    radial = radial / (window**2).sum()
    zeros = ctf_zeros(lens, 0.5 / voxel) / step
    gaps = np.diff(np.concatenate([[0], zeros, [n // 2]]))
    clear = [z for i, z in enumerate(zeros) if min(gaps[i], gaps[i + 1]) >= 8 and 4 <= z < n // 2 - 3]
    for zero in clear:
        near = np.arange(math.floor(zero) - 2, math.ceil(zero) + 3)
        lowest = near[radial[near].argmin()]
        assert abs(lowest - zero) <= 1, (zero, lowest)
        assert radial[lowest] < 0.2  # white is 1, the mean of the squared sine 0.5
    assert clear or phase_shift_deg or defocus_um < 1.5


# -- tilted images -----------------------------------------------------------------------------------------


def _slow(image: np.ndarray, voxel: float, lens: Optics, tilt: float, pixels: list[tuple[int, int]]) -> list[float]:
    """Sum over the points of the object of its value times the kernel of its own underfocus, float64."""
    n = 4 * max(image.shape) + 200
    k = np.fft.fftfreq(n, voxel)
    squared = k[:, None] ** 2 + k**2
    fade = np.exp(-squared * ((2 * voxel / lens.envelope) ** 2 if lens.envelope else 0))
    height, width = image.shape
    sums = np.zeros(len(pixels))
    for x in range(width):
        defocus = lens.defocus_um + 1e-4 * (x - (width - 1) / 2) * voxel * math.tan(math.radians(tilt))
        wave = 12.2642596 / math.sqrt(1e3 * lens.voltage_kv * (1 + 0.97847554e-6 * 1e3 * lens.voltage_kv))
        chi = math.pi * wave * 1e4 * defocus * squared - math.pi / 2 * lens.cs_mm * 1e7 * wave**3 * squared**2
        chi += math.asin(lens.amplitude_contrast) + math.radians(lens.phase_shift_deg)
        kernel = np.fft.ifft2(np.sin(chi) * fade).real
        for i, (row, column) in enumerate(pixels):
            sums[i] += sum(image[y, x] * kernel[row - y, column - x] for y in range(height))
    return list(sums)


@pytest.mark.parametrize("width", [1, 2, 13, 24, 31])
@pytest.mark.parametrize(("voxel", "tilt"), [(12.0, 60.0), (12.0, -45.0), (4.0, 60.0)])
def test_a_tilted_image_is_the_sum_over_its_points(width: int, voxel: float, tilt: float) -> None:
    image = np.random.default_rng(width).standard_normal((9, width))
    lens = Optics(defocus_um=2.0, phase_shift_deg=10)
    pixels = [(0, 0), (4, width // 2), (8, width - 1), (3, width // 3)]
    fast = apply_ctf(image, voxel, lens, tilt)
    assert [fast[p] for p in pixels] == pytest.approx(_slow(image, voxel, lens, tilt, pixels), abs=2e-3)


@settings(max_examples=40)
@given(st.integers(1, 700), st.floats(1, 20), st.floats(-89.9, 89.9), st.floats(0, 60))
def test_smooth_weights_reproduce_every_phase(width: int, voxel: float, tilt: float, constant: float) -> None:
    """Weights sum to 1, and blend the sine of a phase that goes with the underfocus to within the promised error."""
    columns = defocus_along_x(width, voxel, 3.0, tilt)
    swing = min(50.0, 2 * abs(float(columns[-1] - columns[0])))
    per_um = swing / max(float(np.ptp(columns)), 1e-12)
    blend = list(_smooth_blend(columns, swing))
    assert sum(w for _, w in blend) == pytest.approx(1, abs=1e-9)
    for rate in (per_um, 0.4 * per_um):
        exact = np.sin(constant + rate * (columns - 3.0))
        made = sum(w * math.sin(constant + rate * (d - 3.0)) for d, w in blend)
        assert np.abs(made - exact).max() < 1.01 * BLEND_ERROR


@given(st.integers(1, 700), st.floats(-80, 80), st.floats(0, 30))
def test_straight_weights_sum_to_one_and_keep_the_underfocus(width: int, tilt: float, swing: float) -> None:
    columns = defocus_along_x(width, 8.0, 3.0, tilt)
    blend = list(_straight_blend(columns, swing if width > 1 else 0.0))
    assert sum(w for _, w in blend) == pytest.approx(1)
    if len(blend) > 1:
        assert sum(w * d for d, w in blend) == pytest.approx(columns)


@pytest.mark.parametrize("width", [151, 160, 211])
@pytest.mark.parametrize("tilt", [0.0, 60.0, 75.0])
def test_strips_of_a_tilted_image_leave_no_seams(width: int, tilt: float) -> None:
    """A constant object stays constant far from where it fades out: no steps at any column."""
    fade = np.clip(np.minimum(np.arange(width), np.arange(width)[::-1]) / 50, 0, 1)
    object_ = np.outer(np.ones(150), np.sin(math.pi / 2 * fade) ** 2)
    object_ *= np.sin(math.pi / 2 * np.clip(np.minimum(np.arange(150), np.arange(150)[::-1]) / 50, 0, 1))[:, None] ** 2
    middle = apply_ctf(object_, 12.0, Optics(defocus_um=4), tilt)[75]
    inner = middle[62:-62]
    assert inner == pytest.approx(0.07, abs=2e-3)
    assert np.abs(np.diff(middle[55:-55], 2)).max() < 3e-4


@settings(max_examples=10)
@given(st.floats(0, 75), st.integers(20, 70), st.integers(0, 5))
def test_mirrored_object_and_tilt_mirror_the_image(tilt: float, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).standard_normal((17, width)).astype(np.float32)
    one = apply_ctf(image, 9.0, PLAIN, tilt)
    other = apply_ctf(image[:, ::-1], 9.0, PLAIN, -tilt)[:, ::-1]
    assert one == pytest.approx(other, abs=2e-5)


def test_underfocus_grows_with_x_at_positive_tilt() -> None:
    """At positive tilt a point at x > 0 lies lower, farther from the source: it has the larger underfocus."""
    columns = defocus_along_x(101, 10.0, 2.0, 45.0)
    assert columns[[0, 50, 100]] == pytest.approx([2 - 0.05, 2.0, 2 + 0.05])
    points = np.zeros((256, 401), np.float32)
    points[128, [100, 300]] = 1
    image = apply_ctf(points, 10.0, Optics(envelope=0, amplitude_contrast=0, defocus_um=2), 80.0)
    expected = defocus_along_x(401, 10.0, 2.0, 80.0)[[100, 300]]
    for column, defocus in zip((100, 300), expected, strict=True):
        patch = image[64:192, column - 64 : column + 64]
        found = np.fft.rfft2(np.fft.ifftshift(patch)).real
        k = np.hypot(np.fft.fftfreq(128, 10.0)[:, None], np.fft.rfftfreq(128, 10.0))
        low = k < 0.03
        theory = ctf(k, Optics(amplitude_contrast=0, cs_mm=2.7), float(defocus))
        opposite = ctf(k, Optics(amplitude_contrast=0, cs_mm=2.7), float(4 - defocus))
        assert np.abs(found - theory)[low].mean() < 0.1 < np.abs(found - opposite)[low].mean()


# -- flipping ----------------------------------------------------------------------------------------------


def test_flipping_an_untilted_image_makes_every_frequency_positive() -> None:
    rng = np.random.default_rng(3)
    point = np.zeros((129, 129), np.float32)
    point[64, 64] = 1
    lens = Optics(defocus_um=3, envelope=0.9)
    flipped = phase_flip(apply_ctf(point, 8.0, lens), 8.0, lens)
    plane = Plane((129, 129), 8.0)
    spectrum = np.fft.rfft2(np.fft.ifftshift(flipped)).real
    k = np.hypot(np.fft.fftfreq(129, 8.0)[:, None], np.fft.rfftfreq(129, 8.0))
    wanted = np.abs(ctf(k, lens)) * envelope(k, lens, 8.0)
    assert spectrum == pytest.approx(wanted, abs=0.06)
    assert plane.shape == flipped.shape
    noise = rng.standard_normal((64, 65)).astype(np.float32) + 7
    assert phase_flip(noise, 8.0, lens).mean() == pytest.approx(noise.mean(), abs=0.02)


@pytest.mark.parametrize("width", [181, 240])
def test_flipping_a_tilted_image_follows_the_underfocus_of_every_column(width: int) -> None:
    """Against the slow flip: every column from an image flipped for that column alone."""
    lens, voxel, tilt = Optics(defocus_um=4, envelope=0), 5.0, 70.0
    image = np.random.default_rng(1).standard_normal((40, width)).astype(np.float32)
    taken = apply_ctf(image, voxel, lens, tilt)
    fast = phase_flip(taken, voxel, lens, tilt)
    slow = np.empty_like(fast)
    for x, defocus in enumerate(defocus_along_x(width, voxel, lens.defocus_um, tilt)):
        slow[:, x] = phase_flip(taken, voxel, lens.with_(defocus_um=float(defocus)))[:, x]
    plain = phase_flip(taken, voxel, lens)
    error = np.sqrt(np.mean((fast - slow) ** 2)) / slow.std()
    assert error < 0.08
    assert np.sqrt(np.mean((plain - slow) ** 2)) / slow.std() > 3 * error  # the tilt matters here


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tilt", [90.0, -90.0, 89.91, math.nan, math.inf])
def test_tilts_near_90_are_refused(tilt: float) -> None:
    with pytest.raises(InputError, match=r"89\.9"):
        apply_ctf(np.zeros((4, 4)), 10.0, PLAIN, tilt)


def test_images_that_are_not_finite_flat_or_sized_are_refused() -> None:
    with pytest.raises(InputError, match="1 of 16 pixels"):
        apply_ctf(np.where(np.arange(16).reshape(4, 4) == 3, np.nan, 1), 10.0, PLAIN)
    with pytest.raises(InputError, match=r"\(2, 2, 2\)"):
        phase_flip(np.zeros((2, 2, 2)), 10.0, PLAIN)
    with pytest.raises(InputError, match="voxel size is 0"):
        apply_ctf(np.zeros((4, 4)), 0.0, PLAIN)
    with pytest.raises(InputError, match="underfocus is positive"):
        Optics(defocus_um=5000)
