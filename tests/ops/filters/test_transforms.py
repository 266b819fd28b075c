"""The transform in three steps: what numpy computes at once, for any shape, and on grids of other voxel sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import index3
from volengine.ops.filters.gains import gain_of
from volengine.ops.filters.transforms import (
    SpectralGrid,
    filter_columns,
    filter_whole,
    forward_slices,
    inverse_slices,
    refit,
    signed,
)

sides = st.tuples(*[st.integers(1, 12)] * 3)


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(sides)
def test_without_a_gain_nothing_changes_for_any_odd_or_even_shape(shape):
    given_ = noise(shape)
    found = filter_whole(given_)
    assert found.shape == shape
    np.testing.assert_allclose(found, given_, atol=3e-6)


@given(sides, st.sampled_from([(1.0, 1.0, 1.0), (3.0, 2.0, 1.0)]))
def test_a_gain_is_that_of_a_whole_transform_in_double_precision(shape, voxel):
    """An odd function of nothing: gains that differ for every direction, but are equal at k and -k."""

    def gain(columns):
        z, y, x = columns.fz[:, None], columns.fy[0], columns.fx[None, :]
        return (1 / (1 + np.hypot(np.hypot(3 * z, y), 2 * x)) + np.abs(z * 0.3 - 0 * y)).astype(np.float32)

    f = [np.fft.fftfreq(n, v) for n, v in zip(shape, voxel, strict=True)]
    z, y, x = np.meshgrid(*f, indexing="ij")
    whole = 1 / (1 + np.hypot(np.hypot(3 * z, y), 2 * x)) + np.abs(z * 0.3)
    given_ = noise(shape)
    wanted = np.fft.ifftn(np.fft.fftn(given_.astype(float)) * whole).real
    np.testing.assert_allclose(filter_whole(given_, gain=gain, voxel_size=voxel), wanted, atol=1e-5)


def wave(shape, k, phase=0.3):
    """A plane wave of k = (z, y, x) waves along the axes."""
    at = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    turns = sum(one * where for one, where in zip(k, at, strict=True))
    return np.cos(2 * np.pi * turns + phase).astype(np.float32)


SHAPE_321 = (16, 32, 48)


@given(st.integers(-7, 7), st.integers(-15, 15), st.integers(0, 23))
def test_the_gain_of_a_plane_wave_is_the_formula_at_its_frequency_in_a_3_2_1_volume(kz, ky, kx):
    """The original takes the radius in units of the mean side: frequencies there are wrong by up to 1.155 and 0.577."""
    voxel = (10.0, 7.5, 10.0)
    k = (kz, ky, kx)
    f = float(np.sqrt(sum((a / (n * v)) ** 2 for a, n, v in zip(k, SHAPE_321, voxel, strict=True))))
    gains = [{"kind": "low", "resolution_a": 60.0, "edge": 1.0}]
    edge = np.clip((f * 60 - 1) / 1.0 + 0.5, 0, 1)
    wanted = 0.5 + 0.5 * np.cos(np.pi * edge)
    given_ = wave(SHAPE_321, k)
    found = filter_whole(given_, gain=lambda c: gain_of(c, gains, {}), voxel_size=voxel)
    np.testing.assert_allclose(found, wanted * given_, atol=1e-5)


@settings(max_examples=40)
@given(sides, st.data())
def test_slabs_and_columns_give_the_same_bits_as_the_whole(shape, data):
    out_shape = data.draw(sides)
    grid = SpectralGrid(shape, out_shape, (2.0, 1.0, 1.5))
    given_ = noise(shape)
    whole = forward_slices(given_, grid)
    cut = data.draw(st.integers(0, shape[0]))
    parts = [forward_slices(p, grid) for p in (given_[:cut], given_[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    y, x = grid.kept
    gain = [{"kind": "high", "resolution_a": 3.0, "edge": 0.5}, {"kind": "low", "resolution_a": 2.5, "edge": 0.5}]
    every = filter_columns(whole, grid, 0, 0, lambda c: gain_of(c, gain, {}))
    a, b = data.draw(st.integers(0, y)), data.draw(st.integers(0, x))
    for ys in ((0, a), (a, y)):
        for xs in ((0, b), (b, x)):
            if ys[0] == ys[1] or xs[0] == xs[1]:
                continue
            part = np.ascontiguousarray(whole[:, ys[0] : ys[1], 2 * xs[0] : 2 * xs[1]])
            found = filter_columns(part, grid, ys[0], xs[0], lambda c: gain_of(c, gain, {}))
            np.testing.assert_array_equal(found, every[:, ys[0] : ys[1], 2 * xs[0] : 2 * xs[1]])
    cut = data.draw(st.integers(0, out_shape[0]))
    back = inverse_slices(every, grid)
    np.testing.assert_array_equal(np.concatenate([inverse_slices(p, grid) for p in (every[:cut], every[cut:])]), back)


# -- other voxel sizes -------------------------------------------------------------------------------------


@given(sides, sides)
def test_waves_that_both_grids_can_hold_stay_at_their_places(shape, out_shape):
    """Voxel i of the new grid lies at i n / m: half-voxel errors and shapes that lose a slice would show."""
    highest = [(min(n, m) - 1) // 2 for n, m in zip(shape, out_shape, strict=True)]
    rng = np.random.default_rng(3)
    ks = [[int(rng.integers(-h, h + 1)) for h in highest] for _ in range(4)] + [[0, 0, 0], highest]
    given_, wanted = (sum(a * wave(s, k, a) for a, k in enumerate(ks, 1)) for s in (shape, out_shape))
    found = filter_whole(given_, out_shape)
    assert found.shape == out_shape
    np.testing.assert_allclose(found, wanted, atol=3e-5)


def test_finer_and_back_is_the_same_volume_with_its_highest_frequency():
    given_ = noise((6, 7, 8))
    finer = filter_whole(given_, (13, 14, 12))
    np.testing.assert_allclose(filter_whole(finer, (6, 7, 8)), given_, atol=3e-6)
    np.testing.assert_allclose(finer[:, ::2], filter_whole(given_, (13, 7, 12)), atol=3e-6)


def test_grey_values_and_the_voxel_size_are_kept():
    grid = SpectralGrid((10, 20, 30), (15, 20, 13), (8.0, 8.0, 8.0))
    assert grid.out_voxel_size == pytest.approx((80 / 15, 8.0, 240 / 13))
    assert filter_whole(np.full((10, 20, 30), 5, np.int16), (15, 20, 13)) == pytest.approx(5, abs=1e-5)


def test_the_highest_frequency_of_an_even_length_is_divided_and_added():
    spectrum = np.array([1, 2, 3, 4], np.complex64)  # k = 0, 1, -2, -1
    assert refit(spectrum, 6, 0).tolist() == [1, 2, 1.5, 0, 1.5, 4]
    five = np.array([1, 2, 3, 5, 4], np.complex64)  # k = 0, 1, 2, -2, -1
    assert refit(five, 4, 0).tolist() == [1, 2, 8, 4]
    assert signed(5).tolist() == [0, 1, 2, -2, -1]


def test_same_as_membrain_without_its_taper(membrain):
    """`match_pixel_size --disable-smooth`: numpy's transform of the whole, cut about its middle; it makes 55 slices."""
    source, wanted = membrain("in"), membrain("px_15_10_nosmooth")
    scaled = ((source - source.mean()) / source.std()).astype(np.float32)
    found = filter_whole(scaled, index3(wanted.shape)).astype(float)
    np.testing.assert_allclose((found - found.mean()) / found.std(), wanted, atol=1e-5)
