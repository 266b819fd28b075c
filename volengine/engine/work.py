"""Running units: read the block with its halo, call the kernel, write the result, append a receipt.

This is the same in every executor. While one unit computes, the next one is read and the last one is written, each in a
thread of its own. So disk, codecs and network overlap, and at most three units are in memory, as the planner assumes.
A receipt is appended when the unit's result is on the disk; units that take less than a second are flushed together.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import flush
from volengine.core.block import Block, Result, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import (
    ChangedError,
    FormatError,
    MemoryRefusedError,
    PlanError,
    VolengineError,
    WiderHaloError,
)
from volengine.core.units import format_bytes
from volengine.core.volume import Volume
from volengine.engine.agreement import check_current
from volengine.engine.earlier import Earlier, Writer
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import HEADROOM, check_tables, peak_bytes
from volengine.engine.reading import read_box
from volengine.engine.receipts import Receipt
from volengine.engine.recent import RecentTables
from volengine.engine.stage import ArrayInput, Stage
from volengine.io.identity import check_unchanged
from volengine.io.omezarr.codecs import prefer_fast_codecs
from volengine.io.omezarr.nodes import read_node
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
    writers
        For each input that an earlier stage of the plan writes: who writes it.
    durable
        Flush what a unit has written to the disk before its receipt is appended.
    then
        Bundles of the stages that follow, which the same worker runs when this one has ended well.
    """

    folder: str
    stage: Stage
    identity: str
    numbers: tuple[int, ...]
    limit: int
    writers: Mapping[str, Writer] = field(default_factory=dict)
    durable: bool = True
    then: tuple[Bundle, ...] = ()

    @property
    def parts(self) -> tuple[Bundle, ...]:
        """This bundle alone, and those that follow."""
        return (replace(self, then=()), *self.then) if self.then else (self,)

    def followed_by(self, bundles: Iterable[Bundle]) -> Bundle:
        """Return this bundle with others that the same worker runs after it."""
        return replace(self, then=tuple(bundles))

    def less(self, done: Mapping[str, Collection[int]]) -> Bundle | None:
        """Return the bundle without units that are done, by the names of their stages; ``None`` if all are."""
        left = [
            replace(part, numbers=numbers)
            for part in self.parts
            if (numbers := tuple(n for n in part.numbers if n not in done.get(part.stage.name, ())))
        ]
        return left[0].followed_by(left[1:]) if left else None


def never() -> bool:
    """Whether a bundle is to stop before its end: never."""
    return False


def nothing() -> None:
    """Do nothing."""


FLUSH_S = 1.0
"""Seconds between two flushes of a bundle. A unit that is not flushed is run again if its worker dies."""


def is_scratch(volume: Volume, folder: PlanFolder) -> bool:
    """Return whether a volume lies in a plan's scratch folder: an array of the plan, or an unpacked file."""
    return volume.url.startswith(f"{folder.scratch}{os.sep}")


class Inputs:
    """Reads the inputs of the units of a stage.

    Parameters
    ----------
    stage, folder
        The stage, and the folder of its plan.
    writers, limit
        As for :class:`Bundle`.
    """

    def __init__(self, stage: Stage, folder: PlanFolder, writers: Mapping[str, Writer], limit: int):
        self.stage = stage
        self.limit = limit
        self.folder = folder
        self.earlier = {name: Earlier(stage.arrays[name].volume, folder, writer) for name, writer in writers.items()}
        volumes = dict.fromkeys(a.volume for a in stage.arrays.values())  # one may be read by many inputs
        opened = {volume: open_source(volume) for volume in volumes}
        self.sources = {name: opened[a.volume] for name, a in stage.arrays.items()}
        self._shared: dict[str, dict[int, Table]] = {}
        self._recent = RecentTables(folder)

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
            source = wanted if halo is None else wanted.widened(halo)
            boxes[name] = source.region(core, index, tiling.shape)
            arrays[name] = self._piece(name, source, index) if source.owned else self._box(name, source, boxes[name])
            count += arrays[name].nbytes
        tables = {name: self._tables(name, number) for name in self.stage.tables}
        block = Block(number, index, core, tiling.shape, arrays, boxes, tables)
        return block, count

    def _box(self, name: str, wanted: ArrayInput, box: Box) -> NDArray[Any]:
        earlier, box = self.earlier.get(name), wanted.stored(box)
        if box.empty:
            return np.empty(box.shape, wanted.volume.dtype)
        if earlier is None:
            return read_box(self.sources[name], box, wanted.edge)
        earlier.check(box)
        array = read_box(self.sources[name], box, wanted.edge)
        earlier.check(box)  # it may have gone meanwhile
        return array

    def _piece(self, name: str, wanted: ArrayInput, index: Index3) -> NDArray[Any]:
        cell = index3(i + d for i, d in zip(index, wanted.offset, strict=True))
        tiling = self.stage.tiling
        if all(0 <= c < g for c, g in zip(cell, tiling.grid, strict=True)):
            return self._box(name, wanted, wanted.region(tiling.box(tiling.number(index)), index, tiling.shape))
        return np.zeros(wanted.owned or (0, 0, 0), wanted.volume.dtype)

    def check(self) -> None:
        """Refuse inputs from outside of the plan that have changed since the plan was made.

        Raises
        ------
        ChangedError
            One has changed; what was read of it may belong to neither the former nor the new one.
        """
        for volume in dict.fromkeys(a.volume for a in self.stage.arrays.values()):
            if not is_scratch(volume, self.folder):
                check_unchanged(volume, full=False)

    def _tables(self, name: str, number: int) -> dict[int, Table]:
        wanted = self.stage.tables[name]
        if wanted.scope != "all":
            return self._read_tables(wanted.stage, wanted.numbers(number, self.stage.tiling), self._recent.read)
        if name not in self._shared:
            self._shared[name] = self._read_tables(
                wanted.stage, range(self._count(wanted.stage)), self.folder.read_table
            )
        return self._shared[name]

    def _read_tables(self, stage: str, numbers: Sequence[int], read: Callable[[str, int], Table]) -> dict[int, Table]:
        check_tables(self.stage, (self.folder.table_bytes(stage, n) for n in numbers), self.limit)
        return {n: read(stage, n) for n in numbers}

    def _count(self, stage: str) -> int:
        counts = self.folder.read_json("units.json")
        return int(counts[stage])


@dataclass
class Written:
    """A unit whose result is written and whose receipt is not appended yet."""

    receipt: Receipt
    files: tuple[Path, ...] = ()


class Worker:
    """Runs the units of one bundle."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.stage = bundle.stage
        self.folder = PlanFolder(bundle.folder)
        prefer_fast_codecs()
        self.inputs = Inputs(bundle.stage, self.folder, bundle.writers, bundle.limit)
        self.sinks = {name: open_sink(o.volume) for name, o in bundle.stage.outputs.items()}
        self.token = self.folder.token()
        written = (o.volume for o in bundle.stage.outputs.values() if not is_scratch(o.volume, self.folder))
        self.images = {(volume.url, volume.path.rpartition("/")[0]) for volume in written}
        self.written: list[Written] = []
        self.flushed = time.monotonic()
        self.left: tuple[int, ...] = ()
        """Units that :meth:`run` has not begun, because it was enough."""

    def compute(self, block: Block, count: int) -> tuple[Result, int, Index3 | None]:
        """Call the kernel; if it asks for a wider halo, read the block again and repeat.

        Returns the result, the bytes read, and the wider halo.

        Raises
        ------
        MemoryRefusedError
            The wider halo does not fit into the worker's memory.
        PlanError
            The kernel asks for a halo that it already has.
        """
        asked: Index3 | None = None
        while True:
            try:
                return self.stage.run(block), count, asked
            except WiderHaloError as wish:
                if asked is not None and all(w <= a for w, a in zip(wish.halo_vox, asked, strict=True)):
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

    def write(self, block: Block, result: Result) -> tuple[int, Receipt]:
        """Write a unit's arrays and table; return the bytes written, and what its receipt says of them.

        Raises
        ------
        PlanError
            The kernel did not return an output or the table, or an output has a wrong shape.
        """
        missing = set(self.stage.outputs) - set(result.arrays)
        if missing or (self.stage.emits and result.table is None):
            raise PlanError(f"Kernel {self.stage.kernel} did not return {sorted(missing) or 'its table'}.")
        count = 0
        wrote: dict[str, Any] = {}
        for name, output in self.stage.outputs.items():
            array = result.arrays[name]
            box = output.box(block.box, block.index)
            if array.shape != box.shape:
                raise PlanError(
                    f"Kernel {self.stage.kernel} returned {name!r} with shape {array.shape}, not {box.shape}."
                )
            sink = self.sinks[name]
            wrote[name] = dict(zip(sink.keys(box), sink.write(box, array), strict=True))
            count += array.nbytes
        claims: Receipt = {"wrote": wrote} if wrote else {}
        if self.stage.emits and result.table is not None:
            size, claims["table"] = self.folder.write_table(self.stage.name, block.number, result.table)
            count += size
        if result.files:
            scratch = self.folder.scratch
            claims["files"] = {str(path.relative_to(scratch)): path.stat().st_size for path in result.files}
        return count, claims

    def finish(self, block: Block, result: Result, read: int, halo: Index3 | None, began: float) -> list[Receipt]:
        """Write a unit's result; append its receipt to the ledger, or leave that to a later unit.

        Returns the receipts that were appended.

        Raises
        ------
        ChangedError
            Another driver has planned the stage anew, or another run has replaced an image. Nothing is written.
        """
        check_current(self.folder, self.stage.name, self.bundle.identity)
        self._check_owner()
        try:
            count, claims = self.write(block, result)
        except OSError as error:
            if error.filename is not None or isinstance(error, VolengineError):
                raise
            places = [o.volume.where for o in self.stage.outputs.values()] or [str(self.folder.path)]
            raise OSError(error.errno, error.strerror, ", ".join(places)) from error
        receipt: Receipt = {
            "stage": self.stage.name,
            "number": block.number,
            "identity": self.bundle.identity,
            "seconds": round(time.perf_counter() - began, 4),
            "read": read,
            "written": count,
            "counts": {k: int(v) for k, v in result.counts.items()},
            "peak_rss": peak_rss(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": round(time.time(), 3),
            **claims,
        }
        if halo is not None:
            receipt["halo"] = list(halo)
        self.written.append(Written(receipt, tuple(result.files)))
        if self.bundle.durable:
            for sink in self.sinks.values():
                sink.begin_flush()
            if time.monotonic() - self.flushed < FLUSH_S:
                return []
        return self.flush()

    def _check_owner(self) -> None:
        """Refuse to write into an image that another run has put into the place of this one's."""
        for url, group in self.images:
            try:
                node = read_node(url, group)
            except FormatError:  # damaged metadata are mended when the run goes on
                continue
            owner = "" if node is None else str(node.ours.get("token", ""))
            if owner and owner != self.token:
                raise ChangedError(
                    f"{'#'.join(filter(None, (url, group)))} was overwritten by another run while this one was writing "
                    "it. What this run computes is not written. Give one of them another --out."
                )

    def flush(self) -> list[Receipt]:
        """Make what was written durable, then append the receipts of these units, and return them.

        Raises
        ------
        ChangedError
            An input has changed meanwhile. No receipt is appended.
        """
        written, self.written = self.written, []
        if not written:
            return []
        self.inputs.check()
        if self.bundle.durable:
            for sink in self.sinks.values():
                sink.flush()
            if self.stage.emits:
                self.folder.flush_tables(self.stage.name, [w.receipt["number"] for w in written])
            flush([path for w in written for path in w.files], root=self.folder.path)
        receipts = [w.receipt for w in written]
        self.folder.receipts.append(receipts, durable=self.bundle.durable)
        self.flushed = time.monotonic()
        return receipts

    def run(
        self, enough: Callable[[], bool] = never, computed: Callable[[], None] = nothing
    ) -> Iterator[list[Receipt]]:
        """Run the units in order; yield receipts when they are appended.

        Parameters
        ----------
        enough
            Asked before each unit but the first; if it says so, the others are :attr:`left`.
        computed
            Called when all units are written and their arrays are dropped, before the disk is waited for.
        """
        if len(self.bundle.numbers) == 1:
            yield from self._run_one(computed)
            return
        numbers = self.bundle.numbers
        with ThreadPoolExecutor(1, "read") as readers, ThreadPoolExecutor(1, "write") as writers:
            ahead: Future[tuple[Block, int]] = readers.submit(self.inputs.block, numbers[0])
            behind: Future[list[Receipt]] | None = None
            failure: Exception | None = None
            try:
                for position in range(len(numbers)):
                    if position and enough():
                        self.left = numbers[position:]
                        break
                    began = time.perf_counter()
                    block, read = ahead.result()
                    if position + 1 < len(numbers):
                        ahead = readers.submit(self.inputs.block, numbers[position + 1])
                    result, read, halo = self.compute(block, read)
                    last, behind = behind, None
                    if last is not None:
                        yield last.result()
                    behind = writers.submit(self.finish, block, result, read, halo, began)
                    del block, result
            except Exception as error:
                failure = error
            try:
                if behind is not None:
                    yield behind.result()
            except Exception as error:
                failure = failure or error
            behind = None
            ahead.cancel()
            del ahead
            computed()
            yield writers.submit(self.flush).result()  # also after a failure: the units before it are done
            if failure is not None:
                raise failure

    def _run_one(self, computed: Callable[[], None]) -> Iterator[list[Receipt]]:
        """Run a bundle of one unit: there is nothing to overlap, and threads take longer than a small unit."""
        began = time.perf_counter()
        block, read = self.inputs.block(self.bundle.numbers[0])
        result, read, halo = self.compute(block, read)
        receipts = self.finish(block, result, read, halo, began)
        del block, result
        computed()
        yield receipts
        yield self.flush()


def run_units(bundle: Bundle) -> list[Receipt]:
    """Run a bundle and return its receipts, without what they list."""
    return run_some(bundle)[0]


def run_some(
    bundle: Bundle, enough: Callable[[], bool] = never, computed: Callable[[], None] = nothing
) -> tuple[list[Receipt], tuple[int, ...]]:
    """Run a bundle; return its receipts, without what they list, and the units that were not begun.

    Parameters
    ----------
    bundle, enough, computed
        The bundle; and as for :meth:`Worker.run`.
    """
    reset_peak_rss()
    worker = Worker(bundle)
    receipts = [receipt for some in worker.run(enough, computed) for receipt in some]
    if receipts:
        receipts[-1]["peak_rss"] = peak_rss()
    return [without_claims(receipt) for receipt in receipts], worker.left


def without_claims(receipt: Receipt) -> Receipt:
    """Return a receipt without the objects that it lists; the driver needs them only from the ledger."""
    return {key: value for key, value in receipt.items() if key not in ("wrote", "table", "files")}


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
