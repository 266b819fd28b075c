"""Memory planning: how much memory a unit needs, which block fits into a worker, and a refusal if none does."""

from __future__ import annotations

import heapq
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import MemoryRefusedError
from volengine.core.units import format_bytes
from volengine.engine.stage import ArrayInput, Stage

BASELINE_BYTES = 260_000_000
"""Memory of a worker process before it reads voxels, bytes: interpreter, numpy, zarr, distributed."""

HEADROOM = 0.85
"""Share of a worker's limit that a plan may use; the rest is left to codecs, fragmentation and the allocator."""

PREFETCH = 2
"""Number of inputs and of outputs in memory: those of the unit that computes, the next inputs and the last outputs."""

TABLE_BYTES = 4096
"""Memory of a table that is gathered, whatever is in it, bytes: its columns as objects; measured 2 to 5 kB."""

LARGEST_BLOCK = 256**3
"""Largest block that is considered, voxels. Larger ones gain nothing, and more work is lost when a worker dies."""

STEPS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Sizes of cores along an axis that are considered, in units; cores that divide the axis evenly are added."""

MOST_PARTS = 16
"""Largest number of even parts of an axis that is considered."""

UNIT_VOX = 32**3
"""Overhead of a unit (opening arrays, a task, a receipt: some milliseconds), as a number of voxels."""

GAIN = 0.1
"""Share of the time that smaller blocks must save to be preferred: they read more halo, and there are more of them."""


def io_bytes(stage: Stage) -> tuple[int, int]:
    """Return the bytes of the input arrays and of the output arrays of the stage's largest unit."""
    shape = stage.tiling.shape
    core = stage.tiling.box(0)  # the largest: those at the far ends are cut off
    read = written = 0
    pieces: NDArray[np.int64] | None = None
    for source in stage.arrays.values():
        itemsize = np.dtype(source.volume.dtype).itemsize
        if source.parts is not None:
            read += max((Box(*part).size for part in source.parts), default=0) * itemsize
        elif source.owned is None and (blocks := _blocks_of_piece(source, stage)) is not None:
            pieces = np.zeros(stage.tiling.grid, np.int64) if pieces is None else pieces
            pieces[blocks] += math.prod(_read_shape(source, core.shape, shape)) * itemsize
        else:
            read += math.prod(source.owned or _read_shape(source, core.shape, shape)) * itemsize
    read += 0 if pieces is None else int(pieces.max())
    for output in stage.outputs.values():
        written += output.box(core, (0, 0, 0)).size * np.dtype(output.volume.dtype).itemsize
    return read, written


def _blocks_of_piece(source: ArrayInput, stage: Stage) -> tuple[slice, ...] | None:
    """Return which blocks read from a volume that covers a piece of the tiling's space; ``None`` for other inputs."""
    if source.extent is None or source.scaled or source.edge != "clip" or max(source.align) > 1:
        return None
    piece = Box.of_shape(source.volume.shape).shift(index3(-c for c in source.corner)).grow(source.high, source.low)
    if piece.contains(Box.of_shape(stage.tiling.shape)):
        return None
    inside = piece.clip(stage.tiling.shape)
    ends = zip(inside.start, inside.stop, stage.tiling.core, strict=True)
    return tuple(slice(a // c, -(-b // c)) for a, b, c in ends)


def _read_shape(source: ArrayInput, core: Index3, shape: Index3) -> Index3:
    """Return the largest shape that a unit reads from a volume: core, halo and alignment; ``clip`` cuts it off."""
    if source.scaled:  # touched voxels: up to one more than the core's space
        whole = source.extent or source.volume.shape
        core = index3(-(-c * n // m) + (n != m) for c, n, m in zip(core, whole, shape, strict=True))
    if source.scaled or source.extent is not None:
        shape = source.volume.shape
    wide = [c + a + b + 2 * (g - 1) for c, a, b, g in zip(core, source.low, source.high, source.align, strict=True)]
    return index3(min(w, n) if source.edge == "clip" else w for w, n in zip(wide, shape, strict=True))


def peak_bytes(stage: Stage, kept: int = 0, gathered: int = 0) -> int:
    """Return the planned peak memory of a worker process that runs this stage, bytes.

    Parameters
    ----------
    stage
        The stage. Its units run one after the other; the next one is read and the last one written meanwhile.
    kept
        Bytes that earlier stages have left in the process (their ``fixed_bytes``: libraries, weights).
    gathered
        Number of tables that a unit holds because it reads those of all blocks of other stages.
    """
    read, written = io_bytes(stage)
    tables = TABLE_BYTES * gathered
    return BASELINE_BYTES + max(kept, stage.fixed_bytes) + stage.kernel_bytes + tables + PREFETCH * (read + written)


def check_stage(stage: Stage, limit: int, kept: int = 0, gathered: int = 0, divisible: bool = True) -> None:
    """Refuse a stage whose units do not fit into a worker.

    Parameters
    ----------
    stage
        The stage.
    limit
        Memory of a worker, bytes.
    kept, gathered
        As for :func:`peak_bytes`.
    divisible
        Whether smaller blocks are possible; if not, the message does not advise to take them.

    Raises
    ------
    MemoryRefusedError
        It needs more than :data:`HEADROOM` of the limit; the message has both numbers.
    """
    need = peak_bytes(stage, kept, gathered)
    if need > limit * HEADROOM:
        if gathered:
            raise MemoryRefusedError(_gathers(stage, need, limit, gathered))
        smaller = _smaller_blocks(stage, limit, kept) if divisible else ""
        raise MemoryRefusedError(_refusal(stage, need, limit, smaller))


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
    """Choose the block core: the largest one that fits into a worker, unless a smaller one shares the work better.

    Axes are divided as evenly as units allow: seven units become 4 + 3, not 6 + 1. A smaller core is preferred to a
    larger one only if the workers finish earlier with it by a share of at least :data:`GAIN`; each block counts
    :data:`UNIT_VOX` voxels besides its own.

    Parameters
    ----------
    shape
        Shape of the volume, voxels z, y, x.
    unit
        Cores are whole multiples of this, z, y, x: the shard of level 0, or a common multiple of several.
    limit
        Memory of one worker, bytes.
    build
        Function that makes the stage for a core, from which its memory is computed.
    wanted
        Number of workers that share the blocks.
    largest
        Size of the largest core to consider, voxels; a core of one ``unit`` is always considered.
    accept
        A further condition on a core.

    Returns
    -------
    The core, voxels z, y, x.

    Raises
    ------
    MemoryRefusedError
        No core fits; the message has both numbers.
    """
    candidates = _evenest(shape, filter(accept, _cores(shape, unit, largest)))
    if not candidates:
        candidates = [index3(-(-n // u) * u for n, u in zip(shape, unit, strict=True))]
    best: Index3 | None = None
    shortest = math.inf
    enough = (math.prod(shape) / wanted + UNIT_VOX) / (1 - GAIN)
    for core in candidates:
        time = busy_vox(shape, core, wanted)
        if time >= (1 - GAIN) * shortest or peak_bytes(build(core)) > limit * HEADROOM:
            continue
        best, shortest = core, time
        if time <= enough:
            break
    if best is None:
        smallest = build(candidates[-1])
        raise MemoryRefusedError(_refusal(smallest, peak_bytes(smallest), limit, _smaller_shards(smallest, limit)))
    return best


def busy_vox(shape: Index3, core: Index3, workers: int) -> float:
    """Estimate the time until the last worker is done, in voxels, if each takes the next block when it is free.

    A block costs its number of voxels and :data:`UNIT_VOX`. For many blocks the estimate is the mean work of a worker
    plus one block, which is an upper bound.
    """
    grid = [-(-n // c) for n, c in zip(shape, core, strict=True)]
    if workers == 1 or math.prod(grid) > 64 * workers:
        first = math.prod(min(c, n) for c, n in zip(core, shape, strict=True)) + UNIT_VOX
        total = math.prod(shape) + UNIT_VOX * math.prod(grid)
        return total / workers + (first if workers > 1 else 0)
    sides = [[min(c, n - i * c) for i in range(g)] for n, c, g in zip(shape, core, grid, strict=True)]
    free = [0.0] * min(workers, math.prod(grid))
    for block in itertools.product(*sides):
        heapq.heapreplace(free, free[0] + math.prod(block) + UNIT_VOX)
    return max(free)


def _cores(shape: Index3, unit: Index3, largest: int) -> Iterator[Index3]:
    """Yield the cores to consider: some multiples of the unit along each axis, and those that divide it evenly."""
    options = []
    for n, u in zip(shape, unit, strict=True):
        whole = -(-n // u)
        even = {-(-whole // parts) for parts in range(1, min(whole, MOST_PARTS) + 1)}
        options.append(sorted(s * u for s in {*STEPS, *even} if s <= whole))
    for core in itertools.product(*options):
        inside = [min(c, n) for c, n in zip(core, shape, strict=True)]
        if math.prod(inside) <= largest or core == tuple(o[0] for o in options):
            yield index3(core)


def _evenest(shape: Index3, cores: Iterable[Index3]) -> list[Index3]:
    """Return the smallest of the cores that make the same grid, for each grid; the largest cores first."""
    found: dict[tuple[int, ...], Index3] = {}
    for core in sorted(cores, key=lambda c: (math.prod(c), c), reverse=True):
        found[tuple(-(-n // c) for n, c in zip(shape, core, strict=True))] = core
    return sorted(found.values(), key=lambda c: (math.prod(c), c), reverse=True)


def _gathers(stage: Stage, need: int, limit: int, gathered: int) -> str:
    return (
        f"Stage {stage.name!r} reads the tables of all blocks in one unit, {gathered} tables, and is planned with "
        f"{format_bytes(need)}, but a worker has {format_bytes(limit)} ({HEADROOM:.0%} of it may be planned: "
        f"{format_bytes(limit * HEADROOM)}). This step cannot be divided: give workers more memory (--memory-limit, "
        "fewer --workers), or process the volume in parts."
    )


def check_tables(stage: Stage, sizes: Iterable[int], limit: int) -> None:
    """Refuse to read tables that do not fit into a worker.

    A planner does not know how much there is in the tables of a stage; this is asked before a unit reads them.

    Parameters
    ----------
    stage
        The stage whose unit reads them.
    sizes
        Their sizes, bytes.
    limit
        Memory of a worker, bytes.

    Raises
    ------
    MemoryRefusedError
        They have more bytes than a plan may use besides libraries, inputs and outputs.
    """
    most = int(limit * HEADROOM) - (peak_bytes(stage) - stage.kernel_bytes)
    total = sum(sizes)
    if total > most:
        raise MemoryRefusedError(
            f"Stage {stage.name!r} would read tables of {format_bytes(total)} in one unit, but a worker of "
            f"{format_bytes(limit)} may hold {format_bytes(max(0, most))} of them. Give workers more memory "
            "(--memory-limit, fewer --workers), or make less of them: a higher threshold, a part of the volume."
        )


def _refusal(stage: Stage, need: int, limit: int, smaller: str) -> str:
    """The message for a stage that does not fit; ``smaller`` is what else helps than a larger worker, if anything."""
    blocks = f" for blocks of {stage.tiling.core} voxels" if _has_voxels(stage) else ""
    least = math.ceil(need / HEADROOM / 1e6)
    alone = "" if smaller else " Other blocks would not change it."
    return (
        f"Stage {stage.name!r} needs {format_bytes(need)} per worker{blocks}, but a worker has "
        f"{format_bytes(limit)} ({HEADROOM:.0%} of it may be planned: {format_bytes(limit * HEADROOM)}). "
        f"Give a worker {least} MB or more (--memory-limit {least}MB, with fewer --workers){smaller}.{alone}"
    )


def _has_voxels(stage: Stage) -> bool:
    """Whether the blocks of a stage are made of voxels, not of tables or of rows of one."""
    return bool(stage.arrays or stage.outputs) and math.prod(stage.tiling.core) > 1


def _fits_without_blocks(stage: Stage, limit: int, kept: int = 0) -> bool:
    """Whether a worker could hold what does not depend on the blocks: the process, libraries, weights."""
    return BASELINE_BYTES + max(kept, stage.fixed_bytes) <= limit * HEADROOM


def _smaller_blocks(stage: Stage, limit: int, kept: int) -> str:
    """Advice to take smaller blocks, where there are such and they help."""
    if not _has_voxels(stage) or not _fits_without_blocks(stage, limit, kept):
        return ""
    least = np.ones(3, np.int64)
    for output in stage.outputs.values():
        unit = np.multiply(output.volume.shards or output.volume.chunks or output.volume.shape, output.factor)
        least = np.lcm(least, stage.tiling.core if output.owned is not None else unit)
    if not any(u < min(c, n) for u, c, n in zip(least, stage.tiling.core, stage.tiling.shape, strict=True)):
        return _smaller_shards(stage, limit, kept)
    whole = ",".join(map(str, least.tolist()))
    return ", or take smaller blocks: --block" + (f", in multiples of {whole} voxels" if least.max() > 1 else "")


def _smaller_shards(stage: Stage, limit: int, kept: int = 0) -> str:
    """Advice for a block that cannot be smaller, because it is one shard, or one chunk of what is read."""
    if not _has_voxels(stage) or not _fits_without_blocks(stage, limit, kept):
        return ""
    return ", or convert with smaller shards (--shard), of which a block is at least one"


def machine_memory() -> int:
    """Return the memory of this machine, or of this process's control group if that is less, bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total
