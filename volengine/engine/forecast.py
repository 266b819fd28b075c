"""How long a run will still take: an estimate from the units that have ended, or nothing.

A unit costs what units of the same stage have cost, per voxel of their blocks. The first unit of a stage in a process
also loads networks and compiles, so it does not count as soon as there are others. Work that is left (seconds of units)
is divided by the number of units that have been running at a time of late, which is seconds of units per second of the
clock. So workers that come, go or differ are accounted for. A volume that is not open yet is taken for the mean of
those that are, or, where the sizes of sources are known, for one of its size. As long as a stage has no measured cost,
nothing is said.

>>> forecast = Forecast()
>>> work = Work("predict", units=100, size=1e6)
>>> forecast.left([[work]]) is None
True
>>> for second in range(1, 11):
...     forecast.ran(work, seconds=1.0, now=float(second), who="a")
>>> round(forecast.left([[Work("predict", units=90, size=1e6)]]))
90
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

HORIZON = 20
"""A cost is the mean over the last units: at least about so many, and the last half of all."""

WINDOW_S = 30.0
"""Seconds over which the number of running units is measured: at least so many, and the last half of the run."""

LENGTHS = 4
"""The window is so many units long, too: what runs now has not ended, and is missing in it."""

RECENT = 20
"""Units of which the length is the mean."""

MOST_POINTS = 400
"""Points of the curve of finished work that are kept; of more, every second one is dropped."""


MANY = 8
"""In a plan with a stage of so many units, a stage of a single one (which reads tables) is taken for nothing."""


@dataclass(frozen=True)
class Work:
    """Units of one stage of one plan.

    Parameters
    ----------
    stage
        Name of the stage; stages of the same name cost the same per voxel.
    units
        Number of units.
    size
        Voxels of a unit, on average.
    """

    stage: str
    units: int
    size: float


@dataclass
class _Mean:
    """Seconds per voxel over the last units."""

    seconds: float = 0.0
    size: float = 0.0
    count: int = 0

    def add(self, seconds: float, size: float) -> None:
        self.count += 1
        keep = 1 - 1 / max(HORIZON, self.count / 2)
        self.seconds = keep * self.seconds + seconds
        self.size = keep * self.size + size

    @property
    def value(self) -> float:
        return self.seconds / self.size


@dataclass
class _Cost:
    """What is known about the cost of a stage; ``alone``: no plan has several units of it.

    ``longest`` are the seconds and the voxels of the unit that took longest.
    """

    first: _Mean = field(default_factory=_Mean)
    other: _Mean = field(default_factory=_Mean)
    earlier: _Mean = field(default_factory=_Mean)
    longest: tuple[float, float] = (0.0, 0.0)
    seen: set[Hashable] = field(default_factory=set)
    alone: bool = False

    @property
    def value(self) -> float | None:
        """Seconds per voxel; ``None`` if too little is known."""
        if self.other.count > 1:
            return self.other.value
        if self.alone and not self.other.count and self.first.count > 2:
            return self.first.value
        return self.earlier.value if self.earlier.count else None


class Forecast:
    """The costs of the stages of a run, and its pace."""

    def __init__(self) -> None:
        self._costs: dict[str, _Cost] = {}
        self._whole: dict[str, float] = {}
        self._counting: set[str] = set()
        self._several: set[str] = set()
        self._volumes = 0.0
        self._recent = 0.0
        self._count = 0
        self._times: list[float] = []
        self._sums: list[float] = []

    def opened(self, works: Iterable[Work], share: float = 1.0) -> None:
        """Count a volume whose plan is known: all of its units, whether they are done or not.

        Parameters
        ----------
        works
            Its stages.
        share
            Its size relative to others: 1 for each, or the size of its source.
        """
        works = list(works)
        self._volumes += share
        blocks = max((work.units for work in works), default=0)
        for work in works:
            self._whole[work.stage] = self._whole.get(work.stage, 0.0) + work.units * work.size
            if work.units > 1 or blocks < MANY:
                self._counting.add(work.stage)
            self._several |= {work.stage} if work.units > 1 else set()
            self._cost(work.stage).alone = work.stage not in self._several

    def earlier(self, work: Work, seconds: float) -> None:
        """Learn the cost of a unit from an earlier run; it counts until this run has measured its own."""
        cost = self._cost(work.stage)
        cost.earlier.add(seconds, work.size)
        cost.longest = max(cost.longest, (seconds, work.size))

    def ran(self, work: Work, seconds: float, now: float, who: Hashable = None) -> None:
        """Count a unit that has ended.

        Parameters
        ----------
        work
            Its stage and size.
        seconds
            What it took.
        now
            Seconds of a clock that does not go back.
        who
            The process that ran it.
        """
        cost = self._cost(work.stage)
        (cost.other if who in cost.seen else cost.first).add(seconds, work.size)
        cost.seen.add(who)
        cost.longest = max(cost.longest, (seconds, work.size))
        self._recent += (seconds - self._recent) / min(self._count + 1, RECENT)
        self._count += 1
        self._run(now - seconds, now)

    def left(self, plans: Iterable[Sequence[Work]], unopened: float = 0.0) -> float | None:
        """Seconds until everything is done; ``None`` if that cannot be said.

        Parameters
        ----------
        plans
            The units that are left of each plan that is open, stage by stage.
        unopened
            Number of volumes that are not open yet, or the sum of their ``share``.
        """
        pace = self._pace()
        if (unopened > 0 and not self._volumes) or not pace:
            return None
        each = unopened / self._volumes if unopened > 0 else 0.0
        unknown = any(each and self._seconds(Work(stage, 1, size)) is None for stage, size in self._whole.items())
        total = 0.0 if unknown else sum(self._seconds(Work(s, 1, n)) or 0.0 for s, n in self._whole.items()) * each
        longest = 0.0
        for plan in plans:
            chain = 0.0
            for work in (work for work in plan if work.units):
                seconds = self._seconds(work)
                if seconds is None:
                    return None
                total += seconds
                chain += max(seconds / pace, seconds / work.units)  # a stage takes at least as long as one unit
            longest = max(longest, chain)
        return None if unknown else max(total / pace, longest)

    def work(self, works: Iterable[Work], unopened: float = 0.0) -> tuple[float, bool]:
        """Seconds of the units that are left, one after the other, as far as is known; and whether all is known.

        Parameters
        ----------
        works
            The units that are left of the volumes that are open.
        unopened
            As for :meth:`left`.
        """
        each = unopened / self._volumes if unopened > 0 and self._volumes else 0.0
        later = [Work(stage, 1, size * each) for stage, size in self._whole.items() if each]
        found = [self._seconds(work) for work in (*works, *later) if work.units]
        return sum(s for s in found if s is not None), None not in found and (not unopened or each > 0)

    def longest(self, work: Work) -> float:
        """Seconds of the longest unit of this stage so far, of a larger one in proportion; 0 if none has ended."""
        seconds, size = self._costs[work.stage].longest if work.stage in self._costs else (0.0, 0.0)
        return seconds * max(1.0, work.size / size) if size else seconds

    def expected(self, work: Work) -> float | None:
        """Seconds of these units, one after the other; ``None`` if too little is known about them."""
        return self._seconds(work) or None

    def _seconds(self, work: Work) -> float | None:
        """Seconds of all units together; ``None`` if too little is known about them."""
        cost = self._costs[work.stage].value if work.stage in self._costs else None
        if cost is not None:
            return cost * work.units * work.size
        return None if work.stage in self._counting or work.stage not in self._whole else 0.0

    def _cost(self, stage: str) -> _Cost:
        return self._costs.setdefault(stage, _Cost())

    def _run(self, start: float, end: float) -> None:
        """Add a unit that ran from ``start`` to ``end`` to the curve: seconds of units until each of its times."""
        if not self._times or start < self._times[0]:
            self._times.insert(0, start)
            self._sums.insert(0, 0.0)
        total = self._sums[-1]
        for k in range(len(self._times) - 1, 0, -1):
            if self._times[k] <= start:
                break
            self._sums[k] += min(self._times[k], end) - start
        if end > self._times[-1]:
            self._times.append(end)
            self._sums.append(total + end - start)
        if len(self._times) > MOST_POINTS:
            del self._times[-2:1:-2], self._sums[-2:1:-2]

    def _pace(self) -> float:
        """Units that have been running at a time of late; 0 if nothing has ended yet."""
        if not self._times:
            return 0.0
        now, began = self._times[-1], self._times[0]
        window = max(WINDOW_S, (now - began) / 2, LENGTHS * self._recent)
        first = max(0, bisect_right(self._times, now - window) - 1)
        return (self._sums[-1] - self._sums[first]) / max(now - self._times[first], 1e-9)


def said(seconds: float) -> str:
    """A time that is left, in words.

    >>> said(7.2), said(94), said(1500), said(20_000), said(400_000)
    ('7 s', '94 s', '25 min', '5.6 h', '4.6 days')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
