"""Options of a run: where it runs, with how much memory, and what happens to existing outputs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.units import parse_bytes
from volengine.engine.cluster_recipe import ClusterRecipe, read_cluster
from volengine.engine.deadline import end_of, seconds_of
from volengine.engine.memory import LARGEST_BLOCK, choose_core, machine_memory
from volengine.engine.stage import Stage

if TYPE_CHECKING:
    from volengine.engine.share import Share


REACH = ("scheduler", "insecure", "tls_ca", "tls_cert", "tls_key", "cluster")
"""Options that say which cluster is meant."""


@dataclass
class _Asked:
    """What a cluster has answered, and the description of one to start."""

    share: Share | None = None
    recipe: ClusterRecipe | None = None


@dataclass(frozen=True)
class RunOptions(Recipe):
    """Options of every verb that runs a plan; the command line has the same names.

    Parameters
    ----------
    workers
        Number of local worker processes; 0 runs in this process. pick, interact and stats start them when that pays,
        after some seconds. With ``cluster``: number of its workers (jobs, hosts' processes, pods); 0: as the cluster
        says.
    cluster
        Start a cluster for this run: local, cuda (one worker for each GPU of this machine), slurm, pbs, lsf, sge, ssh,
        kubernetes; or a YAML file that describes one (``volengine cluster show`` says what would be started).
    max_workers
        With ``cluster``: start further workers up to this number while there is work for them. Default: ``workers``
        alone.
    wait_for_workers
        With ``cluster`` and ``scheduler``: how long to wait for a first worker, for a scheduler file that is not there
        yet, or for a scheduler that has gone away, before the run ends (``90s``, ``24h``); a line now and then says so.
    scheduler
        Address of an existing Dask scheduler (``tls://...``; ``tcp://...`` on this machine), or the path of its
        scheduler file (``.json``).
    insecure
        With ``scheduler`` and ``cluster``: also use a ``tcp://`` scheduler beyond this machine, to which everybody who
        reaches it may send code.
    tls_ca
        With ``scheduler`` ``tls://...``: file (PEM) of the authority that has signed the certificates. Default: that of
        Dask's own configuration.
    tls_cert
        File (PEM) of this driver's certificate. Default: that of Dask's own configuration.
    tls_key
        File (PEM) of the key of this driver's certificate. Default: that of Dask's own configuration.
    part
        ``"K/N"``: run the K-th of N parts, without a scheduler; all parts share the run folder.
    memory_limit
        Memory of one worker (``"4GB"``); of one thread, if workers have several. Default: an equal share of 80 % of
        this machine; with ``scheduler``, that of the smallest worker, divided by its threads; with ``cluster``, what
        its description says.
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
    deadline
        When the run must have ended: units that could not end in time are not begun, and the run stops with exit code
        75. ``auto``: at the end of the SLURM job in which it runs, if there is one; ``none``; a time from now
        (``90min``, or ``4:00:00``, hours:minutes:seconds), or a date with a time (``2027-03-01T08:00``).
    overwrite
        Replace outputs that another run made.
    take_over
        If a driver that may be dead holds the run folder, watch its heartbeat for 60 s, and take over if there is none.
    durable
        Flush results to the disk before they count as done. Without it, a power loss may cost results that the run
        folder calls done; it is for scratch file systems, which lose everything then.
    keep_scratch
        Keep scratch arrays and tables in the run folder.
    dry_run
        Print the plan and run nothing; on the command line alone, from Python it is refused.
    identity
        How inputs are recognised, to compute anew what was made from one that changed. quick: size, time, inode and
        some blocks of a file, or names, sizes and times of a store's chunks; content: all bytes, so that copied and
        touched inputs count as the same.
    anonymous
        Use s3:// and other object stores without credentials, for public buckets. The workers of a scheduler need
        FSSPEC_S3='{"anon": true}' in their environment instead.
    progress
        Show a progress bar.

    >>> options = RunOptions(workers=4, memory_limit="6GB")
    >>> options.limit_bytes(), options.processes
    (6000000000, 4)
    """

    workers: int = 0
    cluster: str | None = None
    max_workers: int | None = None
    wait_for_workers: str = "24h"
    scheduler: str | None = None
    insecure: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    part: str | None = None
    memory_limit: str | int | None = None
    run_dir: str | None = None
    block: tuple[int, int, int] | None = None
    device: str = "auto"
    retries: int = 2
    patience_s: float = 60.0
    deadline: str = "auto"
    overwrite: bool = False
    take_over: bool = False
    durable: bool = True
    keep_scratch: bool = False
    dry_run: bool = False
    identity: Literal["quick", "content"] = "quick"
    anonymous: bool = False
    progress: bool = True

    def check(self) -> None:
        if self.workers < 0:
            raise InputError(f"--workers must be 0 or more, not {self.workers}.")
        if self.retries < 0:
            raise InputError(f"--retries must be 0 or more, not {self.retries}.")
        if not self.patience_s >= 0:
            raise InputError(f"--patience-s must be 0 or more, not {self.patience_s}.")
        own = self.workers > 0 or self.cluster is not None
        if sum([own, self.scheduler is not None, self.part is not None]) > 1:
            raise InputError("Choose one of --workers (or --cluster), --scheduler and --part.")
        if self.max_workers is not None and self.cluster is None:
            raise InputError("--max-workers says how far a cluster of the run's own may grow: give --cluster, too.")
        self.patience_for_workers_s()
        tls = [self.tls_ca, self.tls_cert, self.tls_key]
        if any(tls) and not all(tls):
            raise InputError("Give all three of --tls-ca, --tls-cert and --tls-key, or none of them.")
        if self.scheduler is None and (any(tls) or (self.insecure and self.cluster is None)):
            raise InputError("--insecure and --tls-... say how to reach an existing scheduler: give --scheduler, too.")
        if self.deadline.strip().lower() != "auto":
            end_of(self.deadline, time.time())
        if self.part is not None:
            self.part_of()
        if self.memory_limit is not None:
            parse_bytes(self.memory_limit, "--memory-limit")
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

    def patience_for_workers_s(self) -> float:
        """Return ``wait_for_workers``, seconds."""
        return seconds_of(self.wait_for_workers, "--wait-for-workers")

    @cached_property
    def _asked(self) -> _Asked:
        """What these options, and those that are made of them, have asked of a cluster."""
        return _Asked()

    def with_(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; what the same cluster has answered is not asked again."""
        made = super().with_(**changes)
        if all(getattr(made, name) == getattr(self, name) for name in REACH):
            made.__dict__["_asked"] = self._asked
        return made

    def cluster_recipe(self) -> ClusterRecipe:
        """Return the cluster that ``cluster`` names, with the numbers of workers of these options; it is read once.

        Raises
        ------
        InputError
            There is no such kind or file, or it cannot be used.
        """
        assert self.cluster is not None
        if self._asked.recipe is None:
            self._asked.recipe = read_cluster(self.cluster)
        changes: dict[str, Any] = {}
        if self.workers:
            changes["workers"] = self.workers
        if self.max_workers is not None:
            changes["max_workers"] = self.max_workers
        if self.workers and self._asked.recipe.pools:
            raise InputError(
                f"--workers {self.workers}: {self.cluster} has pools, each with its own number of workers."
            )
        return self._asked.recipe.with_(**changes) if changes else self._asked.recipe

    @property
    def processes(self) -> int:
        """Number of worker processes that share the work, as far as it is known beforehand, at least 1."""
        if self.cluster is not None:
            return max(1, self.cluster_recipe().total, self.max_workers or 0)
        return max(1, self.workers)

    @property
    def _share(self) -> Share:
        """What the cluster's workers have for one unit; it is asked once, also for options made of these."""
        if self._asked.share is None:
            from volengine.engine.share import ask_share

            self._asked.share = ask_share(self)
        return self._asked.share

    def limit_bytes(self) -> int:
        """Return the memory for one unit, bytes: that of a worker, or of each of its threads.

        With ``scheduler`` and no ``memory_limit`` this asks the workers, once.
        """
        if self.memory_limit is not None:
            return parse_bytes(self.memory_limit)
        if self.cluster is not None:
            return self.cluster_recipe().limit()
        if self.scheduler is not None:
            return self._share.limit(self.scheduler)
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
        """Return the number of threads that a unit may use: its share of the cores of the machine on which it runs.

        ``OMP_NUM_THREADS`` bounds it. With ``scheduler`` this asks the workers, once.
        """
        if self.scheduler is not None:
            return self._share.threads
        if self.cluster is not None:
            return min(part.cores for part in self.cluster_recipe().parts())
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        told = os.environ.get("OMP_NUM_THREADS", "")
        return max(1, min(cores // self.processes, int(told) if told.isdigit() else cores))
