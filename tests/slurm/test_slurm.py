"""The scripts in ``deploy`` on a real SLURM cluster of one node: kills, a drained node, time limits; bytes compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import zarr
from slurm_cluster import Slurm, cluster, missing
from threshold_net import save_threshold_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "a cluster can be started")]

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = tuple(f"TS_{k:02d}" for k in range(1, 9))
RECIPE = """
convert: {chunk: [32, 64, 64], shard: [32, 64, 64]}
segment: {models: [m.safetensors], overlap: 0.75, tta: flips}
pick: [{feature: thing, spacing_nm: 20}]
"""
ALARMING = "Traceback|WARNING|ERROR|CRITICAL|[Ww]arning|slurmstepd"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with pytest.MonkeyPatch.context() as patch, cluster(tmp_path_factory.mktemp("slurm")) as running:
        patch.setitem(running.environment, "PATH", path)
        yield running


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tomograms, a list of them, a model and a recipe; and what one undisturbed process makes of them."""
    folder = tmp_path_factory.mktemp("raw")
    for k, name in enumerate(NAMES):
        with mrcfile.new(folder / f"{name}.mrc") as file:
            file.set_data(np.random.default_rng(k).normal(size=(32, 128, 128)).astype(np.float32))
            file.voxel_size = 10.0
    (folder / "list.txt").write_text("".join(f"{folder / name}.mrc\n" for name in NAMES))
    save_threshold_model(folder / "m.safetensors", "thing", patch=(32, 64, 64))
    (folder / "recipe.yaml").write_text(RECIPE.replace("m.safetensors", str(folder / "m.safetensors")))
    plain = ["run", "recipe.yaml", "list.txt", "--out", "results", "--memory-limit", "1080MiB", "--no-progress"]
    command = [Path(sys.executable).parent / "volengine", *plain]
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "seconds").write_text(str(time.monotonic() - began))
    return folder


def made(folder: Path) -> dict[str, bytes]:
    """The voxels of all stores, and the bytes of all tables, by place."""
    found = {}
    for place in sorted(p for kind in ("tomograms", "predictions", "picks") for p in (folder / kind).rglob("*")):
        name = str(place.relative_to(folder))
        if place.name == "zarr.json" and place.parent.name.isdigit():
            found[name] = np.asarray(zarr.open_array(place.parent, mode="r")[:]).tobytes()
        elif place.suffix == ".star":
            found[name] = re.sub(rb"#.*", b"", place.read_bytes())
    return found


def same(folder: Path, raw: Path) -> None:
    expected = made(raw / "results")
    assert len(expected) > 2 * len(NAMES)
    assert made(folder / "results") == expected


def words(script: str, raw: Path) -> list[str | Path]:
    return [DEPLOY / script, raw / "recipe.yaml", raw / "list.txt", "results"]


def logs(folder: Path) -> str:
    return "".join(f"== {path.name}\n{path.read_text()}" for path in sorted(folder.glob("volengine-*.log")))


def begun(folder: Path, lines: int) -> None:
    """Wait until a run has finished some units."""
    end = time.monotonic() + 120
    while sum(path.read_bytes().count(b"\n") for path in folder.glob("results/run/plans/*/ledger/*")) < lines:
        assert time.monotonic() < end, logs(folder)
        time.sleep(0.1)


ARRAY = ("--cpus-per-task=1", "--mem=1200M", "--time=10")


def test_an_array_with_a_killed_job_and_a_drained_node(slurm: Slurm, raw: Path, tmp_path: Path) -> None:
    patience = {"PATIENCE_S": "20"}  # the killed part may not start again before another one has ended
    job = slurm.submit("--array=1-3", *ARRAY, *words("slurm-array.sh", raw), cwd=tmp_path, **patience)
    begun(tmp_path, lines=3)
    host = slurm("sinfo", "--noheader", "--format", "%n")
    slurm("scontrol", "update", f"NodeName={host}", "State=DRAIN", "Reason=test")  # two run on, the third one waits
    slurm("scancel", "--signal=KILL", "--full", f"{job}_2")
    again = slurm.submit("--array=2", *ARRAY, *words("slurm-array.sh", raw), cwd=tmp_path, PARTS="3", **patience)
    assert slurm.states(job)[f"{job}_3"] == "PENDING"
    slurm("scontrol", "update", f"NodeName={host}", "State=RESUME")
    states = slurm.wait(job)
    assert states.pop(f"{job}_2") in {"FAILED", "CANCELLED"}, logs(tmp_path)
    assert set(states.values()) == {"COMPLETED"}, logs(tmp_path)
    assert set(slurm.wait(again).values()) == {"COMPLETED"}, logs(tmp_path)
    same(tmp_path, raw)


def test_a_dask_cluster_in_one_job(slurm: Slurm, raw: Path, tmp_path: Path) -> None:
    options = ("--ntasks=2", "--cpus-per-task=1", "--mem-per-cpu=1200M", "--time=10")
    job = slurm.submit(*options, *words("slurm-dask.sh", raw), cwd=tmp_path)
    assert set(slurm.wait(job).values()) == {"COMPLETED"}, logs(tmp_path)
    assert not re.search(ALARMING, logs(tmp_path)), logs(tmp_path)
    same(tmp_path, raw)


def with_gpus(script: str, folder: Path) -> Path:
    """A script of ``deploy`` with the two lines for GPUs, as its head says to make it."""
    text = (DEPLOY / script).read_text()
    made, count = re.subn(r"^##SBATCH", "#SBATCH", text, flags=re.M)
    assert count == 2
    (folder / script).write_text(made)
    return folder / script


def test_an_array_with_a_gpu_for_each_part(slurm: Slurm, raw: Path, tmp_path: Path) -> None:
    """The GPUs are names alone, so DEVICE replaces the one that the script chooses; without it the job ends at once."""
    script = with_gpus("slurm-array.sh", tmp_path)
    options = ("--array=1-2", "--cpus-per-task=1", "--mem=1200M", "--time=10", script, *words(script.name, raw)[1:])
    refused = slurm.submit(*options, cwd=tmp_path)
    assert set(slurm.wait(refused).values()) == {"FAILED"}, logs(tmp_path)
    assert logs(tmp_path).count("PyTorch finds none") == 2, logs(tmp_path)
    assert not (tmp_path / "results").exists()
    for path in tmp_path.glob("volengine-*.log"):
        path.unlink()
    job = slurm.submit(*options, cwd=tmp_path, DEVICE="auto")
    assert "Partition=gpu" in slurm("scontrol", "--oneliner", "show", "job", f"{job}_1")
    assert set(slurm.wait(job).values()) == {"COMPLETED"}, logs(tmp_path)
    assert sorted(re.findall(r"^Part (\d) on \S+, GPU (\d)$", logs(tmp_path), re.M)) in (
        [("1", "0"), ("2", "1")],
        [("1", "1"), ("2", "0")],
    ), logs(tmp_path)
    assert not re.search(ALARMING, logs(tmp_path)), logs(tmp_path)
    same(tmp_path, raw)


@pytest.mark.parametrize("asked", ["--gpus-per-task=1", "--gres=gpu:2"])
def test_a_dask_cluster_with_a_worker_for_each_gpu(slurm: Slurm, raw: Path, tmp_path: Path, asked: str) -> None:
    script = with_gpus("slurm-dask.sh", tmp_path)
    script.write_text(script.read_text().replace("#SBATCH --gpus-per-task=1", f"#SBATCH {asked}"))
    options = ("--ntasks=2", "--cpus-per-task=1", "--mem-per-cpu=1200M", "--time=10")
    job = slurm.submit(*options, script, *words(script.name, raw)[1:], cwd=tmp_path, DEVICE="auto")
    assert set(slurm.wait(job).values()) == {"COMPLETED"}, logs(tmp_path)
    assert set(re.findall(r"^Worker (\d) on \S+, GPU (\d)$", logs(tmp_path), re.M)) == {("0", "0"), ("1", "1")}
    assert not re.search(ALARMING, logs(tmp_path)), logs(tmp_path)
    same(tmp_path, raw)


def test_memory_is_what_the_job_has_however_it_asks_for_it(slurm: Slurm, raw: Path, tmp_path: Path) -> None:
    """The plan says what a worker may use: 90 % of what SLURM gives to its task."""
    limits = {}
    for asked in ("--mem=2400M", "--mem-per-cpu=1200M", "--mem-per-gpu=1200M", "--mem=0"):
        folder = tmp_path / asked.strip("-")
        folder.mkdir()
        text = (DEPLOY / "slurm-dask.sh").read_text().replace("#SBATCH --mem-per-cpu=4G\n", "")
        (folder / "s.sh").write_text(re.sub(r"^mkdir -p.*", 'echo "limit $limit"; exit 0', text, count=1, flags=re.M))
        options = ["--ntasks=2", "--cpus-per-task=1", asked, "--time=1"]
        options += ["--gpus-per-task=1"] if "gpu" in asked else []
        job = slurm.submit(*options, folder / "s.sh", *words("slurm-dask.sh", raw)[1:], cwd=folder, DEVICE="cpu")
        slurm.wait(job)
        limits[asked] = logs(folder).splitlines()[1:]
    (refused,) = limits.pop("--mem=0")
    assert "How much memory" in refused or refused.startswith("limit "), refused  # some SLURMs say what a node has
    assert set(map(tuple, limits.values())) == {("limit 1080MiB",)}, limits


def test_jobs_with_a_time_limit_that_is_shorter_than_the_run(slurm: Slurm, raw: Path, tmp_path: Path) -> None:
    """A job has a minute, most of which its script sleeps away: the run is what several such jobs do of it."""
    whole = float((raw / "seconds").read_text())
    for share in (2, 4, 8):  # a machine may be faster now than it was then
        folder = tmp_path / str(share)
        folder.mkdir()
        ended = jobs_of(slurm, raw, folder, seconds=min(40, max(4, round(whole / share))))
        same(folder, raw)
        if ended > 1:
            return
    pytest.fail("the run has ended in a single job each time: it is no test of the time limit")


def jobs_of(slurm: Slurm, raw: Path, folder: Path, seconds: int) -> int:
    """How many jobs with so many seconds it takes until the run is done; each must end by itself before its limit.

    Each job has some seconds more than the one before, so that a machine that has become slow gets there, too.
    """
    script = folder / "late.sh"
    text = (DEPLOY / "slurm-array.sh").read_text()
    assert text.count("\nlimit=") == 1
    for count in range(1, 13):
        script.write_text(text.replace("\nlimit=", f"\nsleep {max(0, 66 - seconds - 6 * count)}\nlimit="))
        command = ["--array=1", *ARRAY[:2], "--time=1", script, *words("slurm-array.sh", raw)[1:]]
        job = slurm.submit(*command, cwd=folder)
        (state,) = slurm.wait(job).values()
        if state == "COMPLETED":
            return count
        assert state == "FAILED", logs(folder)  # and not TIMEOUT
        assert "Stopped before the deadline" in (folder / f"volengine-{job}-1.log").read_text(), logs(folder)
    pytest.fail(logs(folder))
