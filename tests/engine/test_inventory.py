"""What depends on a lost result: everything that changes when the result changes."""

from __future__ import annotations

import numpy as np
import pytest
from engine_kernels import box_sum
from engine_parts import long_plan
from engine_plans import stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volengine.core.tiling import Tiling
from volengine.engine import inventory
from volengine.engine.plan import Plan
from volengine.engine.reading import source_indices
from volengine.engine.stage import ArrayInput, Stage

SHAPE = (8, 8, 12)


def clipped(array: np.ndarray, radius: int) -> np.ndarray:
    return box_sum(np.pad(array, radius), (radius,) * 3, (radius,) * 3)


def blocks_that_differ(a: np.ndarray, b: np.ndarray, tiling: Tiling) -> set[int]:
    return {n for n in range(len(tiling)) if not np.array_equal(a[tiling.box(n).slices], b[tiling.box(n).slices])}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lost=st.sets(st.integers(0, 11), min_size=1, max_size=3), stage=st.sampled_from(["sum", "less", "again"]))
def test_whatever_changes_with_a_block_depends_on_it(tmp_path, lost, stage):
    """The oracle is NumPy on the whole volume: change the voxels of a block, and see which blocks change after it."""
    plan = long_plan(tmp_path, stored(tmp_path, np.ones(SHAPE, "int16")))
    tiling = plan.stages[0].tiling
    again = inventory.dependents(plan, {stage: lost}, {})
    one = np.random.default_rng(0).integers(0, 1000, SHAPE)
    two = one.copy()
    for number in lost:
        two[tiling.box(number).slices] += 7
    if stage == "sum":  # the maximum of the volume is in a table that all blocks read
        assert again["parts"] == lost
        assert again["total"] == {0}
        assert again["less"] == set(range(len(tiling)))
        assert again["again"] == set(range(len(tiling)))
    elif stage == "less":
        assert set(again) == {"less", "again"}
        assert again["again"] == blocks_that_differ(clipped(one, 2), clipped(two, 2), tiling)
    else:
        assert again == {"again": lost}


def test_a_wider_halo_reaches_further(tmp_path):
    plan = long_plan(tmp_path, stored(tmp_path, np.ones((4, 4, 40), "int16")))
    assert inventory.dependents(plan, {"less": {0}}, {})["again"] == {0, 1}
    assert inventory.dependents(plan, {"less": {0}}, {("again", 7): (0, 0, 30)})["again"] == {0, 1, 7}


@pytest.mark.parametrize("edge", ["reflect", "edge", "zero", "clip"])
@pytest.mark.parametrize(("low", "high"), [((6, 0, 0), (0, 0, 0)), ((0, 0, 0), (6, 0, 0)), ((6, 6, 6), (6, 6, 6))])
def test_mirrored_voxels_are_read_where_they_are(tmp_path, edge, low, high):
    source = stored(tmp_path, np.ones(SHAPE, "int16"))
    tiling = Tiling(SHAPE, (4, 4, 4))
    plan = long_plan(tmp_path, source)
    first = plan.stages[0]
    reader = Stage(
        "reader", "a:b", tiling, arrays={"x": ArrayInput(first.outputs["out"].volume, low, high, edge)}, emits=True
    )
    both = Plan("t", (first, reader), plan.images[:1])
    for lost in range(len(tiling)):
        again = inventory.dependents(both, {"sum": {lost}}, {}).get("reader", set())
        for number in range(len(tiling)):
            box = reader.arrays["x"].box(tiling.box(number), SHAPE)
            sides = zip(box.start, box.stop, SHAPE, strict=True)
            seen = [set(source_indices(a, b, n, edge)) for a, b, n in sides]
            core = tiling.box(lost)
            ranges = [set(range(a, b)) for a, b in zip(core.start, core.stop, strict=True)]
            if all(s & r for s, r in zip(seen, ranges, strict=True)) and edge in ("reflect", "edge"):
                assert number in again
