"""Weak scaling, 1 to 256 workers, simulated from measured times.

    python benchmarks/scaling_model.py                           # a table in Markdown
    python benchmarks/scaling_model.py --picture FILE.png        # and a figure

It is a simulation of discrete events, and compared with measured runs of one and two workers by ``scaling.py``. Its
assumptions:

- A driver that does one thing at a time: it opens and closes plans, makes bundles, and takes receipts. It gives out at
  most two bundles per worker, of the size that the engine would choose.
- A worker reads the next unit of a bundle while it computes one, and writes the last; not beyond a bundle.
- Storage has one bandwidth for all, equally divided among the transfers under way, and a largest one for each worker.
- A unit's seconds are log-normal around their mean; some workers are slower than others by a factor, for ever.
- Workers start at the same time, and join after a start-up time that is exponentially distributed on top of a minimum.
- A stage of a plan begins when the one before it has ended; other plans use the workers meanwhile. As many plans are
  open as the engine opens.

What it leaves out: failures, memory, the network between scheduler and workers, metadata servers of shared file
systems, caches. It is weak scaling: the work grows with the workers, and the speed-up is the work done per second
compared with that of one worker without start-up.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from volengine.engine.grouping import BUNDLE_SECONDS, group_size
from volengine.engine.run import OPEN_PLANS

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Stage:
    """A stage of each plan: number of units, CPU seconds of one, bytes that one reads and writes."""

    units: int
    seconds: float
    read: float
    write: float


@dataclass(frozen=True)
class Case:
    """What is simulated; lengths of time in seconds, sizes in bytes.

    Parameters
    ----------
    plans
        Plans (tomograms) per worker.
    stages
        The stages of a plan.
    per_unit, per_bundle, per_plan
        Seconds of the driver, with Dask's scheduler.
    bandwidth, own_bandwidth
        Bytes per second of the storage, and of one worker's connection to it.
    spread
        Standard deviation of the logarithm of a unit's seconds.
    slow, slow_share
        By how much slow workers are slower, and how many of them there are.
    start, start_spread
        Shortest time until a worker joins, and the mean of what comes on top.
    """

    plans: float
    stages: tuple[Stage, ...]
    per_unit: float = 0.0002
    per_bundle: float = 0.003
    per_plan: float = 0.04
    bandwidth: float = 5e9
    own_bandwidth: float = 1e9
    spread: float = 0.1
    slow: float = 1.3
    slow_share: float = 0.05
    start: float = 5.0
    start_spread: float = 5.0


@dataclass(frozen=True)
class Outcome:
    """Seconds until all was done, the work in it (seconds of one worker), and how busy driver and storage were."""

    seconds: float
    work: float
    driver: float
    storage: float

    @property
    def speedup(self) -> float:
        """Work done per second."""
        return self.work / self.seconds


@dataclass
class _Worker:
    number: int
    slow: float
    waiting: deque[_Bundle] = field(default_factory=deque)
    bundle: _Bundle | None = None


@dataclass
class _Bundle:
    plan: _Plan
    stage: Stage
    left: int
    units: int
    begun: int = 0
    read: int = 0
    computed: int = 0
    written: int = 0
    computing: bool = False
    moving: set[str] = field(default_factory=set)


@dataclass
class _Plan:
    stages: tuple[Stage, ...]
    at: int = 0
    pending: int = 0
    under_way: int = 0
    timed: bool = False
    begun: bool = False


class _Storage:
    """Transfers that share a bandwidth: each moves as fast as the others, so one progress is that of all."""

    def __init__(self, bandwidth: float, own: float):
        self._bandwidth, self._own = bandwidth, own
        self._progress, self._at = 0.0, 0.0
        self._ends: list[tuple[float, int, Any]] = []
        self._number = itertools.count()
        self.busy = 0.0

    def _rate(self) -> float:
        return min(self._own, self._bandwidth / len(self._ends)) if self._ends else 0.0

    def to(self, now: float) -> None:
        """Let time pass."""
        rate = self._rate()
        self._progress += rate * (now - self._at)
        self.busy += rate * len(self._ends) * (now - self._at)
        self._at = now

    def begin(self, now: float, size: float, what: Any) -> None:
        self.to(now)
        heapq.heappush(self._ends, (self._progress + size, next(self._number), what))

    def next_end(self) -> float:
        return self._at + max(0.0, self._ends[0][0] - self._progress) / self._rate() if self._ends else math.inf

    def pop(self, now: float) -> Any:
        self.to(now)
        return heapq.heappop(self._ends)[2]


class Simulation:
    """One run of a case with a number of workers.

    >>> case = Case(plans=1, stages=(Stage(4, 1.0, 0, 0),), spread=0, slow_share=0, start=0, start_spread=0)
    >>> round(Simulation(case, 1).run().seconds)
    4
    """

    def __init__(self, case: Case, workers: int, seed: int = 0):
        self.case, self._random = case, random.Random(seed)
        self._workers = [
            _Worker(n, case.slow if self._random.random() < case.slow_share else 1.0) for n in range(workers)
        ]
        self._joined: list[_Worker] = []
        self._storage = _Storage(case.bandwidth, case.own_bandwidth)
        self._events: list[tuple[float, int, Any]] = []
        self._number = itertools.count()
        self._jobs = deque(_Plan(case.stages) for _ in range(max(1, round(case.plans * workers))))
        self._plans = len(self._jobs)
        self._open: list[_Plan] = []
        self._todo: deque[tuple[float, Any]] = deque()
        self._timed = 0
        self._driver_busy = False
        self._driver = self._now = 0.0
        for worker in self._workers:
            wait = case.start + (self._random.expovariate(1 / case.start_spread) if case.start_spread else 0.0)
            self._at(wait, lambda worker=worker: self._join(worker))

    def run(self) -> Outcome:
        """Simulate until all plans are done."""
        while self._jobs or self._open:
            event = self._events[0][0] if self._events else math.inf
            end = self._storage.next_end()
            self._now = min(event, end)
            if math.isinf(self._now):
                raise RuntimeError("The simulation stands still.")
            if end <= event:
                self._moved(*self._storage.pop(self._now))
            else:
                heapq.heappop(self._events)[2]()
        work = self._plans * sum(_alone(stage, self.case) * stage.units for stage in self.case.stages)
        used = self._storage.busy / self.case.bandwidth
        return Outcome(self._now, work, self._driver / self._now, used / self._now)

    def _at(self, when: float, what: Any) -> None:
        heapq.heappush(self._events, (when, next(self._number), what))

    # -- the driver, which does one thing at a time --------------------------------------------------------

    def _drive(self, seconds: float, then: Any) -> None:
        self._todo.append((seconds, then))
        self._next_task()

    def _next_task(self) -> None:
        if self._driver_busy or not self._todo:
            return
        seconds, then = self._todo.popleft()
        self._driver_busy = True
        self._driver += seconds

        def done() -> None:
            self._driver_busy = False
            then()
            self._next_task()

        self._at(self._now + seconds, done)

    def _join(self, worker: _Worker) -> None:
        self._joined.append(worker)
        self._feed()

    def _feed(self) -> None:
        """Open plans and give out bundles, as ``Run._feed`` does."""
        slots = len(self._joined)
        while slots and self._jobs and len(self._open) < max(2, OPEN_PLANS * slots):
            plan = self._jobs.popleft()
            self._open.append(plan)
            self._drive(self.case.per_plan, lambda plan=plan: self._begin(plan))
        free = [w for w in self._joined if len(w.waiting) + (w.bundle is not None) < 2]
        if not free:
            return
        free.sort(key=lambda w: (len(w.waiting) + (w.bundle is not None), w.number))
        for plan in self._open:
            while free and plan.pending:
                self._give(plan, free, slots)

    def _give(self, plan: _Plan, free: list[_Worker], slots: int) -> None:
        worker = free[0]
        if self._is_chain(plan, slots):
            stage, size, plan.at = _joined(plan.stages), 1, len(plan.stages) - 1
            plan.pending = 0
        else:
            stage = plan.stages[plan.at]
            size = self._size(plan, stage, slots)
            plan.pending -= size
        plan.under_way += 1
        bundle = _Bundle(plan, stage, size, size)
        worker.waiting.append(bundle)
        if len(worker.waiting) + (worker.bundle is not None) >= 2:
            free.pop(0)
        else:
            free.append(free.pop(0))
        bundle.left = -1  # on its way
        self._drive(self.case.per_bundle, lambda: self._arrived(worker, bundle))

    def _size(self, plan: _Plan, stage: Stage, slots: int) -> int:
        """The number of units of a bundle, as the engine says."""
        timed = plan.timed or self._timed > plan.at
        beside = sum(other.pending for other in self._open if other is not plan)
        return min(group_size(stage.seconds if timed else None, plan.pending, slots, beside=beside), plan.pending)

    def _is_chain(self, plan: _Plan, slots: int) -> bool:
        """Whether all of a plan is given out at once, as ``chains.chain`` says."""
        small = sum(stage.seconds * stage.units for stage in plan.stages) <= BUNDLE_SECONDS
        many = len(self._open) + len(self._jobs) > 2 * slots
        return small and many and len(plan.stages) > 1 and self._timed == len(plan.stages) and not plan.begun

    def _begin(self, plan: _Plan) -> None:
        plan.pending, plan.timed = plan.stages[plan.at].units, False
        self._feed()

    def _received(self, bundle: _Bundle) -> None:
        plan = bundle.plan
        plan.timed = plan.begun = True
        self._timed = max(self._timed, plan.at + 1)
        plan.under_way -= 1
        if not plan.pending and not plan.under_way:
            plan.at += 1
            if plan.at < len(plan.stages):
                self._begin(plan)
            else:
                self._open.remove(plan)
        self._feed()

    # -- a worker, which reads ahead and writes behind within a bundle ---------------------------------------

    def _arrived(self, worker: _Worker, bundle: _Bundle) -> None:
        bundle.left = bundle.units
        self._step(worker)

    def _step(self, worker: _Worker) -> None:
        if worker.bundle is None and worker.waiting and worker.waiting[0].left >= 0:
            worker.bundle = worker.waiting.popleft()
        bundle = worker.bundle
        if bundle is None:
            return
        behind = bundle.computed - bundle.written <= 1
        if not bundle.computing and bundle.read > bundle.computed and behind:
            bundle.computing = True
            factor = math.exp(self._random.gauss(-(self.case.spread**2) / 2, self.case.spread))
            seconds = bundle.stage.seconds * factor * worker.slow
            self._at(self._now + seconds, lambda: self._computed(worker, bundle))
        ahead = bundle.begun <= bundle.computed + bundle.computing
        if bundle.begun < bundle.units and "read" not in bundle.moving and ahead:
            bundle.begun += 1
            bundle.moving.add("read")
            self._storage.begin(self._now, bundle.stage.read, (worker, bundle, "read"))
        if bundle.computed > bundle.written and "write" not in bundle.moving:
            bundle.moving.add("write")
            self._storage.begin(self._now, bundle.stage.write, (worker, bundle, "write"))

    def _computed(self, worker: _Worker, bundle: _Bundle) -> None:
        bundle.computing = False
        bundle.computed += 1
        self._step(worker)

    def _moved(self, worker: _Worker, bundle: _Bundle, how: str) -> None:
        bundle.moving.discard(how)
        if how == "read":
            bundle.read += 1
        else:
            bundle.written += 1
        if bundle.written == bundle.units:
            worker.bundle = None
            self._drive(self.case.per_unit * bundle.units, lambda: self._received(bundle))
        self._step(worker)


def _joined(stages: Sequence[Stage]) -> Stage:
    """All units of some stages as one."""
    seconds, read, write = (sum(getattr(s, what) * s.units for s in stages) for what in ("seconds", "read", "write"))
    return Stage(1, seconds, read, write)


def _alone(stage: Stage, case: Case) -> float:
    """Seconds of a unit in one worker that has all the storage, its reading and writing hidden behind the computing."""
    return max(stage.seconds, stage.read / case.own_bandwidth, stage.write / case.own_bandwidth)


MB = 1e6
CASES = {
    "network on CPUs": Case(plans=1, stages=(Stage(36, 40.0, 40 * MB, 10 * MB), Stage(36, 0.4, 60 * MB, 10 * MB))),
    "picking": Case(
        plans=2, stages=(Stage(24, 1.5, 8 * MB, 20 * MB), Stage(1, 1.0, 5 * MB, MB), Stage(24, 0.5, 20 * MB, MB))
    ),
    "small tomograms": Case(plans=60, stages=(Stage(1, 0.15, MB, MB), Stage(1, 0.1, MB, MB), Stage(1, 0.1, MB, MB))),
    "conversion": Case(plans=2, stages=(Stage(24, 0.8, 64 * MB, 30 * MB),)),
}
"""Seconds of a 2-core machine and bytes of a tomogram of 300 x 1000 x 1000 voxels: VGGNet over blocks of 4 million
voxels, its predictions blended; picks of a sparse prediction; ``benchmarks/driver_cpu.py``; an MRC file to OME-Zarr."""


def table(cases: dict[str, Case], workers: Sequence[int], seeds: int = 3) -> dict[str, list[Outcome]]:
    """Outcomes by case and number of workers: that with the median speed-up of some seeds."""
    found: dict[str, list[Outcome]] = {}
    for name, case in cases.items():
        found[name] = []
        for count in workers:
            runs = sorted((Simulation(case, count, seed).run() for seed in range(seeds)), key=lambda o: o.speedup)
            found[name].append(runs[len(runs) // 2])
    return found


def breaks_at(outcomes: Sequence[Outcome], workers: Sequence[int], share: float = 0.8) -> str:
    """From how many workers on less than a share of them is used, and how busy driver and storage are then."""
    best = outcomes[0].speedup / workers[0]
    for outcome, count in zip(outcomes, workers, strict=True):
        if outcome.speedup / count < share * best:
            return f"{count} (driver {outcome.driver:.0%}, storage {outcome.storage:.0%} busy)"
    return f"not up to {workers[-1]}"


def shown(found: dict[str, list[Outcome]], workers: Sequence[int]) -> str:
    """The table in Markdown: speed-ups, and where each case breaks."""
    lines = [
        f"| case | {' | '.join(map(str, workers))} | below 80 % from |",
        f"| --- |{' ---: |' * len(workers)} --- |",
    ]
    for name, outcomes in found.items():
        cells = [f"{o.speedup:.3g}" for o in outcomes]
        lines.append(f"| {name} | {' | '.join(cells)} | {breaks_at(outcomes, workers)} |")
    return "\n".join(lines)


def picture(found: dict[str, list[Outcome]], workers: Sequence[int], path: str) -> None:
    """Write a figure of the speed-ups."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    axes.plot(workers, workers, color="0.7", label="ideal")
    for name, outcomes in found.items():
        axes.plot(workers, [o.speedup for o in outcomes], marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="workers (one core each)", ylabel="work per second, of one worker")
    axes.set_xticks(workers, labels=[str(w) for w in workers])
    axes.minorticks_off()
    axes.set_yticks(workers, labels=[str(w) for w in workers])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", help="file for a figure")
    given = parser.parse_args()
    found = table(CASES, WORKERS)
    print(shown(found, WORKERS))
    if given.picture:
        picture(found, WORKERS, given.picture)


if __name__ == "__main__":
    main()
