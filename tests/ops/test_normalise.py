"""Normalisation and patches: statistics that know no blocks, edges, formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.tiling import Tiling
from volengine.ops import normalise
from volengine.ops.normalise import (
    AIS_EPSILON,
    check_mad,
    combine,
    mad_sample,
    mad_statistics,
    slice_moments,
    slice_scale,
    standardise,
    standardise_itself,
)
from volengine.ops.patches import PatchReader


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["int8", "uint8", "int16", "uint16", "float16", "float32"]),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_statistics_do_not_depend_on_the_parts(shape, dtype, cells, random):
    rng = np.random.default_rng(shape)
    volume = (rng.normal(30, 20, shape) * (1000 if dtype == "float32" else 1)).astype(dtype)
    old, normalise.CELL = normalise.CELL, 8
    try:
        whole = combine([slice_moments(volume)])
        side = 8 * cells
        parts = [
            slice_moments(volume[:, y : y + side, x : x + side])
            for y in range(0, shape[1], side)
            for x in range(0, shape[2], side)
        ]
        random.shuffle(parts)
        again = combine(parts)
    finally:
        normalise.CELL = old
    np.testing.assert_array_equal(whole.slices, again.slices)
    assert whole.whole == again.whole
    exact = volume.astype(np.float64)
    np.testing.assert_allclose(whole.per_slice()[0], exact.mean((1, 2)), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(whole.per_slice()[1], exact.std((1, 2)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(whole.volume(), (exact.mean(), exact.std()), rtol=1e-9, atol=1e-9)


def test_statistics_survive_a_large_offset():
    volume = (np.random.default_rng(0).normal(0, 1, (2, 600, 530)) + 1e6).astype(np.float32)
    mean, std = combine([slice_moments(volume)]).volume()
    assert mean == pytest.approx(volume.mean(dtype=np.float64), rel=1e-14)
    assert std == pytest.approx(volume.astype(np.float64).std(), rel=1e-9)


def test_not_finite_is_named():
    volume = np.zeros((4, 3, 3), np.float32)
    volume[2, 1, 1] = np.nan
    with (
        pytest.raises(InputError, match=r"1 slices hold voxels that are not finite.*z = 2"),
        np.errstate(invalid="ignore"),
    ):
        combine([slice_moments(volume)])


def test_values_are_standardised_by_the_formula():
    values = np.random.default_rng(1).integers(-100, 100, (3, 4, 5)).astype(np.int16)
    out = np.empty(values.shape, np.float32)
    standardise(values, 3.0, 7.0, out)
    np.testing.assert_allclose(out, (values - 3.0) / 7.0, rtol=1e-6)
    mean, std = np.array([1.0, 2, 3]), np.array([4.0, 5, 0])
    standardise(values, mean, std, out, 1e-6)
    np.testing.assert_allclose(out, (values - mean[:, None, None]) / (std + 1e-6)[:, None, None], rtol=1e-6)
    patch = values.astype(np.float32)
    standardise_itself(patch)
    np.testing.assert_allclose(patch, (values - values.mean()) / values.std(), rtol=1e-5, atol=1e-6)


KINDS = ("volume", "per_slice", "per_patch", "global_mad")


def normalised(volume, kind, epsilon=0.0):
    """What a network sees of a whole volume."""
    mean, std = 0.0, 1.0
    moments = combine([slice_moments(volume)])
    if kind == "volume":
        mean, std = moments.volume()
    elif kind == "per_slice":
        mean, std = moments.per_slice()
        std = std if epsilon else slice_scale(std, moments.volume()[1])
    elif kind == "global_mad":
        mean, std = mad_statistics([mad_sample(volume, Box.of_shape(volume.shape), volume.shape)])
    out = np.empty(volume.shape, np.float32)
    edges = ("edge", "edge", "edge")
    box = Box.of_shape(volume.shape)
    PatchReader(volume, box, volume.shape, edges, kind, mean, std, epsilon=epsilon).fill(box, out)
    return out


@settings(deadline=None)
@given(
    st.sampled_from(KINDS),
    st.floats(-12, 12).map(lambda power: 10.0**power),
    st.floats(-100, 100),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 99),
)
def test_the_unit_of_the_grey_values_does_not_matter(kind, a, b, dtype, seed):
    volume = np.random.default_rng(seed).normal(0, 1, (4, 20, 24))
    other = (a * (volume + b)).astype(dtype)  # an offset of up to 100 standard deviations
    np.testing.assert_allclose(normalised(other, kind), normalised(volume.astype(dtype), kind), rtol=1e-4, atol=2e-5)


@given(
    st.sampled_from(KINDS[:3]),
    st.floats(-(2.0**99), 2.0**99, width=32),
    st.sampled_from(["float32", "float64", "int16"]),
)
def test_a_constant_volume_becomes_zero(kind, value, dtype):
    value = value % 30_000 if dtype == "int16" else value
    assert (normalised(np.full((3, 9, 7), value, dtype), kind) == 0).all()


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16"])
def test_statistics_do_not_change_the_volume(dtype):
    volume = np.random.default_rng(0).normal(30, 9, (2, 8, 8)).astype(dtype)
    before = volume.copy()
    slice_moments(volume)
    np.testing.assert_array_equal(volume, before)


def test_a_constant_volume_has_no_median_deviation():
    with pytest.raises(InputError, match="more than half of the voxels are equal"):
        check_mad(*mad_statistics([np.full(100, 3, np.float32)]), "x.mrc")
    mostly = np.zeros(100, np.float32)
    mostly[:40] = np.arange(40)
    with pytest.raises(InputError, match=r"x\.mrc: the median absolute deviation is 0"):
        check_mad(*mad_statistics([mostly]), "x.mrc")


def test_numbers_that_float32_cannot_tell_apart_are_normalised_in_float64():
    volume = np.random.default_rng(0).integers(0, 50, (3, 8, 8)) + 2**30
    exact = (volume - volume.mean()) / volume.std()
    for dtype in ("int32", "int64", "float64"):
        np.testing.assert_allclose(normalised(volume.astype(dtype), "volume"), exact, rtol=1e-5)


def test_a_slice_of_almost_nothing_is_not_blown_up():
    volume = np.random.default_rng(0).normal(0, 1, (5, 20, 20)).astype(np.float32)
    volume[2] *= 1e-9
    volume[3] = 0
    out = normalised(volume, "per_slice")
    assert 0 < np.abs(out[2]).max() < 0.01
    assert (out[3] == 0).all()
    assert out[0].std() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_as_in_ais_tiny_values_lose_contrast(kind):
    """The original's formula stays for those who ask for it (``--compat ais``)."""
    volume = np.random.default_rng(0).normal(0, 1e-6, (3, 20, 20)).astype(np.float32)
    plain, ais = normalised(volume, kind), normalised(volume, kind, AIS_EPSILON[kind])
    share = ais.std() / plain.std()
    assert share == pytest.approx(10 / 11 if kind == "global_mad" else 0.5, rel=0.05)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_patches_follow_the_edge_rules(data):
    shape = data.draw(st.tuples(*[st.integers(1, 8)] * 3))
    edges = data.draw(st.tuples(*[st.sampled_from(["reflect", "edge", "zero"])] * 3))
    start = tuple(data.draw(st.integers(-9, n - 1)) for n in shape)
    stop = tuple(data.draw(st.integers(max(s, 0) + 1, n + 9)) for s, n in zip(start, shape, strict=True))
    volume = np.random.default_rng(0).integers(1, 100, shape).astype(np.int16)
    expected = volume.astype(np.float32)
    for axis, edge in enumerate(edges):  # numpy's own padding, axis by axis
        pad = [(0, 0)] * 3
        pad[axis] = (20, 20)
        mode = {"reflect": "reflect", "edge": "edge", "zero": "constant"}[edge]
        expected = np.pad(expected, pad, mode=mode)
    want = Box(start, stop)
    out = np.full(want.shape, -1, np.float32)
    PatchReader(volume, Box.of_shape(shape), shape, edges).fill(want, out)
    np.testing.assert_array_equal(out, expected[want.shift((20, 20, 20)).slices])


def test_zeros_are_zeros_after_normalisation_and_slices_keep_their_own_statistics():
    volume = np.random.default_rng(0).normal(50, 9, (4, 6, 6)).astype(np.float32)
    mean, std = combine([slice_moments(volume)]).per_slice()
    box = Box((1, 0, 0), (4, 6, 6))  # a block that begins at slice 1
    out = np.empty((4, 7, 6), np.float32)
    reader = PatchReader(volume[1:], box, (4, 6, 6), ("edge", "zero", "zero"), "per_slice", mean, std)
    reader.fill(Box((2, -1, 0), (6, 6, 6)), out)
    assert (out[:, 0] == 0).all()
    scaled = (volume - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(out[:, 1:], scaled[[2, 3, 3, 3]], rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 70), st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 99),
)
def test_global_mad_is_the_formula_of_ais_for_any_parts(shape, core, seed):
    volume = np.random.default_rng(seed).normal(5, 3, shape).astype("float32")
    slices = np.linspace(0, shape[0] - 1, min(32, shape[0])).astype(int)
    my, mx = (min(int(0.2 * n), 64) for n in shape[1:])
    region = volume[slices][:, my : shape[1] - my, mx : shape[2] - mx]
    scale = 1.4826 * np.median(np.abs(region - np.median(region)))
    tiling = Tiling(shape, core)
    boxes = list(tiling)
    found = mad_statistics(mad_sample(volume[box.slices], box, shape) for box in boxes)
    assert found == pytest.approx((region.mean(dtype=float), scale), rel=1e-6)
    again = mad_statistics([mad_sample(volume, Box.of_shape(shape), shape)])
    assert again == pytest.approx(found, rel=1e-12)


def test_global_mad_of_what_is_no_number_is_refused():
    with pytest.raises(InputError, match="not finite"):
        mad_statistics([np.array([1.0, np.nan], "float32")])
