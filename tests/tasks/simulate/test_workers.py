"""Simulations on worker processes, killed in the middle and called again: the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from volengine.core.boxes import Box
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.tasks.simulate.verb import simulate

RECIPE = {
    "name": "w",
    "seed": 2,
    "specimen": {
        "shape": [24, 140, 96],
        "voxel_size": 14.0,
        "vesicles": [{"count": 1, "radius_nm": [9, 10]}],
        "layers": [
            {"species": [{"structure": "ribosome", "count": 4}, {"structure": "globule-150", "name": "distract"}]}
        ],
    },
    "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": 3},
    "keep": {"halves": "tilts"},
}


def voxels(root: Path, kind: str, number: int, group: str = "") -> np.ndarray:
    volume = open_volume(str(root / kind / f"w_{number:04d}.ome.zarr"), group=group)
    return np.asarray(open_source(volume).read(Box((0, 0, 0), volume.shape)))


@pytest.mark.slow
@pytest.mark.chaos
def test_a_killed_simulation_goes_on_with_workers_and_gives_the_same_bytes(tmp_path: Path) -> None:
    simulate(RECIPE, str(tmp_path / "here"), 2, RunOptions(progress=False))
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    command = [
        sys.executable, "-m", "volengine.cli.main", "simulate", "r.yaml", "--out", "there", "-n", "2", "--workers", "2",
        "--memory-limit", "900MB", "--block", "24,32,96", "--no-progress",
    ]  # fmt: skip
    first = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL)
    ledger = tmp_path / "there" / "run" / "plans" / "w_0001"
    end = time.monotonic() + 120
    while time.monotonic() < end and first.poll() is None:
        lines = sum(p.read_text().count("expose-series") for p in ledger.glob("ledger*") if p.is_file()) + sum(
            p.read_text().count("expose-series") for p in ledger.glob("ledger/*") if p.is_file()
        )
        if lines >= 3:
            break
        time.sleep(0.05)
    assert first.poll() is None, "it was done before it could be killed"
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert " 0 were there already" not in again.stdout.splitlines()[0]
    for number in (1, 2):
        for kind, group in (
            ("tomograms", ""), ("tomograms", "labels/atlas"), ("tomograms", "labels/instances"), ("tilts", ""),
            ("even", ""), ("odd", ""),
        ):  # fmt: skip
            pair = [voxels(tmp_path / place, kind, number, group) for place in ("here", "there")]
            assert np.array_equal(*pair), (kind, group)
        names = [f"picks/w_{number:04d}__ribosome.star", f"truth/w_{number:04d}/specimen.csv"]
        for name in names:
            assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
