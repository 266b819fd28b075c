"""Executors run bundles: in this process, on local worker processes, or on an existing Dask cluster.

Each takes :class:`~volengine.engine.work.Bundle` objects and returns receipts or errors. On a cluster, voxels stay in
the workers. Dask is the only distributed engine.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any, Protocol

from volengine.core.errors import InputError, RunError, VolengineError, WorkersRefusedError
from volengine.core.units import WORKER_NUMBER
from volengine.engine.lock import Lock
from volengine.engine.options import RunOptions
from volengine.engine.receipts import Receipt
from volengine.engine.scheduler import connect
from volengine.engine.work import Bundle, Worker, reset_peak_rss, run_units, without_claims
from volengine.engine.workers import ANSWER_S, Expected, Handshake, check_here

RECOUNT_S = 5.0
"""Seconds between two counts of the workers of a cluster."""

WITHOUT_S = 30.0
"""Seconds without any worker after which the user is told what the run waits for."""

NOTICES_S = 2.0
"""Seconds within which Dask notices that a connection is gone of which a call has heard already."""

CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)
"""How Dask's calls end when what they wait for is given up; the first is no ``Exception``."""

HERE = "127.0.0.1"
"""Address at which everything that a run starts listens: this machine alone."""

MMAP_BYTES = 2 << 20
"""glibc's mmap threshold in workers, bytes: memory of arrays of this size and larger returns to the system when freed.

It must be set. If only the trim threshold is set (Dask sets 64 KiB), glibc uses 128 KiB as a fixed mmap threshold, and
nearly every array is mapped anew, which took a fifth of the processor time of a simulation.
"""

TRIM_BYTES = 8 << 20
"""glibc's trim threshold in workers, bytes: free memory that a heap may keep; little beside what a plan leaves free."""


@dataclass(frozen=True)
class Done:
    """News of a bundle.

    Parameters
    ----------
    bundle
        The bundle.
    receipts
        Receipts of units that have finished.
    error
        The error that ended the bundle, or ``None``.
    final
        Whether the bundle has ended. An executor may first report receipts one by one with ``final=False``.
    """

    bundle: Bundle
    receipts: list[Receipt]
    error: BaseException | None = None
    final: bool = True


class Executor(Protocol):
    """Runs bundles. ``link`` is the address of a dashboard, if there is one."""

    link: str | None

    @property
    def slots(self) -> int:
        """Number of bundles that can run at the same time."""
        ...

    def submit(self, bundle: Bundle) -> None:
        """Start a bundle, or queue it."""
        ...

    def results(self) -> Iterator[Done]:
        """Wait for news of one bundle and yield it. Yields nothing if there is none for some seconds."""
        ...

    def close(self) -> None:
        """Stop, and release the workers that this executor started."""
        ...


class InProcess:
    """Runs one bundle after the other in this process, without a cluster."""

    def __init__(self) -> None:
        self.link: str | None = None
        self.slots = 1
        self._queue: deque[Bundle] = deque()

    def submit(self, bundle: Bundle) -> None:
        self._queue.append(bundle)

    def results(self) -> Iterator[Done]:
        if not self._queue:
            return
        bundle = self._queue.popleft()
        reset_peak_rss()
        try:
            for receipts in Worker(bundle).run():
                yield Done(bundle, [without_claims(r) for r in receipts], final=False)
        except Exception as error:
            yield Done(bundle, [], error)
            return
        yield Done(bundle, [])

    def close(self) -> None:
        self._queue.clear()


def _silent(text: str) -> None:
    pass


class OnDask:
    """Runs each bundle as one task on a Dask cluster; the driver bounds how many are submitted at the same time.

    Parameters
    ----------
    client
        The connection to the cluster.
    close
        Function that ends what was started for this run.
    lock
        The driver's lock in the run folder, by which workers show that they see it.
    limit
        Memory that plans give to a unit, bytes.
    say
        Function that tells the user what is waited for.

    Raises
    ------
    WorkersRefusedError
        Workers have other versions, or do not share the run folder.
    InputError
        The scheduler has ended. Later, ``slots`` and ``results`` raise it, too.
    """

    def __init__(
        self, client: Any, close: Callable[[], None], lock: Lock, limit: int, say: Callable[[str], None] = _silent
    ):
        from distributed import as_completed

        self._client = client
        self._address = client.scheduler.address
        self._close = close
        self._handshake = Handshake(client, lock, limit)
        self._under_way: dict[Any, Bundle] = {}
        self._completed = as_completed([], loop=client.loop, raise_errors=False)
        self.link = client.dashboard_link
        self._say = say
        self._without_since: float | None = None
        self._said = False
        self._count(ANSWER_S)

    @property
    def slots(self) -> int:
        """Number of threads of all workers at present; workers may join and leave. New ones are asked who they are."""
        if time.monotonic() - self._counted > RECOUNT_S:
            self._count()
        return self._slots

    def _count(self, wait_s: float = 0.0) -> None:
        with self._connected():
            threads = self._handshake(wait_s)
        self._check_connection()
        self._slots = max(1, threads)
        self._counted = time.monotonic()
        if threads:
            self._without_since, self._said = None, False
        elif self._without_since is None:
            self._without_since = self._counted
        elif not self._said and self._counted - self._without_since > WITHOUT_S:
            self._said = True
            self._say(
                f"The cluster has had no worker for {WITHOUT_S:.0f} s. The run waits until one joins; it can also be "
                "stopped with Ctrl-C, and the same command goes on from there."
            )

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Context of calls to Dask, whose errors at the end of a scheduler have many kinds, none of them for a user."""
        try:
            yield
        except VolengineError:
            raise
        except (Exception, *CANCELLED):
            self._check_connection(lost=True)
            raise

    def _check_connection(self, lost: bool = False) -> None:
        """Refuse to go on without a scheduler, whose bundles would all end as if they had failed.

        While Dask connects anew, which it does for as long as its timeout says, this waits.

        Parameters
        ----------
        lost
            Whether a call has just failed: Dask may notice a moment later that the connection is gone.
        """
        end = time.monotonic() + (NOTICES_S if lost else 0.0)
        while self._client.status == "connecting" or (self._client.status == "running" and time.monotonic() < end):
            time.sleep(0.05)
        if self._client.status in ("closing", "closed"):
            raise InputError(
                f"The Dask scheduler at {self._address} has ended, or cannot be reached any more. What was finished is "
                "kept; start scheduler and workers again, and the same command goes on from here."
            )

    def submit(self, bundle: Bundle) -> None:
        self._check_connection()
        with self._connected():
            future = self._client.submit(
                run_here,
                bundle,
                self._handshake.expected,
                pure=False,
                retries=0,
                resources=dict(bundle.stage.resources) or None,
            )
        self._under_way[future] = bundle
        self._completed.add(future)

    def results(self) -> Iterator[Done]:
        if not self._under_way or not self._news():
            return
        future = next(self._completed)
        bundle = self._under_way.pop(future)
        try:
            done = Done(bundle, future.result())
        except WorkersRefusedError:
            raise  # it is not about this unit: the next one would fail there, too
        except (Exception, *CANCELLED) as error:
            # it is the unit's if the future says so; else the connection may be gone, also in the middle of an answer
            self._check_connection(lost=future.status != "error")
            done = Done(bundle, [], RuntimeError("the bundle was cancelled") if isinstance(error, CANCELLED) else error)
        future.release()
        yield done

    def _news(self) -> bool:
        """Wait for a bundle that has ended; ``False``: none has, and it is time to look at the workers again."""
        end = time.monotonic() + RECOUNT_S
        with self._completed.thread_condition:
            while not self._completed.has_ready() and time.monotonic() < end:
                self._completed.thread_condition.wait(0.1)  # Dask itself waits so long
            return bool(self._completed.has_ready())

    def close(self) -> None:
        self._client.close()
        self._close()


def run_here(bundle: Bundle, expected: Expected) -> list[Receipt]:
    """Run a bundle in a Dask worker. The worker's number selects its GPU if the machine has several.

    Networks get the threads that the plan gives them: Dask's nanny tells PyTorch to use one.

    Raises
    ------
    WorkersRefusedError
        This worker has other versions than the driver, or does not share the run folder.
    """
    from distributed import get_worker

    check_here(expected)
    name = re.search(r"(\d+)$", str(get_worker().name))
    os.environ.setdefault(WORKER_NUMBER, name[1] if name else "0")
    threads = bundle.stage.hints.get("threads")
    if not threads:
        return run_units(bundle)
    from volengine.nets.threads import own_threads  # only networks load torch

    with own_threads(int(threads)):
        return run_units(bundle)


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
        "distributed.nanny.pre-spawn-environ": {
            "MALLOC_MMAP_THRESHOLD_": MMAP_BYTES,
            "MALLOC_TRIM_THRESHOLD_": TRIM_BYTES,
            # Large pages for PyTorch's feature maps. Otherwise a CPU spends a tenth of a network's time in the
            # operating system, which provides new pages for every map.
            "THP_MEM_ALLOC_ENABLE": 1,
            **dict.fromkeys(names, threads),
        },
    }


def start(options: RunOptions, limit: int, lock: Lock, say: Callable[[str], None] = _silent) -> Executor:
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
    if options.scheduler is not None:
        client = connect(options)
        return _on(client, lambda: None, lock, limit, say)
    if options.workers > 0:
        return _local(options, limit, lock, say)
    return InProcess()


def _on(client: Any, close: Callable[[], None], lock: Lock, limit: int, say: Callable[[str], None]) -> Executor:
    try:
        return OnDask(client, close, lock, limit, say)
    except BaseException:
        client.close()
        close()
        raise


def dashboard() -> str:
    """Return where the dashboard of local workers listens: a free port of this machine alone.

    ``VOLENGINE_DASHBOARD`` sets another address. It has no password, so ``:8787`` is that port of this machine alone,
    too; only ``0.0.0.0:8787`` opens it to the network.
    """
    told = os.environ.get("VOLENGINE_DASHBOARD", ":0")
    return f"127.0.0.1{told}" if told.startswith(":") else told


def _local(options: RunOptions, limit: int, lock: Lock, say: Callable[[str], None]) -> Executor:
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(settings(options)), _signals_wait():
        try:
            cluster = LocalCluster(
                n_workers=options.workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=limit,
                host=HERE,
                dashboard_address=dashboard(),
                worker_dashboard_address=f"{HERE}:0",
                silence_logs=50,
            )
        except (RuntimeError, TimeoutError) as error:  # a worker was ended, or its imports take too long
            raise RunError(
                f"{options.workers} workers could not be started ({error}). Start fewer, or give each more memory: "
                "--workers, --memory-limit."
            ) from error
        client = Client(cluster, set_as_default=False)
    return _on(client, cluster.close, lock, limit, say)


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
