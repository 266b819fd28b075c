"""Stages of a roi: boxes in voxels of the whole, arrays that hold the roi alone, and what depends on a lost result."""

from __future__ import annotations

import json

import numpy as np
import pytest
from engine_kernels import box_sum
from engine_plans import result, spec, stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import PlanError
from volengine.core.tiling import Tiling
from volengine.engine import inventory
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import run_plan
from volengine.engine.stage import ArrayInput, Output, Stage

SHAPE, CORE = (9, 12, 15), (4, 4, 4)


def clipped(array, radius):
    return box_sum(np.pad(array, radius), (radius,) * 3, (radius,) * 3)


def two_stages(folder, source, roi, first=2, second=1):
    """The sum around each voxel of a roi, which sees the whole; and the sum of these, which sees the roi alone."""
    tiling = Tiling(SHAPE, CORE, roi.start, roi.stop)
    middle = spec(str(folder / "run" / "plans" / "t" / "scratch" / "m.zarr"), roi.shape, "int32", CORE, scratch=True)
    out = spec(str(folder / "out.ome.zarr"), roi.shape, "int32", CORE)

    def summed(name, array, radius, made):
        output = {"out": Output(made.volume(), at=roi.start)}
        kernel = "engine_kernels:clipped_sum"
        return Stage(name, kernel, tiling, {"radius": radius}, {"source": array}, outputs=output)

    one = summed("one", ArrayInput(source, (first,) * 3, (first,) * 3), first, middle)
    two = summed("two", ArrayInput(middle.volume(), (second,) * 3, (second,) * 3, at=roi.start), second, out)
    return Plan("t", (one, two), (middle, out))


@st.composite
def rois(draw):
    sides = []
    for n in SHAPE:
        start = draw(st.integers(0, n - 1))
        sides.append((start, draw(st.integers(start + 1, n))))
    return Box(tuple(a for a, _ in sides), tuple(b for _, b in sides))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(roi=rois())
def test_a_roi_sees_the_whole_and_arrays_of_the_roi_end_with_it(tmp_path_factory, roi):
    folder = tmp_path_factory.mktemp("roi")
    array = np.random.default_rng(1).integers(0, 99, SHAPE).astype("int16")
    plan = two_stages(folder, stored(folder, array), roi)
    run_plan(plan, str(folder / "run"), RunOptions(progress=False, durable=False))
    np.testing.assert_array_equal(result(plan), clipped(clipped(array, 2)[roi.slices], 1))


def test_a_plan_of_a_roi_is_the_same_after_its_json(tmp_path):
    source = stored(tmp_path, np.ones(SHAPE, "int16"))
    plan = two_stages(tmp_path, source, Box((1, 2, 3), (9, 11, 13)))
    stage = plan.stages[1]
    again = Stage.from_json(json.loads(json.dumps(stage.to_json())), ["engine_kernels:clipped_sum"])
    assert again.identify({"source": "x"}, {}) == stage.identify({"source": "x"}, {})
    assert again == stage


def test_rois_are_part_of_the_identity_and_none_changes_nothing(tmp_path):
    source = stored(tmp_path, np.ones(SHAPE, "int16"))

    def identity(*roi):
        tiling = Tiling(SHAPE, CORE, *roi)
        stage = Stage("s", "engine_kernels:partial", tiling, arrays={"source": ArrayInput(source)}, emits=True)
        return stage.identify({"source": "x"}, {})

    assert identity() == identity((0, 0, 0), SHAPE)
    assert len({identity(), identity((1, 0, 0), SHAPE), identity((0, 0, 0), (8, 12, 15))}) == 3


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(roi=rois(), data=st.data())
def test_what_changes_with_a_lost_block_of_a_roi_depends_on_it(tmp_path, roi, data):
    plan = two_stages(tmp_path, stored(tmp_path, np.ones(SHAPE, "int16")), roi)
    tiling = plan.stages[0].tiling
    lost = data.draw(st.integers(0, len(tiling) - 1))
    one = np.random.default_rng(0).integers(0, 1000, roi.shape)
    two = one.copy()
    first = tuple(-a for a in roi.start)
    two[tiling.box(lost).shift(first).slices] += 7
    a, b = clipped(one, 1), clipped(two, 1)
    differ = {
        n for n in range(len(tiling)) if not np.array_equal(*(v[tiling.box(n).shift(first).slices] for v in (a, b)))
    }
    assert inventory.dependents(plan, {"one": {lost}}, {}).get("two", set()) == differ


def test_an_output_that_begins_elsewhere_is_refused(tmp_path):
    source = stored(tmp_path, np.ones(SHAPE, "int16"))
    out = spec(str(tmp_path / "o.zarr"), (4, 4, 4), "int32", CORE)
    tiling = Tiling(SHAPE, CORE, (1, 0, 0), (5, 4, 4))
    for at in ((0, 0, 0), (2, 0, 0)):
        with pytest.raises(PlanError, match=r"works from voxel \(1, 0, 0\) on, but its output begins at"):
            Stage("s", "a:b", tiling, arrays={"x": ArrayInput(source)}, outputs={"o": Output(out.volume(), at=at)})
