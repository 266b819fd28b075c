"""Smoothing: the steps of a mask go, sizes stay."""

from __future__ import annotations

import numpy as np
import pytest
from marched_shapes import OFF, area, ball, grid, raw

from volengine.ops.surfaces.smooth import smoothed
from volengine.ops.surfaces.topology import volume_of


@pytest.mark.parametrize("radius", [3, 6, 12, 24])
def test_balls_keep_their_volume_and_get_their_area(radius: int) -> None:
    places, faces = ball(radius)
    at = smoothed(places, faces, 8.0)
    assert np.isclose(area(at, faces), 4 * np.pi * radius**2, rtol=0.015)
    assert np.isclose(volume_of(at, faces), volume_of(places, faces), rtol=2e-3)
    assert np.isclose(volume_of(at, faces), 4 / 3 * np.pi * radius**3, rtol=0.05 if radius == 3 else 0.01)
    assert np.abs(np.linalg.norm(at, axis=1) - radius).max() < 0.5


@pytest.mark.parametrize("voxel", [(2.0, 1.0, 1.0), (1.0, 1.0, 1.5)])
def test_voxels_that_are_no_cubes(voxel: tuple[float, float, float]) -> None:
    places, faces = ball(20, voxel)
    at = smoothed(places, faces, 8.0 * float(np.prod(voxel)) ** (1 / 3))
    assert np.isclose(area(at, faces), 4 * np.pi * 400, rtol=0.02)
    assert np.isclose(volume_of(at, faces), 4 / 3 * np.pi * 8000, rtol=0.01)


def test_a_torus() -> None:
    z, y, x = grid(64)
    places, faces = raw((np.hypot(y, x) - 20) ** 2 + z**2 < 64)
    at = smoothed(places, faces, 8.0)
    assert np.isclose(area(at, faces), 4 * np.pi**2 * 20 * 8, rtol=0.01)
    assert np.isclose(volume_of(at, faces), 2 * np.pi**2 * 20 * 64, rtol=0.01)


@pytest.mark.parametrize("normal", [(1, 0, 0), (1, 0.3, 0.2), (1, 1, 0), (1, 1, 1), (1, -1, 0.5)])
def test_the_faces_of_a_slab_in_any_direction_are_flat(normal: tuple[float, float, float]) -> None:
    unit = np.array(normal) / np.linalg.norm(normal)
    at = grid(48)
    places, faces = raw(np.abs(np.tensordot(unit, at, 1)) < 2.5, closed=False)
    flat = smoothed(places, faces, 8.0)
    middle = 48 / 2 - OFF
    a, b, c = (flat[faces[:, n]] for n in range(3))
    normals = np.cross(b - a, c - a)
    inside = (np.abs(flat[faces].mean(1) - middle) < 14).all(axis=1)
    projected = np.abs(normals[inside] @ unit).sum()
    assert np.isclose(np.linalg.norm(normals[inside], axis=1).sum(), projected, rtol=0.01)
    off = np.abs((flat[faces[inside]].reshape(-1, 3) - middle) @ unit)
    assert np.isclose(off.mean(), 2.5, atol=0.3)


def test_borders_stay_on_the_faces_of_the_volume() -> None:
    _, y, x = grid(32)
    places, faces = raw(np.hypot(y, x) < 9, closed=False)
    at = smoothed(places, faces, 8.0)
    for z in (places[:, 0].min(), places[:, 0].max()):
        ring = places[:, 0] == z
        assert ring.any()
        assert np.allclose(at[ring, 0], z, atol=1e-9)
        assert np.abs(np.hypot(*(at[ring, 1:] - (32 / 2 - OFF)).T) - 9).max() < 0.4
    assert np.isclose(area(at, faces), 2 * np.pi * 9 * 31, rtol=0.01)


def test_a_length_of_zero_changes_nothing_and_tiny_objects_do_not_vanish() -> None:
    places, faces = ball(5)
    assert smoothed(places, faces, 0.0) is places
    for radius in (0.6, 1, 2):
        places, faces = ball(radius)
        at = smoothed(places, faces, 12.0)
        assert np.isfinite(at).all()
        assert np.isclose(volume_of(at, faces), volume_of(places, faces), rtol=0.2)
