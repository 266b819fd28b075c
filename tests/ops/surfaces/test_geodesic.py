"""Geodesic distances beside their formulas: planes, boxes, spheres, tori; within a reach; by the heat method."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surface_shapes import cube, on_plane, on_torus, plane, sphere, torus

from volengine.core.errors import DependencyError, InputError
from volengine.ops.surfaces.geodesic import Geodesics
from volengine.ops.surfaces.insert import insert_points
from volengine.ops.surfaces.project import project
from volengine.ops.surfaces.sheets import apart, joined


def between(mesh: tuple[np.ndarray, np.ndarray], points: np.ndarray, method: str = "exact") -> np.ndarray:
    """(n, n) distances between points on a mesh."""
    at = project(points, *mesh)
    fine = insert_points(*mesh, at.face, at.weights)
    field = Geodesics(fine.vertices, fine.faces, method)  # type: ignore[arg-type]
    return np.array([field.from_vertices([v]).at(fine.vertex) for v in fine.vertex])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_on_a_plane_they_are_straight_for_points_inside_of_faces(seed: int) -> None:
    at = np.random.default_rng(seed).uniform(-28, 28, (12, 2))
    found = between(plane(60, 7, seed), on_plane(at, seed))
    true = np.linalg.norm(at[:, None] - at[None], axis=2)
    np.testing.assert_allclose(found, true, atol=60 * 1e-3)  # a point near an edge is put onto it
    assert np.median(np.abs(found - true)) < 1e-9


def test_over_the_edges_of_a_cube_they_are_those_of_its_net() -> None:
    """From a corner to the opposite one √5 sides; from the middle of a side's face to that of the opposite 2 sides."""
    points = np.array([[0.0, 0, 0], [10, 10, 10], [5, 5, 0], [5, 5, 10], [5, 0, 5]])
    found = between(cube(10.0), points)
    assert found[0, 1] == pytest.approx(10 * 5**0.5)
    assert found[2, 3] == pytest.approx(20)
    assert found[2, 4] == pytest.approx(10)
    np.testing.assert_allclose(found, found.T, atol=1e-9)


def test_around_a_hole_they_are_longer_than_straight() -> None:
    """Around a round hole of radius R from d before to d behind it: 2 √(d² − R²) + R (π − 2 acos(R / d))."""
    mesh = plane(100, 2, holes=(20.0,))
    found = between(mesh, on_plane(np.array([[-40.0, 0], [40, 0]])))[0, 1]
    assert found == pytest.approx(2 * (40**2 - 20**2) ** 0.5 + 20 * (np.pi - 2 * np.arccos(0.5)), rel=0.03)


def test_on_a_sphere_they_are_great_circles() -> None:
    rng = np.random.default_rng(0)
    u = rng.normal(size=(20, 3))
    u /= np.linalg.norm(u, axis=1)[:, None]
    found = between(sphere(50.0, 3000), 50 * u)
    true = 50 * np.arccos(np.clip(u @ u.T, -1, 1))
    off = ~np.eye(20, dtype=bool)
    assert np.abs(found[off] / true[off] - 1).max() < 2e-3


def test_on_a_torus_circles_across_and_the_inner_equator_are_shortest() -> None:
    wide, thin = 60.0, 20.0
    mesh = torus(wide, thin, 160, 60)
    across = between(mesh, on_torus(np.zeros(4), np.array([0.0, 0.5, 1.0, 3.0]), wide, thin))
    np.testing.assert_allclose(across[0, 1:], thin * np.array([0.5, 1.0, 3.0]), rtol=3e-3)
    inner = between(mesh, on_torus(np.array([0.0, 0.4, 1.0, 2.0]), np.full(4, np.pi), wide, thin))
    np.testing.assert_allclose(inner[0, 1:], (wide - thin) * np.array([0.4, 1.0, 2.0]), rtol=3e-3)


@pytest.mark.parametrize("reach", [0.0, 6.0, 25.0, 90.0])
def test_within_a_reach_they_are_those_of_the_whole(reach: float) -> None:
    for vertices, faces in (sphere(50.0, 2000), plane(120, 4, holes=(15.0,)), torus(60, 20, 80, 30)):
        used = np.unique(faces)
        field = Geodesics(vertices, faces)
        whole, some = field.from_vertices([used[7]]), field.from_vertices([used[7]], reach)
        near = whole.distance <= reach
        np.testing.assert_allclose(some.at(whole.vertices[near]), whole.distance[near], atol=1e-9)
        touched = np.flatnonzero((whole.at(np.arange(len(vertices)))[faces] <= reach).any(axis=1))
        assert np.isin(touched, some.faces).all()
        assert np.isfinite(some.at(faces[some.faces].ravel())).all()


def test_several_sources_give_the_nearest() -> None:
    field = Geodesics(*sphere(50.0, 1500))
    each = np.minimum(field.from_vertices([3]).distance, field.from_vertices([700]).distance)
    np.testing.assert_allclose(field.from_vertices([700, 3]).distance, each, atol=1e-9)


def test_ways_along_edges_are_never_shorter() -> None:
    field = Geodesics(*sphere(50.0, 1500))
    ratio = field.bounds(5)[6:] / field.from_vertices([5]).at(np.arange(6, 1500))
    assert ratio.min() > 1 - 1e-12
    assert ratio.max() < 1.3
    assert np.isinf(field.bounds(5, 10.0)).any()


def test_the_heat_method_is_within_its_error_and_exact_near_the_source() -> None:
    vertices, faces = sphere(50.0, 5000)
    exact, heat = Geodesics(vertices, faces), Geodesics(vertices, faces, "heat")
    one, other = exact.from_vertices([11]), heat.from_vertices([11])
    true = 50 * np.arccos(np.clip(vertices @ vertices[11] / 2500, -1, 1))
    near = (one.distance <= 8 * exact.mean_edge) & (true > 0)
    np.testing.assert_allclose(other.distance[near], one.distance[near], atol=1e-9)
    error = np.abs(other.distance[true > 0] / true[true > 0] - 1)
    assert error.max() < 0.06
    assert error.mean() < 0.015
    assert (other.distance == Geodesics(vertices, faces, "heat").from_vertices([11]).distance).all()


@pytest.mark.parametrize("method", ["exact", "heat"])
def test_parts_that_do_not_hang_together_are_infinitely_far(method: str) -> None:
    one, faces = sphere(20.0, 300)
    both = Geodesics(np.concatenate([one, one + 100]), np.concatenate([faces, faces + 300]), method)  # type: ignore[arg-type]
    seen = both.from_vertices([5]).at(np.arange(600))
    assert np.isfinite(seen[:300]).all()
    assert np.isinf(seen[300:]).all()
    assert len(np.unique(both.components)) == 2
    assert np.isinf(both.bounds(5)[300:]).all()


def test_three_faces_at_an_edge_are_refused() -> None:
    fan = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, -1, 0.5]])
    with pytest.raises(InputError, match=r"1 edges have more than two faces, the first, of vertices 0 and 1, has 3"):
        Geodesics(fan, [[0, 1, 2], [0, 1, 3], [0, 1, 4]])


def test_without_the_library_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygeodesic", None)
    with pytest.raises(DependencyError, match=r"volengine\[surfaces\]"):
        Geodesics(*plane(20, 5))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "potpourri3d", None)
    with pytest.raises(DependencyError, match=r"potpourri3d.*volengine\[surfaces\]"):
        Geodesics(*plane(200, 5), "heat").from_vertices([0])


def test_sheets_that_touch_in_one_point_are_taken_apart() -> None:
    """Two cones of triangles with one vertex in common, and a sheet beside them that is left as it is."""
    vertices, faces = sphere(20.0, 300)
    both = np.concatenate([faces, faces + 300])
    both[both == 300] = 5  # the second sphere's first vertex is one of the first sphere
    found, origin = apart(both, 600)
    assert origin[:600].tolist() == list(range(600))
    assert origin[600:].tolist() == [5]
    assert (origin[found] == both).all()
    whole = Geodesics(np.concatenate([vertices, vertices + 100])[origin], found)
    assert len(np.unique(whole.components[np.unique(found)])) == 2
    assert apart(faces, 300)[0].tolist() == faces.tolist()


def test_vertices_at_one_place_are_joined_unless_sheets_would_be() -> None:
    vertices, faces = sphere(20.0, 300)
    loose = vertices[faces].reshape(-1, 3)  # three of its own for each face, as in STL
    found, origin = joined(loose, np.arange(len(loose)).reshape(-1, 3))
    assert len(origin) == 300
    assert (loose[origin][found] == vertices[faces]).all()
    flat = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]])
    twice = np.concatenate([flat, flat])
    sheets = np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6], [5, 7, 6]])
    assert joined(twice, sheets)[0].tolist() == sheets.tolist()


def test_the_library_does_not_fail_on_what_it_has_not_reached() -> None:
    """It answers with a source of 32 bits that it never set: numpy must hold any. Distances there are infinite."""
    grid = np.stack(np.meshgrid([0.0], np.arange(40.0), np.arange(40.0), indexing="ij"), -1).reshape(-1, 3)
    a = np.array([40 * y + x for y in range(39) for x in range(39)])
    faces = np.concatenate([np.stack([a, a + 41, a + 1], 1), np.stack([a, a + 40, a + 41], 1)])
    walk = Geodesics(grid, faces)
    algorithm = walk._exact(grid, faces.astype(np.int32))
    distance, source = algorithm.geodesicDistances(np.array([820], np.int32), None, 5.0)
    assert source.dtype == np.int64
    true = np.linalg.norm(grid - grid[820], axis=1)
    near = true <= 5
    np.testing.assert_allclose(distance[near], true[near], atol=1e-9)
    assert np.isinf(distance[true > 12]).all()
