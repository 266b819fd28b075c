"""Resampling: blocks equal the whole, and the numbers are those of skimage, scipy, torch and the Fourier transform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box, index3
from volengine.ops.resample import reach, resample, resample_block, resampled_shape

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 17), st.integers(1, 23))


def _image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(deadline=None, max_examples=80)
@given(
    SHAPES, SHAPES, st.sampled_from(["linear", "lanczos", "corners"]), st.sampled_from(["reflect", "edge"]), st.data()
)
def test_a_block_has_the_bytes_of_the_whole(shape, out_shape, how, border, data) -> None:
    image = _image(shape)
    whole = resample(image, out_shape, how, border)
    start = index3(data.draw(st.integers(0, n - 1)) for n in out_shape)
    stop = index3(data.draw(st.integers(a + 1, n)) for a, n in zip(start, out_shape, strict=True))
    out = Box(start, stop)
    covered = Box(
        index3(a * n // m for a, n, m in zip(start, shape, out_shape, strict=True)),
        index3(-(-b * n // m) for b, n, m in zip(stop, shape, out_shape, strict=True)),
    )
    box = covered.grow(reach(shape, out_shape, how)).clip(shape)
    block = resample_block(image[box.slices], box, shape, out, out_shape, how, border)
    assert block.tobytes() == whole[out.slices].tobytes()


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.integers(1, 30), st.integers(1, 30))
def test_linear_is_skimage_resize(shape, ny, nx) -> None:
    from skimage.transform import resize

    image = _image(shape)
    wanted = (shape[0], ny, nx)
    theirs = resize(image, wanted, order=1, anti_aliasing=True, mode="edge")
    assert np.abs(resample(image, wanted, "linear", "edge") - theirs).max() < 5e-6
    if min(shape) > 1:  # scipy's mirror of a single voxel is its own affair
        theirs = resize(image, wanted, order=1, anti_aliasing=True, mode="reflect")
        assert np.abs(resample(image, wanted, "linear", "reflect") - theirs).max() < 5e-6


@settings(deadline=None, max_examples=40)
@given(SHAPES, SHAPES)
def test_corners_is_scipy_zoom(shape, wanted) -> None:
    from scipy.ndimage import zoom

    image = _image(shape)
    theirs = zoom(image, [m / n for n, m in zip(shape, wanted, strict=True)], order=1, mode="nearest")
    if theirs.shape == wanted:  # (mode "constant", the default, loses the last voxel to rounding at some sizes)
        assert np.abs(resample(image, wanted, "corners", "edge") - theirs).max() < 5e-6


def test_enlarging_is_torchs_trilinear() -> None:
    import torch

    image = _image((5, 9, 11))
    for wanted in [(7, 9, 13), (10, 18, 22), (5, 13, 11)]:
        theirs = torch.nn.functional.interpolate(torch.from_numpy(image)[None, None], wanted, mode="trilinear")
        assert np.abs(resample(image, wanted, "linear", "edge") - theirs[0, 0].numpy()).max() < 2e-6


@pytest.mark.parametrize(("n", "m"), [(96, 80), (80, 96), (120, 60), (60, 90)])
def test_lanczos_keeps_what_a_fourier_crop_keeps(n: int, m: int) -> None:
    at = np.arange(n) + 0.5
    rng = np.random.default_rng(1)
    waves = [(f, rng.normal(), rng.uniform(0, 6.3)) for f in range(1, round(0.6 * min(n, m) / 2))]

    def field(x: np.ndarray, length: int) -> np.ndarray:
        return sum(a * np.cos(2 * np.pi * f * x / length + p) for f, a, p in waves)

    made = resample(field(at, n).astype(np.float32)[None, None], (1, 1, m), "lanczos", "reflect")[0, 0]
    true = field(np.arange(m) + 0.5, m)
    inner = slice(8, -8)
    assert np.std((made - true)[inner]) < 0.03 * np.std(true[inner])


def test_lanczos_removes_what_would_alias() -> None:
    at = np.arange(128) + 0.5
    wave = np.cos(2 * np.pi * 52 * at / 128).astype(np.float32)[None, None]
    assert np.std(resample(wave, (1, 1, 64), "lanczos", "reflect")[0, 0, 4:-4]) < 0.05 * np.std(wave)


@settings(deadline=None, max_examples=30)
@given(SHAPES, SHAPES, st.sampled_from(["linear", "lanczos", "corners"]))
def test_a_constant_stays(shape, wanted, how) -> None:
    image = np.full(shape, 7.25, np.float32)
    assert np.allclose(resample(image, wanted, how, "reflect"), 7.25, rtol=1e-6)


def test_places_are_kept_there_and_back() -> None:
    shape, wanted = (30, 40, 50), (21, 28, 35)
    grid = np.indices(shape).astype(float)
    blob = np.exp(-0.5 * sum((g - c) ** 2 for g, c in zip(grid, (13.0, 22.0, 26.0), strict=True)) / 9)
    there = resample(blob, wanted, "lanczos", "reflect")
    back = resample(there, shape, "linear", "edge")
    centre = [float((g * back).sum() / back.sum()) for g in grid]
    assert np.allclose(centre, (13.0, 22.0, 26.0), atol=0.02)


def test_the_shape_keeps_the_extent_unless_sizes_agree_within_the_tolerance() -> None:
    assert resampled_shape((100, 200, 201), (8, 8, 8), (10, 10, 10)) == (80, 160, 161)
    assert resampled_shape((100, 200, 201), (8, 8, 8), (10, 10, 10), axes="yx") == (100, 160, 161)
    assert resampled_shape((100, 200, 201), (9.6, 9.6, 9.6), (10, 10, 10), tolerance=0.05) == (100, 200, 201)
    assert resampled_shape((100, 200, 201), (9.6, 9.6, 9.6), (10, 10, 10)) == (96, 192, 193)
    assert resampled_shape((1, 1, 1), (1, 1, 1), (10, 10, 10)) == (1, 1, 1)
