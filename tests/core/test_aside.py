"""Files appear complete; what killed writers leave is swept, and what living ones use is kept."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from volengine.core.aside import ABANDONED_S, PREFIX, begin_sync, is_abandoned, private_place, put_file, sweep
from volengine.core.atomic import replacing
from volengine.core.boxes import Box
from volengine.core.errors import MissingError
from volengine.core.image import ImageSpec, Level
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.omezarr.image import create_image, finish_image, reopen_image

SHAPE = (40, 70, 70)


def spec_of(path: Path) -> ImageSpec:
    level = Level("0", SHAPE, (1, 1, 1), (16, 16, 16), (32, 32, 32))
    return ImageSpec(str(path), "t", "float32", "intensity", (10.0,) * 3, (level,))


def voxels_of() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 30, SHAPE).astype(np.float32)


WRITER = """
import sys, time
from pathlib import Path
from volengine.core.aside import private_place
with private_place(Path(sys.argv[1])) as place:
    (place / "half").write_bytes(b"half")
    print(place.name, flush=True)
    time.sleep(100)
"""


def test_a_killed_writer_is_known_from_a_living_and_a_stopped_one(tmp_path):
    deep = tmp_path / "a.zarr" / "0"
    deep.mkdir(parents=True)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(deep)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    names = [writer.stdout.readline().strip() for writer in writers]
    try:
        writers[0].send_signal(signal.SIGSTOP)
        writers[1].kill()
        writers[1].wait()
        assert [is_abandoned(deep / name) for name in names] == [False, True, False]
        assert sweep(tmp_path) == 1
        assert sorted(path.name for path in deep.iterdir()) == sorted((names[0], names[2]))
        assert (deep / names[0] / "half").read_bytes() == b"half"
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert sweep(tmp_path) == 2
    assert not list(deep.iterdir())


@pytest.mark.parametrize("host", ["elsewhere-1", None])
def test_writers_of_other_machines_are_judged_by_their_last_change(tmp_path, host):
    with private_place(tmp_path) as mine:
        pieces = mine.name.removeprefix(PREFIX).split("-")
    assert len(pieces) == 5
    other = f"{PREFIX}elsewhere-{'-'.join(pieces[1:])}" if host else f"{PREFIX}nonsense"
    (tmp_path / other).mkdir()
    (tmp_path / other / "half").write_bytes(b"")
    assert sweep(tmp_path) == 0
    old = time.time() - ABANDONED_S - 60
    os.utime(tmp_path / other, (old, old))
    assert sweep(tmp_path) == 0  # a file in it is new
    os.utime(tmp_path / other / "half", (old, old))
    assert sweep(tmp_path) == 1


def test_a_place_is_removed_whatever_happens(tmp_path):
    def fails() -> None:
        with private_place(tmp_path) as place:
            (place / "c" / "0").mkdir(parents=True)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not list(tmp_path.iterdir())


def test_put_file_replaces_or_refuses(tmp_path):
    file = tmp_path / "new" / "folder" / "a"
    put_file(file, b"1", durable=True)
    put_file(file, b"2")
    with pytest.raises(FileExistsError):
        put_file(file, b"3", exclusive=True)
    assert file.read_bytes() == b"2"
    assert [path.name for path in file.parent.iterdir()] == ["a"]


def test_files_are_flushed_before_their_folders_and_everything_once(tmp_path, monkeypatch):
    """What a sink has written is flushed at once: first files, then each folder up to the array's."""
    spec = spec_of(tmp_path / "a.zarr")
    create_image(spec, token="a")
    flushed: list[str] = []
    real = os.fsync

    def note(number: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{number}").readlink().relative_to(tmp_path / "a.zarr")))
        real(number)

    monkeypatch.setattr(os, "fsync", note)
    sink, box = ZarrSink(spec.volume()), Box.of_shape(SHAPE)
    sink.write(box, voxels_of())
    assert flushed == []
    sink.flush()
    files = [name for name in flushed if (tmp_path / "a.zarr" / name).is_file()]
    assert sorted(files) == sorted(f"0/{key}" for key in sink.keys(box))
    assert flushed[: len(files)] == files
    folders = flushed[len(files) :]
    assert {"0", "0/c", "0/c/0", "0/c/0/0", "0/c/1/2"} <= set(folders)
    flushed.clear()
    sink.flush()
    assert flushed == []
    ZarrSink(spec.volume()).write(box, voxels_of())
    other = ZarrSink(spec.volume())
    other.write(
        box, voxels_of()
    )  # the same bytes: nothing is written, but it is not known whether they are on the disk
    other.flush()
    assert len([name for name in flushed if (tmp_path / "a.zarr" / name).is_file()]) == len(files)


def test_an_object_that_vanished_before_it_was_flushed_is_an_error(tmp_path):
    spec = spec_of(tmp_path / "a.zarr")
    create_image(spec, token="a")
    sink, box = ZarrSink(spec.volume()), Box.of_shape(SHAPE)
    sink.write(box, voxels_of())
    (tmp_path / "a.zarr" / "0" / "c" / "1" / "0" / "0").unlink()
    with pytest.raises(MissingError, match="was deleted after it was written"):
        sink.flush()
    sink.write(box, np.zeros(SHAPE, np.float32))  # and zeros leave nothing to flush but names
    sink.flush()


def test_metadata_are_flushed_when_that_is_asked(tmp_path, monkeypatch):
    flushed: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (flushed.append(number), real(number)))
    spec = spec_of(tmp_path / "a.zarr")
    for action in (
        lambda durable: create_image(spec, token="a", durable=durable),
        lambda durable: finish_image(spec, [{}], durable=durable),
        lambda durable: reopen_image(spec, durable=durable),
    ):
        action(True)
        assert flushed
        flushed.clear()
    create_image(spec_of(tmp_path / "b.zarr"), token="a")
    finish_image(spec_of(tmp_path / "b.zarr"))
    assert not flushed


def test_beginning_to_flush_waits_for_nothing_and_loses_nothing(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 4096)
    begin_sync(path)
    begin_sync(tmp_path / "deleted meanwhile")
    assert path.read_bytes() == bytes(range(256)) * 4096


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_is_said_with_the_name_of_the_file(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError, match=r"out\.csv") as info, replacing(tmp_path / "out.csv"):
        raise OSError(number, os.strerror(number))
    assert info.value.errno == number
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(MissingError, match="a is a file, and no folder"):
        write_into(tmp_path / "a" / "b.csv")
    with pytest.raises(MissingError, match="c does not exist; create it first"):
        write_into(tmp_path / "c" / "b.csv")


def write_into(path: Path) -> None:
    with replacing(path):
        pass
