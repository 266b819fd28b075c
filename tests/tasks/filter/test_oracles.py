"""Each filter beside its formula, written out once more on the whole array in double precision.

Voxels have three different sides, and shapes are odd and even; frequencies are those of waves (1/angstrom). Nothing of
the package's filters is used for what is expected.
"""

from __future__ import annotations

import itertools

import mrcfile
import numpy as np
import pytest
from filtered_tomograms import QUIET, filtered, tomogram, voxels
from scipy import constants, ndimage

import volengine as ve

VOXEL = (15.0, 10.0, 5.0)
SHAPES = ((12, 18, 36), (13, 17, 27))


def volume(shape, seed=1):
    return (np.random.default_rng(seed).normal(size=shape) * 4 + 20).astype(np.float32)


def waves(shape, voxel=VOXEL):
    return np.meshgrid(*(np.fft.fftfreq(n, v) for n, v in zip(shape, voxel, strict=True)), indexing="ij")


def radius(shape, voxel=VOXEL):
    return np.sqrt(sum(f * f for f in waves(shape, voxel)))


def through(array, gain):
    return np.fft.ifftn(np.fft.fftn(array.astype(float)) * gain).real


def edge(f, resolution, width):
    at = f * resolution
    out = np.where(at < 1 - width / 2, 1.0, 0.0)
    inside = np.abs(at - 1) <= width / 2
    return np.where(inside, 0.5 - 0.5 * np.sin(np.pi * (at - 1) / width), out)


def chi(f, defocus_um, kv=300.0, cs_mm=2.7, shift=0.0):
    """Phase by Warp's tom_ctf1d: K1 D r² - K2 r⁴ + shift."""
    energy, rest = kv * 1e3 * constants.e, constants.m_e * constants.c**2
    wave = 1e10 * constants.h * constants.c / np.sqrt(energy * (2 * rest + energy))
    return np.pi * wave * defocus_um * 1e4 * f**2 - 0.5 * np.pi * cs_mm * 1e7 * wave**3 * f**4 + np.radians(shift)


def ctf(f, defocus_um, amplitude=0.07, **lens):
    phase = chi(f, defocus_um, **lens)
    return np.sqrt(1 - amplitude**2) * np.sin(phase) + amplitude * np.cos(phase)


def warp(f, transfer, voxel, strength=1.0, falloff=1.0, highpass=0.02):
    u = np.minimum(1.0, 2 * f * np.prod(voxel) ** (1 / 3))
    rise = 1 - np.cos(np.pi * np.minimum(1.0, u / highpass))
    snr = rise * 10 ** (3 * strength) * np.exp(-100 * falloff * u / np.prod(voxel) ** (1 / 3))
    return np.where(snr > 0, transfer / (transfer**2 + 1 / np.maximum(snr, 1e-30)), 0.0)


def membrain(f, transfer, voxel, first_zero, strength=1.0, falloff=1.0, highpass=0.02):
    apix = np.prod(voxel) ** (1 / 3)
    rise = 1 - np.cos(np.pi / 2 * np.minimum(1.0, f * apix / highpass))
    snr = np.abs(rise * 10 ** (3 * strength) * np.exp(-100 * falloff * f))
    if first_zero:
        snr = snr * np.abs(np.cos(np.pi / 2 * np.minimum(1.0, f / first_zero)))
    return np.where(snr > 0, transfer / (transfer**2 + 1 / np.maximum(snr, 1e-30)), 0.0)


def zero_of(defocus_um, **lens):
    f = np.linspace(1e-4, 0.2, 2_000_001)
    return f[np.argmax(ctf(f, defocus_um, **lens) < 0)]


def over_range(f, defoci, width, **lens):
    """The mean CTF over ranges of defocus, by the midpoint rule."""
    steps = (np.arange(500) + 0.5) / 500 - 0.5 if width else [0.0]  # at most 0.01 rad apart: wrong by 5e-6
    return np.mean([np.mean([ctf(f, d + width * s, **lens) for s in steps], axis=0) for d in defoci], axis=0)


def wedge(shape, low, high, soft, axis):
    z, y, x = waves(shape)
    along = x if axis == "y" else y
    angle = np.degrees(np.arctan2(z, along))
    best = np.full(shape, np.inf)
    for turn in (-180.0, 0.0, 180.0):
        beyond = np.maximum(low - (angle + turn), (angle + turn) - high)
        best = np.minimum(best, beyond)
    beyond = np.maximum(best, 0)
    gain = np.cos(np.pi / 2 * np.minimum(beyond / soft, 1)) ** 2 if soft else (beyond < 1e-7).astype(float)
    return np.where((z == 0) & (along == 0), 1.0, gain)


GAINS = {
    "low": ({"low_pass": {"resolution_a": 40, "edge": 0.5}}, lambda s: edge(radius(s), 40, 0.5)),
    "high": ({"high_pass": 120}, lambda s: 1 - edge(radius(s), 120, 0.2)),
    "band": (
        {"band_pass": {"coarse_a": 120, "fine_a": 45, "edge": 0.4}},
        lambda s: (1 - edge(radius(s), 120, 0.4)) * edge(radius(s), 45, 0.4),
    ),
    "warp": ({"deconvolve": 3.5}, lambda s: warp(radius(s), ctf(radius(s), 3.5), VOXEL)),
    "warp, plate and lens": (
        {
            "deconvolve": {
                "defocus_um": 1.5,
                "phase_shift_deg": 70,
                "voltage_kv": 200,
                "cs_mm": 1.2,
                "amplitude_contrast": 0.1,
                "strength": 0.7,
                "falloff": 1.4,
                "highpass": 0.3,
            }
        },
        lambda s: warp(
            radius(s),
            ctf(radius(s), 1.5, 0.1, kv=200, cs_mm=1.2, shift=70),
            VOXEL,
            strength=0.7,
            falloff=1.4,
            highpass=0.3,
        ),
    ),
    "warp, flipped images": (
        {"deconvolve": {"defocus_um": 4, "flipped": True}},
        lambda s: warp(radius(s), np.abs(ctf(radius(s), 4)), VOXEL),
    ),
    "warp, tilts and their ranges": (
        {"deconvolve": {"defocus_um": [3, 4, 4.5], "width_um": 0.6}},
        lambda s: warp(radius(s), over_range(radius(s), (3, 4, 4.5), 0.6), VOXEL),
    ),
    "membrain": (
        {"deconvolve": {"defocus_um": 5, "parametrisation": "membrain"}},
        lambda s: membrain(radius(s), ctf(radius(s), 5), VOXEL, zero_of(5)),
    ),
    "membrain without lowpass": (
        {"deconvolve": {"defocus_um": 5, "parametrisation": "membrain", "lowpass": False, "falloff": 0.5}},
        lambda s: membrain(radius(s), ctf(radius(s), 5), VOXEL, None, falloff=0.5),
    ),
    "flip": (
        {"deconvolve": {"defocus_um": 4, "mode": "flip"}},
        lambda s: np.where(ctf(radius(s), 4) < 0, -1, 1),
    ),
    "multiply": ({"deconvolve": {"defocus_um": 4, "mode": "multiply"}}, lambda s: ctf(radius(s), 4)),
    "wedge": ({"missing_wedge": [-60, 50]}, lambda s: wedge(s, -60, 50, 0, "y")),
    "wedge about x": (
        {"missing_wedge": {"tilts": [-40, 55], "axis": "x", "edge_deg": 12}},
        lambda s: wedge(s, -40, 55, 12, "x"),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(GAINS))
def test_a_gain_is_its_formula(tmp_path, name, shape):
    step, formula = GAINS[name]
    array = volume(shape)
    source = tomogram(tmp_path / "a", array, VOXEL)
    found = voxels(filtered(source, tmp_path / "b.ome.zarr", [step], (8, 8, 8), faces="periodic"))
    gain = np.asarray(formula(shape), float)
    if "wedge" in name or name == "flip":  # at the highest frequency of an even axis both signs are one wave
        twin = gain[np.ix_(*(-np.arange(n) % n for n in shape))]
        assert np.mean(gain != twin) < 0.2
    wanted = through(array, gain)
    np.testing.assert_allclose(found, wanted, atol=3e-5 * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize("shape", SHAPES)
def test_another_voxel_size_is_the_trigonometric_interpolation(tmp_path, shape):
    """A sum of waves that both grids hold, evaluated at index x voxel size."""
    rng = np.random.default_rng(4)
    to = (20.0, 12.0, 6.0)
    m = [round(n * v / w) for n, v, w in zip(shape, VOXEL, to, strict=True)]

    def field(at):
        total = np.full([len(a) for a in at], 3.0)
        for k in itertools.product((-2, 0, 3), (-3, 1), (0, 4)):
            a, phase = rng2.normal(), rng2.uniform(0, 6)
            z, y, x = np.meshgrid(*at, indexing="ij")
            lengths = [n * v for n, v in zip(shape, VOXEL, strict=True)]
            total += a * np.cos(
                2 * np.pi * sum(q * p / n for q, p, n in zip(k, (z, y, x), lengths, strict=True)) + phase
            )
        return total

    seed = int(rng.integers(99))
    rng2 = np.random.default_rng(seed)
    array = field([np.arange(n) * v for n, v in zip(shape, VOXEL, strict=True)])
    source = tomogram(tmp_path / "a", array.astype(np.float32), VOXEL)
    step = {"match_voxel_size": {"to": to, "taper": 0}}
    found = filtered(source, tmp_path / "b.ome.zarr", [step], (8, 16, 8), faces="periodic")
    assert found.shape == tuple(m)
    assert found.origin == (50.0, -20.0, 0.0)
    assert np.multiply(found.shape, found.voxel_size) == pytest.approx(np.multiply(shape, VOXEL))
    rng2 = np.random.default_rng(seed)
    wanted = field([np.arange(k) * w for k, w in zip(m, found.voxel_size, strict=True)])
    np.testing.assert_allclose(voxels(found), wanted, atol=1e-4)


@pytest.mark.parametrize("faces", ["taper", "mirror"])
def test_with_added_voxels_places_stay_too(tmp_path, faces):
    """A blob in the middle: its centre of mass has the same place before and after, on axes of three voxel sizes."""
    shape, place = (26, 40, 70), (180.0, 210.0, 160.0)
    at = np.meshgrid(*(np.arange(n) * v for n, v in zip(shape, VOXEL, strict=True)), indexing="ij")
    array = np.exp(-sum((a - p) ** 2 for a, p in zip(at, place, strict=True)) / (2 * 35.0**2)).astype(np.float32)
    source = tomogram(tmp_path / "a", array, VOXEL)
    found = filtered(source, tmp_path / "b.ome.zarr", [{"match_voxel_size": 11.7}], (8, 16, 8), faces=faces)
    assert found.voxel_size == pytest.approx((11.7,) * 3, rel=2e-3)
    assert found.origin == (50.0, -20.0, 0.0)
    values = voxels(found).astype(float)
    values[np.abs(values) < 1e-3] = 0
    centre = ndimage.center_of_mass(values)
    assert np.multiply(centre, found.voxel_size) == pytest.approx(place, abs=0.1)
    assert values.max() == pytest.approx(1.0, abs=0.02)


def test_area_is_the_mean_over_the_box_of_a_new_voxel(tmp_path):
    """Of 12 voxels of 10 angstrom 5 of 24: voxel i covers p - 1.2 to p + 1.2 around p = 2.4 i, in old voxels."""
    line = np.random.default_rng(3).normal(size=12).astype(np.float32)
    array = np.broadcast_to(line, (8, 8, 12)).copy()
    source = tomogram(tmp_path / "a", array, (10.0,) * 3)
    for method in ("area", "linear"):
        step = {"match_voxel_size": {"to": [10, 10, 24], "method": method}}
        found = filtered(source, tmp_path / f"{method}.ome.zarr", [step])
        assert found.shape == (8, 8, 5)
        fine = np.arange(-40, 160) / 10 + 0.05  # tenths of a voxel; voxel k is from k - 1/2 to k + 1/2
        stepped = line[np.clip(np.floor(fine + 0.5).astype(int), 0, 11)]
        wanted = []
        for i in range(5):
            if method == "area":
                inside = np.abs(fine - 2.4 * i) < 1.2
                wanted.append(stepped[inside].mean())
            else:
                k = np.arange(-4, 17)
                weight = np.maximum(0, 1 - np.abs(k - 2.4 * i) / 2.4)
                wanted.append((weight * line[np.clip(k, 0, 11)]).sum() / weight.sum())
        np.testing.assert_allclose(voxels(found)[3, 3], wanted, atol=1e-5)


# -- amplitudes --------------------------------------------------------------------------------------------


def measured(array, sectors=1, span=90.0, seen=None):
    """Mean amplitudes in shells of the width 1 / longest side, by sectors of the tilt."""
    amplitude = np.abs(np.fft.fftn(array.astype(float))) / np.sqrt(array.size)
    z, _, x = waves(array.shape)
    step = 1 / max(n * v for n, v in zip(array.shape, VOXEL, strict=True))
    shell = np.floor(radius(array.shape) / step + 0.5).astype(int)
    tilt = np.degrees(np.arctan2(np.abs(z), np.abs(x)))
    sector = np.minimum((tilt / span * sectors).astype(int), sectors - 1)
    keep = np.ones(array.shape, bool) if seen is None else seen
    return {
        (s, k): amplitude[keep & (shell == s) & (sector == k)].mean()
        for s in range(1, shell.max() + 1)
        for k in range(sectors)
        if (keep & (shell == s) & (sector == k)).any()
    }


def test_the_spectrum_is_the_mean_amplitude_of_shells(tmp_path):
    array = volume((12, 18, 36)) - 20
    source = tomogram(tmp_path / "a", array, VOXEL)
    ve.filter(source, tmp_path / "a.tsv", {"spectrum": True}, QUIET)
    rows = np.loadtxt(tmp_path / "a.tsv", skiprows=1, comments="#")
    wanted = measured(array)
    assert rows[:, 1] == pytest.approx([wanted[s, 0] for s in sorted({s for s, _ in wanted})], rel=1e-4)
    step = 1 / 180
    assert rows[:, 0] == pytest.approx([s * step for s in sorted({s for s, _ in wanted})], rel=1e-6)


def test_a_matched_volume_has_the_targets_amplitudes_and_its_own_phases(tmp_path):
    """White noise whose directions differ, in a wedge: after matching by sectors it has the target's amplitudes."""
    shape = (36, 24, 48)
    noise = np.random.default_rng(2).normal(size=shape)
    seen = wedge(shape, -60, 60, 0, "y") > 0
    z, _, x = waves(shape)
    tilt = np.degrees(np.arctan2(np.abs(z), np.abs(x)))
    own = through(noise, (1 + tilt / 30) * seen / (1 + 30 * radius(shape))).astype(np.float32)
    goal = through(np.random.default_rng(5).normal(size=shape), 3 / (1 + 60 * radius(shape))).astype(np.float32)
    ve.filter(tomogram(tmp_path / "t", goal, VOXEL), tmp_path / "t.tsv", {"spectrum": True}, QUIET)
    source = tomogram(tmp_path / "a", own, VOXEL)
    how = {"target": str(tmp_path / "t.tsv"), "tilts": [-60, 60], "sectors": 4}
    found = voxels(filtered(source, tmp_path / "b.ome.zarr", [{"match_spectrum": how}], faces="periodic"))
    wanted = measured(goal)
    after = measured(found, 4, 60.0, seen)
    before = measured(own, 4, 60.0, seen)
    shells = range(4, 16)
    ratio = np.array([[after[s, k] / wanted[s, 0] for k in range(4) if (s, k) in after] for s in shells], dtype=object)
    ratio = np.concatenate([np.asarray(r, float) for r in ratio])
    assert np.mean(np.abs(ratio - 1)) < 0.06
    flat = [before[s, k] / wanted[s, 0] for s in shells for k in range(4) if (s, k) in before]
    assert np.mean(np.abs(np.array(flat) - 1)) > 0.2
    spectrum, own_spectrum = np.fft.fftn(found.astype(float)), np.fft.fftn(own.astype(float))
    turn = np.angle(spectrum * np.conj(own_spectrum))[seen & (radius(shape) > 0) & (np.abs(own_spectrum) > 1)]
    assert np.abs(turn).max() < 1e-3
    assert found.mean() == pytest.approx(own.mean(), abs=1e-5)


# -- neighbourhoods ----------------------------------------------------------------------------------------


def mirrored(array, margin):
    return np.pad(array.astype(float), margin, mode="reflect")


def shifted(wide, margin, offset, shape):
    return wide[tuple(slice(margin + d, margin + d + n) for d, n in zip(offset, shape, strict=True))]


def slow_bilateral(array, sigma_value, sigma_vox):
    margin = int(np.ceil(2 * sigma_vox))
    wide, total, weights = mirrored(array, margin), np.zeros(array.shape), np.zeros(array.shape)
    for d in itertools.product(range(-margin, margin + 1), repeat=3):
        near = shifted(wide, margin, d, array.shape)
        w = np.exp(-sum(k * k for k in d) / (2 * sigma_vox**2) - (near - array) ** 2 / (2 * sigma_value**2))
        total, weights = total + w * near, weights + w
    return total / weights


def slow_nlm(array, strength, noise, patch, search):
    margin = patch + search
    wide, total, weights = mirrored(array, margin), np.zeros(array.shape), np.zeros(array.shape)
    cube = list(itertools.product(range(-patch, patch + 1), repeat=3))
    for d in itertools.product(range(-search, search + 1), repeat=3):
        apart = np.zeros(array.shape)
        for c in cube:
            here = shifted(wide, margin, c, array.shape)
            there = shifted(wide, margin, [a + b for a, b in zip(c, d, strict=True)], array.shape)
            apart += (here - there) ** 2 / len(cube)
        w = np.exp(-np.maximum(apart - 2 * noise**2, 0) / strength**2)
        total, weights = total + w * shifted(wide, margin, d, array.shape), weights + w
    return total / weights


def slow_diffusion(array, kappa, iterations):
    wide = mirrored(array, iterations)
    for _ in range(iterations):
        inside = wide[1:-1, 1:-1, 1:-1]
        change = np.zeros_like(inside)
        for axis, sign in itertools.product(range(3), (-1, 1)):
            at = [slice(1, -1)] * 3
            at[axis] = slice(1 + sign, wide.shape[axis] - 1 + sign)
            d = wide[tuple(at)] - inside
            change += np.exp(-((d / kappa) ** 2)) * d
        wide = inside + change / 7
    return wide


@pytest.mark.parametrize(
    ("step", "slow"),
    [
        ({"bilateral": {"sigma_value": 3.0, "sigma_vox": 0.9}}, lambda a: slow_bilateral(a, 3.0, 0.9)),
        ({"nlm": {"strength": 3.0, "noise": 1.0, "patch": 1, "search": 2}}, lambda a: slow_nlm(a, 3.0, 1.0, 1, 2)),
        ({"diffusion": {"kappa": 4.0, "iterations": 4}}, lambda a: slow_diffusion(a, 4.0, 4)),
        ({"median": 2}, lambda a: ndimage.median_filter(a, size=5, mode="mirror")),
        ("invert", lambda a: -a),
        ("normalise", lambda a: (a - a.mean(dtype=float)) / a.std(dtype=float)),
        (
            {"normalise": {"how": "percentile", "low": 5, "high": 90, "clip": True}},
            lambda a: np.clip((a - np.percentile(a, 5)) / (np.percentile(a, 90) - np.percentile(a, 5)), 0, 1),
        ),
    ],
    ids=["bilateral", "nlm", "diffusion", "median", "invert", "normalise", "percentile"],
)
def test_a_neighbourhood_is_its_formula(tmp_path, step, slow):
    array = volume((11, 14, 9))
    source = tomogram(tmp_path / "a", array, VOXEL)
    found = voxels(filtered(source, tmp_path / "b.ome.zarr", [step], (8, 8, 8)))
    np.testing.assert_allclose(found, slow(array), atol=2e-5 * 30)


# -- grey values that are nothing special ------------------------------------------------------------------


@pytest.mark.parametrize("faces", ["taper", "mirror", "periodic"])
def test_a_constant_volume(tmp_path, faces):
    source = tomogram(tmp_path / "a", np.full((9, 10, 11), 7.5, np.float32), VOXEL)
    for k, (step, value) in enumerate([({"low_pass": 40}, 7.5), ({"high_pass": 100}, 0.0), ({"deconvolve": 4}, 0.0)]):
        found = voxels(filtered(source, tmp_path / f"{k}.ome.zarr", [step], faces=faces))
        np.testing.assert_allclose(found, value, atol=2e-5)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float16"])
@pytest.mark.parametrize("transform", ["whole", "blocks"])
def test_types_of_voxels_are_read_as_their_values(tmp_path, dtype, transform):
    array = (volume((10, 12, 14)) * 3).astype(dtype)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
        file.voxel_size = 10.0
    step = {"low_pass": {"resolution_a": 60, "edge": 1}}
    found = voxels(filtered(tmp_path / "a.mrc", tmp_path / "b.ome.zarr", [step], transform=transform))
    same = tomogram(tmp_path / "c", array.astype(np.float32), (10.0,) * 3)
    np.testing.assert_array_equal(found, voxels(filtered(same, tmp_path / "d.ome.zarr", [step], transform=transform)))
