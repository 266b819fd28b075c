"""Part ``wall``: the wall time of a prediction against the bare forward passes of the same patches."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from cases import job_of, network, noise, patch_of, seconds_of, traits_of
from rows import Bench

GOAL = 1.05
RUN_S = 1.0
"""Patches are so many that the network alone takes about this long."""
CASES = {
    "unet": ("float32", "bfloat16"),
    "vggnet": ("float32", "bfloat16"),
    "unet3d": ("float32", "bfloat16"),
    "dynunet": ("float32", "bfloat16"),
}
LAST_S = 10


def wall(bench: Bench) -> None:
    """All cases, with one view and with eight."""
    for name, precisions in list(CASES.items())[: bench.size(3, 4)]:
        for precision in precisions[: bench.size(1, 2)]:
            for views in (1, "flips"):
                what = f"{name}, {precision}, {'one view' if views == 1 else 'all mirrors'}"
                if bench.left < (0.5 if bench.tiny else LAST_S):
                    bench.skip(what, "no time left")
                    continue
                with bench.trying(what):
                    one(bench, what, name, tta=views, precision=precision)


def one(bench: Bench, what: str, name: str, **execution: Any) -> None:
    """Seconds of the network alone, with its views and activation, and of all; for the same patches."""
    module = network(name, **({"width": 2, "levels": 2} if bench.tiny and name == "unet3d" else {}))
    traits = traits_of(module)
    patch = patch_of(module, bench.size(32, 512), bench.size(16, 128))
    side = patch[2]
    shape = (side, 3 * side, 3 * side) if traits.volumetric else (bench.size(2, 64), 2 * side, 2 * side)
    job = job_of(module, shape, patch, traits, 0.25, device=str(bench.device), **execution)
    predictor = job.predictor
    size = predictor.batch(patch)
    batch = noise(traits, patch, size).to(predictor.device)
    if predictor._last:
        batch = batch.contiguous(memory_format=predictor._memory_format)
    bare = bench_of(predictor, batch, bare=True)
    alone = seconds_of(bench, bare, 2, warm=bench.size(1, 3), most_s=bench.left / 4)
    count = max(2, min(len(job.indices) // size, math.ceil((0 if bench.tiny else RUN_S) / alone)))
    job.indices = job.indices[: count * size]
    rounds = bench.size(1, 3)
    network_s, views_s, wall_s = [], [], []
    job.run()
    began = time.time()
    for _ in range(rounds):  # in turn, so that a change of the clock rate meets all of them
        network_s.append(seconds_of(bench, repeated(bare, count), 1, warm=0))
        views_s.append(seconds_of(bench, repeated(bench_of(predictor, batch, bare=False), count), 1, warm=0))
        wall_s.append(wall_of(bench, job))
        if time.time() - began > bench.left / 3:
            break
    voxels = len(job.indices) * math.prod(patch)
    figures = {
        "bare_s": min(network_s),
        "with_views_s": min(views_s),
        "wall_s": min(wall_s),
        "patches": len(job.indices),
    }
    bench.goal(what, min(wall_s) / min(network_s), GOAL, **figures, Mvoxel_per_s=voxels / min(wall_s) / 1e6)


def wall_of(bench: Bench, job: Any) -> float:
    """Seconds of a prediction by the clock; it ends when the sums are on the CPU."""
    if bench.cuda:
        torch.cuda.synchronize(bench.device)
    began = time.perf_counter()
    job.run()
    return time.perf_counter() - began


def repeated(call: Any, count: int) -> Any:
    """A function that calls another one so many times."""

    def run() -> None:
        for _ in range(count):
            call()

    return run


def bench_of(predictor: Any, batch: torch.Tensor, *, bare: bool) -> Any:
    """A function that runs one batch: the network alone, once for each view; or the predictor."""

    def run() -> None:
        with predictor.running():
            if not bare:
                predictor(batch)
                return
            for _ in predictor.views:
                predictor._call(batch)

    return run
