"""Text that describes a plan and the state of a run, as ``--dry-run`` and ``volengine status`` print it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from pathlib import Path

from volengine.core.errors import MissingError
from volengine.core.json_text import parse_json
from volengine.core.text import counted, table
from volengine.core.units import format_bytes
from volengine.engine.census import Census, Standing, State, census
from volengine.engine.driver_lock import drivers
from volengine.engine.forecast import said
from volengine.engine.kernels import ONLY_SHOWN
from volengine.engine.ledger import PlanFolder, RunFolder
from volengine.engine.origin import recorded, source_changed
from volengine.engine.plan import Plan

FEW = 10
"""Number of volumes up to which each one is described, stage by stage."""

SHOWN = 20
"""Number of volumes of one state that are listed."""


def _triple(values: Sequence[int]) -> str:
    return "x".join(map(str, values))


def describe(plan: Plan, limit: int) -> str:
    """Describe a plan: a table of its stages (blocks, halo, bytes, memory), its outputs, and its notes.

    Parameters
    ----------
    plan
        The plan.
    limit
        Memory of a worker, bytes; the text states it beside the planned peak.
    """
    rows = []
    for row in plan.describe():
        halo = max(*row["halo_low"], *row["halo_high"])
        shown = f"{_triple(row['halo_low'])}+{_triple(row['halo_high'])}" if halo else "0"
        rows.append(
            (
                row["stage"],
                row["blocks"],
                _triple(row["block"]),
                shown,
                format_bytes(row["read_bytes"]),
                format_bytes(row["written_bytes"]),
                format_bytes(row["peak_bytes"]),
            )
        )
    head = ("stage", "blocks", "block (z x y x x)", "halo", "reads", "writes", "memory")
    lines = [f"{plan.name}: {counted(plan.units, 'unit')}", table(head, rows)]
    for spec in plan.images:
        if not spec.scratch:
            where = f"{spec.url}/{spec.group}" if spec.group else spec.url
            top = spec.levels[0]
            lines.append(
                f"writes {where}: {_triple(top.shape)} {spec.dtype}, {len(spec.levels)} levels, "
                f"chunk {_triple(top.chunks)}, shard {_triple(top.shards) if top.shards else 'none'}, NGFF {spec.ngff}"
            )
    scratch = sum(spec.volume().nbytes for spec in plan.images if spec.scratch)
    written = "output files, whose size depends on what is found"
    if plan.output_bytes():
        written = (
            f"output at most {format_bytes(plan.output_bytes())} (before compression), scratch {format_bytes(scratch)}"
        )
    lines.append(f"{written}; planned peak {format_bytes(plan.peak_bytes())} of {format_bytes(limit)} per worker")
    return "\n".join([*lines, *plan.notes])


def status(run_dir: str, *, details: bool = False) -> str:
    """Describe the progress of a run: of few volumes the stages of each one, of many how many are in which state.

    Parameters
    ----------
    run_dir
        The run folder.
    details
        Describe each volume, however many there are.

    Raises
    ------
    MissingError
        The folder does not exist, or no run was started in it.
    OldPlanError
        Another version of volengine made a plan in it.
    """
    if not Path(run_dir).is_dir():
        raise MissingError(f"{run_dir}: no such run folder.")
    folder = RunFolder(run_dir)
    plans = folder.plans()
    if len(plans) > FEW and not details:
        return survey(census(run_dir))
    lines = [_plan_status(plan_folder) for plan_folder in plans]
    working = [f"running{f' (part {part})' if part else ''}: {holder}" for part, holder in drivers(folder.path).items()]
    if not lines and working:
        lines = ["nothing is planned yet"]
    ended = [] if working else _refused(folder)
    if not lines and not ended:
        raise MissingError(f"{run_dir} is no run folder, or nothing has been started in it.{_meant(Path(run_dir))}")
    return "\n\n".join([*lines, *ended, *working])


def _meant(out: Path) -> str:
    """The run folders of an output, which may be meant: in a folder of outputs, and beside a single one."""
    within = sorted(one for pattern in ("*.run", "run", "*/run") for one in out.glob(pattern))
    beside = [out.with_name(out.name + ".run")] if out.name else []
    found = [one for one in (*within, *beside) if (one / "plans").is_dir()]
    return f" Is {' or '.join(map(str, found[:FEW]))} meant?" if found else ""


def survey(found: Census) -> str:
    """Describe the volumes of a run folder: how many are in which state, those that failed and why, those at work.

    Parameters
    ----------
    found
        The census of the folder.
    """
    counts = found.counts()
    words = [f"{number} {state}" for state, number in counts.items() if number]
    lines = [f"{counted(found.total, 'volume')}: {', '.join(words) or 'none'}{time_left(found)}"]
    lines += [f"failed: {reason(one)}" for one in found.of("failed")[:SHOWN]]
    lines += [f"running: {one.name}, {_units(one)}" for one in found.of("running")[:SHOWN]]
    lines += [f"stopped: {one.name}, {_units(one)}" for one in found.of("stopped")[:SHOWN]]
    lines += [f"changed since it was finished: {reason(one)}" for one in found.of("changed")[:SHOWN]]
    told: tuple[State, ...] = ("failed", "running", "stopped", "changed")
    for state in told:
        more = counts[state] - SHOWN
        lines += [f"... and {more} more that are {state} (--json lists all)"] if more > 0 else []
    if not found.there:
        lines.append(absent(found))
    if found.others:
        lines.append(f"{found.others} more volumes in {found.run_dir} are not of this collection")
    lines += [f"at work{f' (part {part})' if part else ''}: {holder}" for part, holder in found.working.items()]
    return "\n".join(lines)


def absent(found: Census) -> str:
    """Say that there is no run folder of this name, so that one that is mistyped is noticed."""
    return f"there is no run folder {found.run_dir}: nothing has been run there yet, or --out (--run-dir) is mistyped"


def time_left(found: Census) -> str:
    """Say how long what is left takes, as the end of a line; empty if nothing can be said."""
    if found.left_s is not None:
        return f"; about {said(found.left_s)} left"
    if found.work_s and not found.working:
        return f"; what is left takes about {said(found.work_s)} in one process"
    return ""


def reason(one: Standing) -> str:
    """Say in one line why a volume failed, or what has changed; its name is before it, unless it is in the reason."""
    why = " ".join(one.why.split())
    return why if re.search(rf"(?<!\w){re.escape(one.name)}(?!\w)", why) else f"{one.name}: {why}"


def _units(one: Standing) -> str:
    return f"{one.done} of {one.units} units" + (f", {one.stage}" if one.stage else "")


def _refused(folder: RunFolder) -> list[str]:
    """What the last run refused or could not finish: these have no plan, or an unfinished one, and would be missed."""
    reports = [folder.report, *folder.path.glob("report-*-of-*.json")]
    with contextlib.suppress(OSError, ValueError):  # a run that has not ended yet; a torn file
        path = max((path for path in reports if path.exists()), key=lambda path: path.stat().st_mtime_ns)
        failed = parse_json(path.read_bytes(), str(path))["failed"]
        return [f"{name}: failed in the last run: {why.removeprefix(f'{name}: ')}" for name, why in failed.items()]
    return []


def _plan_status(folder: PlanFolder) -> str:
    plan = Plan.former(folder, ONLY_SHOWN)
    assert plan is not None  # the folder was found by its plan
    finished = folder.read_json("finished.json")
    if isinstance(finished, dict) and finished.get("fingerprint") == plan.fingerprint:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_seconds(finished.get("time"))))
        why = source_changed(plan.name, recorded(folder))
        return f"{plan.name}: finished {when}, {counted(plan.units, 'unit')}" + (
            f"; changed since: {why}" if why else ""
        )
    done = folder.done(plan.identities)
    recent = [r for r in folder.receipts if plan.identities.get(r["stage"]) == r["identity"]]
    rows = []
    for stage in plan.stages:
        mine = [r for r in recent if r["stage"] == stage.name]
        seconds = sum(r.get("seconds", 0) for r in mine)
        per = f"{seconds / len(mine):.2f} s" if mine else "-"
        count, total = len(done[stage.name]), len(stage.tiling)
        rows.append((stage.name, count, total, f"{count / total:.0%}", per))
    total = sum(len(v) for v in done.values())
    last = max((_seconds(r.get("time")) for r in recent), default=None)
    ago = f", last unit {time.time() - last:.0f} s ago" if last else ""
    text = table(("stage", "done", "units", "share", "per unit"), rows)
    return f"{plan.name}: {total} of {counted(plan.units, 'unit')}{ago}\n{text}"


def _seconds(value: object) -> float:
    """A time in seconds since 1970 from a file; 0 if it is none."""
    return value if isinstance(value, int | float) and 0 <= value < 2**33 else 0
