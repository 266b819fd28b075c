"""Resuming: what was done in other blocks before is not done again.

The planner's blocks depend on the number of workers and on their memory; the results do not. So when a plan is made
again, for other workers or with a change in one of its recipes, it is compared with the former one, group by group. A
group of stages hangs together by tables and scratch arrays: the stages of one verb. Between groups stand kept images
only, which are the same for any blocks. A group that does the same as before keeps the blocks it had, if they fit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from volengine.core.errors import OldPlanError, PlanError
from volengine.core.image import ImageSpec
from volengine.engine.ledger import PlanFolder
from volengine.engine.stage import BLOCK_PARAMS, Stage

if TYPE_CHECKING:
    from volengine.engine.plan import Plan

Group = tuple[Stage, ...]


def resumed(plan: Plan, folder: PlanFolder, limit: int) -> Plan:
    """The plan with the blocks of the former one in this folder, group by group.

    Parameters
    ----------
    plan
        What is to be done.
    folder
        Of the plan; holds the former plan, if there is one.
    limit
        Bytes of memory of a worker: groups that need more are done in the plan's own blocks.
    """
    old = former_plan(folder, type(plan))
    if old is None:
        return plan
    known = {_kept(old, group): group for group in groups(old)}
    stages: list[Stage] = []
    images = [spec for spec in plan.images if not spec.scratch]
    for group in groups(plan):
        before = known.get(_kept(plan, group), ())
        if before and _same(old, before, plan, group):
            hints = {stage.name: stage.hints for stage in group}
            again = [replace(stage, hints=hints.get(stage.name, stage.hints)) for stage in before]
            if _fits(plan, [*stages, *again], limit):
                stages += again
                images += _scratch(old, before)
                continue
        stages += group
        images += _scratch(plan, group)
    return replace(plan, stages=tuple(stages), images=tuple(images))


def former_plan(folder: PlanFolder, kind: type[Plan]) -> Plan | None:
    """The plan that an earlier run has left in this folder, if any.

    Raises
    ------
    OldPlanError
        Another version of volengine made it.
    """
    data = folder.read_json("plan.json")
    if data is None:
        return None
    try:
        return kind.from_json(data)
    except (PlanError, KeyError, TypeError) as error:
        run = folder.path.parent.parent
        raise OldPlanError(
            f"{run} is from another version of volengine and cannot be resumed: delete that folder and run the same "
            "command with --overwrite, or give another --out (or --run-dir)."
        ) from error


def groups(plan: Plan) -> list[Group]:
    """The stages of a plan, in their order, in runs that hang together by tables and scratch arrays."""
    number: dict[str, int] = {}
    made: dict[tuple[str, str], str] = {}
    scratch = {spec.url for spec in plan.images if spec.scratch}
    for position, stage in enumerate(plan.stages):
        from_tables = [table.stage for table in stage.tables.values()]
        read = [(a.volume.url, a.volume.path) for a in stage.arrays.values() if a.volume.url in scratch]
        before = {number[name] for name in (*from_tables, *(made[place] for place in read if place in made))}
        number[stage.name] = min(before, default=position)
        # Whatever stands between two stages that hang together belongs to them: a group is one run of stages.
        for other, its in number.items():
            if its > number[stage.name]:
                number[other] = number[stage.name]
        made |= {(o.volume.url, o.volume.path): stage.name for o in stage.outputs.values()}
    return [tuple(run) for _, run in groupby(plan.stages, key=lambda stage: number[stage.name])]


def _scratch(plan: Plan, group: Group) -> list[ImageSpec]:
    """The scratch arrays that a group writes."""
    written = {o.volume.url for stage in group for o in stage.outputs.values()}
    return [spec for spec in plan.images if spec.scratch and spec.url in written]


def _images(plan: Plan, group: Group) -> list[ImageSpec]:
    """The kept images that a group writes."""
    written = {(o.volume.url, o.volume.path) for stage in group for o in stage.outputs.values()}
    return [
        spec
        for spec in plan.images
        if not spec.scratch and any((spec.url, spec.array_path(n)) in written for n in range(len(spec.levels)))
    ]


def _kept(plan: Plan, group: Group) -> tuple[str, ...]:
    """What a group leaves: its images, or the table of its last stage."""
    return tuple(f"{spec.url}|{spec.group}" for spec in _images(plan, group)) or (group[-1].name,)


def _same(old: Plan, before: Group, plan: Plan, group: Group) -> bool:
    """Whether two groups differ in their blocks alone.

    Blocks that need no exchange need no stage for it: one of them may have stages that the other one lacks.
    """
    names, others = {stage.name for stage in group}, {stage.name for stage in before}
    if not (names <= others or others <= names):
        return False
    return _purpose(old, before, names & others) == _purpose(plan, group, names & others)


def _purpose(plan: Plan, group: Group, common: Collection[str]) -> str:
    """All of a group but its blocks: what it reads from elsewhere, what it keeps (with the history of the recipes that
    led to it), and the kernels and parameters of the stages that both have."""
    made = {(o.volume.url, o.volume.path) for stage in group for o in stage.outputs.values()}
    read = {(a.volume.url, a.volume.path, a.volume.identity) for stage in group for a in stage.arrays.values()}
    steps: list[Any] = [
        [s.name, s.kernel, s.version, {key: value for key, value in s.params.items() if key not in BLOCK_PARAMS}]
        for s in group
        if s.name in common
    ]
    images = [spec.to_json() for spec in _images(plan, group)]
    sources = sorted(source for source in read if source[:2] not in made)
    return json.dumps([sources, steps, images], sort_keys=True, default=str)


def _fits(plan: Plan, stages: Iterable[Stage], limit: int) -> bool:
    try:
        replace(plan, stages=tuple(stages)).check(limit)
    except PlanError:
        return False
    return True
