"""Ripley's functions and their envelopes: on lattices whose counts are known, and for points without order."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.ops.surfaces.envelopes import (
    Pool,
    band,
    deviation,
    draws,
    random_points,
    simulated_across,
    simulated_within,
)
from volengine.ops.surfaces.ripley import RipleySums, observed, ring_counts, rings

SIDE = 100.0
RADII = np.arange(1, 13) * 2.5
DISCS = np.diff(np.pi * RADII**2, prepend=0)


def wrapped(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances on a flat square whose opposite sides are joined."""
    d = np.abs(a[:, None] - b[None])
    d = np.minimum(d, SIDE - d)
    return np.linalg.norm(d, axis=2)


def sums(points: np.ndarray, others: np.ndarray | None = None) -> RipleySums:
    far = wrapped(points, points)[~np.eye(len(points), dtype=bool)] if others is None else wrapped(points, others)
    more = len(points) - 1 if others is None else len(others)
    return observed(far.ravel(), RADII, np.tile(DISCS, (len(points), 1)), more, SIDE**2)


def pool_of(size: int, rng: np.random.Generator) -> tuple[Pool, np.ndarray]:
    points = rng.uniform(0, SIDE, (size, 2))
    first, second = np.triu_indices(size, 1)
    ring = rings(wrapped(points, points)[first, second], RADII)
    near = ring < len(RADII)
    return Pool(size, SIDE**2, np.tile(DISCS, (size, 1)), first[near], second[near], ring[near]), points


def test_a_lattice_has_the_neighbours_that_one_counts() -> None:
    """A square lattice of 10: 4 neighbours at 10, 4 at 14.14, 4 at 20, 8 at 22.36, 4 at 28.28, 8 + 4 at 30."""
    line = np.arange(10) * 10.0
    points = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    found = sums(points)
    expected = np.zeros(12)
    for ring, count in ((3, 4), (5, 4), (7, 4), (8, 8), (11, 8)):
        expected[ring] = count * 100  # rings end at 2.5, 5 ...: 10 lies in that which ends at 10
    assert found.counted.tolist() == expected.tolist()
    np.testing.assert_allclose(found.expected, 100 * 99 / 1e4 * DISCS)
    within = np.cumsum(expected) / (100 * 99 / 1e4 * np.pi * RADII**2)
    np.testing.assert_allclose(found.k, within)
    np.testing.assert_allclose(found.l(RADII), RADII * (np.sqrt(within) - 1))
    assert found.l(RADII)[0] == -2.5


def test_points_without_order_have_one_at_every_radius() -> None:
    """Also in the first ring: rings of area and counts are the same ones."""
    rng = np.random.default_rng(0)
    found = RipleySums.total(sums(rng.uniform(0, SIDE, (400, 2))) for _ in range(30))
    np.testing.assert_allclose(found.o, 1, atol=0.03)
    np.testing.assert_allclose(found.k, 1, atol=0.03)
    assert np.abs(found.l(RADII)).max() < 0.05
    across = RipleySums.total(sums(rng.uniform(0, SIDE, (300, 2)), rng.uniform(0, SIDE, (200, 2))) for _ in range(30))
    np.testing.assert_allclose(across.o, 1, atol=0.03)


def test_clusters_are_those_of_the_formula() -> None:
    """Thomas: K(r) = π r² + (1 − exp(−r² / 4σ²)) / κ, parents of density κ, children normal about them with σ."""
    rng = np.random.default_rng(1)
    sigma, parents = 4.0, 40
    parts = []
    for _ in range(150):
        centre = rng.uniform(0, SIDE, (rng.poisson(parents), 2))
        count = rng.poisson(5, len(centre))
        points = (np.repeat(centre, count, axis=0) + rng.normal(0, sigma, (count.sum(), 2))) % SIDE
        parts.append(sums(points))
    true = 1 + (1 - np.exp(-(RADII**2) / (4 * sigma**2))) * SIDE**2 / parents / (np.pi * RADII**2)
    np.testing.assert_allclose(RipleySums.total(parts).k, true, rtol=0.04)


def test_rings_end_at_their_radius() -> None:
    assert ring_counts([2.5, 2.500001, 30.0, 30.1, np.inf, 0.0], RADII).tolist() == [2, 1, *[0] * 9, 1]


def test_nothing_expected_is_not_known() -> None:
    empty = observed([], RADII, np.zeros((0, 12)), 0, 0.0)
    assert np.isnan(empty.k).all()
    assert np.isnan(empty.l(RADII)).all()


@pytest.mark.parametrize(("count", "size", "others"), [(20, 200, 0), (60, 200, 0), (120, 240, 0), (60, 200, 100)])
def test_the_test_refuses_chance_as_often_as_it_says(count: int, size: int, others: int) -> None:
    """Data without order, each with its own pool: p is at most 5 % in 5 % of them, 20 % in 20 %, and so on."""
    rng = np.random.default_rng(5)
    found = []
    for k in range(150):
        pool, points = pool_of(size, rng)
        data = rng.uniform(0, SIDE, (count, 2))
        if others:
            one = sums(data, rng.uniform(0, SIDE, (others, 2)))
            ring = rings(wrapped(points, data), RADII)
            near = np.stack([(ring == i).sum(axis=1) for i in range(len(RADII))], axis=1)
            chance = simulated_across(near, one.expected, others, 59, (k, 1))
        else:
            one = sums(data)
            chance = simulated_within(pool, count, 59, (k, 1))
        np.testing.assert_allclose(chance.k.mean(axis=0)[-1], 1, atol=0.08)
        found.append(deviation(one.l(RADII), chance.l(RADII)).p)
    p = np.array(found)
    for level in (0.05, 0.2, 0.5, 0.8):
        assert abs((p <= level).mean() - level) < 3.5 * np.sqrt(level * (1 - level) / 150) + 0.02


def test_clusters_and_lattices_are_told_from_chance() -> None:
    rng = np.random.default_rng(2)
    pool, _ = pool_of(400, rng)
    chance = simulated_within(pool, 100, 99, 3).l(RADII)
    close = (np.repeat(rng.uniform(0, SIDE, (25, 2)), 4, axis=0) + rng.normal(0, 2, (100, 2))) % SIDE
    line = np.arange(10) * 10.0
    lattice = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    low, high = band(chance)
    for points, clustered in ((close, True), (lattice, False)):
        curve = sums(points).l(RADII)
        test = deviation(curve, chance)
        assert test.p == 0.01
        assert np.abs(curve).max() > test.critical
        assert (curve > high)[:4].all() if clustered else (curve < low)[1:3].all()


def test_draws_and_random_points_are_those_of_their_seed() -> None:
    assert (draws(50, 20, 5, (1, 2)) == draws(50, 20, 5, (1, 2))).all()
    assert (draws(50, 20, 5, (1, 2)) != draws(50, 20, 5, (1, 3))).any()
    assert all(len(set(one)) == 20 for one in draws(50, 20, 5, 0).tolist())
    vertices = np.array([[0.0, 0, 0], [0, 0, 8], [0, 8, 0], [0, 8, 8], [0, 0, 8.5]])
    faces = np.array([[0, 1, 2], [1, 3, 2], [1, 4, 3]])  # areas 32, 32, 2
    face, weights = random_points(vertices, faces, 20_000, 1)
    assert np.bincount(face) / 20_000 == pytest.approx(np.array([32, 32, 2]) / 66, abs=0.01)
    at = np.einsum("ni,nij->nj", weights, vertices[faces[face]])
    assert at.mean(axis=0)[1] == pytest.approx(4.0, abs=0.06)
    assert (weights >= 0).all()
    again = random_points(vertices, faces, 20_000, 1)
    assert (again[0] == face).all()
    assert (again[1] == weights).all()


def test_a_deviation_counts_the_data_itself_and_needs_enough_curves() -> None:
    curves = np.arange(1.0, 20.0)[:, None] * np.ones(3)
    assert deviation([0.0, -18.5, 1.0], curves).p == 2 / 20
    assert deviation([100.0, 0, 0], curves).p == 1 / 20
    assert deviation([0.0, 0, 0], curves).critical == 19.0
    assert np.isnan(deviation([0.0, 0, 0], curves[:18]).critical)
    assert np.isnan(deviation([0.0, -18.5, np.nan], curves).p)  # of a part of a curve nothing is said
    assert np.isnan(deviation([0.0, 0, 0], np.where(curves == 3, np.nan, curves)).p)
    assert np.isnan(deviation([np.nan] * 3, curves).p)
