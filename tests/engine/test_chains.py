"""A small plan goes to a worker as one chain of bundles; results, failures and restarts are those of single bundles."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from engine_parts import LIMIT, long_plan
from engine_plans import result, stored
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.engine.chains import chain
from volengine.engine.grouping import BUNDLE_SECONDS
from volengine.engine.ledger import PlanFolder
from volengine.engine.on_dask import OnDask
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_jobs
from volengine.engine.state import PlanState
from volengine.engine.work import run_units

QUIET = RunOptions(progress=False, durable=False)
STAGES = ["sum", "parts", "total", "less", "again"]


def array_of(seed: int, shape=(9, 6, 7)) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 100, shape).astype("int16")


def state_of(folder, plan: Plan, options: RunOptions = QUIET) -> PlanState:
    state = PlanState(plan, PlanFolder(folder / "run" / "plans" / plan.name), options, LIMIT)
    state.prepare()
    return state


def whole(state: PlanState, seconds: float | None = 0.001, together: bool = True):
    return chain(state, lambda stage: seconds, lambda stages: together)


def expected(array: np.ndarray, radius: int) -> np.ndarray:
    """Sums of boxes that are cut off at the faces."""
    padded = np.pad(array.astype(np.int64), radius)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 3)
    return windows.sum(axis=(3, 4, 5))


def check(plan: Plan, array: np.ndarray) -> None:
    first = expected(array, 1)
    assert np.array_equal(result(plan, 0), first)
    assert np.array_equal(result(plan), expected(first - first.max(), 2))


def go_on(state: PlanState) -> None:
    """Run what is left, bundle by bundle."""
    while state.active and not state.at_end:
        bundle = state.next_bundle(1)
        assert bundle is not None
        assert not bundle.then
        state.received(run_units(bundle))
        state.under_way -= 1
        state.advance()
    state.finish()


def test_a_small_plan_is_one_chain_of_all_its_stages(tmp_path):
    array = array_of(1)
    plan = long_plan(tmp_path, stored(tmp_path, array))
    state = state_of(tmp_path, plan)
    bundle = whole(state)
    assert [part.stage.name for part in bundle.parts] == STAGES
    assert [len(part.numbers) for part in bundle.parts] == [len(stage.tiling) for stage in plan.stages]
    assert not state.waiting
    assert whole(state) is None  # it is under way
    for part in bundle.parts:
        state.received(run_units(part))
    state.under_way -= 1
    state.advance()
    assert state.at_end
    state.finish()
    check(plan, array)
    assert {name: tally.said()["units"] for name, tally in state.tallies.items()} == {
        stage.name: len(stage.tiling) for stage in plan.stages
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 4), st.data())
def test_a_worker_that_ends_anywhere_in_a_chain_leaves_a_plan_that_goes_on_and_equals_the_whole(
    tmp_path_factory, done, data
):
    folder, array = tmp_path_factory.mktemp("chain"), array_of(2, (6, 5, 4))
    plan = long_plan(folder, stored(folder, array))
    state = state_of(folder, plan)
    parts = whole(state).parts
    bundle = parts[0].followed_by(parts[1:])
    for part in parts[:done]:
        run_units(part)
    numbers = parts[done].numbers
    if some := data.draw(st.integers(0, len(numbers) - 1)):
        run_units(replace(parts[done], numbers=numbers[:some]))
    again = data.draw(st.booleans())  # the driver ends, too
    if again:
        state = state_of(folder, plan)
        rest = whole(state)  # nothing has failed that this driver knows of
        if rest is not None:
            assert [part.stage.name for part in rest.parts] == STAGES[done:]
            assert rest.parts[0].numbers == numbers[some:]
            for part in rest.parts:
                state.received(run_units(part))
            state.under_way -= 1
            state.advance()
    else:
        left = state.unfinished(bundle)
        assert (left.stage.name, left.numbers) == (STAGES[done], numbers[some:])
        assert state.failed(bundle, RuntimeError("the worker was killed"), final=False)
        state.under_way -= 1
        assert state.stage.name == STAGES[done]
        assert state.attempts == Counter({(STAGES[done], numbers[some]): 1})
        assert whole(state) is None  # unit by unit, until one knows which one it is
        assert state.parted[0] == [numbers[some]]
    go_on(state)
    check(plan, array)


def test_units_that_a_closing_worker_has_not_begun_are_found_again(tmp_path):
    array = array_of(3)
    plan = long_plan(tmp_path, stored(tmp_path, array))
    state = state_of(tmp_path, plan)
    first, second, *_ = whole(state).parts
    state.received(run_units(first) + run_units(replace(second, numbers=second.numbers[:1])))
    state.under_way -= 1
    state.advance()
    assert (state.stage.name, list(state.pending)) == ("parts", list(second.numbers[1:]))
    assert [part.stage.name for part in whole(state).parts] == STAGES[1:]


def test_units_in_the_ledger_are_taken_out_of_a_chain(tmp_path):
    plan = long_plan(tmp_path, stored(tmp_path, array_of(4)))
    bundle = whole(state_of(tmp_path, plan))
    units = {part.stage.name: set(part.numbers) for part in bundle.parts}
    assert bundle.less({}) == bundle
    assert bundle.less(units) is None
    left = bundle.less({**units, "less": set(), "parts": {0}})
    assert [part.stage.name for part in left.parts] == ["parts", "less"]
    assert left.numbers == bundle.parts[1].numbers[1:]
    assert left.parts == (replace(left, then=()), *left.then)


@pytest.mark.parametrize(
    ("why", "seconds", "together"),
    [("unknown", None, True), ("long", BUNDLE_SECONDS / 10, True), ("other workers", 0.001, False)],
)
def test_plans_that_are_not_small_or_need_several_workers_go_stage_by_stage(tmp_path, why, seconds, together):
    state = state_of(tmp_path, long_plan(tmp_path, stored(tmp_path, array_of(5))))
    assert whole(state, seconds, together) is None
    assert state.next_bundle(1).then == ()


def test_parts_of_a_run_share_each_stage(tmp_path):
    plan = long_plan(tmp_path, stored(tmp_path, array_of(5)))
    assert whole(state_of(tmp_path, plan, QUIET.with_(part="1/2"))) is None


@pytest.mark.slow
def test_a_collection_of_small_plans_on_workers_with_chains_is_what_it_is_without(tmp_path, monkeypatch):
    """One plan has an input that is refused in its third stage, another one's is damaged; the others are done."""
    monkeypatch.setattr("volengine.engine.chains.BUNDLE_SECONDS", 600)  # however busy the machine is
    arrays = [array_of(seed) for seed in range(16)]
    sources = [stored(tmp_path, array) for array in arrays]
    given_out: list[int] = []
    submit = OnDask.submit
    monkeypatch.setattr(OnDask, "submit", lambda self, b: (given_out.append(len(b.parts)), submit(self, b))[1])
    plans = [long_plan(tmp_path, source, f"t{n:02d}") for n, source in enumerate(sources)]
    stages = list(plans[11].stages)
    refusing = replace(
        stages[3], kernel="engine_kernels:refuse_at", params={"numbers": [1], "trace": str(tmp_path / "x")}
    )
    plans[11] = replace(plans[11], stages=(*stages[:3], refusing, stages[4]))
    report = run_jobs(
        [Job(plan.name, lambda plan=plan: plan) for plan in plans],
        str(tmp_path / "run"),
        RunOptions(progress=False, workers=2, memory_limit="1GB"),
    )
    assert list(report.failures) == ["t11"]
    assert "block 1 holds no numbers" in str(report.failures["t11"])
    for n, (plan, array) in enumerate(zip(plans, arrays, strict=True)):
        if n != 11:
            check(plan, array)
    assert max(given_out) == 5
    failed = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    failed = [entry for entry in failed if entry["event"] == "unit failed"]
    assert [(entry["name"], entry["stage"], entry["numbers"][0]) for entry in failed] == [("t11", "less", 1)]


def test_a_scratch_array_that_was_half_deleted_when_its_driver_was_killed_is_made_again(tmp_path):
    array = array_of(5)
    plan = long_plan(tmp_path, stored(tmp_path, array))
    go_on(state_of(tmp_path, plan))
    folder = PlanFolder(tmp_path / "run" / "plans" / plan.name)
    (folder.path / "finished.json").unlink(missing_ok=True)
    scratch = [spec for spec in plan.images if spec.scratch]
    assert scratch
    for spec in scratch:
        left = tmp_path / "run" / "plans" / plan.name / "scratch" / spec.url.rpartition("/")[2] / "c"
        left.mkdir(parents=True)
        (left / "0").write_bytes(b"rest")
    go_on(state_of(tmp_path, plan))
    check(plan, array)
