"""Schedulers that go away in the middle of a run, workers that come late: the run waits, goes on, and ends the same."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from engine_plans import result, simple, stored

from volengine.core.errors import DeadlineError, InputError
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_jobs, run_plan
from volengine.engine.started import Starter

HERE = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")


def slow_plan(folder: Path, units: int = 48, seconds: float = 0.4) -> tuple[Plan, np.ndarray]:
    array = np.arange(units * 4 * 4 * 4, dtype="int32").reshape(units * 4, 4, 4)
    params = {"seconds": seconds, "trace": str(folder / "trace")}
    return simple(folder, stored(folder, array), "slow_copy", (4, 4, 4), params=params), array


def wait_for(what: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


class Processes:
    """A scheduler and a worker, found by a scheduler file, as a user would start them."""

    def __init__(self, file: Path, port: int = 0):
        self.file, self.port = file, port
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        here = [*HERE, "--scheduler-file", str(self.file)]
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *here, *words]
        self.started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return self.started[-1]

    def scheduler(self) -> None:
        self.file.unlink(missing_ok=True)
        self.start("scheduler", "--port", str(self.port))
        wait_for(lambda: self.file.exists() and self.file.read_text().rstrip().endswith("}"))

    def worker(self) -> None:
        self.start("worker", "--no-nanny", "--nthreads", "1", "--memory-limit", "1GB")

    def kill(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
        self.started.clear()


@contextmanager
def processes(file: Path, port: int = 0) -> Iterator[Processes]:
    made = Processes(file, port)
    try:
        yield made
    finally:
        made.kill()


@contextmanager
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Dask's loggers have handlers of their own and tell nobody else."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("port", ["another", "the same"])
def test_a_run_goes_on_when_its_scheduler_comes_back(
    tmp_path: Path, port: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker that was alive has ended with it, or is killed; what it had finished is not done again."""
    plan, array = slow_plan(tmp_path)
    folder = RunFolder(tmp_path / "run").plan("t")
    with processes(tmp_path / "s.json") as dask, heard(caplog):
        dask.scheduler()
        dask.worker()
        if port == "the same":
            dask.port = int(re.findall(r"127\.0\.0\.1:(\d+)", dask.file.read_text())[0])
        seen: list[int] = []

        def fail() -> None:
            wait_for(lambda: len(list(folder.receipts)) > 3)
            dask.kill()
            seen.append(len({r["number"] for r in folder.receipts}))
            dask.scheduler()
            dask.worker()

        thread = threading.Thread(target=fail)
        thread.start()
        options = RunOptions(scheduler=str(dask.file), progress=False, memory_limit="1GB", retries=0)
        report = run_plan(plan, str(tmp_path / "run"), options)
        thread.join()
    assert np.array_equal(result(plan), array)
    (stage,) = report.data["plans"]["t"]["stages"]
    assert stage["run"] == len(array) // 4
    calls = (tmp_path / "trace").read_text().count("\n")
    assert len(array) // 4 <= calls <= len(array) // 4 + 4, "only what ran when the scheduler went is run again"
    assert 3 < seen[0] < len(array) // 4, "the scheduler went in the middle"
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")], "it has ended well"
    assert "again" in (tmp_path / "run" / "log.jsonl").read_text() or port == "the same"


@pytest.mark.slow
@pytest.mark.chaos
def test_a_cluster_of_the_runs_own_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, array = slow_plan(tmp_path)
    links = []
    real = Starter.start
    monkeypatch.setattr(Starter, "start", lambda self: (links.append(real(self)), links[-1])[1])
    folder = RunFolder(tmp_path / "run").plan("t")

    def fail() -> None:
        wait_for(lambda: len(list(folder.receipts)) > 3)
        cluster = links[0].client.cluster
        cluster.sync(cluster.scheduler.close)

    thread = threading.Thread(target=fail)
    thread.start()
    options = RunOptions(cluster="local", workers=2, memory_limit="1GB", progress=False, retries=0)
    run_plan(plan, str(tmp_path / "run"), options)
    thread.join()
    assert len(links) == 2
    assert np.array_equal(result(plan), array)


@pytest.mark.slow
def test_the_first_worker_is_waited_for_as_long_as_the_option_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volengine.engine import on_dask

    monkeypatch.setattr(on_dask, "RECOUNT_S", 0.2)
    plan, array = slow_plan(tmp_path, units=4, seconds=0.0)
    with processes(tmp_path / "s.json") as dask:
        dask.scheduler()
        options = RunOptions(scheduler=str(dask.file), progress=False, wait_for_workers="1s")
        with pytest.raises(InputError, match=r"has had no worker for \d s \(--wait-for-workers 1s\)"):
            options.limit_bytes()
        with pytest.raises(DeadlineError, match=r"Stopped before the deadline .*: .* has had no worker"):
            options.with_(wait_for_workers="24h", deadline="1s").limit_bytes()
        with pytest.raises(InputError, match=r"has had no worker for \d s \(--wait-for-workers\)"):
            run_plan(plan, str(tmp_path / "run"), options.with_(memory_limit="1GB"))
        late = threading.Timer(3.0, dask.worker)
        late.start()
        run_plan(plan, str(tmp_path / "run"), options.with_(wait_for_workers="2min"))
        late.join()
    assert np.array_equal(result(plan), array)


@pytest.mark.slow
def test_a_cluster_is_asked_once_for_all_tomograms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planners change the options of each tomogram; what the cluster has answered stays with them."""
    from volengine.engine import clusters, scheduler

    connected: list[str] = []
    real = scheduler.connect
    for module in (scheduler, clusters):
        monkeypatch.setattr(module, "connect", lambda options: connected.append(options.scheduler) or real(options))
    with processes(tmp_path / "s.json") as dask:
        dask.scheduler()
        dask.worker()
        options = RunOptions(scheduler=str(dask.file), progress=False)

        def job(number: int) -> Job:
            def plan() -> Plan:
                mine = options.with_(memory_limit=options.limit_bytes() - number)
                assert mine.threads() >= 1
                assert mine.with_(memory_limit=None).limit_bytes() == options.limit_bytes() == 10**9
                array = np.full((4, 4, 4), number, "int16")
                params = {"numbers": [], "marker": ""}
                return simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), name=f"t{number}", params=params)

            return Job(f"t{number}", plan)

        report = run_jobs([job(number) for number in range(5)], str(tmp_path / "run"), options)
    assert report.check() is report
    assert len(connected) == 2  # one asks for memory and cores, one runs
