"""Resuming with other workers: work that an earlier run did in other blocks is not done again.

The planner's blocks depend on the number of workers and on their memory; the results do not. So when a plan is made
again, for other workers or with a change in one of its recipes, it is compared with the former plan, group by group. A
*group* is a series of stages that are connected by tables and scratch arrays, as the stages of one verb are. Groups are
connected by images only, whose voxels do not depend on blocks. A group whose work has not changed keeps the blocks of
the former plan, if they fit into the workers.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volengine.core.boxes import Box
from volengine.core.digest import exact_text
from volengine.core.errors import InputError, PlanError
from volengine.core.image import ImageSpec
from volengine.core.text import counted
from volengine.engine.kernels import PURE
from volengine.engine.ledger import PlanFolder
from volengine.engine.problems import Problem
from volengine.engine.stage import BLOCK_PARAMS, ArrayInput, Stage
from volengine.engine.work import is_scratch
from volengine.io.identity import check_unchanged
from volengine.io.stores import local_path

if TYPE_CHECKING:
    from volengine.engine.plan import Plan

Group = tuple[Stage, ...]


def resumed(plan: Plan, old: Plan | None, folder: PlanFolder, limit: int) -> Plan:
    """Return the plan with the blocks of the former plan, for each group whose work has not changed.

    Parameters
    ----------
    plan
        The plan to run.
    old
        The former plan of its folder, with the places of now (:func:`volengine.engine.moved.settled`); ``None`` if
        there is none.
    folder
        Folder of the plan.
    limit
        Memory of a worker, bytes. A group whose former blocks do not fit keeps the blocks of ``plan``.

    Notes
    -----
    The former plan is a file, which anybody may have written. It contributes blocks, and what follows from them: halos,
    scratch arrays, tables. Kernels and parameters of its stages are those of ``plan``, its stages write only the images
    of ``plan`` and scratch arrays in ``folder``, and what it has besides are stages that open no file.
    """
    if old is None:
        return plan
    known = {_kept(old, group): group for group in groups(old)}
    stages: list[Stage] = []
    images = [spec for spec in plan.images if not spec.scratch]
    for group in groups(plan):
        before = known.get(_kept(plan, group), ())
        if before and _same(old, before, plan, group) and _harmless(old, before, plan, group, folder):
            hints = {stage.name: stage.hints for stage in group}
            again = [replace(s, hints=hints.get(s.name, s.hints), moved=group[0].moved) for s in before]
            if _fits(plan, [*stages, *again], limit):
                stages += again
                images += _scratch(old, before)
                continue
        stages += group
        images += _scratch(plan, group)
    return replace(plan, stages=tuple(stages), images=tuple(images))


def refuse_another(old: Plan, plan: Plan, folder: PlanFolder) -> None:
    """Refuse to replace the results of one input by those of another one that only has the same name.

    Microscope sessions all have a ``TS_01``. An input that was changed, moved, or linked to is the same one, and so is
    a copy of the same identity.

    Parameters
    ----------
    old, plan
        The former plan in this folder, and the plan to run.
    folder
        Their folder.

    Raises
    ------
    InputError
        The former input is still there, and its results are images that would be replaced.
    """
    before, now = sources_of(old, folder), sources_of(plan, folder)
    if not any(not spec.scratch for spec in old.images) or not before or not now or before.keys() & now.keys():
        return
    for url, identity in before.items():
        path = local_path(url)
        if path is None or not path.exists() or identity in now.values():
            continue
        if any(path.samefile(other) for other in map(local_path, now) if other is not None and other.exists()):
            continue
        raise InputError(
            f"{plan.name}: {folder.path.parent.parent} holds the results of {url}, which is still there; "
            f"{next(iter(now))} has the same name and would replace them. Give another --out, or --overwrite."
        )


def check_inputs(plan: Plan, folder: PlanFolder) -> None:
    """Refuse to go on with a plan if a volume that it reads has changed since it was made.

    It is asked before a plan is completed, when all of its units are done; and before ``verify --repair`` withdraws
    what is lost, because what cannot be made again from the same input is better kept as it is.

    Parameters
    ----------
    plan, folder
        The plan and its folder.

    Raises
    ------
    ChangedError
        A volume has another identity than in the plan.
    """
    made = {(o.volume.url, o.volume.path) for stage in plan.stages for o in stage.outputs.values()}
    volumes = {
        (a.volume.url, a.volume.path): a.volume
        for stage in plan.stages
        for a in stage.arrays.values()
        if not is_scratch(a.volume, folder)
    }
    for place, volume in volumes.items():
        if place not in made:
            check_unchanged(volume)


def refuse_edited(lost: Iterable[Problem]) -> None:
    """Refuse to write products again that were changed after this run had written them; a person may have done it.

    Parameters
    ----------
    lost
        The products that are not what the record of the last finish says, with this recipe or another one. After a
        driver that was killed while it wrote them there is no record, so that nothing is refused.

    Raises
    ------
    InputError
        One is there, and has other bytes than those that were written.
    """
    edited = [one.where for one in lost if one.kind != "missing"]
    if edited:
        more = f" (and {counted(len(edited) - 1, 'more file')})" if len(edited) > 1 else ""
        raise InputError(
            f"{edited[0]}{more} was changed after this run had written it, and would be written again. To keep it, "
            "move it or give another --out; --overwrite writes it as it was made."
        )


def sources_of(plan: Plan, folder: PlanFolder) -> dict[str, str]:
    """Return the paths or URLs of what a plan reads from outside, with their identities."""
    made = {o.volume.url for stage in plan.stages for o in stage.outputs.values()}
    inside = f"{folder.scratch}{os.sep}"
    found = {
        a.volume.url: a.volume.identity
        for stage in plan.stages
        for a in stage.arrays.values()
        if a.volume.url not in made and not a.volume.url.startswith(inside)
    }
    unpacked = (stage.params for stage in plan.stages if stage.transient and "source" in stage.params)
    return found | {str(params["source"]): str(params.get("identity", "")) for params in unpacked}


def groups(plan: Plan) -> list[Group]:
    """Divide the stages of a plan, in their order, into groups that are connected by tables and scratch arrays."""
    number: dict[str, int] = {}
    made: dict[tuple[str, str], str] = {}
    scratch = {spec.url for spec in plan.images if spec.scratch}
    for position, stage in enumerate(plan.stages):
        from_tables = [table.stage for table in stage.tables.values()]
        read = [(a.volume.url, a.volume.path) for a in stage.arrays.values() if a.volume.url in scratch]
        before = {number[name] for name in (*from_tables, *(made[place] for place in read if place in made))}
        number[stage.name] = min(before, default=position)
        # Stages between two connected stages belong to their group, because a group is a contiguous series of stages.
        for other, its in number.items():
            if its > number[stage.name]:
                number[other] = number[stage.name]
        made |= {(o.volume.url, o.volume.path): stage.name for o in stage.outputs.values()}
    return [tuple(run) for _, run in groupby(plan.stages, key=lambda stage: number[stage.name])]


def _harmless(old: Plan, before: Group, plan: Plan, group: Group, folder: PlanFolder) -> bool:
    """Return whether the stages of a former group may be run: see the notes of :func:`resumed`."""
    names = {stage.name: stage for stage in group}
    scratch = {spec.url: spec for spec in _scratch(old, before)}
    inside = folder.scratch.absolute()
    if any(Path(os.path.abspath(url)).parent != inside or "://" in url for url in scratch):  # noqa: PTH100
        return False
    images = {(spec.url, spec.array_path(n)) for spec in _images(plan, group) for n in range(len(spec.levels))}
    for stage in before:
        if stage.name not in names and stage.kernel not in PURE:
            return False
        if any(not _is_block(stage.params[key]) for key in BLOCK_PARAMS if key in stage.params):
            return False
        for output in stage.outputs.values():
            if output.volume.url not in scratch and (output.volume.url, output.volume.path) not in images:
                return False
        if stage.name in names and stage.transient != names[stage.name].transient:
            return False
    return all(np.dtype(spec.dtype).kind in "biuf" for spec in scratch.values())


def _is_block(value: Any) -> bool:
    """Whether a parameter of :data:`~volengine.engine.stage.BLOCK_PARAMS` is what its name says."""
    if isinstance(value, list | tuple):
        return len(value) == 3 and all(isinstance(n, int) for n in value)
    return isinstance(value, bool)


def _scratch(plan: Plan, group: Group) -> list[ImageSpec]:
    """Return the scratch arrays that a group writes."""
    written = {o.volume.url for stage in group for o in stage.outputs.values()}
    return [spec for spec in plan.images if spec.scratch and spec.url in written]


def _images(plan: Plan, group: Group) -> list[ImageSpec]:
    """Return the images that a group writes, without scratch arrays."""
    written = {(o.volume.url, o.volume.path) for stage in group for o in stage.outputs.values()}
    return [
        spec
        for spec in plan.images
        if not spec.scratch and any((spec.url, spec.array_path(n)) in written for n in range(len(spec.levels)))
    ]


def _kept(plan: Plan, group: Group) -> tuple[str, ...]:
    """Return what identifies a group's results: the names of its images, or else the name of its last stage."""
    return tuple(f"{spec.url}|{spec.group}" for spec in _images(plan, group)) or (group[-1].name,)


def _same(old: Plan, before: Group, plan: Plan, group: Group) -> bool:
    """Return whether two groups differ only in their blocks.

    One of them may have stages that the other one lacks: those that exchange data between blocks, if its blocks need
    it.
    """
    names, others = {stage.name for stage in group}, {stage.name for stage in before}
    if not (names <= others or others <= names):
        return False
    return _purpose(old, before, names & others) == _purpose(plan, group, names & others)


def _purpose(plan: Plan, group: Group, common: Collection[str]) -> str:
    """Return, as text, everything of a group but its blocks.

    These are the arrays that it reads from outside of the group, the images that it writes (with the history of their
    recipes), and the kernels and parameters of the ``common`` stages: where they work, and what they take for values
    outside of these arrays.
    """
    made = {(o.volume.url, o.volume.path) for stage in group for o in stage.outputs.values()}
    read = {(a.volume.url, a.volume.path, a.volume.identity) for stage in group for a in stage.arrays.values()}
    steps: list[Any] = [
        [
            *(s.name, s.kernel, s.version, {key: value for key, value in s.params.items() if key not in BLOCK_PARAMS}),
            *(_part(s), {n: _way(a) for n, a in s.arrays.items() if (a.volume.url, a.volume.path) not in made}),
        ]
        for s in group
        if s.name in common
    ]
    images = [spec.to_json() for spec in _images(plan, group)]
    sources = sorted(source for source in read if source[:2] not in made)
    return exact_text([sources, steps, images])


def _part(stage: Stage) -> list[Any]:
    """The part of its space on which a stage works; empty if that is all of it."""
    tiling = stage.tiling
    return [] if tiling.roi == Box.of_shape(tiling.shape) else [tiling.start, tiling.stop]


def _way(read: ArrayInput) -> list[Any]:
    """How an array from outside is read, without what depends on blocks."""
    return [read.edge, read.scaled, read.corner, read.extent, read.at]


def _fits(plan: Plan, stages: Iterable[Stage], limit: int) -> bool:
    try:
        replace(plan, stages=tuple(stages)).check(limit)
    except PlanError:
        return False
    return True
