"""Maxima on surfaces against the definition; mean shift of clusters that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oriented_surfaces import ball, sheet

from volengine.core.errors import InputError
from volengine.ops.surfaces.maxima import peaks, spaced_maxima
from volengine.ops.surfaces.mean_shift import mean_shift

SHEET = sheet(100, 100, 10)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 15.0, 25.0, 60.0]), st.booleans())
def test_maxima_are_those_of_the_definition(seed: int, spacing: float, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 4, 121).astype(float) if coarse else rng.random(121)
    score[rng.random(121) < 0.1] = np.nan
    found = spaced_maxima(SHEET, score, spacing, 0.5)
    neighbours = [set() for _ in range(121)]
    for a, b, c in SHEET.faces.tolist():
        for p, q in ((a, b), (b, c), (c, a)):
            neighbours[p].add(q)
            neighbours[q].add(p)
    order = sorted((v for v in range(121) if score[v] >= 0.5), key=lambda v: (-score[v], v))
    tops = [
        v for v in order if all(not (score[n] > score[v] or (score[n] == score[v] and n < v)) for n in neighbours[v])
    ]
    kept: list[int] = []
    for v in tops:
        if all(np.linalg.norm(SHEET.vertices[v] - SHEET.vertices[k]) >= spacing - 1e-9 for k in kept):
            kept.append(v)
    assert found.tolist() == kept


def test_a_plateau_has_one_maximum_the_first_vertex() -> None:
    assert peaks(SHEET, np.ones(121)).tolist() == [0]
    assert peaks(SHEET, np.full(121, np.nan)).tolist() == []


def test_other_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="values for 121 vertices"):
        spaced_maxima(SHEET, np.ones(120), 1.0)


def test_mean_shift_finds_the_middles_of_clusters() -> None:
    rng = np.random.default_rng(0)
    middles = np.array([[0.0, 0, 0], [0, 0, 300], [0, 300, 0]])
    place = np.concatenate(
        [m + rng.normal(scale=15, size=(n, 3)) for m, n in zip(middles, (200, 120, 60), strict=True)]
    )
    centres, cluster = mean_shift(place, np.ones(380), 100.0)
    assert len(centres) == 3
    assert np.linalg.norm(centres - middles, axis=1).max() < 8  # the densest first
    assert cluster.tolist() == [0] * 200 + [1] * 120 + [2] * 60


def test_mean_shift_does_not_depend_on_how_many_walk_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    place, weight = rng.random((300, 3)) * 200, rng.random(300) + 0.1
    whole = mean_shift(place, weight, 50.0)
    monkeypatch.setattr("volengine.ops.surfaces.mean_shift.WALKERS", 7)
    parts = mean_shift(place, weight, 50.0)
    assert whole[0].tobytes() == parts[0].tobytes()
    assert whole[1].tolist() == parts[1].tolist()


def test_mean_shift_is_pulled_by_weights() -> None:
    place = np.array([[0.0, 0, 0], [0, 0, 10]])
    centres, _ = mean_shift(place, np.array([1.0, 9.0]), 100.0)
    assert centres[0, 2] > 8


def test_mean_shift_refuses_weights_that_are_none_and_takes_no_points() -> None:
    assert len(mean_shift(np.empty((0, 3)), np.empty(0), 1.0)[0]) == 0
    for weight in ([0.0], [-1.0], [np.nan], [1.0, 1.0]):
        with pytest.raises(InputError, match="positive weight"):
            mean_shift(np.zeros((1, 3)), np.array(weight), 1.0)
    with pytest.raises(InputError, match="bandwidth"):
        mean_shift(np.zeros((1, 3)), np.ones(1), 0.0)


def test_maxima_on_a_ball_keep_their_distance_along_it() -> None:
    shape = ball(50, level=3)
    found = spaced_maxima(shape, np.random.default_rng(0).random(len(shape.vertices)), 40.0)
    arcs = 50 * np.arccos(np.clip(shape.vertices[found] @ shape.vertices[found].T / 2500, -1, 1))
    assert (arcs + 1e3 * np.eye(len(found))).min() > 40 * 0.99
