"""Geodesic distances on whole surfaces and from their borders, against formulas."""

from __future__ import annotations

import numpy as np
import pytest
from oriented_surfaces import TURNS, ball, sheet
from shapes import ball as level_ball
from shapes import cylinder, turned

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.border import from_border
from volengine.ops.surfaces.geodesic import Geodesics


def on(surface: Surface) -> Geodesics:
    return Geodesics(surface.vertices, surface.faces)


def _way(surface: Surface) -> np.ndarray:
    return from_border(surface.vertices, surface.faces)


def test_the_way_to_the_border_of_a_cylinder_and_of_a_hemisphere() -> None:
    tube = cylinder(10.0, 40.0, 1.0)
    found = _way(turned(tube))
    np.testing.assert_allclose(found, np.minimum(tube.vertices[:, 0], 40 - tube.vertices[:, 0]), atol=1e-6)
    whole = level_ball(30.0, 5)
    kept = whole.faces[(whole.vertices[whole.faces][:, :, 0] >= -1e-9).all(axis=1)]
    half = Surface(whole.vertices, kept)  # vertices without faces stay
    got = _way(half)
    used = np.unique(kept)
    rim = np.arcsin(half.vertices[np.unique(half.borders), 0] / 30).max() * 30
    want = 30 * np.arcsin(np.clip(half.vertices[used, 0] / 30, -1, 1))
    assert np.abs(got[used] - want).max() < rim + 0.3
    assert np.isinf(np.delete(got, used)).all()
    assert np.isinf(_way(whole)).all()


def test_geodesic_distances_on_a_sphere_are_arcs() -> None:
    shape = ball(100)
    names, distance = on(shape).near(17, 120.0)
    cosine = shape.vertices[names] @ shape.vertices[17] / 1e4
    assert distance == pytest.approx(100 * np.arccos(np.clip(cosine, -1, 1)), rel=0.003, abs=0.05)
    assert len(names) == (100 * np.arccos(np.clip(shape.vertices @ shape.vertices[17] / 1e4, -1, 1)) < 120).sum()


@pytest.mark.parametrize("turn", TURNS)
def test_geodesic_distances_on_a_sheet_are_straight_and_part_of_it_is_as_good_as_all(turn: np.ndarray) -> None:
    shape = sheet(100, 130, 13, turn, (500, -20, 7))
    names, distance = on(shape).near(60, 40.0)
    straight = np.linalg.norm(shape.vertices - shape.vertices[60], axis=1)
    assert names.tolist() == np.flatnonzero(straight < 40 * (1 - 1e-9)).tolist()
    assert distance == pytest.approx(straight[names])
    more, longer = on(shape).near(60, 1e4)
    assert longer[np.isin(more, names)] == pytest.approx(distance)


def test_no_way_leads_to_another_surface() -> None:
    one, other = sheet(50, 50), sheet(50, 50, centre=(1.0, 0, 0))
    both = Surface(np.concatenate([one.vertices, other.vertices]), np.concatenate([one.faces, other.faces + 121]))
    for _ in range(3):
        assert on(both).near(0, 1e4)[0].tolist() == list(range(121))
    assert np.isfinite(from_border(both.vertices, both.faces)).all()


def test_a_closed_surface_beside_an_open_one_has_no_border() -> None:
    one, other = sheet(50, 50), ball(20, level=1)
    both = Surface(np.concatenate([one.vertices, other.vertices]), np.concatenate([one.faces, other.faces + 121]))
    found = from_border(both.vertices, both.faces)
    assert np.isfinite(found[:121]).all()
    assert np.isinf(found[121:]).all()


def test_no_way_leads_through_a_single_vertex() -> None:
    one, other = sheet(50, 50), sheet(50, 50, centre=(0, 50, 50))
    faces = np.concatenate([one.faces, other.faces + 121])
    both = Surface(np.concatenate([one.vertices, other.vertices]), np.where(faces == 121, 120, faces))
    assert on(both).near(0, 1e4)[0].tolist() == list(range(121))


def test_distance_from_the_border_is_that_to_the_nearest_side() -> None:
    shape = sheet(100, 60, 20)
    y, x = np.abs(shape.vertices[:, 1:]).T
    assert from_border(shape.vertices, shape.faces) == pytest.approx(np.minimum(50 - y, 30 - x), abs=1e-6)
    closed = ball(10, level=1)
    assert np.isinf(from_border(closed.vertices, closed.faces)).all()


def test_an_edge_with_three_faces_is_refused() -> None:
    fan = Surface([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 3], [0, 1, 4]], number=3)
    with pytest.raises(InputError, match="Surface 3: 1 edges have more than two faces"):
        from_border(fan.vertices, fan.faces, name=fan.name)


def test_faces_that_are_lines_do_not_matter() -> None:
    shape = sheet(50, 50)
    lines = Surface(shape.vertices, np.concatenate([[[0, 0, 120], [7, 7, 7]], shape.faces]))
    assert on(lines).near(0, 1e3)[1] == pytest.approx(on(shape).near(0, 1e3)[1])
    assert from_border(lines.vertices, lines.faces) == pytest.approx(from_border(shape.vertices, shape.faces))


def test_points_between_the_corners_of_a_border_make_distances_right_on_coarse_meshes() -> None:
    """By hand: the middle of a rectangle of 30 x 40 is 25 from its corners, and 15 from its sides."""
    corners = np.array([[0.0, 0, 0], [0, 0, 30], [0, 40, 0], [0, 40, 30], [0, 20, 15]])
    faces = np.array([[0, 1, 4], [1, 3, 4], [3, 2, 4], [2, 0, 4]])
    assert from_border(corners, faces)[4] == pytest.approx(25)
    assert from_border(corners, faces, apart=40 / 3)[4] == pytest.approx((15**2 + (20 / 3) ** 2) ** 0.5)
    assert from_border(corners, faces, apart=0.5)[4] == pytest.approx(15, abs=0.5**2 / (8 * 15))


def test_faces_without_area_do_not_change_distances() -> None:
    """The middle of an edge is a vertex for the faces of one side alone; a flat face closes the gap."""
    flat = np.array([[0.0, 0, 0], [0, 0, 2], [0, 2, 2], [0, 2, 0], [0, 1, 1]])
    faces = np.array([[0, 1, 2], [0, 4, 3], [4, 2, 3], [0, 2, 4]])
    assert from_border(flat, faces)[4] == pytest.approx(2**0.5)
    assert from_border(flat, faces, apart=0.1)[4] == pytest.approx(1, abs=2e-3)
