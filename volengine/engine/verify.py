"""Checking what a run has written against its receipts, and making again what is lost."""

from __future__ import annotations

from collections.abc import Collection

from volengine.engine import inventory, records
from volengine.engine.inventory import Progress
from volengine.engine.kernels import ONLY_SHOWN
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.outputs import FINISHED, Outputs
from volengine.engine.plan import Plan
from volengine.engine.problems import Problem


def plan_of(folder: PlanFolder, also: Collection[str] = ONLY_SHOWN) -> Plan:
    """Return the plan that was run in a folder.

    Parameters
    ----------
    folder
        Folder of the plan.
    also
        As for :meth:`Plan.from_json`; by default the plan can be looked at, and must not be run.

    Raises
    ------
    OldPlanError
        Another version of volengine made it, or it names a function that may not be run.
    """
    plan = Plan.former(folder, also)
    assert plan is not None  # folders of plans are found by their plan
    return plan


def check_plan(folder: PlanFolder, *, deep: bool = False, progress: Progress | None = None) -> list[Problem]:
    """Compare what a plan has written with its receipts.

    Parameters
    ----------
    folder
        Folder of the plan.
    deep
        Read everything and compare checksums; otherwise names and sizes are compared.
    progress
        Called after each object that is read.
    """
    plan = plan_of(folder)
    if before := folder.moved_from():
        why = f"was moved from {before}; run the command that wrote it once more, with the new paths"
        return [Problem(str(folder.path), "unfinished", why)]
    outputs = Outputs(plan, folder, RunOptions())
    lost = inventory.losses(plan, folder, outputs.gone(), deep=deep, progress=progress)
    found = [loss.problem for loss in lost]
    finished = outputs.finished()
    if finished is None or finished.get("fingerprint") != plan.fingerprint:
        done = sum(len(numbers) for numbers in folder.done(plan.identities).values())
        why = f"is not finished: {done} of {plan.units} units; the command that started it goes on from there"
        return [*found, Problem(str(folder.path), "unfinished", why)]
    found += outputs.lost_images(finished)
    found += [problem for problem in records.damages(plan, folder) if problem not in found]
    if unproven := outputs.unproven():
        why = f"has lost the receipts of {unproven} units; the command that wrote it runs them again"
        found.append(Problem(str(folder.path), "unfinished", why))
    return [*found, *outputs.lost_products(finished, deep=deep)]


def withdraw(folder: PlanFolder) -> None:
    """Withdraw the receipts of what a plan has written and is missing or damaged, so that its next run makes it again.

    Everything is read. Damaged records of the folder that follow from its plan are written again.
    """
    plan = plan_of(folder)
    outputs = Outputs(plan, folder, RunOptions())
    records.mend(plan, folder)
    lost = inventory.losses(plan, folder, outputs.gone(), deep=True)
    products = outputs.lost_products(deep=True)
    if lost:
        folder.forget_units(inventory.units_of(lost))
    if lost or products:
        (folder.path / FINISHED).unlink(missing_ok=True)
