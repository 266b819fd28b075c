"""Strangers' HDF5 files: whatever they hold, an answer comes within seconds, and it is the file or one clear error."""

from __future__ import annotations

import io
import random
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from places import REFERENCES

from volengine.core.errors import DependencyError, FormatError, MissingError
from volengine.nets.formats.keras import h5_apart
from volengine.nets.formats.keras.h5_apart import read_h5

h5py = pytest.importorskip("h5py")


def stored(archive: str, member: str) -> bytes:
    with zipfile.ZipFile(REFERENCES / archive) as file:
        return file.read(member)


def test_what_h5py_reads_comes_back(tmp_path: Path) -> None:
    for archive in ("keras2.zip", "keras3.zip"):
        whole = stored(archive, "nested.h5")
        (tmp_path / "nested.h5").write_bytes(whole)
        content, again = read_h5(tmp_path / "nested.h5"), read_h5(whole, "nested.h5")
        assert content.config == again.config
        assert not content.numbered
        with h5py.File(tmp_path / "nested.h5") as file:
            assert content.config == file.attrs["model_config"]
            assert content.version == file.attrs["keras_version"]
            found = {}
            for layer, group in file["model_weights"].items():
                for key in group.attrs["weight_names"]:
                    found[layer, str(key)] = group[key][()]
        given = {(layer, w.key): w.values for layer, weights in content.weights.items() for w in weights}
        assert given.keys() == found.keys()
        assert all(np.array_equal(given[key], found[key]) for key in found)


def test_other_types_of_numbers_become_float32_and_odd_shapes_stay() -> None:
    arrays = [np.float32(2.5), np.arange(6, dtype=np.float16).reshape(1, 2, 3), np.arange(3, dtype=">i4"), np.zeros(0)]
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        group = file.create_group("conv")
        group.attrs["weight_names0"], group.attrs["weight_names1"] = ["0", "1"], ["2", "3"]
        for number, array in enumerate(arrays):
            group[str(number)] = array
    weights = read_h5(stream.getvalue(), "m.h5").weights["conv"]
    assert [w.values.shape for w in weights] == [(), (1, 2, 3), (3,), (0,)]
    assert all(w.values.dtype == np.float32 for w in weights)
    assert all(np.array_equal(w.values, array) for w, array in zip(weights, arrays, strict=True))


@pytest.mark.parametrize("number", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 5))])
def test_files_on_which_the_library_hangs_are_refused(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found with changed bytes in good files: HDF5 2.0 does not come back from them."""
    monkeypatch.setattr(h5_apart, "SECONDS", 1)
    start = time.monotonic()
    with pytest.raises(FormatError, match=r"m\.h5 .*damaged"):
        read_h5(stored("damaged.zip", f"{number}.h5"), "m.h5")
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("while True: pass", "stopped by signal (9|24)"),
        ("kept = []\nwhile True: kept.append(bytearray(10**7))", "failed: MemoryError"),
        ("import sys\nwhile True: sys.stdout.buffer.write(bytes(10**7))", r"File too large|signal 25"),
        ("import os\nos.kill(os.getpid(), 11)", "stopped by signal 11"),
        ("import os\nos._exit(0)", "damaged"),
    ],
    ids=["loops", "memory", "output", "crash", "silence"],
)
def test_a_library_that_goes_astray_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    pytest.importorskip("resource", reason="this system cannot limit a process")
    (tmp_path / "h5py.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(h5_apart, "SECONDS", 1)
    monkeypatch.setattr(h5_apart, "MEMORY", 300_000_000)
    with pytest.raises(FormatError, match=message):
        read_h5(b"anything", "m.h5")


def test_a_missing_library_and_a_missing_file_are_told_from_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingError, match="no such model file"):
        read_h5(tmp_path / "nowhere.h5")
    (tmp_path / "h5py.py").write_text("raise ImportError('no libhdf5')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DependencyError, match="no libhdf5"):
        read_h5(b"anything", "m.h5")


def test_one_weight_many_times_and_too_many_objects_are_refused() -> None:
    def made(names: list[str]) -> bytes:
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            group = file.create_group("conv")
            group.attrs["weight_names"] = names
            group["w"] = np.ones(1000, np.float32)
            group["same"] = group["w"]
        return stream.getvalue()

    assert read_h5(made(["w"]), "m.h5").weights["conv"][0].values.sum() == 1000
    for names in (["w", "w"], ["w", "same"]):
        with pytest.raises(FormatError, match="does not hold what it announces"):
            read_h5(made(names), "m.h5")


def changed(whole: bytes, draw: random.Random) -> bytes:
    """Cut off, or some bytes changed, most of them where the structure of the file lies."""
    if draw.random() < 0.2:
        return whole[: draw.randrange(len(whole))]
    content = bytearray(whole)
    marks = [i for sign in (b"TREE", b"SNOD", b"HEAP", b"OHDR", b"GCOL") for i in _found(whole, sign)]
    for _ in range(draw.choice((1, 2, 4, 16))):
        place = draw.choice(marks) + draw.randrange(80) if marks and draw.random() < 0.8 else draw.randrange(len(whole))
        if place < len(content):
            content[place] = draw.choice((0, 1, 255, draw.randrange(256), content[place] ^ 1 << draw.randrange(8)))
    return bytes(content)


def _found(whole: bytes, sign: bytes) -> list[int]:
    places, at = [], whole.find(sign)
    while at >= 0:
        places.append(at)
        at = whole.find(sign, at + 1)
    return places


@pytest.mark.parametrize("count", [pytest.param(20, id="some"), pytest.param(120, id="many", marks=pytest.mark.slow)])
def test_changed_files_are_read_or_refused_with_one_error(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(count)
    files = [stored(a, f"norms_and_joins.{e}") for a in ("keras2.zip", "keras3.zip") for e in ("h5", "weights.h5")]
    monkeypatch.setattr(h5_apart, "SECONDS", 1)
    messages = []
    for _ in range(count):
        start = time.monotonic()
        try:
            read_h5(changed(draw.choice(files), draw), "m.h5")
        except FormatError as error:
            messages.append(str(error))
        assert time.monotonic() - start < 60
    assert all(message.startswith("m.h5 ") for message in messages)
    assert len(messages) > count // 4
