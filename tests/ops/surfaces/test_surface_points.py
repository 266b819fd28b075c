"""Normals, tangents, subdivision and geodesic distances against formulas."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from oriented_surfaces import TURNS, ball, sheet, torus

from volengine.core.errors import InputError
from volengine.core.orientation import euler_to_matrix, normal_to_euler
from volengine.core.surface import Surface
from volengine.ops.surfaces.geodesics import Geodesics, from_border, need_manifold
from volengine.ops.surfaces.points import column_at, face_normals, on_faces, tangents, vertex_normals
from volengine.ops.surfaces.subdivision import subdivided


def test_the_normals_of_a_sphere_point_outwards_as_trimesh_says() -> None:
    shape = ball(100)
    normals = vertex_normals(shape)
    assert (normals * shape.vertices).sum(1) / 100 == pytest.approx(1, abs=1e-4)
    made = trimesh.Trimesh(shape.vertices[:, ::-1], shape.faces, process=False)
    assert face_normals(shape)[:, ::-1] == pytest.approx(np.asarray(made.face_normals), abs=1e-6)


@pytest.mark.parametrize("turn", TURNS)
def test_the_normal_of_a_sheet_is_the_axis_across_it(turn: np.ndarray) -> None:
    """By hand: corners a, b, d at x, y = (0, 0), (1, 0), (1, 1) go counterclockwise seen from +z: the normal is +z."""
    normals = vertex_normals(sheet(100, 50, turn=turn))
    assert normals == pytest.approx(np.tile(turn[0], (len(normals), 1)), abs=1e-12)


def test_vertices_without_area_are_refused() -> None:
    line = Surface([[0, 0, 0], [0, 0, 1], [0, 0, 2]], [[0, 1, 2]])
    with pytest.raises(InputError, match="3 vertices have no normal"):
        vertex_normals(line)


def test_points_interpolate_places_normals_and_columns() -> None:
    shape = ball(100).with_columns(z=ball(100).vertices[:, 0])
    points = on_faces(shape, vertex_normals(shape), np.array([7, 9]), np.array([[1, 0, 0], [0.2, 0.3, 0.5]]))
    assert points.place[0] == pytest.approx(shape.vertices[shape.faces[7, 0]])
    assert column_at(shape.columns["z"], shape, points) == pytest.approx(points.place[:, 0])
    assert np.linalg.norm(points.normal, axis=1) == pytest.approx(1)


def test_tangents_are_the_axes_of_a_particle_with_rot_0() -> None:
    normal = np.random.default_rng(0).normal(size=(50, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.concatenate([normal, [[1, 0, 0], [-1, 0, 0], [0, 0, 1]]])
    x_axis, y_axis = tangents(normal)
    matrix = euler_to_matrix(normal_to_euler(normal))
    for k, axis in enumerate((x_axis, y_axis, normal)):
        assert axis[:, ::-1] == pytest.approx(matrix @ np.eye(3)[k])
    assert np.cross(x_axis[:, ::-1], y_axis[:, ::-1])[:, ::-1] == pytest.approx(normal)


@pytest.mark.parametrize("edge", [200.0, 7.0, 2.5])
def test_subdivision_keeps_area_closedness_and_vertices(edge: float) -> None:
    shape = ball(50, level=2).with_columns(z=ball(50, level=2).vertices[:, 0])
    fine = subdivided(shape, edge)
    corners = fine.vertices[fine.faces]
    assert np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max() <= edge
    assert fine.closed
    assert fine.areas.sum() == pytest.approx(shape.areas.sum())
    assert fine.vertices[: len(shape.vertices)].tolist() == shape.vertices.tolist()
    assert fine.columns["z"] == pytest.approx(fine.vertices[:, 0])
    assert (face_normals(fine) * fine.vertices[fine.faces[:, 0]]).sum(1).min() > 0


def test_subdivision_of_long_thin_faces_has_no_gaps() -> None:
    rng = np.random.default_rng(5)
    shape = torus(100, 30)
    stretched = Surface(shape.vertices * [1, 9, 0.5] + rng.normal(size=(1, 3)), shape.faces)
    fine = subdivided(stretched, 20)
    assert fine.closed
    assert fine.areas.sum() == pytest.approx(stretched.areas.sum())
    assert fine.areas.min() > 0


def test_subdivision_refuses_a_mesh_without_end() -> None:
    with pytest.raises(InputError, match="vertices"):
        subdivided(ball(1e6), 1.0)
    with pytest.raises(InputError, match="positive"):
        subdivided(ball(10), 0.0)


def test_geodesic_distances_on_a_sphere_are_arcs() -> None:
    shape = ball(100)
    names, distance = Geodesics(shape).near(17, 120.0)
    cosine = shape.vertices[names] @ shape.vertices[17] / 1e4
    assert distance == pytest.approx(100 * np.arccos(np.clip(cosine, -1, 1)), rel=0.003, abs=0.05)
    assert len(names) == (100 * np.arccos(np.clip(shape.vertices @ shape.vertices[17] / 1e4, -1, 1)) < 120).sum()


@pytest.mark.parametrize("turn", TURNS)
def test_geodesic_distances_on_a_sheet_are_straight_and_part_of_it_is_as_good_as_all(turn: np.ndarray) -> None:
    shape = sheet(100, 130, 13, turn, (500, -20, 7))
    names, distance = Geodesics(shape).near(60, 40.0)
    straight = np.linalg.norm(shape.vertices - shape.vertices[60], axis=1)
    assert names.tolist() == np.flatnonzero(straight < 40 * (1 - 1e-9)).tolist()
    assert distance == pytest.approx(straight[names])
    more, longer = Geodesics(shape).near(60, 1e4)
    assert longer[np.isin(more, names)] == pytest.approx(distance)


def test_no_way_leads_to_another_surface() -> None:
    one, other = sheet(50, 50), sheet(50, 50, centre=(1.0, 0, 0))
    both = Surface(np.concatenate([one.vertices, other.vertices]), np.concatenate([one.faces, other.faces + 121]))
    for _ in range(3):
        assert Geodesics(both).near(0, 1e4)[0].tolist() == list(range(121))
    assert np.isfinite(from_border(both)).all()


def test_a_closed_surface_beside_an_open_one_has_no_border() -> None:
    one, other = sheet(50, 50), ball(20, level=1)
    both = Surface(np.concatenate([one.vertices, other.vertices]), np.concatenate([one.faces, other.faces + 121]))
    found = from_border(both)
    assert np.isfinite(found[:121]).all()
    assert np.isinf(found[121:]).all()


def test_no_way_leads_through_a_single_vertex() -> None:
    one, other = sheet(50, 50), sheet(50, 50, centre=(0, 50, 50))
    faces = np.concatenate([one.faces, other.faces + 121])
    both = Surface(np.concatenate([one.vertices, other.vertices]), np.where(faces == 121, 120, faces))
    assert Geodesics(both).near(0, 1e4)[0].tolist() == list(range(121))


def test_distance_from_the_border_is_that_to_the_nearest_side() -> None:
    shape = sheet(100, 60, 20)
    y, x = np.abs(shape.vertices[:, 1:]).T
    assert from_border(shape) == pytest.approx(np.minimum(50 - y, 30 - x), abs=1e-6)
    assert np.isinf(from_border(ball(10, level=1))).all()


def test_an_edge_with_three_faces_is_refused() -> None:
    fan = Surface([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    with pytest.raises(InputError, match="more than two faces"):
        need_manifold(fan)


def test_faces_that_are_lines_do_not_matter() -> None:
    shape = sheet(50, 50)
    lines = Surface(shape.vertices, np.concatenate([[[0, 0, 120], [7, 7, 7]], shape.faces]))
    assert Geodesics(lines).near(0, 1e3)[1] == pytest.approx(Geodesics(shape).near(0, 1e3)[1])
    assert from_border(lines) == pytest.approx(from_border(shape))
