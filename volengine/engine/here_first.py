"""Runs with local workers whose first seconds are in the driver's own process.

Workers take some seconds to start: each imports Dask, zarr and the kernels. Where all units together take no longer,
workers make a run slower, and it takes twice the processor time. So a run of short units (``light``) begins without
them, and goes on with them as soon as they would end it earlier. Units and results are the same.

The rule: with ``S`` seconds for starting (:data:`START_S`) and ``n`` workers, each of which takes :data:`DEARER` times
as long for a unit as this process alone, workers end a work of ``w`` seconds earlier than this process if
``w > S + DEARER w / n``, that is ``w > S / (1 - DEARER / n)`` (:func:`worth_s`; 5.3 s for two). The work that is left
is what the forecast says (:meth:`volengine.engine.forecast.Forecast.work`), without the waits for a core. As long as it
does not know all stages, the run has also been here for long enough when it has taken that time: what is lost then is
no more than the time of a start.

What a process of its own protects from is missing here: a unit that kills its process (no memory, an error in a
library) kills the driver. Then the mark :data:`MARK` is left in the run folder, and the same command starts its workers
at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from volengine.engine.clusters import InProcess, start
from volengine.engine.executor import Done, Executor, at_leisure
from volengine.engine.lock import Lock
from volengine.engine.options import RunOptions
from volengine.engine.stage import Stage
from volengine.engine.work import Bundle

START_S = 2.0
"""Seconds from the first step of a start to the first unit of a worker."""

DEARER = 1.25
"""Seconds of a unit in one of several workers, for one second in this process alone."""

SURE = 0.1
"""Share of the work that is worth a start which is measured before the forecast is believed."""

MARK = "without_workers"
"""File of the run folder that stands while units run in the driver's process."""


Work = Callable[[], tuple[float, bool]]
"""Says how many seconds of units are left, as far as is known, and whether all is known."""


def begin(
    options: RunOptions, limit: int, lock: Lock, say: Callable[[str], None], work: Work | None = None
) -> Executor:
    """Start the executor of a run.

    Parameters
    ----------
    options, limit, lock, say
        As for :func:`volengine.engine.clusters.start`.
    work
        What is left of a run that may begin here; ``None``: it may not.

    Raises
    ------
    InputError, WorkersRefusedError
        As :func:`volengine.engine.clusters.start`.
    """
    mark = lock.path.parent / MARK
    if work is None or options.workers < 1 or options.cluster is not None:
        return start(options, limit, lock, say)
    if mark.exists():
        say(f"A former run ended while units ran in its own process ({mark}): workers are started at once.")
        executor = start(options, limit, lock, say)
        mark.unlink(missing_ok=True)
        return executor
    return HereFirst(mark, options.workers, work, lambda: start(options, limit, lock, say), say)


def worth_s(workers: int) -> float:
    """Return how many seconds of work so many workers are worth their start; one counts as two.

    >>> round(worth_s(2), 1), round(worth_s(4), 1), round(worth_s(32), 1)
    (5.3, 2.9, 2.1)
    """
    return START_S / (1 - DEARER / max(2, workers))


@dataclass(frozen=True)
class Took:
    """Seconds of the clock; how long of it the thread that computes had a core, and how long it waited for one."""

    wall_s: float
    ran_s: float = 0.0
    queued_s: float = 0.0

    @classmethod
    def now(cls) -> Took:
        """What this thread has taken, from any beginning on."""
        return cls(time.monotonic(), *_scheduled_s())

    def __add__(self, other: Took) -> Took:
        return Took(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Took) -> Took:
        return Took(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def share(self) -> float:
        """Seconds that it would take without other programs, for one second of the clock.

        On a busy machine all takes longer, also what a start takes; that must not count.
        """
        ready = self.ran_s + self.queued_s
        return self.ran_s / ready if ready > 0 else 1.0


def _scheduled_s() -> tuple[float, float]:
    """Seconds for which this thread ran, and for which it waited for a core; zeros where the system does not say."""
    try:
        ran, queued, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0, 0.0
    return int(ran) / 1e9, int(queued) / 1e9


def pays(worth: float, left: float, whole: bool, took: Took, units: tuple[Took, float] | None) -> bool:
    """Return whether workers are worth their start now.

    Parameters
    ----------
    worth
        Seconds of work that are (:func:`worth_s`).
    left, whole
        Seconds of units that are left as far as is known, and whether all is known.
    took
        What the run has taken in this process.
    units
        What units have taken, and the seconds that they report, which are more, as they overlap.
    """
    if not whole and took.wall_s * took.share > worth:
        return True
    if units is None or units[0].wall_s * units[0].share < SURE * worth:
        return False
    return left * units[0].share * min(1.0, units[0].wall_s / units[1]) > worth


class HereFirst:
    """Runs bundles in this process, until workers are worth their start; then on workers.

    Parameters
    ----------
    mark
        Path of the file that stands as long as units run here.
    workers
        Number of the workers that would be started.
    work
        What is left of the run.
    begin
        Starts the workers.
    say
        Function that tells the user that they are started.
    """

    def __init__(self, mark: Path, workers: int, work: Work, begin: Callable[[], Executor], say: Callable[[str], None]):
        self._mark, self._workers, self._work, self._begin, self._say = mark, workers, work, begin, say
        self._executor: Executor = InProcess(self._worth)
        self._here = True
        self._hurry: Callable[[], bool] = at_leisure
        self._took = Took(0.0)
        self._began: Took | None = None
        self._first: Took | None = None
        """What was taken until the first news: it imports kernels, and says nothing of units."""
        self._unit_s = 0.0
        mark.touch()

    @property
    def link(self) -> str | None:
        """Address of the dashboard of the workers, if they are started and have one."""
        return self._executor.link

    @property
    def hurry(self) -> Callable[[], bool]:
        """Tells whether the driver has something else to do."""
        return self._hurry

    @hurry.setter
    def hurry(self, hurry: Callable[[], bool]) -> None:
        self._hurry = self._executor.hurry = hurry

    @property
    def slots(self) -> int:
        """Number of bundles that can run at the same time. Workers are started here, if they are worth it."""
        if self._here and self._worth():
            self._start()
        return self._executor.slots

    @property
    def window(self) -> int:
        """Number of bundles to give out."""
        return self._executor.window

    def _start(self) -> None:
        seconds, whole = self._work()
        left = f"about {seconds:.0f} s" if whole else f"{seconds:.0f} s and more"
        self._say(f"{self._workers} workers are started, for {left} of work that is left.")
        self._executor = self._begin()
        self._executor.hurry = self._hurry
        self._here = False
        self._mark.unlink(missing_ok=True)
        if self._executor.link:
            self._say(f"Dask dashboard: {self._executor.link}")

    def _worth(self) -> bool:
        """Whether the work that is left is worth the start of workers."""
        took, units = self._until_now(), None
        if self._first is not None and self._unit_s:
            units = took - self._first, self._unit_s
        return pays(worth_s(self._workers), *self._work(), took, units)

    def _until_now(self) -> Took:
        """What the units have taken so far."""
        return self._took if self._began is None else self._took + (Took.now() - self._began)

    def together(self, stages: Sequence[Stage]) -> bool:
        """Whether bundles of these stages can follow each other in one worker, and this saves messages."""
        return self._executor.together(stages)

    def submit(self, bundle: Bundle) -> None:
        """Queue a bundle."""
        self._executor.submit(bundle)

    def results(self) -> Iterator[Done]:
        """Run the next bundle and yield its news, or wait for those of workers."""
        if not self._here:
            yield from self._executor.results()
            return
        self._began = Took.now()
        for done in self._executor.results():
            if self._first is not None:
                self._unit_s += sum(float(receipt["seconds"]) for receipt in done.receipts)
            elif done.receipts:
                self._first = self._until_now()
            yield done
        self._took, self._began = self._until_now(), None

    def close(self) -> None:
        """Stop, and release the workers if they were started."""
        self._executor.close()
        self._mark.unlink(missing_ok=True)
