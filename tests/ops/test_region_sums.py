"""Sums over the voxels of regions equal those of plain Python, whatever the pieces are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.ops.axes import PAIRS
from volengine.ops.region_sums import WEIGHT_ONE, RegionSums, _sums_of


def plain(region, place, values, count, start):
    """Every column by a loop over voxels, in Python's integers."""
    found = []
    for number in range(1, count + 1):
        mine = np.flatnonzero(region == number).tolist()
        at = [[int(p[v]) + s for p, s in zip(place, start, strict=True)] for v in mine]
        whole = [round(float(values[v]) * WEIGHT_ONE) if values.dtype.kind == "f" else int(values[v]) for v in mine]
        top = [p for p, v in zip(at, mine, strict=True) if values[v] == max(values[w] for w in mine)]
        found.append(
            {
                "voxels": len(mine),
                "weight": sum(whole),
                "sums": [sum(p[axis] for p in at) for axis in range(3)],
                "peak": float(max(values[v] for v in mine)),
                "peak_voxels": len(top),
                "peak_sums": [sum(p[axis] for p in top) for axis in range(3)],
                "products": [sum(p[a] * p[b] for p in at) for a, b in PAIRS],
            }
        )
    return {name: [one[name] for one in found] for name in found[0]}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "float16", "float32"])
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 60), st.sampled_from([1, 7, 100]))
@settings(max_examples=25, deadline=None)
def test_sums_equal_those_of_python(dtype, seed, count, extra, piece):
    rng = np.random.default_rng(seed)
    region = np.concatenate([np.arange(1, count + 1), rng.integers(1, count + 1, extra)])
    place = [rng.integers(0, side, region.size) for side in (9, 4096, 2**20)]
    high = 1 if dtype.startswith("f") else 127
    values = (rng.random(region.size) * high).astype(dtype)
    if seed % 3 == 0:
        values[:] = values[0]
    start = (int(rng.integers(-1, 50)), 7, 10**6)
    sums = RegionSums(count, start, values.dtype, products=True)
    parts = [slice(i, i + piece) for i in range(0, region.size, piece)]
    for part in parts:
        sums.add(region[part], [p[part] for p in place], values[part])
    if values.min() == values.max():
        sums.all_highest()
    else:
        for part in parts:
            top = sums.highest(region[part], values[part])
            sums.add_highest(region[part][top], [p[part][top] for p in place])
    expected = plain(region, place, values, count, start)
    assert {name: column.tolist() for name, column in sums.columns().items()} == expected


def test_two_columns_share_a_call_only_if_both_are_exact():
    """2**16 voxels at coordinates of 2**30: the sums have 46 bits each, which do not fit into one float64."""
    far = np.full(2**16, 2**30 + 1)
    group = np.zeros(far.size, np.intp)
    near = np.arange(far.size) % 3
    assert [column.tolist() for column in _sums_of(group, [far, far, near], 1)] == [
        [2**16 * (2**30 + 1)],
        [2**16 * (2**30 + 1)],
        [int(near.sum())],
    ]
