"""Units that have failed in another part of a run: they are not waited for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_plans import result, simple, stored

from volengine.core.errors import InputError, RunError
from volengine.engine.failures import FOLDER, Failures
from volengine.engine.lock import Lock
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.receipts import read_lines
from volengine.engine.report import RunReport
from volengine.engine.run import Job, run_jobs

PATIENCE_S = 20.0


def both_parts(folder: Path, plans: list[Plan], **options: Any) -> list[RunReport]:
    """Run two parts side by side; return their reports."""
    reports: dict[int, RunReport] = {}

    def part(k: int) -> None:
        given = RunOptions(part=f"{k}/2", progress=False, durable=False, patience_s=PATIENCE_S, **options)
        reports[k] = run_jobs([Job(p.name, lambda p=p: p) for p in plans], str(folder / "run"), given)

    threads = [threading.Thread(target=part, args=(k,)) for k in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [reports[k] for k in (1, 2)]


def events(folder: Path, event: str) -> list[dict[str, Any]]:
    return [entry for entry in read_lines(folder / "run" / "log.jsonl") if entry["event"] == event]


def test_what_is_refused_in_one_part_is_given_up_in_the_other(tmp_path: Path) -> None:
    source = stored(tmp_path, np.zeros((64, 4, 4), "int16"))
    trace = tmp_path / "trace"
    bad, good = (
        simple(tmp_path, source, "refuse_at", (4, 4, 4), name=n, params={"numbers": numbers, "trace": str(trace)})
        for n, numbers in (("bad", [0, 1]), ("good", []))
    )
    reports = both_parts(tmp_path, [bad, good])
    assert [list(report.failures) for report in reports] == [["bad"], ["bad"]]
    assert all(isinstance(report.failures["bad"], InputError) for report in reports)
    assert "holds no numbers" in str(reports[0].failures["bad"])
    assert events(tmp_path, "taking over") == []  # so nobody has waited for the patience to end
    assert np.array_equal(result(good), np.zeros((64, 4, 4)))


def test_a_failure_of_one_machine_is_tried_by_another_part_at_once(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 100, (64, 4, 4)).astype("int16")
    (tmp_path / "marker").mkdir()
    params = {"numbers": [5], "marker": str(tmp_path / "marker")}  # it fails the first time
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params=params)
    reports = both_parts(tmp_path, [plan], retries=0)
    assert sorted(len(report.failures) for report in reports) == [0, 1]
    assert np.array_equal(result(plan), array)
    assert events(tmp_path, "taking over")


def test_after_two_parts_nobody_tries_any_more(tmp_path: Path) -> None:
    run = tmp_path / "run"
    locks = [Lock(run / f"driver-{k}-of-3.lock") for k in (1, 2, 3)]
    assert all(lock.create() for lock in locks)
    notes = [Failures(run, f"{k}/3", lock.nonce) for k, lock in enumerate(locks, 1)]
    assert notes[2].of("1234") == []
    for k in (0, 1):
        notes[k].note("1234", "basins", 5, RuntimeError("no memory"), final=False)
        assert [(one.part, one.number) for one in notes[2].of("1234")] == [("1/3", 5), ("2/3", 5)][: k + 1]
    assert notes[2].of("other") == []
    assert isinstance(notes[2].of("1234")[0].to_error(), RunError)
    assert "unit 5 of basins failed in part 1/3: no memory" in str(notes[2].of("1234")[0].to_error())
    for lock in locks:
        lock.release()


def test_notes_of_an_earlier_run_say_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first, second, third = (Lock(run / f"driver-{k}-of-3.lock") for k in (1, 2, 3))
    assert first.create()
    Failures(run, "1/3", first.nonce).note("1234", "basins", 5, InputError("is cut off"), final=True)
    assert second.create()
    living = Failures(run, "2/3", second.nonce)
    first.release()  # it has ended after this one began
    assert [one.final for one in living.of("1234")] == [True]
    assert third.create()
    assert Failures(run, "3/3", third.nonce).of("1234") == []  # it may be that of a run before this one
    third.release()
    second.release()
    fourth = Lock(run / "driver-1-of-3.lock")
    assert fourth.create()
    Failures(run, "1/3", fourth.nonce)
    assert not (run / FOLDER).exists()  # nobody else is alive
    fourth.release()


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"part": 1}', b"\xff", b'{"part":"1/2","identity":"1234"}'])
def test_damaged_notes_say_nothing(tmp_path: Path, line: bytes) -> None:
    run = tmp_path / "run"
    first, second = (Lock(run / f"driver-{k}-of-2.lock") for k in (1, 2))
    assert first.create()
    assert second.create()
    mine, other = Failures(run, "1/2", first.nonce), Failures(run, "2/2", second.nonce)
    other.note("1234", "basins", 5, RuntimeError("a"), final=False)
    with (run / FOLDER / f"{second.nonce}.jsonl").open("ab") as file:
        file.write(line + b"\n")
    other.note("1234", "basins", 6, RuntimeError("b"), final=False)
    assert [one.number for one in mine.of("1234")] == [5, 6]
    for lock in (first, second):
        lock.release()


def test_small_units_of_many_plans_go_together(tmp_path: Path) -> None:
    """A plan of eight units of 1 ms beside many others is one bundle, alone it is shared by the slots."""
    from volengine.engine.ledger import PlanFolder
    from volengine.engine.state import PlanState

    plan = simple(
        tmp_path, stored(tmp_path, np.zeros((32, 4, 4), "int16")), "fail_at", (4, 4, 4),
        params={"numbers": [], "marker": ""},
    )  # fmt: skip

    def first(expected_s: float | None, beside: int) -> int:
        state = PlanState(plan, PlanFolder(tmp_path / "p"), RunOptions(), 10**12)
        state.prepare()
        bundle = state.next_bundle(2, expected_s=expected_s, beside=beside)
        assert bundle is not None
        return len(bundle.numbers)

    assert first(None, 0) == 1  # nothing is known: a unit may take an hour
    assert first(0.001, 0) == 2
    assert first(0.001, 1000) == 8
    assert first(0.5, 1000) == 3  # of 1.5 s
    assert first(100.0, 1000) == 2
