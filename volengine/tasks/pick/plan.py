"""Planning ``pick``: the four stages that find, join, resolve and label regions.

If it is not known whether the volume is a mask, two stages find out (:mod:`volengine.tasks.common.readings`). Then
``basins`` finds local regions per block, with a halo; ``seams`` joins the regions of neighbouring blocks, from tables;
``resolve`` turns all regions into picks, once; ``relabel`` writes the label image per block. If a pick lies where the
prediction is highest, ``plateaus`` and ``middles`` come before ``resolve`` (:mod:`volengine.ops.plateaus`). In volumes
of many blocks a tree is in the place of ``resolve`` (:mod:`volengine.tasks.pick.tree`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.fields import fields_of
from volengine.core.image import ImageSpec
from volengine.core.picks import Picks
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput, kernel_bytes
from volengine.io.stores import located
from volengine.ops.heights import BasinRules
from volengine.ops.regions import check_size
from volengine.tasks.common.cells import table_memory
from volengine.tasks.common.images import StoreOptions, core_unit, factors_of, image_spec, outputs_of, scratch_spec
from volengine.tasks.common.layout import file_name
from volengine.tasks.common.named import stored_name
from volengine.tasks.common.readings import Reading, reading_of
from volengine.tasks.common.roi import box_of, history_of, seen_of, size_of, tiling_of, within
from volengine.tasks.pick.description import PickOutputs
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.tree import Tree, middles_stage

FIRST_HALO_VOX = 16
"""First halo of ``basins``; a block with thicker foreground is read again with the halo that it needs."""

LARGEST_BLOCK = 2**23
"""Voxels per block: about 200 a side; the halo adds half as many, and a block takes about a second."""

_BASINS = "volengine.tasks.pick.blocks:basins_block"
_SEAMS = "volengine.tasks.pick.blocks:seams_block"
_PLATEAUS = "volengine.tasks.pick.blocks:plateaus_of_regions"
_MIDDLES = "volengine.tasks.pick.blocks:middles_block"
_RESOLVE = "volengine.tasks.pick.blocks:resolve_picks"
_VOXELS = "volengine.tasks.pick.blocks:filament_voxels"
_TRACE = "volengine.tasks.pick.blocks:trace_filaments"
_PEAKS = "volengine.tasks.pick.blocks:ais_peaks_block"
_AIS = "volengine.tasks.pick.blocks:ais_picks"
_RELABEL = "volengine.tasks.pick.blocks:relabel_block"


def plan_pick(source: Volume, recipe: PickRecipe, out: PickOutputs, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stages that pick particles from a prediction.

    Parameters
    ----------
    source
        The prediction.
    recipe
        What a particle is.
    out
        The table of picks, and the store for the label volume.
    folder
        Folder of the plan; its scratch folder holds the array of numbered local regions.
    options
        How to run.

    Returns
    -------
    Plan
        Its last call writes the table of picks. Its images are the array of local regions (scratch) and the label
        image; without ``labels`` only that array, and only if the position is the maximum.

    Raises
    ------
    InputError
        The format of the table is not known, or cannot hold picks of such voxels or names; or the source is no
        prediction by its metadata.
    """
    from volengine.io.picks import check_picks

    recipe = recipe.resolved()
    check_size(source.shape)
    if recipe.compat and source.dtype == "float16":
        raise InputError(f"{source.url} holds float16, in which Ais finds nothing; leave out --compat, or convert it.")
    feature = recipe.feature_of(source)
    one = Picks(np.zeros((1, 3)), source.voxel_size, source.origin, source.shape, source.name, feature)
    check_picks(out.table, one, recipe.format)
    part = box_of(source, recipe.roi)
    facts = {"feature": feature, "history": history_of(source, "pick", recipe, part)}
    spec = image_spec(
        out.store,
        seen_of(source, part),
        StoreOptions(ngff=out.ngff),
        dtype="uint32",
        kind="labels",
        group="" if out.whole else f"labels/{file_name(feature)}",
        facts=facts,
    )
    shape = size_of(source.shape, part)
    scratch = scratch_spec(str(folder.scratch / _name(feature, "basins")), shape, "uint32", spec.levels[0].chunks)

    reading = reading_of(source, recipe.scale, f"pick-{file_name(feature)}", options, what="pick")
    seen = reading.seen

    highest = recipe.position == "maximum"
    keeps = recipe.labels or highest or recipe.filament or bool(recipe.compat)
    parts = scratch_spec(str(folder.scratch / _name(feature, "parts")), source.shape, "uint32", spec.levels[0].chunks)

    def build(core: Index3) -> Stage:
        return _basins_stage(reading, recipe, feature, scratch if keeps else None, core, part)

    core = options.core_for(
        shape, core_unit(spec) if recipe.labels else spec.levels[0].chunks, build, largest=LARGEST_BLOCK
    )
    stages = [*reading.stages, build(core), within(_seams_stage(seen, recipe, feature, core), part)]
    tree = Tree.of(_name(feature, "")[:-1], seen, recipe, core, part, options)
    if tree is None:
        if highest:
            plateaus, middles = _middle_stages(reading, recipe, feature, scratch, core)
            stages += [plateaus, within(middles, part, scratch)]
        stages.append(_resolve_stage(seen, recipe, feature))
    else:
        stages += tree.stages(reading, scratch)
    if recipe.filament and tree is None:
        voxels, trace = _filament_stages(seen, recipe, feature, scratch, core, options)
        stages += [within(voxels, part, scratch), trace]
    if recipe.compat:
        stages += _ais_stages(seen, recipe, feature, scratch, parts, core)
    if recipe.labels:
        tiling = tiling_of(source.shape, core, part)
        labels = _relabel_stage(feature, scratch, spec, tiling) if tree is None else tree.relabel(scratch, spec)
        stages.append(labels)
    call = Call(
        "volengine.tasks.pick.finish:write_table",
        {
            **(_picks_at(recipe, feature) if tree is None else tree.picks),
            "volume": source.to_json(),
            "feature": feature,
            "out": located(out.table),
            "format": recipe.format,
            "threshold": recipe.level,
            "decision": reading.decision,
        },
        writes=(out.table,),
    )
    images = (*([scratch] if keeps else []), *([parts] if recipe.compat else []), *([spec] if recipe.labels else []))
    finish = (call,) if out.whole else (call, _forget(source, out, spec, folder, kept=recipe.labels))
    return Plan(source.name, tuple(stages), images, recipe={"pick": recipe.to_json()}, finish=finish)


def _forget(source: Volume, out: PickOutputs, spec: ImageSpec, folder: PlanFolder, *, kept: bool) -> Call:
    """The call that deletes the labels of an earlier recipe of this run, which wrote none, or to another place."""
    places = {located(store): store for store in (source.url, f"{out.table}.ome.zarr", out.store)}
    if kept:
        places.pop(located(out.store))
    return Call(
        "volengine.tasks.pick.finish:forget_labels",
        {
            "stores": sorted(places.values()),
            "group": spec.group,
            "beside": f"{out.table}.ome.zarr",
            "plan_folder": str(folder.path),
        },
    )


def _picks_at(recipe: PickRecipe, feature: str) -> dict[str, Any]:
    """The parameters of the last call that say where the picks are, without a tree."""
    step = "trace" if recipe.filament else "ais" if recipe.compat else "resolve"
    return {"stage": _name(feature, step)}


def _name(feature: str, step: str) -> str:
    return f"pick-{file_name(feature)}-{step}"


def _basins_stage(
    reading: Reading, recipe: PickRecipe, feature: str, scratch: ImageSpec | None, core: Index3, part: Box | None
) -> Stage:
    volume = reading.volume
    rules = _basin_rules(reading, recipe)
    halo = index3(min(FIRST_HALO_VOX, h) for h in rules.halo_vox)
    tiling = tiling_of(volume.shape, core, part)
    inside = tiling.box(0).shape
    only = {} if part is None else {"roi": [*part.start, *part.stop]}
    crop = Box.of_shape(inside).grow(halo).shape
    return Stage(
        _name(feature, "basins"),
        _BASINS,
        tiling,
        params={"where": stored_name(volume), "scale": reading.scale, **only, **fields_of(rules)},
        arrays={"prediction": ArrayInput(volume, halo, halo)},
        tables=reading.tables(),
        outputs={} if scratch is None else {"basin": Output(scratch.volume(), at=tiling.start)},
        emits=True,
        kernel_bytes=kernel_bytes(
            _BASINS,
            crop=math.prod(crop),
            inside=math.prod(inside),
            itemsize=np.dtype(reading.dtype).itemsize,
            copies=reading.copies + (part is not None),
        ),
        version=2,
    )


def _basin_rules(reading: Reading, recipe: PickRecipe) -> BasinRules:
    """The rules for local regions; of signed bytes, which Ais writes up to 127, compat ais takes half the threshold."""
    rules = recipe.basin_rules(reading.seen)
    if recipe.compat and reading.volume.dtype == "int8" and reading.scale is None:
        return replace(rules, level=math.floor(round(recipe.level * 255, 9) / 2))
    return rules


def _seams_stage(volume: Volume, recipe: PickRecipe, feature: str, core: Index3) -> Stage:
    z, y, x = (min(c, n) for c, n in zip(core, volume.shape, strict=True))
    shell = 2 * (z * y + y * x + z * x)
    return Stage(
        _name(feature, "seams"),
        _SEAMS,
        Tiling(volume.shape, core),
        params=fields_of(recipe.basin_rules(volume)),
        tables={"basins": TableInput(_name(feature, "basins"), "neighbours")},
        emits=True,
        version=3,
        kernel_bytes=kernel_bytes(_SEAMS, shell=shell),
    )


def _middle_stages(
    reading: Reading, recipe: PickRecipe, feature: str, scratch: ImageSpec, core: Index3
) -> tuple[Stage, Stage]:
    """The stages that find the middle of each region's voxels of highest prediction."""
    volume, rules = reading.volume, fields_of(recipe.region_rules(reading.seen))
    plateaus = Stage(
        _name(feature, "plateaus"),
        _PLATEAUS,
        Tiling((1, 1, 1), (1, 1, 1)),
        params={"shape": volume.shape, "rules": rules},
        tables={"seams": TableInput(_name(feature, "seams"), "all")},
        emits=True,
        kernel_bytes=kernel_bytes(_PLATEAUS, voxels=volume.size),
    )
    found = {"plateaus": TableInput(plateaus.name, "all")}
    return plateaus, middles_stage(_name(feature, "middles"), _MIDDLES, reading, scratch, core, rules, found)


def _resolve_stage(volume: Volume, recipe: PickRecipe, feature: str) -> Stage:
    highest = recipe.position == "maximum"
    middles = {"middles": TableInput(_name(feature, "middles"), "all")} if highest else {}
    return Stage(
        _name(feature, "resolve"),
        _RESOLVE,
        Tiling((1, 1, 1), (1, 1, 1)),
        params={"shape": volume.shape, "rules": fields_of(recipe.region_rules(volume))},
        tables={"seams": TableInput(_name(feature, "seams"), "all"), **middles},
        emits=True,
        kernel_bytes=kernel_bytes(_RESOLVE, voxels=volume.size),
        version=2,
    )


def _filament_stages(
    volume: Volume, recipe: PickRecipe, feature: str, scratch: ImageSpec, core: Index3, options: RunOptions
) -> tuple[Stage, Stage]:
    """The stages that gather the voxels of all components, and follow their centrelines, one component at a time."""
    memory = table_memory(options)
    resolve = {"resolve": TableInput(_name(feature, "resolve"), "all")}
    voxels = Stage(
        _name(feature, "voxels"),
        _VOXELS,
        Tiling(volume.shape, core),
        arrays={"basin": ArrayInput(scratch.volume())},
        tables=resolve,
        hints={"memory_bytes": memory},
        emits=True,
        kernel_bytes=kernel_bytes(
            _VOXELS, inside=math.prod(min(c, n) for c, n in zip(core, volume.shape, strict=True))
        ),
    )
    trace = Stage(
        _name(feature, "trace"),
        _TRACE,
        Tiling((1, 1, 1), (1, 1, 1)),
        params={"shape": volume.shape, **recipe.filament_rules(volume)},
        tables={"voxels": TableInput(voxels.name, "all"), **resolve},
        hints={"memory_bytes": memory},
        emits=True,
        version=2,
        kernel_bytes=kernel_bytes(_TRACE, memory_bytes=memory),
    )
    return voxels, trace


def _ais_stages(
    volume: Volume, recipe: PickRecipe, feature: str, scratch: ImageSpec, parts: ImageSpec, core: Index3
) -> tuple[Stage, Stage, Stage]:
    """The stages of ``compat ais``: labels of the components, candidates per block, and the picks among them."""
    shape, reach = volume.shape, recipe.ais_reach(volume)
    resolve = {"resolve": TableInput(_name(feature, "resolve"), "all")}
    inside = index3(min(c, n) for c, n in zip(core, shape, strict=True))
    label = Stage(
        _name(feature, "parts"),
        _RELABEL,
        Tiling(shape, core),
        params={"factors": [(1, 1, 1)]},
        arrays={"basin": ArrayInput(scratch.volume())},
        tables=resolve,
        outputs={"@0": Output(parts.volume())},
        kernel_bytes=kernel_bytes(_RELABEL, inside=math.prod(inside)),
    )
    halo = index3([reach + FIRST_HALO_VOX] * 3)
    peaks = Stage(
        _name(feature, "peaks"),
        _PEAKS,
        Tiling(shape, core),
        params={"reach": reach, "limit": recipe.max_distance_vox},
        arrays={"label": ArrayInput(parts.volume(), halo, halo)},
        emits=True,
        kernel_bytes=kernel_bytes(_PEAKS, crop=math.prod(Box.of_shape(inside).grow(halo).shape)),
    )
    picks = Stage(
        _name(feature, "ais"),
        _AIS,
        Tiling((1, 1, 1), (1, 1, 1)),
        params={
            "shape": shape,
            "reach": reach,
            "margin_vox": list(recipe.margin),
            "min_picks": recipe.min_picks,
        },
        tables={"peaks": TableInput(peaks.name, "all"), **resolve},
        emits=True,
        kernel_bytes=kernel_bytes(_AIS, voxels=volume.size),
    )
    return label, peaks, picks


def _relabel_stage(feature: str, scratch: ImageSpec, spec: ImageSpec, tiling: Tiling) -> Stage:
    return Stage(
        _name(feature, "relabel"),
        _RELABEL,
        tiling,
        params={"factors": factors_of(spec)},
        arrays={"basin": ArrayInput(scratch.volume(), at=tiling.start)},
        tables={"resolve": TableInput(_name(feature, "resolve"), "all")},
        outputs=outputs_of(spec, at=tiling.start),
        kernel_bytes=kernel_bytes(_RELABEL, inside=tiling.box(0).size),
    )
