"""What is added beyond the faces: the formulas, the same bits in slabs, and the error that it is there to lower."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.ops.filters.ctf import Lens, Ratio, wiener_gain
from volengine.ops.filters.faces import extended, extended_columns, fades, is_fast, padded_side, padded_sides
from volengine.ops.filters.gains import gain_of
from volengine.ops.filters.transforms import (
    filter_columns,
    filter_whole,
    forward_slices,
    inverse_slices,
    padded_grid,
)

RULES = st.sampled_from(["taper", "mirror", "periodic"])
sides = st.tuples(*[st.integers(1, 13)] * 3)


def noise(shape, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) + 5).astype(np.float32)


def padded(volume, grid):
    """The volume with what is added to it, in double precision and voxel by voxel."""
    wide = np.stack([extended(p, grid.shape[1:], grid.faces) for p in volume]).astype(float)
    nz, pad = len(volume), grid.shape[0] - len(volume)
    more = []
    for t in range(pad):
        end, start, over = (float(w[t]) for w in fades(pad))
        if grid.faces == "mirror":
            more.append(wide[nz - 2 - t] * (1 - over) + wide[pad - t] * over)
            continue
        (a, b) = (plane.mean() for plane in (wide[-1], wide[0]))
        more.append((wide[-1] - a) * end + (wide[0] - b) * start + a * (1 - over) + b * over)
    return np.concatenate([wide, np.reshape(more, (pad, *wide.shape[1:]))])


@settings(max_examples=60)
@given(sides, RULES, st.integers(0, 9))
def test_a_gain_acts_on_the_volume_with_what_is_added_and_the_rest_is_cut_off(shape, faces, pad):
    voxel = (3.0, 2.0, 1.0)
    volume = noise(shape)
    grid = padded_grid(shape, shape, voxel, voxel, (faces, pad))
    gains = [{"kind": "high", "resolution_a": 20.0, "edge": 0.5}, {"kind": "low", "resolution_a": 4.0, "edge": 0.8}]
    found = filter_whole(volume, None, lambda c: gain_of(c, gains, {}), voxel, (faces, pad))
    wide = padded(volume, grid)
    assert wide.shape == grid.shape
    f = np.meshgrid(*(np.fft.fftfreq(n, v) for n, v in zip(wide.shape, voxel, strict=True)), indexing="ij")
    r = np.sqrt(sum(a * a for a in f))

    def low(resolution, edge):
        return 0.5 + 0.5 * np.cos(np.pi * np.clip((r * resolution - 1) / edge + 0.5, 0, 1))

    wanted = np.fft.ifftn(np.fft.fftn(wide) * (1 - low(20.0, 0.5)) * low(4.0, 0.8)).real
    np.testing.assert_allclose(found, wanted[tuple(map(slice, shape))], atol=3e-5)


@settings(max_examples=40)
@given(sides, sides, RULES, st.integers(0, 9), st.data())
def test_slabs_and_columns_give_the_same_bits_as_the_whole(shape, out_shape, faces, pad, data):
    voxel = (2.0, 1.0, 1.5)
    wanted = [v * n / m for v, n, m in zip(voxel, shape, out_shape, strict=True)]
    grid = padded_grid(shape, out_shape, voxel, wanted, (faces, pad))
    volume = noise(shape)
    whole = forward_slices(volume, grid)
    assert whole.shape == grid.before
    cut = data.draw(st.integers(0, shape[0]))
    parts = [forward_slices(p, grid) for p in (volume[:cut], volume[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    y, x = grid.kept
    every = filter_columns(whole, grid, 0, 0, None)
    assert every.shape == grid.after
    a, b = data.draw(st.integers(0, y - 1)), data.draw(st.integers(0, x - 1))
    part = np.ascontiguousarray(whole[:, a:, 2 * b :])
    np.testing.assert_array_equal(filter_columns(part, grid, a, b, None), every[:, a:, 2 * b :])
    back = inverse_slices(every, grid)
    assert back.shape == out_shape


@given(sides, RULES, st.integers(0, 40))
def test_without_a_gain_nothing_changes(shape, faces, pad):
    volume = noise(shape)
    np.testing.assert_allclose(filter_whole(volume, faces=(faces, pad)), volume, atol=2e-5)


@given(sides, RULES)
def test_a_constant_volume_stays_constant(shape, faces):
    volume = np.full(shape, 7.0, np.float32)
    gain = [{"kind": "low", "resolution_a": 3.0, "edge": 0.2}]
    found = filter_whole(volume, gain=lambda c: gain_of(c, gain, {}), faces=(faces, 5))
    np.testing.assert_allclose(found, 7.0, atol=1e-5)


def test_a_mirror_as_wide_as_the_volume_is_an_endless_mirror():
    line = np.arange(6, dtype=np.float32)[None, :]
    grid = padded_grid((1, 1, 6), (1, 1, 6), (1,) * 3, (1,) * 3, ("mirror", 99))
    assert grid.shape == (1, 1, 10)
    assert extended(line, (1, 10), "mirror").tolist() == [[0, 1, 2, 3, 4, 5, 4, 3, 2, 1]]


def test_columns_fade_and_the_mean_goes_over():
    columns = np.array([[4.0, 2.0], [8.0, 6.0]], np.complex64)
    found = extended_columns(columns, 5, "taper", True)
    assert found[2:, 1].tolist() == [3, 0, 1]  # 6 fades in half of three voxels, then 2 appears
    np.testing.assert_allclose(found[2:, 0].real, [8 - 4 * 0.146447, 6, 4 + 4 * 0.146447], rtol=1e-5)


@given(st.integers(1, 400), st.integers(0, 80), RULES)
def test_sides_are_long_enough_and_mostly_fast(n, pad, faces):
    side = padded_side(n, pad, faces)
    if faces == "periodic" or n == 1 or pad == 0:
        assert side == n
    elif faces == "mirror":
        assert min(n + pad, max(n, 2 * n - 2)) <= side <= max(n, 2 * n - 2)
    else:
        assert n + pad <= side <= n + pad + max(8, n // 8)
        assert is_fast(side)


@given(st.integers(20, 300), st.floats(0.4, 2.5), st.integers(16, 64))
def test_a_wanted_voxel_size_is_met_to_half_a_voxel_over_the_longer_axis(n, ratio, pad):
    m = max(1, round(n / ratio))
    side, out = padded_sides(n, m, ratio, pad, "taper")
    assert out >= m
    assert side >= n + pad or n == m
    if n != m:
        assert abs(side / ratio - out) <= 0.5 + 1e-9


def cut_out():
    """A volume with a spectrum like 1/f, and a part of it."""
    n = 96
    f = np.meshgrid(*[np.fft.fftfreq(n)] * 3, indexing="ij")
    amplitude = 1 / np.maximum(np.sqrt(sum(a * a for a in f)), 0.02)
    rng = np.random.default_rng(3)
    whole = np.fft.ifftn(np.fft.fftn(rng.normal(size=(n,) * 3)) * amplitude).real
    return (whole / whole.std()).astype(np.float32), (slice(30, 64), slice(20, 72), slice(18, 75))


@pytest.mark.parametrize("parametrisation", ["warp", "membrain"])
def test_at_the_faces_a_taper_is_nearer_to_what_a_larger_volume_has_there(parametrisation):
    whole, part = cut_out()

    def gain(c):
        f = np.sqrt(c.fz[:, None] ** 2 + c.fy[0] ** 2 + c.fx[None, :] ** 2)
        how = Ratio(parametrisation, strength=0.6, falloff=1.5, highpass=0.1)
        return wiener_gain(f, 10.0, Lens((3.0,)), how).astype(np.float32)

    truth = filter_whole(whole, None, gain, (10.0,) * 3)[part]
    at = np.meshgrid(*(np.minimum(np.arange(n), n - 1 - np.arange(n)) for n in truth.shape), indexing="ij")
    near = np.minimum.reduce(at) < 4
    error = {}
    for faces in ("periodic", "mirror", "taper"):
        found = filter_whole(np.ascontiguousarray(whole[part]), None, gain, (10.0,) * 3, (faces, 32))
        error[faces] = float(np.sqrt(np.mean((found - truth)[near] ** 2)) / truth.std())
    assert error["taper"] < 0.8 * error["periodic"], error
    assert error["taper"] < error["mirror"] < error["periodic"], error
