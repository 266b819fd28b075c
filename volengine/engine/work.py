"""Running units: read the block with its halo, call the kernel, write the result, append a receipt.

This is the same in every executor. While one unit computes, the next one is read and the last one is written, each in a
thread of its own. So disk, codecs and network overlap, and at most three units are in memory, as the planner assumes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, Table
from volengine.core.boxes import Box, Index3, index3, neighbours
from volengine.core.errors import MemoryRefusedError, PlanError, WiderHaloError
from volengine.core.units import format_bytes
from volengine.engine.ledger import PlanFolder, Receipt
from volengine.engine.memory import HEADROOM, peak_bytes
from volengine.engine.stage import ArrayInput, EdgeRule, Stage
from volengine.io.names import Source
from volengine.io.omezarr.codecs import prefer_fast_codecs
from volengine.io.open import open_sink, open_source


@dataclass(frozen=True)
class Bundle:
    """Some units of one stage, which one worker process runs one after the other.

    Parameters
    ----------
    folder
        Path of the plan's folder.
    stage
        The stage.
    identity
        Identity of the stage, for the receipts.
    numbers
        Block numbers of the units.
    limit
        Memory of the worker, bytes.
    retry
        Whether the units may have been written before; the shards that they own are then deleted first.
    """

    folder: str
    stage: Stage
    identity: str
    numbers: tuple[int, ...]
    limit: int
    retry: bool = False


def source_indices(start: int, stop: int, size: int, edge: EdgeRule) -> NDArray[np.int64]:
    """Return, for each position in ``start .. stop``, the index in ``0 .. size`` from which its voxel is copied.

    ``reflect`` mirrors without repeating the border voxel, as often as needed; ``edge`` repeats the border voxel. With
    ``zero`` and ``clip`` positions outside get the nearest index; the caller sets them to 0 or cuts them off.
    """
    at = np.arange(start, stop)
    if edge == "reflect" and size > 1:
        period = 2 * (size - 1)
        return np.abs((at + (size - 1)) % period - (size - 1))
    return np.clip(at, 0, size - 1)


def read_box(source: Source, box: Box, edge: EdgeRule) -> NDArray[Any]:
    """Read a box that may reach outside of the volume; the edge rule defines the voxels there."""
    shape = source.shape
    inside = box.clip(shape)
    if inside == box:
        return source.read(box)
    wanted = [source_indices(a, b, n, edge) for a, b, n in zip(box.start, box.stop, shape, strict=True)]
    need = Box(index3(w.min() for w in wanted), index3(w.max() + 1 for w in wanted))
    data = source.read(need)
    local = [w - a for w, a in zip(wanted, need.start, strict=True)]
    for axis, at in enumerate(local):
        if not np.array_equal(at, np.arange(data.shape[axis])):
            data = np.take(data, at, axis=axis)
    if edge == "zero":
        data = np.array(data)
        for axis, (a, b, n) in enumerate(zip(box.start, box.stop, shape, strict=True)):
            view = np.moveaxis(data, axis, 0)
            view[: max(0, min(-a, b - a))] = 0
            view[max(0, n - a) :] = 0
    return data


class Inputs:
    """Reads the inputs of the units of a stage."""

    def __init__(self, stage: Stage, folder: PlanFolder):
        self.stage = stage
        self.folder = folder
        self.sources = {name: open_source(a.volume) for name, a in stage.arrays.items()}
        self._shared: dict[str, dict[int, Table]] = {}

    def block(self, number: int, halo: Index3 | None = None) -> tuple[Block, int]:
        """Read the block of a unit.

        Parameters
        ----------
        number
            Number of the block.
        halo
            Smallest halo of all inputs but pieces of scratch arrays, z, y, x; wider ones are kept.

        Returns
        -------
        The block, and the bytes of its arrays.
        """
        tiling = self.stage.tiling
        core, index = tiling.box(number), tiling.index(number)
        arrays, boxes, count = {}, {}, 0
        for name, wanted in self.stage.arrays.items():
            if wanted.owned is not None:
                boxes[name], arrays[name] = self._piece(name, wanted, index)
            else:
                source = wanted if halo is None else _widen(wanted, halo)
                boxes[name] = source.box(core, tiling.shape)
                arrays[name] = read_box(self.sources[name], boxes[name], source.edge)
            count += arrays[name].nbytes
        tables = {name: self._tables(name, number, index) for name in self.stage.tables}
        block = Block(number, index, core, tiling.shape, arrays, boxes, tables)
        return block, count

    def _piece(self, name: str, wanted: ArrayInput, index: Index3) -> tuple[Box, NDArray[Any]]:
        owned = wanted.owned or (0, 0, 0)
        cell = index3(i + d for i, d in zip(index, wanted.offset, strict=True))
        start = index3(c * n for c, n in zip(cell, owned, strict=True))
        box = Box(start, index3(a + n for a, n in zip(start, owned, strict=True)))
        grid = self.stage.tiling.grid
        if all(0 <= c < g for c, g in zip(cell, grid, strict=True)):
            return box, self.sources[name].read(box)
        return box, np.zeros(owned, wanted.volume.dtype)

    def _tables(self, name: str, number: int, index: Index3) -> dict[int, Table]:
        wanted = self.stage.tables[name]
        tiling = self.stage.tiling
        if wanted.scope == "own":
            return {number: self.folder.read_table(wanted.stage, number)}
        if wanted.scope == "neighbours":
            cells = [number, *(tiling.number(i) for i in neighbours(index, tiling.grid))]
            return {n: self.folder.read_table(wanted.stage, n) for n in sorted(cells)}
        if name not in self._shared:
            self._shared[name] = {n: self.folder.read_table(wanted.stage, n) for n in range(self._count(wanted.stage))}
        return self._shared[name]

    def _count(self, stage: str) -> int:
        counts = self.folder.read_json("units.json")
        return int(counts[stage])


def _widen(wanted: ArrayInput, halo: Index3) -> ArrayInput:
    low = index3(max(a, h) for a, h in zip(wanted.low, halo, strict=True))
    high = index3(max(a, h) for a, h in zip(wanted.high, halo, strict=True))
    return replace(wanted, low=low, high=high)


class Worker:
    """Runs the units of one bundle."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.stage = bundle.stage
        self.folder = PlanFolder(bundle.folder)
        prefer_fast_codecs()
        self.inputs = Inputs(bundle.stage, self.folder)
        self.sinks = {name: open_sink(o.volume) for name, o in bundle.stage.outputs.items()}

    def compute(self, block: Block, count: int) -> tuple[Result, int]:
        """Call the kernel; if it asks for a wider halo, read the block again and repeat.

        Returns the result and the bytes read.

        Raises
        ------
        MemoryRefusedError
            The wider halo does not fit into the worker's memory.
        PlanError
            The kernel asks for a halo that it already has.
        """
        asked: Index3 = (0, 0, 0)
        while True:
            try:
                return self.stage.run(block), count
            except WiderHaloError as wish:
                if all(w <= a for w, a in zip(wish.halo_vox, asked, strict=True)):
                    raise PlanError(f"Stage {self.stage.name!r} asks for the halo it already has.") from None
                asked = wish.halo_vox
                self._afford(block, asked)
                block, more = self.inputs.block(block.number, asked)
                count += more

    def _afford(self, block: Block, halo: Index3) -> None:
        wide = block.box.grow(halo).clip(block.shape)
        planned = max(1, max((b.size for b in block.boxes.values()), default=1))
        need = peak_bytes(self.stage) + int(self.stage.kernel_bytes * max(0.0, wide.size / planned - 1))
        if need > self.bundle.limit * HEADROOM:
            raise MemoryRefusedError(
                f"Stage {self.stage.name!r}, block {block.number} at {block.box.start}: an exact result needs a "
                f"halo of {halo} voxels and {format_bytes(need)}, but a worker has {format_bytes(self.bundle.limit)}. "
                "Use a higher threshold, smaller blocks (--block), or more memory per worker (--memory-limit)."
            )

    def write(self, block: Block, result: Result) -> int:
        """Write a unit's arrays and table; return the bytes written.

        Raises
        ------
        PlanError
            The kernel did not return an output or the table, or an output has a wrong shape.
        """
        missing = set(self.stage.outputs) - set(result.arrays)
        if missing or (self.stage.emits and result.table is None):
            raise PlanError(f"Kernel {self.stage.kernel} did not return {sorted(missing) or 'its table'}.")
        written = 0
        for name, output in self.stage.outputs.items():
            array = result.arrays[name]
            box = output.box(block.box, block.index)
            if array.shape != box.shape:
                raise PlanError(
                    f"Kernel {self.stage.kernel} returned {name!r} with shape {array.shape}, not {box.shape}."
                )
            self.sinks[name].write(box, array)
            written += array.nbytes
        if self.stage.emits and result.table is not None:
            written += self.folder.write_table(self.stage.name, block.number, result.table)
        return written

    def finish(self, block: Block, result: Result, read: int, began: float, peak: int) -> Receipt:
        """Write a unit's result, then append its receipt to the ledger."""
        written = self.write(block, result)
        receipt: Receipt = {
            "stage": self.stage.name,
            "number": block.number,
            "identity": self.bundle.identity,
            "seconds": round(time.perf_counter() - began, 4),
            "read": read,
            "written": written,
            "counts": {k: int(v) for k, v in result.counts.items()},
            "peak_rss": peak,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": round(time.time(), 3),
        }
        self.folder.append([receipt])
        return receipt

    def run(self) -> Iterator[Receipt]:
        """Run the units in order; yield each receipt when its unit is written."""
        numbers = self.bundle.numbers
        with ThreadPoolExecutor(1, "read") as readers, ThreadPoolExecutor(1, "write") as writers:
            ahead: Future[tuple[Block, int]] = readers.submit(self.inputs.block, numbers[0])
            behind: Future[Receipt] | None = None
            for position in range(len(numbers)):
                began = time.perf_counter()
                block, read = ahead.result()
                if position + 1 < len(numbers):
                    ahead = readers.submit(self.inputs.block, numbers[position + 1])
                result, read = self.compute(block, read)
                if behind is not None:
                    yield behind.result()
                behind = writers.submit(self.finish, block, result, read, began, peak_rss())
                del block, result
            if behind is not None:
                yield behind.result()


def run_units(bundle: Bundle) -> list[Receipt]:
    """Run a bundle and return its receipts. This is the function that Dask workers execute."""
    reset_peak_rss()
    receipts = list(Worker(bundle).run())
    if receipts:
        receipts[-1]["peak_rss"] = peak_rss()
    return receipts


def reset_peak_rss() -> None:
    """Reset this process's peak memory (on Linux; on other systems the peak is counted from the start)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_rss() -> int:
    """Return the peak resident memory of this process since the last reset, bytes."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
