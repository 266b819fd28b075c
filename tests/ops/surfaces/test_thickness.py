"""Thickness of slabs that are known, rays against a plain search, and gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import ball, cylinder, staircase, turned

from volengine.core.surface import Surface
from volengine.ops.surfaces.curvature import curvature
from volengine.ops.surfaces.rays import first_hits
from volengine.ops.surfaces.thickness import thickness


def both(outer: Surface, inner: Surface) -> Surface:
    """One surface of an outer face, and an inner one whose normals look the other way."""
    faces = np.concatenate([outer.faces, inner.faces[:, ::-1] + len(outer.vertices)])
    return Surface(np.concatenate([outer.vertices, inner.vertices]), faces)


def test_clean_shells_and_tubes_have_their_thickness() -> None:
    shell = thickness(turned(both(ball(24.0, 4), ball(20.0, 4))), 10.0)
    np.testing.assert_allclose(shell.thickness, 4, rtol=0.03)
    assert shell.thickness.mean() == pytest.approx(4, rel=0.01)
    assert np.isnan(shell.gap).all()
    tube = both(cylinder(24.0, 60.0, 1.0), cylinder(20.0, 60.0, 1.0))
    found = thickness(turned(tube), 10.0)
    inner = np.abs(tube.vertices[:, 0] - 30) < 29
    np.testing.assert_allclose(found.thickness[inner], 4, rtol=0.01)


def test_normals_on_the_other_side_of_the_faces_count() -> None:
    shell = both(ball(24.0, 4), ball(20.0, 4))
    out = shell.vertices / np.linalg.norm(shell.vertices, axis=1)[:, None]
    away = np.where((np.arange(len(out)) < len(out) // 2)[:, None], out, -out)
    mirrored = Surface(shell.vertices, shell.faces[:, ::-1], normals=away)
    np.testing.assert_allclose(thickness(mirrored, 10.0).thickness, 4, rtol=0.02)


@pytest.mark.parametrize("sides", [(1.0, 1.0, 1.0), (1.0, 2.0, 1.5)])
def test_staircases_along_fitted_normals(sides: tuple[float, float, float]) -> None:
    shape = tuple(round(44 / s) + 1 for s in sides)

    def inside(z, y, x):
        return np.abs(np.sqrt((z - 22) ** 2 + (y - 22.3) ** 2 + (x - 21.6) ** 2) - 16) < 3

    shell = staircase(inside, shape, sides)
    found = thickness(shell, 20.0, curvature(shell, 7.0).normals).thickness
    assert np.nanmean(found) == pytest.approx(6, rel=0.03)
    assert np.isnan(found).mean() < 0.01


def test_an_oblique_slab_of_known_layers() -> None:
    """Lattice planes across (1, 2, 3) are 1/sqrt(14) apart; 23 of them are in the mask."""
    normal = np.array([1, 2, 3]) / np.sqrt(14)
    slab = staircase(lambda z, y, x: np.abs(((z - 20) + 2 * (y - 20) + 3 * (x - 20)) / np.sqrt(14)) < 3, (41, 41, 41))
    inner = np.abs(slab.vertices - 20).max(axis=1) < 11
    found = thickness(slab, 20.0, curvature(slab, 6.0).normals).thickness[inner]
    assert np.nanmean(found) == pytest.approx(23 / np.sqrt(14), rel=0.01)
    assert abs(normal @ normal - 1) < 1e-12


def test_a_gap_is_what_lies_outside_between_facing_parts() -> None:
    near, far = ball(10.0, 3), ball(30.0, 4)
    nested = Surface(
        np.concatenate([near.vertices, far.vertices]),
        np.concatenate([near.faces, far.faces[:, ::-1] + len(near.vertices)]),
    )
    found = thickness(nested, 25.0)
    np.testing.assert_allclose(found.gap, 20, rtol=0.01)
    # inwards of the small ball is its own other side, 20 away, which faces
    np.testing.assert_allclose(found.thickness[: len(near.vertices)], 20, rtol=0.01)
    assert np.isnan(thickness(nested, 15.0).gap).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), most=st.sampled_from([0.3, 2.0, 50.0]))
def test_rays_against_a_plain_search(seed: int, most: float) -> None:
    from volengine.ops.surfaces.rays import _meet

    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(60, 3)) * rng.uniform(0.1, 3, 3)
    faces = rng.integers(0, 60, (80, 3))
    points, directions = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    found = first_hits(points, directions, vertices, faces, 1e-6, most)
    each = np.stack([_meet(points, directions, np.repeat(vertices[f][None], 40, 0)) for f in faces], axis=1)
    each = np.where((each > 1e-6) & (each <= most), each, np.inf)
    want = each.min(axis=1)
    np.testing.assert_array_equal(found.distance, np.where(np.isfinite(want), want, np.nan))
    np.testing.assert_array_equal(found.face, np.where(np.isfinite(want), each.argmin(axis=1), -1))


def test_rays_from_inside_a_ball_meet_it_at_the_distance_of_the_formula() -> None:
    rng = np.random.default_rng(3)
    points, directions = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    shell = ball(10.0, 5)
    found = first_hits(points, directions, shell.vertices, shell.faces, 0.0, 50.0)
    along = np.einsum("ij,ij->i", points, directions)
    want = -along + np.sqrt(along**2 - (points**2).sum(axis=1) + 100)
    np.testing.assert_allclose(found.distance, want, rtol=0.002)
    middle = shell.vertices[shell.faces[found.face]].mean(axis=1)
    assert np.linalg.norm(middle - points - found.distance[:, None] * directions, axis=1).max() < 1


def test_an_empty_surface_has_no_thickness() -> None:
    nothing = thickness(Surface(np.zeros((2, 3)), np.zeros((0, 3), int)), 10.0)
    assert np.isnan(nothing.thickness).all()
    assert np.isnan(nothing.gap).all()
