"""Memory is decided while planning: how much a unit needs, which block fits, and a refusal if none does."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import MemoryRefusedError
from volengine.core.units import format_bytes
from volengine.engine.stage import ArrayInput, Stage

BASELINE_BYTES = 260_000_000
"""What a worker process needs before it has read a voxel: interpreter, numpy, zarr, distributed."""

HEADROOM = 0.85
"""Share of a worker's limit that a plan may fill; codecs, fragmentation and the allocator take the rest."""

PREFETCH = 2
"""Units whose inputs (the next one) and outputs (the last one) are in memory beside the one that computes."""

LARGEST_BLOCK = 256**3
"""Voxels: blocks above this gain nothing and cost progress when a worker dies."""


def io_bytes(stage: Stage) -> tuple[int, int]:
    """Bytes of the input arrays and of the output arrays of the stage's largest unit."""
    shape = stage.tiling.shape
    core = Box((0, 0, 0), index3(min(c, n) for c, n in zip(stage.tiling.core, shape, strict=True)))
    read = written = 0
    for source in stage.arrays.values():
        sides = source.owned or _read_shape(source, core.shape, shape)
        read += int(np.prod(sides)) * np.dtype(source.volume.dtype).itemsize
    for output in stage.outputs.values():
        written += output.box(core, (0, 0, 0)).size * np.dtype(output.volume.dtype).itemsize
    return read, written


def _read_shape(source: ArrayInput, core: Index3, shape: Index3) -> Index3:
    """The largest shape that a unit reads from a volume: core, halo and alignment, cut off where the rule says."""
    if source.scaled:  # touched voxels: up to one more than the core's space
        whole = source.extent or source.volume.shape
        core = index3(-(-c * n // m) + (n != m) for c, n, m in zip(core, whole, shape, strict=True))
    if source.scaled or source.extent is not None:
        shape = source.volume.shape
    wide = [c + a + b + 2 * (g - 1) for c, a, b, g in zip(core, source.low, source.high, source.align, strict=True)]
    return index3(min(w, n) if source.edge == "clip" else w for w, n in zip(wide, shape, strict=True))


def peak_bytes(stage: Stage, kept: int = 0) -> int:
    """Planned peak of a worker process that runs this stage, one unit after the other with prefetching.

    ``kept`` is what earlier stages have left in the process (their ``fixed_bytes``: libraries, weights).
    """
    read, written = io_bytes(stage)
    return BASELINE_BYTES + max(kept, stage.fixed_bytes) + stage.kernel_bytes + PREFETCH * (read + written)


def check_stage(stage: Stage, limit: int, kept: int = 0) -> None:
    """Refuse a stage whose units do not fit into a worker."""
    need = peak_bytes(stage, kept)
    if need > limit * HEADROOM:
        raise MemoryRefusedError(_refusal(stage.name, stage.tiling.core, need, limit))


def choose_core(
    shape: Index3,
    unit: Index3,
    limit: int,
    build: Callable[[Index3], Stage],
    *,
    wanted: int = 1,
    largest: int = LARGEST_BLOCK,
    accept: Callable[[Index3], bool] = lambda core: True,
) -> Index3:
    """The block core to use: the largest one that fits into a worker.

    Parameters
    ----------
    shape
        The volume, voxels z, y, x.
    unit
        Cores are whole multiples of this (the shard of level 0, or a common multiple of several).
    limit
        Memory of one worker, bytes.
    build
        Makes the stage for a core (for its memory).
    wanted
        Number of blocks to aim for (workers); cores are kept small enough for that when possible.
    largest
        Voxels of the largest core to consider (a single ``unit`` is always considered).
    accept
        Further condition on a core.

    Raises
    ------
    MemoryRefusedError
        No core fits; the message has both numbers.
    """
    candidates = sorted(_cores(shape, unit, largest), key=lambda c: (int(np.prod(c)), c))
    candidates = [c for c in candidates if accept(c)]
    if not candidates:
        candidates = [index3(-(-n // u) * u for n, u in zip(shape, unit, strict=True))]
    best: Index3 | None = None
    for core in reversed(candidates):
        if peak_bytes(build(core)) > limit * HEADROOM:
            continue
        blocks = int(np.prod([-(-n // c) for n, c in zip(shape, core, strict=True)]))
        best = core
        if blocks >= wanted:
            break
    if best is None:
        smallest = build(candidates[0])
        raise MemoryRefusedError(_refusal(smallest.name, candidates[0], peak_bytes(smallest), limit))
    return best


def _cores(shape: Index3, unit: Index3, largest: int) -> Iterable[Index3]:
    options = []
    for n, u in zip(shape, unit, strict=True):
        whole = -(-n // u)
        steps = {1, 2, 3, 4, 6, 8, 12, 16, whole}
        options.append(sorted(s * u for s in steps if s <= whole))
    for core in itertools.product(*options):
        inside = [min(c, n) for c, n in zip(core, shape, strict=True)]
        if np.prod(inside) <= largest or core == tuple(o[0] for o in options):
            yield index3(core)


def _refusal(name: str, core: Index3, need: int, limit: int) -> str:
    return (
        f"Stage {name!r} needs {format_bytes(need)} per worker for blocks of {core} voxels, but a worker has "
        f"{format_bytes(limit)} ({HEADROOM:.0%} of it may be planned: {format_bytes(limit * HEADROOM)}). "
        "Give workers more memory (--memory-limit, fewer --workers) or convert with smaller shards."
    )


def machine_memory() -> int:
    """Memory of this machine or of this process's control group, bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total
