"""Runs of short units begin in the driver's process, and go on with workers where these are worth their start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_plans import result, simple, stored

from volengine.core.volume import Volume
from volengine.engine import here_first
from volengine.engine.here_first import MARK, Took, pays, worth_s
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_jobs, run_plan

TWO = RunOptions(progress=False, workers=2, memory_limit="1GB")
NOTHING = Took(0.0)

KILLED = """
import json
import sys
from pathlib import Path
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan
from test_here_first import TWO, plan_of
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    source = Volume.from_json(json.loads((folder / "source.json").read_text()))
    run_plan(plan_of(folder, source, "kill_self", dict(share=1.0, folder=str(folder / "kills"), most=1, seconds=0.0)),
             str(folder / "run"), TWO, light=True)
"""


def source_of(folder: Path) -> tuple[np.ndarray, Volume]:
    array = np.random.default_rng(4).integers(1, 100, (96, 4, 4)).astype("int16")
    return array, stored(folder, array)


def plan_of(folder: Path, source: Volume, kernel: str, params: dict, name: str = "t") -> Plan:
    return simple(folder, source, kernel, (4, 4, 4), params=params, name=name)


def processes(folder: Path, name: str = "t") -> list[int]:
    """The processes that have run the units of a plan, in the order of the receipts' times."""
    receipts = sorted(PlanFolder(folder / "run" / "plans" / name).receipts, key=lambda r: r["time"])
    assert sorted(r["number"] for r in receipts) == list(range(24))  # each unit once
    return [r["pid"] for r in receipts]


def events(folder: Path) -> str:
    return (folder / "run" / "log.jsonl").read_text()


def test_little_work_starts_no_workers(tmp_path):
    array, source = source_of(tmp_path)
    plan = plan_of(tmp_path, source, "fail_at", {"numbers": [], "marker": ""})
    run_plan(plan, str(tmp_path / "run"), TWO, light=True)
    assert np.array_equal(result(plan), array)
    assert set(processes(tmp_path)) == {os.getpid()}
    assert "workers are started" not in events(tmp_path)
    assert not (tmp_path / "run" / MARK).exists()


@pytest.mark.slow
@pytest.mark.parametrize("light", [True, False])
def test_workers_take_over_in_the_middle_of_a_bundle(tmp_path, light, monkeypatch):
    """24 units of 0.2 s, of which a start is worth 1 s; units that are not light never run here."""
    monkeypatch.setattr(here_first, "START_S", 0.1)
    array, source = source_of(tmp_path)
    plan = plan_of(tmp_path, source, "slow_copy", {"seconds": 0.2, "trace": str(tmp_path / "trace")})
    run_plan(plan, str(tmp_path / "run"), TWO, light=light)
    assert np.array_equal(result(plan), array)
    ran = processes(tmp_path)
    assert len((tmp_path / "trace").read_text().split()) == 24  # what was given back had not been begun
    assert ran.count(os.getpid()) in (range(1, 20) if light else [0])
    assert ("workers are started" in events(tmp_path)) == light
    assert not (tmp_path / "run" / MARK).exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cluster", "mark"])
def test_workers_from_the_beginning(tmp_path, how):
    """With --cluster local; and where a former run was killed while units ran in its process."""
    _, source = source_of(tmp_path)
    options = TWO.with_(cluster="local") if how == "cluster" else TWO
    if how == "mark":
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / MARK).touch()
    plan = plan_of(tmp_path, source, "fail_at", {"numbers": [], "marker": ""})
    run_plan(plan, str(tmp_path / "run"), options, light=True)
    assert os.getpid() not in processes(tmp_path)
    assert not (tmp_path / "run" / MARK).exists()


@pytest.mark.slow
def test_a_unit_that_kills_its_process_here_is_run_by_a_worker_next_time(tmp_path):
    array, source = source_of(tmp_path)
    (tmp_path / "kills").mkdir()
    (tmp_path / "source.json").write_text(json.dumps(source.to_json()))
    (tmp_path / "killed.py").write_text(KILLED)
    run = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path)]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""), *sys.path])
    ended = [subprocess.run(run, env=os.environ | {"PYTHONPATH": path}, check=False).returncode for _ in range(2)]
    assert ended == [-signal.SIGKILL, 0]
    (kill,) = (tmp_path / "kills").iterdir()
    assert int(kill.name.split("-")[0]) not in processes(tmp_path)
    assert np.array_equal(result(plan_of(tmp_path, source, "fail_at", {})), array)


def test_an_error_of_a_unit_is_named_and_others_go_on(tmp_path):
    array, source = source_of(tmp_path)
    bad = plan_of(tmp_path, source, "fail_at", {"numbers": [3], "marker": ""}, "bad")
    good = plan_of(tmp_path, source, "fail_at", {"numbers": [], "marker": ""}, "good")
    jobs = [Job(plan.name, lambda plan=plan: plan, light=True) for plan in (bad, good)]
    report = run_jobs(jobs, str(tmp_path / "run"), TWO.with_(retries=0))
    assert list(report.failures) == ["bad"]
    assert np.array_equal(result(good), array)
    assert set(processes(tmp_path, "good")) == {os.getpid()}


# -- the rule ----------------------------------------------------------------------------------------------

WORTH = worth_s(2)


@pytest.mark.parametrize(
    ("left", "whole", "took", "units", "answer"),
    [
        (1000.0, True, NOTHING, None, False),  # a forecast that rests on nothing
        (1000.0, True, Took(1.0), (Took(0.1), 0.1), False),  # ... on next to nothing
        (20.0, True, Took(1.0), (Took(0.8), 0.8), True),
        (3.0, True, Took(1.0), (Took(0.8), 0.8), False),
        (20.0, True, Took(1.0), (Took(0.8), 8.0), False),  # units that overlap
        (20.0, True, Took(10.0, 1.0, 9.0), (Took(8.0, 0.8, 7.2), 8.0), False),  # 2 s of work on a busy machine
        (80.0, True, Took(10.0, 1.0, 9.0), (Took(8.0, 0.8, 7.2), 8.0), True),
        (20.0, True, Took(10.0, 1.0, 0.1), (Took(8.0, 0.8, 0.1), 8.0), True),  # a slow disk
        (0.0, False, Took(WORTH + 0.1), None, True),  # nothing is known, and it has been here for long enough
        (0.0, False, Took(WORTH - 0.1), None, False),
        (0.0, False, Took(4 * WORTH, 1.0, 9.0), None, False),  # on a busy machine
        (3.0, True, Took(2 * WORTH), (Took(WORTH), WORTH), False),  # it is nearly done
    ],
)
def test_what_is_worth_a_start(left, whole, took, units, answer):
    assert pays(WORTH, left, whole, took, units) is answer


def test_time_is_that_of_this_thread():
    before = Took.now()
    while (took := Took.now() - before).wall_s < 0.1:
        pass
    assert took.ran_s >= 0
    assert took.queued_s >= 0
    assert 0 < took.share <= 1
    assert (before + took).wall_s == pytest.approx(before.wall_s + took.wall_s)


def test_more_workers_are_worth_their_start_sooner():
    assert [worth_s(n) for n in (1, 2, 4, 100)] == sorted([worth_s(n) for n in (1, 2, 4, 100)], reverse=True)
    assert worth_s(1) == worth_s(2) == pytest.approx(2 / (1 - 1.25 / 2))
