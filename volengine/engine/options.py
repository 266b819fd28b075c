"""Options of a run: where it runs, with how much memory, and what happens to existing outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.units import parse_bytes
from volengine.engine.memory import LARGEST_BLOCK, choose_core, machine_memory
from volengine.engine.stage import Stage


@dataclass(frozen=True)
class RunOptions(Recipe):
    """Options of every verb that runs a plan; the command line has the same names.

    Parameters
    ----------
    workers
        Number of local worker processes; 0 runs in this process.
    scheduler
        Address of an existing Dask scheduler (``tcp://...``), or the path of its scheduler file (``.json``).
    part
        ``"K/N"``: run the K-th of N parts, without a scheduler; all parts share the run folder.
    memory_limit
        Memory of one worker (``"4GB"``). Default: an equal share of 80 % of this machine; with ``scheduler``, the limit
        of the smallest worker.
    run_dir
        Folder for plan, ledger, tables, scratch, log and report; default: beside the output.
    block
        Block core in voxels (z, y, x), instead of the planner's choice.
    device
        Where networks run: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    retries
        Number of times that a failed unit is run again before its tomogram counts as failed.
    patience_s
        With ``part``: if the other parts make no progress for so many seconds, their units are taken over.
    overwrite
        Replace outputs that another run made.
    durable
        Flush results to the disk before they count as done. Without it, a power loss may cost results that the run
        folder calls done; it is for scratch file systems, which lose everything then.
    keep_scratch
        Keep scratch arrays and tables in the run folder.
    dry_run
        Print the plan and run nothing.
    progress
        Show a progress bar.

    >>> options = RunOptions(workers=4, memory_limit="6GB")
    >>> options.limit_bytes(), options.processes
    (6000000000, 4)
    """

    workers: int = 0
    scheduler: str | None = None
    part: str | None = None
    memory_limit: str | int | None = None
    run_dir: str | None = None
    block: tuple[int, int, int] | None = None
    device: str = "auto"
    retries: int = 2
    patience_s: float = 60.0
    overwrite: bool = False
    durable: bool = True
    keep_scratch: bool = False
    dry_run: bool = False
    progress: bool = True

    def check(self) -> None:
        if self.workers < 0:
            raise InputError(f"--workers must be 0 or more, not {self.workers}.")
        if self.retries < 0:
            raise InputError(f"--retries must be 0 or more, not {self.retries}.")
        if not self.patience_s >= 0:
            raise InputError(f"--patience-s must be 0 or more, not {self.patience_s}.")
        if sum([self.workers > 0, self.scheduler is not None, self.part is not None]) > 1:
            raise InputError("Choose one of --workers, --scheduler and --part.")
        if self.part is not None:
            self.part_of()
        if self.memory_limit is not None:
            parse_bytes(self.memory_limit)
        if self.block is not None and min(self.block) < 1:
            raise InputError(f"--block must be positive, not {self.block}.")

    def part_of(self) -> tuple[int, int]:
        """Return (K, N) of ``part``; (1, 1) if it is not given."""
        if self.part is None:
            return 1, 1
        match = re.fullmatch(r"(\d+)/(\d+)", self.part)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"--part is {self.part!r}; write K/N with 1 <= K <= N, for example 2/8.")
        return int(match[1]), int(match[2])

    @property
    def processes(self) -> int:
        """Number of worker processes on this machine, at least 1."""
        return max(1, self.workers)

    def limit_bytes(self) -> int:
        """Return the memory of one worker, bytes. With ``scheduler`` this asks the scheduler."""
        if self.memory_limit is not None:
            return parse_bytes(self.memory_limit)
        if self.scheduler is not None:
            from volengine.engine.scheduler import smallest_worker

            return smallest_worker(self.scheduler)
        return int(machine_memory() * 0.8 / self.processes)

    def core_for(
        self,
        shape: Index3,
        unit: Index3,
        build: Callable[[Index3], Stage],
        *,
        largest: int = LARGEST_BLOCK,
        accept: Callable[[Index3], bool] = lambda core: True,
    ) -> Index3:
        """Return the block core of a stage: the user's, or else the planner's choice for these workers.

        Parameters and errors are those of :func:`volengine.engine.memory.choose_core`.
        """
        if self.block is not None:
            return self.block
        return choose_core(
            shape, unit, self.limit_bytes(), build, wanted=self.processes, largest=largest, accept=accept
        )

    def threads(self) -> int:
        """Return the number of threads that a worker process may use on this machine."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // self.processes)
