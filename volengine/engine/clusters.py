"""Executors run bundles: in this process, on local worker processes, or on an existing Dask cluster.

Each takes :class:`~volengine.engine.work.Bundle` objects and returns receipts or errors. On a cluster, voxels stay in
the workers. Dask is the only distributed engine.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from volengine.core.errors import RunError
from volengine.core.units import parse_bytes
from volengine.engine.executor import Done, Executor, at_leisure
from volengine.engine.link import Link
from volengine.engine.lock import Lock
from volengine.engine.on_dask import OnDask, silent
from volengine.engine.on_worker import SPARE
from volengine.engine.options import RunOptions
from volengine.engine.scheduler import ANSWER_S, connect
from volengine.engine.stage import Stage
from volengine.engine.started import LOOPBACK, Starter, dashboard
from volengine.engine.work import Bundle, Worker, never, reset_peak_rss, without_claims

__all__ = ["Done", "Executor", "InProcess", "settings", "start"]

MMAP_BYTES = 2 << 20
"""glibc's mmap threshold in workers, bytes: memory of arrays of this size and larger returns to the system when freed.

It must be set. If only the trim threshold is set (Dask sets 64 KiB), glibc uses 128 KiB as a fixed mmap threshold, and
nearly every array is mapped anew, which took a fifth of the processor time of a simulation.
"""

TRIM_BYTES = 8 << 20
"""glibc's trim threshold in workers, bytes: free memory that a heap may keep; little beside what a plan leaves free."""


QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.tick.limit": "60s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.disk": False,
}
"""Dask's settings against what scheduler and workers do all the time for a dashboard: looking at all stacks 100 times a
second, ticking 50 times, reading the system's counters twice. It took 0.05 processor seconds per second of two workers
that were idle, now 0.02; and the stacks of a worker are deep where it computes."""


class InProcess:
    """Runs one bundle after the other in this process, without a cluster.

    Parameters
    ----------
    enough
        Asked after each unit: whether the units of its bundle that are left are given back.
    """

    def __init__(self, enough: Callable[[], bool] = never) -> None:
        self.link: str | None = None
        self.hurry: Callable[[], bool] = at_leisure
        self.slots = self.window = 1
        self._enough = enough
        self._queue: deque[Bundle] = deque()

    def together(self, stages: Sequence[Stage]) -> bool:
        return False  # there are no messages

    def submit(self, bundle: Bundle) -> None:
        self._queue.append(bundle)

    def results(self) -> Iterator[Done]:
        if not self._queue:
            return
        bundle = self._queue.popleft()
        reset_peak_rss()
        try:
            worker = Worker(bundle)
            for receipts in worker.run(self._enough):
                yield Done(bundle, [without_claims(r) for r in receipts], final=False)
        except Exception as error:
            yield Done(bundle, [], error)
            return
        yield Done(bundle, [], left=worker.left)

    def close(self) -> None:
        self._queue.clear()


def settings(options: RunOptions) -> dict[str, Any]:
    """Return Dask's settings for units that read and write Zarr and return only receipts."""
    threads = str(options.threads())
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return {
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.allowed-failures": 20,
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": 0.9,
        "distributed.worker.memory.terminate": 0.98,
        "distributed.comm.timeouts.connect": "60s",
        **QUIET,
        "distributed.nanny.pre-spawn-environ": {
            "MALLOC_MMAP_THRESHOLD_": MMAP_BYTES,
            "MALLOC_TRIM_THRESHOLD_": TRIM_BYTES,
            # Large pages for PyTorch's feature maps. Otherwise a CPU spends a tenth of a network's time in the
            # operating system, which provides new pages for every map.
            "THP_MEM_ALLOC_ENABLE": 1,
            **dict.fromkeys(names, threads),
        },
    }


def start(options: RunOptions, limit: int, lock: Lock, say: Callable[[str], None] = silent) -> Executor:
    """Start the executor that the options ask for.

    Parameters
    ----------
    options
        The options of the run.
    limit
        Memory that plans give to a unit, bytes.
    lock
        The driver's lock in the run folder.
    say
        Function that tells the user what is waited for.

    Raises
    ------
    InputError
        No scheduler answers, or it is refused (:func:`~volengine.engine.scheduler.security_of`).
    WorkersRefusedError
        Workers have other versions, or do not share the run folder.
    """
    patience_s = options.patience_for_workers_s()
    if options.cluster is not None:
        starter = starter_of(options, lock.path.parent)
        # Pods do not hear Ctrl-C, and may wait for a node for hours: signals take effect at once.
        begin = starter.start if starter.recipe.kind == "kubernetes" else lambda: _waiting(starter.start)
        return OnDask(begin, lock, limit, say, patience_s)
    if options.scheduler is not None:
        return OnDask(lambda: Link(connect(options)), lock, limit, say, patience_s)
    if options.workers > 0:
        return OnDask(lambda: start_local(options, limit), lock, limit, say, patience_s)
    return InProcess()


def starter_of(options: RunOptions, folder: Path) -> Starter:
    """Return what starts the cluster of the options, which works in a run folder."""
    told = parse_bytes(options.memory_limit) if options.memory_limit is not None else None
    return Starter(options.cluster_recipe(), folder, told, settings(options), options.insecure)


def _waiting(start: Callable[[], Link]) -> Link:
    with _signals_wait():
        return start()


def start_local(options: RunOptions, limit: int) -> Link:
    """Start ``options.workers`` processes of this machine, each with ``limit`` bytes of memory.

    Raises
    ------
    RunError
        They could not be started.
    """
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(settings(options)), _signals_wait():
        try:
            cluster = LocalCluster(
                n_workers=options.workers,
                threads_per_worker=1 + SPARE,
                processes=True,
                memory_limit=limit,
                host=LOOPBACK,
                dashboard_address=dashboard(),
                worker_dashboard_address=f"{LOOPBACK}:0",
                silence_logs=50,
            )
        except (RuntimeError, TimeoutError) as error:  # a worker was ended, or its imports take too long
            raise RunError(
                f"{options.workers} workers could not be started ({error}). Start fewer, or give each more memory: "
                "--workers, --memory-limit."
            ) from error
        client = Client(cluster, timeout=ANSWER_S, set_as_default=False)
    return Link(client, cluster.close, spare=SPARE)


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Context at whose end Ctrl-C and SIGTERM take effect, if they came: half of a Dask cluster cannot be closed.

    Threads and processes that begin in it never hear of Ctrl-C. A terminal sends it to the workers, too, which would
    die with tracebacks while this process still talks to them; it is the driver that ends them. A cluster's thread
    begins in this block, and starts all workers, also later ones. SIGTERM is not blocked, as Dask ends workers with it.
    """
    resource_tracker.ensure_running()  # multiprocessing starts it with the first process, and lets Ctrl-C through then
    came: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # signals are handled in the main thread alone
        # also Ctrl-C: other threads, older than this block, do not block it
        handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        for number in handlers:
            signal.signal(number, lambda number, frame: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:  # also if the cluster could not start: SIGTERM may have ended its workers
            signal.raise_signal(came[0])
