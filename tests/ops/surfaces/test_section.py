"""Planes through surfaces, against formulas and beside trimesh."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.surface import Surface
from volengine.ops.surfaces.section import section


def ball(radius: float, centre: tuple[float, float, float], levels: int = 4) -> Surface:
    made = trimesh.creation.icosphere(levels, radius)
    return Surface(np.asarray(made.vertices)[:, ::-1] + centre, np.asarray(made.faces)[:, ::-1])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("at", [-0.7, 0.0, 0.31])
def test_a_ball_is_cut_in_a_circle(axis: int, at: float) -> None:
    pieces = section(ball(100.0, (500.0, 400.0, 300.0)), axis, (500.0, 400.0, 300.0)[axis] + 100 * at)
    length = np.linalg.norm(np.diff(pieces, axis=1), axis=-1).sum()
    assert length == pytest.approx(2 * np.pi * 100 * np.sqrt(1 - at**2), rel=0.01)
    assert (pieces[..., axis] == (500.0, 400.0, 300.0)[axis] + 100 * at).all()


@settings(deadline=None)
@given(st.integers(0, 2), st.integers(-4, 4), st.integers(0, 2**32 - 1))
def test_lines_of_a_closed_surface_are_closed_also_through_vertices(axis: int, place: int, seed: int) -> None:
    """Vertices at whole numbers, so that the plane meets many of them."""
    made = trimesh.creation.icosphere(2, 4.0)
    at = np.rint(np.asarray(made.vertices) + np.random.default_rng(seed).uniform(-0.5, 0.5, 3))
    pieces = section(Surface(at, np.asarray(made.faces)), axis, float(place))
    ends = Counter(tuple(end) for end in pieces.reshape(-1, 3))
    assert all(count % 2 == 0 for count in ends.values())


def test_the_length_is_that_of_trimesh() -> None:
    surface = ball(50.0, (0.0, 0.0, 0.0), 3)
    lines = trimesh.intersections.mesh_plane(
        trimesh.Trimesh(surface.vertices, surface.faces, process=False), (1, 0, 0), (7.3, 0, 0)
    )
    mine = section(surface, 0, 7.3)
    assert len(mine) == len(lines)
    assert np.linalg.norm(mine[:, 0] - mine[:, 1], axis=1).sum() == pytest.approx(
        np.linalg.norm(lines[:, 0] - lines[:, 1], axis=1).sum()
    )


def test_a_plane_beside_cuts_nothing() -> None:
    assert section(ball(5.0, (0.0, 0.0, 0.0), 1), 1, 5.1).shape == (0, 2, 3)
    assert section(Surface(np.zeros((0, 3)), np.zeros((0, 3))), 1, 5.1).shape == (0, 2, 3)
