"""The nearest points of triangles and meshes: against every triangle, dense samples, and triangles that are lines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.ops.surfaces.triangles import nearest_on, on_triangles


def away(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Squared distance of each point from its triangle."""
    found: np.ndarray = np.square(points - on_triangles(points, corners)[0]).sum(axis=1)
    return found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), stretch=st.sampled_from([1.0, 30.0]))
def test_the_nearest_of_all_triangles(seed: int, stretch: float) -> None:
    rng = np.random.default_rng(seed)
    vertices, faces = rng.normal(size=(40, 3)), rng.integers(0, 40, (60, 3))
    vertices[:3] *= stretch  # a few large triangles
    points = rng.normal(size=(50, 3)) * 2
    found = nearest_on(points, vertices, faces)
    each = np.stack([away(points, np.repeat(vertices[f][None], 50, 0)) for f in faces], axis=1)
    np.testing.assert_array_equal(found.distance, np.sqrt(each.min(axis=1)))
    np.testing.assert_array_equal(found.face, each.argmin(axis=1))


def test_triangles_against_dense_samples_of_them() -> None:
    rng = np.random.default_rng(0)
    corners, points = rng.normal(size=(20, 3, 3)), rng.normal(size=(20, 3)) * 2
    weights = rng.dirichlet([0.5, 0.5, 0.5], 40000)
    found = np.sqrt(away(points, corners))
    for distance, point, corner in zip(found, points, corners, strict=True):
        least = np.linalg.norm(weights @ corner - point, axis=1).min()
        assert least - 0.05 < distance <= least + 1e-12


@pytest.mark.parametrize("thick", [0.0, 1e-12, 1e-9, 1e-6])
def test_triangles_that_are_nearly_lines(thick: float) -> None:
    """The nearest point of a line through three corners is that between the outermost two."""
    rng = np.random.default_rng(3)
    n = 5000
    start, along = rng.normal(size=(n, 3)) * 100, rng.normal(size=(n, 3))
    along /= np.linalg.norm(along, axis=1)[:, None]
    third = rng.uniform(-1, 2, n)
    corners = np.stack([start, start + along, start + third[:, None] * along + thick * rng.normal(size=(n, 3))], axis=1)
    place = rng.uniform(-2, 3, n)
    points = start + place[:, None] * along + rng.normal(size=(n, 3)) * rng.choice([1e-6, 1, 30], n)[:, None]
    across = points - start
    at = np.clip(np.einsum("ij,ij->i", across, along), np.minimum(0, third), np.maximum(1, third))
    true = np.linalg.norm(across - at[:, None] * along, axis=1)
    near, weights = on_triangles(points, corners)
    np.testing.assert_allclose(np.linalg.norm(points - near, axis=1), true, atol=10 * thick + 1e-9)
    np.testing.assert_allclose(np.einsum("ni,nij->nj", weights, corners), near, atol=1e-9)
    assert weights.min() >= 0


def test_a_mesh_without_faces_has_no_distance() -> None:
    corners = np.zeros((3, 3))
    with pytest.raises(InputError, match="without faces"):
        nearest_on(corners, corners, np.zeros((0, 3), int))
