"""Points and lines put into surfaces: the shape stays, and the surface stays whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surface_shapes import area, cube, plane, sphere

from volengine.core.surface import Surface
from volengine.ops.surfaces.areas import face_areas
from volengine.ops.surfaces.insert import SNAP, cut_at, insert_points


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_points_anywhere_become_vertices_and_the_surface_stays_whole(seed: int, count: int) -> None:
    """Points in faces, on edges and on vertices, many in the same ones."""
    rng = np.random.default_rng(seed)
    vertices, faces = cube(10.0)
    face = rng.integers(0, 3, count)
    weights = rng.dirichlet([1, 1, 1], count)
    kind = rng.integers(0, 4, count)
    weights[kind == 1] = np.roll([0.5, 0.5, 0.0], int(rng.integers(3)))
    weights[kind == 2] = np.roll([1.0, 0.0, 0.0], int(rng.integers(3)))
    weights[kind == 3, 2] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    at = np.einsum("ni,nij->nj", weights, vertices[faces[face]])
    found = insert_points(vertices, faces, face, weights)
    moved = np.linalg.norm(found.vertices[found.vertex] - at, axis=1)
    assert moved.max() <= SNAP * 15
    assert face_areas(found.vertices, found.faces).sum() == pytest.approx(600, rel=1e-6)
    assert Surface(found.vertices, found.faces).closed
    assert (found.vertices[: len(vertices)] == vertices).all()
    for k in range(12):  # the parts of each face have its area
        assert face_areas(found.vertices, found.faces[found.parent == k]).sum() == pytest.approx(50, rel=1e-3)
    sides = np.sort(found.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert np.unique(sides, axis=0, return_counts=True)[1].tolist() == [2] * (len(sides) // 2)


def test_faces_keep_their_side() -> None:
    vertices, faces = sphere(50.0, 300)
    rng = np.random.default_rng(0)
    found = insert_points(vertices, faces, rng.integers(0, len(faces), 200), rng.dirichlet([1, 1, 1], 200))
    from volengine.ops.surfaces.normals import face_normals

    outward = np.einsum("ij,ij->i", face_normals(found.vertices, found.faces), found.vertices[found.faces].mean(axis=1))
    assert outward.min() > 0


def test_points_at_one_place_share_a_vertex_and_a_vertex_is_its_own() -> None:
    vertices, faces = plane(20, 5)
    found = insert_points(vertices, faces, [3, 3, 3], [[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    assert found.vertex[0] == found.vertex[1] == len(vertices)
    assert found.vertex[2] == faces[3, 1]
    assert len(found.vertices) == len(vertices) + 1


def test_nothing_inserted_is_the_same_surface() -> None:
    vertices, faces = plane(20, 5)
    found = insert_points(vertices, faces, [], np.zeros((0, 3)))
    assert (found.faces == faces).all()
    assert (found.parent == np.arange(len(faces))).all()


@pytest.mark.parametrize("level", [-3.7, 0.0, 2.5, 100.0])
def test_a_cut_divides_faces_along_a_level(level: float) -> None:
    """The value is a coordinate of the plane, so the cut is a straight line and areas are known."""
    vertices, faces = plane(20, 5, turned=False)
    found = cut_at(vertices, faces, vertices[:, 1], level)
    value = found.carried(vertices[:, 1])
    np.testing.assert_allclose(value, found.vertices[:, 1], atol=1e-12)
    each = value[found.faces]
    assert ((each <= level + 1e-9).all(axis=1) | (each >= level - 1e-9).all(axis=1)).all()
    low = each.mean(axis=1) < level
    below = face_areas(found.vertices, found.faces[low]).sum()
    assert below == pytest.approx(20 * np.clip(level + 10, 0, 20), abs=1e-9)
    assert area((found.vertices, found.faces)) == pytest.approx(400)
    assert len(Surface(found.vertices, found.faces).borders) >= len(Surface(vertices, faces).borders)


def test_a_cut_leaves_no_crack() -> None:
    vertices, faces = sphere(50.0, 500)
    found = cut_at(vertices, faces, vertices[:, 0], 12.3)
    assert Surface(found.vertices, found.faces).closed
    far = np.where(vertices[:, 0] > 40, np.inf, vertices[:, 0])
    assert Surface(*(lambda c: (c.vertices, c.faces))(cut_at(vertices, faces, far, 12.3))).closed


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e-15, 1e-12, 1e-7]))
def test_a_cut_along_edges_cuts_off_no_slivers(seed: int, noise: float) -> None:
    """Rounded values do not decide where the cut goes: a plane whose vertices lie on lines is cut along one."""
    vertices, faces = plane(20, 5, turned=False)
    vertices = 5 * np.rint(vertices / 5)
    value = vertices[:, 1] + noise * np.random.default_rng(seed).uniform(-1, 1, len(vertices))
    found = cut_at(vertices, faces, value, 5.0)
    assert len(found.vertices) == len(vertices)
    assert (found.faces == faces).all()
    assert ((found.value == 5.0) == (vertices[:, 1] == 5)).all()
