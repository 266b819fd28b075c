"""Interpolation against formulas and an own, plain version; no box changes a byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from volengine.core.errors import InputError
from volengine.ops.surfaces.profile_sampling import REACH, along_normals, interpolate, steps

SHAPE = (9, 11, 13)
GRID = np.indices(SHAPE, dtype=float)


def places(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((number, 3)) * (np.array(SHAPE) - 1)


@pytest.mark.parametrize("order", ["linear", "cubic"])
def test_voxels_are_met_and_planes_are_exact(order: str) -> None:
    """By hand: the voxel (z, y, x) = (2, 3, 4) of this ramp holds 100 * 2 + 10 * 3 + 4 = 234, half a voxel on 234.5."""
    ramp = 100 * GRID[0] + 10 * GRID[1] + GRID[2]
    at = np.array([[2, 3, 4], [2, 3, 4.5], [2.25, 3, 4], [8, 10, 12], [0, 0, 0]])
    found = interpolate(ramp, np.zeros(3, int), at, SHAPE, order)
    assert found.tolist() == pytest.approx([234, 234.5, 259, 912, 0])
    noise = np.random.default_rng(0).random(SHAPE)
    whole = GRID.reshape(3, -1).T
    assert interpolate(noise, np.zeros(3, int), whole, SHAPE, order) == pytest.approx(noise.ravel())


def test_cubic_is_exact_for_parabolas_inside_and_linear_is_not() -> None:
    bowl = (GRID[0] - 4) ** 2 + GRID[1] * GRID[2] - 0.5 * GRID[2] ** 2
    at = 1 + np.random.default_rng(1).random((300, 3)) * (np.array(SHAPE) - 3)
    truth = (at[:, 0] - 4) ** 2 + at[:, 1] * at[:, 2] - 0.5 * at[:, 2] ** 2
    assert interpolate(bowl, np.zeros(3, int), at, SHAPE, "cubic") == pytest.approx(truth)
    assert np.abs(interpolate(bowl, np.zeros(3, int), at, SHAPE, "linear") - truth).max() > 0.05


def test_linear_is_that_of_scipy() -> None:
    noise = np.random.default_rng(0).random(SHAPE)
    at = places(500)
    assert interpolate(noise, np.zeros(3, int), at, SHAPE, "linear") == pytest.approx(
        map_coordinates(noise, at.T, order=1)
    )


def test_outside_is_nan_and_faces_are_not() -> None:
    ones = np.ones(SHAPE)
    at = np.array([[-0.01, 0, 0], [0, 0, 12.01], [0, 10, 12], [8, 0, 0]])
    for order in ("linear", "cubic"):
        assert interpolate(ones, np.zeros(3, int), at, SHAPE, order).tolist() == pytest.approx(
            [np.nan, np.nan, 1, 1], nan_ok=True
        )


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["linear", "cubic"]), st.integers(1, 40))
def test_a_box_gives_the_bytes_of_the_whole(seed: int, order: str, number: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=SHAPE).astype(rng.choice(["f4", "f8", "i2"]))
    corner = rng.integers(0, np.array(SHAPE) - 1)
    at = np.minimum(corner + rng.random((number, 3)) * rng.integers(1, 4), np.array(SHAPE) - 1)
    start = np.maximum(np.floor(at.min(0)).astype(int) - REACH[order], 0)
    stop = np.minimum(np.floor(at.max(0)).astype(int) + REACH[order] + 2, SHAPE)
    box = noise[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    whole = interpolate(noise, np.zeros(3, int), at, SHAPE, order)
    assert interpolate(box, start, at, SHAPE, order).tobytes() == whole.tobytes()


def test_a_thin_volume_has_values() -> None:
    thin = np.arange(5.0).reshape(1, 1, 5)
    for order in ("linear", "cubic"):
        assert interpolate(thin, np.zeros(3, int), np.array([[0, 0, 2.5]]), (1, 1, 5), order).tolist() == [2.5]


def test_steps_include_both_ends_as_in_membrain_pick() -> None:
    assert len(steps(-2.5, 2.25, 0.25)) == 20
    assert steps(-2.5, 2.25, 0.25)[[0, 10, -1]].tolist() == [-2.5, 0, 2.25]
    for wrong in ((0, 1, 0.3), (0, 1, 0), (1, 0, 0.1), (0, 1e9, 1), (0, np.nan, 1)):
        with pytest.raises(InputError):
            steps(*wrong)


def test_distances_go_along_the_normal() -> None:
    found = along_normals(np.array([[1.0, 2, 3]]), np.array([[0.0, 0, 1]]), [-5, 0, 2])
    assert found.tolist() == [[[1, 2, -2], [1, 2, 3], [1, 2, 5]]]
