"""The library of networks: what each costs on a CPU, as ratios to VGGNet, beside Table 1 of the Ais paper.

CPU seconds of one thread; the networks in turn, medians over rounds. Whole slices, made longer to a multiple of 64 as
the strides ask; training steps are those of ``volengine.nets.training.fit``, on the paper's batches of 64 x 64 boxes.
Loading, normalisation and blending are no part of it: see test_bench_segment.py.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from measure import size

from volengine.core.model import ModelFacts
from volengine.nets.architectures.ais2d_pix2pix import PatchGAN
from volengine.nets.architectures.complexity import macs_per_voxel
from volengine.nets.predictor import Execution, Predictor, Traits
from volengine.nets.registry import build, parameters
from volengine.nets.training.fit.fit import Fit
from volengine.nets.training.fit.recipe import FitRecipe, Optimiser
from volengine.nets.training.losses.recipe import Term

FULL = os.environ.get("VOLENGINE_BENCH") == "full"
SLICE = (511, 720) if FULL else (60, 60)
BATCH = size("VOLENGINE_BENCH_BATCH", 2, 32)
SIDE = size("VOLENGINE_BENCH_SIDE", 32, 64)
ROUNDS = size("VOLENGINE_BENCH_ROUNDS", 1, 3)
BOX = 64
DEAR_MACS = 1e6
"""Per pixel; dearer networks are measured in the first round only."""

pytestmark = pytest.mark.timeout(3600 if FULL else 600)


@dataclass(frozen=True)
class Paper:
    """A row of Table 1 (eLife 13:RP98552), of an NVIDIA Quadro P2200: parameters, training, one slice."""

    parameters: int
    training_s: float
    slice_ms: float


PAPER = {
    "eman2": Paper(378_081, 38, 50),
    "vggnet": Paper(1_493_059, 91, 85),
    "unet": Paper(922_881, 132, 110),
    "pix2pix": Paper(29_249_409, 793, 225),
    "inceptionnet": Paper(550_529, 462, 295),
    "resnet": Paper(4_887_265, 1533, 980),
}
NEWER = ("vggnet_m", "vggnet_l", "vggnet_x", "unet_m", "unet_l", "pix2pix_s", "easymode_2d", "pom", "resnet_s")
SOLID = ("unet3d", "residual3d", "easymode_3d", "easymode_3d_wide", "dynunet")
FLAT_NOW = (*PAPER, *(NEWER if FULL else ()))
SOLID_NOW = SOLID if FULL else ("unet3d", "residual3d", "easymode_3d")


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name)


def forward(name: str, shape: tuple[int, ...]) -> float:
    """CPU seconds of a network over one patch, as the engine calls it."""
    solid = len(shape) == 3
    predictor = Predictor(network(name), Traits(volumetric=solid), Execution(device="cpu"))
    batch = torch.randn((1, 1, *shape))
    with predictor.running():
        began = time.process_time()
        predictor(batch)
        return time.process_time() - began


def training_step(name: str, shape: tuple[int, int, int], batch: int, folder: Path) -> float:
    """CPU seconds of one step on a batch of patches: forward, loss, gradient, optimiser."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=shape).astype(np.float32)
    label = (rng.random((1, *shape)) < 0.2).astype(np.uint8)
    facts = ModelFacts(network=name, features=("f",), voxel_size=(10, 10, 10), patch=shape, history=({},))
    how = FitRecipe(epochs=1, steps=1, batch=batch, terms=(Term("bce"),), optimiser=Optimiser(schedule="constant"))
    rival = PatchGAN() if name.startswith("pix2pix") else None
    fit = Fit(network(name), facts, lambda _: (image, label), [], how, folder / name, torch.device("cpu"), rival)
    began = time.process_time()
    fit._step(0, fit._batch([(image, label)] * batch))
    return time.process_time() - began


def measured(names: tuple[str, ...], shape: tuple[int, ...], patch: Any, batch: int, folder: Path) -> dict[str, Any]:
    """All networks, one after the other in each round: (forward, training step), CPU seconds, by round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        forward("vggnet", (64, 64))  # what the first use of a library costs belongs to none of them
        training_step("vggnet", (1, 64, 64), 1, folder)
        for number in range(ROUNDS):
            for name in names:
                if number == 0 or macs_per_voxel(network(name)) < DEAR_MACS:
                    times[name].append((forward(name, shape), training_step(name, patch, batch, folder)))
    finally:
        torch.set_num_threads(threads)
    return times


def medians(times: list[tuple[float, float]]) -> list[float]:
    return [statistics.median(part) for part in zip(*times, strict=True)]


def ratios(times: list[tuple[float, float]], first: list[tuple[float, float]]) -> list[float]:
    """Medians over the rounds of the ratios within a round."""
    return medians([(f / f1, t / t1) for (f, t), (f1, t1) in zip(times, first, strict=False)])


def padded(sides: tuple[int, ...], multiple: int) -> tuple[int, ...]:
    return tuple(-(-n // multiple) * multiple for n in sides)


def test_networks_of_slices(benchmark, tmp_path):
    found = benchmark.pedantic(lambda: measured(FLAT_NOW, padded(SLICE, 64), (1, BOX, BOX), BATCH, tmp_path), rounds=1)
    rows = {}
    for name, times in found.items():
        module = network(name)
        forward_s, training_s = medians(times)
        slice_ratio, step_ratio = ratios(times, found["vggnet"])
        rows[name] = {
            "parameters": parameters(module),
            "kMAC_per_pixel": round(macs_per_voxel(module) / 1e3),
            "slice_ms": 1e3 * forward_s,
            "slice_ratio": slice_ratio,
            "step_ms": 1e3 * training_s,
            "step_ratio": step_ratio,
        }
        if name in PAPER:
            paper, first = PAPER[name], PAPER["vggnet"]
            assert rows[name]["parameters"] == paper.parameters
            rows[name] |= {
                "paper_slice_ratio": paper.slice_ms / first.slice_ms,
                "paper_training_ratio": paper.training_s / first.training_s,
            }
    benchmark.extra_info["rows"] = rows
    benchmark.extra_info["setting"] = {"slice": list(SLICE), "batch": BATCH, "box": BOX, "rounds": ROUNDS}
    print(rows, file=sys.stderr)
    dearest = max(PAPER, key=lambda n: rows[n]["kMAC_per_pixel"])
    assert rows[dearest]["slice_ratio"] == max(rows[n]["slice_ratio"] for n in PAPER)  # what is counted is what costs


def test_networks_of_volumes(benchmark, tmp_path):
    shape = (SIDE,) * 3
    found = benchmark.pedantic(lambda: measured(SOLID_NOW, shape, shape, 1, tmp_path), rounds=1)
    voxels = math.prod(shape)
    rows = {}
    for name, times in found.items():
        module = network(name)
        forward_s, training_s = medians(times)
        rows[name] = {
            "parameters": parameters(module),
            "kMAC_per_voxel": round(macs_per_voxel(module) / 1e3),
            "ns_per_voxel": 1e9 * forward_s / voxels,
            "training_ns_per_voxel": 1e9 * training_s / voxels,
        }
    benchmark.extra_info["rows"] = rows
    benchmark.extra_info["setting"] = {"patch": list(shape), "rounds": ROUNDS}
    print(rows, file=sys.stderr)
    assert parameters(network("dynunet")) == 91_181_859
    assert rows["easymode_3d"]["ns_per_voxel"] > rows["unet3d"]["ns_per_voxel"]  # six times the multiply-adds
