"""Runs: run the plans of a collection, on a cluster or without one, with retries, progress and a report."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from volengine.core.errors import DeadlineError, InputError, RunError, VolengineError
from volengine.core.new_folders import NewFolders
from volengine.engine import report
from volengine.engine.beside import Beside
from volengine.engine.chains import chain
from volengine.engine.deadline import Deadline
from volengine.engine.driver_lock import only_driver
from volengine.engine.executor import Done, Executor
from volengine.engine.here_first import begin
from volengine.engine.ledger import RunFolder
from volengine.engine.log import Log, remark
from volengine.engine.on_dask import OnDask
from volengine.engine.opening import Job, Opening
from volengine.engine.options import RunOptions
from volengine.engine.other_parts import OtherParts
from volengine.engine.outlook import Outlook
from volengine.engine.plan import Plan
from volengine.engine.progress import Progress
from volengine.engine.report import named
from volengine.engine.scheduler import check_scheduler
from volengine.engine.stage import Stage
from volengine.engine.state import PlanState
from volengine.engine.work import Bundle

POLL_S = 0.5
OPEN_PLANS = 3
"""Number of open plans per slot: while one of them waits for the end of a stage, others use the slots."""

Then = Callable[[report.RunReport, Executor | None], None]
"""What follows a run, while its workers are still there."""


def run_plan(plan: Plan, run_dir: str, options: RunOptions, *, light: bool = False) -> report.RunReport:
    """Run one plan.

    Parameters
    ----------
    plan, run_dir, options
        The plan, its run folder, and the options, as for :func:`run_jobs`.
    light
        As for :class:`Job`.

    Returns
    -------
    RunReport

    Raises
    ------
    InputError
        The plan was refused, or a unit failed because of its input.
    RunError
        The plan failed for another reason; the unit's own error is its cause.
    """
    result = run_jobs([Job(plan.name, lambda: plan, light=light)], run_dir, options)
    return result.check()


def run_jobs(
    jobs: Iterable[Job],
    run_dir: str,
    options: RunOptions,
    *,
    then: Then | None = None,
    executor: Executor | None = None,
) -> report.RunReport:
    """Run the plans of a collection. If one fails, the others go on.

    Parameters
    ----------
    jobs
        The tomograms. Their names must be unique.
    run_dir
        The run folder. A second run with the same folder resumes the first one.
    options
        Where and how to run.
    then
        Called when all jobs have ended and the report is written, with the report and the executor, which has workers
        that are still there; ``None`` as executor: none was started.
    executor
        Run units there, and leave it open: that of another run, in its ``then``. Default: start what the options say.

    Returns
    -------
    RunReport
        It is also written into the run folder as ``report.json``. Its ``check()`` raises an error if a plan failed.

    Raises
    ------
    InputError
        Two jobs have the same name, the run folder is a URL or cannot be written to, a cluster cannot be used, or
        nothing is to be run (``dry_run``).
    BusyError
        Another driver works in the run folder.
    TakenOverError
        Another driver has taken it over, because this one was silent for too long.
    DeadlineError
        The deadline is near, and no unit that is left could have ended in time.
    """
    if options.dry_run:
        raise InputError(
            "dry_run prints plans on the command line, with --dry-run; a verb that is called from Python runs. "
            "Leave it out, or use the command."
        )
    queue = list(jobs)
    names = [job.name for job in queue]
    double = sorted({n for n in names if names.count(n) > 1})
    if double:
        raise InputError(f"Two inputs have the same name {double[0]!r}; names must be unique in a run.")
    return Driver(queue, RunFolder(run_dir), options, then, executor).run()


class Driver:
    """The loop that gives bundles to an executor and collects their receipts."""

    def __init__(
        self,
        jobs: list[Job],
        folder: RunFolder,
        options: RunOptions,
        then: Then | None = None,
        lent: Executor | None = None,
    ):
        self.jobs, self.then, self.lent = jobs, then, lent
        self.light = all(job.light for job in jobs)
        self.outlook = Outlook([job.size for job in jobs], folder)
        self.folder = folder
        self.options = options
        check_scheduler(options)
        self.limit = options.limit_bytes()
        self.beside = Beside()
        self.open: list[PlanState] = []
        self.finishing: dict[int, Future[None]] = {}
        """Of the open plans those that are being finished, by their ``id``: nobody else may touch their states."""
        self.closed: list[report.Closed] = []
        self.refused: dict[str, BaseException] = {}
        self.under_way: dict[int, PlanState] = {}
        self.others = OtherParts(folder, options)
        self.deadline = Deadline(options.deadline)
        self.new = NewFolders()

    def run(self) -> report.RunReport:
        """Run all jobs; return the report, which is also written into the run folder."""
        self.progress = Progress(self.outlook.volumes, 0, show=self.options.progress)
        say = self.progress.say if self.options.progress else remark  # a minute of silence looks like a hang
        self.new.note(self.folder.path)
        try:
            with only_driver(
                self.folder.path, self.options.part, take_over=self.options.take_over, say=say
            ) as self.lock:
                return self._run()
        finally:
            self.progress.close()
            self.new.remove_empty()

    def _run(self) -> report.RunReport:
        began = time.time()
        self.log = Log(self.folder.log)
        self.others.begin(self.lock, self.log, self.progress.say)
        self.opening = Opening(
            self.jobs, self.folder, self.options, self.limit, self.others.living, self.lock, self.beside, self.new
        )
        self.log("start", options=self.options.to_json(), jobs=[j.name for j in self.jobs])
        executor = self.lent
        begun, failed = True, False
        try:
            self._open_plans(1, at_once=True)
            if self.open or self.jobs:
                begun = False
                work = (lambda: self.outlook.work(self.open)) if self.light else None
                if executor is None:
                    executor = begin(self.options, self.limit, self.lock, self._notice, work)
                if executor.link and self.lent is None:
                    self.progress.say(f"Dask dashboard: {executor.link}")
                executor.hurry = self._ready
                begun = not isinstance(executor, OnDask)
                self._loop(executor)
            result = report.make(self.closed, self.refused, self.options, self.limit, began)
            report.write(result, self.folder)
            self.log("end", failed=list(result.failures))
            if self.then is not None:
                self.progress.close()
                self.then(result, executor)
        except KeyboardInterrupt as stop:
            self.log("interrupted")
            stop.add_note(f"The same command goes on from here (run folder {self.folder.path}).")
            raise
        except VolengineError as error:  # workers that cannot be used, a run folder that was taken over
            self.log("ended", error=repr(error))
            begun = begun or (isinstance(executor, OnDask) and executor.met)
            failed = True
            raise
        finally:
            if executor is not None and self.lent is None:
                executor.close()
            self.beside.close()
            if failed and not begun:
                self.opening.leave_nothing(self.open)
        return result

    def _open_plans(self, slots: int, *, at_once: bool = False) -> None:
        """Plan the next jobs, as many as there is room for, and open the plans that are prepared.

        Plans are made here, one after the other; they are prepared beside, unless ``at_once``.
        """
        self._opened()
        most = max(2, OPEN_PLANS * slots)
        while len(self.open) - len(self.finishing) < most and self.opening.room(most):
            self.opening.begin(at_once=at_once)
            self._opened()

    def _opened(self) -> None:
        """Open the plans that are prepared, in the order of their jobs."""
        for name, future in self.opening.take():
            try:
                state, finished = future.result()
            except Exception as error:
                self.outlook.refused()
                self._refuse(name, error)
                continue
            self.log("plan", name=state.plan.name, units=state.plan.units, skipped=state.skipped)
            self._tell(state)
            self.outlook.opened(state, finished)
            if state.finished:
                self.closed.append(report.closed(state))
            else:
                self.open.append(state)

    @property
    def _steps(self) -> list[Future[Any]]:
        """What is done beside, and taken when it is done."""
        return [*self.opening.next, *self.finishing.values()]

    def _ready(self) -> bool:
        """Whether something that was done beside has ended."""
        return any(future.done() for future in self._steps)

    def _notice(self, text: str) -> None:
        self.log("notice", text=text)
        self.progress.say(text)

    def _tell(self, state: PlanState) -> None:
        """Say and log what a plan has found, for example that results are lost and made again."""
        for notice in state.notices:
            self.log("notice", name=state.plan.name, text=notice)
            self.progress.say(notice)
        state.notices.clear()

    def _refuse(self, name: str, error: BaseException) -> None:
        self.refused[name] = error
        self.log("refused", name=name, why=str(error), error=repr(error), traceback=_trace(error))
        self.progress.say(named(name, error))

    def _loop(self, executor: Executor) -> None:
        while self.open or self.opening:
            self.lock.check()
            if self.deadline.left_s > 0:
                self._open_plans(executor.slots)
            else:
                self._opened()
            cut = self._feed(executor)
            if self.deadline.left_s <= 0 or (cut and not self.under_way):
                self._stop()
            if self.under_way:
                for done in executor.results():
                    self._handle(done)
            else:
                self._wait()
            self._close_plans()

    def _feed(self, executor: Executor) -> bool:
        """Give bundles to the executor; return whether units are left that could not end before the deadline."""
        cut = False
        for state in self._running():
            while len(self.under_way) < executor.window:
                most = self._most(state, executor.slots)
                bundle = None if most == 0 else self._next(state, executor, most)
                if bundle is None:
                    cut |= most == 0 and state.active and state.waiting
                    break
                self.under_way[id(bundle)] = state
                executor.submit(bundle)
        return cut

    def _next(self, state: PlanState, executor: Executor, most: int | None) -> Bundle | None:
        """Return the next bundle of a plan, which is told what units of its stage take, and what waits beside it.

        Where there are plans enough for all slots, a small one is a single bundle.
        """
        if not state.waiting:
            return None
        slots, expected = executor.slots, self.outlook.expected
        many = most is None and len(self._running()) + len(self.jobs) > 2 * slots
        if many and (whole := chain(state, expected, executor.together)) is not None:
            return whole
        beside = sum(len(other.pending) for other in self._running() if other is not state)
        return state.next_bundle(slots, most, expected_s=expected(state.stage), beside=beside)

    def _running(self) -> list[PlanState]:
        """The open plans that are not being finished."""
        return [state for state in self.open if id(state) not in self.finishing]

    def _most(self, state: PlanState, slots: int) -> int | None:
        """How many units of a plan's present stage can end before the deadline, one after the other."""
        if self.deadline.end is None or not state.active or state.at_end:
            return None
        return self.deadline.fitting(self.outlook.longest(state.stage), before=len(self.under_way) // slots)

    def _stop(self) -> None:
        """Stop because of the deadline, also if units are under way that have not ended in time.

        Raises
        ------
        DeadlineError
            Always.
        """
        for plan in [*self.closed, *map(report.closed, self.open)]:
            self.log("deadline", name=plan.name, done=plan.done)
        closed = len(self.closed) + len(self.refused)
        done, units = sum(len(d) for s in self.open for d in s.done.values()), sum(s.plan.units for s in self.open)
        volumes = f"{closed} of {self.outlook.volumes} volumes, and of those that are open "
        raise DeadlineError(
            f"Stopped before the deadline ({self.deadline.said()}): what is left could not have ended in time. Done "
            f"are {volumes if self.outlook.volumes > 1 else ''}{done} of {units} units. The same command goes on from "
            f"here (run folder {self.folder.path})."
        )

    def _handle(self, done: Done) -> None:
        state = self.under_way[id(done.bundle)]
        stage = done.bundle.stage
        state.received(done.receipts)
        for part in done.bundle.parts:
            self.outlook.received(part.stage, [r for r in done.receipts if r["stage"] == part.stage.name])
        if done.receipts:
            self._show(state, stage)
            self.others.progress()
        if not done.final:
            return
        del self.under_way[id(done.bundle)]
        state.under_way -= 1
        if done.left and not done.bundle.then:  # else the plan finds what is left when it goes on
            state.give_back(done.left)
        if done.error is not None:
            final = isinstance(done.error, InputError)
            failed = state.unfinished(done.bundle)
            stage = failed.stage
            again = state.failed(done.bundle, done.error, final)
            self.log(
                "unit failed",
                name=state.plan.name,
                stage=stage.name,
                numbers=failed.numbers,
                again=again,
                error=repr(done.error),
                traceback=_trace(done.error),
            )
            self._tell(state)
            if not again:
                self.progress.say(named(f"{state.plan.name} {stage.name}", done.error))
                self.others.note(state, stage, failed, done.error, final=final)

    def _show(self, state: PlanState, stage: Stage) -> None:
        """Show how far the run is."""
        if self.progress.due:
            closed = len(self.closed) + len(self.refused)
            line = self.outlook.line(state, stage, closed)
            share = self.outlook.share(self.open, closed)
            self.progress.show(line, share, self.outlook.left(self.open, state, stage))

    def _close_plans(self) -> None:
        for state in list(self.open):
            if id(state) in self.finishing:
                if not self.finishing[id(state)].done():
                    continue
                self._finished(state, self.finishing.pop(id(state)))
            else:
                before = state.position
                state.advance()
                for stage in state.plan.stages[before : state.position]:
                    self.log("stage done", name=state.plan.name, stage=stage.name, **state.tallies[stage.name].said())
                if state.active and state.at_end and not state.under_way:
                    self.lock.check(read_again=True)
                    alone = len(self.open) == 1 and not self.opening
                    future = self.beside.do(state.finish, alone=alone)
                    if not future.done():
                        self.finishing[id(state)] = future
                        continue
                    self._finished(state, future)
            if not state.active and not state.under_way:
                if state.error is not None:
                    self.lock.check(read_again=True)
                    state.withdraw()
                if state.claims is not None:
                    state.claims.close()
                self.open.remove(state)
                self.closed.append(report.closed(state))
                why = str(state.error) if state.error else None
                self.log("plan done", name=state.plan.name, why=why, error=repr(state.error) if state.error else None)

    def _finished(self, state: PlanState, future: Future[None]) -> None:
        """Take note of the end of a plan, which has failed if the step has."""
        if (error := future.exception()) is not None:
            state.error = error
            self.progress.say(named(state.plan.name, error))
            self.log("finish failed", name=state.plan.name, error=repr(error), traceback=_trace(error))
        self._tell(state)

    def _wait(self) -> None:
        """Wait for steps that are done beside, and for other parts that still work on a stage.

        If those make no progress, take over their units.
        """
        waiting = [s for s in self._running() if s.active and not s.at_end and not s.waiting]
        if not waiting:
            if self._steps:
                self.beside.wait(self._steps, POLL_S)
            return
        if not self.others.attend(waiting):
            self.beside.wait(self._steps, POLL_S)


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


__all__ = ["Job", "RunError", "run_jobs", "run_plan"]
