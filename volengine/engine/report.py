"""The run report: versions, recipe, times per stage, counts, bytes, planned and measured memory, failures."""

from __future__ import annotations

import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from volengine.core.aside import os_message
from volengine.core.atomic import write_json
from volengine.core.errors import InputError, RunError, UnreachedError, VolengineError
from volengine.core.markup import facts_html, rows_html
from volengine.core.units import format_bytes
from volengine.engine.ledger import RunFolder
from volengine.engine.made_by import made_by
from volengine.engine.options import RunOptions

if TYPE_CHECKING:
    from volengine.engine.state import PlanState

MOST_SHOWN = 20
"""Tomograms that a notebook shows."""


@dataclass(frozen=True)
class RunReport:
    """The result of a run.

    Parameters
    ----------
    data
        The contents of ``report.json``.
    failures
        Errors of the tomograms that failed or were refused, by name.
    """

    data: dict[str, Any]
    failures: Mapping[str, BaseException] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """Show what became of each tomogram, failures first, and how long the run took."""
        plans, refused = self.data.get("plans") or {}, self.data.get("refused") or {}
        failed = {str(name): str(error) for name, error in {**refused, **self.failures}.items()}
        rows = [{"name": name, "state": "failed", "made or message": why} for name, why in failed.items()]
        rows += [
            {"name": name, "state": "done", "made or message": "; ".join(map(str, plan.get("made") or ()))}
            for name, plan in plans.items()
            if name not in failed
        ]
        facts = {key.replace("_", " "): self.data.get(key) for key in ("began", "wall_seconds", "command")}
        return facts_html(f"{len(rows)} plans, {len(failed)} failed", facts) + rows_html(rows, MOST_SHOWN)

    def check(self) -> RunReport:
        """Raise an error if a plan failed; otherwise return the report itself.

        Raises
        ------
        InputError
            The run had one plan only, and it failed by an :class:`InputError`: this very error.
        RunError
            In all other cases; the message lists the failures.
        """
        if not self.failures:
            return self
        lines = [named(name, error) for name, error in self.failures.items()]
        first = next(iter(self.failures.values()))
        if len(self.data["plans"]) + len(self.data["refused"]) == 1 and isinstance(first, InputError | UnreachedError):
            raise first
        total = len(self.data["plans"]) + len(self.data["refused"])
        raise RunError(f"{len(lines)} of {total} failed:\n  " + "\n  ".join(lines)) from first

    @property
    def counts(self) -> dict[str, int]:
        """Sums of the kernels' counts (patches ...) over all stages of all plans of this run."""
        total: Counter[str] = Counter()
        for plan in self.data["plans"].values():
            for stage in plan["stages"]:
                total.update(stage["counts"])
        return dict(total)


def named(name: str, error: BaseException) -> str:
    """Return an error's message with ``name`` before it, unless the message contains the name."""
    plain = isinstance(error, OSError) and not isinstance(error, VolengineError)
    text = os_message(error) if plain and isinstance(error, OSError) else str(error)
    there = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)  # "t" is not named by "the"
    return text if there else f"{name}: {text}"


@dataclass(frozen=True)
class Closed:
    """What is kept of a plan that has ended, so that the driver's memory does not grow with whole plans.

    Parameters
    ----------
    name
        Name of the plan.
    error
        Why it has failed, or ``None``.
    done
        Number of finished units by stage.
    data
        Its part of the report.
    """

    name: str
    error: BaseException | None
    done: dict[str, int]
    data: dict[str, Any]


def closed(state: PlanState) -> Closed:
    """Return what is kept of a plan that has ended."""
    done = {stage: len(numbers) for stage, numbers in state.done.items()}
    return Closed(state.plan.name, state.error, done, _plan(state))


def make(
    plans: list[Closed],
    refused: Mapping[str, BaseException],
    options: RunOptions,
    limit: int,
    began: float,
) -> RunReport:
    """Make the report of a run that has ended.

    Parameters
    ----------
    plans
        The plans that were run.
    refused
        Errors of the tomograms whose plan was refused, by name.
    options
        The options of the run.
    limit
        Memory of a worker, bytes.
    began
        Start of the run, seconds since 1970.
    """
    failures = {plan.name: plan.error for plan in plans if plan.error is not None} | dict(refused)
    data = {
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(began)),
        "wall_seconds": round(time.time() - began, 3),
        **made_by(),
        "machine": {"system": platform.platform(), "python": sys.version.split()[0], "host": platform.node()},
        "options": options.to_json(),
        "worker_limit_bytes": limit,
        "plans": {plan.name: plan.data for plan in plans},
        "refused": {name: str(error) for name, error in refused.items()},
        "failed": {name: str(error) for name, error in failures.items()},
    }
    return RunReport(data, failures)


def write(report: RunReport, folder: RunFolder) -> None:
    """Write ``report.json`` (``report-K-of-N.json`` of a part) into the run folder."""
    part = report.data["options"]["part"]
    name = folder.report.name if part is None else f"report-{part.replace('/', '-of-')}.json"
    write_json(folder.path / name, report.data)


def _plan(state: PlanState) -> dict[str, Any]:
    return {
        "recipe": dict(state.plan.recipe),
        "units": state.plan.units,
        "skipped": state.skipped,
        "error": str(state.error) if state.error else None,
        "made": state.said,
        "stages": [_stage(state, s.name) for s in state.plan.stages],
    }


def _stage(state: PlanState, name: str) -> dict[str, Any]:
    stage = state.plan.stage(name)
    return {
        "stage": name,
        "units": len(stage.tiling),
        "block": stage.tiling.core,
        "planned_peak_bytes": state.plan.peak_of(name),
        **state.tallies[name].to_json(),
    }


def summary(report: RunReport) -> str:
    """Return the text that a command prints at its end: one line per plan and what it made, then time and bytes."""
    lines = []
    for name, plan in report.data["plans"].items():
        run = sum(s["run"] for s in plan["stages"])
        note = "failed" if plan["error"] else "done"
        lines.append(f"{name}: {note} ({run} of {plan['units']} units run, {plan['skipped']} were there already)")
        lines += [f"  {line}" for line in plan["made"]]
    lines += [f"{name}: refused" for name in report.data["refused"]]
    read = sum(s["read_bytes"] for p in report.data["plans"].values() for s in p["stages"])
    written = sum(s["written_bytes"] for p in report.data["plans"].values() for s in p["stages"])
    # what kernels read for themselves, as measures of surfaces do, is not counted: then nothing is said of it
    moved = [f"{format_bytes(count)} {word}" for count, word in ((read, "read"), (written, "written")) if count]
    unpacked = " (uncompressed)" if moved else ""
    lines.append(", ".join([f"{report.data['wall_seconds']:.1f} s", *moved]) + unpacked)
    return "\n".join(lines)
