"""The state of one plan during a run: which units are done, running, waiting or failed, and what comes next."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from volengine.core.aside import sweep
from volengine.core.block import Table
from volengine.core.errors import DamagedError, RunError
from volengine.engine import inventory, origin
from volengine.engine.agreement import CURRENT, LOCK, agreed
from volengine.engine.claims import Claims
from volengine.engine.driver_lock import drivers
from volengine.engine.earlier import writers_of
from volengine.engine.grouping import group_size
from volengine.engine.kernels import ONLY_SHOWN
from volengine.engine.ledger import PlanFolder
from volengine.engine.lock import critical
from volengine.engine.moved import moved_alone, settled
from volengine.engine.options import RunOptions
from volengine.engine.outputs import FINISHED, UNITS, Outputs
from volengine.engine.products import take_places
from volengine.engine.receipts import Numbers, Receipt
from volengine.engine.resume import check_inputs, refuse_another, resumed
from volengine.engine.stage import Stage
from volengine.engine.tables import Tables, reads
from volengine.engine.tally import Tally
from volengine.engine.work import Bundle

if TYPE_CHECKING:
    from volengine.engine.plan import Made, Plan

CALLS = threading.Lock()
"""Of plans that are finished at the same time, one makes its calls: they may need much memory, and know no threads."""

ROUNDS = 5
"""Number of times that lost results of a plan are made again in one run, before it counts as failed."""


class PlanState:
    """Drives one plan: it prepares the outputs, gives out bundles stage by stage, and finishes the plan.

    Parameters
    ----------
    plan
        The plan to run. Unless the options state a block, it is resumed in the blocks of a former plan
        (:func:`~volengine.engine.resume.resumed`).
    folder
        Folder of the plan.
    options
        Options of the run.
    limit
        Memory of a worker, bytes.
    claims
        What the parts of the run have begun; ``None`` if there are no other parts.

    Raises
    ------
    OldPlanError
        The folder contains a plan of another version of volengine.
    InputError
        It contains the results of another input of the same name.
    """

    def __init__(self, plan: Plan, folder: PlanFolder, options: RunOptions, limit: int, claims: Claims | None = None):
        self._home = self._alone = ""
        former = type(plan).former(folder, ONLY_SHOWN)  # refuses that of another version; nothing of it is run
        if former is not None and not options.overwrite:
            refuse_another(former, plan, folder)
            self._home = folder.home()
            plan, former = settled(plan, former, self._home, folder)
            self._alone = moved_alone(plan, former, folder)
        self.former_calls = None if former is None else former.finish
        self.plan = plan if options.block else resumed(plan, former, folder, limit)
        self.folder = folder
        self.options = options
        self.limit = limit
        self.claims = claims
        self.identities = self.plan.identities
        self.outputs = Outputs(self.plan, folder, options)
        self.writers = writers_of(self.plan)
        self.position = 0
        self.done: dict[str, Numbers] = {}
        self._proven: dict[str, Numbers] = {}
        self.skipped = 0
        self.pending: deque[int] = deque()
        self.parted: deque[list[int]] = deque()
        self.under_way = 0
        self.attempts: Counter[tuple[str, int]] = Counter()
        self.taking = False
        """Whether the units that are given out are those of other parts."""
        self.error: BaseException | None = None
        self.finished = False
        self.said: list[str] = []
        self.rounds = 0
        self.notices: list[str] = []
        self.tallies = {stage.name: Tally() for stage in self.plan.stages}
        self._seconds: deque[float] = deque(maxlen=200)

    # -- beginning -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Create the outputs, or recognise those of an earlier run, and read which units are done already.

        Results that are missing or have another size than their receipts say are made again. After a finished run only
        they are, because everything was there when it finished; else also what may have been computed from them.

        Raises
        ------
        BusyError, InputError
            Another part works on another plan in this folder; or a product was changed or is not of this folder, and is
            not to be overwritten.
        """
        with agreed(self.folder, self.options, self.outputs.described()):
            if self.claims is not None:
                self.claims.clear()
            complete = self.outputs.complete()
            lost = self._losses() if complete else []
            edited = self.outputs.lost_products(deep=True) if self.options.overwrite else ()
            if complete and not lost and not edited and not self.outputs.unproven():
                if self._home and self._home != self.folder.home(now=True) and self.folder.moved_from():
                    self.folder.write_plan(self.plan.to_json())
                    self.outputs.note_images()
                origin.note(self.folder, self.plan.origin)
                self.said = self.outputs.said()
                self.finished = True
                self.skipped = self.plan.units
                return
            before = self.outputs.finished()
            take_places(self.outputs, before, self.former_calls)
            whole = before is not None and before["fingerprint"] == self.plan.fingerprint
            torn = [*(edited or self.outputs.lost_products(before)), *self.outputs.lost_images(before)] if whole else []
            self.notices += [self._alone] if self._alone else []
            self.notices += [f"{self.plan.name}: {problem}; it is written again." for problem in torn]
            (self.folder.path / FINISHED).unlink(missing_ok=True)  # first: what it says of this folder ends here
            self.folder.write_plan(self.plan.to_json())
            origin.note(self.folder, self.plan.origin)
            sweep(self.folder.path)
            self.folder.write_json(UNITS, {s.name: len(s.tiling) for s in self.plan.stages})
            self.folder.write_json(CURRENT, self.identities, durable=False)
            self.folder.forget_others(self.identities)
            self.outputs.create(before)
            self._withdraw(self._losses(), dependent=not whole)
        self.skipped = sum(len(numbers) for numbers in self.done.values())
        self._enter()

    def _losses(self) -> list[inventory.Loss]:
        return inventory.losses(self.plan, self.folder, self.outputs.gone())

    def _withdraw(self, lost: list[inventory.Loss], *, dependent: bool = True) -> None:
        """Withdraw the receipts of what is lost, and of what may have been computed from it."""
        if lost:
            first = lost[0]
            self.notices.append(
                f"{self.plan.name}: {first.problem}"
                + (f", and {len(lost) - 1} more objects are not as they were written" if len(lost) > 1 else "")
                + "; it is made again."
            )
            self._again(inventory.units_of(lost), dependent=dependent)
        self._forget_gone()

    def _again(self, units: Mapping[str, Collection[int]], *, dependent: bool = True) -> None:
        if dependent:
            units = inventory.dependents(self.plan, units, inventory.halos_of(self.folder.receipts))
        self.folder.forget_units(units)

    def _read_done(self) -> dict[str, Numbers]:
        """Return the finished blocks by stage: those of the ledger, and all blocks of stages that are not needed.

        Deleted results are not needed as long as :meth:`_forget_gone` finds no unfinished stage that reads them.
        """
        afresh, news = self.folder.receipts.stream()
        if afresh or not self._proven:
            self._proven = {stage.name: Numbers() for stage in self.plan.stages}
        for receipt in news:
            if self.identities.get(receipt["stage"]) == receipt["identity"]:
                self._proven[receipt["stage"]].add(int(receipt["number"]))
        gone = self.outputs.gone()
        return {
            s.name: Numbers(range(len(s.tiling))) if s.name in gone else self._proven[s.name] for s in self.plan.stages
        }

    def _forget_gone(self) -> None:
        """After a clean-up, mark deleted results to be computed again, but only if something reads them.

        That is an unfinished stage, or, of a last stage that was computed with another recipe, a call at the end.
        """
        self.done = self._read_done()
        gone = self.outputs.gone()
        required: list[Stage] = []
        lost: list[str] = []
        for stage in reversed(self.plan.stages):
            if stage.name in gone:
                if any(reads(later, stage) for later in required) or self._is_other(stage):
                    lost.append(stage.name)
                    required.append(stage)
            elif len(self.done[stage.name]) < len(stage.tiling):
                required.append(stage)
        if lost:
            self.folder.forget(lost)
            self.outputs.wanted(lost)
            self.done = self._read_done()

    def _is_other(self, stage: Stage) -> bool:
        """Whether calls at the end would find another recipe's tables of a stage that no other stage reads."""
        unproven = len(self._proven[stage.name]) < len(stage.tiling)
        return unproven and bool(self.plan.finish) and not any(reads(later, stage) for later in self.plan.stages)

    # -- stage by stage ------------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.plan.stages[self.position]

    @property
    def active(self) -> bool:
        """Whether the plan has neither finished nor failed."""
        return not self.finished and self.error is None

    def _enter(self) -> None:
        """Go to the first stage with unfinished units."""
        while self.position < len(self.plan.stages):
            stage = self.stage
            if len(self.done[stage.name]) < len(stage.tiling):
                left = [n for n in range(len(stage.tiling)) if n not in self.done[stage.name]]
                self.pending = deque(self._share(left))
                self.parted.clear()
                self.taking = False
                self._seconds.clear()
                return
            self.position += 1
        self.pending.clear()

    def _share(self, left: list[int]) -> list[int]:
        k, n = self.options.part_of()
        # the shift spreads stages with few units, and small tomograms, over the parts
        shift = int(self.identities[self.stage.name][:8], 16)
        return [number for number in left if (number + shift) % n == k - 1]

    @property
    def at_end(self) -> bool:
        """Whether all stages are done."""
        return self.position >= len(self.plan.stages)

    @property
    def waiting(self) -> bool:
        """Whether units of the current stage wait to be run here."""
        return bool(self.pending or self.parted)

    def next_bundle(
        self, slots: int, most: int | None = None, *, expected_s: float | None = None, beside: int = 0
    ) -> Bundle | None:
        """Return a bundle of units to run now, or ``None`` if this plan must wait.

        Parameters
        ----------
        slots
            Number of bundles that run at the same time.
        most
            The largest number of units; ``None``: any.
        expected_s
            Seconds of a unit of this stage in other plans, if they are known: they count until this plan has its own.
        beside
            Number of units of other plans that could run at the same time.
        """
        while self.active and self.waiting:
            if self.parted:
                numbers = self.parted.popleft()
                if most is not None and len(numbers) > most:
                    self.parted.appendleft(numbers[most:])
                    numbers = numbers[:most]
            else:
                size = min(self._group(slots, expected_s, beside), len(self.pending))
                numbers = [self.pending.popleft() for _ in range(size if most is None else min(size, most))]
            if numbers := self._begun(numbers):
                self.under_way += 1
                return self.bundle(self.stage, numbers)
        return None

    def give_back(self, numbers: Iterable[int]) -> None:
        """Take back units of a bundle that were not begun; they are the next ones."""
        self.pending.extendleft(reversed([*numbers]))

    def _begun(self, numbers: list[int]) -> list[int]:
        """Return those of some units that no other part has begun; from now on the others see that this one has."""
        if self.taking:
            self.done = self._read_done()
            numbers = [number for number in numbers if number not in self.done[self.stage.name]]
        if self.claims is None or not numbers:
            return numbers
        begin = self.claims.take if self.taking else self.claims.begin
        return begin(self.identities[self.stage.name], numbers)

    def bundle(self, stage: Stage, numbers: Iterable[int]) -> Bundle:
        """Return a bundle of units of a stage."""
        return Bundle(
            str(self.folder.path),
            stage,
            self.identities[stage.name],
            tuple(numbers),
            self.limit,
            self.writers[stage.name],
            self.options.durable,
        )

    def _group(self, slots: int, expected_s: float | None, beside: int) -> int:
        """How many units make a bundle (:func:`.grouping.group_size`)."""
        own = sum(self._seconds) / len(self._seconds) if self._seconds else None
        takers = self.claims.parts if self.taking and self.claims is not None else 1
        return group_size(own or expected_s, len(self.pending), slots, beside=beside, takers=takers)

    def received(self, receipts: list[Receipt]) -> None:
        """Record the receipts of finished units."""
        for receipt in receipts:
            self.done[receipt["stage"]].add(int(receipt["number"]))
            self.tallies[receipt["stage"]].add(receipt)
            self._seconds.append(float(receipt["seconds"]))

    def failed(self, bundle: Bundle, error: BaseException, final: bool) -> bool:
        """Record that a bundle ended with an error; return whether its units are run again.

        The unit that failed is run again alone. The others are run again in two halves: if the worker died, nobody
        knows which of them has killed it, and halves find it soon.

        Parameters
        ----------
        bundle, error
            The bundle, and the error that ended it.
        final
            Whether the error is about the input, so that running the units again would not help.
        """
        if isinstance(error, DamagedError) and self._made_again(error):
            return True
        several, bundle = bool(bundle.then), self.unfinished(bundle)
        if several:
            self._enter()  # the plan is where its worker was
            self.pending.clear()
        name = bundle.stage.name
        left = [n for n in bundle.numbers if n not in self.done[name]]
        if not left:
            return True
        self.attempts[name, left[0]] += 1
        if final or self.attempts[name, left[0]] > self.options.retries:
            self.error = error
            self.pending.clear()
            self.parted.clear()
            return False
        half = len(left) // 2 + 1
        self.parted.extend(numbers for numbers in (left[:1], left[1:half], left[half:]) if numbers)
        return True

    def unfinished(self, bundle: Bundle) -> Bundle:
        """Return what is left of a bundle that has failed, by the ledger; the bundle itself if nothing is."""
        self.done = self._read_done()
        return bundle.less(self.done) or bundle

    def first_left(self, bundle: Bundle) -> int:
        """Return the first unit of a bundle that is not done: the one that has failed, or a neighbour of it."""
        return next((n for n in bundle.numbers if n not in self.done[bundle.stage.name]), bundle.numbers[0])

    def _made_again(self, error: DamagedError) -> bool:
        """Withdraw what an earlier stage of this plan has written and a unit could not read; it is made again.

        Returns whether it is; else the damage is in an input.
        """
        with critical(self.folder.path / LOCK):
            return self._withdraw_damaged(error)

    def _withdraw_damaged(self, error: DamagedError) -> bool:
        """Do what :meth:`_made_again` says; the caller holds the lock."""
        units = inventory.units_writing(self.plan, error.url, error.path, error.keys, self.folder)
        if not any(units.values()) or self.rounds >= ROUNDS:
            return False
        self.rounds += 1
        self.notices.append(f"{self.plan.name}: {error} It is made again.")
        gone = self.outputs.gone()
        if deleted := [name for name, numbers in units.items() if numbers and name in gone]:
            self.folder.forget(deleted)  # deleted at the end of an earlier run, and a product is made of it again
            self.outputs.wanted(deleted)
        self._again(units)
        self._forget_gone()
        self._start_over()
        return True

    def _start_over(self) -> None:
        """Give out nothing more of this stage; when its bundles have ended, go to the first unfinished stage."""
        self.pending.clear()
        self.parted.clear()
        self.done = self._read_done()
        self.position = 0

    def advance(self) -> None:
        """Go to the next stage if no unit of this one is waiting or running."""
        if self.active and not self.waiting and not self.under_way and not self.at_end:
            self._enter()

    # -- parts ---------------------------------------------------------------------------------------------

    def catch_up(self) -> bool:
        """Read the receipts of other parts; return whether there are new ones, or the stage is done."""
        before, position = sum(len(v) for v in self.done.values()), self.position
        self.done = self._read_done()
        self._enter()
        return sum(len(v) for v in self.done.values()) > before or self.position != position

    @property
    def shared(self) -> bool:
        """Whether a part has begun to take over units of the current stage."""
        return self.claims is not None and self.claims.shared(self.identities[self.stage.name])

    def take_over(self, *, all_of_them: bool = False) -> bool:
        """Take units of the stage that other parts have not finished; running a unit twice is harmless.

        Parameters
        ----------
        all_of_them
            Also those that living parts have begun.

        Returns
        -------
        Whether there are any.
        """
        name, held = self.stage.name, set[int]()
        if all_of_them:
            self.claims = None
        if self.claims is not None:
            held = self.claims.held(self.identities[name])
        done = self.done[name]
        self.pending = deque(n for n in range(len(self.stage.tiling)) if n not in done and n not in held)
        self.taking = bool(self.pending)
        return self.taking

    # -- end -----------------------------------------------------------------------------------------------

    def tables(self, stage: str) -> Mapping[int, Table]:
        """Return all tables of a stage, by block number; each is read when it is asked for."""
        return Tables(self.folder, stage, len(self.plan.stage(stage).tiling))

    def finish(self) -> None:
        """Write the products, mark the outputs as complete, and delete scratch data. Several parts may call this.

        Before that, inputs and results are checked once more. If results are lost, they are made again: this plan is
        then not finished, and :meth:`next_bundle` gives out units again.

        Raises
        ------
        ChangedError
            An input has changed since the plan was made, so the results may belong to neither version.
        RunError
            Results were lost again and again.
        """
        with critical(self.folder.path / LOCK):
            if not self.outputs.complete():
                self._start_over()
                self._enter()
                if not self.at_end:  # another part has withdrawn something
                    return
                check_inputs(self.plan, self.folder)
                if lost := self._losses():
                    self.rounds += 1
                    if self.rounds > ROUNDS:
                        raise RunError(f"{self.plan.name}: {lost[0].problem}, for the {ROUNDS}th time.")
                    self._withdraw(lost)
                    self._start_over()
                    self._enter()
                    return
                try:
                    with CALLS:
                        made: list[Made] = [
                            call.load()(self.plan, self.tables, **call.params) for call in self.plan.finish
                        ]
                except DamagedError as error:
                    if not self._withdraw_damaged(error):
                        raise
                    self._enter()
                    return
                said = [line for one in made for line in one.said]
                found = {name: fact for one in made for name, fact in one.found.items()}
                self.outputs.finish([place for one in made for place in one.products], said, found)
            self.said = self.outputs.said()
        self.finished = True

    def withdraw(self) -> None:
        """After a failure, delete the images without any finished unit, so that no empty image is left behind.

        If another driver has planned anew in this folder, while this one was asleep, the images are its own; while
        other parts work on the plan, they may be about to write into them.
        """
        with critical(self.folder.path / LOCK):
            others = len(drivers(self.folder.path.parent.parent)) > 1
            if not others and self.folder.read_json(CURRENT) == self.identities:
                self.outputs.remove_unwritten()
