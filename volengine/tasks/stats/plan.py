"""Planning ``stats``: the stages that count the objects of a label volume."""

from __future__ import annotations

import math
from dataclasses import asdict

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
from volengine.tasks.stats.recipe import StatsRecipe

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
    that find, join and resolve the regions of all classes, as the first three stages of ``pick`` do.

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

    def build(core: Index3) -> Stage:
        return _objects_stage(source, rules, core) if atlas else _ids_stage(source, core)

    core = options.core_for(source.shape, source.chunks or UNCHUNKED, build, largest=LARGEST_BLOCK)
    stages = [build(core)]
    if atlas:
        stages.append(_seams_stage(source, rules, core))
    last = stages[-1].name
    join = f"{_BLOCKS}:{'resolve_objects' if atlas else 'merge_objects'}"
    stages.append(
        Stage(
            "stats-join",
            join,
            Tiling((1, 1, 1), (1, 1, 1)),
            params={"shape": source.shape, "rules": asdict(rules)} if atlas else {},
            tables={"parts": TableInput(last, "all")},
            emits=True,
            kernel_bytes=kernel_bytes(join, voxels=source.size),
        )
    )
    call = Call(_WRITE, {"stage": "stats-join", "out": located(out)}, writes=(located(out),))
    facts = asdict(rules) if atlas else {"kind": "instances"}
    return Plan(source.name, tuple(stages), recipe={"stats": facts}, finish=(call,))


def _objects_stage(volume: Volume, rules: ClassRules, core: Index3) -> Stage:
    reach = min(FIRST_HALO_VOX, rules.max_distance_vox) if rules.split else 0
    halo = index3([reach] * 3)
    inside = index3(min(c, n) for c, n in zip(core, volume.shape, strict=True))
    crop = Box.of_shape(inside).grow(halo).shape
    kernel = f"{_BLOCKS}:objects_block"
    return Stage(
        "stats-objects",
        kernel,
        Tiling(volume.shape, core),
        params={"rules": asdict(rules), "where": volume.url.rstrip("/").rsplit("/", 1)[-1]},
        arrays={"labels": ArrayInput(volume, halo, halo)},
        emits=True,
        kernel_bytes=kernel_bytes(kernel, voxels=math.prod(inside), read=math.prod(crop), dtype=volume.dtype),
    )


def _seams_stage(volume: Volume, rules: ClassRules, core: Index3) -> Stage:
    kernel = f"{_BLOCKS}:seams_block"
    inside = index3(min(c, n) for c, n in zip(core, volume.shape, strict=True))
    return Stage(
        "stats-seams",
        kernel,
        Tiling(volume.shape, core),
        params={"rules": asdict(rules)},
        tables={"objects": TableInput("stats-objects", "neighbours")},
        emits=True,
        kernel_bytes=kernel_bytes(kernel, shape=inside),
    )


def _ids_stage(volume: Volume, core: Index3) -> Stage:
    kernel = f"{_BLOCKS}:ids_block"
    inside = math.prod(min(c, n) for c, n in zip(core, volume.shape, strict=True))
    return Stage(
        "stats-ids",
        kernel,
        Tiling(volume.shape, core),
        params={"where": volume.url.rstrip("/").rsplit("/", 1)[-1]},
        arrays={"labels": ArrayInput(volume)},
        emits=True,
        kernel_bytes=kernel_bytes(kernel, voxels=inside),
    )
