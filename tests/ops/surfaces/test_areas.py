"""Areas within distances and below levels: exact on planes, beside formulas on spheres and tori."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surface_shapes import area, on_plane, plane, sphere, torus

from volengine.ops.surfaces.areas import area_below, area_within
from volengine.ops.surfaces.geodesic import Geodesics
from volengine.ops.surfaces.insert import insert_points
from volengine.ops.surfaces.project import project

RADII = np.arange(1, 13) * 2.5


def around(mesh: tuple[np.ndarray, np.ndarray], points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(n, k) areas within radii of points."""
    at = project(points, *mesh)
    fine = insert_points(*mesh, at.face, at.weights)
    field = Geodesics(fine.vertices, fine.faces)
    found = []
    for vertex in fine.vertex:
        seen = field.from_vertices([vertex], radii[-1])
        full = np.full(len(fine.vertices), np.inf)
        full[seen.vertices] = seen.distance
        found.append(area_within(fine.vertices, fine.faces[seen.faces], full, radii))
    return np.array(found)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([3.0, 11.0]))
def test_on_a_plane_discs_are_exact_for_every_mesh(seed: int, step: float) -> None:
    """Also for faces that are larger than the rings, where a linear distance gives 20 % too little."""
    at = np.random.default_rng(seed).uniform(-19, 19, (4, 2))
    found = around(plane(100, step, seed), on_plane(at, seed), RADII)
    np.testing.assert_allclose(found, np.pi * np.tile(RADII, (4, 1)) ** 2, rtol=2e-3)
    assert np.median(np.abs(found / (np.pi * RADII**2) - 1)) < 1e-9


def test_at_a_border_a_disc_ends() -> None:
    """Half a disc at the middle of a side, a quarter at a corner."""
    found = around(plane(100, 6), on_plane(np.array([[-50.0, 0], [-50, -50]])), RADII)
    np.testing.assert_allclose(found[0], np.pi * RADII**2 / 2, rtol=1e-3)
    np.testing.assert_allclose(found[1], np.pi * RADII**2 / 4, rtol=1e-3)


@pytest.mark.parametrize("count", [1000, 8000])
def test_on_a_sphere_they_are_caps(count: int) -> None:
    """2 π R² (1 − cos(r / R))."""
    radii = np.array([5.0, 20, 40, 80, 120])
    found = around(sphere(50.0, count), 50 * np.eye(3), radii)
    np.testing.assert_allclose(found, np.tile(2 * np.pi * 2500 * (1 - np.cos(radii / 50)), (3, 1)), rtol=20 / count)


def test_on_a_torus_small_discs_follow_the_curvature_and_large_ones_end_with_all() -> None:
    """Bertrand, Diguet, Puiseux: π r² (1 − K r² / 12 ...), with K = cos v / (r (R + r cos v))."""
    wide, thin = 60.0, 20.0
    mesh = torus(wide, thin, 240, 80)
    points = np.array([[0.0, 0, wide + thin], [0.0, 0, wide - thin]])
    found = around(mesh, points, np.array([6.0, 10.0, 400.0]))
    for row, curvature in zip(found, (1 / (thin * (wide + thin)), -1 / (thin * (wide - thin))), strict=True):
        r = np.array([6.0, 10.0])
        np.testing.assert_allclose(row[:2], np.pi * r**2 * (1 - curvature * r**2 / 12), rtol=4e-3)
        assert row[2] == pytest.approx(area(mesh), rel=1e-9)
    assert area(mesh) == pytest.approx(4 * np.pi**2 * wide * thin, rel=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_areas_grow_with_the_level_and_end_with_the_whole(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = plane(30, 6, seed)
    values = rng.choice([0.0, 1.0, 2.5, 4.0], len(mesh[0])) + rng.choice([0.0, 0.1]) * rng.random(len(mesh[0]))
    levels = np.concatenate([np.sort(rng.uniform(-1, 6, count)), [9.0]])
    for found in (area_below(*mesh, values, levels), area_within(*mesh, values, np.abs(levels))):
        assert (found >= 0).all()
    below = area_below(*mesh, values, levels)
    assert (np.diff(below) >= -1e-9).all()
    assert below[-1] == pytest.approx(900)
    assert below[0] == pytest.approx(area_below(*mesh, values, levels[:1])[0])


@pytest.mark.parametrize("thin", [1e-12, 1e-14, 3e-16])
def test_slivers_add_their_own_area_at_most(thin: float) -> None:
    """Seen from 20 away, the ends of an edge this short round to one place."""
    vertices = np.array([[0.0, 20, 0], [0, 20 + thin, 0], [0, 20, 5], [0, 25, 0]])
    far = np.linalg.norm(vertices, axis=1)
    for turn in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
        found = area_within(vertices, np.array([turn, [1, 3, 2]]), far, [15.0, 20.0, 21.0, 22.0, 40.0])
        whole = area_within(vertices, np.array([[1, 3, 2]]), far, [15.0, 20.0, 21.0, 22.0, 40.0])
        assert (np.abs(found - whole) <= 5 * thin).all()


def test_a_linear_value_is_exact_and_unknown_faces_count_nowhere() -> None:
    vertices, faces = plane(20, 3, turned=False)
    levels = np.array([-10.0, -4.2, 0.0, 7.7, 10.0])
    np.testing.assert_allclose(area_below(vertices, faces, vertices[:, 2], levels), 20 * (levels + 10), atol=1e-9)
    infinite = np.where(np.arange(len(vertices)) == faces[0, 0], np.inf, 0.0)
    around_it = (faces == faces[0, 0]).any(axis=1)
    assert area_below(vertices, faces, infinite, [1.0])[0] == pytest.approx(area((vertices, faces[~around_it])))
    assert area_within(vertices, faces, infinite, [1.0])[0] == pytest.approx(area((vertices, faces[~around_it])))
