"""A plan as a Dask graph with one task per unit, for people who use a Dask scheduler of their own.

>>> jobs, run_dir = jobs_of(CONVERT, ["TS_01.mrc"], "TS_01.ome.zarr", ConvertRecipe(), options)     # doctest: +SKIP
>>> receipts = jobs[0].plan().to_dask(run_dir).compute()                                            # doctest: +SKIP

A run (:mod:`volengine.engine.run`) never makes such a graph. It gives out a bounded number of units at a time, so a
plan may have millions of them. The graph has one task per unit, one that prepares the outputs, one at the end of each
stage, and one that finishes the plan. Tasks return receipts and no voxels.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from volengine.core.errors import InputError, PlanError, RunError
from volengine.engine.driver_lock import check_free
from volengine.engine.earlier import writers_of
from volengine.engine.ledger import PlanFolder, RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.receipts import Numbers, Receipt
from volengine.engine.stage import Stage
from volengine.engine.state import PlanState
from volengine.engine.tables import reads
from volengine.engine.work import Bundle, run_units

if TYPE_CHECKING:
    from volengine.engine.plan import Plan

LARGEST_GRAPH = 50_000
"""Largest number of units of a graph. Schedulers hold all of it in memory, at about 1 kB and 1 ms per task."""

_one_at_a_time = threading.Lock()
"""The plan's memory is that of one unit at a time in each process, so the threads of a process take turns."""


@dataclass(frozen=True)
class Whole:
    """What the first and the last task need: the plan, its folder, the options, and a worker's memory in bytes."""

    plan: Plan
    folder: str
    options: RunOptions
    limit: int

    def state(self) -> PlanState:
        """Make the state of the plan in its folder.

        Raises
        ------
        PlanError
            The plan was started with other blocks since the graph was made.
        """
        state = PlanState(self.plan, PlanFolder(self.folder), self.options, self.limit)
        if state.identities != self.plan.identities:
            raise PlanError(
                f"{self.folder} was started with other blocks since this graph was made; make the graph again."
            )
        return state


@dataclass(frozen=True)
class Prepared:
    """The result of the first task: the finished blocks by stage."""

    done: dict[str, Numbers]


def graph_of(plan: Plan, run_dir: str, options: RunOptions) -> Delayed:
    """Make the graph of a plan, see :meth:`volengine.engine.plan.Plan.to_dask`."""
    if options.workers or options.scheduler or options.part or options.cluster:
        raise InputError("Leave out workers, cluster, scheduler and part: a graph runs where it is computed.")
    limit = options.limit_bytes()
    check_free(RunFolder(run_dir).path)
    folder = RunFolder(run_dir).plan(plan.name)
    plan = PlanState(plan, folder, options, limit).plan  # in the blocks of an earlier run, if there was one
    plan.check(limit)
    if plan.units > LARGEST_GRAPH:
        raise PlanError(
            f"{plan.name}: a graph of {plan.units} units is too large (up to {LARGEST_GRAPH}); run the plan instead, "
            "which makes no graph, or use larger blocks."
        )
    whole = Whole(plan, str(folder.path), options, limit)
    first, last = _key("prepare"), _key("finish")
    ends = {stage.name: _key(f"end-{stage.name}") for stage in plan.stages}
    layers: dict[str, Any] = {first: MaterializedLayer({first: (partial(prepare, whole),)})}
    needs: dict[str, set[str]] = {first: set()}
    for number, stage in enumerate(plan.stages):
        before = [ends[earlier.name] for earlier in plan.stages[:number] if reads(stage, earlier)]
        layers[ends[stage.name]] = _layer(whole, stage, first, before, ends[stage.name])
        needs[ends[stage.name]] = {first, *before}
    layers[last] = MaterializedLayer({last: (partial(finish, whole), list(ends.values()))})
    needs[last] = set(ends.values())
    return Delayed(last, HighLevelGraph(layers, needs), layer=last)


def _key(what: str) -> str:
    return f"{what}-{uuid.uuid4().hex}"


def _layer(whole: Whole, stage: Stage, first: str, before: list[str], end: str) -> MaterializedLayer:
    """Make the tasks of a stage: its units, each after the stages that it reads, and the task at its end."""
    identity = whole.plan.identities[stage.name]
    writers = writers_of(whole.plan)
    tasks: dict[str, Any] = {}
    for number in range(len(stage.tiling)):
        bundle = Bundle(
            whole.folder, stage, identity, (number,), whole.limit, writers[stage.name], whole.options.durable
        )
        tasks[_key(stage.name)] = (partial(run_unit, bundle), first, before)
    annotations = {"resources": dict(stage.resources)} if stage.resources else None
    return MaterializedLayer({**tasks, end: (collect, list(tasks))}, annotations=annotations)


def prepare(whole: Whole) -> Prepared:
    """Create the outputs, or recognise those of an earlier run, and read which units are done already."""
    state = whole.state()
    state.prepare()
    if state.finished:
        return Prepared({s.name: Numbers(range(len(s.tiling))) for s in whole.plan.stages})
    return Prepared(state.done)


def run_unit(bundle: Bundle, prepared: Prepared, before: list[Any]) -> list[Receipt]:
    """Run a unit that is not done yet; ``before`` only makes Dask wait for the stages that the unit reads."""
    if bundle.numbers[0] in prepared.done[bundle.stage.name]:
        return []
    with _one_at_a_time:
        return run_units(bundle)


def collect(receipts: list[list[Receipt]]) -> list[Receipt]:
    """Join the receipts of a stage's units."""
    return [receipt for some in receipts for receipt in some]


def finish(whole: Whole, receipts: list[list[Receipt]]) -> list[Receipt]:
    """Write the products, mark the outputs as complete, and delete scratch data.

    Raises
    ------
    RunError
        Results are not there any more.
    """
    state = whole.state()
    state.prepare()
    if state.at_end:
        state.finish()
    if not state.finished:
        raise RunError(f"{whole.plan.name}: {' '.join(state.notices)} Compute the graph once more.")
    return collect(receipts)
