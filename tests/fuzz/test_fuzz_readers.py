"""A short pass of the fuzzer over every class of readers, and the fuzzer itself: it finds what it should find."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SPEC = importlib.util.spec_from_file_location("fuzz_readers", Path(__file__).with_name("fuzz_readers.py"))
assert SPEC is not None
assert SPEC.loader is not None
fuzz_readers = importlib.util.module_from_spec(SPEC)
sys.modules["fuzz_readers"] = fuzz_readers
SPEC.loader.exec_module(fuzz_readers)

from fuzz_samples import Sample, Target  # noqa: E402
from fuzz_targets import TARGETS  # noqa: E402

NEEDS = {"nifti": "nibabel", "nifti_volumes": "nibabel", "onnx": "onnx", "ckpt": "monai"}
CASES = {"membrain_pick": 12, "keras": 12, "easymode": 20, "hdf5": 12, "scnt": 60, "ckpt": 30}
"""Cases of a target, if not 150: those that start a process for each file, or build a large network, take longer."""


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_end_in_values_or_in_the_packages_error(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    findings, count, _ = fuzz_readers.fuzz(name, 7, seconds=1e6, most=CASES.get(name, 150))
    assert [f"{f['where']}: {f['error']}\n{f['trace']}" for f in findings] == []
    assert count == CASES.get(name, 150)


def _weak(path: Path) -> None:
    data = path.read_bytes()
    if data[:1] != b"a":
        raise KeyError("foreign error")
    if len(data) < 4:
        print("a line on the terminal")
    if b"x" not in data:
        bytearray(2**30)


def test_the_fuzzer_notices_other_errors_and_lines_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = Target(lambda folder: [Sample("f.bin", b"a" + b"xyz")], _weak, megabytes=64)
    monkeypatch.setitem(TARGETS, "weak", weak)
    findings: list[dict[str, Any]] = fuzz_readers.fuzz("weak", 1, seconds=60, most=300)[0]
    told = "\n".join(f["error"] for f in findings)
    assert "KeyError: 'foreign error'" in told
    assert "on the terminal: a line on the terminal" in told
    assert "MemoryError" in told
    number = next(f["number"] for f in findings if "KeyError" in f["error"])
    assert fuzz_readers.data_of("weak", 1, number)[1][:1] != b"a"  # seed and number name the file


def test_the_fuzzer_survives_a_reader_that_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def deadly(path: Path) -> None:
        if path.read_bytes()[:1] != b"a":
            os.abort()

    monkeypatch.setitem(TARGETS, "deadly", Target(lambda folder: [Sample("f.bin", b"abcdef")], deadly))
    findings, count, _ = fuzz_readers.fuzz("deadly", 1, seconds=60, most=40)
    assert [f["where"] for f in findings] == ["crash"]
    assert findings[0]["times"] > 1
    assert count == 40
