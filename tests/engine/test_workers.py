"""What workers of a cluster are asked: versions, memory, cores, the run folder. With real schedulers and workers."""

from __future__ import annotations

import os
import signal
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

from volengine.core.errors import InputError, WorkersRefusedError
from volengine.engine import on_dask, workers
from volengine.engine.driver_lock import only_driver
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan
from volengine.engine.share import Share, threads_per_unit
from volengine.engine.workers import (
    Expected,
    Handshake,
    check_here,
    differences,
    facts,
    sees,
    versions_here,
)

HERE = versions_here()


def machine(cpus: list[int], name: str = "a", told: int | None = None) -> dict[str, object]:
    return {"versions": HERE, "machine": name, "cpus": cpus, "told": told}


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ([(machine([*range(8)]), 1)], 8),
        ([(machine([*range(8)]), 4)], 2),
        ([(machine([*range(8)]), 1)] * 3, 2),
        ([(machine([0, 1, 2, 3]), 1), (machine([4, 5, 6, 7]), 1)], 4),  # a batch system gives each its own
        ([(machine([*range(8)]), 1), (machine([*range(8)], "b"), 1)], 8),
        ([(machine([*range(8)]), 1), (machine([0, 1], "b"), 2)], 1),  # the worst-off decides
        ([(machine([*range(64)], told=2), 1)], 2),
        ([(machine([0], told=16), 1)], 1),
        ([(machine([0]), 4)], 1),
        ([], 1),
    ],
)
def test_cores_are_shared_by_all_threads_that_may_use_them(cluster: list, expected: int) -> None:
    assert threads_per_unit({str(n): worker for n, worker in enumerate(cluster)}) == expected


def test_a_worker_says_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, told in (("1", None), ("3", 3), ("x", None), ("", None)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert facts()["told"] == told
    assert facts()["cpus"] == sorted(os.sched_getaffinity(0))
    assert {"python", "volengine", "zarr", "numpy", "torch", "modules of volengine"} <= facts()["versions"].keys()


def test_differences_are_named_with_both_versions() -> None:
    assert differences(HERE, dict(HERE)) == []
    assert differences({"zarr": "3.1", "a": "1"}, {"zarr": "3.2", "b": "2"}) == [
        "zarr 3.2 (driver: 3.1)",
        "a none (driver: 1)",
        "b 2 (driver: none)",
    ]


def test_patch_releases_and_builds_are_equal() -> None:
    assert [workers._two(v) for v in ("2.13.0+cu128", "2.13.1", "3.11.2", "2026.8.0", "weird")] == [
        "2.13",
        "2.13",
        "3.11",
        "2026.8",
        "weird",
    ]


def test_other_modules_of_the_same_version_are_a_difference(tmp_path: Path) -> None:
    """A worker that runs another checkout: here a copy of the package in which one kernel differs."""
    import shutil

    import volengine

    shutil.copytree(Path(volengine.__file__).parent, tmp_path / "volengine")
    ask = "from volengine.engine.workers import versions_here; import json; print(json.dumps(versions_here()))"

    def asked() -> dict[str, str]:
        import json

        run = subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True)
        return json.loads(run.stdout)

    environment = os.environ.pop("PYTHONPATH", "")
    try:
        assert differences(HERE, asked()) == []
        with (tmp_path / "volengine" / "ops" / "blend.py").open("a") as file:
            file.write("# another\n")
        (found,) = differences(HERE, asked())
    finally:
        os.environ["PYTHONPATH"] = environment
    assert found.startswith("modules of volengine ")


def test_a_run_folder_is_seen_by_the_drivers_lock(tmp_path: Path) -> None:
    with only_driver(tmp_path / "run", None) as lock:
        assert sees(str(tmp_path / "run"), "driver.lock", lock.nonce) is None
        assert "another driver" in sees(str(tmp_path / "run"), "driver.lock", "other")
        missing = sees(str(tmp_path / "elsewhere"), "driver.lock", lock.nonce)
        assert missing == f"does not see {tmp_path}/elsewhere/driver.lock, which the driver has written"


def test_a_process_checks_itself_before_its_first_unit(tmp_path: Path) -> None:
    with only_driver(tmp_path, None) as lock:
        right = Expected(tuple(HERE.items()), str(tmp_path), "driver.lock", lock.nonce)
        check_here(right)
        with pytest.raises(WorkersRefusedError, match=rf"process {os.getpid()} on .*: zarr 3\.\d+ \(driver: 9\.9\)"):
            check_here(Expected(tuple({**HERE, "zarr": "9.9"}.items()), *right_of(right)))
        with pytest.raises(WorkersRefusedError, match=r"does not see /nowhere/driver\.lock"):
            check_here(Expected(right.versions, "/nowhere", "driver.lock", lock.nonce))


def right_of(expected: Expected) -> tuple[str, str, str]:
    return expected.folder, expected.lock_name, expected.nonce


# -- real clusters -----------------------------------------------------------------------------------------


@contextmanager
def cluster(n: int = 1, **how: object) -> Iterator[object]:
    from distributed import LocalCluster

    given = {"threads_per_worker": 1, "memory_limit": "1GB", "dashboard_address": "127.0.0.1:0", **how}
    given.setdefault("worker_dashboard_address", "127.0.0.1:0")
    with LocalCluster(n_workers=n, silence_logs=50, **given) as made:
        yield made


@pytest.mark.slow
def test_memory_and_cores_are_those_of_a_thread_and_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from volengine.engine import scheduler

    connected = []
    real = scheduler.connect
    monkeypatch.setattr(scheduler, "connect", lambda options: connected.append(1) or real(options))
    with cluster(threads_per_worker=4, memory_limit="2GB") as made:
        options = RunOptions(scheduler=made.scheduler_address, progress=False)
        for _ in range(5):
            assert options.limit_bytes() == 500_000_000
            assert options.threads() == max(1, len(os.sched_getaffinity(0)) // 4)
        assert len(connected) == 1
        assert options == RunOptions(scheduler=made.scheduler_address, progress=False)  # what was asked is no field
        assert "500000000" not in str(options.to_json())
        array = np.arange(8 * 4 * 4, dtype="int16").reshape(8, 4, 4)
        plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params={"numbers": [], "marker": ""})
        # what a worker has for each of its threads is less than is planned for: refused before a unit runs
        with pytest.raises(WorkersRefusedError, match=r"has 2 GB for 4 threads, 500 MB for a unit, .* need 1 GB"):
            run_plan(plan, str(tmp_path / "run"), options.with_(memory_limit="1GB"))
        assert list(RunFolder(tmp_path / "run").plan("t").receipts) == []
        run_plan(plan, str(tmp_path / "run"), options)
        assert np.array_equal(result(plan), array)
        assert not [p.name for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]


def test_workers_without_a_memory_limit_need_one() -> None:
    with pytest.raises(InputError, match="no memory limit; give --memory-limit"):
        Share(None, 1).limit("tcp://a:1")


def pretend(values: dict[str, str]) -> None:
    """Run in a worker: let it say that it has other versions."""
    versions_here().update(values)


@pytest.mark.slow
def test_workers_with_other_versions_are_refused_with_a_list(tmp_path: Path) -> None:
    """At the beginning while planning and by the driver; and one that joins later, by the driver and by itself."""
    from distributed import Client

    array = np.arange(8 * 4 * 4, dtype="int16").reshape(8, 4, 4)
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params={"numbers": [], "marker": ""})
    with cluster(2) as made, Client(made, set_as_default=False) as client, only_driver(tmp_path / "x", None) as lock:
        addresses = list(workers.workers_of(client))
        shake = Handshake(client, lock, 1000)
        assert shake(60) == 2
        client.run(pretend, {"zarr": "2.18", "numpy": "1.26"}, workers=addresses[:1])
        assert shake(60) == 2  # it has been asked already
        options = RunOptions(scheduler=made.scheduler_address, progress=False)
        listed = rf"1 of the cluster's workers.*\n  {addresses[0]}: numpy 1\.26 \(driver: [\d.]+\), zarr 2\.18"
        with pytest.raises(WorkersRefusedError, match=listed):
            options.limit_bytes()
        with pytest.raises(WorkersRefusedError, match=listed):
            run_plan(plan, str(tmp_path / "run"), options.with_(memory_limit="1GB"))
        assert list(RunFolder(tmp_path / "run").plan("t").receipts) == []
        late = client.submit(check_here, shake.expected, workers=addresses[:1], allow_other_workers=False)
        with pytest.raises(WorkersRefusedError, match=r"zarr 2\.18"):
            late.result()


@pytest.mark.slow
def test_a_long_lived_worker_knows_nothing_of_an_earlier_run(tmp_path: Path) -> None:
    """The same output twice on one cluster, the second time with other chunks and voxels."""
    arrays = [np.arange(8 * 8 * 8, dtype="int16").reshape(8, 8, 8) * sign for sign in (1, -1)]
    with cluster() as made:
        for array, size in zip(arrays, (8, 4), strict=True):
            params = {"numbers": [], "marker": ""}
            core = chunk = (size,) * 3
            plan = simple(tmp_path, stored(tmp_path, array), "fail_at", core, chunk=chunk, params=params)
            options = RunOptions(scheduler=made.scheduler_address, progress=False, overwrite=True)
            run_plan(plan, str(tmp_path / "run"), options)
            assert np.array_equal(result(plan), array)


@pytest.mark.slow
def test_units_get_the_threads_of_the_plan_although_dask_sets_one(tmp_path: Path) -> None:
    """Dask's nanny sets OMP_NUM_THREADS to 1; and a unit without the plan's word changes nothing."""
    source = stored(tmp_path, np.ones((8, 4, 4), "int16"))
    plan = simple(tmp_path, source, "threads_of_torch", (4, 4, 4), hints={"threads": 3})
    without = simple(tmp_path, source, "threads_of_torch", (4, 4, 4), name="u", params={"threads": 3})
    with cluster(memory_limit="2GB") as made:
        options = RunOptions(scheduler=made.scheduler_address, progress=False)
        run_plan(plan, str(tmp_path / "run"), options)
        run_plan(without, str(tmp_path / "run2"), options)
    assert set(result(plan).ravel()) == {3}
    assert set(result(without).ravel()) == {1}


@pytest.mark.slow
@pytest.mark.chaos
def test_a_frozen_worker_does_not_freeze_the_driver(tmp_path: Path) -> None:
    from distributed import Client

    with cluster(2) as made, Client(made, set_as_default=False) as client, only_driver(tmp_path, None) as lock:
        pids = client.run(os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGSTOP)
        try:
            shake = Handshake(client, lock, 1000)
            assert shake(0.5) == 2
            assert shake() == 2
        finally:
            os.kill(next(iter(pids.values())), signal.SIGCONT)
        assert shake(60) == 2
        assert [p.name for p in tmp_path.iterdir()] == ["driver.lock"]


@pytest.mark.slow
def test_a_worker_that_does_not_share_the_run_folder_is_refused(tmp_path: Path) -> None:
    """It is one in a mount namespace of its own, with an empty file system where the driver has its folder."""
    unshare = ["unshare", "--mount", "--propagation", "private"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not allow mounts of one's own (unshare --mount)")
    file = tmp_path / "s.json"
    shared = tmp_path / "shared"
    shared.mkdir()
    array = np.arange(8 * 4 * 4, dtype="int16").reshape(8, 4, 4)
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params={"numbers": [], "marker": ""})
    here = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    worker = f"{sys.executable} -m distributed.cli.dask_worker --scheduler-file {file} --no-nanny --memory-limit 1GB"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--scheduler-file", file, *here],
            stderr=subprocess.DEVNULL,
        )
    ]
    try:
        started.append(
            subprocess.Popen(
                [
                    *unshare,
                    "sh",
                    "-c",
                    f"mount -t tmpfs none {shared} && exec {worker} --memory-limit 1GB {' '.join(here)}",
                ],
                stderr=subprocess.DEVNULL,
            )
        )
        deadline = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with pytest.raises(WorkersRefusedError, match=rf"does not see {shared}/run/driver\.lock"):
            run_plan(plan, str(shared / "run"), RunOptions(scheduler=str(file), progress=False))
        assert list(RunFolder(shared / "run").plan("t").receipts) == []
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


class _Connection:
    """A connection whose cluster the test changes: it answers what Dask's would."""

    loop, dashboard_link = object(), None

    def __init__(self) -> None:
        self.status, self.scheduler, self.info = "running", self, {"workers": {}}
        self.address = "tcp://127.0.0.1:8786"

    def close(self) -> None:
        self.status = "closed"

    def scheduler_info(self, **_: object) -> dict[str, object]:
        return self.info


def test_a_cluster_without_workers_is_spoken_of_once_until_one_joins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_dask, "RECOUNT_S", -1.0)
    monkeypatch.setattr(on_dask, "WITHOUT_S", 0.01)
    monkeypatch.setattr(on_dask.Handshake, "_ask", lambda self, new, found: found.set_result({}))
    said: list[str] = []
    connection = _Connection()
    with only_driver(tmp_path, None) as lock:
        executor = on_dask.OnDask(lambda: on_dask.Link(connection), lock, 1000, said.append)
        for _ in range(3):
            time.sleep(0.02)
            assert executor.slots == 1
        assert len(said) == 1
        assert "no worker" in said[0]
        connection.info = {"workers": {"a": {"nthreads": 3, "memory_limit": 0}}}
        assert executor.slots == 3
        connection.info = {"workers": {}}
        assert executor.slots == 1
        time.sleep(0.02)
        assert executor.slots == 1
        assert len(said) == 2


def test_a_scheduler_that_has_ended_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_dask, "RECOUNT_S", -1.0)
    connection = _Connection()
    with only_driver(tmp_path, None) as lock:
        executor = on_dask.OnDask(lambda: on_dask.Link(connection), lock, 1000, patience_s=0.0)
        connection.status, connection.info = "closed", {}
        with pytest.raises(InputError, match=r"scheduler at tcp://127\.0\.0\.1:8786 has ended.*the same command"):
            assert executor.slots


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("moment", ["while it waits", "while it fetches an answer"])
def test_a_scheduler_that_is_killed_ends_the_run_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    import dask
    import distributed

    array = np.arange(64 * 4 * 4, dtype="int16").reshape(64, 4, 4)
    plan = simple(
        tmp_path,
        stored(tmp_path, array),
        "slow_copy",
        (4, 4, 4),
        params={"seconds": 0.5, "trace": str(tmp_path / "trace")},
    )
    file = tmp_path / "s.json"
    here = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", *here], **quiet
    )
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--memory-limit", "1GB", *here]
    worker = subprocess.Popen(command, **quiet)
    folder = RunFolder(tmp_path / "run").plan("t")

    def kill() -> None:
        while not list(folder.receipts):
            time.sleep(0.05)
        scheduler.kill()
        scheduler.wait()

    if moment == "while it waits":
        threading.Thread(target=kill, daemon=True).start()
    else:
        fetch = distributed.Future.result
        monkeypatch.setattr(distributed.Future, "result", lambda future: (kill(), fetch(future))[1])
    options = RunOptions(scheduler=str(file), progress=False, wait_for_workers="10s")
    try:
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
            pytest.raises(InputError, match=r"has ended, or cannot be reached"),
        ):
            run_plan(plan, str(tmp_path / "run"), options)
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait()
    report = run_plan(plan, str(tmp_path / "run"), RunOptions(progress=False))
    assert report.data["plans"]["t"]["skipped"] > 0
    assert np.array_equal(result(plan), array)
