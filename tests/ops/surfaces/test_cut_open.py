"""Cutting surfaces along ways over their edges: counted by hand."""

from __future__ import annotations

import numpy as np
from oriented_surfaces import ball, sheet

from volengine.core.surface import Surface
from volengine.ops.surfaces.cut_open import border_loops, cut_along, shortest_way


def euler(surface: Surface) -> int:
    """Vertices that are used, minus edges, plus faces."""
    faces = surface.faces.astype(np.int64)
    edges = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    return len(np.unique(faces)) - len(edges) + len(faces)


def test_a_closed_surface_becomes_a_disc() -> None:
    """A sphere (2) that is cut between two places has one border, and is a disc (1); every face keeps its place."""
    shape = ball(100, (0, 0, 0))
    way = shortest_way(shape, np.array([0]), np.array([int(np.argmax(np.linalg.norm(shape.vertices, axis=1)))]))
    way = shortest_way(shape, way[:1], np.array([int(np.argmin(shape.vertices @ shape.vertices[0]))]))
    cut = cut_along(shape, way)
    assert (euler(shape), euler(cut)) == (2, 1)
    assert len(border_loops(cut)) == 1
    assert len(cut.vertices) == len(shape.vertices) + len(way) - 2  # the ends stay one
    np.testing.assert_array_equal(cut.vertices[cut.faces], shape.vertices[shape.faces])


def test_a_ring_becomes_a_disc() -> None:
    """A sheet with a hole: two borders, and 0; after the cut from one to the other one border, and 1."""
    shape = sheet(100, 60, 20)
    middle = np.linalg.norm(shape.vertices[shape.faces].mean(axis=1) - shape.vertices.mean(axis=0), axis=1)
    ring = Surface(shape.vertices, shape.faces[middle > 15])
    outer, inner = border_loops(ring)
    assert len(outer) > len(inner)
    way = shortest_way(ring, outer, inner)
    assert (way[0] in outer, way[-1] in inner) == (True, True)
    cut = cut_along(ring, way)
    assert (euler(ring), euler(cut)) == (0, 1)
    assert len(border_loops(cut)) == 1
    assert len(cut.vertices) == len(ring.vertices) + len(way)


def test_parts_that_are_apart_have_no_way_between() -> None:
    one = sheet(10, 10, 3)
    two = Surface(
        np.concatenate([one.vertices, one.vertices + 100]), np.concatenate([one.faces, one.faces + len(one.vertices)])
    )
    assert len(shortest_way(two, np.array([0]), np.array([len(two.vertices) - 1]))) == 0
    assert border_loops(ball(5, (0, 0, 0))) == []
