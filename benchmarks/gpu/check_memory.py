"""Part ``memory``: batches that do not fit are halved: by a fake, with a limit of PyTorch's, on a GPU that is full."""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import torch
from cases import Job, job_of, memory_share, network
from rows import Bench

from volengine.core.errors import MemoryRefusedError
from volengine.core.units import format_bytes
from volengine.nets.predictor import Traits

BATCH = 32
NEAR = 1e-5


class Full(torch.nn.Module):
    """A network whose device holds a few patches: it says so as PyTorch does."""

    def __init__(self, module: torch.nn.Module, most: int):
        super().__init__()
        self.module, self.most = module, most

    def forward(self, x: torch.Tensor) -> Any:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory (a fake).")
        return self.module(x)


def memory(bench: Bench) -> None:
    """All three kinds."""
    with bench.trying("a fake limit"):
        fake(bench)
    if not bench.cuda:
        bench.skip("a limit of PyTorch, and a full GPU", f"{bench.device} has no such limit")
        return
    with bench.trying("a limit of PyTorch"):
        limited(bench)
    with bench.trying("a full GPU"):
        filled(bench)
    bench.figure(
        "memory of this process on the CPU, which the planner must know of", peak=format_bytes(peak_of_process())
    )


def peak_of_process() -> int:
    """Peak resident bytes of this process."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def job(bench: Bench, batch: int, module: torch.nn.Module | None = None) -> Job:
    """A prediction with many patches."""
    side = bench.size(8, 64)
    arguments = {"width": bench.size(2, 16), "levels": 2}
    shape = (side * 2, side * 3, side * 4)
    module = module or network("unet3d", **arguments)
    return job_of(module, shape, (side,) * 3, Traits(), batch=batch, device=str(bench.device))


def compare(bench: Bench, what: str, found: np.ndarray, used: Job, wanted: np.ndarray, **figures: Any) -> None:
    """Whether the batch was halved, and the answer is the same."""
    size = used.predictor.batch(used.job.lattice.patch)
    bench.equal(f"{what}: halved", 1 <= size < BATCH, f"the batch is {size}: nothing was halved", batch=size, **figures)
    error = float(np.abs(found - wanted).max()) / used.predictor.scale
    bench.check(f"{what}: the same answer", error, NEAR, same_bytes=bool((found == wanted).all()))


def fake(bench: Bench) -> None:
    """A network that says that its memory is full."""
    side = bench.size(2, 16)
    wanted = job(bench, 2).run()
    used = job(bench, BATCH, Full(network("unet3d", width=side, levels=2), 3))
    compare(bench, "a fake limit", used.run(), used, wanted)
    try:
        job(bench, BATCH, Full(network("unet3d", width=side, levels=2), 0)).run()
        said = ""
    except MemoryRefusedError as error:
        said = str(error)
    bench.equal("a patch that does not fit", "one patch" in said, f"no refusal, but: {said}", message=said)


def peak(bench: Bench, batch: int) -> int:
    """Peak bytes of a prediction."""
    one = job(bench, batch)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(bench.device)
    one.run()
    return torch.cuda.max_memory_reserved(bench.device)


def limited(bench: Bench) -> None:
    """PyTorch's allocator may use what a batch of some patches needs."""
    low, high = peak(bench, 2), peak(bench, BATCH)
    wanted = job(bench, 2).run()
    total = torch.cuda.get_device_properties(bench.device).total_memory
    used = job(bench, BATCH)
    with memory_share(bench, (low + (high - low) / 3) / total):
        found = used.run()
    told = {"small": format_bytes(low), "large": format_bytes(high)}
    compare(bench, "a limit of PyTorch", found, used, wanted, **told)
    tight = job(bench, BATCH)
    with memory_share(bench, torch.cuda.memory_reserved(bench.device) / total):
        try:
            tight.run()
            said = ""
        except MemoryRefusedError as error:
            said = str(error)
    bench.equal("a limit below one patch", bool(said), "no refusal", message=said)
    bench.equal("and after it", bool((job(bench, 2).run() == wanted).all()), "the device gives another answer now")


def filled(bench: Bench) -> None:
    """The memory of the device is taken, except for what a batch of some patches needs."""
    low, high = peak(bench, 2), peak(bench, BATCH)
    wanted = job(bench, 2).run()
    used = job(bench, BATCH)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(bench.device)
    taken = free - int(low + (high - low) / 3)
    ballast = torch.empty(max(0, taken), dtype=torch.uint8, device=bench.device)
    found = used.run()
    del ballast
    torch.cuda.empty_cache()
    compare(bench, "a full GPU", found, used, wanted, taken=format_bytes(taken))
