"""Calls of one function with one large thing and many small ones, here or by local workers; results in their order.

For what a driver computes itself at the end of a verb, from tables and meshes instead of volumes: there is nothing to
write and nothing to resume, but it may take minutes, and its parts do not depend on each other.

>>> def scaled(shared, part):
...     return [shared * value for value in part]
>>> list(side_by_side(scaled, 10, [[1, 2], [3]], RunOptions(progress=False), "values"))
[[10, 20], [30]]
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, TypeVar

from volengine.core.errors import RunError
from volengine.engine.clusters import start_local
from volengine.engine.forecast import said
from volengine.engine.here_first import worth_s
from volengine.engine.options import RunOptions
from volengine.engine.progress import Progress

Shared = TypeVar("Shared")
Part = TypeVar("Part", bound=Sized)
Found = TypeVar("Found")

AHEAD = 2
"""Parts for each worker that are given out."""


def side_by_side(
    function: Callable[[Shared, Part], Found],
    shared: Shared,
    parts: Sequence[Part],
    options: RunOptions,
    label: str,
) -> Iterator[Found]:
    """Call ``function(shared, part)`` for each part.

    Parameters
    ----------
    function
        A function of a module, whose result depends on its arguments alone.
    shared
        What all calls need; a worker gets it once.
    parts
        What each call is about. Its length is what is counted as progress; calls of some tenths of a second are right.
    options
        ``workers``: so many processes of this machine share the work, from when that pays (:func:`.worth_s`); 0: it is
        done here. ``progress``: a bar on a terminal, otherwise a line every 15 seconds.
    label
        What is counted, for the bar.

    Yields
    ------
    The results, in the order of the parts: they are the same with any number of workers.

    Raises
    ------
    RunError
        Workers end again and again, for example because there is not enough memory.
    """
    bar = _Bar(sum(len(part) for part in parts), label, options)
    try:
        began = time.process_time()
        for k, part in enumerate(parts):
            left = (time.process_time() - began) / k * (len(parts) - k) if k else 0.0
            if options.workers > 1 and options.cluster is None and left > worth_s(options.workers):
                bar.say(f"{options.workers} workers are started, for about {left:.0f} s of {label}.")
                yield from _shared_out(function, shared, parts[k:], options, bar)
                return
            found = function(shared, part)
            bar.step(len(part))
            yield found
    finally:
        bar.close()


class _Bar:
    """How many parts are done, and the time that is left if all take equally long."""

    def __init__(self, total: int, label: str, options: RunOptions):
        self.label, self._total, self._done, self._began = label, total, 0, time.monotonic()
        self._shown = Progress(total, 0, show=options.progress)
        self.say, self.close = self._shown.say, self._shown.close

    def step(self, count: int) -> None:
        """Count some more."""
        self._done += count
        left = (time.monotonic() - self._began) / max(self._done, 1) * (self._total - self._done)
        self._shown.show(f"{self.label}: {self._done}/{self._total}", self._done, f"about {said(left)} left")


def _shared_out(
    function: Callable[[Shared, Part], Found], shared: Shared, parts: Sequence[Part], options: RunOptions, bar: _Bar
) -> Iterator[Found]:
    from distributed import KilledWorker

    link = start_local(options, options.limit_bytes())
    try:
        (there,) = link.client.scatter([shared], broadcast=True)
        todo, waiting = iter(parts), deque[tuple[Any, int]]()
        while True:
            for part in islice(todo, AHEAD * options.workers - len(waiting)):
                waiting.append((link.client.submit(function, there, part, pure=False), len(part)))
            if not waiting:
                return
            future, count = waiting.popleft()
            found = future.result()
            bar.step(count)
            yield found
    except KilledWorker as error:
        raise RunError(
            f"A worker was ended again and again while it computed {bar.label}: {error}. Start fewer, or give each "
            "more memory: --workers, --memory-limit."
        ) from error
    finally:
        link.client.close()
        link.close()
