"""Tomograms: units, places, handedness, missing wedge, filters, blocks, and SIRT's convergence."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volengine.core.errors import InputError
from volengine.sim.imaging.projector import Projector, TorchProjector
from volengine.sim.imaging.reconstruct import (
    FINE,
    Filter,
    angular_weights,
    filtered,
    padded_width,
    sirt,
    wbp,
    weights_of,
)

FULL = np.arange(-89, 90)
USUAL = np.arange(-60, 61, 2)
WEIGHTINGS = ("ramp", "exact")


def axes(nz, nx):
    """Voxels from the plane's centre."""
    return np.arange(nz)[:, None] - (nz - 1) / 2, np.arange(nx) - (nx - 1) / 2


def disc(nz, nx, radius, at=(0.0, 0.0)):
    z, x = axes(nz, nx)
    return (((z - at[0]) ** 2 + (x - at[1]) ** 2) < radius**2).astype(np.float32)[:, None]


def phantom(nz=40, nx=64, rows=1):
    """Discs of different height, others in each slice."""
    rng = np.random.default_rng(1)
    slices = []
    for _ in range(rows):
        places = rng.uniform((-nz / 2 + 6, -nx / 2 + 6), (nz / 2 - 6, nx / 2 - 6), (8, 2))
        slices.append(sum(h * disc(nz, nx, 2 + h, tuple(p)) for h, p in zip(range(1, 9), places, strict=True)) / 4)
    return np.concatenate(slices, axis=1).astype(np.float32)


def peak_by_fit(volume):
    """The top of the fifth-order spline through a volume, about its highest voxel."""
    place = np.array(np.unravel_index(np.argmax(volume), volume.shape), float)
    corner = np.maximum(place.astype(int) - 6, 0)
    spline = ndimage.spline_filter(volume[tuple(slice(c, c + 13) for c in corner)], 5)
    place -= corner
    for step in (0.25, 0.06, 0.015):
        around = place[:, None, None, None] + step * (np.indices((9, 9, 9)) - 4)
        values = ndimage.map_coordinates(spline, around, order=5, prefilter=False)
        place = around[(slice(None), *np.unravel_index(np.argmax(values), values.shape))]
    return place + corner


@given(
    shape=st.tuples(st.integers(19, 34), st.integers(12, 20), st.integers(24, 48)),
    share=st.tuples(*[st.floats(0, 1)] * 3),
    weighting=st.sampled_from(WEIGHTINGS),
    angles=st.sampled_from([USUAL, FULL, np.r_[-60:-30:3, -30:30:1, 30:61:3]]),
    wide=st.integers(10, 19),
)
@settings(max_examples=25)
def test_a_point_is_found_in_its_place(shape, share, weighting, angles, wide):
    """0.1 voxel, any shape odd or even, any place down to 5 voxels from a face, any detector that sees all of it."""
    place = np.array([5 + s * (n - 11) for s, n in zip(share, shape, strict=True)])
    z, y, x = (np.arange(n) - p for n, p in zip(shape, place, strict=True))
    point = np.exp(-(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2) / (2 * 1.5**2)).astype(np.float32)
    nz, _, nx = shape
    projector = Projector((nz, nx), angles, 10.0, width=math.ceil(math.hypot(nz, nx)) + wide)
    found = peak_by_fit(wbp(projector.project(point), projector, Filter(weighting=weighting)))
    assert np.abs(found - place).max() < 0.1


@given(shape=st.tuples(st.integers(11, 30), st.integers(11, 30)), share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@settings(max_examples=30)
def test_a_single_voxel_is_the_highest_one(shape, share):
    z, x = (2 + round(s * (n - 5)) for s, n in zip(share, shape, strict=True))
    volume = np.zeros((shape[0], 1, shape[1]), np.float32)
    volume[z, 0, x] = 1
    projector = Projector(shape, USUAL)
    found = wbp(projector.project(volume), projector)
    assert np.unravel_index(np.argmax(found), found.shape) == (z, 0, x)


@pytest.mark.parametrize("method", ["wbp", "sirt"])
def test_a_chiral_object_comes_back_as_it_was(method):
    """Four different points, no three axes alike: no mirror, no turn and no exchange of axes goes unseen."""
    volume = np.zeros((24, 9, 36), np.float32)
    places = [(7, 2, 9), (8, 1, 29), (10, 6, 15), (18, 3, 23)]
    for height, (z, y, x) in zip((4, 3, 2, 1.5), places, strict=True):
        volume[z, y, x] = height
    projector = Projector((24, 36), USUAL)
    images = projector.project(volume)
    found = wbp(images, projector) if method == "wbp" else sirt(images, projector, 20)
    score = np.corrcoef(volume.ravel(), found.ravel())[0, 1]
    for flips in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in (1, 2, 3)):
        assert np.corrcoef(volume.ravel(), np.flip(found, flips).ravel())[0, 1] < score / 2
    assert [found[p] > 0.9 * found[p[0] - 1 : p[0] + 2, p[1], p[2] - 1 : p[2] + 2].max() for p in places] == [True] * 4
    assert found[places[0]] > found[places[1]] > found[places[2]] > found[places[3]]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("voxel_size", [1.0, 12.5])
@pytest.mark.parametrize("shape", [(81, 80), (40, 90)], ids=str)
def test_the_full_range_gives_back_the_objects_unit(weighting, voxel_size, shape):
    """Volt in, volt out, whatever the voxel: within 2 % inside, and nothing of a disc outside of it."""
    volume = 3 * disc(*shape, 15)
    projector = Projector(shape, FULL, voxel_size)
    found = wbp(projector.project(volume), projector, Filter(weighting=weighting))
    assert found[disc(*shape, 12) > 0].mean() == pytest.approx(3, rel=0.02)
    assert abs(found[disc(*shape, 18) == 0].mean()) < 0.06


def test_a_limited_range_keeps_its_share_of_a_round_object():
    """120 of 180 degrees measured: 2/3 of the transform of what is round, so 2/3 of its middle."""
    z, x = axes(81, 81)
    volume = np.exp(-(z**2 + x**2) / (2 * 5**2))[:, None]
    projector = Projector((81, 81), USUAL)
    found = wbp(projector.project(volume), projector)
    assert found[40, 0, 40] == pytest.approx(122 / 180, abs=0.01)  # each of the 61 tilts stands for two degrees


def test_the_missing_wedge_is_empty():
    """Density of the power spectrum of a tomogram of noise: a hundredth inside of the wedge, at most."""
    size = 63
    projector = Projector((size, size), np.arange(-60, 61))
    noise = np.random.default_rng(0).standard_normal((size, 8, size), dtype=np.float32)
    round_ones = noise * disc(size, size, 28)
    found = wbp(projector.project(round_ones), projector, Filter(cutoff=0.3)) * disc(size, size, 28)
    power = np.abs(np.fft.fftn(found, axes=(0, 2))).mean(axis=1) ** 2
    nu = np.fft.fftfreq(size)
    radius = np.hypot(nu[:, None], nu)
    # a projection at tilt theta holds the frequencies along (sin, cos) of it: the wedge is about z
    steep = np.degrees(np.arctan2(np.abs(nu)[:, None], np.abs(nu)))
    band = (radius > 0.1) & (radius < 0.28)
    inside, outside = power[band & (steep > 68)].mean(), power[band & (steep < 52)].mean()
    assert inside < 0.02 * outside
    whole = np.abs(np.fft.fftn(round_ones, axes=(0, 2))).mean(axis=1) ** 2
    assert whole[band & (steep > 68)].mean() == pytest.approx(whole[band & (steep < 52)].mean(), rel=0.3)


def test_reconstruction_is_linear():
    projector = Projector((12, 20), USUAL)
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, len(USUAL), 3, 20), dtype=np.float32)
    for method in (lambda p: wbp(p, projector), lambda p: sirt(p, projector, 5)):
        expected = 2 * method(one) - method(two)
        np.testing.assert_allclose(method(2 * one - two), expected, atol=1e-5 * np.abs(expected).max() + 1e-6)


@given(
    cuts=st.lists(st.integers(1, 39), max_size=4), padding=st.sampled_from(["zero", "edge"]), seed=st.integers(0, 99)
)
@settings(max_examples=15)
def test_blocks_along_y_give_equal_bytes(cuts, padding, seed):
    projector = Projector((9, 27), np.linspace(-60, 60, 11), 11.0)
    images = np.random.default_rng(seed).standard_normal((11, 40, 27), dtype=np.float32)
    blocks = list(itertools.pairwise(sorted({0, 40, *cuts})))
    for method in (
        lambda p: wbp(p, projector, Filter(padding=padding)),
        lambda p: sirt(p, projector, 3),
    ):
        parts = [method(images[:, a:b]) for a, b in blocks]
        assert np.concatenate(parts, axis=1).tobytes() == method(images).tobytes()


def test_bytes_do_not_depend_on_the_cache():
    images = np.random.default_rng(0).standard_normal((61, 70, 27), dtype=np.float32)
    kept, made_again = Projector((9, 27), USUAL), Projector((9, 27), USUAL)
    made_again.cache_bytes = 0
    assert wbp(images, made_again).tobytes() == wbp(images, kept).tobytes()


def test_an_angle_weighs_half_the_way_to_its_neighbours():
    even = angular_weights(np.arange(-60, 61, 3))
    np.testing.assert_allclose(even, np.radians(3))
    np.testing.assert_allclose(angular_weights(np.arange(-89, 90)), np.radians(1))
    np.testing.assert_allclose(angular_weights(np.arange(-90, 91))[[0, 1, -1]], np.radians([0.5, 1, 0.5]))
    np.testing.assert_allclose(angular_weights([10, 0, 4]), np.radians([6, 4, 5]))  # in any order
    np.testing.assert_allclose(angular_weights([0, 4, 4, 10]), np.radians([4, 2.5, 2.5, 6]))  # equal tilts share
    assert angular_weights([17.0]) == pytest.approx(np.pi)


@given(angles=st.lists(st.floats(-90, 90), min_size=1, max_size=40))
def test_weights_of_angles_never_exceed_the_whole(angles):
    weights = angular_weights(angles)
    assert weights.min() >= 0
    assert weights.sum() <= np.pi * (1 + 1e-9)


def test_the_ramp_and_its_fall_off():
    projector = Projector((20, 64), np.arange(-90, 90, 2), 5.0)
    nu = np.fft.rfftfreq(padded_width(64))
    plain = weights_of(projector, Filter(cutoff=0.5))
    np.testing.assert_allclose(plain[:, 1:], np.broadcast_to(nu[1:] / 5 * np.radians(2), plain[:, 1:].shape), rtol=0.03)
    usual = weights_of(projector, Filter())
    held = nu <= 0.35
    np.testing.assert_allclose(usual[:, held], plain[:, held])
    beyond = np.argmin(np.abs(nu - 0.385))
    gauss = np.exp(-0.5 * ((nu[beyond] - 0.35) / 0.035) ** 2)
    assert usual[0, beyond] == pytest.approx(0.35 / 5 * np.radians(2) * gauss, rel=0.02)


def test_exact_weights_of_an_even_full_range_are_the_ramp():
    projector = Projector((60, 60), np.arange(-90, 90), 5.0)
    ramp, exact = (weights_of(projector, Filter(weighting=w)) for w in WEIGHTINGS)
    low = slice(0, padded_width(60) // 6)  # where sections one degree apart overlap
    np.testing.assert_allclose(exact[:, low], ramp[:, low], rtol=0.05)


def test_exact_weights_as_harauz_and_van_heel_print_them():
    """1 / (D sum t) where the overlap is narrow."""
    angles, depth = np.array([-50.0, -8, -5, 0, 1, 3, 30]), 40
    projector = Projector((depth, 4000), angles)
    weights = weights_of(projector, Filter(weighting="exact", cutoff=0.5))
    nu = np.fft.rfftfreq(padded_width(4000))
    at = np.argmin(np.abs(nu - 0.2))
    for k, angle in enumerate(np.radians(angles)):
        way = depth / np.cos(angle)
        apart = way * nu[at] * np.abs(np.sin(np.radians(angles) - angle))
        assert weights[k, at] == pytest.approx(1 / (way * np.maximum(0, 1 - apart).sum()), rel=0.01)


def test_uneven_tilts_want_weights():
    """Angles at random: weighted by density, either way, a tomogram is nearer to the object than with equal weights."""
    angles = np.random.default_rng(3).uniform(-90, 90, 61)
    volume = phantom(64, 160)
    projector = Projector((64, 160), angles)
    images = projector.project(volume)
    errors = {w: np.sqrt(((wbp(images, projector, Filter(weighting=w)) - volume) ** 2).mean()) for w in WEIGHTINGS}
    density = angular_weights(angles)
    even = filtered(images, projector, Filter(), FINE) * (density.mean() / density)[:, None, None]
    unweighted = np.sqrt(((projector.sampled(FINE).back(even) - volume) ** 2).mean())
    assert max(errors.values()) < 0.85 * unweighted


def test_edge_padding_takes_the_glare_from_cut_images():
    """Images that end in the midst of a uniform slab: with zeros beyond, both sides glare."""
    slab = np.ones((20, 1, 200), np.float32)
    projector = Projector((20, 200), USUAL, width=120)
    images = projector.project(slab)
    glare = {}
    for padding in ("zero", "edge"):
        found = filtered(images, projector, Filter(padding=padding))
        glare[padding] = np.abs(found[30, 0, [0, -1]]).max()
    assert glare["edge"] < 0.05 * glare["zero"]


def test_the_residual_of_sirt_falls_with_each_iteration():
    volume = phantom()
    projector = Projector((40, 64), USUAL, 8.0)
    images = projector.project(volume) + np.random.default_rng(0).normal(0, 20, (61, 1, 64)).astype(np.float32)
    sums = projector.project(np.ones((40, 1, 64), np.float32))
    weight = np.where(sums > 0, 1 / np.where(sums > 0, sums, 1), 0)
    found = [np.zeros_like(volume), *(sirt(images, projector, n) for n in range(1, 12))]
    residuals = [float((weight * (images - projector.project(each)) ** 2).sum()) for each in found]
    assert all(after < ahead for ahead, after in itertools.pairwise(residuals))
    assert residuals[-1] < 0.5 * residuals[0]


@pytest.mark.parametrize("angles", [USUAL, np.arange(-84, 90, 6)], ids=["wedge", "few"])
def test_sirt_is_nearer_to_a_phantom_than_back_projection(angles):
    volume = phantom()
    projector = Projector((40, 64), angles, 8.0)
    images = projector.project(volume)
    plain = wbp(images, projector, Filter(cutoff=0.5))
    errors = [np.sqrt(((found - volume) ** 2).mean()) for found in (plain, sirt(images, projector, 90))]
    assert errors[1] < 0.85 * errors[0]


def test_other_projectors_serve_as_well():
    volume = phantom(20, 30, 3)
    plain, torch = Projector((20, 30), USUAL, 9.0), TorchProjector((20, 30), USUAL, 9.0, device="cpu")
    images = plain.project(volume)
    np.testing.assert_allclose(wbp(images, torch), wbp(images, plain), atol=1e-5)
    np.testing.assert_allclose(sirt(images, torch, 5), sirt(images, plain, 5), atol=1e-5)


def test_what_makes_no_sense_is_refused():
    projector = Projector((8, 12), USUAL)
    images = np.zeros((61, 2, 12), np.float32)
    for changes, says in [
        ({"cutoff": 0.0}, "0.5 cycles"),
        ({"cutoff": 0.6}, "0.5 cycles"),
        ({"sigma": 0.0}, "above 0"),
    ]:
        with pytest.raises(InputError, match=says):
            Filter(**changes)
    for wrong in (images[:60], images[..., :11], images[:, :0], images[0]):
        with pytest.raises(InputError, match="61 tilts and 12 pixels"):
            wbp(wrong, projector)
        with pytest.raises(InputError, match="61 tilts and 12 pixels"):
            sirt(wrong, projector, 1)
    with pytest.raises(InputError, match="1 or more"):
        sirt(images, projector, 0)
