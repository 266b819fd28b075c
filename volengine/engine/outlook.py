"""What a run says about its progress: volumes, stage, units, and the time that is left (:mod:`.forecast`)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from math import prod

from volengine.engine.forecast import Forecast, Work, said
from volengine.engine.ledger import PlanFolder, RunFolder
from volengine.engine.outputs import FINISHED
from volengine.engine.receipts import Receipt
from volengine.engine.stage import Stage
from volengine.engine.state import PlanState

FEW = 64
"""Of a stage with at most so many units, the size of each one that is left counts."""


class Outlook:
    """Learns from the plans and receipts of a run, and says how far it is.

    Parameters
    ----------
    sizes
        For each volume of the run the size of its source, ``None`` if it is not known. Only if all are known they are
        used; else volumes that are not open yet count as the mean of the others.
    folder
        The run folder. Volumes that an earlier run has finished are probably passed over.
    """

    def __init__(self, sizes: Sequence[float | None], folder: RunFolder):
        self.forecast = Forecast()
        self.volumes = len(sizes)
        self._shares = [float(s) for s in sizes if s is not None]
        if len(self._shares) < len(sizes) or not all(share > 0 for share in self._shares):
            self._shares = [1.0] * len(sizes)
        self._opened = 0
        self._marked = sum(1 for _ in folder.path.glob(f"plans/*/{FINISHED}"))
        self._passed = [0, 0]

    def refused(self) -> None:
        """Count the next volume, which cannot be planned."""
        self._opened += 1

    def opened(self, state: PlanState, finished: bool) -> None:
        """Count the next volume: its plan, what is done of it, and what that has cost.

        Parameters
        ----------
        state
            The plan, prepared.
        finished
            Whether an earlier run had finished it, before it was prepared.
        """
        if finished:
            self._marked -= 1
            self._passed[0] += state.finished
            self._passed[1] += 1
        self.forecast.opened([_work(s, len(s.tiling)) for s in state.plan.stages], self._shares[self._opened])
        self._opened += 1
        if state.skipped and not state.finished:
            stages = {stage.name: stage for stage in state.plan.stages}
            for receipt in state.folder.receipts:
                if state.identities.get(receipt["stage"]) == receipt["identity"]:
                    self.forecast.earlier(_unit(stages[receipt["stage"]], receipt), float(receipt["seconds"]))

    def received(self, stage: Stage, receipts: Iterable[Receipt]) -> None:
        """Learn from units that have ended."""
        now = time.monotonic()
        for receipt in receipts:
            who = (receipt.get("host"), receipt.get("pid"))
            self.forecast.ran(_unit(stage, receipt), float(receipt["seconds"]), now, who)

    def share(self, states: Iterable[PlanState], closed: int) -> float:
        """How many volumes are done, with the shares of those that are open."""
        return closed + sum(sum(map(len, s.done.values())) / s.plan.units for s in states)

    def line(self, state: PlanState, stage: Stage, closed: int) -> str:
        """Where the run is: volumes, the stage of the present one, its units."""
        done, units = len(state.done[stage.name]), len(stage.tiling)
        where = f"{state.plan.name} {stage.name}: {done}/{units} units"
        if self.volumes > 1:
            return f"[{closed} of {self.volumes} volumes done] {where}"
        names = [s.name for s in state.plan.stages]
        return f"{where}, stage {names.index(stage.name) + 1} of {len(names)}" if len(names) > 1 else where

    def left(self, states: Sequence[PlanState], state: PlanState, stage: Stage) -> str:
        """The time that is left, in words; empty if nothing can be said.

        Parameters
        ----------
        states
            All plans that are open.
        state, stage
            The present one, and its stage. In a run of one volume the time of the stage is said, too, which is known
            before that of later stages.
        """
        seconds = self.forecast.left([_left(s) for s in states if s.active], self._unopened())
        whole = "" if seconds is None else f"{said(seconds)} left"
        if self.volumes > 1 or len(state.plan.stages) == 1:
            return whole
        works = [work for work in _left(state) if work.stage == stage.name]
        seconds = self.forecast.left([works])
        part = "" if seconds is None else f"{said(seconds)} left of this stage"
        return ", ".join(filter(None, [part, whole and f"{whole} in all"]))

    def work(self, states: Iterable[PlanState]) -> tuple[float, bool]:
        """Seconds of units that are left of the run as far as is known, and whether all is known."""
        works = [work for state in states if state.active for work in _left(state)]
        return self.forecast.work(works, self._unopened())

    def longest(self, stage: Stage) -> float:
        """Seconds of the longest unit of a stage that has been measured; 0 if none has."""
        return self.forecast.longest(_work(stage, 1))

    def expected(self, stage: Stage) -> float | None:
        """Seconds of a unit of a stage, by those of this stage in all plans; ``None`` if too little is known."""
        return self.forecast.expected(_work(stage, 1))

    def _unopened(self) -> float:
        """Size of the volumes that are not open yet, without those that will be passed over."""
        shares = self._shares[self._opened :]
        if not shares:
            return 0.0
        passed, met = self._passed
        ready = self._marked * (passed / met if met else 1.0)
        return sum(shares) * max(0.0, 1 - ready / len(shares))


def is_finished(folder: PlanFolder) -> bool:
    """Whether a run has finished this plan, or another one of its name."""
    return (folder.path / FINISHED).is_file()


def _work(stage: Stage, units: int) -> Work:
    """Some units of a stage, with the mean size of its blocks."""
    return Work(stage.name, units, stage.tiling.roi.size / len(stage.tiling))


def _unit(stage: Stage, receipt: Receipt) -> Work:
    """The unit of a receipt, with the size of its block: the last blocks of an axis are cut off."""
    return Work(stage.name, 1, prod(stage.tiling.box(int(receipt["number"])).shape))


def _size(state: PlanState, stage: Stage, units: int) -> float:
    """Voxels of a unit of those that are left, on average; of stages of many units, of all."""
    count, done = len(stage.tiling), state.done[stage.name]
    if count > FEW or not units or not len(done):
        return stage.tiling.roi.size / count
    sizes = [prod(stage.tiling.box(number).shape) for number in range(count) if number not in done]
    return sum(sizes) / max(1, len(sizes))


def _left(state: PlanState) -> list[Work]:
    """The units of a plan that this driver must still run, stage by stage; of parts its share."""
    _, parts = state.options.part_of()
    found = []
    for stage in state.plan.stages[state.position :]:
        units = len(stage.tiling) - len(state.done[stage.name])
        if parts > 1 and stage is state.stage:
            units = min(units, len(state.pending) + sum(map(len, state.parted)) + state.under_way)
        elif parts > 1:
            units = -(-units // parts)
        found.append(Work(stage.name, units, _size(state, stage, units)))
    return found
