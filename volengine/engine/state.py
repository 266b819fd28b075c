"""The state of one plan during a run: which units are done, running, waiting or failed, and what comes next."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from volengine.core.block import Table
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.engine.kernels import ONLY_SHOWN
from volengine.engine.ledger import PlanFolder, Receipt
from volengine.engine.options import RunOptions
from volengine.engine.resume import resumed
from volengine.engine.stage import Stage
from volengine.engine.work import Bundle
from volengine.io.omezarr import image as omezarr

if TYPE_CHECKING:
    from volengine.engine.plan import Plan

BUNDLE_SECONDS = 1.5
"""Seconds that a bundle of small units should take, so that the scheduler's cost per unit is negligible."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold an exclusive file lock, so that one process at a time runs the block; it is released if the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


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

    Raises
    ------
    OldPlanError
        The folder contains a plan of another version of volengine.
    """

    def __init__(self, plan: Plan, folder: PlanFolder, options: RunOptions, limit: int):
        type(plan).former(folder, ONLY_SHOWN)  # refuses that of another version; nothing of it is run
        self.plan = plan if options.block else resumed(plan, folder, limit)
        self.folder = folder
        self.options = options
        self.limit = limit
        self.identities = self.plan.identities
        self.position = 0
        self.done: dict[str, set[int]] = {}
        self.unneeded: set[str] = set()
        self.skipped = 0
        self.pending: list[int] = []
        self.under_way = 0
        self.attempts: Counter[tuple[str, int]] = Counter()
        self.single = False
        self.resumed = False
        self.error: BaseException | None = None
        self.finished = False
        self.receipts: list[Receipt] = []
        self._seconds: list[float] = []

    # -- beginning -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Create the outputs, or recognise those of an earlier run, and read which units are done already."""
        with exclusive(self.folder.path / "lock"):
            if self._complete():
                self.finished = True
                self.skipped = self.plan.units
                return
            self.folder.write_json("plan.json", self.plan.to_json())
            self.folder.write_json("units.json", {s.name: len(s.tiling) for s in self.plan.stages})
            (self.folder.path / "finished.json").unlink(missing_ok=True)
            self.folder.forget_others(self.identities)
            self._create_images()
            self.done = self._read_done()
            self._forget_cleaned()
        self.skipped = sum(len(numbers) for numbers in self.done.values())
        self.resumed = self.skipped > 0
        self._enter()

    def _complete(self) -> bool:
        finished = self.folder.read_json("finished.json")
        if finished is None or finished["fingerprint"] != self.plan.fingerprint:
            return False
        token = self.folder.token()
        return all(
            spec.scratch
            or (omezarr.store_token(spec.url, spec.group) == token and omezarr.is_complete(spec.url, spec.group))
            for spec in self.plan.images
        )

    def _create_images(self) -> None:
        token = self.folder.token()
        known = self.folder.read_json("images.json") or {}
        digests = {}
        for spec in self.plan.images:
            key = f"{spec.url}|{spec.group}|{spec.levels[0].path if spec.scratch else ''}"
            digests[key] = self._made_as(spec)
            ours = omezarr.store_token(spec.url, spec.group) == token
            if ours and not self.options.overwrite:
                _check_feature(spec, known.get(key, digests[key]))
            if ours and known.get(key) == digests[key]:
                if not spec.scratch:
                    omezarr.reopen_image(spec)  # it is not complete while its units are run again
                continue
            if ours:
                omezarr.remove(spec.url, spec.group)
            omezarr.create_image(spec, token=token, overwrite=self.options.overwrite)
            self.folder.forget(self._writers(spec))
        self.folder.write_json("images.json", {**known, **digests})

    def _made_as(self, spec: ImageSpec) -> str:
        """Digest of an image's description, of a scratch array also of the stages that write it; and its feature.

        A scratch array has no history that tells one recipe or source from another.
        """
        writers = [self.identities[name] for name in self._writers(spec)] if spec.scratch else []
        text = json.dumps([spec.to_json(), writers], sort_keys=True, default=str)
        return f"{hashlib.sha256(text.encode()).hexdigest()[:20]} {spec.facts.get('feature', '')}".rstrip()

    def _writers(self, spec: ImageSpec) -> list[str]:
        paths = {spec.array_path(level) for level in range(len(spec.levels))}
        return [
            s.name
            for s in self.plan.stages
            if any(o.volume.url == spec.url and o.volume.path in paths for o in s.outputs.values())
        ]

    def _cleaned(self, stage: Stage) -> bool:
        """Return whether results of a stage are deleted at the end of the run: scratch arrays, tables of blocks.

        The table of a stage with one unit is kept, because it is small and products are written from it.
        """
        scratch = {spec.url for spec in self.plan.images if spec.scratch}
        if stage.transient or (stage.emits and len(stage.tiling) > 1):
            return True
        return any(o.volume.url in scratch for o in stage.outputs.values())

    def _read_done(self) -> dict[str, set[int]]:
        """Return the finished blocks by stage: those of the ledger, and all blocks of stages that are not needed."""
        done = self.folder.done(self.identities)
        for stage in self.plan.stages:
            if stage.name in self.unneeded:
                done[stage.name] = set(range(len(stage.tiling)))
        return done

    def _forget_cleaned(self) -> None:
        """After a clean-up, mark deleted results to be computed again, but only if an unfinished stage reads them."""
        marker = self.folder.path / "cleaned"
        if not marker.exists():
            return
        required: list[Stage] = []
        lost: list[str] = []
        for stage in reversed(self.plan.stages):
            read = any(reads(later, stage) for later in required)
            if self._cleaned(stage):
                if read:
                    lost.append(stage.name)
                    required.append(stage)
                else:
                    self.unneeded.add(stage.name)
            elif len(self.done[stage.name]) < len(stage.tiling):
                required.append(stage)
        self.folder.forget(lost)
        self.done = self._read_done()
        if lost:
            marker.unlink()

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
            left = [n for n in range(len(stage.tiling)) if n not in self.done[stage.name]]
            if left:
                self.pending = self._share(left)
                self.single = False
                self._seconds = []
                return
            self.position += 1
        self.pending = []

    def _share(self, left: list[int]) -> list[int]:
        k, n = self.options.part_of()
        # the shift spreads stages with few units, and small tomograms, over the parts
        shift = int(self.identities[self.stage.name][:8], 16)
        return [number for number in left if (number + shift) % n == k - 1]

    @property
    def at_end(self) -> bool:
        """Whether all stages are done."""
        return self.position >= len(self.plan.stages)

    def next_bundle(self, slots: int) -> Bundle | None:
        """Return a bundle of units to run now, or ``None`` if this plan must wait.

        Parameters
        ----------
        slots
            Number of bundles that run at the same time.
        """
        if not self.active or not self.pending:
            return None
        size = 1 if self.single else self._group(slots)
        numbers, self.pending = self.pending[:size], self.pending[size:]
        self.under_way += 1
        retry = self.resumed or any(self.attempts[self.stage.name, n] for n in numbers)
        return Bundle(
            str(self.folder.path),
            self.stage,
            self.identities[self.stage.name],
            tuple(numbers),
            self.limit,
            retry,
        )

    def _group(self, slots: int) -> int:
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else BUNDLE_SECONDS
        fitting = max(4, int(BUNDLE_SECONDS / max(mean, 1e-4)))
        fair = -(-len(self.pending) // (2 * slots)) if self._seconds else -(-len(self.pending) // (8 * slots))
        return max(1, min(fitting, fair, 512))

    def received(self, receipts: list[Receipt]) -> None:
        """Record the receipts of finished units."""
        for receipt in receipts:
            self.done[receipt["stage"]].add(int(receipt["number"]))
            self._seconds.append(float(receipt["seconds"]))
        self.receipts += receipts
        self._seconds = self._seconds[-200:]

    def failed(self, bundle: Bundle, error: BaseException, final: bool) -> bool:
        """Record that a bundle ended with an error; return whether its units are run again.

        Parameters
        ----------
        bundle, error
            The bundle, and the error that ended it.
        final
            Whether the error is about the input, so that running the units again would not help.
        """
        finished = self.folder.done(self.identities)[bundle.stage.name]
        new = [n for n in bundle.numbers if n in finished and n not in self.done[bundle.stage.name]]
        self.done[bundle.stage.name].update(new)
        left = [n for n in bundle.numbers if n not in finished]
        if not left:
            return True
        self.attempts[bundle.stage.name, left[0]] += 1
        if final or self.attempts[bundle.stage.name, left[0]] > self.options.retries:
            self.error = error
            self.pending = []
            return False
        self.single = True
        self.pending = left + self.pending
        return True

    def advance(self) -> None:
        """Go to the next stage if no unit of this one is waiting or running."""
        if self.active and not self.pending and not self.under_way and not self.at_end:
            self._enter()

    # -- parts ---------------------------------------------------------------------------------------------

    def catch_up(self) -> bool:
        """Read the receipts of other parts; return whether there are new ones."""
        before = sum(len(v) for v in self.done.values())
        self.done = self._read_done()
        self._enter()
        return sum(len(v) for v in self.done.values()) > before

    def take_over(self) -> None:
        """Take all unfinished units of the stage, as other parts make no progress; running a unit twice is harmless."""
        self.pending = [n for n in range(len(self.stage.tiling)) if n not in self.done[self.stage.name]]
        self.single = True

    # -- end -----------------------------------------------------------------------------------------------

    def tables(self, stage: str) -> dict[int, Table]:
        """Return all tables of a stage, by block number."""
        return {n: self.folder.read_table(stage, n) for n in range(len(self.plan.stage(stage).tiling))}

    def finish(self) -> None:
        """Write the products, mark the outputs as complete, and delete scratch data. Several parts may call this."""
        with exclusive(self.folder.path / "lock"):
            if not self._complete():
                for call in self.plan.finish:
                    call.load()(self.plan, self.tables, **call.params)
                for spec in self.plan.images:
                    if not spec.scratch:
                        omezarr.finish_image(spec)
                if not self.options.keep_scratch:
                    self._clean()
                self.folder.write_json(
                    "finished.json", {"fingerprint": self.plan.fingerprint, "time": round(time.time(), 3)}
                )
        self.finished = True

    def withdraw(self) -> None:
        """After a failure, delete the images without any finished unit, so that no empty image is left behind."""
        with exclusive(self.folder.path / "lock"):
            done = self.folder.done(self.identities)
            token = self.folder.token()
            for spec in self.plan.images:
                written = any(done[name] for name in self._writers(spec))
                if not spec.scratch and not written and omezarr.store_token(spec.url, spec.group) == token:
                    omezarr.remove(spec.url, spec.group)

    def _clean(self) -> None:
        (self.folder.path / "cleaned").touch()
        shutil.rmtree(self.folder.scratch, ignore_errors=True)
        for stage in self.plan.stages:
            if stage.emits and len(stage.tiling) > 1:
                self.folder.remove_tables(stage.name)


def reads(later: Stage, stage: Stage) -> bool:
    """Return whether ``later`` reads a table or an array of ``stage``."""
    made = {(o.volume.url, o.volume.path) for o in stage.outputs.values()}
    arrays = {(a.volume.url, a.volume.path) for a in later.arrays.values()}
    return bool(made & arrays) or any(t.stage == stage.name for t in later.tables.values())


def _check_feature(spec: ImageSpec, former: str) -> None:
    """Refuse to replace the image of one feature by that of another, which has the same file name.

    Raises
    ------
    InputError
        The image is of another feature; ``former`` is what :meth:`PlanState._made_as` has said of it.
    """
    feature, before = str(spec.facts.get("feature", "")), former.partition(" ")[2]
    if feature != before:
        raise InputError(
            f"{spec.url} is the image of {before!r}, which an earlier call has written; {feature!r} has the same file "
            "name. Give another --out, or --overwrite to lose the former."
        )
