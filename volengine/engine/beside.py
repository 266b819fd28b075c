"""Steps of plans that mostly wait for the disk, done beside the driver's loop.

To prepare a plan and to finish it, some dozens of small files are flushed one after the other, because each must be on
the disk before the next one. While one plan waits for that, others are prepared and finished, and units are given out.
Each step is of one plan, in the same order of acts as if it were done in the loop.

>>> beside = Beside()
>>> future = beside.do(lambda: 6 * 7, alone=False)
>>> beside.wait([future], 10.0)
>>> future.result()
42
>>> beside.close()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

Value = TypeVar("Value")

THREADS = 8
"""Number of plans that are prepared or finished at the same time; a file system joins the flushes of a moment."""


class Beside:
    """Runs steps in threads."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def do(self, step: Callable[[], Value], *, alone: bool) -> Future[Value]:
        """Begin a step; the future has what it returns, or the error that it raises.

        Parameters
        ----------
        step
            The step.
        alone
            Nothing else is to be done meanwhile: do it here, where Ctrl-C ends it.
        """
        if alone:
            done: Future[Value] = Future()
            try:
                done.set_result(step())
            except Exception as error:
                done.set_exception(error)
            return done
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "plan")
        return self._pool.submit(step)

    @staticmethod
    def wait(futures: Iterable[Future[Any]], seconds: float) -> None:
        """Wait until one of these steps has ended, for so many seconds at most; without any, for so many seconds."""
        waiting = list(futures)
        if waiting:
            wait(waiting, seconds, FIRST_COMPLETED)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        """Wait for the steps that have begun, and drop the others."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
