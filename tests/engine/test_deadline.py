"""Deadlines: how they are written, and runs that stop in time and go on."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from engine_plans import result, simple, stored
from hypothesis import given
from hypothesis import strategies as st

from volengine.core.errors import DeadlineError, InputError
from volengine.engine.deadline import SLOWER, SLURM, Deadline, end_of
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import run_plan

SHAPE, CORE, UNITS = (32, 4, 4), (4, 4, 4), 8


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90min", 5400), ("2h", 7200), ("1.5 h", 5400), ("30s", 30), ("2d", 172800), ("10 m", 600)),
        *(("4:30", 16200), ("0:00:10", 10), ("2-00:00", 172800), ("1-12:00:00", 129600)),
    ],
)
def test_a_time_from_now(text: str, seconds: float) -> None:
    assert end_of(text, now=100.0) == 100 + seconds


def test_a_date_is_local_time_unless_it_says_its_zone() -> None:
    local = datetime(2030, 3, 1, 8).timestamp()
    assert end_of("2030-03-01T08:00", now=0.0) == end_of("2030-03-01 08:00:00", now=0.0) == local
    assert end_of("1970-01-02T00:00+00:00", now=0.0) == 86400


NO_TIMES = ["", "soon", "90", "5 parsecs", "-2h", "2030-03-01", "8:3", "2030-13-01T08:00", "1e400h"]


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--deadline is .*; write auto, none"):
        end_of(text, now=0.0)


@pytest.mark.parametrize("text", ["0min", "2001-01-01T08:00"])
def test_a_time_that_is_over_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="that time is over"):
        RunOptions(deadline=text)


@pytest.mark.parametrize(
    ("told", "end"), [("7200", 7200.0), ("50", None), ("", None), ("Unknown", None), ("1e9", None)]
)
def test_auto_is_the_end_of_the_slurm_job(told: str, end: float | None) -> None:
    assert end_of("auto", now=100.0, environ={SLURM: told}) == end
    assert end_of("none", now=100.0, environ={SLURM: told}) is None


def test_an_older_slurm_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = datetime.fromtimestamp(7200).isoformat()
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ "$*" = "--noheader --jobs 17 --format %e" ] && echo {answer} || echo N/A\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert end_of("auto", now=100.0, environ={"SLURM_JOB_ID": "17"}) == 7200
    assert end_of("auto", now=100.0, environ={"SLURM_JOB_ID": "18"}) is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert end_of("auto", now=100.0, environ={"SLURM_JOB_ID": "17"}) is None


@given(longest=st.floats(0.001, 1000), before=st.integers(0, 3))
def test_the_units_that_fit_end_in_time(longest: float, before: int) -> None:
    deadline = Deadline("1h")
    fitting = deadline.fitting(longest, before)
    assert fitting is not None
    assert fitting == 0 or (fitting + before) * SLOWER * longest <= 3600
    assert Deadline("none").fitting(longest, before) is None


def test_one_unit_that_was_never_measured_is_begun() -> None:
    assert [Deadline("1h").fitting(0.0, before) for before in (0, 1)] == [1, 0]


def slow(tmp_path: Path) -> tuple[np.ndarray, Plan]:
    """An array, and a plan that copies it in units of a second, each of which leaves a line in a file."""
    array = np.random.default_rng(0).integers(0, 100, SHAPE).astype("int32")
    params = {"seconds": 1.0, "trace": str(tmp_path / "trace")}
    return array, simple(tmp_path, stored(tmp_path, array), "slow_copy", CORE, params=params)


def test_a_run_stops_before_its_deadline_and_goes_on(tmp_path: Path) -> None:
    array, plan = slow(tmp_path)
    options = RunOptions(progress=False, deadline="2.5s")
    with pytest.raises(DeadlineError, match=rf"{stopped()} Done are \d of 8 units\. The same command") as stop:
        run_plan(plan, str(tmp_path / "run"), options)
    assert stop.value.exit_code == 75
    begun = (tmp_path / "trace").read_text().split() if (tmp_path / "trace").exists() else []
    done = list(PlanFolder(tmp_path / "run" / "plans" / plan.name).receipts)
    assert len(begun) == len(done) < UNITS  # nothing was cut off
    run_plan(plan, str(tmp_path / "run"), RunOptions(progress=False))
    np.testing.assert_array_equal(result(plan), array)
    assert sorted(map(int, (tmp_path / "trace").read_text().split())) == list(range(UNITS))  # and nothing ran twice


def test_with_workers_too(tmp_path: Path) -> None:
    array, plan = slow(tmp_path)
    with pytest.raises(DeadlineError, match=stopped()):
        run_plan(plan, str(tmp_path / "run"), RunOptions(progress=False, workers=2, deadline="3.5s"))
    run_plan(plan, str(tmp_path / "run"), RunOptions(progress=False, workers=2))
    np.testing.assert_array_equal(result(plan), array)


def test_a_unit_that_was_measured_and_cannot_end_in_time_is_not_begun(tmp_path: Path) -> None:
    _, plan = slow(tmp_path)
    with pytest.raises(DeadlineError):
        run_plan(plan, str(tmp_path / "run"), RunOptions(progress=False, deadline="6s"))
    begun = (tmp_path / "trace").read_text()
    with pytest.raises(DeadlineError, match=stopped()):
        run_plan(plan, str(tmp_path / "run"), RunOptions(progress=False, deadline="1s"))
    assert (tmp_path / "trace").read_text() == begun


def stopped() -> str:
    return r"Stopped before the deadline \(.*\): what is left could not have ended in time\."
