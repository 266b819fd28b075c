"""Executors run bundles: in this process, on local worker processes, or on an existing Dask cluster.

Each takes :class:`~volengine.engine.work.Bundle` objects and returns receipts or errors. On a cluster, voxels stay in
the workers. Dask is the only distributed engine.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from volengine.core.units import WORKER_NUMBER
from volengine.engine.options import RunOptions
from volengine.engine.receipts import Receipt
from volengine.engine.scheduler import connect
from volengine.engine.work import Bundle, Worker, reset_peak_rss, run_units, without_claims

RECOUNT_S = 5.0
"""Seconds between two counts of the workers of a cluster."""

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
        """Wait for news of one bundle and yield it. Yields nothing if no bundle was submitted."""
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


class OnDask:
    """Runs each bundle as one task on a Dask cluster; the driver bounds how many are submitted at the same time."""

    def __init__(self, client: Any, close: Callable[[], None]):
        from distributed import as_completed

        self._client = client
        self._close = close
        self._under_way: dict[Any, Bundle] = {}
        self._completed = as_completed([], raise_errors=False)
        self.link = client.dashboard_link
        self._counted = 0.0
        self._slots = 1

    @property
    def slots(self) -> int:
        """Number of threads of all workers at present; workers may join and leave."""
        if time.monotonic() - self._counted > RECOUNT_S:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
            self._slots = max(1, sum(w["nthreads"] for w in workers.values()))
            self._counted = time.monotonic()
        return self._slots

    def submit(self, bundle: Bundle) -> None:
        future = self._client.submit(
            run_here, bundle, pure=False, retries=0, resources=dict(bundle.stage.resources) or None
        )
        self._under_way[future] = bundle
        self._completed.add(future)

    def results(self) -> Iterator[Done]:
        if not self._under_way:
            return
        future = next(self._completed)
        bundle = self._under_way.pop(future)
        if future.status == "finished":
            yield Done(bundle, future.result())
        else:
            error = future.exception() if future.status == "error" else RuntimeError("the bundle was cancelled")
            yield Done(bundle, [], error)
        future.release()

    def close(self) -> None:
        self._client.close()
        self._close()


def run_here(bundle: Bundle) -> list[Receipt]:
    """Run a bundle in a Dask worker. The worker's number selects its GPU if the machine has several."""
    from distributed import get_worker

    name = re.search(r"(\d+)$", str(get_worker().name))
    os.environ.setdefault(WORKER_NUMBER, name[1] if name else "0")
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
            **dict.fromkeys(names, threads),
        },
    }


def start(options: RunOptions) -> Executor:
    """Start the executor that the options ask for."""
    if options.scheduler is not None:
        return _existing(options.scheduler)
    if options.workers > 0:
        return _local(options)
    return InProcess()


def _local(options: RunOptions) -> Executor:
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(settings(options)):
        cluster = LocalCluster(
            n_workers=options.workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=options.limit_bytes(),
            dashboard_address=os.environ.get("VOLENGINE_DASHBOARD", ":0"),
            silence_logs=50,
        )
        client = Client(cluster)
    return OnDask(client, cluster.close)


def _existing(address: str) -> Executor:
    return OnDask(connect(address), lambda: None)
