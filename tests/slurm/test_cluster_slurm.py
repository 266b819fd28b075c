"""``--cluster slurm`` on a real SLURM cluster of one node: jobs killed, queued and refused; bytes compared."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from slurm_cluster import Slurm, cluster, missing

from volengine.io.mrc.write import write_mrc

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "a cluster can be started")]

DESCRIBED = """
kind: slurm
workers: 2
memory: 1200MB
walltime: 0:10:00
directives: [--comment=of-a-test]
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    pytest.importorskip("dask_jobqueue")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with pytest.MonkeyPatch.context() as patch, cluster(tmp_path_factory.mktemp("slurm")) as running:
        patch.setitem(running.environment, "PATH", path)
        yield running


def volumes(folder: Path, count: int = 6) -> None:
    (folder / "raw").mkdir()
    for k in range(count):
        array = np.random.default_rng(k).normal(size=(96, 128, 128)).astype("float32")
        write_mrc(folder / "raw" / f"TS_{k}.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))


def convert(folder: Path, out: str, *options: str) -> list[str]:
    program = str(Path(sys.executable).parent / "volengine")
    size = ["--chunk", "16,64,64", "--shard", "16,64,64", "--block", "16,64,64", "--no-progress"]
    return [program, "convert", str(folder / "raw"), "--out", str(folder / out), *size, *options]


def chunks(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("c/*/*/*") if "run" not in str(p.parent)}


def jobs(slurm: Slurm) -> list[str]:
    return slurm("squeue", "--noheader", "--format", "%i").split()


def test_jobs_are_started_and_ended_and_a_killed_one_comes_back(slurm: Slurm, tmp_path: Path) -> None:
    volumes(tmp_path)
    subprocess.run(convert(tmp_path, "alone"), check=True, cwd=tmp_path)
    (tmp_path / "slurm.yaml").write_text(DESCRIBED)
    command = convert(tmp_path, "out", "--cluster", "slurm.yaml")
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen(command, cwd=tmp_path, env=slurm.environment, stdout=said, stderr=said)
    begun = time.monotonic()
    ledgers = tmp_path / "out" / "convert.run" / "plans"
    while not [p for p in ledgers.glob("*/ledger/*") if p.stat().st_size]:
        assert run.poll() is None, (tmp_path / "said").read_text()
        assert time.monotonic() - begun < 200, (tmp_path / "said").read_text()
        time.sleep(0.1)
    running = jobs(slurm)
    assert len(running) == 2
    assert "of-a-test" in slurm("scontrol", "show", "job", running[0])
    key = next((tmp_path / "out" / "convert.run").glob(".certificates-*/key.pem"))
    assert key.stat().st_mode & 0o077 == 0
    slurm("scancel", "--signal=KILL", "--full", running[0])
    assert run.wait(300) == 0, (tmp_path / "said").read_text()
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert chunks(tmp_path / "out") == chunks(tmp_path / "alone")
    assert len(chunks(tmp_path / "out")) > 100
    end = time.monotonic() + 30
    while jobs(slurm):
        assert time.monotonic() < end, slurm("squeue")
        time.sleep(0.5)
    assert not list((tmp_path / "out" / "convert.run").glob(".cert*"))


def test_a_hello_on_jobs_that_wait_in_the_queue(slurm: Slurm, tmp_path: Path) -> None:
    """The node is drained at first; the jobs start when it is back. A job that asks for too much is refused at once."""
    program = str(Path(sys.executable).parent / "volengine")
    test = [program, "cluster", "test", "--cluster"]
    host = slurm("sinfo", "--noheader", "--format", "%n")
    slurm("scontrol", "update", f"NodeName={host}", "State=DRAIN", "Reason=test")
    (tmp_path / "slurm.yaml").write_text(DESCRIBED)
    run = subprocess.Popen(
        [*test, "slurm.yaml"],
        cwd=tmp_path,
        env=slurm.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 60
        while len(jobs(slurm)) < 2:
            assert time.monotonic() < end
            time.sleep(0.3)
    finally:
        slurm("scontrol", "update", f"NodeName={host}", "State=RESUME")
    said = run.communicate(timeout=120)[0]
    assert run.returncode == 0, said
    assert said.count(f"on {host.partition('.')[0]}: 1 x 1 cores, 1.08 GB") == 2, said
    (tmp_path / "slurm.yaml").write_text(DESCRIBED.replace("1200MB", "900GB"))
    done = subprocess.run([*test, "slurm.yaml"], cwd=tmp_path, env=slurm.environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "could not be started" in done.stderr
    assert "sbatch" in done.stderr
