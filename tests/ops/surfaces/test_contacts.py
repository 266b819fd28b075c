"""Contacts between surfaces whose area is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from surface_shapes import plane, rotation, sphere

from volengine.ops.surfaces.contacts import contact


@pytest.mark.parametrize(("step", "seed"), [(2.0, 0), (20.0, 1), (5.0, 2)])
def test_squares_above_each_other(step: float, seed: int) -> None:
    """Shifted by 12 along a side, 3 apart, within 5: the overlap 40 x 28, and a strip of √(5² − 3²) = 4 beside it."""
    turn = rotation(seed)
    low, faces = plane(40, step, turned=False)
    one = (low @ turn.T, faces)
    other = ((low + np.array([3.0, 12, 0])) @ turn.T, faces)
    found = contact(one, other, 5.0)
    assert found.area == pytest.approx(40 * (28 + 4), rel=0.02)
    assert found.nearest == pytest.approx(3.0)
    # ∫ √(3² + x²) dx from 0 to 4 is 10 + 4.5 asinh(4/3)
    assert found.mean == pytest.approx((28 * 3 + 10 + 4.5 * np.arcsinh(4 / 3)) / 32, rel=0.005)
    assert contact(other, one, 5.0).area == pytest.approx(found.area, rel=0.02)


def test_spheres_beside_each_other() -> None:
    """Radii 50, gap 4, within 10: the cap whose points are nearer than 60 to the other's middle."""
    one, faces = sphere(50.0, 3000)
    other = one + np.array([0.0, 0, 104])
    found = contact((one, faces), (other, faces), 10.0)
    # |p - c|² = 50² + 104² - 2·104·x = 60²: x = 46.6..., height of the cap 50 - x
    height = 50 - (50**2 + 104**2 - 60**2) / (2 * 104)
    assert found.area == pytest.approx(2 * np.pi * 50 * height, rel=0.02)
    assert found.nearest == pytest.approx(4.0, abs=0.1)
    x = np.linspace(50 - height, 50, 10_001)  # equal steps of x are equal areas
    assert found.mean == pytest.approx((np.sqrt(50**2 + 104**2 - 208 * x) - 50).mean(), rel=0.01)


def test_planes_that_are_the_distance_apart_touch() -> None:
    low, faces = plane(20, 5, turned=False)
    found = contact((low, faces), (low + np.array([4.0, 0, 0]), faces), 4.0)
    assert (found.area, found.nearest, found.mean) == pytest.approx((400, 4, 4))


def test_area_and_mean_of_a_plane_that_leans_are_exact() -> None:
    """The distance rises linearly along y: below the limit lies a strip of known width, and its mean is the middle."""
    low, faces = plane(40, 8, turned=False)
    y = low[:, 1] - low[:, 1].min()
    wide, wide_faces = plane(400, 400, turned=False)
    leaning = low + np.stack([3 + 0.1 * y, 0 * y, 0 * y], axis=1)
    found = contact((leaning, faces), (wide + low.mean(axis=0) - wide.mean(axis=0), wide_faces), 5.0)
    assert found.area == pytest.approx(40 * 20 * np.hypot(1, 0.1), rel=1e-7)
    assert found.mean == pytest.approx(4, rel=1e-7)
    apart = contact(
        (low + np.array([3.0, 0, 0]), faces), (wide + low.mean(axis=0) - wide.mean(axis=0), wide_faces), 15.0
    )
    assert apart.mean == pytest.approx(3, abs=1e-9)


def test_a_small_surface_near_the_middle_of_a_large_face_is_found() -> None:
    """No corner of the large face is near: faces are divided."""
    large = np.array([[0.0, -100, -100], [0, 100, -100], [0, 0, 150]])
    small, faces = plane(4, 2, turned=False)
    found = contact((large, np.array([[0, 1, 2]])), (small + np.array([3.0, 0, 0]), faces), 5.0)
    assert found.area == pytest.approx(4 * 4 + 4 * 4 * 4 + np.pi * 16, rel=0.05)


def test_surfaces_that_are_far_have_no_contact() -> None:
    low, faces = plane(20, 5, turned=False)
    found = contact((low, faces), (low + np.array([30.0, 0, 0]), faces), 5.0)
    assert found.area == 0
    assert np.isnan([found.nearest, found.mean]).all()
    assert contact((low, faces), (low + np.array([5.1, 0, 0]), faces), 5.0).area == 0
