"""Augmentation: nothing at zero strength, the label moves with the image, spectra change as they should."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volengine.core.errors import InputError
from volengine.nets.training.augment import fourier as augment_fourier
from volengine.nets.training.augment import geometry as augment_geometry
from volengine.nets.training.augment import greys as augment_greys
from volengine.nets.training.augment.apply import augmented
from volengine.nets.training.augment.recipe import PRESETS, Augmentation, Fourier, Geometry, Greys, preset
from volengine.nets.training.losses.losses import IGNORE

STILL = {"flips": False, "turns": False}


def image_of(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0.3, 1.2, shape).astype(np.float32))


def labels_of(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8))


def spectrum(x: torch.Tensor, dims: int = 3) -> torch.Tensor:
    return torch.fft.fftn(x.double(), dim=tuple(range(-dims, 0)))


# -- recipes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_recipes_and_repeatable(name: str) -> None:
    how = preset(name)
    assert Augmentation.from_json(json.loads(json.dumps(how.to_json()))) == how
    for shape, depth in (((9, 8, 8), 9), ((3, 16, 16), 1), ((4, 16, 12), 1)):
        image, labels = image_of(shape), labels_of((2, depth, *shape[1:]))
        kept = image.clone(), labels.clone()
        one = augmented(how, image, labels, np.random.default_rng(3))
        two = augmented(how, image, labels, np.random.default_rng(3))
        others = [augmented(how, image, labels, np.random.default_rng(k))[0] for k in range(4, 12)]
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
        assert all(torch.equal(one[0], other) for other in others) == (name == "none")
        assert torch.equal(image, kept[0])
        assert torch.equal(labels, kept[1])
        assert one[0].shape == image.shape
        assert one[1].shape == labels.shape
        assert (one[0].dtype, one[1].dtype) == (torch.float32, torch.uint8)
        assert torch.isfinite(one[0]).all()
        assert one[0].data_ptr() != image.data_ptr()


def test_arrays_and_tensors_are_changed_alike() -> None:
    how = preset("membrain")
    images, labels = image_of((3, 8, 8, 8)), labels_of((3, 1, 8, 8, 8))
    for k in range(3):
        x, y = augmented(how, images[k].numpy(), labels[k].numpy(), np.random.default_rng((7, 5, k)))
        assert isinstance(x, np.ndarray)
        changed, moved = augmented(how, images[k], labels[k], np.random.default_rng((7, 5, k)))
        np.testing.assert_array_equal(changed.numpy(), x)
        np.testing.assert_array_equal(moved.numpy(), y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: preset("heavy"), "no augmentation 'heavy'"),
        (lambda: Augmentation(noise=-1.0), "noise must be 0 or more"),
        (lambda: Geometry(zoom=(1.4, 0.7)), "the smaller number first"),
        (lambda: Geometry(rotation_probability=1.5), "between 0 and 1, not 1.5"),
        (lambda: Greys(median_vox=(2, 4)), "odd sides"),
        (lambda: Greys(low_resolution=(0.5, 2.0)), "at most 1"),
        (lambda: Fourier(wedge_deg=(50.0, 100.0)), "90 degrees at most"),
        (lambda: Augmentation.from_json({"greys": {"blurr_vox": [0, 1]}}), "Did you mean 'blur_vox'"),
    ],
)
def test_senseless_strengths_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_what_is_no_sample_is_refused() -> None:
    with pytest.raises(InputError, match="are no sample"):
        augmented(
            Augmentation(), np.zeros((4, 8, 8), np.float32), np.zeros((1, 2, 8, 8), np.uint8), np.random.default_rng(0)
        )


ZERO = [
    Augmentation(**STILL),
    Augmentation(**STILL, geometry=Geometry(rotation_probability=1, rotation_deg=0)),
    Augmentation(**STILL, geometry=Geometry(zoom_probability=1, zoom=(1, 1))),
    Augmentation(**STILL, greys=Greys(blur_probability=1, blur_vox=(0, 0))),
    Augmentation(**STILL, greys=Greys(median_probability=1, median_vox=(1, 1))),
    Augmentation(**STILL, greys=Greys(low_resolution_probability=1, low_resolution=(1, 1))),
    Augmentation(**STILL, greys=Greys(contrast_probability=1, contrast=(1, 1))),
    Augmentation(**STILL, greys=Greys(brightness_probability=1, brightness_std=0)),
    Augmentation(**STILL, greys=Greys(gamma_probability=1, gamma=(1, 1))),
    Augmentation(**STILL, greys=Greys(gradient_probability=1, gradient=(0, 0))),
    Augmentation(**STILL, greys=Greys(local_gamma_probability=1, local_gamma_low=(1, 1), local_gamma_high=(1, 1))),
    Augmentation(**STILL, greys=Greys(sharpen_probability=1, sharpen=(0, 0))),
    Augmentation(**STILL, greys=Greys(noise_probability=1, noise_std=0)),
    Augmentation(**STILL, greys=Greys(erase_probability=1, erase_boxes=0)),
    Augmentation(**STILL, fourier=Fourier(amplitude_probability=1, amplitude_sigma=0)),
    Augmentation(**STILL, fourier=Fourier(wedge_probability=1, wedge_deg=(90, 90))),
]


@pytest.mark.parametrize("how", ZERO)
@pytest.mark.parametrize("shape", [(6, 9, 8), (4, 9, 8)])
def test_zero_strength_changes_nothing(how: Augmentation, shape: tuple[int, int, int]) -> None:
    image, labels = image_of(shape), labels_of((2, 6 if shape[0] == 6 else 1, *shape[1:]))
    for seed in range(4):
        changed, moved = augmented(how, image, labels, np.random.default_rng(seed))
        torch.testing.assert_close(changed, image, atol=2e-6, rtol=2e-6)
        assert torch.equal(moved, labels)


def strong(how: Augmentation) -> Augmentation:
    """The same effect with its default strength."""
    changes = {}
    for name in ("geometry", "greys", "fourier"):
        family = getattr(how, name)
        on = {k: v for k, v in family.to_json().items() if k.endswith("_probability") and v}
        changes[name] = type(family)(**on)
    return dataclasses.replace(how, **changes)


@pytest.mark.parametrize("how", [strong(how) for how in ZERO[1:]])
def test_each_effect_has_an_effect_on_the_image_and_only_geometry_on_labels(how: Augmentation) -> None:
    image, labels = image_of((12, 12, 12)), labels_of((1, 12, 12, 12))
    rows = [augmented(how, image, labels, np.random.default_rng(s)) for s in range(3)]
    assert any((x - image).abs().max() > 0.05 for x, _ in rows)
    assert all(torch.equal(y, labels) for _, y in rows) == (how.geometry == Geometry())


# -- geometry ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from([(15, 15, 15), (11, 15, 13), (3, 17, 17), (4, 17, 21)]),
)
def test_a_marker_and_its_label_move_together(seed: int, shape: tuple[int, int, int]) -> None:
    """A ball in the image and its label end at the same place, or both are gone."""
    volumetric = shape[0] > 4
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    centre = np.array([rng.uniform(4, n - 5) if n > 4 else n // 2 for n in shape])
    square = ((grid - centre)[..., 0 if volumetric else 1 :] ** 2).sum(-1)
    labels = (square <= 2.2**2).astype(np.uint8)[None, : shape[0] if volumetric else 1]
    image = (square <= 2.2**2).astype(np.float32)
    how = Augmentation(geometry=Geometry(shuffles=True, rotation_probability=1, zoom_probability=1))
    x, y = augmented(how, image, labels, rng)
    seen = x if volumetric else x[shape[0] // 2][None]
    inside = y[0] == 1
    assert set(np.unique(y)) <= {0, 1, 2}
    if inside.sum() > 8:
        a = np.array(ndimage.center_of_mass(np.where(y[0] == 2, 0, seen)))
        b = np.array(ndimage.center_of_mass(inside))
        assert np.abs(a - b).max() < 0.6
        assert np.abs(seen[inside] - 1).mean() < 0.35
        assert np.abs(seen[y[0] == 0]).mean() < 0.1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_by_right_angles_is_the_exact_turn(axis: int) -> None:
    image, labels = image_of((6, 6, 6)), labels_of((2, 6, 6, 6))
    angles = np.zeros(3)
    angles[axis] = np.pi / 2
    planes = [(1, 2), (0, 2), (0, 1)][axis]
    x, y = augment_geometry.move(image, labels, augment_geometry.rotation(angles))
    ways = [torch.rot90(image, k, planes) for k in (1, 3)]
    (k,) = [k for k, way in zip((1, 3), ways, strict=True) if torch.allclose(x, way, atol=1e-5)]
    assert torch.equal(y, torch.rot90(labels, k, [1 + p for p in planes]))


def test_resampling_is_that_of_scipy() -> None:
    """Against an independent linear interpolation, mirrored; labels of the nearest voxel, 2 outside."""
    image, labels = image_of((9, 10, 11)), labels_of((1, 9, 10, 11))
    matrix = augment_geometry.rotation(np.array([0.4, -1.1, 2.0])) / 0.8
    centre = (np.array(image.shape) - 1) / 2
    shift = centre - matrix @ centre
    want = ndimage.affine_transform(image.numpy().astype(float), matrix, shift, order=1, mode="mirror")
    marks = ndimage.affine_transform(labels[0].numpy(), matrix, shift, order=0, mode="grid-constant", cval=IGNORE)
    x, y = augment_geometry.move(image, labels, matrix)
    np.testing.assert_allclose(x.numpy(), want, atol=2e-5)
    assert (y[0].numpy() == marks).mean() > 0.999
    assert 0.2 < (y == IGNORE).float().mean() < 0.95


def test_targets_of_a_regression_are_interpolated_and_nan_outside() -> None:
    image = image_of((9, 9, 9))
    how = Augmentation(geometry=Geometry(rotation_probability=1, zoom_probability=1, zoom=(0.7, 0.8)))
    x, y = augmented(how, image, image[None].clone(), np.random.default_rng(5))
    inside = ~torch.isnan(y[0])
    assert 0.2 < inside.float().mean() < 0.9
    torch.testing.assert_close(y[0][inside], x[inside], atol=1e-5, rtol=1e-5)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from([(6, 6, 6), (5, 7, 6), (3, 8, 8), (5, 8, 6), (4, 8, 8), (2, 8, 6)]),
)
def test_mirrors_and_turns_move_a_target_exactly_with_the_image(seed: int, shape: tuple[int, int, int]) -> None:
    """Of a volume, and of the middle slice of a context (2 to 5; of an even number the one above), bit for bit."""
    image = image_of(shape, seed)
    how = Augmentation(geometry=Geometry(shuffles=True))
    x, y = augmented(how, image, torch.stack([image, 2 * image]), np.random.default_rng(seed))
    assert torch.equal(y, torch.stack([x, 2 * x]))
    middle = slice(shape[0] // 2, shape[0] // 2 + 1)
    x, y = augmented(how, image, image[None, middle], np.random.default_rng(seed))
    assert torch.equal(y[0], x[middle])


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), shape=st.sampled_from([(8, 8, 8), (1, 16, 16), (5, 12, 16)]))
def test_a_target_is_moved_linearly_and_its_values_are_not_changed(seed: int, shape: tuple[int, int, int]) -> None:
    """A ramp stays a ramp of the same slope, turned: linear interpolation has no error on it, nearest has."""
    rng = np.random.default_rng(seed)
    steep = rng.normal(size=3) * (shape[0] > 1, 1, 1) if shape[0] == shape[2] else rng.normal(size=3) * (0, 1, 1)
    ramp = sum(g * s for g, s in zip(np.indices(shape), steep, strict=True)).astype(np.float32)
    target = ramp[None] if shape[0] == shape[2] else ramp[None, :1]
    how = dataclasses.replace(
        preset("membrain"), geometry=Geometry(rotation_probability=1.0, zoom_probability=1.0, zoom=(1.1, 1.4))
    )
    _, y = augmented(how, ramp, target, rng)
    moved, known = y[0].astype(np.float64), np.isfinite(y[0])
    assert known.sum() > 20
    axes = (0, 1, 2) if shape[0] == shape[2] else (1, 2)
    lengths = []
    for axis in axes:  # along each axis the same step everywhere where it is known
        steps = np.diff(moved, axis=axis)
        steps = steps[np.isfinite(steps)]
        np.testing.assert_allclose(steps, np.median(steps), atol=2e-4)
        lengths.append(np.median(steps))
    scale = np.linalg.norm(lengths) / np.linalg.norm(steep)
    assert 1 / 1.4 - 1e-3 <= scale <= 1 / 1.1 + 1e-3


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("shape", [(8, 8, 8), (5, 8, 8)])
def test_grey_values_of_a_target_never_change(name: str, shape: tuple[int, int, int]) -> None:
    """Without geometry the target comes back to the bit, however strong the effects on the image."""
    how = dataclasses.replace(preset(name), flips=False, turns=False, geometry=Geometry(), noise=0.3)
    image = image_of(shape).numpy()
    target = image_of((2, 8 if shape[0] == 8 else 1, 8, 8), 3).numpy()
    target[0, 0, 0, 0] = np.nan
    for seed in range(10):
        x, y = augmented(how, image, target, np.random.default_rng(seed))
        np.testing.assert_array_equal(y, target)
        assert np.isfinite(x).all()
        assert not np.array_equal(x, image)


def test_zoom_magnifies() -> None:
    image = torch.zeros(17, 17, 17)
    image[6:11, 6:11, 6:11] = 1
    large, _ = augment_geometry.move(image, image[None].to(torch.uint8), np.eye(3) / 1.4)
    assert float(large.sum()) == pytest.approx(1.4**3 * 125, rel=0.15)


def test_shuffles_and_flips_give_all_48_ways_to_look_at_a_cube() -> None:
    image = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    how = Augmentation(turns=False, geometry=Geometry(shuffles=True))
    seen = set()
    for seed in range(800):
        x, y = augmented(how, image, image[None].astype(np.uint8), np.random.default_rng(seed))
        np.testing.assert_array_equal(x, y[0])
        seen.add(x.tobytes())
    assert len(seen) == 48


# -- spectrum ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), shape=st.sampled_from([(12, 12, 12), (11, 12, 13), (6, 16, 16)]))
def test_amplitudes_change_and_phases_do_not(seed: int, shape: tuple[int, int, int]) -> None:
    image = image_of(shape)
    how = Augmentation(**STILL, fourier=Fourier(amplitude_probability=1))
    changed, _ = augmented(how, image, labels_of((1, *shape)), np.random.default_rng(seed))
    before, after = spectrum(image), spectrum(changed)
    ratio = after / before
    solid = after.abs() > 1e-3 * after.abs().max()
    assert ratio[solid].imag.abs().max() < 2e-3 * ratio[solid].abs().max()
    assert (ratio[solid].real > 0).all()
    assert float(changed.mean()) == pytest.approx(float(image.mean()), abs=1e-4)
    assert float(changed.std()) == pytest.approx(float(image.std()), rel=1e-3)
    assert ratio[solid].real.std() > 0.01


def test_the_walk_is_that_of_the_paper() -> None:
    steps = np.random.default_rng(0).normal(0, 0.2, 79)
    x = [1.0]
    for d in steps:
        x.append(abs(x[-1] + d))
    np.testing.assert_array_equal(augment_fourier.walk(80, 0.2, np.random.default_rng(0)), x)


def test_gains_depend_on_the_true_frequency_alone() -> None:
    """Along each axis of a flat patch, the gain at f cycles per voxel is the same."""
    gains = augment_fourier.walk(16, 0.2, np.random.default_rng(0))
    table = augment_fourier.radial((8, 32, 16), gains)
    for k in range(4):
        assert float(table[k, 0, 0]) == pytest.approx(float(table[0, 4 * k, 0]), rel=1e-6)
        assert float(table[0, 0, 2 * k]) == pytest.approx(float(table[0, 4 * k, 0]), rel=1e-6)
    np.testing.assert_allclose(table[0, :16, 0], gains, rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), shape=st.sampled_from([(12, 12, 12), (9, 12, 16)]), tilt=st.floats(20, 80))
def test_a_wedge_is_missing(seed: int, shape: tuple[int, int, int], tilt: float) -> None:
    image = image_of(shape)
    how = Augmentation(**STILL, fourier=Fourier(wedge_probability=1, wedge_deg=(tilt, tilt)))
    changed, _ = augmented(how, image, labels_of((1, *shape)), np.random.default_rng(seed))
    power = spectrum(changed).abs() ** 2
    gone = power < 1e-8 * power.max()
    share = float(gone.double().mean())
    assert share == pytest.approx(1 - tilt / 90, abs=0.17)
    kept = spectrum(changed)[~gone] / spectrum(image)[~gone]
    kept = kept[1:]
    assert kept.imag.abs().max() < 1e-2
    assert kept.real.std() < 1e-2 * kept.real.mean()


def test_the_wedge_lies_about_the_beam() -> None:
    """Tilts up to 60 degrees about y: missing is |kz| > tan(60) |kx|, and nothing along y."""
    z, _, x = np.eye(3)
    kept = augment_fourier.wedge((16, 8, 16), 60, along=x, beam=z).numpy()
    k = np.fft.fftfreq(16)
    want = np.abs(k)[:, None] <= np.tan(np.pi / 3) * np.abs(k)[None] + 1e-12
    for plane in range(8):
        np.testing.assert_array_equal(kept[:, plane], want)
    assert kept[0, :, 0].all()


def test_slices_have_their_own_spectrum() -> None:
    """2.5D: the same wedge in each slice, nothing from one slice in another."""
    image = image_of((3, 16, 16))
    image[1] = 0
    how = Augmentation(**STILL, fourier=Fourier(wedge_probability=1, amplitude_probability=1))
    changed, _ = augmented(how, image, labels_of((1, 1, 16, 16)), np.random.default_rng(0))
    assert (changed[1] == 0).all()
    assert (changed[0] - image[0]).abs().max() > 0.1
    gone = [(s := spectrum(changed[k], 2).abs()) < 1e-4 * s.max() for k in (0, 2)]
    assert gone[0].sum() > 20
    assert (gone[0] == gone[1]).double().mean() > 0.98


# -- grey values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [2, 3])
def test_filters_are_those_of_scipy(dims: int) -> None:
    image = image_of((7, 12, 13))
    array = image.numpy()
    sigmas = [0.8, 1.3, 0.5][-dims:]
    full = [0.0] * (3 - dims) + sigmas
    got = augment_greys.blur(image, sigmas)
    np.testing.assert_allclose(got, ndimage.gaussian_filter(array, full, mode="nearest", truncate=5), atol=2e-4)
    size = (3, 3, 3) if dims == 3 else (1, 3, 3)
    want = ndimage.median_filter(array, size=size, mode="nearest")
    np.testing.assert_array_equal(augment_greys.median(image, 3, dims), want)


def test_low_resolution_removes_high_frequencies() -> None:
    image = image_of((16, 16, 16))
    low = augment_greys.low_resolution(image, 0.25, 3)
    change = low.diff(dim=-1).abs().mean()
    assert change < 0.35 * image.diff(dim=-1).abs().mean()
    assert torch.equal(augment_greys.low_resolution(torch.full((4, 8, 8), 3.0), 0.3, 2), torch.full((4, 8, 8), 3.0))


def test_gamma_keeps_mean_deviation_and_order() -> None:
    image = image_of((6, 6, 6))
    for negative in (False, True):
        changed = augment_greys.gamma(image, 1.7, negative=negative)
        assert float(changed.mean()) == pytest.approx(float(image.mean()), abs=1e-5)
        assert float(changed.std()) == pytest.approx(float(image.std()), rel=1e-5)
        assert torch.equal(changed.flatten().argsort(), image.flatten().argsort())
    assert torch.equal(augment_greys.gamma(torch.ones(2, 2, 2), 2.0), torch.ones(2, 2, 2))


def test_hills_vary_along_every_axis_and_have_their_top_anywhere() -> None:
    image, tops = torch.zeros(8, 8, 8), set()
    for seed in range(60):
        hill = augment_greys.random_hill(image, np.random.default_rng(seed), 3)
        assert float(hill.max()) == pytest.approx(1.0)
        tops.add(int(hill.argmax()))
        for axis in range(3):
            assert hill.diff(dim=axis).abs().max() > 1e-3
    assert len(tops) > 30
    assert any(0 < t // 64 < 7 and 0 < t // 8 % 8 < 7 and 0 < t % 8 < 7 for t in tops)


def test_erasing_fills_boxes_with_the_mean() -> None:
    image = image_of((10, 10, 10))
    out = augment_greys.erase(image, 1, (0.2, 0.4), np.random.default_rng(0), 3)
    gone = out != image
    assert 8 <= int(gone.sum()) <= 64
    assert (out[gone] == image.mean()).all()


def test_greys_of_today_are_those_of_the_formula() -> None:
    """Bit for bit what earlier releases computed: trainings of the shipped models can be repeated."""
    image = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    how = preset("light")
    for seed in range(5):
        got, _ = augmented(how, image, image[None].astype(np.uint8), np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        want = image
        for axis in (-3, -2, -1):
            if rng.random() < 0.5:
                want = np.flip(want, axis)
        want = np.rot90(want, int(rng.integers(4)), (-2, -1)).astype(np.float32, copy=True)
        want *= 1 + np.float32(rng.uniform(-0.1, 0.1))
        want += np.float32(rng.uniform(-0.1, 0.1))
        sigma = np.float32(rng.uniform(0, 0.2))
        want += sigma * rng.standard_normal(want.shape, dtype=np.float32)
        np.testing.assert_array_equal(got, want)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", PRESETS)
def test_a_gpu_changes_samples_as_a_cpu_does(name: str) -> None:
    image, labels = image_of((16, 16, 16)), labels_of((1, 16, 16, 16))
    for seed in range(10):
        x, y = preset(name)(image, labels, np.random.default_rng(seed))
        gx, gy = preset(name)(image.cuda(), labels.cuda(), np.random.default_rng(seed))
        assert gx.is_cuda
        torch.testing.assert_close(gx.cpu(), x, atol=2e-3, rtol=2e-3)
        assert (gy.cpu() == y).float().mean() > 0.999
