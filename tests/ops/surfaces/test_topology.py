"""What a mesh is: islands, borders, genus, volume, of shapes that are known."""

from __future__ import annotations

import numpy as np
from marched_shapes import grid, raw

from volengine.ops.surfaces.merge import in_order, used_only
from volengine.ops.surfaces.topology import border_edges, edges_of, loops_of, parts_of, shape_of


def test_a_ball_a_ring_a_shell_and_a_tube() -> None:
    z, y, x = grid(24)
    r = np.sqrt(z**2 + y**2 + x**2)
    cases = {
        "ball": (r < 8, True, (1, 0, 0)),
        "ring": ((np.hypot(y, x) - 7) ** 2 + z**2 < 9, True, (1, 0, 1)),
        "shell": (np.abs(r - 7) < 1.5, True, (2, 0, 0)),
        "tube": (np.abs(np.hypot(y, x) - 6) < 2, False, (2, 4, 0)),
        "two": ((np.abs(np.abs(z) - 6) < 3) & (np.hypot(y, x) < 5), True, (2, 0, 0)),
    }
    for name, (mask, closed, known) in cases.items():
        found = shape_of(*raw(mask, closed=closed))
        assert (found["islands"], found["border_loops"], found["genus"]) == known, name
        assert found["closed"] == closed
        assert found["manifold"]
        assert np.isnan(found["volume"]) == (not closed)
    places, faces = raw(np.abs(r - 7) < 1.5)
    assert np.isclose(shape_of(places, faces)["volume"], 4 / 3 * np.pi * (8.5**3 - 5.5**3), rtol=0.03)


def test_edges_that_three_faces_share_and_faces_in_two_senses_are_no_manifold() -> None:
    at = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, -1, 0]])
    assert not shape_of(at, np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]]))["manifold"]
    assert not shape_of(at[:4], np.array([[0, 1, 2], [0, 1, 3]]))["manifold"]
    assert shape_of(at[:4], np.array([[0, 1, 2], [1, 0, 3]]))["manifold"]


def test_parts_are_numbered_by_their_first_vertex_and_edges_counted() -> None:
    faces = np.array([[5, 4, 3], [0, 2, 1]])
    assert parts_of(faces, 7).tolist() == [0, 0, 0, 1, 1, 1, 2]
    edges, count = edges_of(faces)
    assert edges.tolist() == [[0, 1], [0, 2], [1, 2], [3, 4], [3, 5], [4, 5]]
    assert count.tolist() == [1] * 6
    assert loops_of(border_edges(faces)) == 2


def test_faces_in_order_keep_their_sense() -> None:
    assert in_order(np.array([[5, 1, 3], [2, 0, 1], [0, 2, 1]])).tolist() == [[0, 1, 2], [0, 2, 1], [1, 3, 5]]
    at, faces, more = used_only(np.eye(3), np.array([[2, 0, 2]]), np.array([7, 8, 9]))
    assert at.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert faces.tolist() == [[1, 0, 1]]
    assert more.tolist() == [7, 9]
