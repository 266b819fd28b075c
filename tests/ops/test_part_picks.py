"""Picks of a part in memory are those of the whole volume in which all else is background, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from predictions import make_prediction

from volengine.core.boxes import Box
from volengine.ops.basin_graph import RegionRules
from volengine.ops.basins import weight_unit
from volengine.ops.heights import BasinRules
from volengine.ops.inside import inside_only
from volengine.ops.part_picks import PartValues, part_picks, part_regions
from volengine.ops.regions import pick_array

KINDS = ("blobs", "rods", "plates", "smooth", "noise", "full", "empty")


@settings(max_examples=25)
@given(st.data())
def test_a_part_is_picked_as_in_the_whole(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 20)] * 3))
    ends = [sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in shape]
    part = Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
    dtype = data.draw(st.sampled_from(["uint8", "float16", "float32"]))
    values = make_prediction(data.draw(st.sampled_from(KINDS)), shape, data.draw(st.integers(0, 10**6)), dtype)
    basins = BasinRules(
        data.draw(st.sampled_from([60, 127, 200])) / (1 if dtype == "uint8" else 255),
        connectivity=data.draw(st.sampled_from([6, 18, 26])),
        planar=data.draw(st.booleans()),
        max_distance_vox=data.draw(st.sampled_from([2, 64])),
        products=True,
    )
    regions = RegionRules(
        unit=weight_unit(dtype),
        split=data.draw(st.booleans()),
        seed_distance_vox=data.draw(st.sampled_from([0.0, 3.0, 6.0])),
        min_voxels=data.draw(st.sampled_from([0, 4, 30])),
        margin_vox=data.draw(st.sampled_from([(0, 0, 0), (1, 2, 3)])),
        spacing_vox=data.draw(st.sampled_from([0.0, 4.0])),
        scale=data.draw(st.sampled_from([(1.0, 1.0, 1.0), (2.0, 1.0, 1.5)])),
        position=data.draw(st.sampled_from(["centroid", "maximum"])),
        planar=basins.planar,
        orient="long-axis",
        orient_sign=data.draw(st.sampled_from(["z", "out"])),
    )
    _, expected = pick_array(inside_only(values, Box.of_shape(shape), part), basins, regions)
    core = data.draw(st.tuples(*[st.integers(4, 24)] * 3))
    made = PartValues(values[part.slices], part, shape)
    found = made.basins(basins, threads=2, core=core, keep=regions.position == "maximum")
    picks = part_picks(found, regions)
    assert picks.keys() == expected.keys()
    for name, column in expected.items():
        assert np.array_equal(picks[name], column, equal_nan=column.dtype.kind == "f"), name
    assert part_regions(found, regions)["voxels"].sum() == (values[part.slices] > basins.level).sum()
    assert np.array_equal(made.values, values[part.slices])
