"""Planning ``stats``: the stages that count the objects of a label volume."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from volengine.core.boxes import Box, Index3, index3
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Stage, TableInput, kernel_bytes
from volengine.io.stores import located
from volengine.ops.regions import check_size
from volengine.ops.stats_labels import ClassRules
from volengine.tasks.common.roi import box_of, size_of, tiling_of
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.tree import Tree

FIRST_HALO_VOX = 16
"""First halo if distances are needed; a block with thicker objects is read again with the halo that it needs."""

LARGEST_BLOCK = 2**22
"""Voxels per block: about 160 a side."""

UNCHUNKED = (64, 64, 64)

_BLOCKS = "volengine.tasks.stats.blocks"
_WRITE = "volengine.tasks.stats.finish:write_counted"


def plan_stats(source: Volume, recipe: StatsRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stages that count the objects of a label volume, and the call that writes them to ``out`` (``.npz``).

    For numbered objects: a stage that counts voxels per block, and a reduce stage that adds them. For an atlas: stages
    that find, join and resolve the regions of all classes, as the first three stages of ``pick`` do. In volumes of many
    blocks a tree is in the place of the last stage (:mod:`volengine.tasks.stats.tree`).

    Parameters
    ----------
    source
        The label volume.
    recipe
        What an object is.
    out
        The file for the objects.
    folder
        Folder of the plan; not used, because the stages need no scratch.
    options
        How to run.

    Raises
    ------
    InputError
        The volume is a prediction, or neither it nor the recipe says whether it holds class ids or numbered objects.
    """
    check_size(source.shape)
    atlas = recipe.labels_of(source) == "atlas"
    rules = recipe.rules_of(source) if atlas else ClassRules()
    part = box_of(source, recipe.roi)

    def build(core: Index3) -> Stage:
        return _objects_stage(source, rules, core, part) if atlas else _ids_stage(source, core, part)

    shape = size_of(source.shape, part)
    core = options.core_for(shape, source.chunks or UNCHUNKED, build, largest=LARGEST_BLOCK)
    stages = [build(core)]
    if atlas:
        stages.append(_seams_stage(source, rules, core, part))
    tree = Tree.of(source.shape, core, part, options)
    joins = [_join_stage(source, rules if atlas else None, stages[-1].name)]
    if tree is not None:
        joins = tree.atlas(asdict(rules)) if atlas else tree.instances()
    cells = {"cells": [stage.name for stage in joins]} if tree is not None and atlas else {}
    params = {"stage": joins[-1].name, "out": located(out), **cells}
    call = Call(_WRITE, params, writes=(located(out),))
    facts: dict[str, Any] = asdict(rules) if atlas else {"kind": "instances"}
    if part is not None:
        facts["roi"] = recipe.roi
    return Plan(source.name, (*stages, *joins), recipe={"stats": facts}, finish=(call,))


def _join_stage(volume: Volume, rules: ClassRules | None, parts: str) -> Stage:
    """The stage that gathers the tables of a volume of few blocks: of an atlas, or, without rules, of instances."""
    join = f"{_BLOCKS}:{'merge_objects' if rules is None else 'resolve_objects'}"
    return Stage(
        "stats-join",
        join,
        Tiling((1, 1, 1), (1, 1, 1)),
        params={} if rules is None else {"shape": volume.shape, "rules": asdict(rules)},
        tables={"parts": TableInput(parts, "all")},
        emits=True,
        kernel_bytes=kernel_bytes(join, voxels=volume.size),
    )


def _objects_stage(volume: Volume, rules: ClassRules, core: Index3, part: Box | None) -> Stage:
    reach = min(FIRST_HALO_VOX, rules.max_distance_vox) if rules.split else 0
    halo = index3([reach] * 3)
    tiling = tiling_of(volume.shape, core, part)
    inside = tiling.box(0).shape
    crop = Box.of_shape(inside).grow(halo).shape
    kernel = f"{_BLOCKS}:objects_block"
    only = {} if part is None else {"roi": [*part.start, *part.stop]}
    return Stage(
        "stats-objects",
        kernel,
        tiling,
        params={"rules": asdict(rules), "where": volume.url.rstrip("/").rsplit("/", 1)[-1], **only},
        arrays={"labels": ArrayInput(volume, halo, halo)},
        emits=True,
        kernel_bytes=kernel_bytes(
            kernel, voxels=math.prod(inside), read=math.prod(crop), dtype=volume.dtype, roi=part is not None
        ),
    )


def _seams_stage(volume: Volume, rules: ClassRules, core: Index3, part: Box | None) -> Stage:
    kernel = f"{_BLOCKS}:seams_block"
    tiling = tiling_of(volume.shape, core, part)
    return Stage(
        "stats-seams",
        kernel,
        tiling,
        params={"rules": asdict(rules)},
        tables={"objects": TableInput("stats-objects", "neighbours")},
        emits=True,
        kernel_bytes=kernel_bytes(kernel, shape=tiling.box(0).shape),
    )


def _ids_stage(volume: Volume, core: Index3, part: Box | None) -> Stage:
    kernel = f"{_BLOCKS}:ids_block"
    tiling = tiling_of(volume.shape, core, part)
    return Stage(
        "stats-ids",
        kernel,
        tiling,
        params={"where": volume.url.rstrip("/").rsplit("/", 1)[-1]},
        arrays={"labels": ArrayInput(volume)},
        emits=True,
        kernel_bytes=kernel_bytes(kernel, voxels=tiling.box(0).size),
    )
