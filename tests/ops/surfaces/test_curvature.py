"""Curvature: of shapes that are known, clean and with staircases, turned, of other sides; what must not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marched_shapes import grid, raw
from shapes import TURNED, ball, cylinder, staircase, torus, turned

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces import neighbourhood
from volengine.ops.surfaces.curvature import curvature
from volengine.ops.surfaces.normals import area_normals
from volengine.ops.surfaces.smooth import smoothed


@pytest.mark.parametrize("radius", [6.0, 10.0])
def test_clean_shapes_have_the_curvature_of_their_formula_at_every_vertex(radius: float) -> None:
    sphere = curvature(turned(ball(20.0, 4)), radius)
    np.testing.assert_allclose([sphere.k1, sphere.k2], 1 / 20, rtol=0.005)
    tube = cylinder(20.0, 80.0, 1.5)
    inner = np.abs(tube.vertices[:, 0] - 40) < 30
    found = curvature(turned(tube), radius)
    np.testing.assert_allclose(found.k1[inner], 1 / 20, rtol=0.005)
    np.testing.assert_allclose(found.k2[inner], 0, atol=0.005 / 20)
    np.testing.assert_allclose(found.shape_index[inner], 0.5, atol=0.01)  # a ridge
    ring, angle = torus(40.0, 15.0, 1.5)
    found = curvature(turned(ring), radius)
    bend = np.cos(angle) / (40 + 15 * np.cos(angle))
    np.testing.assert_allclose(found.k1, 1 / 15, rtol=0.02)
    np.testing.assert_allclose(found.k2, bend, atol=0.01 / 15)
    np.testing.assert_allclose(found.mean.mean(), ((1 / 15 + bend) / 2).mean(), rtol=0.01)


@pytest.mark.parametrize("radius", [3.0, 5.0, 10.0, 20.0])
def test_spheres_and_cylinders_have_theirs_with_radii_up_to_twice_the_radius_of_curvature(radius: float) -> None:
    sphere = curvature(turned(ball(10.0, 4)), radius, np.arange(0, 2562, 9))
    np.testing.assert_allclose([sphere.k1, sphere.k2], 1 / 10, rtol=0.01)
    tube = cylinder(10.0, 80.0, 0.8)
    inner = np.abs(tube.vertices[:, 0] - 40) < 15
    found = curvature(turned(tube), radius, np.flatnonzero(inner)[::9])
    np.testing.assert_allclose(found.k1, 1 / 10, rtol=0.01)
    np.testing.assert_allclose(found.k2, 0, atol=0.01 / 10)


MASKS = {"ball": (5, 10), "tube": (6, 10), "torus": (10, 10)}
"""Shapes, and the radii in voxels from which on 90 % of their vertices have curvatures within 3 %: mean, Gaussian."""


@pytest.mark.parametrize("name", sorted(MASKS))
@pytest.mark.parametrize("seed", [1, 2])
def test_nine_of_ten_vertices_of_masks_are_within_three_percent(name: str, seed: int) -> None:
    mean, gaussian = MASKS[name]
    for radius in sorted({mean, gaussian}):
        H, K = _errors_on_a_mask(name, radius, seed)
        assert np.median(H) < 0.02
        assert np.median(K) < 0.02
        assert np.mean(H < 0.03) > 0.9
        if radius >= gaussian:
            assert np.mean(K < 0.03) > 0.83  # over several places and turns 90 %


def _errors_on_a_mask(name: str, radius: float, seed: int) -> tuple[Any, Any]:
    """Errors of mean and Gaussian curvature, of 1 / radius and its square, by formula; any place and turn."""
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    n = {"ball": 2 * radius + 8, "tube": 4 * radius + 16, "torus": 7 * radius + 8}[name]
    middle = (n - 1) / 2 + random.uniform(-0.5, 0.5, 3)
    z, y, x = np.tensordot(turn, grid(n) + n / 2 - 0.3 - middle[:, None, None, None], 1)
    ring = np.hypot(y, x) - 2.5 * radius
    inside = {"ball": z**2 + y**2 + x**2, "tube": y**2 + x**2, "torus": ring**2 + z**2}[name] < radius**2
    places, faces = raw(inside, closed=False)
    at = smoothed(places, faces, 8.0)
    rows = np.flatnonzero(np.minimum(at, n - 1 - at).min(axis=1) > (1.3 * radius if name == "tube" else 0))[::7]
    found = curvature(Surface(at, faces), 15.0, rows)
    v, w, u = turn @ (at[rows] - middle).T
    far = np.hypot(w, u) - 2.5 * radius
    across = far / np.hypot(far, v)
    less = {"ball": 1 / radius, "tube": 0.0, "torus": across / (radius * (2.5 + across))}[name]
    mean = np.abs(found.mean - (1 / radius + less) / 2) * radius
    return mean, np.abs(found.gaussian - less / radius) * radius**2


def test_at_borders_as_well() -> None:
    tube = cylinder(20.0, 60.0, 1.5)
    found = curvature(tube, 8.0)
    np.testing.assert_allclose(found.k1, 1 / 20, rtol=0.01)
    np.testing.assert_allclose(found.k2, 0, atol=0.01 / 20)


@pytest.mark.parametrize("sides", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.5)])
def test_staircases_average_out(sides: tuple[float, float, float]) -> None:
    shape = tuple(round(60 / s) + 1 for s in sides)
    sphere = staircase(lambda z, y, x: (z - 30) ** 2 + (y - 30.3) ** 2 + (x - 29.6) ** 2 < 400, shape, sides)
    for radius in (10.0, 14.0):
        found = curvature(sphere, radius)
        assert found.mean.mean() == pytest.approx(1 / 20, rel=0.03)
        assert found.gaussian.mean() == pytest.approx(1 / 400, rel=0.03)
    np.testing.assert_allclose(np.median([found.k1, found.k2], axis=1), 1 / 20, rtol=0.04)
    out = sphere.vertices - np.array([30, 30.3, 29.6])
    cosine = np.einsum("ij,ij->i", found.normals, out / np.linalg.norm(out, axis=1)[:, None])
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 5


def test_an_oblique_cylinder_and_a_plane_with_staircases() -> None:
    axis = np.array([1.0, 2, 3]) / np.sqrt(14)

    def inside(z, y, x):
        away = np.stack([z - 35, y - 35, x - 35], -1)
        return (away**2).sum(-1) - (away @ axis) ** 2 < 324

    tube = staircase(inside, (71, 71, 71))
    away = tube.vertices - 35
    wall = np.abs(np.linalg.norm(away - (away @ axis)[:, None] * axis, axis=1) - 18) < 1.5
    inner = wall & (np.abs(away).max(axis=1) < 20)
    found = curvature(tube, 9.0)
    assert found.k1[inner].mean() == pytest.approx(1 / 18, rel=0.03)
    assert abs(found.k2[inner].mean()) < 0.03 / 18
    flat = staircase(lambda z, y, x: (z - 30) * 0.3 + (y - 30) * 0.5 + (x - 30) * 0.8 < 0, (61, 61, 61))
    inner = np.abs(flat.vertices - 30).max(axis=1) < 14
    found = curvature(flat, 10.0)
    assert np.sqrt((found.mean[inner] ** 2).mean()) < 0.03 / 20
    assert found.curvedness[inner].mean() < 0.03 / 20


def test_the_sign_follows_the_normals() -> None:
    sphere = ball(20.0, 3)
    inwards = Surface(sphere.vertices, sphere.faces[:, ::-1])
    by_normals = Surface(sphere.vertices, sphere.faces, normals=-sphere.vertices / 20)
    for surface in (inwards, by_normals):
        found = curvature(surface, 8.0)
        np.testing.assert_allclose(found.mean, -1 / 20, rtol=0.01)
        np.testing.assert_allclose(found.shape_index, -1, atol=0.05)
        assert (found.k1 >= found.k2).all()
    assert curvature(sphere, 8.0).shape_index.min() > 0.95


def test_the_next_sheet_does_not_count() -> None:
    """Two planes 3 apart, a bent one above a flat one: the flat one stays flat."""
    u = np.linspace(-30, 30, 41)
    y, x = (a.ravel() for a in np.meshgrid(u, u, indexing="ij"))
    flat = np.stack([0 * x, y, x], axis=1)
    bent = flat + np.array([3.0, 0, 0]) + np.stack([(x**2) / 60, 0 * x, 0 * x], axis=1)
    i = np.arange(40 * 41).reshape(40, 41)[:, :40].ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + 42], 1), np.stack([i, i + 42, i + 41], 1)])
    both = Surface(np.concatenate([flat, bent]), np.concatenate([faces, faces + 41 * 41]))
    found = curvature(both, 10.0)
    assert found.curvedness[: len(flat)].max() < 1e-9
    middle = len(flat) + np.flatnonzero((np.abs(x) < 1) & (np.abs(y) < 15))
    np.testing.assert_allclose(np.abs(found.mean[middle]), 1 / 60, rtol=0.03)


@settings(max_examples=6, deadline=None)
@given(at_once=st.sampled_from([1, 700, 1 << 14]), marks=st.sampled_from([1, 1 << 12, 1 << 22]))
def test_runs_of_centres_change_nothing(at_once: int, marks: int) -> None:
    surface = turned(ball(20.0, 3))
    want = curvature(surface, 9.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbourhood, "PAIRS_AT_ONCE", at_once)
        patch.setattr(neighbourhood, "MARKS", marks)
        found = curvature(surface, 9.0)
    for name in ("k1", "k2", "normals", "heights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name))


def test_neighbourhoods_against_a_plain_search() -> None:
    surface = ball(20.0, 3)
    links = neighbourhood.neighbours_of(surface.faces, len(surface.vertices))
    normals = area_normals(surface.vertices, surface.faces)
    np.testing.assert_allclose(np.einsum("ij,ij->i", normals, surface.vertices / 20), 1, atol=1e-3)
    found = set()
    for pairs in neighbourhood.discs(surface.vertices, normals, links, 7.0):
        found |= set(zip(pairs.centre.tolist(), pairs.near.tolist(), strict=True))
    apart = np.linalg.norm(surface.vertices[:, None] - surface.vertices, axis=2)
    want = np.argwhere((apart <= 7) & (normals @ normals.T >= neighbourhood.LEAST_COSINE))
    assert found == set(map(tuple, want.tolist()))


def test_too_few_vertices_have_no_curvature_and_a_radius_must_be_positive() -> None:
    one = Surface([[0, 0, 0], [0, 0, 10], [0, 10, 0], [5, 5, 5]], [[0, 1, 2]])
    found = curvature(one, 100.0)
    assert np.isnan(found.k1).all()
    np.testing.assert_array_equal(np.abs(found.normals[:3]), [[1, 0, 0]] * 3)
    with pytest.raises(InputError, match="must be positive, not 0"):
        curvature(one, 0.0)
    assert np.linalg.norm(TURNED @ TURNED.T - np.eye(3)) < 1e-12
