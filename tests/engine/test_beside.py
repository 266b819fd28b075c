"""Steps that are done beside the driver's loop, and bundles of one unit."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace

import numpy as np
import pytest
from engine_plans import result, simple, stored

from volengine.core.errors import InputError
from volengine.engine.beside import Beside
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.run import Job, run_jobs
from volengine.engine.state import PlanState
from volengine.engine.work import Bundle, Worker, run_units

QUIET = RunOptions(progress=False)


def test_a_step_alone_is_done_at_once_and_here():
    beside, here = Beside(), threading.get_ident()
    assert beside.do(threading.get_ident, alone=True).result(0) == here
    with pytest.raises(ZeroDivisionError):
        beside.do(lambda: 1 // 0, alone=True).result(0)
    with pytest.raises(KeyboardInterrupt):
        beside.do(_interrupted, alone=True)
    beside.close()


def _interrupted() -> None:
    raise KeyboardInterrupt


def test_steps_run_side_by_side_and_the_end_waits_for_them():
    beside, both = Beside(), threading.Barrier(2, timeout=30)
    steps = [beside.do(both.wait, alone=False) for _ in range(2)]  # each waits for the other
    beside.close()
    assert sorted(step.result(0) for step in steps) == [0, 1]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_many_plans_are_opened_and_closed_in_any_order(tmp_path, workers):
    """More plans than are open at a time; some are refused when they are made, some when they are prepared."""
    jobs, plans = [], []
    for n in range(14):
        folder = tmp_path / f"t{n}"
        folder.mkdir()
        array = np.full((8, 4, 4), n, "int16")
        plan = simple(folder, stored(folder, array), "fail_at", (4, 4, 4), params={"numbers": [], "marker": ""})
        plan = replace(plan, name=f"t{n}")
        plans.append((plan, array))
        if n == 3:
            (folder / "t.ome.zarr").mkdir()
            (folder / "t.ome.zarr" / "mine.txt").write_text("not of volengine")
        jobs.append(Job(f"t{n}", _refused if n == 5 else lambda plan=plan: plan))
    report = run_jobs(jobs, str(tmp_path / "run"), QUIET.with_(workers=workers))
    assert set(report.failures) == {"t3", "t5"}
    assert "exists" in str(report.failures["t3"])
    for n, (plan, array) in enumerate(plans):
        if n not in (3, 5):
            assert np.array_equal(result(plan), array)
    assert (tmp_path / "t3" / "t.ome.zarr" / "mine.txt").exists()


def _refused():
    raise InputError("no volume")


def test_two_jobs_of_one_name_are_refused_also_if_the_first_is_still_being_prepared(tmp_path):
    array = np.zeros((8, 4, 4), "int16")
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params={"numbers": [], "marker": ""})
    report = run_jobs([Job("a", lambda: plan), Job("b", lambda: plan)], str(tmp_path / "run"), QUIET)
    assert list(report.failures) == ["b"]
    assert "rename one" in str(report.failures["b"])


def test_plans_that_have_ended_are_not_kept(tmp_path):
    """The driver's memory does not grow with the plans of a collection."""
    array, seen = np.zeros((4, 4, 4), "int16"), []
    source = stored(tmp_path, array)

    def job(n: int) -> Job:
        def plan():
            seen.append(sum(type(one) is PlanState for one in gc.get_objects()))
            made = simple(tmp_path / f"o{n}", source, "fail_at", (4, 4, 4), params={"numbers": [], "marker": ""})
            return replace(made, name=f"t{n}")

        return Job(f"t{n}", plan)

    for n in range(40):
        (tmp_path / f"o{n}").mkdir()
    report = run_jobs([job(n) for n in range(40)], str(tmp_path / "run"), QUIET)
    assert not report.failures
    assert len(report.data["plans"]) == 40
    assert all(plan["stages"][0]["run"] == 1 for plan in report.data["plans"].values())
    assert max(seen) <= 20


@pytest.mark.parametrize("count", [1, 3])
def test_a_bundle_is_flushed_once_and_of_any_size_run_alike(tmp_path, monkeypatch, count):
    array = np.ones((12, 4, 4), "int16")
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params={"numbers": [], "marker": ""})
    folder = PlanFolder(tmp_path / "run" / "plans" / "t")
    PlanState(plan, folder, QUIET, 10**12).prepare()
    bundle = Bundle(str(folder.path), plan.stages[0], plan.identities[plan.stages[0].name], tuple(range(count)), 10**12)
    flushes: list[int] = []
    flush = Worker.flush

    def flushed(self):
        flushes.append(len(self.written))
        return flush(self)

    monkeypatch.setattr(Worker, "flush", flushed)
    receipts = run_units(bundle)
    assert flushes == [count]
    assert sorted(r["number"] for r in receipts) == list(range(count))
    assert np.array_equal(result(plan)[: 4 * count], array[: 4 * count])
