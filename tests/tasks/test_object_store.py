"""Stores on S3, over HTTP: the same verbs, the same voxels; workers reach them with what the environment says."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from calling import Command
from s3_server import Server, serving, use_server

from volengine.core.boxes import Box
from volengine.core.errors import ChangedError, InputError
from volengine.io.identity import check_unchanged
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_source, open_volume

s3fs = pytest.importorskip("s3fs")

SHAPE = (40, 90, 100)
ARRAY = np.random.default_rng(0).integers(-100, 100, SHAPE).astype(np.int16)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    with serving() as running:
        use_server(monkeypatch, running.endpoint, "the-key-of-this-test")
        running.buckets["bucket"] = {}
        yield running


@pytest.fixture
def moto(monkeypatch, tmp_path) -> Iterator[None]:
    """The independent server of the package moto, where its command is installed."""
    command = shutil.which("moto_server")
    if command is None:
        pytest.skip("moto_server (of moto[server]) is not on the path")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "moto.log").open("wb") as log:
        process = subprocess.Popen([command, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        use_server(monkeypatch, f"http://127.0.0.1:{port}", f"key-{port}")
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bucket")
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_mrc(tmp_path / "a.mrc", [ARRAY], SHAPE, "int16", (10.0, 10.0, 10.0))
    return tmp_path / "a.mrc"


def check_round_trip(volengine: Command, source: Path, *options: str) -> None:
    """Convert to the store in a process of its own, as users do; look at it, write it back as MRC."""
    url = "s3://bucket/folder/a.ome.zarr"
    words = ["convert", str(source), "--out", url, "--no-progress", *options]
    done = subprocess.run([sys.executable, "-m", "volengine.cli.main", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code, told, said = volengine("info", url)
    assert code == 0, said
    assert "40 x 90 x 100" in told
    code, _, said = volengine("export", url, "back.mrc")
    assert code == 0, said
    back = open_volume("back.mrc")
    assert np.array_equal(open_source(back).read(Box.of_shape(SHAPE)), ARRAY)


@pytest.mark.slow
def test_workers_write_to_s3(server, source, volengine):
    """One shard per block, so that both workers write; each signs with the key of the environment."""
    small = ["--chunk", "16,16,16", "--shard", "32,32,32", "--block", "64,32,64"]
    check_round_trip(volengine, source, "--workers", "2", *small)
    stored = server.buckets["bucket"]
    shards = {k for k in stored if k.startswith("folder/a.ome.zarr/0/c/")}
    assert len(shards) == 2 * 3 * 4
    assert all("Credential=the-key-of-this-test/" in signed for _, _, signed in server.seen)
    assert not [k for k in stored if "partial" in k]
    assert (source.parent / "s3_bucket_folder_a.ome.zarr.run").is_dir()  # ledgers stay on this disk


def test_the_same_from_moto(moto, source, volengine):
    check_round_trip(volengine, source, "--workers", "2")


def test_a_store_that_stands_is_kept_or_replaced(server, source, volengine):
    url = "s3://bucket/a.ome.zarr"
    assert volengine("convert", str(source), "--out", url, "--no-progress")[0] == 0
    before = dict(server.buckets["bucket"])
    other = ["--levels", "1", "--run-dir", "other"]
    code, _, said = volengine("convert", str(source), "--out", url, "--no-progress", *other)
    assert code == 2
    assert "--overwrite" in said
    assert server.buckets["bucket"] == before
    words = ["--levels", "1", "--overwrite", "--run-dir", "third"]
    code, _, said = volengine("convert", str(source), "--out", url, "--no-progress", *words)
    assert code == 0, said
    assert not [k for k in server.buckets["bucket"] if k.startswith("a.ome.zarr/1/")]
    assert np.array_equal(open_source(open_volume(url)).read(Box.of_shape(SHAPE)), ARRAY)


@pytest.mark.parametrize("url", ["s3://nobody/a.ome.zarr", "s3://bucket/none.ome.zarr"])
def test_what_is_not_there_is_one_line(server, volengine, url):
    code, _, said = volengine("info", url)
    assert code == 2
    assert len(said.strip().splitlines()) == 1, said
    assert url in said


def test_a_server_that_is_not_there_is_one_line(monkeypatch, source, volengine):
    use_server(monkeypatch, "http://127.0.0.1:9", "k")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    code, _, said = volengine("convert", str(source), "--out", "s3://bucket/a.ome.zarr", "--no-progress")
    assert code == 2
    assert len(said.strip().splitlines()) == 1, said
    assert "cannot be reached" in said


@pytest.mark.parametrize("how", ["quick", "content"])
def test_a_chunk_that_is_replaced_on_s3_is_noticed(server, source, volengine, monkeypatch, tmp_path, how):
    """By its ETag: size and time are the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"s3://bucket/{how}.ome.zarr"  # no other test's: arrays stay open, with their endpoint
    code, _, said = volengine("convert", str(source), "--out", url, "--no-progress")
    assert code == 0, said
    volume = open_volume(url, identity=how)
    check_unchanged(volume)
    assert open_volume(url, identity=how).identity == volume.identity
    stored = server.buckets["bucket"]
    key = next(k for k in stored if k.startswith(f"{how}.ome.zarr/0/c/0/0/0"))
    before = stored[key]
    stored[key] = bytes([before[0] ^ 1]) + before[1:]
    with pytest.raises(ChangedError, match=r"\.ome\.zarr#0 has changed .*written again: c/0/0/0"):
        check_unchanged(volume)
    assert open_volume(url, identity=how).identity != volume.identity
    del stored[key]
    with pytest.raises(ChangedError, match="deleted: c/0/0/0"):
        check_unchanged(volume)
    stored[key] = before
    check_unchanged(volume)
    for name in list(stored):
        del stored[name]
    with pytest.raises(ChangedError, match="is gone"):
        check_unchanged(volume)


def test_a_store_over_http_is_known_by_its_metadata(source, volengine, tmp_path):
    assert volengine("convert", str(source), "--out", "a.ome.zarr", "--no-progress")[0] == 0
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{web.server_port}/a.ome.zarr"
        volume = open_volume(url)
        assert np.array_equal(volume[...], ARRAY)
        check_unchanged(volume)
        with pytest.raises(InputError, match="cannot be listed"):
            open_volume(url, identity="content")
        file = tmp_path / "a.ome.zarr" / "0" / "zarr.json"
        file.write_text(file.read_text().replace('"fill_value": 0', '"fill_value": 1'))
        with pytest.raises(ChangedError, match="other metadata"):
            check_unchanged(volume)
        web.shutdown()


# -- public buckets ----------------------------------------------------------------------------------------


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What a test says of anonymous access is forgotten after it; run folders of URLs are in the test's folder."""
    import fsspec.config

    monkeypatch.chdir(tmp_path)
    for name in ("FSSPEC_S3", "FSSPEC_GCS"):
        monkeypatch.setenv(name, "{}")
    for protocol in ("s3", "gcs"):
        monkeypatch.setitem(fsspec.config.conf, protocol, {})
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def test_anonymous_requests_are_not_signed_by_the_driver_nor_by_workers(
    server: Server, tmp_path: Path, forgotten: None
) -> None:
    import volengine

    write_mrc(tmp_path / "a.mrc", [ARRAY], SHAPE, "int16", (10, 10, 10))
    quiet = volengine.RunOptions(progress=False)
    volengine.convert(tmp_path / "a.mrc", "s3://bucket/a.ome.zarr", None, quiet)
    assert {signed != "" for _, _, signed in server.seen} == {True}
    server.seen.clear()
    s3fs.S3FileSystem.clear_instance_cache()
    options = quiet.with_(anonymous=True, workers=1, memory_limit=700_000_000)
    made = volengine.convert("s3://bucket/a.ome.zarr", tmp_path / "b.ome.zarr", None, options)
    assert np.array_equal(made[:], ARRAY)
    assert len(server.seen) > 10
    assert {signed for _, _, signed in server.seen} == {""}


def test_anonymous_export(server: Server, tmp_path: Path, forgotten: None) -> None:
    import volengine

    write_mrc(tmp_path / "a.mrc", [ARRAY], SHAPE, "int16", (10, 10, 10))
    volengine.convert(tmp_path / "a.mrc", "s3://bucket/a.ome.zarr", None, volengine.RunOptions(progress=False))
    server.seen.clear()
    recipe = volengine.ExportRecipe(anonymous=True)
    made = volengine.export("s3://bucket/a.ome.zarr", tmp_path / "b.tif", recipe, progress=False)
    assert np.array_equal(made[:], ARRAY)
    assert {signed for _, _, signed in server.seen} == {""}
