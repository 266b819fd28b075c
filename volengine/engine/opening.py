"""Opening the plans of a run: from a job to a plan that is checked and prepared, beside the driver's loop.

:class:`Opening` makes plans one after the other, in the order of their jobs, and prepares some of them at the same
time. Who asks gets them in the order of the jobs again. What was prepared for a run that never began can be taken back.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from volengine.core.errors import InputError
from volengine.core.new_folders import NewFolders
from volengine.core.paths import ignores_case, place_key
from volengine.engine.beside import Beside
from volengine.engine.claims import Claims, Living
from volengine.engine.ledger import RunFolder
from volengine.engine.lock import Lock
from volengine.engine.options import RunOptions
from volengine.engine.outlook import is_finished
from volengine.engine.plan import Plan
from volengine.engine.state import PlanState
from volengine.io.stores import local_path

AHEAD = 8
"""Number of plans that are prepared before there is room for them, at most as many as are open."""

Prepared = Future[tuple[PlanState, bool]]
"""The state of a plan, and whether an earlier run had finished it; or the error that refuses it."""


@dataclass(frozen=True)
class Job:
    """A tomogram to process: its name, and a function that makes its plan and may refuse the input by an error.

    ``size`` is that of its source, in any unit that is the same for all jobs of a run, if it is known. ``light``: no
    unit takes longer than some seconds, or uses a network or GPU (:mod:`volengine.engine.here_first`).
    """

    name: str
    plan: Callable[[], Plan]
    size: float | None = None
    light: bool = False


class Opening:
    """Makes and prepares the plans of jobs.

    Parameters
    ----------
    jobs
        The jobs; those that were begun are taken from the list.
    folder
        The run folder.
    options, limit
        The options of the run, and the memory of one thread of a worker, bytes.
    living
        The other parts of the run; ``None``: there are none.
    lock
        The lock of this driver on the run folder.
    beside
        Where plans are prepared.
    new
        Notes the folders that are not there before the first plan is prepared.
    """

    def __init__(
        self,
        jobs: list[Job],
        folder: RunFolder,
        options: RunOptions,
        limit: int,
        living: Living | None,
        lock: Lock,
        beside: Beside,
        new: NewFolders,
    ):
        self.jobs, self.folder, self.options, self.limit = jobs, folder, options, limit
        self.living, self.lock, self.beside, self.new = living, lock, beside, new
        self._case = not ignores_case(folder.path)
        self._names: dict[str, tuple[str, str]] = {}
        self._begun: deque[tuple[str, Prepared]] = deque()

    def __bool__(self) -> bool:
        """Whether plans are left that were not taken."""
        return bool(self.jobs or self._begun)

    @property
    def next(self) -> list[Prepared]:
        """The step that must end before a further plan can be taken, if one has begun."""
        return [future for _, future in list(self._begun)[:1]]

    def room(self, most: int) -> bool:
        """Whether there is a job, and fewer than ``most`` and :data:`AHEAD` plans are prepared and not taken."""
        return bool(self.jobs) and len(self._begun) < min(most, AHEAD)

    def begin(self, *, at_once: bool) -> None:
        """Make the plan of the next job, and prepare it: here and now if ``at_once``, else beside."""
        job = self.jobs.pop(0)
        self.lock.check(read_again=True)  # what follows deletes and creates
        try:
            plan = job.plan()
            self._claim(plan.name, job.name)
            plan.check(self.limit)
            for spec in plan.images if at_once else ():
                if (place := local_path(spec.url)) is not None:
                    self.new.note(place.parent)
        except Exception as error:
            failed: Prepared = Future()
            failed.set_exception(error)
            self._begun.append((job.name, failed))
        else:
            self._begun.append((job.name, self.beside.do(partial(self._prepare, plan), alone=at_once)))

    def take(self) -> Iterator[tuple[str, Prepared]]:
        """Take the plans that are prepared, in the order of their jobs, with the name of the job."""
        while self._begun and self._begun[0][1].done():
            yield self._begun.popleft()

    def _prepare(self, plan: Plan) -> tuple[PlanState, bool]:
        folder = self.folder.plan(plan.name)
        finished = is_finished(folder)
        claims = None if self.living is None else Claims(folder.path, self.living, self.lock.nonce)
        state = PlanState(plan, folder, self.options, self.limit, claims)
        state.prepare()
        return state, finished

    def _claim(self, name: str, label: str) -> None:
        """Refuse a second plan of the same name, because both would write the same files."""
        key = place_key(name, case=self._case)
        if key in self._names:
            other, first = self._names[key]
            same = "" if other == name else f" and {other!r}, which are the same for the file system"
            raise InputError(
                f"Two inputs have the name {name!r}{same}, and would write the same files: {first} and {label}; rename "
                "one, or give another --out for it."
            )
        self._names[key] = (name, label)

    def leave_nothing(self, opened: Iterable[PlanState]) -> None:
        """Delete what was made for units that no worker has ever begun; what an earlier run has left stays.

        A folder of a run that began with this one goes, too, unless jobs of a batch system have said something in it.

        Parameters
        ----------
        opened
            The plans that were taken; those that wait here are withdrawn with them.
        """
        waiting = [future.result()[0] for _, future in self._begun if future.done() and not future.exception()]
        for state in [*opened, *waiting]:
            state.withdraw()
            if not state.skipped and not state.finished and state.former_calls is None:
                shutil.rmtree(state.folder.path, ignore_errors=True)
        path = self.folder.path
        with contextlib.suppress(OSError):
            (path / "plans").rmdir()
        if path in self.new and {one.name for one in path.iterdir()} <= {self.folder.log.name, self.lock.path.name}:
            self.folder.log.unlink(missing_ok=True)
