"""Networks, inputs and references of the checks."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rows import Bench

from volengine.core.boxes import Box
from volengine.core.lattice import Lattice
from volengine.nets.architectures.receptive import dimensions, inputs_of, stride_of
from volengine.nets.predictor import Execution, Predictor, Traits
from volengine.nets.registry import build
from volengine.nets.tiles import PatchJob, predict_patches
from volengine.ops.blend import Shares
from volengine.ops.patches import PatchReader

EDGES = ("reflect", "reflect", "reflect")
LIMITS = {"tf32": 0.05, "float16": 0.05, "bfloat16": 0.3}
"""Largest root mean square error of the logits, in units of their standard deviation. A number of TF32 and float16 has
11 significant bits, one of bfloat16 has 8: a product is off by up to 5e-4 and 4e-3, and 20 to 100 layers add up. A
wrong kernel, or a wrong order of axes, has an error of about 1."""
EXACT = 1e-5
"""The same for float32: below what one product in TF32 is off by. A network that amplifies errors is allowed ten times
the error of the CPU's float32, which it amplifies as well."""


def network(name: str, **arguments: Any) -> torch.nn.Module:
    """A network with the same random weights everywhere; ``graph`` is UNet as an imported description."""
    torch.manual_seed(0)
    if name != "graph":
        return build(name, arguments)
    from volengine.nets.architectures.graph import GraphNet
    from volengine.nets.architectures.trace import describe

    layers, state = describe(build("unet"), torch.zeros(1, 1, 64, 64))
    net = GraphNet(layers)
    net.load_state_dict(state)
    return net.eval()


def patch_of(module: torch.nn.Module, flat: int, solid: int) -> tuple[int, int, int]:
    """The smallest patch z, y, x of at least this side that the network accepts."""
    volumetric = dimensions(module) == 3
    steps = stride_of(module, volumetric)
    want = (solid,) * 3 if volumetric else (1, flat, flat)
    return tuple(-(-max(n, 2 * s if s > 1 else 1) // s) * s for n, s in zip(want, steps, strict=True))  # type: ignore[return-value]


def traits_of(module: torch.nn.Module, features: int = 1, activation: Any = "sigmoid") -> Traits:
    """The facts that a predictor needs."""
    volumetric = dimensions(module) == 3
    return Traits(features, volumetric, activation, 1 if volumetric else inputs_of(module))


def noise(traits: Traits, patch: tuple[int, int, int], batch: int, seed: int = 0) -> torch.Tensor:
    """A batch of patches of standard normal numbers, on the CPU."""
    shape = (batch, 1, *patch) if traits.volumetric else (batch, traits.slices, *patch[1:])
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def reference(module: torch.nn.Module, batch: torch.Tensor, predictor: Predictor | None = None) -> torch.Tensor:
    """The logits in float64, on the CPU; averaged over the views of a predictor if one is given."""
    exact = copy.deepcopy(module).cpu().double().eval()
    with torch.inference_mode():
        if predictor is None:
            return exact(batch.double())
        solid = predictor.traits.volumetric
        return sum(v.undo(exact(v.apply(batch.double())), solid) for v in predictor.views) / len(predictor.views)  # type: ignore[return-value]


def logits_of(module: torch.nn.Module, traits: Traits, images: torch.Tensor, **execution: Any) -> torch.Tensor:
    """The network's outputs as the predictor gives them, before an activation; on the CPU."""
    plain = Traits(traits.features, traits.volumetric, "none", traits.slices)
    predictor = Predictor(copy.deepcopy(module), plain, Execution(**execution))
    with predictor.running():
        found = predictor(images.to(predictor.device)).cpu()
    return found if traits.volumetric else found.squeeze(2)


def error_of(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Root mean square difference in units of the standard deviation of what is wanted; NaN if either holds NaN."""
    wanted = wanted.double().cpu()
    difference = (found.double().cpu() - wanted).square().mean().sqrt()
    return float(difference / wanted.std().clamp(min=1e-30))


@dataclass
class Job:
    """A prediction: the predictor, the places of the patches, and the box of the sums."""

    predictor: Predictor
    job: PatchJob
    indices: list[Any]
    box: Box

    def run(self) -> np.ndarray:
        """The sums."""
        return predict_patches(self.predictor, self.job, self.indices, self.box)

    def whole_in_blocks(self, cores: tuple[Box, ...]) -> np.ndarray:
        """The sums of all patches, those of each core computed apart."""
        total = np.zeros((self.predictor.channels, *self.box.shape), np.int32)
        for core in cores:
            total += predict_patches(self.predictor, self.job, list(self.job.lattice.owned(core)), self.box)
        return total


def job_of(
    module: torch.nn.Module,
    shape: tuple[int, int, int],
    patch: tuple[int, int, int],
    traits: Traits | None = None,
    overlap: float = 0.5,
    most: int | None = None,
    **execution: Any,
) -> Job:
    """The prediction of an int16 volume of noise; ``most``: only so many patches."""
    traits = traits or traits_of(module)
    predictor = Predictor(module, traits, Execution(**execution))
    lattice = Lattice.sliding(shape, patch, (overlap if traits.volumetric else 0.0, overlap, overlap))
    box = Box.of_shape(shape)
    volume = np.random.default_rng(0).normal(0, 300, shape).astype(np.int16)
    reader = PatchReader(volume, box, shape, EDGES, "volume", 3.0, 300.0)
    job = PatchJob(lattice, reader, Shares(lattice, "gaussian", predictor.scale))
    return Job(predictor, job, list(lattice.owned(box))[:most], box)


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:20]


def seconds_of(bench: Bench, run: Callable[[], Any], rounds: int, warm: int = 2, most_s: float = math.inf) -> float:
    """Median seconds of a call: by events of CUDA between synchronisations, on a CPU by the clock.

    Rounds end early when ``most_s`` seconds are over.
    """
    began = time.time()
    for _ in range(warm):
        run()
    times: list[float] = []
    for _ in range(rounds):
        if bench.cuda:
            start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize(bench.device)
            with torch.cuda.device(bench.device):
                start.record()
                run()
                stop.record()
            torch.cuda.synchronize(bench.device)
            times.append(start.elapsed_time(stop) / 1000)
        else:
            clock = time.perf_counter()
            run()
            times.append(time.perf_counter() - clock)
        if time.time() - began > most_s:
            break
    return statistics.median(times)


@contextlib.contextmanager
def memory_share(bench: Bench, share: float) -> Any:
    """Context in which PyTorch may use a share of the device's memory."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(share, bench.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
        torch.cuda.empty_cache()
