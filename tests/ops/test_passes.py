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


def test_worse_passes_of_a_known_pair_are_not_gathered():
    best = Passes()
    ones = np.ones(1000, np.int64)
    for low in (500, 400):
        keys = np.arange(1000, dtype=np.uint64) % 100 + np.uint64(low)
        best.add(ones, ones + 1, keys, keys + np.uint64(1))
    assert best._rows == 10  # those of the highest key, 599, of the first call
    assert [column.tolist() for column in best.arrays()] == [[1], [2], [599], [600]]
