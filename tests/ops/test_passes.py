"""The best pass of every pair of regions: equal to a loop, also if pairs share the buckets that drop worse ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.ops import passes
from volengine.ops.passes import Passes


def plain(a, b, first, second):
    best = {}
    for one, other, x, y in zip(a.tolist(), b.tolist(), first.tolist(), second.tolist(), strict=True):
        pair = (min(one, other), max(one, other))
        best[pair] = max(best.get(pair, (0, 0)), (min(x, y), max(x, y)))
    return [(*pair, *keys) for pair, keys in sorted(best.items())]


@pytest.mark.parametrize("bits", [1, 3, 16])
@pytest.mark.parametrize("keep", [5, 1 << 17])
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(2, 12), st.sampled_from([3, 50, 2**63]))
@settings(max_examples=25, deadline=None)
def test_the_best_pass_of_every_pair(bits, keep, seed, rows, regions, keys):
    rng = np.random.default_rng(seed)
    a = rng.integers(1, regions, rows, dtype=np.int64)
    b = a + rng.integers(1, regions, rows)
    swap = rng.random(rows) < 0.5
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    first, second = rng.integers(1, keys, (2, rows), dtype=np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "_BUCKET_BITS", bits)
        patch.setattr(passes, "_KEEP", keep)
        best = Passes()
        for part in np.array_split(np.arange(rows), 4):
            best.add(a[part], b[part], first[part], second[part])
        found = best.arrays()
    assert list(zip(*(column.tolist() for column in found), strict=True)) == plain(a, b, first, second)


@pytest.mark.parametrize("keep", [0, 5, 1 << 17])
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(2, 40))
@settings(max_examples=25, deadline=None)
def test_settled_passes_are_the_same(keep, seed, rows, regions):
    rng = np.random.default_rng(seed)
    voxel = np.sort(rng.integers(0, 300, rows))
    a = np.maximum(voxel * regions // 300 - rng.integers(0, 4, rows), 0) + 1  # regions that begin and end
    b = a + rng.integers(1, 5, rows)
    first, second = rng.integers(1, 50, (2, rows), dtype=np.uint64)
    last = np.zeros(int(b.max()) + 1, np.intp)
    np.maximum.at(last, a, voxel)
    np.maximum.at(last, b, voxel + rng.integers(1, 9, rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "_KEEP", keep)
        best = Passes()
        for part in np.array_split(np.arange(rows), 7):
            if part.size:
                best.add(a[part], b[part], first[part], second[part])
                best.settle(last, int(voxel[part[-1]]))
        settled = sum(parts[0].size for parts in best._settled)
        found = best.arrays()
    assert list(zip(*(column.tolist() for column in found), strict=True)) == plain(a, b, first, second)
    assert settled <= len(found[0])


def test_passes_of_regions_that_are_behind_are_put_aside(monkeypatch):
    monkeypatch.setattr(passes, "_KEEP", 0)
    best = Passes()
    best.add(np.array([1, 2]), np.array([2, 3]), np.array([5, 6], np.uint64), np.array([7, 8], np.uint64))
    best.settle(np.array([0, 9, 20, 30]), 10)
    assert [column.tolist() for column in best._settled[0]] == [[(1 << 32) + 2], [5], [7]]
    assert best._rows == 1


def test_worse_passes_of_a_known_pair_are_not_gathered():
    best = Passes()
    ones = np.ones(1000, np.int64)
    for low in (500, 400):
        keys = np.arange(1000, dtype=np.uint64) % 100 + np.uint64(low)
        best.add(ones, ones + 1, keys, keys + np.uint64(1))
    assert best._rows == 10  # those of the highest key, 599, of the first call
    assert [column.tolist() for column in best.arrays()] == [[1], [2], [599], [600]]
