"""In a worker one bundle computes at a time, while the one before waits for the disk."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from engine_plans import result, simple, stored

from volengine.engine.ledger import PlanFolder
from volengine.engine.on_worker import SPARE, run_here
from volengine.engine.options import RunOptions
from volengine.engine.run import Job, run_jobs
from volengine.engine.state import PlanState
from volengine.engine.work import Bundle, Worker, run_some
from volengine.engine.workers import Expected

QUIET = RunOptions(progress=False)


def bundle_of(tmp_path, count=4):
    array = np.ones((24, 4, 4), "int16")
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params={"numbers": [], "marker": ""})
    folder = PlanFolder(tmp_path / "run" / "plans" / "t")
    PlanState(plan, folder, QUIET, 10**12).prepare()
    stage = plan.stages[0]
    return Bundle(str(folder.path), stage, plan.identities[stage.name], tuple(range(count)), 10**12), folder


@pytest.mark.slow
def test_units_of_several_volumes_never_compute_at_the_same_time_in_a_worker(tmp_path):
    """So a worker holds the arrays of one bundle, whatever waits for the disk."""
    array = np.random.default_rng(3).integers(1, 100, (24, 4, 4)).astype("int16")
    source, trace = stored(tmp_path, array), tmp_path / "trace"
    params = {"seconds": 0.02, "trace": str(trace)}
    plans = [simple(tmp_path, source, "timed_copy", (4, 4, 4), name=f"t{n}", params=params) for n in range(8)]
    jobs = [Job(plan.name, lambda plan=plan: plan) for plan in plans]
    report = run_jobs(jobs, str(tmp_path / "run"), QUIET.with_(workers=2, memory_limit="1GB"))
    assert not report.failures
    assert all(np.array_equal(result(plan), array) for plan in plans)
    times = defaultdict(list)
    for line in trace.read_text().splitlines():
        process, began, ended = line.split()
        times[process].append((float(began), float(ended)))
    assert sum(map(len, times.values())) == 8 * 6
    for spans in times.values():
        spans.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize("count", [1, 4])
def test_others_may_compute_when_all_is_written_and_before_the_disk_is_waited_for(tmp_path, monkeypatch, count):
    bundle, folder = bundle_of(tmp_path, count)
    seen = []
    flush = Worker.flush
    monkeypatch.setattr(Worker, "flush", lambda self: (seen.append(len(self.written)), flush(self))[1])
    receipts, left = run_some(bundle, computed=lambda: seen.append("computed"))
    assert seen == ["computed", count]
    assert len(receipts) == count == len(list(folder.receipts))
    assert left == ()


@pytest.mark.parametrize("after", [1, 2, 3])
def test_units_that_were_not_begun_are_given_back(tmp_path, after):
    bundle, folder = bundle_of(tmp_path)
    asked = []
    receipts, left = run_some(bundle, enough=lambda: asked.append(1) or len(asked) >= after)
    assert left == tuple(range(after, 4))
    assert [r["number"] for r in receipts] == list(range(after))
    assert sorted(r["number"] for r in folder.receipts) == list(range(after))


def test_a_worker_that_ends_begins_nothing_more(tmp_path):
    """The real worker of Dask, told to close while a bundle waits for its turn."""
    from distributed import Client, LocalCluster

    from volengine.engine import on_worker

    bundle, folder = bundle_of(tmp_path)
    nobody = Expected((), "", "", "")
    with (
        LocalCluster(n_workers=1, threads_per_worker=1 + SPARE, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
        on_worker._TURN,
    ):
        (worker,) = cluster.workers.values()
        from distributed.core import Status

        future = client.submit(run_here, bundle, nobody, True, pure=False)
        while not worker.state.executing_count:
            time.sleep(0.01)
        before, worker.status = worker.status, Status.closing
        on_worker._TURN.release()
        try:
            assert future.result(30) == ([], bundle.numbers)
        finally:
            worker.status = before
            on_worker._TURN.acquire()
    assert not list(folder.receipts)
