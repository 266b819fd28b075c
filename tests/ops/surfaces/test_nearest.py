"""Neighbours from pairs, angles between orientations, clusters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.orientation import euler_to_matrix, matrix_to_euler
from volengine.ops.stats_points import dbscan
from volengine.ops.surfaces.nearest import angles_between, clusters_of, nearest_of, turns


def pairs_of(points: np.ndarray, reach: float = np.inf) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    far = np.linalg.norm(points[:, None] - points[None], axis=2)
    of, to = np.nonzero((far <= reach) & ~np.eye(len(points), dtype=bool))
    return of, to, far[of, to]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_the_nearest_are_those_of_a_sorted_matrix(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 4, (7, 3)).astype(float)  # with equal distances
    of, to, far = pairs_of(points, 3.0)
    order = rng.permutation(len(of))
    found = nearest_of(of[order], to[order], far[order], count=7, neighbours=k)
    for i in range(7):
        expected = sorted((d, j) for a, j, d in zip(of, to, far, strict=True) if a == i)[:k]
        assert found.index[i, : len(expected)].tolist() == [j for _, j in expected]
        assert found.distance[i, : len(expected)].tolist() == [d for d, _ in expected]
        assert (found.index[i, len(expected) :] == -1).all()
        assert np.isinf(found.distance[i, len(expected) :]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3, 5]), st.sampled_from([0.3, 1.0, 2.0]))
def test_clusters_from_pairs_are_those_of_points(seed: int, least: int, eps: float) -> None:
    points = np.random.default_rng(seed).normal(size=(40, 3))
    order = np.lexsort(points.T[::-1])  # dbscan numbers by place
    points = points[order]
    found = clusters_of(*pairs_of(points, eps), count=40, min_points=least)
    plain = dbscan(points, eps, least)
    assert found.label.tolist() == plain.label.tolist()
    assert found.core.tolist() == plain.core.tolist()


def test_a_point_alone_is_a_cluster_only_if_one_point_is_enough() -> None:
    nothing = np.zeros(0, int)
    assert clusters_of(nothing, nothing, [], count=2, min_points=1).label.tolist() == [1, 2]
    assert clusters_of(nothing, nothing, [], count=2, min_points=2).label.tolist() == [0, 0]


def euler(x_axis: list[float], z_axis: list[float]) -> np.ndarray:
    """Euler angles of a particle with these axes, x, y, z."""
    x, z = np.array(x_axis, float), np.array(z_axis, float)
    return matrix_to_euler(np.stack([x, np.cross(z, x), z], axis=1)[None])[0]


FLAT = np.array([[1.0, 0, 0], [1.0, 0, 0]])  # normals along z; places and normals z, y, x


@pytest.mark.parametrize(
    ("angle", "turn", "half"), [(0, 0, 0), (30, 30, 30), (120, 120, -60), (-170, -170, 10), (90, 90, -90)]
)
def test_a_turn_in_the_plane_is_counterclockwise_from_above(angle: float, turn: float, half: float) -> None:
    """By hand: the first particle's x axis along x, the second's turned towards y; the neighbour lies along y."""
    a = np.radians(angle)
    particles = [euler([1, 0, 0], [0, 0, 1]), euler([np.cos(a), np.sin(a), 0], [0, 0, 1])]
    places = [[0.0, 0, 0], [0.0, 5, 0]]
    found = turns(places, FLAT, particles, [0], [1])
    assert found.turn[0] == pytest.approx(turn)
    assert found.bearing[0] == pytest.approx(90)
    assert found.whole[0] == pytest.approx(abs(angle))
    same = turns(places, FLAT, particles, [0], [1], c2=True)
    assert same.turn[0] == pytest.approx(half)
    assert same.whole[0] == pytest.approx(min(abs(angle), 180 - abs(angle)), abs=1e-5)


def test_particles_that_point_to_the_other_side_turn_the_other_way() -> None:
    """Normals of the surface along +z, particles along -z: seen from their own tip the turn has the other sign."""
    a = np.radians(30)
    particles = [euler([1, 0, 0], [0, 0, -1]), euler([np.cos(a), np.sin(a), 0], [0, 0, -1])]
    assert turns([[0.0, 0, 0], [0, 5, 0]], FLAT, particles, [0], [1]).turn[0] == pytest.approx(-30)


def test_a_neighbour_over_a_bend_is_turned_into_the_tangent_plane_first() -> None:
    """On a tube along x the same orientation in the tangent plane, over a bend of 90 degrees: no turn, a bend of 90."""
    places, normals = [[5.0, 0, 0], [0.0, 5, 0]], np.array([[1.0, 0, 0], [0, 1.0, 0]])
    particles = [euler([1, 0, 0], [0, 0, 1]), euler([1, 0, 0], [0, 1, 0])]
    found = turns(places, normals, particles, [0], [1])
    assert found.turn[0] == pytest.approx(0, abs=1e-6)
    assert found.whole[0] == pytest.approx(90)
    assert angles_between(normals[:1], normals[1:])[0] == pytest.approx(90)
    across = [euler([0, 1, 0], [0, 0, 1]), euler([0, 0, -1], [0, 1, 0])]  # along the bend, both
    assert turns(places, normals, across, [0], [1]).turn[0] == pytest.approx(0, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_angles_do_not_depend_on_how_the_specimen_lies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6
    matrices = euler_to_matrix(rng.uniform(0, 180, (n, 3)))
    places, normals = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    whole = euler_to_matrix(rng.uniform(0, 180, (1, 3)))[0]
    swap = whole[::-1, ::-1]  # the same rotation for z, y, x
    of, to = [0, 1, 2, 4], [3, 2, 5, 0]
    one = turns(places, normals, matrix_to_euler(matrices), of, to)
    other = turns(places @ swap.T, normals @ swap.T, matrix_to_euler(whole @ matrices), of, to)
    for name in ("turn", "bearing", "whole"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-5)


def test_an_axis_along_the_normal_has_no_direction_in_the_plane() -> None:
    particles = [euler([0, 0, 1], [1, 0, 0]), euler([1, 0, 0], [0, 0, 1])]
    assert np.isnan(turns([[0.0, 0, 0], [0, 5, 0]], FLAT, particles, [0], [1]).turn[0])
