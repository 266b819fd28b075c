"""Distances: to meshes against every triangle, to faces of the volume, along a surface to its border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import ball, turned

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.proximity import (
    _to_triangles,
    box_around,
    nearest_on,
    nearest_point,
    nearest_surface,
    to_volume_faces,
)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), stretch=st.sampled_from([1.0, 30.0]))
def test_the_nearest_of_all_triangles(seed: int, stretch: float) -> None:
    rng = np.random.default_rng(seed)
    vertices, faces = rng.normal(size=(40, 3)), rng.integers(0, 40, (60, 3))
    vertices[:3] *= stretch  # a few large triangles
    points = rng.normal(size=(50, 3)) * 2
    found = nearest_on(points, vertices, faces)
    each = np.stack([_to_triangles(points, np.repeat(vertices[f][None], 50, 0)) for f in faces], axis=1)
    np.testing.assert_array_equal(found.distance, each.min(axis=1))
    np.testing.assert_array_equal(found.face, each.argmin(axis=1))


def test_triangles_against_dense_samples_of_them() -> None:
    rng = np.random.default_rng(0)
    corners, points = rng.normal(size=(20, 3, 3)), rng.normal(size=(20, 3)) * 2
    weights = rng.dirichlet([0.5, 0.5, 0.5], 40000)
    found = _to_triangles(points, corners)
    for distance, point, corner in zip(found, points, corners, strict=True):
        least = np.linalg.norm(weights @ corner - point, axis=1).min()
        assert least - 0.05 < distance <= least + 1e-12


def test_nearest_surfaces_are_read_once_and_only_if_they_may_be_nearest() -> None:
    surfaces = {
        1: turned(ball(5.0, 3), np.eye(3), (0.0, 0.0, 20.0)),
        2: turned(ball(5.0, 3), np.eye(3), (0.0, 0.0, -18.0)),
        3: turned(ball(5.0, 3), np.eye(3), (0.0, 0.0, 900.0)),
    }
    asked: list[int] = []

    def read(number: int) -> Surface:
        asked.append(number)
        return surfaces[number]

    places = np.array([[0.0, 0, 10], [0.0, 0, -10], [0, 0, 1.0]])
    found = nearest_surface(places, {n: box_around(s) for n, s in surfaces.items()}, read)
    np.testing.assert_allclose(found.distance, [5, 3, 14], atol=0.05)
    assert found.number.tolist() == [1, 2, 1]
    assert sorted(asked) == [1, 2]
    nothing = nearest_surface(places, {}, read)
    assert np.isnan(nothing.distance).all()
    assert nothing.number.tolist() == [0, 0, 0]


def test_equally_near_surfaces_the_lower_number() -> None:
    one = ball(5.0, 2)
    boxes = {7: box_around(one), 2: box_around(one)}
    assert set(nearest_surface(one.vertices * 2, boxes, lambda n: one).number.tolist()) == {2}


def test_points_and_faces_of_the_volume() -> None:
    places = np.array([[0.0, 0, 0], [30.0, 60, 90]])
    far, index = nearest_point(places, [[0, 0, 3], [30, 60, 86]])
    assert far.tolist() == [3, 4]
    assert index.tolist() == [0, 1]
    assert np.isnan(nearest_point(places, np.zeros((0, 3)))[0]).all()
    # voxels of 2, 4, 6: faces at -1, -2, -3 and at 2 n - 1, 4 n - 2, 6 n - 3
    found = to_volume_faces(
        np.array([[0.0, 50, 50], [19.0, 50, 50], [10, 50, 56], [-3, 50, 50]]), (12, 30, 10), (2, 4, 6)
    )
    assert found.tolist() == [1, 4, 1, -2]


def test_a_mesh_without_faces_has_no_distance() -> None:
    corners = np.zeros((3, 3))
    with pytest.raises(InputError, match="without faces"):
        nearest_on(corners, corners, np.zeros((0, 3), int))
