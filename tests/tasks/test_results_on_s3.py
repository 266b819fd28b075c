"""Results in an object store, the run folder on this disk: all steps, faults while writing, kills, verify."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from calling import Command
from s3_server import Fault, Server, serving, use_server
from threshold_net import save_threshold_model

import volengine
from volengine.core.errors import MissingError
from volengine.io import patience
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_volume

s3fs = pytest.importorskip("s3fs")

SHAPE = (32, 64, 64)
CENTRES = ((10, 16, 16), (20, 48, 18), (14, 20, 50))
QUIET = volengine.RunOptions(progress=False, block=(32, 32, 32))
SMALL = volengine.ConvertRecipe(chunk=(16, 16, 16), shard=(32, 32, 32))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    with serving() as running:
        running.buckets["bucket"] = {}
        use_server(monkeypatch, running.endpoint, AWS_MAX_ATTEMPTS="1")
        monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.01)
        monkeypatch.chdir(tmp_path)
        yield running
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three bright balls of radius 6 voxels."""
    rng = np.random.default_rng(0)
    array = rng.normal(0, 0.05, SHAPE).astype("f4")
    grid = np.indices(SHAPE)
    for centre in CENTRES:
        array[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= 36] = 1.0
    write_mrc(tmp_path / "a.mrc", [array], SHAPE, "float32", (10.0, 10.0, 10.0))
    return tmp_path / "a.mrc"


def faults_of_writing() -> list[Fault]:
    """Each kind strikes again and again, at other objects."""
    return [
        Fault("status", "c/0/0/1", method="PUT", times=2),
        Fault("status", "c/0/1", method="PUT", times=2, status=503, code="SlowDown"),
        Fault("lost", "c/0/0/0", method="PUT", times=3),
        Fault("lost", "zarr.json", method="PUT", times=2),
        Fault("status", "zarr.json", method="PUT", times=1),
        Fault("status", "manifest.json", method="PUT", times=1),
        Fault("lost", "manifest.json", method="PUT", times=1),
        Fault("status", "", method="HEAD", times=3),
        Fault("status", "", method="GET", times=3),
        Fault("lost", "", method="DELETE", times=1),
    ]


def steps(source: Path, out: str, model: Path) -> tuple[np.ndarray, list[str]]:
    """All steps, each of which reads what the one before has written; the picked positions and the URLs."""
    tomogram = volengine.convert(source, f"{out}/a.ome.zarr", SMALL, QUIET)
    recipe = volengine.SegmentRecipe(models=(str(model),))
    predictions = volengine.segment(tomogram.url, f"{out}/predictions", recipe, QUIET)
    urls = {name: one.url for name, one in predictions.items()}
    rule = volengine.Interact(child="ball", parent="other", kind="avoid", radius_nm=2)
    other = volengine.SegmentRecipe(models=(str(save_threshold_model(model.with_name("o.safetensors"), "other")),))
    urls |= {k: v.url for k, v in volengine.segment(tomogram.url, f"{out}/others", other, QUIET).items()}
    gated = volengine.interact(urls, f"{out}/gated", volengine.InteractRecipe(rules=(rule,)), QUIET)
    picks = volengine.pick(urls["ball"], f"{out}/a.star", volengine.PickRecipe(spacing_nm=8), QUIET)
    return np.asarray(picks.position), [tomogram.url, urls["ball"], gated["ball"].url]


@pytest.mark.slow
def test_all_steps_with_results_on_s3_and_faults_while_writing(
    server: Server, source: Path, tmp_path: Path, volengine: Command
) -> None:
    """The same voxels and picks as on this disk, and all objects are those that the manifests list."""
    model = save_threshold_model(tmp_path / "ball.safetensors", "ball")
    wanted, places = steps(source, str(tmp_path / "local"), model)
    server.faults[:] = faults_of_writing()
    found, urls = steps(source, "s3://bucket/out", model)
    assert {kind for kind, _ in server.struck} >= {"status", "lost"}
    server.faults.clear()
    assert np.array_equal(found, wanted)
    assert len(found) == len(CENTRES)
    stored = server.buckets["bucket"]
    for place, url in zip(places, urls, strict=True):
        assert np.array_equal(open_volume(url)[:], open_volume(place)[:])
        code, told, said = volengine("verify", url)
        assert code == 0, told + said
    code, told, said = volengine("stats", "s3://bucket/out/a.star", "--volume", urls[0])
    assert code == 0, said
    assert told == volengine("stats", "local/a.star", "--volume", places[0])[1]
    code, _, said = volengine("export", urls[1], "back.mrc")
    assert code == 0, said
    code, _, said = volengine("export", places[1], "local.mrc")
    assert Path("back.mrc").read_bytes()[1024:] == Path("local.mrc").read_bytes()[1024:]
    key = next(k for k in stored if "predictions" in k and "/0/c/" in k)
    stored[key] = stored[key][:-1] + bytes([stored[key][-1] ^ 1])
    code, told, said = volengine("verify", urls[1], "--deep")
    assert code == 1
    assert key.partition(".ome.zarr/")[2].removeprefix("0/") in told + said


RUN = """
import sys, volengine
from volengine.io import patience
patience.FIRST_WAIT_S = 0.01
options = volengine.RunOptions(progress=False, block=(32, 32, 32))
recipe = volengine.ConvertRecipe(chunk=(16, 16, 16), shard=(32, 32, 32))
volengine.convert(sys.argv[1], sys.argv[2], recipe, options)
"""


def test_a_killed_run_goes_on_where_it_stopped(server: Server, source: Path, volengine: Command) -> None:
    """The process is killed at the PUT of the last of four shards; what has a receipt is not written again."""
    url = "s3://bucket/a.ome.zarr"
    words = [sys.executable, "-c", RUN, str(source), url]
    process = subprocess.Popen(words)
    try:
        server.faults.append(
            Fault("lost", "0/c/0/1/1", method="PUT", before=lambda: os.kill(process.pid, signal.SIGKILL), times=1)
        )
        assert process.wait(100) == -signal.SIGKILL
    finally:
        process.kill()
    server.faults.clear()
    done = {key for method, key, _ in server.seen if method == "PUT" and "/0/c/" in key}
    assert len(done) > 2
    server.seen.clear()
    subprocess.run(words, check=True)
    again = {key for method, key, _ in server.seen if method == "PUT" and "/0/c/" in key}
    assert len(again) < len(done)
    assert volengine("verify", url)[0] == 0
    assert np.array_equal(open_volume(url)[:], open_volume(source)[:])


def test_credentials_that_run_out_end_the_run_and_it_goes_on_later(
    server: Server, source: Path, volengine: Command
) -> None:
    url = "s3://bucket/a.ome.zarr"
    words = ["convert", str(source), "--out", url, "--no-progress", "--block", "32,32,32", "--shard", "32,32,32"]
    words += ["--chunk", "16,16,16"]
    server.faults.append(Fault("status", "0/c/0/1", method="*", status=400, code="ExpiredToken"))
    code, _, said = volengine(*words)
    assert code != 0
    assert "ExpiredToken" in said
    assert "a.ome.zarr/0/c/0/1" in said
    assert "renew them" in said
    server.faults.clear()
    code, _, said = volengine(*words)
    assert code == 0, said
    assert np.array_equal(open_volume(url)[:], open_volume(source)[:])


@pytest.mark.parametrize("key", ["a.ome.zarr/zarr.json", "a.ome.zarr/0/zarr.json", "zarr.json"])
@pytest.mark.parametrize("number", [0, 1])
def test_metadata_that_the_store_loses_are_named(server: Server, source: Path, key: str, number: int) -> None:
    """A PUT that is confirmed and not carried out: of the first time, or when the image is marked as complete."""
    out = "s3://bucket/a.ome.zarr"
    server.faults.append(Fault("passed", key, method="PUT", times=number))
    server.faults.append(Fault("dropped", key, method="PUT"))
    if number and key == "a.ome.zarr/0/zarr.json":
        return  # that of an array is written once
    with pytest.raises(MissingError, match=r"a\.ome\.zarr/(0/)?zarr\.json: was written, .* is not there( \(its|\.)"):
        volengine.convert(source, out, SMALL, QUIET)
    server.faults.clear()
    volume = volengine.convert(source, out, SMALL, QUIET)
    assert np.array_equal(volume[:], open_volume(source)[:])


def test_a_server_that_stops_leaves_no_lines_of_asyncio(server: Server, source: Path) -> None:
    """Many objects are read side by side; the first that fails ends the command, and the others with it."""
    volengine.convert(
        source, "s3://bucket/a.ome.zarr", volengine.ConvertRecipe(chunk=(8, 8, 8), shard=(8, 8, 8)), QUIET
    )
    server.faults.append(Fault("status", "/c/", status=503))
    code = "import volengine.io.patience as p; p.FIRST_WAIT_S = 0.01; from volengine.cli.main import main; main()"
    url = f"{server.endpoint}/bucket/a.ome.zarr"
    done = subprocess.run(
        [sys.executable, "-c", code, "info", "--full", url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "cannot be reached: HTTP 503" in done.stderr
