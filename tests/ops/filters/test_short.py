"""Filters in blocks: the difference to the filter on the whole mirrored volume is below the bound that is stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft as fft
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import index3
from volengine.ops.filters.gains import gain_of
from volengine.ops.filters.short import REACHES, SIDES, block_side, cut_kernel, filter_short, shortest
from volengine.ops.filters.transforms import SpectralGrid


def wiener(**ratio):
    lens = {"defocus_um": [3.0], "width_um": 0.0, "voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.07}
    lens |= {"phase_shift_deg": 0.0, "flipped": False}
    how = {"how": "warp", "strength": 1.0, "falloff": 1.0, "highpass": 0.2, "lowpass": True, **ratio}
    return {"kind": "wiener", "mode": "wiener", "voxel_a": 10.0, "lens": lens, "ratio": how}


LOW, HIGH = {"kind": "low", "resolution_a": 60.0, "edge": 1.0}, {"kind": "high", "resolution_a": 150.0, "edge": 1.0}
GAINS = {
    "low": [LOW],
    "narrow": [{"kind": "low", "resolution_a": 40.0, "edge": 0.4}],
    "high": [HIGH],
    "band": [HIGH, LOW],
    "warp": [wiener(highpass=0.0)],
    "warp and low": [wiener(highpass=0.5), LOW],
    "membrain": [wiener(how="membrain", highpass=0.2)],
}


def whole_mirrored(volume, gains, voxel):
    """The filter on the volume and its mirrors, in double precision: one period, which begins with the volume."""
    wide = volume.astype(float)
    for axis, n in enumerate(volume.shape):
        at = np.r_[0:n, n - 2 : 0 : -1] if n > 1 else np.array([0])
        wide = wide.take(at, axis=axis)
    shape = index3(wide.shape)
    grid = SpectralGrid(shape, shape, voxel)
    gain = np.stack([gain_of(grid.columns(k, k + 1, 0, shape[2] // 2 + 1), gains, {}) for k in range(shape[1])], 1)
    return wide, fft.irfftn(fft.rfftn(wide) * gain, s=shape)


def in_blocks(volume, gains, voxel, short, core):
    """All blocks of a volume, put together."""
    out = np.empty(volume.shape, np.float32)
    wide = volume
    for axis, r in enumerate(short.reach):
        n = volume.shape[axis]
        at = np.arange(-r, n + r)
        period = 2 * (n - 1)
        wide = wide.take(np.abs((at + n - 1) % period - (n - 1)) if n > 1 else np.zeros(len(at), int), axis=axis)
    for start in np.ndindex(*(-(-n // c) for n, c in zip(volume.shape, core, strict=True))):
        a = [s * c for s, c in zip(start, core, strict=True)]
        b = [min(s + c, n) for s, c, n in zip(a, core, volume.shape, strict=True)]
        part = wide[tuple(slice(s, e + 2 * r) for s, e, r in zip(a, b, short.reach, strict=True))]
        out[tuple(map(slice, a, b))] = filter_short(part, gains, voxel, short.reach, core)
    return out


def voxels(kind, shape, rng):
    if kind == "noise":
        return rng.normal(size=shape).astype(np.float32) * 5 + 100
    if kind == "step":
        volume = np.zeros(shape, np.float32)
        volume[tuple(slice(int(rng.integers(0, n + 1)), None) for n in shape)] = 1000
        return volume
    if kind == "points":
        volume = np.zeros(shape, np.float32)
        for _ in range(5):
            volume[tuple(int(rng.integers(0, n)) for n in shape)] += rng.choice([-30, 50])
        return volume
    sign = sum(np.indices(shape)) % 2  # nothing has more of the highest frequency
    return (sign * 2.0 - 1).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(GAINS)),
    st.sampled_from(["noise", "step", "points", "checks"]),
    st.tuples(*[st.integers(1, 45)] * 3),
    st.sampled_from([(10.0, 10.0, 10.0), (18.0, 12.0, 10.0)]),
    st.sampled_from([0.02, 0.05, 0.2]),
    st.integers(0, 99),
)
def test_the_difference_to_the_whole_is_below_the_stated_bound(name, kind, shape, voxel, tolerance, seed):
    gains = GAINS[name]
    short = shortest(gains, voxel, tolerance)
    assert short.bound.gain <= tolerance
    volume = voxels(kind, shape, np.random.default_rng(seed))
    core = index3(min(n, 17 + seed % 9) for n in shape)
    found = in_blocks(volume, gains, voxel, short, core)
    wide, whole = whole_mirrored(volume, gains, voxel)
    wanted = whole[tuple(map(slice, shape))]
    rounding = 3e-6 * max(1.0, np.abs(wanted).max(), np.abs(volume).max())
    half = float(volume.max() - volume.min()) / 2
    assert np.abs(found - wanted).max() <= short.bound.most * half + rounding
    wrong = found - wanted
    for axis, n in enumerate(shape):
        wrong = wrong.take(np.r_[0:n, n - 2 : 0 : -1] if n > 1 else np.array([0]), axis=axis)
    assert np.sqrt(np.mean(wrong**2)) <= short.bound.rms * wide.std() + rounding


@pytest.mark.parametrize("name", sorted(GAINS))
def test_the_bound_is_not_idle(name):
    """A wave at the worst frequency differs by a good part of the bound; noise by less."""
    short = shortest(GAINS[name], (10.0,) * 3, 0.05)
    cut = cut_kernel(GAINS[name], (10.0,) * 3, short.reach).astype(float)
    side = 4 * max(short.reach) + 6  # frequencies between those at which gains were compared
    wide = np.zeros((side,) * 3)
    wide[: cut.shape[0], : cut.shape[1], : cut.shape[2]] = cut
    wide = np.roll(wide, [-r for r in short.reach], (0, 1, 2))
    grid = SpectralGrid((side,) * 3, (side,) * 3, (10.0,) * 3)
    gain = np.stack([gain_of(grid.columns(k, k + 1, 0, side // 2 + 1), GAINS[name], {}) for k in range(side)], 1)
    worst = float(np.abs(np.fft.rfftn(wide).real - gain).max())
    assert 0.5 * short.bound.rms < worst <= short.bound.rms


def test_a_constant_is_filtered_exactly():
    volume = np.full((20, 21, 22), 30000.0, np.float32)
    short = shortest([LOW], (10.0,) * 3, 0.2)
    np.testing.assert_allclose(in_blocks(volume, [LOW], (10.0,) * 3, short, (20, 8, 9)), 30000.0, rtol=1e-6)
    short = shortest([HIGH], (10.0,) * 3, 0.2)
    np.testing.assert_allclose(in_blocks(volume, [HIGH], (10.0,) * 3, short, (20, 8, 9)), 0.0, atol=0.02)


@pytest.mark.parametrize(
    "gain",
    [
        {"kind": "low", "resolution_a": 40.0, "edge": 0.0},
        {"kind": "high", "resolution_a": 1000.0, "edge": 0.2},
        {"kind": "high", "resolution_a": 30000.0, "edge": 1.0},
        {"kind": "wedge", "tilts": [-60, 60], "axis": "y", "edge_deg": 10.0},
        wiener(highpass=0.02),
        wiener() | {"mode": "flip"},
    ],
    ids=["sharp", "slow", "very slow", "wedge", "default deconvolution", "flip"],
)
def test_kernels_that_are_not_short_have_a_large_bound(gain):
    short = shortest([gain], (10.0,) * 3, 0.02)
    assert short.reach == (REACHES[-1],) * 3
    assert short.bound.gain > 0.1


def test_blocks_follow_from_the_filter_and_the_shape_alone():
    short = shortest([LOW], (20.0, 10.0, 10.0), 0.02)
    assert short.reach[1] == short.reach[2] == 2 * short.reach[0]
    most = SIDES[short.reach[1]]
    for n in (*range(1, 60), 200, 300, 301, 1000):
        core = short.core((9, n, n))
        assert core == (9, core[1], core[1])
        assert core[1] + 2 * short.reach[1] <= block_side(core[1], short.reach[1]) <= most
        assert core[1] <= n or n == 1
        assert core[1] == n or core[1] % 2 == 0
    assert math.isclose(float(cut_kernel([LOW], (20.0, 10.0, 10.0), short.reach).sum()), 1.0, rel_tol=1e-5)
