"""Points at a smallest distance that leave no room, on shapes in several orientations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oriented_surfaces import TURNS, ball, dense, sheet, torus
from scipy.spatial import KDTree

from volengine.core.errors import InputError
from volengine.ops.surfaces.envelopes import random_points
from volengine.ops.surfaces.geodesic import Geodesics
from volengine.ops.surfaces.insert import insert_points
from volengine.ops.surfaces.project import project
from volengine.ops.surfaces.sampling import poisson_disc, poisson_disc_geodesic
from volengine.ops.surfaces.subdivision import subdivided

SHAPES = {
    "sphere": ball(300),
    "large faces": ball(300, level=1),
    "sheet": sheet(600, 300, 3, TURNS[1], (9, 8, 7)),
    "torus": torus(300, 80),
}


def smallest(place: np.ndarray) -> float:
    return float(KDTree(place).query(place, 2)[0][:, 1].min())


@pytest.mark.parametrize("name", SHAPES)
def test_no_two_are_nearer_and_no_further_one_fits(name: str) -> None:
    shape = SHAPES[name]
    found = poisson_disc(shape, 40.0, np.random.default_rng(1))
    assert smallest(found.place) >= 40 * (1 - 1e-12)
    assert KDTree(found.place).query(dense(shape, 200_000))[0].max() < 40
    # the share that discs of half the distance cover is that of random sequential adsorption, 0.547 in a plane
    share = len(found) * np.pi * 20**2 / shape.areas.sum()
    assert 0.5 < share < 0.65


def test_points_lie_on_faces_with_interpolated_normals() -> None:
    shape = ball(300, (50, -40, 1000), level=3)
    found = poisson_disc(shape, 40.0, np.random.default_rng(2))
    apart = found.place - (50, -40, 1000)
    outwards = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    assert np.degrees(np.arccos(np.clip((outwards * found.normal).sum(1), -1, 1))).max() < 1
    assert KDTree(shape.vertices).query(found.place)[0].max() > 5  # not on vertices only
    flat = np.einsum("ij,ijk->ik", found.weights, shape.vertices[shape.faces[found.face]])
    assert flat == pytest.approx(found.place)
    assert found.weights.min() >= 0


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(20, 400))
def test_any_distance_and_seed(seed: int, spacing: float) -> None:
    shape = sheet(300, 200, 4, TURNS[1])
    found = poisson_disc(shape, spacing, np.random.default_rng(seed))
    again = poisson_disc(shape, spacing, np.random.default_rng(seed))
    assert found.place.tolist() == again.place.tolist()
    assert len(found) >= 1
    assert len(found) == 1 or smallest(found.place) >= spacing * (1 - 1e-12)
    assert KDTree(found.place).query(dense(shape, 20_000))[0].max() < spacing


def test_a_surface_that_comes_near_to_itself_counts_in_space_but_not_along_it() -> None:
    far = np.array([0.0, 8.0])[:, None] * [1, 0, 0]
    one = sheet(200, 200, 10)
    two = type(one)(
        np.concatenate([one.vertices + far[0], one.vertices + far[1]]), np.concatenate([one.faces, one.faces + 121])
    )
    in_space = poisson_disc(two, 30.0, np.random.default_rng(0))
    along = poisson_disc_geodesic(two, 30.0, np.random.default_rng(0))
    assert smallest(in_space.place) >= 30 * (1 - 1e-12)
    assert smallest(along.place) < 30
    for height in (0, 8):
        assert smallest(along.place[along.place[:, 0] == height]) >= 30 * (1 - 1e-12)


def test_geodesic_distances_hold_on_a_small_ball_and_leave_no_room() -> None:
    shape = ball(60, level=3)
    found = poisson_disc_geodesic(shape, 50.0, np.random.default_rng(4))
    arcs = 60 * np.arccos(np.clip(found.place @ found.place.T / 3600, -1, 1)) + 1e3 * np.eye(len(found))
    assert arcs.min() > 50 * 0.995  # the mesh lies a little inside of the sphere
    fine = subdivided(shape, 50 / 8)
    walk = Geodesics(fine.vertices, fine.faces)
    chosen = KDTree(fine.vertices).query(found.place)[1]
    covered = np.unique(np.concatenate([walk.near(int(v), 50.0)[0] for v in chosen]))
    assert len(covered) == len(fine.vertices)


@pytest.mark.parametrize("name", ["ball", "sheet"])
def test_no_place_on_a_face_has_room_along_the_surface(name: str) -> None:
    """Distances along the surface from all points, at random places of the faces that are no corners."""
    shape, spacing = (ball(60, level=1), 40.0) if name == "ball" else (sheet(90, 60, 6), 17.0)
    found = poisson_disc_geodesic(shape, spacing, np.random.default_rng(4))
    at = project(found.place, shape.vertices, shape.faces)
    face, weights = random_points(shape.vertices, shape.faces, 1000, 9)
    fine = insert_points(shape.vertices, shape.faces, [*at.face, *face], [*at.weights, *weights])
    walk = Geodesics(fine.vertices, fine.faces)
    points, places = fine.vertex[: len(found)], fine.vertex[len(found) :]
    assert walk.from_vertices(points).at(places).max() < 1.002 * spacing
    apart = [np.sort(walk.from_vertices([int(v)]).at(points))[1] for v in points]
    assert min(apart) >= spacing * (1 - 2e-3)  # points at SNAP of an edge are moved onto it


def test_points_keep_to_where_they_are_allowed() -> None:
    shape = sheet(300, 300, 6)
    height = shape.vertices[:, 1] - 20  # only y >= 20
    for draw in (poisson_disc, poisson_disc_geodesic):
        found = draw(shape, 30.0, np.random.default_rng(0), height)
        assert found.place[:, 1].min() >= 20 - 1e-9
        there = dense(shape, 50_000)
        there = there[there[:, 1] >= (20 if draw is poisson_disc else 25)]
        assert KDTree(found.place).query(there)[0].max() < 30 * (1 if draw is poisson_disc else 1.08)
    nowhere = poisson_disc(shape, 30.0, np.random.default_rng(0), np.full(len(shape.vertices), -1.0))
    assert len(nowhere) == 0


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan, np.inf])
def test_distances_that_are_none_are_refused(spacing: float) -> None:
    with pytest.raises(InputError, match="positive"):
        poisson_disc(ball(10, level=1), spacing, np.random.default_rng(0))


def test_too_many_points_are_refused() -> None:
    with pytest.raises(InputError, match="larger spacing"):
        poisson_disc(ball(1e6), 1.0, np.random.default_rng(0))
