"""A run that costs no time: plans of stages, workers of some speed, and what a forecast says on the way.

Units are given out as :class:`volengine.engine.run.Driver` does: some plans are open at a time, the first ones are
served first, and a stage begins when the one before it is done.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from volengine.engine.forecast import Forecast, Work

POINTS = 300
"""Number of times that a forecast is asked in a run."""


@dataclass
class Stage:
    """Units of a plan: their voxels, and their seconds on a worker of speed 1."""

    name: str
    seconds: list[float]
    size: float

    @property
    def work(self) -> Work:
        """The whole stage."""
        return Work(self.name, len(self.seconds), self.size)


@dataclass
class Plan:
    """The stages of a volume, and how many units of each an earlier run has done."""

    stages: list[Stage]
    done: int = 0
    at: int = 0
    given: int = 0
    ended: int = 0

    def left(self) -> list[Work]:
        """What is left."""
        now = self.stages[self.at : self.at + 1]
        rest = [Work(s.name, len(s.seconds) - self.ended, s.size) for s in now]
        return rest + [s.work for s in self.stages[self.at + 1 :]]


@dataclass
class Said:
    """What a forecast has said during a run: times, estimates (or None) and the end."""

    time: list[float] = field(default_factory=list)
    left: list[float | None] = field(default_factory=list)
    end: float = 0.0
    unit: float = 0.0

    def after(self, share: float) -> list[float]:
        """Estimates over truth, of those given after a share of the run; both with the time of the longest unit added.

        In the last moments the truth is the luck of the last unit.
        """
        pairs = [(t, left) for t, left in zip(self.time, self.left, strict=True) if left is not None]
        extra = max(self.end / 100, self.unit)
        return [(left + extra) / (self.end - t + extra) for t, left in pairs if t / self.end >= share]

    def silent(self, share: float) -> float:
        """Share of the run, after a share of it, in which nothing was said."""
        late = [left for t, left in zip(self.time, self.left, strict=True) if t / self.end >= share]
        return sum(left is None for left in late) / len(late)


def run(
    plans: Sequence[Plan],
    speed: Callable[[int, float], float],
    workers: int,
    *,
    open_plans: int | None = None,
    loading: float = 0.0,
    sizes: Sequence[float] | None = None,
    forecast: Forecast | None = None,
) -> Said:
    """Run plans on workers.

    Parameters
    ----------
    plans
        The plans, in their order.
    speed
        Speed of a worker (number, time); 0: it is not there, and takes nothing.
    workers
        Number of workers.
    open_plans
        Number of plans that are open at a time; default: 3 for each worker.
    loading
        Seconds that the first unit of the stage "predict" takes more on each worker.
    sizes
        Sizes of all sources, if they are known.
    forecast
        The forecast, if it knows something already.
    """
    forecast, said = forecast or Forecast(), Said()
    waiting, opened = list(enumerate(plans)), []
    share = list(sizes) if sizes is not None else [1.0] * len(plans)
    busy: list[tuple[float, int, int, int, float]] = []
    free, now = list(range(workers)), 0.0
    loaded: set[int] = set()
    count, step = 0, max(1, sum(len(s.seconds) for p in plans for s in p.stages) // POINTS)
    while waiting or opened:
        while waiting and len(opened) < (open_plans or 3 * workers):
            number, plan = waiting.pop(0)
            forecast.opened((s.work for s in plan.stages), share[number])
            plan.given = plan.ended = plan.done
            opened.append((number, plan))
        for worker in sorted(free):
            if speed(worker, now) <= 0:
                continue
            for number, plan in opened:
                stage = plan.stages[plan.at]
                if plan.given < len(stage.seconds):
                    extra = loading if stage.name == "predict" and worker not in loaded else 0.0
                    loaded |= {worker} if stage.name == "predict" else set()
                    took = (stage.seconds[plan.given] + extra) / speed(worker, now)
                    plan.given += 1
                    free.remove(worker)
                    heapq.heappush(busy, (now + took, worker, number, plan.at, took))
                    break
        if not busy:  # nobody is there
            now += 1.0
            continue
        now, worker, number, at, took = heapq.heappop(busy)
        free.append(worker)
        plan = plans[number]
        stage = plan.stages[at]
        plan.ended += 1
        forecast.ran(Work(stage.name, 1, stage.size), took, now, worker)
        if plan.ended == len(stage.seconds):
            plan.at, plan.given, plan.ended = plan.at + 1, 0, 0
            if plan.at == len(plan.stages):
                opened.remove((number, plan))
        count += 1
        if count % step:
            continue
        said.time.append(now)
        rest = sum(share[n] for n, _ in waiting)
        said.left.append(forecast.left([p.left() for _, p in opened], rest))
    said.end = now
    said.unit = max(max(s.seconds) for p in plans for s in p.stages)
    return said


def volume(rng: np.random.Generator, blocks: int, costs: dict[str, float], *, spread: float = 0.3) -> Plan:
    """A plan whose stages have so many blocks of a million voxels, with random costs about a mean."""
    stages = []
    for name, seconds in costs.items():
        units = 1 if name.startswith("join") else blocks
        factors = rng.lognormal(-(spread**2) / 2, spread, units)
        stages.append(Stage(name, [seconds * float(f) for f in factors], 1e6 * blocks / units))
    return Plan(stages)
