"""What is called done is on the disk: data, then the names of the files, then the receipt; and a disk that is full."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from engine_parts import long_plan
from engine_plans import stored

from volengine.core.atomic import flush
from volengine.core.errors import VolengineError
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan
from volengine.io.omezarr.codecs import prefer_fast_codecs


class Disk:
    """Notes what is flushed, and when a receipt is appended, while the real calls are made."""

    def __init__(self, monkeypatch):
        self.flushed: dict[str, int] = {}
        self.wrong: list[str] = []
        self.receipts = 0
        fsync, write = os.fsync, os.write

        def noted(number: int) -> None:
            fsync(number)
            path = os.readlink(f"/proc/self/fd/{number}")
            self.flushed[path] = os.fstat(number).st_mtime_ns

        def appended(number: int, data) -> int:
            path = os.readlink(f"/proc/self/fd/{number}")
            if "/ledger/" in path:
                self._check(Path(path).parent.parent, bytes(data))
            return write(number, data)

        monkeypatch.setattr(os, "fsync", noted)
        monkeypatch.setattr(os, "write", appended)

    def _check(self, folder: Path, data: bytes) -> None:
        home = folder.parent.parent.parent
        places = {"sum": home / "t-x.ome.zarr/0", "less": folder / "scratch/d.zarr/0", "again": home / "t-y.ome.zarr/0"}
        for line in data.split(b"\n"):
            if not line:
                continue
            self.receipts += 1
            receipt = json.loads(line)
            wrote = receipt.get("wrote", {}).get("out", {})
            files = [places[receipt["stage"]] / key for key, entry in wrote.items() if entry is not None]
            if "table" in receipt:
                files.append(folder / PlanFolder.tables_of(receipt["stage"]) / PlanFolder.table_key(receipt["number"]))
            for file in files:
                known = self.flushed.get(str(file))
                if known is None or known < file.stat().st_mtime_ns:
                    self.wrong.append(f"{file} was not flushed before its receipt")
                if str(file.parent) not in self.flushed:
                    self.wrong.append(f"the name of {file} was not flushed before its receipt")


@pytest.fixture
def source(tmp_path):
    return stored(tmp_path, np.random.default_rng(0).integers(1, 100, (8, 8, 12)).astype("int16"))


@pytest.mark.parametrize("fast", [False, True])
def test_data_and_names_are_flushed_before_the_receipt(tmp_path, source, monkeypatch, fast):
    if fast:
        prefer_fast_codecs()
    disk = Disk(monkeypatch)
    run_plan(long_plan(tmp_path, source), str(tmp_path / "run"), RunOptions(progress=False))
    assert disk.receipts == 12 * 4 + 1
    assert not disk.wrong
    ledger = tmp_path / "run" / "plans" / "t" / "ledger"
    assert all(str(file) in disk.flushed for file in ledger.glob("*.jsonl"))
    for name in ("finished.json", "plan.json", "images.json"):  # written aside: the folder is flushed
        assert str((ledger.parent / name).parent) in disk.flushed
    assert str(tmp_path / "t-y.ome.zarr") in disk.flushed  # complete


def test_scratch_file_systems_need_no_flush(tmp_path, source, monkeypatch):
    disk = Disk(monkeypatch)
    run_plan(long_plan(tmp_path, source), str(tmp_path / "run"), RunOptions(progress=False, durable=False))
    assert disk.receipts == 12 * 4 + 1
    assert not [path for path in disk.flushed if "/0/c/" in path or path.endswith((".jsonl", ".npz"))]


def test_flush_makes_files_and_new_folders_durable(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    files = [tmp_path / "a" / "b" / f"{n}" for n in range(3)]
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.write_bytes(b"x")
    flush(files, root=tmp_path)
    assert set(disk.flushed) == {str(p) for p in (*files, tmp_path / "a" / "b", tmp_path / "a", tmp_path)}
    files[1].unlink()
    with pytest.raises(FileNotFoundError):
        flush(files, root=tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def chunks(folder: Path) -> dict[str, bytes]:
    files = (p for image in "xy" for p in (folder / f"t-{image}.ome.zarr/0/c").rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_a_full_disk_ends_the_run_and_more_room_lets_it_go_on(tmp_path, source, small_disk):
    noise = np.random.default_rng(0).integers(-1000, 1000, (24, 32, 32)).astype("int16")
    plan = long_plan(small_disk, stored(tmp_path, noise))
    with pytest.raises((VolengineError, OSError), match=r"(?i)no space|full|28"):
        run_plan(plan, str(small_disk / "run"), RunOptions(progress=False, retries=0))
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    run_plan(plan, str(small_disk / "run"), RunOptions(progress=False))
    reference = long_plan(tmp_path / "right", plan.stages[0].arrays["source"].volume)
    run_plan(reference, str(tmp_path / "right" / "run"), RunOptions(progress=False))
    assert chunks(small_disk) == chunks(tmp_path / "right")
