"""Remeshing and decimation: equal triangles on the same surface, of the same topology."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marched_shapes import area, ball, grid, raw
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.ops.surfaces import remesh
from volengine.ops.surfaces.decimate import decimated
from volengine.ops.surfaces.edges import Edges
from volengine.ops.surfaces.normals import face_normals, vertex_normals
from volengine.ops.surfaces.remesh import edge_of_area, remeshed
from volengine.ops.surfaces.smooth import smoothed
from volengine.ops.surfaces.topology import shape_of, volume_of

Array = NDArray[Any]
TOPOLOGY = ("manifold", "closed", "islands", "border_loops", "genus")


def _topology(at: Array, faces: Array) -> dict[str, Any]:
    found = shape_of(at, faces)
    return {name: found[name] for name in TOPOLOGY}


def _qualities(at: Array, faces: Array) -> Array:
    """1 for equal sides, 0 for a degenerate triangle."""
    a, b, c = (at[faces[:, n]] for n in range(3))
    squares = ((b - a) ** 2 + (c - b) ** 2 + (a - c) ** 2).sum(1)
    return 2 * np.sqrt(3) * np.linalg.norm(np.cross(b - a, c - a), axis=1) / squares


@pytest.mark.parametrize("wanted", [0.3, 2.0, 6.0, 16.0])
def test_a_sphere_gets_vertices_of_the_wanted_area(wanted: float) -> None:
    places, faces = ball(14)
    at = smoothed(places, faces, 8.0)
    made, corners = remeshed(at, faces, wanted)
    areas = Surface(made, corners).vertex_areas
    assert _topology(made, corners) == _topology(at, faces)
    assert np.isclose(areas.mean(), wanted, rtol=0.12)
    assert areas.std() / areas.mean() < 0.25
    assert _qualities(made, corners).min() > 0.4
    assert _qualities(made, corners).mean() > 0.95
    assert np.isclose(area(made, corners), 4 * np.pi * 14**2, rtol=0.02)
    assert np.isclose(volume_of(made, corners), 4 / 3 * np.pi * 14**3, rtol=0.01 + 0.003 * wanted)


@pytest.mark.parametrize("radius", [4, 6, 8, 12, 20])
@pytest.mark.parametrize("half", [0, 15])
def test_balls_and_round_rods_keep_volume_and_area(radius: int, half: int) -> None:
    """Of small ones a tenth of the volume lies between large triangles and the surface through their corners."""
    n = 2 * radius + 8
    z, y, x = np.meshgrid(*(np.arange(m) - m / 2 + 0.3 for m in (n + 2 * half, n, n)), indexing="ij")
    places, faces = raw((z - np.clip(z, -half, half)) ** 2 + y**2 + x**2 < radius**2)
    at = smoothed(places, faces, 8.0)
    volume = 4 / 3 * np.pi * radius**3 + np.pi * radius**2 * 2 * half
    for wanted in (2.0, 4.0, 8.0):
        made, corners = remeshed(at, faces, wanted)
        assert _topology(made, corners) == _topology(at, faces)
        assert np.isclose(volume_of(made, corners), volume_of(at, faces), rtol=0.01)
        assert np.isclose(volume_of(made, corners), volume, rtol=0.012 if radius > 6 else 0.06)  # so is the given mesh
        assert np.isclose(area(made, corners), area(at, faces), rtol=0.01 if radius**2 > 8 * wanted else 0.03)
        outwards = made[corners].mean(axis=1) - np.array([n / 2 + half, n / 2, n / 2]) + 0.3
        outwards[:, 0] -= np.clip(outwards[:, 0], -half, half)
        assert (np.einsum("ij,ij->i", face_normals(made, corners), outwards) > 0.7 * radius).all()  # none turned over


def test_the_edge_of_an_area_is_that_of_six_equal_triangles() -> None:
    """Of side 2 a triangle has the area sqrt(3), of which a vertex with six has a third each: 2 sqrt(3)."""
    assert np.isclose(edge_of_area(2 * np.sqrt(3)), 2.0)


def test_a_torus_keeps_its_handle_and_borders_stay_where_they_are() -> None:
    z, y, x = grid(40)
    places, faces = raw((np.hypot(y, x) - 12) ** 2 + z**2 < 16)
    at = smoothed(places, faces, 6.0)
    made, corners = remeshed(at, faces, 3.0)
    assert _topology(made, corners) == _topology(at, faces)
    assert shape_of(made, corners)["genus"] == 1
    assert np.isclose(area(made, corners), area(at, faces), rtol=0.02)
    places, faces = raw(np.hypot(y, x) < 9, closed=False)
    at = smoothed(places, faces, 6.0)
    made, corners = remeshed(at, faces, 4.0)
    assert _topology(made, corners) == _topology(at, faces) | {"border_loops": 2}
    ends = made[np.unique(Surface(made, corners).borders)]
    assert np.minimum(np.abs(ends[:, 0]), np.abs(ends[:, 0] - 39)).max() < 1e-6
    assert np.isclose(area(made, corners), area(at, faces), rtol=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.1, 0.9), st.sampled_from([0.5, 1.5, 5.0]), st.booleans())
def test_the_topology_of_any_mask_stays(seed: int, filled: float, wanted: float, closed: bool) -> None:
    mask = np.random.default_rng(seed).random((5, 6, 7)) < filled
    places, faces = raw(mask, closed=closed)
    if not len(faces):
        return
    made, corners = remeshed(places, faces, wanted)
    assert _topology(made, corners) == _topology(places, faces)
    again, same = remeshed(places, faces, wanted)
    assert made.tobytes() == again.tobytes()
    assert np.array_equal(corners, same)


def test_without_decimation_the_mesh_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    places, faces = ball(16)
    at = smoothed(places, faces, 8.0)
    monkeypatch.setattr(remesh, "LEAST", 10**9)
    made, corners = remeshed(at, faces, 8.0)
    assert _topology(made, corners) == _topology(at, faces)
    assert np.isclose(Surface(made, corners).vertex_areas.mean(), 8.0, rtol=0.12)


def test_decimation_is_refused_where_it_changes_the_topology() -> None:
    places, faces = ball(16)
    at = smoothed(places, faces, 8.0)
    found = decimated(at, faces, 1000)
    assert found is not None
    assert 900 < len(found[0]) < 1100
    assert _topology(*found) == _topology(at, faces)
    again = decimated(at, faces, 1000)
    assert again is not None
    assert found[0].tobytes() == again[0].tobytes()
    rng = np.random.default_rng(0)
    rough, corners = raw(rng.random((24, 24, 24)) < 0.4)
    assert decimated(rough, corners, 500) is None


def test_edges_of_a_face_apart_share_no_face() -> None:
    places, faces = ball(8)
    edges = Edges.of(faces)
    chosen = edges.apart(np.ones(len(edges.ends), bool), edges.lengths(places))
    touched = edges.faces[chosen].reshape(-1)
    assert len(chosen) > len(faces) / 8
    assert len(np.unique(touched)) == len(touched)


@pytest.mark.parametrize(("vertex_area", "seed"), [(5.0, 6), (6.0, 5), (6.0, 7), (7.0, 4)])
def test_small_islands_beside_a_large_one_are_not_flattened(vertex_area: float, seed: int) -> None:
    """Voxels just above the threshold of a prediction are tiny octahedra. Two faces back to back have no normals."""
    places, faces = ball(17)
    sides = np.array([[x, y, z] if (x + y + z) % 2 else [y, x, z] for x in (0, 1) for y in (2, 3) for z in (4, 5)])
    axes = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    random = np.random.default_rng(seed)
    dust = [axes * random.uniform(0.05, 0.5, (6, 1)) + [25, 25, 3 * n] for n in range(3)]
    at = np.concatenate([places, *dust])
    corners = np.concatenate([faces, *(sides + len(places) + 6 * n for n in range(len(dust)))])
    made, less = remeshed(at, corners, vertex_area)
    assert _topology(made, less) == _topology(at, corners)
    assert len(np.unique(np.sort(less, axis=1), axis=0)) == len(less)
    assert np.allclose(np.linalg.norm(vertex_normals(made, less), axis=1), 1)
