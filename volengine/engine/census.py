"""What became of the volumes of a run folder: finished, changed since, failed, running, waiting; the time left.

The census of a folder with thousands of volumes takes bounded work: a listing of the plans, the log, one small file for
each volume that is finished, and for others the numbers of units and the receipts. No plan is taken apart, no store is
opened. A volume is finished if its record says so, which a run removes before it changes anything; it has failed if the
log says so after that. One that is finished has changed if the record of what it was made of says so (:mod:`.origin`).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from volengine.core.errors import FormatError, MissingError
from volengine.engine.agreement import CURRENT
from volengine.engine.driver_lock import drivers
from volengine.engine.ledger import PlanFolder, RunFolder
from volengine.engine.origin import Origin, recorded, source_changed
from volengine.engine.outputs import FINISHED, UNITS

State = Literal["failed", "running", "stopped", "changed", "waiting", "finished", "skipped"]
STATES: tuple[State, ...] = ("failed", "running", "stopped", "changed", "waiting", "finished", "skipped")
"""The states in the order in which they are listed. ``stopped``: begun, and nobody works on it; ``changed``: it was
finished, and what it was made of is not the same any more."""

MOST_LOG = 64 * 2**20
"""Bytes of the log's end that are read."""

SAMPLE = 8
"""Number of finished volumes whose receipts tell what a unit of each stage takes."""

LEAST_SHARE = 0.02
"""Part of a volume that must have been done before a time left is said."""

EVENTS = (b'"event": "start"', b'"event": "plan"', b'"event": "plan done"', b'"event": "refused"', b'"event": "retry"')


@dataclass
class Standing:
    """What became of one volume.

    Parameters
    ----------
    name
        Its name.
    state
        One of :data:`STATES`.
    done, units
        Number of finished units and of all; 0 if it is not known.
    stage
        The first stage that is not finished, and its units.
    why
        Why it failed, or what has changed.
    ended
        When it was finished or failed, seconds since 1970.
    """

    name: str
    state: State
    done: int = 0
    units: int = 0
    stage: str = ""
    why: str = ""
    ended: float | None = None


@dataclass
class Census:
    """The volumes of a run folder, who works there, and how long it will take.

    Parameters
    ----------
    run_dir
        The run folder.
    volumes
        The volumes.
    working
        Who works in the folder, by part (empty: the whole run).
    left_s
        Seconds that are left, at the pace of the run that is going on; ``None`` if nothing can be said.
    work_s
        Seconds of work in one process that are left, from what the finished volumes took; ``None`` if none is finished.
    others
        Number of volumes in the folder that do not belong to the collection.
    unnamed
        Number of further volumes that wait, whose names are known when they are begun.
    there
        Whether there is such a run folder. If not, nothing has been run in it yet, or its name is mistyped.
    """

    run_dir: str
    volumes: list[Standing]
    working: dict[str, str] = field(default_factory=dict)
    left_s: float | None = None
    work_s: float | None = None
    others: int = 0
    unnamed: int = 0
    there: bool = True

    @property
    def total(self) -> int:
        """Number of all volumes."""
        return len(self.volumes) + self.unnamed

    def counts(self) -> dict[str, int]:
        """Number of volumes by state."""
        found = Counter(one.state for one in self.volumes)
        found["waiting"] += self.unnamed
        return {state: found[state] for state in STATES}

    def of(self, state: State) -> list[Standing]:
        """Return the volumes of one state, in their order."""
        return [one for one in self.volumes if one.state == state]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "run_dir": self.run_dir,
            "there": self.there,
            "total": self.total,
            "counts": self.counts(),
            "left_s": self.left_s,
            "work_s": self.work_s,
            "working": self.working,
            "others": self.others,
            "volumes": [asdict(one) for one in sorted(self.volumes, key=lambda one: STATES.index(one.state))],
        }


@dataclass
class _Told:
    """What the log tells: the time of the last start, the number of its jobs, and what last became of each volume."""

    began: float | None = None
    jobs: int = 0
    last: dict[str, tuple[float, str, str]] = field(default_factory=dict)


def census(
    run_dir: str | Path,
    names: Sequence[str] | None = None,
    skipped: Sequence[str] = (),
    changed: Callable[[str, Origin], str] = source_changed,
) -> Census:
    """Count what became of the volumes of a run folder.

    Parameters
    ----------
    run_dir
        The run folder; one that does not exist yet has only volumes that wait, if names are given.
    names
        The volumes of a collection; default: all that were begun, and that the last run has named.
    skipped
        Those of them that runs leave out.
    changed
        Says by a volume's name and its record what has changed since it was finished; empty: nothing. Default: whether
        its source has.

    Raises
    ------
    MissingError
        The folder does not exist, or no run was started in it, and no names are given.
    """
    folder = RunFolder(run_dir)
    working = drivers(folder.path)
    there = _plans(folder)
    told = _told(folder)
    known = dict.fromkeys([*there, *(n for n, (_, event, _) in told.last.items() if event == "refused")])
    if names is None and not known and not working:
        raise MissingError(f"{run_dir} is no run folder, or nothing has been started in it.")
    wanted = list(known if names is None else names)
    left_out = set(skipped)
    volumes, seconds, finished = [], [], []
    for name in wanted:
        record = _record(folder.plan(name)) if name in there else None
        one = _standing(name, record, told.last.get(name), folder if name in there else None, bool(working))
        if name in left_out:
            one.state = "skipped"
        elif one.state == "finished" and (why := changed(name, recorded(folder.plan(name)))):
            one.state, one.why, one.done = "changed", why, 0
        if record is not None and one.state == "finished":
            finished.append(name)
            seconds += [record["seconds"]] if record.get("seconds") else []
        volumes.append(one)
    found = Census(str(run_dir), volumes, {part: str(holder) for part, holder in working.items()})
    found.there = folder.path.is_dir()
    if names is not None:
        found.others = len(set(there) - set(names))
    elif working:  # the run names its sources, which are volumes once they are begun
        found.unnamed = max(0, told.jobs - len(volumes))
    _forecast(found, folder, told, seconds, finished[-SAMPLE:])
    return found


def retry(run_dir: str | Path, names: Sequence[str], *, afresh: bool = False) -> list[str]:
    """Clear that these volumes have failed, so that they wait for the next run; return those that had.

    Parameters
    ----------
    run_dir
        The run folder.
    names
        The volumes.
    afresh
        Withdraw the receipts of these volumes, so that the next run computes all of each again.

    Raises
    ------
    MissingError
        There is no such run folder.
    BusyError
        A driver works in the run folder, and receipts are to be withdrawn.
    """
    from volengine.engine.driver_lock import check_free
    from volengine.engine.log import Log
    from volengine.engine.outputs import CLEANED

    folder = RunFolder(run_dir)
    if not folder.path.is_dir():
        raise MissingError(
            f"{run_dir}: no such run folder, so nothing has failed in it. Check the name (--out, --run-dir)."
        )
    if afresh:
        check_free(folder.path)
    cleared = [one.name for one in census(run_dir, names).volumes if one.state == "failed"]
    there = set(_plans(folder))
    for name in names if afresh else ():
        if name in there:
            plan = folder.plan(name)
            (plan.path / FINISHED).unlink(missing_ok=True)
            (plan.path / CLEANED).unlink(missing_ok=True)
            plan.receipts.keep(lambda receipt: False)
    log = Log(folder.log)
    for name in names if afresh else cleared:
        log("retry", name=name, afresh=afresh)
    return cleared


def _plans(folder: RunFolder) -> list[str]:
    """Names of the volumes that were begun."""
    try:
        with os.scandir(folder.path / "plans") as found:
            return sorted(entry.name for entry in found if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _json(plan: PlanFolder, name: str) -> dict[str, Any]:
    """A JSON file of a plan's folder; empty if there is none, or it is damaged."""
    with contextlib.suppress(OSError, FormatError):
        found = plan.read_json(name)
        return found if isinstance(found, dict) else {}
    return {}


def _record(plan: PlanFolder) -> dict[str, Any] | None:
    """The record of a finished plan; ``None`` if it is not finished."""
    found = _json(plan, FINISHED)
    return found if isinstance(found.get("fingerprint"), str) else None


def _number(value: object) -> float:
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**40 else 0.0
    )


def _standing(
    name: str,
    record: dict[str, Any] | None,
    event: tuple[float, str, str] | None,
    folder: RunFolder | None,
    working: bool,
) -> Standing:
    """What became of one volume, from its record, what the log told of it last, and its receipts."""
    when, what, why = event or (0.0, "", "")
    ended = _number(record.get("time")) if record is not None else 0.0
    if why and when >= ended:
        done, units, stage = _progress(folder, name) if folder is not None and record is None else (0, 0, "")
        return Standing(name, "failed", done, units, stage, why, when)
    if record is not None:
        units = int(_number(record.get("units")))
        return Standing(name, "finished", units, units, ended=ended)
    if folder is None:
        return Standing(name, "waiting")
    done, units, stage = _progress(folder, name)
    state: State = "running" if working and what == "plan" else "stopped" if done else "waiting"
    return Standing(name, state, done, units, stage)


def _progress(folder: RunFolder, name: str) -> tuple[int, int, str]:
    """Finished units and all units of a plan, and its first stage that is not finished."""
    plan = folder.plan(name)
    units = {str(k): int(_number(v)) for k, v in _json(plan, UNITS).items()}
    identities = _json(plan, CURRENT)
    numbers: dict[str, set[int]] = {stage: set() for stage in units}
    for receipt in plan.receipts:
        stage = receipt["stage"]
        if stage in numbers and identities.get(stage) == receipt["identity"] and receipt["number"] < units[stage]:
            numbers[stage].add(receipt["number"])
    first = next((s for s in units if len(numbers[s]) < units[s]), "")
    at = f"{first} {len(numbers[first])}/{units[first]}" if first else ""
    return sum(map(len, numbers.values())), sum(units.values()), at


def _told(folder: RunFolder) -> _Told:
    """Read from the log what became of the volumes; a run folder without a log tells what its report does."""
    told = _Told()
    for entry in _lines(folder.log):
        event, name, when = entry.get("event"), entry.get("name"), _number(entry.get("time"))
        if event == "start" and isinstance(entry.get("jobs"), list):
            told.began, told.jobs = when, len(entry["jobs"])
            for job in entry["jobs"]:  # what was refused is tried again
                if isinstance(job, str) and told.last.get(job, (0, "", ""))[1] == "refused":
                    del told.last[job]
        elif isinstance(name, str):
            why = entry.get("why") or entry.get("error") or ""
            told.last[name] = (when, str(event), "" if event in ("plan", "retry") else str(why))
    return told


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log that say what becomes of volumes."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MOST_LOG))
            for line in file:
                if any(event in line[:80] for event in EVENTS):
                    with contextlib.suppress(ValueError, RecursionError):
                        value = json.loads(line)
                        if isinstance(value, dict):
                            yield value
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return


def _forecast(found: Census, folder: RunFolder, told: _Told, seconds: Sequence[float], sample: Sequence[str]) -> None:
    """Say how long the rest takes: from what finished volumes took, and from the pace since the run began."""
    rest = [one for one in found.volumes if one.state in ("running", "stopped", "changed", "waiting")]
    begun = [folder.plan(one.name) for one in rest if one.done]
    costs: dict[str, list[float]] = {}
    for name in sample if begun else ():
        for receipt in folder.plan(name).receipts:
            costs.setdefault(receipt["stage"], []).append(_number(receipt.get("seconds")))
    mean = {stage: sum(values) / len(values) for stage, values in costs.items()}
    began = told.began if found.working else None
    shares = [_shares(plan, mean, began) for plan in begun]
    left = len(rest) + found.unnamed - sum(whole for whole, _ in shares)
    if seconds:
        found.work_s = round(left * sum(seconds) / len(seconds), 1)
    if began is None:
        return
    since = [one for one in found.of("finished") if one.ended is not None and one.ended >= began]
    done = len(since) + sum(recent for _, recent in shares)
    if done >= LEAST_SHARE:
        found.left_s = round(left * max(0.0, time.time() - began) / done, 1)


def _shares(plan: PlanFolder, mean: dict[str, float], began: float | None) -> tuple[float, float]:
    """How much of a volume is done, and how much of it since a time, by the seconds of a unit of each stage."""
    units = {str(k): _number(v) for k, v in _json(plan, UNITS).items()}
    identities = _json(plan, CURRENT)
    done: dict[tuple[str, int], tuple[float, float]] = {}
    for r in plan.receipts:
        if r["stage"] in units and identities.get(r["stage"]) == r["identity"]:
            done[r["stage"], r["number"]] = (_number(r.get("seconds")), _number(r.get("time")))
    own: dict[str, list[float]] = {}
    for (stage, _), (spent, _) in done.items():
        own.setdefault(stage, []).append(spent)
    cost = {stage: mean.get(stage) or (sum(own[stage]) / len(own[stage]) if stage in own else 0.0) for stage in units}
    whole = sum(cost[stage] * units[stage] for stage in units)
    if whole <= 0:
        return 0.0, 0.0
    recent = sum(cost[stage] for (stage, _), (_, when) in done.items() if began is not None and when >= began)
    return min(1.0, sum(cost[stage] for stage, _ in done) / whole), min(1.0, recent / whole)
