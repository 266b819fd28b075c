"""Distances to surfaces of a set, to points, to faces of the volume."""

from __future__ import annotations

import numpy as np
from shapes import ball, turned

from volengine.core.surface import Surface
from volengine.ops.surfaces.proximity import (
    box_around,
    nearest_point,
    nearest_surface,
    to_volume_faces,
)


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
