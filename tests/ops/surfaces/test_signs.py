"""Sides of surfaces: boxes, balls, rings and sheets by formula, whichever way their faces go round."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from shapes import ball, torus

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.signs import inside_closed, side_of, welded
from volengine.ops.surfaces.triangles import nearest_on


def sides(places: np.ndarray, surface: Surface) -> np.ndarray:
    return side_of(places, surface, nearest_on(places, surface.vertices, surface.faces).face)


def flipped(surface: Surface) -> Surface:
    return Surface(surface.vertices, surface.faces[:, ::-1], surface.normals)


def box(extents: tuple[float, float, float]) -> Surface:
    """A box of 12 faces around 0, whose nearest points are mostly edges and corners."""
    mesh = trimesh.creation.box(extents=extents[::-1])
    return Surface(np.asarray(mesh.vertices)[:, ::-1], np.asarray(mesh.faces))


@pytest.mark.parametrize("turn", [False, True])
def test_a_box(turn: bool) -> None:
    """With normals of faces alone, a place beside a sharp edge would be on the wrong side."""
    places = np.random.default_rng(1).uniform(-80, 80, (4000, 3))
    surface = box((40, 60, 100))
    outside = (np.abs(places) > [20, 30, 50]).any(axis=1)
    found = sides(places, flipped(surface) if turn else surface)
    assert np.array_equal(found, np.where(outside, 1, -1))
    assert np.array_equal(inside_closed(places, surface), ~outside)


def test_needles() -> None:
    """A pyramid so sharp that faces at its tip look away from each other."""
    vertices = [[0, 0, 0], [0, 20, 0], [0, 10, 15], [300, 10, 5]]
    surface = Surface(vertices, [[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])
    places = np.random.default_rng(2).uniform([200, 0, -5], [400, 20, 15], (2000, 3))
    inverse = np.linalg.inv(np.vstack([np.array(vertices, float).T, np.ones(4)]))
    weights = np.column_stack([places, np.ones(len(places))]) @ inverse.T
    inside = (weights > 0).all(axis=1)
    assert inside.any()
    assert np.array_equal(sides(places, surface) < 0, inside)


def test_a_ball_and_a_ring() -> None:
    places = np.random.default_rng(3).uniform(-150, 150, (3000, 3))
    radius = np.linalg.norm(places, axis=1)
    clear = np.abs(radius - 100) > 1
    assert np.array_equal(sides(places, ball(100.0))[clear], np.sign(radius - 100)[clear])
    surface, _ = torus(80.0, 30.0, 3.0)
    middle = surface.vertices.mean(axis=0)
    thin = int(np.ptp(surface.vertices, axis=0).argmin())
    off = places - middle
    across = np.linalg.norm(np.delete(off, thin, axis=1), axis=1)
    deep = 30 - np.hypot(across - 80, off[:, thin])
    clear = np.abs(deep) > 1
    assert np.array_equal(sides(places, surface)[clear], -np.sign(deep)[clear])


@pytest.mark.parametrize("turn", [False, True])
def test_a_sheet_has_the_side_of_its_normals(turn: bool) -> None:
    flat = Surface([[0, -50, -50], [0, -50, 50], [0, 50, 50], [0, 50, -50]], [[0, 1, 2], [0, 2, 3]])
    up = Surface(flat.vertices, flat.faces[:, ::-1] if turn else flat.faces, [[1, 0, 0]] * 4)
    places = np.array([[5.0, 0, 0], [-5, 0, 0], [5, 90, 0], [-5, 90, 90], [0, 0, 0]])
    assert sides(places, up).tolist() == [1, -1, 1, -1, 0]
    down = Surface(up.vertices, up.faces, -np.asarray(up.normals))
    assert sides(places, down).tolist() == [-1, 1, -1, 1, 0]


def test_without_normals_the_faces_say_it() -> None:
    """Counterclockwise seen from the positive side in x, y, z: x then y, seen from +z."""
    flat = Surface([[0, -50, -50], [0, -50, 50], [0, 50, 50], [0, 50, -50]], [[0, 1, 2], [0, 2, 3]])
    assert sides(np.array([[5.0, 0, 0], [-5, 0, 0]]), flat).tolist() == [1, -1]
    assert sides(np.array([[5.0, 0, 0], [-5, 0, 0]]), flipped(flat)).tolist() == [-1, 1]


def test_faces_that_go_round_in_opposite_ways_have_no_sides() -> None:
    surface = box((10, 10, 10))
    faces = surface.faces.copy()
    faces[3] = faces[3][::-1]
    with pytest.raises(InputError, match="at 3 edges neighbouring faces go round in opposite ways"):
        sides(np.zeros((1, 3)), Surface(surface.vertices, faces))


def test_a_surface_in_pieces_is_put_together() -> None:
    """Files with a vertex for each corner of each face: the surface is closed once equal places are one vertex."""
    whole = box((40, 60, 100))
    pieces = Surface(whole.vertices[whole.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3))
    assert not pieces.closed
    with pytest.raises(InputError, match="nothing is inside"):
        inside_closed(np.zeros((1, 3)), pieces)
    assert welded(pieces).closed
    places = np.random.default_rng(4).uniform(-80, 80, (500, 3))
    assert np.array_equal(sides(places, welded(pieces)), sides(places, whole))
    assert welded(whole) is whole


def test_no_places() -> None:
    assert side_of(np.zeros((0, 3)), box((1, 1, 1)), np.zeros(0, np.int64)).shape == (0,)
