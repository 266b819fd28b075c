"""Nearest points of surfaces: beside a plain search, and with sides that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surface_shapes import cube, plane, sphere

from volengine.core.errors import InputError
from volengine.ops.surfaces.normals import face_normals, vertex_normals
from volengine.ops.surfaces.project import project
from volengine.ops.surfaces.triangles import on_triangles


def plain(point: np.ndarray, corners: np.ndarray) -> float:
    """Distance of a point to a triangle: of its foot in the plane if inside, else of the three sides."""
    a, b, c = corners
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal)
    best = np.inf
    if length > 0:
        height = np.dot(point - a, normal) / length
        foot = point - height * normal / length
        signs = [np.dot(np.cross(q - p, foot - p), normal) for p, q in ((a, b), (b, c), (c, a))]
        if min(signs) >= 0:
            best = abs(height)
    for p, q in ((a, b), (b, c), (c, a)):
        along = q - p
        t = np.clip(np.dot(point - p, along) / max(np.dot(along, along), 1e-300), 0, 1)
        best = min(best, np.linalg.norm(point - p - t * along))
    return float(best)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 30.0]))
def test_distances_are_those_of_a_plain_search(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(12, 3)) * (scale, 1, 1)
    faces = np.array([rng.permutation(12)[:3] for _ in range(9)])
    points = rng.normal(size=(5, 3)) * 2
    found = project(points, vertices, faces)
    for k, point in enumerate(points):
        each = [plain(point, vertices[face]) for face in faces]
        assert found.distance[k] == pytest.approx(min(each), rel=1e-9, abs=1e-12)
        assert found.distance[k] == pytest.approx(np.linalg.norm(point - found.at[k]), rel=1e-9, abs=1e-12)
    assert (found.weights >= 0).all()
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)
    np.testing.assert_allclose(np.einsum("ni,nij->nj", found.weights, vertices[faces[found.face]]), found.at)


def test_the_nearest_point_of_a_face_between_far_vertices_is_found() -> None:
    """The nearest vertex belongs to another face than the nearest point."""
    vertices = np.array([[0.0, -90, -90], [0, 90, -90], [0, 0, 90], [7, 0, 0], [9, 1, 0], [9, 0, 1]])
    found = project([[3.0, 0, 0]], vertices, np.array([[3, 4, 5], [0, 1, 2]]))
    assert found.face.tolist() == [1]
    assert found.distance.tolist() == [3.0]


def test_sides_of_closed_surfaces_are_right_at_faces_edges_and_corners() -> None:
    rng = np.random.default_rng(3)
    vertices, faces = cube(10.0)
    points = rng.uniform(-4, 14, (500, 3))
    inside = ((points > 0) & (points < 10)).all(axis=1)
    assert ((project(points, vertices, faces).signed < 0) == inside).all()
    vertices, faces = sphere(50.0, 800)
    points = rng.normal(size=(300, 3))
    points *= (rng.choice([30.0, 48.0, 52.0, 80.0], 300) / np.linalg.norm(points, axis=1))[:, None]
    assert ((project(points, vertices, faces).signed > 0) == (np.linalg.norm(points, axis=1) > 50)).all()


def test_normals_point_to_where_corners_go_counterclockwise_in_x_y_z() -> None:
    """In x, y, z: (1, 0, 0) x (0, 1, 0) = (0, 0, 1), so the first axis here."""
    vertices = np.array([[0.0, 0, 0], [0, 0, 5], [0, 5, 0]])
    assert face_normals(vertices, np.array([[0, 1, 2]])).tolist() == [[1.0, 0.0, 0.0]]
    assert face_normals(vertices, np.array([[0, 2, 1]])).tolist() == [[-1.0, 0.0, 0.0]]
    vertices, faces = sphere(50.0, 2000)
    outward = np.einsum("ij,ij->i", vertex_normals(vertices, faces), vertices / 50)
    assert outward.min() > 0.999


def test_equal_distances_give_the_first_face_and_no_order_matters() -> None:
    vertices, faces = plane(60, 5)
    rng = np.random.default_rng(0)
    points = np.concatenate([vertices[rng.integers(0, len(vertices), 40)], rng.uniform(-30, 30, (40, 3))])
    one = project(points, vertices, faces)
    order = rng.permutation(len(points))
    other = project(points[order], vertices, faces)
    assert (one.face[order] == other.face).all()
    assert (one.at[order] == other.at).all()
    on_vertex = [np.flatnonzero((faces == v).any(axis=1)).min() for v in (0, 7)]
    assert project(vertices[[0, 7]], vertices, faces).face.tolist() == on_vertex


def test_nothing_to_project_and_nothing_to_project_to() -> None:
    assert len(project(np.zeros((0, 3)), *plane(20, 5)).face) == 0
    empty = project([[1.0, 2, 3]], np.zeros((0, 3)), np.zeros((0, 3), int))
    assert empty.face.tolist() == [-1]
    assert np.isinf(empty.distance).all()
    with pytest.raises(InputError, match="finite"):
        project([[np.nan, 0, 0]], *plane(20, 5))


def test_a_face_without_area_is_a_line() -> None:
    at, _ = on_triangles(np.array([[3.0, 4, 0]]), np.array([[[0.0, 0, 0], [10, 0, 0], [5, 0, 0]]]))
    assert at.tolist() == [[3.0, 0.0, 0.0]]
