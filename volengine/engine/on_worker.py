"""What a Dask worker runs: a bundle, with this worker's own GPU and number of threads.

The last act of a bundle is to wait until what it has written is on the disk. Workers that a run starts have spare
threads (:data:`SPARE`), in which the next bundle computes meanwhile. No two compute at the same time, so that memory
and threads are those of the plan: the arrays of a bundle are dropped before it waits for the disk.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
from contextlib import ExitStack
from functools import cache
from typing import Any

from volengine.core.units import WORKER_NUMBER
from volengine.engine.receipts import Receipt
from volengine.engine.resources import backends_of
from volengine.engine.work import Bundle, run_some
from volengine.engine.workers import Expected, check_here, check_packages

SPARE = 1
"""Threads of a worker beside the one that computes: one bundle waits for the disk while the next one computes."""

_TURN = threading.Lock()
"""Held by the bundle that computes in this process."""


def run_here(bundle: Bundle, expected: Expected, in_turn: bool = False) -> tuple[list[Receipt], tuple[int, ...]]:
    """Run a bundle in a Dask worker. The worker's number selects its GPU if the machine has several.

    Networks get the threads that the plan gives them: Dask's nanny tells PyTorch to use one.

    Parameters
    ----------
    bundle
        The bundle.
    expected
        What the driver expects of this process.
    in_turn
        Whether only one bundle at a time computes in this process; the others wait for the disk, or for their turn.

    Returns
    -------
    The receipts, and the units that were not begun because this worker is closing: of bundles that follow each other
    those of the first that has some.

    Raises
    ------
    WorkersRefusedError
        This worker has other versions than the driver, lacks a library that computes the stage's networks, or does not
        share the run folder.
    """
    from distributed import get_worker

    worker = get_worker()
    receipts: list[Receipt] = []
    for part in bundle.parts:
        with ExitStack() as turn:
            if in_turn:
                turn.enter_context(_TURN)
            if _closes(worker):  # while it waited for its turn
                return receipts, part.numbers
            check_here(expected)
            _own_semaphore()
            check_packages(backends_of(part.stage))
            name = re.search(r"(\d+)$", str(worker.name))
            os.environ.setdefault(WORKER_NUMBER, name[1] if name else "0")
            if threads := part.stage.hints.get("threads"):
                from volengine.nets.threads import own_threads  # only networks load torch

                turn.enter_context(own_threads(int(threads)))
            some, left = run_some(part, lambda: _closes(worker), turn.close)
        receipts += some
        if left:
            return receipts, left
    return receipts, ()


@cache
def _own_semaphore() -> None:
    """Let the lock of ``numcodecs``, which it makes with its first chunk, have no name in the system.

    A process that was spawned makes locks with names, and when SIGTERM ends it, Python warns of a leak.
    """
    from numcodecs import blosc

    if "fork" in multiprocessing.get_all_start_methods():
        method = multiprocessing.get_start_method()
        multiprocessing.set_start_method("fork", force=True)  # nothing is forked; its locks lose their names at once
        try:
            blosc.get_mutex()
        finally:
            multiprocessing.set_start_method(method, force=True)


def _closes(worker: Any) -> bool:
    """Whether a worker was told to end at once: nobody waits for its units any more."""
    from distributed.core import Status

    return worker.status in (Status.closing, Status.closed, Status.failed)
