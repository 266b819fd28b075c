"""Prediction: everything around the network, against the bare forward of the same patches. Goal: at most 1.15 times."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from measure import best_of, size

from volengine.core.boxes import Box
from volengine.core.lattice import Lattice
from volengine.nets.predictor import Execution, Predictor, Traits
from volengine.nets.registry import build
from volengine.nets.tiles import PatchJob, predict_patches
from volengine.ops.blend import Shares, join, split
from volengine.ops.patches import PatchReader
from volengine.ops.quantise import quantise

GOAL = 1.15
ROUNDS = size("VOLENGINE_BENCH_ROUNDS", 1, 3)
EDGES = ("reflect", "reflect", "reflect")
CASES = {
    "unet3d 32": ("unet3d", (48, 64, 64), (32, 32, 32), 0.5, True),
    "unet3d 64": ("unet3d", (64, 96, 96), (64, 64, 64), 0.25, True),
    "unet 256": ("unet", (1, 448, 448), (1, 256, 256), 0.25, False),
    "vggnet 256": ("vggnet", (1, 448, 448), (1, 256, 256), 0.25, False),
}


class Nothing(torch.nn.Module):
    """A network that answers at once: what remains is the engine's own time."""

    def forward(self, x):
        return x[:, :1]


def prepare(module, shape, patch, overlap, solid, **execution):
    """A predictor, its job on an int16 volume, all patches, and the box."""
    volume = np.random.default_rng(0).normal(0, 300, shape).astype(np.int16)
    predictor = Predictor(module, Traits(volumetric=solid), Execution(device="cpu", **execution))
    lattice = Lattice.sliding(shape, patch, (overlap if solid else 0.0, overlap, overlap))
    box = Box.of_shape(shape)
    reader = PatchReader(volume, box, shape, EDGES, "volume", 3.0, 300.0)
    job = PatchJob(lattice, reader, Shares(lattice, "gaussian", predictor.scale))
    return predictor, job, list(lattice.owned(box)), box


@pytest.mark.parametrize("case", CASES)
def test_predict_against_the_bare_forward(benchmark, case):
    network, shape, patch, overlap, solid = CASES[case]
    torch.manual_seed(0)
    predictor, job, indices, box = prepare(build(network), shape, patch, overlap, solid)
    size = predictor.batch(patch)
    batch = torch.randn((size, 1, *patch) if solid else (size, *patch))

    def bare():
        with predictor.running():
            for _ in range(math.ceil(len(indices) / size)):
                predictor(batch)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times, own = [], []

        def timed(what, *args):
            began = time.process_time()  # CPU time of one thread: other load on the machine hardly counts
            what(*args)
            return time.process_time() - began

        def run():
            own.append(timed(predict_patches, predictor, job, indices, box))

        for _ in range(ROUNDS + 1):  # in turn; the first of each warms up
            times.append(timed(bare))
            run()
        benchmark.pedantic(run, rounds=ROUNDS)
    finally:
        torch.set_num_threads(threads)
    ratio = min(own) / min(times)
    benchmark.extra_info.update(patches=len(indices), bare_s=min(times), ratio=ratio)
    assert ratio <= GOAL


@pytest.mark.parametrize("case", ["unet3d 32", "unet3d 64", "unet 256"])
def test_all_but_the_network(benchmark, case):
    _, shape, patch, overlap, solid = CASES[case]
    predictor, job, indices, box = prepare(Nothing(), shape, patch, overlap, solid, channels_last=False)
    _, seconds = best_of(benchmark, predict_patches, predictor, job, indices, box, rounds=2 * ROUNDS)
    voxels = len(indices) * math.prod(patch)
    benchmark.extra_info["ns_per_patch_voxel"] = seconds / voxels * 1e9
    assert benchmark.extra_info["ns_per_patch_voxel"] < 100  # a network takes 1,000 and more


def test_exchange_and_quantise(benchmark):
    """Cutting a block's sums into pieces, adding seven neighbours' pieces, rounding to uint8."""
    core, over = (128, 128, 128), (32, 32, 32)
    total = np.random.default_rng(0).integers(0, 2**27, tuple(c + h for c, h in zip(core, over, strict=True)), np.int32)

    def run():
        pieces = split(total, core, over, core)
        own = pieces.pop("core").copy()
        return quantise(join(own, pieces), 2.0**30)

    _, seconds = best_of(benchmark, run, rounds=2 * ROUNDS)
    benchmark.extra_info["ns_per_voxel"] = seconds / math.prod(core) * 1e9
