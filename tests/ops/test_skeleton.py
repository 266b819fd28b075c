"""Skeletons: of shapes that are known, and the same in blocks as of the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from volengine.core.boxes import Box
from volengine.ops.skeleton import (
    DEEPEST,
    SUPPORT,
    Ridge,
    column_areas,
    depth,
    halo_needed,
    single_layer,
    slice_skeleton,
    surface_skeleton,
)


@pytest.mark.parametrize("thickness", range(1, 9))
def test_the_middle_of_a_slab(thickness: int) -> None:
    mask = np.zeros((34, 20, 20), bool)
    mask[12 : 12 + thickness] = True
    found = np.argwhere(surface_skeleton(mask))
    middle = 12 + (thickness - 1) / 2
    assert sorted({*found[:, 0]}) == sorted({int(np.floor(middle)), int(np.ceil(middle))})
    assert len(found) == (1 + (thickness + 1) % 2) * 18 * 18  # all but the volume's outermost voxels


@pytest.mark.parametrize("normal", [(1, 1, 0), (1, -1, 0), (1, 1, 1), (1, -1, 1), (-1, 2, 0)])
def test_a_tilted_slab_is_one_layer_whatever_the_signs_of_its_normal(normal: tuple[int, int, int]) -> None:
    z, y, x = np.indices((50, 50, 50)) - 25
    apart = (z * normal[0] + y * normal[1] + x * normal[2]) / np.linalg.norm(normal)
    found = surface_skeleton(np.abs(apart) <= 2.5)
    inner = (np.abs(z) < 10) & (np.abs(y) < 10) & (np.abs(x) < 10)
    assert np.abs(apart)[found].max() < 0.8
    assert found[inner].sum() / (np.abs(apart)[inner] <= 0.5).sum() == pytest.approx(1, abs=0.05)


def test_a_sphere_is_a_closed_thin_surface() -> None:
    z, y, x = np.indices((64, 64, 64)) - 31.5
    radius = np.sqrt(z * z + y * y + x * x)
    found = surface_skeleton(np.abs(radius - 24) <= 2.5)
    assert np.abs(radius[found] - 24).max() < 2
    assert found.sum() == pytest.approx(4 * np.pi * 24**2, rel=0.1)


def blobs(seed: int, shape: tuple[int, int, int], share: float, sigma: float) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return noise > np.quantile(noise, 1 - share)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    share=st.sampled_from([0.02, 0.2, 0.6, 1.0]),
    sigma=st.sampled_from([1.0, 2.5, 5.0]),
    data=st.data(),
)
def test_a_block_with_the_halo_it_asks_for_equals_the_whole(
    seed: int, share: float, sigma: float, data: st.DataObject
) -> None:
    shape = (40, 56, 72)
    mask = blobs(seed, shape, share, sigma)
    whole = surface_skeleton(mask)
    start = [data.draw(st.integers(0, n - 8)) for n in shape]
    core = Box(tuple(start), tuple(min(n, a + 8 + seed % 9) for a, n in zip(start, shape, strict=True)))
    halo = (SUPPORT,) * 3
    for _ in range(2):
        box = core.grow(halo).clip(shape)
        asked = halo_needed(mask[box.slices], box, core, shape)
        if asked is None:
            break
        assert max(asked) <= SUPPORT + DEEPEST
        halo = asked
    assert halo_needed(mask[box.slices], box, core, shape) is None
    np.testing.assert_array_equal(surface_skeleton(mask[box.slices], box, core, shape), whole[core.slices])


def test_too_small_a_halo_is_noticed() -> None:
    mask = np.zeros((8, 90, 90), bool)
    mask[:, 10:80, 30:60] = True
    core = Box((0, 40, 40), (8, 50, 50))
    box = core.grow((SUPPORT,) * 3).clip(mask.shape)
    assert halo_needed(mask[box.slices], box, core, mask.shape) is not None
    assert halo_needed(mask, Box.of_shape(mask.shape), core, mask.shape) is None


def test_nothing_and_everything_have_no_skeleton() -> None:
    for mask in (np.zeros((9, 9, 9), bool), np.ones((9, 9, 9), bool), np.ones((1, 9, 9), bool)):
        assert not surface_skeleton(mask).any()
    assert depth(np.ones((4, 4, 4), bool)).max() == DEEPEST


def test_slices_are_thinned_one_by_one() -> None:
    mask = np.zeros((3, 20, 30), bool)
    mask[0, 8:13, 2:28] = mask[2, 3:17, 14:17] = True
    found = slice_skeleton(mask)
    assert not found[1].any()
    np.testing.assert_array_equal(found[0][:, 5:25].sum(0), 1)  # one voxel thick but for the ends
    np.testing.assert_array_equal(found[2][5:15].sum(1), 1)
    assert set(np.argwhere(found[0][:, 5:25])[:, 0]) <= {9, 10, 11}
    assert not (found & ~mask).any()


DIRECTIONS = [n for n in itertools.product((-1, 0, 1), repeat=3) if any(n)]


def slab(normal: tuple[float, ...], thick: float, shift: float, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A slab through the middle of a cube, and the unit normal."""
    unit = np.array(normal) / np.linalg.norm(normal)
    z, y, x = np.indices((size,) * 3) - (size - 1) / 2
    return np.abs(z * unit[0] + y * unit[1] + x * unit[2] + shift) <= thick / 2, unit


def within(ridge: Ridge, radius: float, size: int = 40) -> np.ndarray:
    return np.linalg.norm(ridge.place - (size - 1) / 2, axis=1) <= radius


@pytest.mark.parametrize("thick", [3, 4, 6, 7.3])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_one_voxel_for_each_voxel_of_a_surface_in_26_directions(thick: float, shift: float) -> None:
    """A plane has area · (largest component of its normal) columns of voxels."""
    for normal in DIRECTIONS[:13] if shift else DIRECTIONS[13:]:
        mask, unit = slab(normal, thick, shift)
        found = single_layer(mask)
        inner = within(found, 11)
        area = np.pi * 11**2
        assert inner.sum() == pytest.approx(area * np.abs(unit).max(), rel=0.05), normal
        assert column_areas(found.direction[inner], (1, 1, 1)).sum() == pytest.approx(area, rel=0.05)
        assert np.abs((found.place[inner] - 19.5) @ unit + shift).max() <= 0.9
        axis = np.abs(unit).argmax()
        columns = np.delete(found.place[inner], axis, axis=1)
        assert len(np.unique(columns, axis=0)) == len(columns)  # never two in a column


@pytest.mark.parametrize(("radius", "thick"), [(12, 4), (20, 5), (24, 4), (24, 6)])
def test_the_area_of_a_sphere_from_its_single_layer(radius: int, thick: float) -> None:
    z, y, x = np.indices((64, 64, 64)) - 31.5
    found = single_layer(np.abs(np.sqrt(z * z + y * y + x * x) - radius) <= thick / 2)
    area = column_areas(found.direction, (1, 1, 1)).sum()
    assert area == pytest.approx(4 * np.pi * radius**2, rel=0.03)
    assert np.abs(np.linalg.norm(found.place - 31.5, axis=1) - radius).max() < 1  # no strays near the faces


def test_columns_of_other_sides() -> None:
    """A plane across z in voxels of 2 · 3 · 5: each column has the area 15; across (1, 1, 0) in places, 3 · 5 / cos."""
    up = np.array([[1.0, 0, 0], [1 / np.sqrt(2), -1 / np.sqrt(2), 0]], np.float32)
    first, second = column_areas(up, (2.0, 3.0, 5.0))
    normal = np.array([1 / 2, 1 / 3])
    assert first == pytest.approx(15)
    assert second == pytest.approx(15 / (normal[0] / np.linalg.norm(normal)))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.02, 0.2, 0.6]), sigma=st.sampled_from([1.0, 2.5, 5.0]))
def test_a_single_layer_in_blocks_equals_the_whole_and_is_part_of_the_ridge(
    seed: int, share: float, sigma: float
) -> None:
    shape = (36, 44, 52)
    mask = blobs(seed, shape, share, sigma)
    whole = np.zeros(shape, bool)
    whole[tuple(single_layer(mask).place.T)] = True
    assert not (whole & ~surface_skeleton(mask)).any()
    rng = np.random.default_rng(seed)
    start = [int(rng.integers(0, n - 8)) for n in shape]
    core = Box(tuple(start), tuple(min(n, a + 10) for a, n in zip(start, shape, strict=True)))
    box = core.grow((SUPPORT,) * 3).clip(shape)
    asked = halo_needed(mask[box.slices], box, core, shape)
    if asked is not None:
        box = core.grow(asked).clip(shape)
    part = single_layer(mask[box.slices], box, core, shape)
    found = np.zeros(shape, bool)
    found[tuple(part.place.T)] = True
    np.testing.assert_array_equal(found[core.slices], whole[core.slices])
