"""Areas near any of several points, beside discs that touch or lie over each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surface_shapes import plane

from volengine.ops.surfaces.cover import Cover


def cover_of(
    mesh: tuple[np.ndarray, np.ndarray], at: np.ndarray, reach: float, counted: np.ndarray | None = None
) -> Cover:
    vertices, faces = mesh
    found = Cover(vertices, faces, np.ones(len(faces), bool) if counted is None else counted, reach, reach / 2)
    for point in at:
        found.add(np.arange(len(faces)), np.linalg.norm(vertices[:, 1:] - point, axis=1))
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([3.0, 9.0]))
def test_discs_that_lie_over_each_other_count_once(seed: int, step: float) -> None:
    """Beside the area of a fine grid of points; faces may be larger than the distance between points."""
    at = np.random.default_rng(seed).uniform(-20, 20, (12, 2))
    found = cover_of(plane(60, step, seed, turned=False), at, 6.0).areas([2.0, 4.0, 6.0])
    line = (np.arange(600) + 0.5) / 10 - 30
    y, x = np.meshgrid(line, line, indexing="ij")
    least = np.min([np.hypot(y - a, x - b) for a, b in at], axis=0)
    np.testing.assert_allclose(found, [(least <= r).sum() * 0.01 for r in (2, 4, 6)], rtol=0.03)


def test_two_discs_have_the_area_of_their_lens() -> None:
    """Radius 5, 6 apart: 2 π r² − (2 r² acos(d / 2r) − d / 2 √(4 r² − d²))."""
    found = cover_of(plane(60, 4, turned=False), np.array([[0.0, -3], [0, 3]]), 5.0).areas([5.0])[0]
    lens = 2 * 25 * np.arccos(0.6) - 3 * np.sqrt(100 - 36)
    assert found == pytest.approx(2 * np.pi * 25 - lens, rel=0.01)


def test_faces_that_do_not_count_have_no_area() -> None:
    vertices, faces = plane(60, 4, turned=False)
    half = vertices[faces][:, :, 1].mean(axis=1) > 0
    found = cover_of((vertices, faces), np.array([[0.0, 0]]), 8.0, half).areas([8.0])[0]
    assert 0.4 < found / (np.pi * 64) < 0.6
    assert cover_of((vertices, faces), np.zeros((0, 2)), 8.0).areas([8.0]).tolist() == [0.0]
