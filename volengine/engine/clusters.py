"""Executors: where bundles run. In this process, on local worker processes, or on an existing Dask cluster.

All three take :class:`~volengine.engine.work.Bundle` objects and give back receipts or errors; none of them ever
holds voxels. Dask is the only distributed engine here.
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
from volengine.engine.ledger import Receipt
from volengine.engine.options import RunOptions
from volengine.engine.scheduler import connect
from volengine.engine.work import Bundle, Worker, reset_peak_rss, run_units

RECOUNT_S = 5.0
"""How often the workers of a cluster are counted again."""

MMAP_BYTES = 2 << 20
"""Arrays of this size and larger go back to the system when a worker drops them.

It must be set: where only the trim threshold is (Dask sets 64 KiB), glibc takes 128 KiB for this and stops adapting
it, so that the pages of nearly every array are asked for again: a fifth of a simulation's processor time.
"""

TRIM_BYTES = 8 << 20
"""What a worker's heaps may hold free at their ends; small beside what a plan leaves of a worker's memory."""


@dataclass(frozen=True)
class Done:
    """A finished bundle: its receipts, or the error that ended it. ``partial`` receipts arrive one by one."""

    bundle: Bundle
    receipts: list[Receipt]
    error: BaseException | None = None
    final: bool = True


class Executor(Protocol):
    """Runs bundles. ``slots`` is how many run at the same time."""

    link: str | None

    @property
    def slots(self) -> int: ...
    def submit(self, bundle: Bundle) -> None: ...
    def results(self) -> Iterator[Done]:
        """Wait for something to happen and yield it; ends when nothing is under way."""
        ...

    def close(self) -> None: ...


class InProcess:
    """Runs each bundle here and now; needs no cluster at all."""

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
            for receipt in Worker(bundle).run():
                yield Done(bundle, [receipt], final=False)
        except Exception as error:
            yield Done(bundle, [], error)
            return
        yield Done(bundle, [])

    def close(self) -> None:
        self._queue.clear()


class OnDask:
    """Runs bundles on a Dask cluster, a bounded window of them at a time."""

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
        """Threads of all workers there are now; workers may come and go."""
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
    """Run a bundle in a Dask worker; workers that share a machine's GPUs take turns by their number."""
    from distributed import get_worker

    name = re.search(r"(\d+)$", str(get_worker().name))
    os.environ.setdefault(WORKER_NUMBER, name[1] if name else "0")
    return run_units(bundle)


def settings(options: RunOptions) -> dict[str, Any]:
    """Dask settings that suit units which read and write Zarr and return receipts only."""
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
    """The executor that the options ask for."""
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
