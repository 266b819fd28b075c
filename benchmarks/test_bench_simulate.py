"""Simulation, whole: from structure files to tilt series, tomogram, atlas and picks, as the command does it.

Goal: 60 s on two cores for the papers' volume (400 x 400 x 50 voxels at 12 A), 400 placement iterations of ribosomes,
ferritin and spliceosomes, 61 tilts. Seconds of each stage are those of the run's receipts, summed over its units;
processor seconds and wall time are those of the command, with starting, planning and writing of the truth.

A volume of 1000 x 1000 x 300 voxels is made by a worker of 2 GB, that could hold neither it nor its labels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from measure import Measured, run_once, size

from volengine import open_volume
from volengine.core.boxes import Box
from volengine.io.open import open_source

SIDE = size("VOLENGINE_BENCH_SIDE", 64, 400)
DEPTH = size("VOLENGINE_BENCH_DEPTH", 24, 50)
ITERATIONS = size("VOLENGINE_BENCH_PLACE", 20, 400)
STEP_DEG = size("VOLENGINE_BENCH_STEP", 6, 2)
STRUCTURES = ("ribosome", "ferritin", "spliceosome")
WORKERS = (0, 2)
GOAL_S = 60.0
LARGE = [size("VOLENGINE_BENCH_DEPTH", 32, 300), *[size("VOLENGINE_BENCH_SIDE", 96, 1000)] * 2]
LARGE_ITERATIONS = size("VOLENGINE_BENCH_PLACE", 30, 5000)
LIMIT = 2_000_000_000

pytestmark = pytest.mark.timeout(3600)


def recipe(shape: list[int], voxel_size: float, iterations: int) -> dict[str, Any]:
    return {
        "name": "bench",
        "specimen": {
            "shape": shape,
            "voxel_size": voxel_size,
            "layers": [{"species": [{"structure": name} for name in STRUCTURES], "iterations": iterations}],
        },
        "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": STEP_DEG, "order": "dose-symmetric"},
    }


def simulated(folder: Path, what: dict[str, Any], out: Path, *options: str) -> tuple[list[dict[str, Any]], Measured]:
    """Stages as the run's report tells them, and what the whole command took."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(what))
    command = [sys.executable, "-m", "volengine.cli.main", "simulate", str(folder / "recipe.yaml"), "--out", str(out)]
    measured = run_once([*command, *options, "--no-progress"])
    report = json.loads((out / "run" / "report.json").read_text())
    stages = report["plans"]["bench_0001"]["stages"]
    assert all(stage["run"] == stage["units"] for stage in stages)
    return stages, measured


def seconds(stages: list[dict[str, Any]], measured: Measured) -> dict[str, float]:
    """Of the stages, of the processors and on the wall; memory of the largest process."""
    return {stage["stage"]: stage["seconds"] for stage in stages} | {
        "all, processor s": round(measured.cpu_s, 1),
        "all, wall s": round(measured.wall_s, 1),
        "largest process, MB": round(peak_bytes(stages, measured) / 1e6),
    }


def peak_bytes(stages: list[dict[str, Any]], measured: Measured) -> int:
    """Of the largest process; it forgets its own peak after each unit, so the receipts' count, too."""
    return max(measured.peak_bytes, *(stage["peak_rss_bytes"] for stage in stages))


def setting(what: dict[str, Any], out: Path) -> dict[str, Any]:
    """What was made."""
    facts = json.loads((out / "truth" / "bench_0001" / "sample.json").read_text())
    return {
        "shape": what["specimen"]["shape"],
        "iterations": what["specimen"]["layers"][0]["iterations"],
        "placed": sum(step["placed"] for step in facts["placed"]),
        "tilts": len((out / "tilts" / "bench_0001.rawtlt").read_text().split()),
    }


def voxels(folder: Path, workers: int, group: str = "") -> np.ndarray:
    volume = open_volume(str(folder / f"workers-{workers}" / "tomograms" / "bench_0001.ome.zarr"), group=group)
    return open_source(volume).read(Box.of_shape(volume.shape))


def test_simulate(benchmark, tmp_path):
    what = recipe([DEPTH, SIDE, SIDE], 12.0, ITERATIONS)

    def run() -> list[dict[str, float]]:
        outs = {n: tmp_path / f"workers-{n}" for n in WORKERS}
        return [seconds(*simulated(tmp_path, what, out, "--workers", str(n))) for n, out in outs.items()]

    one, two = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["rows"] = {name: {"one process": s, "two workers": two[name]} for name, s in one.items()}
    benchmark.extra_info["setting"] = setting(what, tmp_path / "workers-0") | {"goal s": GOAL_S}
    print(benchmark.extra_info, file=sys.stderr)
    for group in ("", "labels/atlas"):
        assert np.array_equal(voxels(tmp_path, 0, group), voxels(tmp_path, 2, group))
    assert set(np.unique(voxels(tmp_path, 0, "labels/atlas"))) == {0, 1, 2, 3}
    assert {"place", "render", "reconstruct-tomograms"} <= set(one)


def test_simulate_out_of_core(benchmark, tmp_path):
    what, out = recipe(LARGE, 10.0, LARGE_ITERATIONS), tmp_path / "out"
    options = ("--memory-limit", str(LIMIT))
    stages, measured = benchmark.pedantic(lambda: simulated(tmp_path, what, out, *options), rounds=1)
    rows = {
        stage["stage"]: {
            "units": stage["units"],
            "seconds": stage["seconds"],
            "planned MB": round(stage["planned_peak_bytes"] / 1e6),
            "peak MB": round(stage["peak_rss_bytes"] / 1e6),
        }
        for stage in stages
    }
    rows["all, processor s"] = {"seconds": round(measured.cpu_s, 1)}
    rows["all, wall s"] = {"seconds": round(measured.wall_s, 1), "peak MB": round(peak_bytes(stages, measured) / 1e6)}
    benchmark.extra_info["rows"] = rows
    benchmark.extra_info["setting"] = setting(what, out) | {"limit MB": LIMIT // 1_000_000}
    print(benchmark.extra_info, file=sys.stderr)
    assert peak_bytes(stages, measured) < LIMIT
    assert setting(what, out)["placed"] > LARGE_ITERATIONS / 3
