"""One driver per run folder, with real processes: doubled, killed, stopped, in parts, on other machines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from calling import Command
from drivers import Work
from engine_plans import result, simple, stored

from volengine.core.errors import BusyError, InputError, RunError
from volengine.engine import driver_lock
from volengine.engine import lock as locks
from volengine.engine.driver_lock import drivers, only_driver
from volengine.engine.lock import Lock
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_jobs, run_plan
from volengine.engine.show import status

QUIET = RunOptions(progress=False)


class Several(Work):
    """Work whose drivers are ended when the test is."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, **options: object) -> subprocess.Popen[str]:
        self.started.append(super().start(**options))
        return self.started[-1]

    def locks(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "run").iterdir() if "lock" in path.name)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Several]:
    made = Several(tmp_path)
    yield made
    for process in made.started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def foreign(path: Path) -> None:
    """A lock that a process of another machine has left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = json.loads(Lock(path)._record())
    path.write_text(
        json.dumps({**value, "host": "node7", "boot": "elsewhere", "nonce": "n7", "pid": 4711, "user": "eva"})
    )


def test_a_second_driver_is_refused_and_the_first_goes_on(work: Several) -> None:
    array = work.prepare()
    first = work.start()
    work.wait_for_units(3, first)
    before = (work.folder / "run" / "log.jsonl").read_bytes()
    code, said = ended(work.start())
    assert code == 2
    assert f"BusyError {work.folder / 'run'}: another driver works in this run folder (driver.lock)" in said
    assert f"process {first.pid} of " in said
    assert f" on {os.uname().nodename}, since 20" in said
    assert "last heartbeat 20" in said
    assert "--take-over" in said
    assert (work.folder / "run" / "log.jsonl").read_bytes().startswith(before)
    assert (work.folder / "run" / "log.jsonl").read_text().count('"event": "start"') == 1
    assert f"running: process {first.pid} of" in status(str(work.folder / "run"))
    assert ended(first) == (0, "")
    assert np.array_equal(result(work.plan()), array)
    assert sorted(work.trace.read_text().split(), key=int) == [str(n) for n in range(24)]  # each unit once
    assert work.locks() == []
    assert "running" not in status(str(work.folder / "run"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=str)
def test_after_a_kill_the_same_command_goes_on_at_once(work: Several, number: int) -> None:
    array = work.prepare()
    first = work.start()
    work.wait_for_units(4, first)
    first.send_signal(number)  # and nobody waits for it: it may be a zombie when the next one looks
    if number == signal.SIGINT:
        assert ended(first)[0] == 130
        assert work.locks() == []
    assert ended(work.start()) == (0, "")
    assert np.array_equal(result(work.plan()), array)
    assert work.locks() == []


def test_a_stopped_driver_is_replaced_when_asked_and_stops_when_it_wakes(work: Several) -> None:
    array = work.prepare()
    first = work.start()
    work.wait_for_units(4, first)
    first.send_signal(signal.SIGSTOP)
    assert ended(work.start())[0] == 2  # it exists, so it is not taken for dead
    second = work.start(take_over=True)
    begun = len(work.trace.read_text().split())
    work.wait_for_units(begun + 2, second)
    first.send_signal(signal.SIGCONT)
    code, said = ended(first)
    assert code == 1
    assert said.startswith("TakenOverError")
    assert f"is now held by process {second.pid}" in said
    code, said = ended(second)  # it has no progress bar, and says nevertheless for whom it has waited
    assert code == 0
    assert f"driver.lock is held by process {first.pid} of " in said
    assert "Waiting 5 s to see whether its heartbeat goes on." in said
    assert f"Taking over from process {first.pid} of " in said
    assert np.array_equal(result(work.plan()), array)
    assert work.locks() == []


def test_a_living_driver_is_not_replaced(work: Several) -> None:
    work.prepare()
    first = work.start()
    work.wait_for_units(1, first)
    code, said = ended(work.start(take_over=True))
    assert code == 2
    assert "is alive: process" in said
    assert ended(first) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["workers start", "units run"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_with_workers_prints_no_traceback_of_theirs(work: Several, when: str, number: int) -> None:
    """A terminal sends Ctrl-C to all processes of the group, and a batch system SIGTERM."""
    array = work.prepare(0.3)
    first = work.start(workers=2)
    if when == "units run":
        work.wait_for_units(4, first)
    else:
        deadline = time.monotonic() + 60
        while len(psutil.Process(first.pid).children(recursive=True)) < 3:  # with the tracker of resources
            assert time.monotonic() < deadline
            assert first.poll() is None
    os.killpg(first.pid, number)
    code, said = ended(first)
    assert (code, said) == (130, "")
    assert work.locks() == []
    assert ended(work.start(workers=2)) == (0, "")
    assert np.array_equal(result(work.plan()), array)


def test_what_is_left_of_a_connection_says_nothing_after_its_cluster_has_closed() -> None:
    """Dask logs the end of a connection with a traceback, sometimes only when nothing silences it any more."""
    script = """
import logging
from distributed import LocalCluster, Client
from volengine.engine.link import Link
with LocalCluster(n_workers=1, processes=False, dashboard_address=":0", silence_logs=50) as cluster:
    with Client(cluster, set_as_default=False) as client:
        Link(client)
logger = logging.getLogger("distributed.batched")
logger.info("Batched Comm Closed")
logger.warning("something is wrong")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "Batched Comm Closed" not in ran.stderr
    assert "something is wrong" in ran.stderr


def test_parts_exclude_themselves_and_the_whole_but_not_each_other(work: Several) -> None:
    array = work.prepare()
    first = work.start(part="1/2", patience_s=600)
    work.wait_for_units(1, first)
    assert list(drivers(work.folder / "run")) == ["1/2"]
    for options in ({}, {"part": "1/2"}, {"part": "01/02"}):
        code, said = ended(work.start(**options))
        assert code == 2
        assert "(driver-1-of-2.lock)" in said
    second = work.start(part="2/2", patience_s=600)
    assert [ended(first), ended(second)] == [(0, ""), (0, "")]
    assert np.array_equal(result(work.plan()), array)
    assert work.locks() == []


def changed(work: Several) -> None:
    """Another recipe for the same outputs."""
    facts = json.loads((work.folder / "work.json").read_text())
    (work.folder / "work.json").write_text(json.dumps({**facts, "seconds": facts["seconds"] / 2}))


def test_parts_with_different_recipes_are_refused_not_mixed(work: Several) -> None:
    array = work.prepare()
    first = work.start(part="1/2", patience_s=1)
    work.wait_for_units(3, first)
    changed(work)
    code, said = ended(work.start(part="2/2", patience_s=1))
    assert code == 2
    assert f"part 1/2 works here on {work.plan().name!r} with another recipe" in said
    assert f"process {first.pid} of " in said
    assert ended(first) == (0, "")
    assert np.array_equal(result(work.plan()), array)
    assert ended(work.start(part="2/2", patience_s=1)) == (0, "")  # nobody else is there any more
    assert np.array_equal(result(work.plan()), array)


def test_a_part_that_wakes_after_another_recipe_took_over_changes_nothing(work: Several) -> None:
    array = work.prepare()
    first = work.start(part="1/2", patience_s=1)
    work.wait_for_units(3, first)
    first.send_signal(signal.SIGSTOP)
    (work.folder / "run" / "driver-1-of-2.lock").unlink()  # as --take-over does, on another machine
    changed(work)
    assert ended(work.start(part="2/2", patience_s=1)) == (0, "")
    first.send_signal(signal.SIGCONT)
    code, said = ended(first)
    assert code != 0
    assert "was removed" in said or "planned anew" in said
    assert np.array_equal(result(work.plan()), array)


def test_a_whole_run_excludes_parts(work: Several) -> None:
    work.prepare()
    first = work.start()
    work.wait_for_units(1, first)
    code, said = ended(work.start(part="1/2"))
    assert code == 2
    assert "(driver.lock)" in said
    assert ended(first) == (0, "")


def test_a_lock_of_another_machine_is_taken_over_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that of a part by a whole run: its part will not come back."""
    monkeypatch.setattr(locks, "STALE_S", 0.5)
    for name, part in (("driver.lock", None), ("driver-2-of-3.lock", "2/3"), ("driver-1-of-3.lock", None)):
        foreign(tmp_path / name)
        refused = pytest.raises(BusyError, match=r"process 4711 of eva on node7, since .* add --take-over")
        with refused, only_driver(tmp_path, part):
            pass
        assert (tmp_path / name).exists()
        said: list[str] = []
        with only_driver(tmp_path, part, take_over=True, say=said.append) as mine:
            mine.check(read_again=True)
        assert "node7" in said[0]
        assert said[-1].startswith("Taking over")
        assert list(tmp_path.iterdir()) == []


def test_a_wait_says_now_and_then_for_whom_and_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "STALE_S", 2.0)
    monkeypatch.setattr(driver_lock, "TELL_S", 0.5)
    foreign(tmp_path / "driver.lock")
    said: list[str] = []
    with only_driver(tmp_path, None, take_over=True, say=said.append):
        pass
    first, *waits, last = said
    assert "held by process 4711 of eva on node7" in first
    assert waits
    assert all(re.fullmatch(r"Waiting for process 4711 on node7: no heartbeat for \d of 2 s\.", one) for one in waits)
    assert last.startswith("Taking over")


@pytest.mark.parametrize(("words", "told"), [(["--no-progress"], True), (["-q"], False)])
def test_the_command_waits_in_silence_only_if_asked_to(
    tmp_path: Path,
    volengine: Command,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    words: list[str],
    told: bool,
) -> None:
    monkeypatch.setattr(locks, "STALE_S", 0.5)
    source = stored(tmp_path, np.ones((8, 8, 8), "float32"))
    foreign(tmp_path / "run" / "driver.lock")
    out, folder = str(tmp_path / "out.ome.zarr"), str(tmp_path / "run")
    code, _, errors = volengine("convert", source.url, "--out", out, "--run-dir", folder, "--take-over", *words)
    assert code == 0, errors
    assert ("Taking over from process 4711" in caplog.text) is told


def test_of_several_that_take_over_at_once_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "STALE_S", 4.0)
    monkeypatch.setattr(locks, "BEAT_S", 0.05)
    foreign(tmp_path / "driver.lock")
    finished = threading.Event()

    def take(_: int) -> str:
        try:
            with only_driver(tmp_path, None, take_over=True) as mine:
                assert finished.wait(60)  # all others have given up
                mine.check(read_again=True)
                return "got it"
        except BusyError as error:
            return str(error)

    with ThreadPoolExecutor(5) as pool:
        results = [pool.submit(take, k) for k in range(5)]
        deadline = time.monotonic() + 60
        while sum(r.done() for r in results) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        finished.set()
        said = sorted(r.result() for r in results)
    assert [text == "got it" for text in said].count(True) == 1
    assert sum("and is alive" in text for text in said) == 4
    assert list(tmp_path.iterdir()) == []


def test_a_part_does_not_wait_for_another_part_that_may_be_dead(tmp_path: Path) -> None:
    foreign(tmp_path / "driver-1-of-3.lock")
    with only_driver(tmp_path, "2/3"):
        assert set(drivers(tmp_path)) == {"1/3", "2/3"}


def test_the_lock_is_released_when_units_fail(tmp_path: Path) -> None:
    source = stored(tmp_path, np.ones((8, 4, 4), "int16"))
    plan = simple(tmp_path, source, "fail_at", (4, 4, 4), params={"numbers": [1], "marker": ""})
    with pytest.raises(RunError):
        run_plan(plan, str(tmp_path / "run"), QUIET.with_(retries=0))
    assert not list((tmp_path / "run").glob("*.lock"))


def test_a_run_folder_that_cannot_be_written_to_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    source = stored(tmp_path, np.ones((8, 4, 4), "int16"))
    with pytest.raises(InputError, match=r"file/run: cannot be written .*--run-dir"):
        run_plan(simple(tmp_path, source, "nothing", (4, 4, 4)), str(tmp_path / "file" / "run"), QUIET)


def test_a_graph_is_not_made_while_a_driver_works(tmp_path: Path) -> None:
    source = stored(tmp_path, np.ones((8, 4, 4), "int16"))
    plan = simple(tmp_path, source, "nothing", (4, 4, 4))
    with only_driver(tmp_path / "run", None), pytest.raises(BusyError):
        plan.to_dask(tmp_path / "run")


def test_the_command_says_so_and_ends_with_2(tmp_path: Path, volengine: Command) -> None:
    from volengine.io.mrc.write import write_mrc

    write_mrc(tmp_path / "a.mrc", [np.zeros((4, 8, 8), "float32")], (4, 8, 8), "float32", (10.0, 10.0, 10.0))
    with only_driver(tmp_path / "a.ome.zarr.run", None):
        code, _, said = volengine("convert", "a.mrc", "--out", "a.ome.zarr")
    assert code == 2
    assert said.startswith("Error: ")
    assert f"process {os.getpid()} of" in said
    assert not (tmp_path / "a.ome.zarr").exists()
    assert volengine("convert", "a.mrc", "--out", "a.ome.zarr")[0] == 0


def test_status_says_who_works_before_anything_is_planned(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        status(str(tmp_path))
    with only_driver(tmp_path, None):
        assert f"nothing is planned yet\n\nrunning: process {os.getpid()} of" in status(str(tmp_path))


def test_status_says_what_the_last_run_refused(tmp_path: Path) -> None:
    def refuse() -> Plan:
        raise InputError("TS_03.mrc: is cut off")

    run_jobs([Job("TS_03.mrc", refuse)], str(tmp_path), RunOptions(progress=False))
    assert status(str(tmp_path)) == "TS_03.mrc: failed in the last run: is cut off"
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(InputError, match="no run folder"):
        status(str(tmp_path))
