"""Small kernels with known whole-volume results, for the engine's own tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from volengine.core.atomic import write_atomic
from volengine.core.block import Block, Result
from volengine.core.errors import InputError, WiderHaloError
from volengine.engine.plan import Made


def box_sum(array: np.ndarray, low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    """Sum over the window [-low, high] around each voxel that has a whole window in the array."""
    out = array.astype(np.int64)
    for axis, (a, b) in enumerate(zip(low, high, strict=True)):
        n = out.shape[axis] - a - b
        out = sum(np.take(out, np.arange(k, k + n), axis=axis) for k in range(a + b + 1))
    return out


def window_sum(block: Block, low: list[int], high: list[int]) -> Result:
    """Windowed sum of an input read with this halo and a filling edge rule."""
    out = box_sum(block.arrays["source"], tuple(low), tuple(high))
    return Result({"out": out.astype(np.int32)}, counts={"voxels": out.size})


def clipped_sum(block: Block, radius: int) -> Result:
    """Windowed sum with zeros outside of the volume, from a clipped input."""
    source, box = block.arrays["source"], block.boxes["source"]
    before = [max(0, radius - (a - b)) for a, b in zip(block.box.start, box.start, strict=True)]
    behind = [max(0, radius - (b - a)) for a, b in zip(block.box.stop, box.stop, strict=True)]
    padded = np.pad(source, list(zip(before, behind, strict=True)))
    return Result({"out": box_sum(padded, (radius,) * 3, (radius,) * 3).astype(np.int32)})


def scatter(block: Block, reach: int) -> Result:
    """Each voxel adds its value to the voxel ``reach`` further along z: its own part and an overhang piece."""
    source = block.arrays["source"].astype(np.int32)
    nz = source.shape[0]
    full = np.zeros((nz + reach, *source.shape[1:]), np.int32)
    full[reach:] += source
    full[:nz] += source
    piece = np.zeros((reach, *block_core(block)), np.int32)
    over = full[nz:]
    piece[: over.shape[0], : over.shape[1], : over.shape[2]] = over
    return Result({"own": full[:nz], "over": piece})


def block_core(block: Block) -> tuple[int, int]:
    """Full core size along y and x, also for cut-off blocks (known from the second block's start, else the box)."""
    return tuple(block.box.start[a] // block.index[a] if block.index[a] else block.box.shape[a] for a in (1, 2))  # type: ignore[return-value]


def gather(block: Block) -> Result:
    """Own part plus what the lower neighbour along z reached over."""
    own = block.arrays["own"].astype(np.int64)
    over = block.arrays["over"]
    n = min(over.shape[0], own.shape[0])
    own[:n] += over[:n, : own.shape[1], : own.shape[2]]
    return Result({"out": own.astype(np.int32)})


def partial(block: Block) -> Result:
    """Sum and extreme of a block, as a table."""
    core = block.core_of("source").astype(np.int64)
    return Result(table={"sum": np.array([core.sum()]), "max": np.array([core.max()])})


def combine(block: Block) -> Result:
    """The sums of all blocks."""
    tables = block.tables["parts"].values()
    total = sum(int(t["sum"][0]) for t in tables)
    return Result(table={"sum": np.array([total]), "max": np.array([max(int(t["max"][0]) for t in tables)])})


def subtract(block: Block) -> Result:
    """Source minus the volume's maximum (from the reduce stage)."""
    (table,) = block.tables["total"].values()
    return Result({"out": (block.core_of("source").astype(np.int64) - int(table["max"][0])).astype(np.int32)})


def neighbour_sum(block: Block) -> Result:
    """Everywhere the sum over the blocks around this one, from their tables."""
    total = sum(int(t["sum"][0]) for t in block.tables["parts"].values())
    return Result({"out": np.full(block.box.shape, total, np.int64)})


def needs_more(block: Block, radius: int) -> Result:
    """Asks for context until it has ``radius`` voxels (clipped at the volume's end)."""
    want = block.box.grow((radius,) * 3).clip(block.shape)
    if not block.boxes["source"].contains(want):
        box = block.boxes["source"]
        low = max(a - b for a, b in zip(block.box.start, box.start, strict=True))
        high = max(b - a for a, b in zip(block.box.stop, box.stop, strict=True))
        raise WiderHaloError((max(1, 2 * max(low, high)),) * 3)
    part = block.arrays["source"][want.slices_in(block.boxes["source"])]
    return Result({"out": np.full(block.box.shape, int(part.astype(np.int64).max()), np.int32)})


def fail_at(block: Block, numbers: list[int], marker: str) -> Result:
    """Fails once (first call) for some blocks, for ever if there is no marker folder."""
    if block.number in numbers:
        path = Path(marker) / str(block.number)
        if not marker or not path.exists():
            if marker:
                path.touch()
            raise RuntimeError(f"block {block.number} fails")
    return Result({"out": block.core_of("source").astype(np.int32)})


def refuse_at(block: Block, numbers: list[int], trace: str) -> Result:
    """Refuses the input in some blocks, and leaves a line per call in a trace file."""
    with open(trace, "a") as file:
        file.write(f"{block.number}\n")
    if block.number in numbers:
        raise InputError(f"block {block.number} holds no numbers")
    return Result({"out": block.core_of("source").astype(np.int32)})


def zeros(block: Block) -> Result:
    """Zeros, of which nothing is stored."""
    return Result({"out": np.zeros(block.box.shape, np.uint8)})


def slow_copy(block: Block, seconds: float, trace: str) -> Result:
    """Copies the core slowly and leaves a line per call in a trace file."""
    with open(trace, "a") as file:
        file.write(f"{block.number}\n")
    time.sleep(seconds)
    return Result({"out": block.core_of("source").astype(np.int32)})


def timed_copy(block: Block, seconds: float, trace: str) -> Result:
    """Copies the core slowly; leaves a line with its process, and when it began and ended."""
    began = time.monotonic()
    time.sleep(seconds)
    with open(trace, "a") as file:
        file.write(f"{os.getpid()} {began} {time.monotonic()}\n")
    return Result({"out": block.core_of("source").astype(np.int32)})


def threads_of_torch(block: Block, threads: int) -> Result:
    """The number of threads that PyTorch would use here, everywhere; ``threads`` is the plan's hint."""
    import torch

    return Result({"out": np.full_like(block.core_of("source"), torch.get_num_threads(), dtype=np.int32)})


def kill_self(block: Block, share: float, folder: str, most: int, seconds: float) -> Result:
    """Copies the core; kills its own process now and then, ``most`` times in all (marked by files)."""
    time.sleep(seconds)
    out = block.core_of("source").astype(np.int32)
    kills = len(list(Path(folder).iterdir()))
    seed = int.from_bytes(os.urandom(4), "little") / 2**32
    if seed < share and kills < most:
        (Path(folder) / f"{os.getpid()}-{block.number}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Result({"out": out})


def nothing(block: Block) -> Result:
    """No work at all: measures what a unit costs."""
    return Result(table={"n": np.array([block.number])})


def copy_and_act(block: Block, at: int, marker: str, moves: list[list[str]]) -> Result:
    """Copies the core; in block ``at`` it renames files once: each target by its new file, or by nothing."""
    out = block.core_of("source").astype(np.int32)
    if block.number == at and not Path(marker).exists():
        Path(marker).touch()
        for new, target in moves:
            if new:
                os.replace(new, target)
            else:
                os.remove(target)
    return Result({"out": out})


def write_total(plan, tables, out: str) -> Made:
    """A product: the sum of the whole volume."""
    (table,) = tables("total").values()
    write_atomic(out, f"{int(table['sum'][0])}\n")
    return Made((out,))


def leave_devices(block: Block, folder: str, device: str = "") -> Result:
    """Leaves a file for each process that ran it, with the GPUs that it may use; ``device`` is the plan's hint."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
    (Path(folder) / f"seen-{os.getpid()}").write_text(seen)
    time.sleep(0.1)
    return Result({"out": block.core_of("source").astype(np.int32)})
