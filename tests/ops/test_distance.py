"""What is near: against a dilation with the footprint itself, whatever the shape, the voxel and the radius."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volengine.core.errors import InputError
from volengine.ops import distance
from volengine.ops.distance import Reach, near

CUBE = (10.0, 10.0, 10.0)
sizes = st.sampled_from([10.0, 13.33, 8.0, 21.0])
voxels = st.one_of(sizes.map(lambda v: (v, v, v)), st.tuples(sizes, sizes, sizes), st.just((20.0, 10.0, 10.0)))
radii = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]), st.floats(0, 8))


def steps(radius_nm, voxel_size, planar):
    """Length in nm of every step within a box that is larger than the radius."""
    wide = [int(radius_nm * 10 / v) + 1 for v in voxel_size]
    axes = [np.arange(-w, w + 1) * v / 10 for w, v in zip(wide, voxel_size, strict=True)]
    lengths = np.sqrt(sum(g**2 for g in np.meshgrid(*axes, indexing="ij")))
    return lengths[wide[0] : wide[0] + 1] if planar else lengths


def random_mask(shape, seed, share):
    return np.random.default_rng(seed).random(shape) < share


@settings(max_examples=150)
@given(
    st.tuples(*[st.integers(1, 16)] * 3),
    st.integers(0, 999),
    st.sampled_from([0.001, 0.02, 0.3, 0.98, 1.0]),
    voxels,
    radii,
    st.booleans(),
)
@example((1, 12, 12), 3, 0.02, CUBE, 5.0, True)  # 3-4-5: exactly at the radius
def test_near_is_a_dilation(shape, seed, share, voxel_size, radius_nm, planar):
    mask = random_mask(shape, seed, share)
    before = mask.copy()
    found = near(mask, Reach.of_radius(radius_nm, voxel_size, planar=planar))
    footprint = steps(radius_nm, voxel_size, planar) <= radius_nm * (1 + 1e-6)
    assert np.array_equal(found, ndimage.binary_dilation(mask, footprint))
    assert np.array_equal(mask, before)


@settings(max_examples=60)
@given(
    st.tuples(*[st.integers(1, 24)] * 3), st.integers(0, 999), st.sampled_from([0.001, 0.02, 0.3]), st.integers(1, 12)
)
def test_large_radii_take_another_way_to_the_same(shape, seed, share, radius):
    mask, reach = random_mask(shape, seed, share), Reach.of_radius(radius, (25.0, 10.0, 10.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distance, "FAR_VOX", 1)
        far = near(mask, reach)
    assert np.array_equal(far, near(mask, reach))


@pytest.mark.parametrize("planar", [True, False])
@pytest.mark.parametrize("radius", [63, 64, 127, 128, 200, 300])
def test_radii_beyond_the_smallest_integers(radius, planar):
    mask = np.zeros((3, 5, 700), bool)
    mask[1, 2, 350] = True
    z, y, x = np.indices(mask.shape) - np.array([1, 2, 350]).reshape(3, 1, 1, 1)
    inside = (z**2 + y**2 + x**2 <= radius**2) & ((z == 0) | (not planar))
    for axes in ((0, 1, 2), (0, 2, 1), (2, 1, 0)):
        if not planar or axes[0] == 0:
            turned = np.ascontiguousarray(mask.transpose(axes))
            found = near(turned, Reach.of_radius(radius, CUBE, planar=planar))
            assert np.array_equal(found, inside.transpose(axes))


@settings(max_examples=60)
@given(st.tuples(*[st.integers(1, 16)] * 3), st.integers(0, 99), st.floats(1.0, 7.0), st.floats(0.9, 1.1))
def test_a_disc_is_the_footprint_of_ais(shape, seed, radius_nm, pixel_nm):
    """The kernel and the dilation as documented: floor of the radius, strictly within it, slice by slice."""
    if radius_nm < pixel_nm * 1.001:
        radius_nm = pixel_nm * 1.5
    pixel_size = pixel_nm * 10
    mask = random_mask(shape, seed, 0.05)
    pixels = int(radius_nm // (pixel_size / 10))
    y, x = np.mgrid[-pixels : pixels + 1, -pixels : pixels + 1]
    expected = [ndimage.binary_dilation(plane, x**2 + y**2 < pixels**2) for plane in mask]
    assert np.array_equal(near(mask, Reach.of_ais(radius_nm, pixel_size)), expected)


def test_ais_rounds_as_it_does():
    assert Reach.of_ais(10.0, 1.0).limit == 99**2 - 1  # 10 // 0.1 is 99 in binary
    assert Reach.of_ais(1.0, 10.0).halo_vox == (0, 0, 0)  # one pixel: the voxel itself
    assert Reach.of_ais(2.5, 10.0).halo_vox == (0, 1, 1)
    with pytest.raises(InputError, match=r"0\.5 nm is less than one pixel of 1 nm.*Use 1 nm or more"):
        Reach.of_ais(0.5, 10.0)


@pytest.mark.parametrize("side", [13.68, 3.3, 0.1, 7.84])
def test_a_radius_of_whole_voxels_reaches_them_in_spite_of_rounding(side):
    for n in range(1, 40):
        for size in (side, float(np.float32(side))):
            assert Reach.of_radius(n * side / 10, (size,) * 3).halo_vox == (n, n, n)


@pytest.mark.parametrize("whole", [2, 3, 7])
@pytest.mark.parametrize("below", [1e-9, 1e-8, 2e-8])
def test_a_radius_a_trifle_below_whole_voxels(whole, below):
    """Squares that float32 cannot tell from those of whole voxels, where y and x differ."""
    mask = np.zeros((17, 17, 17), bool)
    mask[8, 8, 8] = True
    radius_nm, voxel_size = whole * (1 - below) / (1 + 1e-6), (10.0, 11.0, 10.0)
    reach = Reach.of_radius(radius_nm, voxel_size)
    assert reach.halo_vox[0] == whole - 1
    footprint = steps(radius_nm, voxel_size, False) <= radius_nm * (1 + 1e-6)
    assert np.array_equal(near(mask, reach)[:, 8, 8], ndimage.binary_dilation(mask, footprint)[:, 8, 8])


def test_almost_equal_sides_are_equal():
    assert Reach.of_radius(5, (10.0, 10.000001, 10.0)).weights == (1.0, 1.0, 1.0)
    assert Reach.of_radius(5, (10.0, 10.001, 10.0)).weights[1] > 1.0001


@given(radii, voxels, st.booleans())
def test_halo_is_the_longest_step(radius_nm, voxel_size, planar):
    inside = steps(radius_nm, voxel_size, planar) <= radius_nm * (1 + 1e-6)
    longest = [int(np.abs(i - n // 2).max()) for i, n in zip(np.nonzero(inside), inside.shape, strict=True)]
    assert list(Reach.of_radius(radius_nm, voxel_size, planar=planar).halo_vox) == longest


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf")])
def test_impossible_radii_are_refused(radius):
    with pytest.raises(InputError, match="0 nm or more"):
        Reach.of_radius(radius, CUBE)


def test_nothing_comes_from_nothing():
    assert not near(np.zeros((2, 3, 4), bool), Reach.of_radius(5, CUBE)).any()
    assert near(np.zeros((0, 3, 4), bool), Reach.of_radius(5, CUBE)).shape == (0, 3, 4)
