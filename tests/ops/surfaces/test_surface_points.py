"""Normals, tangents, subdivision and geodesic distances against formulas."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from oriented_surfaces import TURNS, ball, sheet, torus

from volengine.core.errors import InputError
from volengine.core.orientation import euler_to_matrix, normal_to_euler
from volengine.core.surface import Surface
from volengine.ops.surfaces.normals import face_normals
from volengine.ops.surfaces.points import column_at, normals_of, on_faces, tangents
from volengine.ops.surfaces.subdivision import subdivided


def test_the_normals_of_a_sphere_point_outwards_as_trimesh_says() -> None:
    shape = ball(100)
    normals = normals_of(shape)
    assert (normals * shape.vertices).sum(1) / 100 == pytest.approx(1, abs=1e-4)
    made = trimesh.Trimesh(shape.vertices[:, ::-1], shape.faces, process=False)
    assert face_normals(shape.vertices, shape.faces)[:, ::-1] == pytest.approx(np.asarray(made.face_normals), abs=1e-6)


@pytest.mark.parametrize("turn", TURNS)
def test_the_normal_of_a_sheet_is_the_axis_across_it(turn: np.ndarray) -> None:
    """By hand: corners a, b, d at x, y = (0, 0), (1, 0), (1, 1) go counterclockwise seen from +z: the normal is +z."""
    normals = normals_of(sheet(100, 50, turn=turn))
    assert normals == pytest.approx(np.tile(turn[0], (len(normals), 1)), abs=1e-12)


def test_vertices_without_area_are_refused() -> None:
    line = Surface([[0, 0, 0], [0, 0, 1], [0, 0, 2]], [[0, 1, 2]])
    with pytest.raises(InputError, match="3 vertices have no normal"):
        normals_of(line)


def test_points_interpolate_places_normals_and_columns() -> None:
    shape = ball(100).with_columns(z=ball(100).vertices[:, 0])
    points = on_faces(shape, normals_of(shape), np.array([7, 9]), np.array([[1, 0, 0], [0.2, 0.3, 0.5]]))
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
    assert (face_normals(fine.vertices, fine.faces) * fine.vertices[fine.faces[:, 0]]).sum(1).min() > 0


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
