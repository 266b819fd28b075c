"""The script for a GPU works: here on a CPU, at tiny sizes, without packages that a bare machine does not have."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from volengine.nets.registry import NETWORKS

HERE = Path(__file__).parent
SCRIPT = HERE / "gpu.sh"
LACKS = (
    "dask", "distributed", "edt", "gemmi", "google_crc32c", "mrcfile", "numcodecs", "ome_zarr", "trimesh",
    "zarr", "zarrs", "monai", "onnx", "onnxruntime",
)  # fmt: skip
"""What a machine with PyTorch and the usual scientific packages lacks."""
BARE = (*LACKS, "scipy", "skimage", "safetensors", "matplotlib", "pandas", "h5py", "PIL", "click", "tifffile", "yaml")
"""What a machine with PyTorch and numpy alone lacks, too."""

pytestmark = pytest.mark.timeout(600)


def without(folder: Path, packages: tuple[str, ...]) -> Path:
    """A folder for PYTHONPATH in which Python cannot find some packages."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        f"LACKS = {packages!r}\n"
        "class Finder:\n"
        "    def __init__(self, other):\n"
        "        self.other = other\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        return None if name.partition('.')[0] in LACKS else self.other.find_spec(name, path, target)\n"
        "    def __getattr__(self, name):\n"
        "        return getattr(self.other, name)\n"
        "sys.meta_path[:] = [Finder(each) for each in sys.meta_path]\n"
    )
    return folder


def run(out: Path, *options: str, more: Path | None = None) -> tuple[int, list[dict], str]:
    """Run the script: its exit code, the rows of its table, and its last lines."""
    env = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    env |= {"HOME": str(out.parent), "WHEELS": os.environ.get("WHEELS", ""), "PYTHONPATH": str(more or "")}
    command = ["bash", str(SCRIPT), "--tiny", "--out", str(out), *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    told = out / "gpu.json"
    rows = json.loads(told.read_text())["rows"] if told.is_file() else []
    return done.returncode, rows, done.stdout + done.stderr


def test_all_parts_run_with_what_a_machine_for_networks_has(tmp_path):
    code, rows, text = run(tmp_path / "out", "--seconds", "440", more=without(tmp_path / "less", LACKS))
    bad = [row for row in rows if row["result"] in ("FAILED", "crashed", "late")]
    assert (code, bad) == (0, []), text
    parts = {row["part"]: [r for r in rows if r["part"] == row["part"]] for row in rows}
    assert list(parts) == [
        "machine", "networks", "prediction", "memory", "simulation", "training", "processes", "ranks", "copies",
        "wall", "precisions",
    ]  # fmt: skip
    done = {name: sum(row["result"] != "skipped" for row in each) for name, each in parts.items()}
    assert min(done.values()) > 0, done
    assert {row["what"] for row in parts["networks"]} >= NETWORKS.keys()
    left_out = next(row for row in parts["networks"] if row["what"] == "dynunet")
    assert (left_out["result"], "monai" in left_out["note"]) == ("skipped", True)
    halved = next(row for row in parts["memory"] if row["what"] == "a fake limit: halved")
    assert halved["figures"]["batch"] == 2
    assert (tmp_path / "out" / "trace.json.gz").stat().st_size > 1000
    table = (tmp_path / "out" / "gpu.md").read_text()
    assert all(f"### {part}" in table for part in parts)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"gpu.md", "gpu.json", "log.txt", "trace.json.gz"}


def test_torch_and_numpy_suffice_for_a_table(tmp_path):
    less = without(tmp_path / "less", BARE)
    code, rows, text = run(tmp_path / "out", "--parts", "machine,memory,simulation,training", more=less)
    assert code == 0, text
    assert any(row["part"] == "memory" and row["result"] == "ok" for row in rows)
    notes = {row["part"]: row["note"] for row in rows if row["result"] == "skipped" and row["part"] != "memory"}
    assert "scipy" in notes["simulation"]
    assert "safetensors" in notes["training"]


PARTS = """
import os
def fine(bench):
    bench.check("a check", 0.5, 1.0)
def wrong(bench):
    bench.check("an error", 2.0, 1.0)
    bench.check("no number", float("nan"), 1.0)
    with bench.trying("a name that volengine does not have"):
        from volengine.core.errors import no_such_name
    with bench.trying("a module that volengine does not have"):
        import volengine.no_such_module
    with bench.trying("a package"):
        import no_such_package
    raise KeyError("in a part")
def crash(bench):
    bench.figure("before", value=1)
    os.kill(os.getpid(), 9)
"""


def test_a_part_that_crashes_costs_itself_only(tmp_path, monkeypatch):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "own-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("own.py", PARTS)
    monkeypatch.setenv("WHEELS", str(wheels))
    names = ("own:crash", "own:wrong", "own:fine")
    code, rows, text = run(tmp_path / "out", "--parts", ",".join(names))
    assert code == 1
    found = [(row["part"], row["what"], row["result"]) for row in rows]
    assert found == [
        ("own:crash", "before", "measured"),
        ("own:crash", "the part itself", "crashed"),
        ("own:wrong", "an error", "FAILED"),
        ("own:wrong", "no number", "FAILED"),
        ("own:wrong", "a name that volengine does not have", "FAILED"),
        ("own:wrong", "a module that volengine does not have", "FAILED"),
        ("own:wrong", "a package", "skipped"),
        ("own:wrong", "the part itself", "FAILED"),
        ("own:fine", "a check", "ok"),
    ], text
    assert "ended with -9" in rows[1]["note"]
    assert "6 checks failed" in text
    code, _, text = run(tmp_path / "out", "--parts", "nothing")
    assert (code, "no part nothing; known are machine, networks" in text) == (2, True)


def test_a_part_that_hangs_is_ended(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text("import time\ndef hang(bench):\n    time.sleep(1000)\n")
    (tmp_path / "rows.jsonl").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    given = SimpleNamespace(out=tmp_path, device="cpu", tiny=True, grace=0.5)
    watch, ends = main_module(monkeypatch)["watch"], {"own:hang": time.time() - 100}
    with (tmp_path / "log.txt").open("wb") as log:
        assert watch(given, ["own:hang"], ends, log) == (-1, True)


def test_what_was_done_is_told_if_it_is_stopped(tmp_path):
    (tmp_path / "own.py").write_text(
        "import os, signal, time\n"
        "def stop(bench):\n"
        "    bench.figure('before', value=1)\n"
        "    (bench.out / 'rows.jsonl').open('a').write('{\"row\": {\"part\"')\n"
        "    os.kill(os.getppid(), signal.SIGTERM)\n"
        "    time.sleep(1000)\n"
    )
    code, rows, text = run(tmp_path / "out", "--parts", "own:stop", more=tmp_path)
    found = [(row["part"], row["what"], row["result"]) for row in rows]
    assert found == [("own:stop", "before", "measured"), ("the script", "itself", "late")], text
    assert (code, rows[1]["note"]) == (1, "stopped: SIGTERM")


def test_a_python_without_torch_is_refused(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    env = {"PATH": "/usr/bin:/bin", "PYTHON": str(python)}
    done = subprocess.run(["bash", str(SCRIPT)], env=env, capture_output=True, check=False)
    assert (done.returncode, b"no Python with torch among" in done.stderr) == (2, True)


def main_module(monkeypatch):
    """The names of the script's main module."""
    monkeypatch.syspath_prepend(str(HERE / "gpu"))
    return runpy.run_path(str(HERE / "gpu" / "__main__.py"))


def test_what_a_trace_says(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE / "gpu"))
    from measure_copies import read_trace

    def event(cat, name, ts, dur, size=0):
        return {"cat": cat, "name": name, "ts": ts, "dur": dur, "args": {"bytes": size}}

    events = [
        event("kernel", "conv", 0, 10_000),
        event("kernel", "relu", 9_000, 3_000),  # at the same time in part: 0 to 12 ms
        event("kernel", "conv", 20_000, 10_000),
        event("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", 8_000, 8_000, 1 << 20),  # 4 of 8 ms are hidden
        event("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", 22_000, 2_000, 1 << 20),  # all of it
        event("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", 29_000, 2_000, 16),  # 1 of 2 ms; small
        event("gpu_memcpy", "Memcpy DtoH (Device -> Pageable)", 40_000, 9_000, 1 << 20),
        {"cat": "cpu_op", "name": "aten::conv3d", "ts": 0, "dur": 90_000},
    ]
    told = read_trace(events)
    assert told == {
        "kernels_ms": 22.0,
        "idle": pytest.approx(8 / 30),
        "copies_ms": 12.0,
        "pageable": 1,
        "hidden": 7 / 12,
    }
    nothing = read_trace([])
    assert (nothing["hidden"], nothing["idle"], nothing["copies_ms"]) == (1.0, 0.0, 0)


def test_parts_share_their_time(monkeypatch):
    found = main_module(monkeypatch)["ends_of"](["networks", "memory", "precisions"], 1000.0, 120.0)  # weights 5, 2, 5
    assert found == {"networks": 1050.0, "memory": 1070.0, "precisions": 1120.0}
