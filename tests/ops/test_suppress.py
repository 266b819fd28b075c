"""Greedy suppression against the definition, for any batch size."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.ops.suppress import suppress


def by_definition(points, distance, group):
    kept: list[int] = []
    for i, p in enumerate(points):
        rivals = [points[k] for k in kept if group[k] == group[i]]
        if all(np.sqrt(np.square(p - q).sum()) >= distance for q in rivals):
            kept.append(i)
    return [i in kept for i in range(len(points))]


@settings(deadline=None, max_examples=120)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 60),
    st.sampled_from([0.0, 1.0, 2.0, 3.5]),
    st.integers(1, 70),
    st.integers(1, 4),
)
def test_equals_the_definition_for_every_batch(seed, n, distance, batch, groups):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 7, (n, 3)).astype(float)
    group = rng.integers(0, groups, n)
    found = suppress(points, distance, group, batch=batch)
    assert found.tolist() == by_definition(points, distance, group)


def test_a_chain_is_decided_from_its_strong_end():
    points = np.stack([np.zeros(1000), np.zeros(1000), np.arange(1000.0)], axis=1)
    for batch in (7, 100, 5000):
        assert np.flatnonzero(suppress(points, 1.5, batch=batch)).tolist() == list(range(0, 1000, 2))
    assert suppress(points, 1.0).all()  # exactly at the distance both stay


def test_points_that_are_alone_are_kept():
    assert suppress(np.zeros((0, 3)), 5).tolist() == []
    assert suppress(np.zeros((1, 3)), 5).tolist() == [True]
    assert suppress(np.zeros((3, 3)), 0).tolist() == [True] * 3
    assert suppress(np.zeros((3, 3)), 1).tolist() == [True, False, False]
