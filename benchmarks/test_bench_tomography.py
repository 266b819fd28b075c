"""Tilt series and tomograms: processor seconds to make matrices, project, filter and bring back (one core).

Goal: the paper's volume (400 x 400 x 50 voxels, 61 tilts from -60 to 60 degrees) projected and reconstructed in 4 s.
The second size is a slab of 64 slices of a volume of 1000 x 1000 x 300 voxels, as one worker gets it.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from measure import size

from volengine.sim.imaging.projector import Projector
from volengine.sim.imaging.reconstruct import FINE, Filter, filtered, sirt, wbp

ANGLES = np.arange(-60, 61, 2)
GOAL_S = 4.0


def timed(seconds: dict[str, float], name: str, work):
    began = time.process_time()
    found = work()
    seconds[name] = time.process_time() - began
    return found


def steps(volume: np.ndarray) -> dict[str, float]:
    """Seconds of each step; matrices are made once and used by all that follow."""
    seconds: dict[str, float] = {}
    nz, _, nx = volume.shape
    projector = Projector((nz, nx), ANGLES, 12.0)
    none = np.zeros((len(ANGLES), 1, nx), np.float32)
    timed(seconds, "matrices", lambda: (projector.back(none), wbp(none, projector)))
    images = timed(seconds, "project", lambda: projector.project(volume))
    lines = timed(seconds, "filter", lambda: filtered(images, projector, Filter(), FINE))
    found = timed(seconds, "back", lambda: projector.sampled(FINE).back(lines) / np.float32(12.0))
    seconds["all"] = sum(seconds.values())
    timed(seconds, "sirt_iteration", lambda: sirt(images, projector, 1))
    middle = np.s_[nz // 2 - 3 : nz // 2 + 3, :, nx // 2 - 9 : nx // 2 + 9]
    assert np.corrcoef(found[middle].ravel(), volume[middle].ravel())[0, 1] > 0.5
    return seconds


@pytest.mark.parametrize("which", ["paper", "slab"])
def test_tomography(benchmark, which):
    small, large = {"paper": ((16, 32, 64), (50, 400, 400)), "slab": ((24, 32, 80), (300, 64, 1000))}[which]
    shape = tuple(
        size(f"VOLENGINE_BENCH_TILT_{axis}", *sizes) for axis, *sizes in zip("ZYX", small, large, strict=True)
    )
    coarse = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)[::8, :, ::8]
    volume = coarse.repeat(8, axis=0).repeat(8, axis=2)[: shape[0], :, : shape[2]]  # boxes of 8 x 8 voxels
    seconds = benchmark.pedantic(steps, (volume,), rounds=1)
    benchmark.extra_info["shape"] = shape
    benchmark.extra_info["seconds"] = {name: round(s, 3) for name, s in seconds.items()}
    benchmark.extra_info["matrices_MB"] = round(Projector((shape[0], shape[2]), ANGLES).matrix_bytes / 1e6)
    if which == "paper":
        benchmark.extra_info["goal_s"] = GOAL_S
    print(benchmark.extra_info, file=sys.stderr)
