"""What the receipts of a plan say was written, compared with what is stored; and what depends on what is lost.

Comparing sizes needs one listing per array and is done whenever a plan is resumed and before it is complete. Comparing
checksums reads everything (``deep``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from volengine.core.boxes import Box, Index3, index3, neighbours
from volengine.engine.ledger import PlanFolder
from volengine.engine.problems import Problem, missing
from volengine.engine.reading import reached
from volengine.engine.receipts import Numbers, Receipt, Stored
from volengine.engine.stage import Output, Stage, TableInput
from volengine.io.names import StoredObject
from volengine.io.omezarr.objects import crc32c
from volengine.io.open import open_sink
from volengine.io.stores import stored_bytes, stored_objects

if TYPE_CHECKING:
    from volengine.engine.plan import Plan

Units = dict[str, set[int]]
"""Numbers of blocks by stage name."""

Progress = Callable[[int, int], None]
"""Called with the number of objects that were read, and of all."""

MANY = 1000
"""Number of lost units of a stage from which all units that can read any of them count as dependent."""


@dataclass(frozen=True)
class Loss:
    """An object that is not what a receipt says.

    Parameters
    ----------
    stage, number
        The unit that has written it.
    problem
        Which object it is, and what is wrong with it.
    """

    stage: str
    number: int
    problem: Problem


Claims = dict[str, dict[Stored | None, int]]
"""For each key what receipts say of it, and the number of the unit. A unit that ran twice may have two."""


def losses(
    plan: Plan,
    folder: PlanFolder,
    skip: Collection[str] = (),
    *,
    deep: bool = False,
    progress: Progress | None = None,
) -> list[Loss]:
    """Find what receipts claim and is not stored.

    Parameters
    ----------
    plan, folder
        The plan and its folder.
    skip
        Names of stages whose results are not expected to be there, because they were deleted at the end of the run.
    deep
        Read all objects and compare their checksums, too.
    progress
        Called after each object that is read.
    """
    wanted = {stage.name: stage for stage in plan.stages if stage.name not in skip}
    checks = {stage.name: _checks(stage, folder, deep) for stage in wanted.values()}
    for receipt in _proofs(plan, folder, wanted):
        for check in checks[receipt["stage"]]:
            check.suspect(receipt)
    if any(check.suspects for mine in checks.values() for check in mine):
        for receipt in _proofs(plan, folder, wanted):  # of these, each receipt counts: a unit that ran twice has two
            for check in checks[receipt["stage"]]:
                check.claim(receipt)
    total = sum(len(check.claims) for mine in checks.values() for check in mine if check.deep)
    found, read = [], 0
    for check in (check for mine in checks.values() for check in mine):
        for loss in check.run():
            if loss is not None:
                found.append(loss)
            if check.deep and progress is not None:
                read += 1
                progress(read, total)
    return found


def _proofs(plan: Plan, folder: PlanFolder, stages: Mapping[str, Stage]) -> Iterator[Receipt]:
    """Yield the receipts that prove units of these stages."""
    for receipt in folder.receipts:
        stage = stages.get(receipt["stage"])
        if stage is not None and _counts(receipt, plan, stage):
            yield receipt


def _checks(stage: Stage, folder: PlanFolder, deep: bool) -> list[Check]:
    """Return the checks of all that a stage writes: its arrays, tables and other files."""

    def of_output(key: str) -> Callable[[Receipt], Iterator[tuple[str, Stored | None]]]:
        return lambda receipt: (
            (place, _stored(entry)) for place, entry in receipt.get("wrote", {}).get(key, {}).items()
        )

    def tables(receipt: Receipt) -> Iterator[tuple[str, Stored | None]]:
        if "table" in receipt:
            yield folder.table_key(int(receipt["number"])), _stored(receipt["table"])

    def files(receipt: Receipt) -> Iterator[tuple[str, Stored | None]]:
        return ((place, (int(size), -1)) for place, size in receipt.get("files", {}).items())

    arrays = [
        Check(stage.name, of_output(key), output.volume.url, output.volume.path, deep)
        for key, output in stage.outputs.items()
    ]
    return [
        *arrays,
        Check(stage.name, tables, str(folder.path), folder.tables_of(stage.name), deep),
        Check(stage.name, files, str(folder.path), folder.scratch.name, False),
    ]


def _stored(entry: Iterable[int] | None) -> Stored | None:
    if entry is None:
        return None
    size, crc = entry
    return int(size), int(crc)


@dataclass
class Check:
    """What receipts claim of one array or folder of tables or files, to be compared with what is stored there.

    A plan may have millions of objects, so only claims of those are kept that are not as a receipt says; ``deep`` looks
    at the bytes of all.

    Parameters
    ----------
    stage
        Name of the stage.
    said
        Yields the objects of which a receipt tells, with what it says of them.
    url, path
        Where they are.
    deep
        Compare checksums.
    """

    stage: str
    said: Callable[[Receipt], Iterator[tuple[str, Stored | None]]]
    url: str
    path: str
    deep: bool
    suspects: set[str] = field(default_factory=set)
    claims: Claims = field(default_factory=dict)

    @cached_property
    def stored(self) -> Mapping[str, StoredObject]:
        """What is there."""
        return stored_objects(self.url, self.path)

    def suspect(self, receipt: Receipt) -> None:
        """Note the objects that are not as a receipt says."""
        for key, entry in self.said(receipt):
            there = self.stored.get(key)
            if self.deep or (there is not None if entry is None else there is None or there.size != entry[0]):
                self.suspects.add(key)

    def claim(self, receipt: Receipt) -> None:
        """Note what a receipt says of objects that were noted before."""
        for key, entry in self.said(receipt):
            if key in self.suspects:
                self.claims.setdefault(key, {})[entry] = int(receipt["number"])

    def run(self) -> Iterator[Loss | None]:
        """Yield for each object that was noted what is wrong with it, or ``None``."""
        for key, said in self.claims.items():
            where = "/".join(filter(None, (self.url, self.path, key)))
            problem = _wrong(where, self.stored.get(key), said)
            if problem is None and self.deep and key in self.stored:
                data = stored_bytes(self.url, f"{self.path}/{key}") or b""
                if (len(data), crc32c(data)) not in said:
                    problem = Problem(where, "damaged", "is damaged: its checksum differs from what was written")
            yield None if problem is None else Loss(self.stage, next(iter(said.values())), problem)


def _wrong(where: str, stored: StoredObject | None, said: Mapping[Stored | None, int]) -> Problem | None:
    """Return what is wrong with an object; ``None`` if it is as one of the receipts says."""
    if stored is None:
        return None if None in said else missing(where)
    sizes = sorted({entry[0] for entry in said if entry is not None})
    if stored.size in sizes:
        return None
    why = f"has {stored.size} bytes, not {' or '.join(map(str, sizes))}" if sizes else "was not written by this run"
    return Problem(where, "damaged", why)


def claimed_objects(
    plan: Plan,
    folder: PlanFolder,
    wanted: Iterable[tuple[str, str]],
    see: Callable[[Receipt], None] = lambda receipt: None,
) -> dict[tuple[str, str], dict[str, Stored]]:
    """Return size and crc32c of every object that the plan has written into some arrays, for their manifests.

    Where a unit ran twice and wrote two versions (networks on different devices), the object itself is asked.

    Parameters
    ----------
    plan, folder
        The plan and its folder.
    wanted
        The arrays, by URL and path.
    see
        Called with each receipt, also of former plans.

    Returns
    -------
    For each array, by URL and path, its objects by key. What holds only zeros is not stored, and not listed.
    """
    stages = {stage.name: stage for stage in plan.stages}
    found: dict[tuple[str, str], dict[str, Stored]] = {place: {} for place in wanted}
    seen = {name: Numbers() for name in stages}
    twice: Units = defaultdict(set)
    for receipt in folder.receipts:
        see(receipt)
        stage, number = stages.get(receipt["stage"]), int(receipt["number"])
        if stage is None or not _counts(receipt, plan, stage):
            continue
        if number in seen[stage.name]:
            twice[stage.name].add(number)
        seen[stage.name].add(number)
        for name, objects in receipt.get("wrote", {}).items():
            volume = stage.outputs[name].volume if name in stage.outputs else None
            if volume is not None and (known := found.get((volume.url, volume.path))) is not None:
                known.update((key, stored) for key, entry in objects.items() if (stored := _stored(entry)) is not None)
    if twice:
        _ask(found, plan, folder, twice)
    return found


def _ask(found: dict[tuple[str, str], dict[str, Stored]], plan: Plan, folder: PlanFolder, units: Units) -> None:
    """Correct what is known of the objects of units that ran twice: if they wrote two versions, one is there."""
    for name, numbers in units.items():
        stage = plan.stage(name)
        mine = [r for r in folder.receipts if _counts(r, plan, stage) and int(r["number"]) in numbers]
        for output, its in stage.outputs.items():
            known = found.get((its.volume.url, its.volume.path))
            if known is None:
                continue
            claims: Claims = {}
            _claim(claims, output, mine)
            for key in (key for key, said in claims.items() if len(said) > 1):
                data = stored_bytes(its.volume.url, f"{its.volume.path}/{key}")
                known.pop(key, None)
                if data is not None:
                    known[key] = len(data), crc32c(data)


def _counts(receipt: Receipt, plan: Plan, stage: Stage) -> bool:
    """Return whether a receipt proves a unit of this very stage."""
    if receipt["stage"] != stage.name or receipt["identity"] != plan.identities[stage.name]:
        return False
    return 0 <= int(receipt["number"]) < len(stage.tiling)


def _claim(claims: Claims, output: str, receipts: Iterable[Receipt]) -> None:
    """Add what receipts say of the objects of an output."""
    for receipt in receipts:
        for key, entry in receipt.get("wrote", {}).get(output, {}).items():
            claims.setdefault(key, {})[_stored(entry)] = int(receipt["number"])


def units_of(lost: Iterable[Loss]) -> Units:
    """Return the units that have written what is lost."""
    units: Units = defaultdict(set)
    for loss in lost:
        units[loss.stage].add(loss.number)
    return dict(units)


def units_writing(plan: Plan, url: str, path: str, keys: Collection[str], folder: PlanFolder) -> Units:
    """Return the units of a plan that write these objects; no unit if the plan does not write that array or table."""
    if url == str(folder.path):
        numbers = {int(Path(key).stem) for key in keys}
        return {s.name: numbers for s in plan.stages if folder.tables_of(s.name) == path}
    for stage in plan.stages:
        for output in stage.outputs.values():
            if (output.volume.url, output.volume.path) == (url, path):
                return {stage.name: _writing(stage, output, set(keys))}
    return {}


def _writing(stage: Stage, output: Output, keys: set[str]) -> set[int]:
    sink = open_sink(output.volume)
    tiling = stage.tiling
    boxes = ((n, output.box(tiling.box(n), tiling.index(n))) for n in range(len(tiling)))
    return {n for n, box in boxes if not keys.isdisjoint(sink.keys(box))}


def dependents(plan: Plan, lost: Mapping[str, Collection[int]], halos: Mapping[tuple[str, int], Index3]) -> Units:
    """Return the lost units and all units that have read, directly or through others, what these have written.

    Parameters
    ----------
    plan
        The plan.
    lost
        Numbers of blocks by stage name.
    halos
        Wider halos that units have asked for, by stage and number.
    """
    again: Units = {stage.name: set(lost.get(stage.name, ())) for stage in plan.stages}
    writers = {(o.volume.url, o.volume.path): (s, o) for s in plan.stages for o in s.outputs.values()}
    stages = {stage.name: stage for stage in plan.stages}
    for stage in plan.stages:
        mine = again[stage.name]
        for source in stage.arrays.values():
            made = writers.get((source.volume.url, source.volume.path))
            if made is not None and again[made[0].name]:
                boxes = _boxes(*made, again[made[0].name])
                for number in set(range(len(stage.tiling))) - mine:
                    index, core = stage.tiling.index(number), stage.tiling.box(number)
                    wide = source.widened(halos.get((stage.name, number), (0, 0, 0)))
                    region = wide.stored(wide.region(core, index, stage.tiling.shape))
                    region = reached(region, source.volume.shape)
                    if any(not region.intersect(box).empty for box in boxes):
                        mine.add(number)
        for table in stage.tables.values():
            mine |= _table_readers(stage, table, again[table.stage], stages[table.stage])
    return {name: numbers for name, numbers in again.items() if numbers}


def _boxes(stage: Stage, output: Output, numbers: Collection[int]) -> list[Box]:
    """Return the boxes of the output that these units write; one around everything if there are many."""
    if len(numbers) > MANY:
        return [Box.of_shape(output.volume.shape)]
    tiling = stage.tiling
    return [output.box(tiling.box(n), tiling.index(n)) for n in numbers]


def _table_readers(stage: Stage, table: TableInput, lost: Collection[int], writer: Stage) -> set[int]:
    if not lost:
        return set()
    if table.scope in ("within", "holding"):  # what this stage holds is held by it, and the other way round
        back = TableInput(stage.name, "holding" if table.scope == "within" else "within", stage.tiling.core)
        return {reader for n in lost for reader in back.numbers(n, writer.tiling)}
    if table.scope == "all" or len(writer.tiling) != len(stage.tiling):
        return set(range(len(stage.tiling)))
    if table.scope == "own":
        return set(lost)
    grid = stage.tiling.grid
    around = {stage.tiling.number(cell) for n in lost for cell in neighbours(stage.tiling.index(n), grid)}
    return around | set(lost)


def halos_of(receipts: Iterable[Receipt]) -> dict[tuple[str, int], Index3]:
    """Return the wider halos that receipts tell of, by stage and number."""
    return {(r["stage"], int(r["number"])): index3(r["halo"]) for r in receipts if "halo" in r}
