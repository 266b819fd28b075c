"""Scheduler, workers and driver on hosts of their own, with certificates; cables are pulled out in a run's middle."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import ssh_server
import yaml
from certificates_of_the_page import certificates
from engine_plans import result, simple, stored
from network_hosts import Hosts, missing, network

from volengine.engine.ledger import RunFolder
from volengine.engine.plan import Plan

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.skipif(bool(missing()), reason=missing() or "there can")]

ROOT = Path(__file__).parents[2]
SLOW = "DASK_DEFAULTS" in os.environ
"""Whether Dask keeps its own patience, 30 s and 5 min: ``DASK_DEFAULTS=1 pytest tests/hosts`` takes longer."""

OUT_S = 60.0 if SLOW else 35.0
"""How long a cable is out, for a while: longer than Dask waits."""

QUICK = (
    {} if SLOW else {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s", "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s"}
)
DRIVER = """
import pickle
import sys
from pathlib import Path
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan
folder, file, tls = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
named = {f"tls_{what}": f"{tls}/{what}.pem" for what in ("ca", "cert", "key")}
options = RunOptions(scheduler=file, memory_limit="1GB", progress=False, retries=0, **named)
report = run_plan(pickle.loads((folder / "plan").read_bytes()), str(folder / "run"), options)
print("units run:", report.data["plans"]["t"]["stages"][0]["run"])
"""


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("tls"))


class Cluster:
    """A Dask cluster on hosts, as the pages say that one starts it."""

    def __init__(self, hosts: Hosts, folder: Path, tls: Path, environment: dict[str, str]):
        self.hosts, self.folder, self.file = hosts, folder, folder / "cluster.json"
        self.environment = {
            **environment,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "20",
        }
        self.tls = tls
        self.keys = [f"--tls-ca-file={tls}/ca.pem", f"--tls-cert={tls}/cert.pem", f"--tls-key={tls}/key.pem"]

    def dask(self, host: str, program: str, *words: str) -> subprocess.Popen[bytes]:
        named = [f"--scheduler-file={self.file}", "--dashboard-address=127.0.0.1:0", *self.keys, *words]
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *named]
        return self.hosts.start(host, command, self.folder / f"{host}.log", self.environment)

    def scheduler(self, host: str) -> None:
        self.dask(host, "scheduler", "--protocol=tls", "--port=8786")
        wait_for(lambda: self.file.exists() and self.file.read_text().rstrip().endswith("}"))

    def worker(self, host: str) -> subprocess.Popen[bytes]:
        local = self.folder / f"scratch-{host}"
        options = ["--nthreads=1", "--memory-limit=1GB", "--death-timeout=30", f"--local-directory={local}"]
        return self.dask(host, "worker", *options)

    def driver(self, host: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", DRIVER, str(self.folder), str(self.file), str(self.tls)]
        return self.hosts.start(host, command, self.folder / f"{host}.log", self.environment)

    def begun(self, driver: subprocess.Popen[bytes], units: int) -> None:
        """Wait until a run has finished some units."""
        wait_for(lambda: len(done(self.folder)) >= units or driver.poll() is not None)
        assert driver.poll() is None, self.logs()

    def logs(self) -> str:
        return "".join(f"== {path.name}\n{path.read_text()[-3000:]}\n" for path in sorted(self.folder.glob("*.log")))


@contextmanager
def clustered(folder: Path, tls: Path, *names: str, environment: dict[str, str] = QUICK) -> Iterator[Cluster]:
    with network(*names) as hosts:
        yield Cluster(hosts, folder, tls, environment)


def slow_plan(folder: Path, units: int, seconds: float) -> tuple[Plan, np.ndarray]:
    array = np.arange(units * 4 * 4 * 4, dtype="int32").reshape(units * 4, 4, 4)
    params = {"seconds": seconds, "trace": str(folder / "trace")}
    plan = simple(folder, stored(folder, array), "slow_copy", (4, 4, 4), params=params)
    (folder / "plan").write_bytes(pickle.dumps(plan))
    return plan, array


def done(folder: Path) -> set[int]:
    return {receipt["number"] for receipt in RunFolder(folder / "run").plan("t").receipts}


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_hosts_that_are_cut_off_for_a_while_and_for_ever(tmp_path: Path, tls: Path) -> None:
    """One worker's cable is out for longer than Dask waits, another one's stays out; the third does what is left."""
    plan, array = slow_plan(tmp_path, units=90, seconds=1.0)
    with clustered(tmp_path, tls, "scheduler", "first", "second", "third", "driver") as made:
        made.scheduler("scheduler")
        workers = [made.worker(name) for name in ("first", "second", "third")]
        driver = made.driver("driver")
        made.begun(driver, units=6)
        made.hosts.unplug("first")
        made.hosts.unplug("second")
        time.sleep(OUT_S)
        made.hosts.plug("first")
        assert driver.poll() is None, made.logs()
        assert len(done(tmp_path)) < 90, "the cables were out in the middle of the run"
        assert driver.wait(240) == 0, made.logs()
        assert workers[2].poll() is None, made.logs()
    assert np.array_equal(result(plan), array)
    assert done(tmp_path) == set(range(90))
    assert "Traceback" not in (tmp_path / "driver.log").read_text()


def test_a_driver_that_is_cut_off_from_its_scheduler(tmp_path: Path, tls: Path) -> None:
    """It waits for the scheduler, goes on where it was, and nothing that was finished meanwhile is done again."""
    plan, array = slow_plan(tmp_path, units=90, seconds=1.0)
    with clustered(tmp_path, tls, "scheduler", "first", "second", "driver") as made:
        made.scheduler("scheduler")
        for name in ("first", "second"):
            made.worker(name)
        driver = made.driver("driver")
        made.begun(driver, units=6)
        made.hosts.unplug("driver")
        time.sleep(OUT_S)
        made.hosts.plug("driver")
        assert driver.wait(240) == 0, made.logs()
    assert np.array_equal(result(plan), array)
    assert done(tmp_path) == set(range(90))
    noted = (tmp_path / "run" / "log.jsonl").read_text()
    assert "cannot be reached any more" in noted, "the cable was out for longer than Dask tries"
    said = (tmp_path / "driver.log").read_text()
    assert "Traceback" not in said
    assert "ERROR" not in said
    assert len((tmp_path / "trace").read_text().splitlines()) <= 90 + 4, (
        "only what ran when the cable went is run again"
    )


STARTER = """
import pickle
import sys
from pathlib import Path
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan
folder = Path(sys.argv[1])
options = RunOptions(cluster=str(folder / "ssh.yaml"), progress=False, retries=0)
report = run_plan(pickle.loads((folder / "plan").read_bytes()), str(folder / "run"), options)
print("units run:", report.data["plans"]["t"]["stages"][0]["run"])
"""


@pytest.mark.skipif(bool(ssh_server.missing()), reason=ssh_server.missing() or "a server can be started")
def test_a_host_that_a_run_has_started_by_ssh_is_cut_off_for_ever(tmp_path: Path) -> None:
    """The other host does its units, and the run ends though nothing can be said to the lost one any more."""
    pytest.importorskip("asyncssh")
    plan, array = slow_plan(tmp_path, units=90, seconds=1.0)
    path = f"{ROOT}:{ROOT / 'tests' / 'support'}"
    with network("driver", "first", "second") as hosts:
        around = [hosts.inside(name) for name in ("first", "second")]
        sessions = ssh_server.server(tmp_path / "sshd", {"PYTHONPATH": path}, around, "0.0.0.0", "10.213.7.*")
        with sessions as connect:
            addresses = [hosts.address(name) for name in ("first", "second")]
            described = {"kind": "ssh", "hosts": addresses, "memory": "1GB", "connect": connect}
            (tmp_path / "ssh.yaml").write_text(yaml.safe_dump(described))
            command = [sys.executable, "-c", STARTER, str(tmp_path)]
            log = tmp_path / "driver.log"
            driver = hosts.start("driver", command, log, {**QUICK, "PYTHONPATH": path})
            wait_for(lambda: len(done(tmp_path)) >= 6 or driver.poll() is not None)
            assert driver.poll() is None, log.read_text()
            hosts.unplug("second")
            assert driver.wait(400) == 0, log.read_text()
    assert np.array_equal(result(plan), array)
    assert done(tmp_path) == set(range(90))
    assert "Traceback" not in log.read_text()
    assert not list((tmp_path / "run").glob(".certificates*"))
