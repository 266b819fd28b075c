"""Projection and its adjoint: geometry, mass, uniform slabs, exactness, independence of blocks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.sim.imaging.projector import SLICES, Projector, TorchProjector

SIZES = st.integers(1, 23)
ANGLES = st.lists(st.floats(-90, 90), min_size=1, max_size=20)


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def centroid(line):
    """Of a detector line, pixels from its centre."""
    pixels = np.arange(len(line)) - (len(line) - 1) / 2
    return float((line * pixels).sum(dtype=float) / line.sum(dtype=float))


def share_by_sampling(angle_deg, place, count=400):
    """Shares of one square voxel in pixels 0, 1, 2 ... 6 by points on a fine grid: nothing of the formula."""
    side = (np.arange(count) + 0.5) / count - 0.5
    angle = math.radians(angle_deg)
    lands = side[:, None] * math.sin(angle) + side * math.cos(angle) + place
    return np.histogram(lands, np.arange(8) - 0.5)[0] / count**2


@given(angle=st.floats(-180, 180), place=st.floats(-0.5, 0.5))
@settings(max_examples=40)
def test_a_voxel_is_shared_as_a_square_between_strips(angle, place):
    projector = Projector((1, 1), [angle], width=7, shift_x=[place])
    found = projector.project(np.ones((1, 1, 1)))[0, 0]
    np.testing.assert_allclose(found, share_by_sampling(angle, 3 + place), atol=0.006)


@given(nz=SIZES, nx=SIZES, wide=st.integers(0, 1), angles=ANGLES, data=st.data())
@settings(max_examples=60)
def test_a_point_lands_where_the_frame_says(nz, nx, wide, angles, data):
    z, x = data.draw(st.integers(0, nz - 1)), data.draw(st.integers(0, nx - 1))
    shift = np.array(data.draw(st.lists(st.floats(-20, 20), min_size=len(angles), max_size=len(angles))))
    volume = np.zeros((nz, 1, nx), np.float32)
    volume[z, 0, x] = 3
    width = 2 * math.ceil(math.hypot(nz, nx)) + 8 + wide
    images = Projector((nz, nx), angles, 10.0, width=width, shift_x=shift).project(volume)
    cos, sin = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    expected = (x - (nx - 1) / 2) * cos + (z - (nz - 1) / 2) * sin + shift / 10
    np.testing.assert_allclose([centroid(line) for line in images[:, 0]], expected, atol=0.044)
    np.testing.assert_allclose(images.sum(axis=(1, 2)), 30, rtol=1e-5)  # volt times angstrom


@given(z=st.floats(-6, 6), x=st.floats(-6, 6), odd=st.tuples(st.integers(0, 1), st.integers(0, 1)), angles=ANGLES)
@settings(max_examples=40)
def test_a_smooth_blob_lands_where_the_frame_says(z, x, odd, angles):
    """Its centroid exactly; its image is the line integral that theory gives."""
    nz, nx = 30 + odd[0], 34 + odd[1]
    at_z, at_x = np.arange(nz) - (nz - 1) / 2, np.arange(nx) - (nx - 1) / 2
    blob = np.exp(-((at_z[:, None] - z) ** 2 + (at_x - x) ** 2) / (2 * 1.5**2))[:, None]
    images = Projector((nz, nx), angles, width=41).project(blob)[:, 0]
    expected = x * np.cos(np.radians(angles)) + z * np.sin(np.radians(angles))
    np.testing.assert_allclose([centroid(line) for line in images], expected, atol=2e-3)
    away = np.arange(41) - 20 - expected[:, None]
    wide = 1.5**2 + 1 / 6  # the square of a voxel and the strip of a pixel: 0 to 1/4, by their phase
    theory = 2 * np.pi * 1.5**2 * np.exp(-(away**2) / (2 * wide)) / np.sqrt(2 * np.pi * wide)
    np.testing.assert_allclose(images, theory, atol=0.04 * theory.max())


def test_handedness_and_axis_order():
    """Four voxels of a chiral object, tilted by 90 and -90 degrees: z becomes x, with the sign of the angle."""
    volume = np.zeros((9, 3, 9), np.float32)
    volume[4, 0, 4], volume[4, 1, 7], volume[6, 2, 4], volume[1, 1, 4] = 1, 2, 3, 4
    flat, up, down = Projector((9, 9), [0, 90, -90]).project(volume)
    expected = np.zeros((3, 3, 9))
    expected[0, 0, 4], expected[0, 1, 7], expected[0, 2, 4], expected[0, 1, 4] = 1, 2, 3, 4
    expected[1, 0, 4], expected[1, 1, 4], expected[1, 2, 6], expected[1, 1, 1] = 1, 2, 3, 4
    expected[2, 0, 4], expected[2, 1, 4], expected[2, 2, 2], expected[2, 1, 7] = 1, 2, 3, 4
    np.testing.assert_allclose([flat, up, down], expected, atol=1e-5)


def test_a_uniform_slab_is_uniform_at_every_angle():
    """Goal: flat within 1 %. Linear weights of voxels' centres leave stripes of 9 % at 45 degrees."""
    angles = np.concatenate([np.arange(-60, 60.1, 1.5), [0.01, 36.87, 45, 63.43]])
    images = Projector((20, 200), angles).project(np.ones((20, 1, 200), np.float32))[:, 0]
    middle = images[:, 85:115]  # beams that leave through the top and the bottom
    np.testing.assert_allclose(middle / middle.mean(axis=1, keepdims=True), 1, atol=1e-5)
    np.testing.assert_allclose(middle.mean(axis=1), 20 / np.cos(np.radians(angles)), rtol=1e-5)


@given(nz=SIZES, nx=SIZES, rows=st.integers(1, 40), width=st.integers(1, 40), angles=ANGLES, seed=st.integers(0, 99))
@settings(max_examples=60)
def test_back_is_the_exact_adjoint(nz, nx, rows, width, angles, seed):
    shift = np.random.default_rng(seed).normal(0, 3, len(angles))
    projector = Projector((nz, nx), angles, 7.5, width=width, shift_x=shift)
    volume, images = noise((nz, rows, nx), seed), noise((len(angles), rows, width), seed + 1)
    there, back = projector.project(volume), projector.back(images)
    one = (there.astype(float) * images).sum()
    other = (volume.astype(float) * back).sum()
    # the sum of the sizes of all terms, whose signs may cancel: what float32 rounds is a share of this
    size = (projector.project(abs(volume)).astype(float) * abs(images)).sum()
    assert abs(one - other) <= 2e-6 * size


@given(cuts=st.lists(st.integers(1, 69), max_size=4), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_blocks_along_y_give_equal_bytes(cuts, seed):
    angles = np.linspace(-60, 60, 19)
    volume = noise((11, 70, 17), seed)
    projector = Projector((11, 17), angles, 12.0, width=21)
    images = projector.project(volume)
    edges = sorted({0, 70, *cuts})
    pairs = list(itertools.pairwise(edges))
    parts = [Projector((11, 17), angles, 12.0, width=21).project(volume[:, a:b]) for a, b in pairs]
    assert np.concatenate(parts, axis=1).tobytes() == images.tobytes()
    parts = [projector.back(images[:, a:b]) for a, b in pairs]
    assert np.concatenate(parts, axis=1).tobytes() == projector.back(images).tobytes()


def test_bytes_do_not_depend_on_the_cache_which_stays_below_its_limit():
    angles = np.arange(-60, 61, 4)
    volume = noise((10, SLICES + 3, 40))
    kept, made_again = Projector((10, 40), angles), Projector((10, 40), angles)
    made_again.cache_bytes = kept.matrix_bytes // 2
    for _ in range(2):
        images = kept.project(volume)
        assert made_again.project(volume).tobytes() == images.tobytes()
        assert made_again.back(images).tobytes() == kept.back(images).tobytes()
    held = [
        sum(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for m in p._made.values()) for p in (kept, made_again)
    ]
    assert held[1] <= made_again.cache_bytes < held[0]
    assert held[0] == pytest.approx(kept.matrix_bytes, rel=0.1)  # what the planner is told
    sampled = kept.sampled(2)
    sampled.back(np.zeros((len(angles), 1, sampled.width)))
    assert sampled._held == pytest.approx(sampled.matrix_bytes, rel=0.1)


def test_samples_are_interpolated_at_the_voxels_centre():
    """Lines that are straight, at two samples a pixel: the volume is straight, at every voxel that they reach."""
    angles, shift = np.array([-70.0, -20, 0, 45]), np.array([2.0, 0, -3, 1])
    projector = Projector((9, 14), angles, 2.0, width=40, shift_x=shift).sampled(2)
    assert projector.width == 79
    z, x = np.arange(9)[:, None] - 4, np.arange(14) - 6.5
    for tilt, (angle, move) in enumerate(zip(np.radians(angles), shift / 2, strict=True)):
        lines = np.zeros((4, 1, 79))
        lines[tilt] = (np.arange(79) - 39) / 2
        found = projector.back(lines)[:, 0] / 2
        np.testing.assert_allclose(found, x * np.cos(angle) + z * np.sin(angle) + move, atol=1e-5)


def test_projection_is_linear():
    projector = Projector((9, 14), [-33.0, 5, 70])
    one, two = noise((9, 4, 14), 1), noise((9, 4, 14), 2)
    together = projector.project(2 * one - two)
    np.testing.assert_allclose(together, 2 * projector.project(one) - projector.project(two), atol=1e-5)


def test_what_falls_beside_the_detector_is_lost():
    volume = np.zeros((1, 1, 20), np.float32)
    volume[0, 0, 2], volume[0, 0, 10] = 5, 7
    assert Projector((1, 20), [0], width=10).project(volume).sum() == 7


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float64])
def test_volumes_of_any_real_dtype_are_projected_alike(dtype):
    volume = (np.arange(2 * 3 * 4).reshape(2, 3, 4) % 7).astype(dtype)
    projector = Projector((2, 4), [10.0])
    found = projector.project(volume)
    assert found.dtype == np.float32
    assert found.tobytes() == projector.project(volume.astype(np.float32)).tobytes()


def test_torch_gives_the_same():
    angles = np.linspace(-60, 60, 21)
    arguments = ((12, 31), angles, 9.0)
    shift = np.linspace(-20, 20, 21)
    plain = Projector(*arguments, width=37, shift_x=shift)
    other = TorchProjector(*arguments, width=37, shift_x=shift, device="cpu")
    volume = noise((12, 5, 31))
    images = plain.project(volume)
    assert np.abs(other.project(volume) - images).max() < 1e-5 * np.abs(images).max()
    back = plain.back(images)
    assert np.abs(other.back(images) - back).max() < 1e-5 * np.abs(back).max()


@pytest.mark.gpu
def test_a_gpu_gives_the_same():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    angles = np.arange(-60, 61, 2)
    plain, other = Projector((50, 200), angles, 12.0), TorchProjector((50, 200), angles, 12.0)
    volume = noise((50, 70, 200))
    images = plain.project(volume)
    assert np.abs(other.project(volume) - images).max() < 1e-5 * np.abs(images).max()
    back = plain.back(images)
    assert np.abs(other.back(images) - back).max() < 1e-5 * np.abs(back).max()


def test_a_device_that_is_not_here_is_refused():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(InputError, match="device='cpu'"):
        TorchProjector((4, 4), [0.0])


@pytest.mark.parametrize(
    ("arguments", "keywords", "says"),
    [
        (((0, 4), [0.0]), {}, "at least 1"),
        (((4, 4), []), {}, "one or more"),
        (((4, 4), [math.nan]), {}, "one or more"),
        (((4, 4), [0.0], 0.0), {}, "above 0"),
        (((4, 4), [0.0]), {"width": 0}, "at least 1"),
        (((4, 4), [0.0]), {"shift_x": [1.0, 2.0]}, "for 1 tilts"),
    ],
)
def test_geometry_that_makes_no_sense_is_refused(arguments, keywords, says):
    with pytest.raises(InputError, match=says):
        Projector(*arguments, **keywords)


def test_arrays_that_do_not_fit_are_refused():
    projector = Projector((3, 5), [0.0, 10.0], width=6)
    for array in (np.zeros((4, 2, 5)), np.zeros((3, 5)), np.zeros((3, 0, 5)), np.zeros((3, 2, 5), complex)):
        with pytest.raises(InputError, match=r"\(3, any, 5\)"):
            projector.project(array)
    with pytest.raises(InputError, match=r"\(2, any, 6\)"):
        projector.back(np.zeros((2, 4, 5)))
