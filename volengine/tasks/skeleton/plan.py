"""Planning ``skeleton``: one stage that writes mid-surfaces, or two that trace lines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Stage, TableInput, kernel_bytes
from volengine.io.names import is_packed
from volengine.io.stores import located
from volengine.tasks.common.cells import table_memory
from volengine.tasks.common.images import StoreOptions, core_unit, factors_of, image_spec, outputs_of
from volengine.tasks.common.named import stored_name
from volengine.tasks.common.readings import Reading, reading_of
from volengine.tasks.common.roi import box_of, facts_of, history_of, seen_of, size_of, start_of, tiling_of
from volengine.tasks.skeleton.recipe import SkeletonRecipe

FIRST_MARGIN_VOX = 8
"""Halo beyond the support of the skeleton's filters; a block with a thicker object is read again with a wider halo."""

LARGEST_BLOCK = 2**21
UNCHUNKED = (64, 64, 64)

_SKELETON = "volengine.tasks.skeleton.blocks:skeleton_block"
_VOXELS = "volengine.tasks.skeleton.blocks:object_voxels"
_TRACE = "volengine.tasks.skeleton.blocks:trace_lines"
_SAY = "volengine.tasks.skeleton.finish:say_skeleton"
_WRITE = "volengine.tasks.skeleton.finish:write_lines"


def plan_skeleton(source: Volume, recipe: SkeletonRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stages that find mid-surfaces or lines.

    Parameters
    ----------
    source
        A prediction, a mask or labels.
    recipe
        What is thinned, and to what.
    out
        The store to write, or the table of lines (``.csv``).
    folder
        Folder of the plan; not used, because the stages need no scratch.
    options
        How to run.

    Raises
    ------
    InputError
        The source is a tomogram by its own words, labels are asked for of what holds none, or it is compressed as a
        whole.
    """
    if is_packed(source.url):
        raise InputError(f"{source.url} is compressed as a whole and cannot be read in blocks; convert it first.")
    reading = _reading(source, recipe, options)
    part = box_of(source, recipe.roi)
    if recipe.lines:
        return _plan_lines(source, reading, recipe, out, part, options)
    kept = np.dtype(source.dtype)
    dtype = kept.name if _is_mask(source, recipe) and kept.kind in "iu" else "uint8"
    facts = {**facts_of(source.facts, part), "history": history_of(source, "skeleton", recipe, part)}
    spec = image_spec(
        out, seen_of(source, part), StoreOptions(ngff=recipe.ngff), dtype=dtype, kind="labels", facts=facts
    )

    def build(core: Index3) -> Stage:
        return _skeleton_stage(reading, recipe, spec, core, part)

    core = options.core_for(size_of(source.shape, part), core_unit(spec), build, largest=LARGEST_BLOCK)
    call = Call(
        _SAY,
        {"stage": "skeleton", "url": spec.url, "layers": recipe.layers, "volume": source.to_json()}
        | {"decision": reading.decision},
    )
    stages = (*reading.stages, build(core))
    return Plan(source.name, stages, (spec,), recipe={"skeleton": recipe.to_json()}, finish=(call,))


def _is_mask(source: Volume, recipe: SkeletonRecipe) -> bool:
    """Whether the volume is read as a mask or labels, by the recipe or by its own words."""
    says = source.kind == "labels" or np.dtype(source.dtype).kind == "b" or bool(recipe.labels)
    return recipe.input == "mask" or (recipe.input == "auto" and says and recipe.scale is None)


def _reading(source: Volume, recipe: SkeletonRecipe, options: RunOptions) -> Reading:
    if _is_mask(source, recipe):
        if recipe.labels and np.dtype(source.dtype).kind not in "iu":
            raise InputError(f"{stored_name(source)} holds {source.dtype}; labels are whole numbers.")
        return Reading(source, source.dtype, None, ())
    if recipe.labels:
        raise InputError(f"{stored_name(source)}: labels are asked for, and it holds probabilities by its own words.")
    return reading_of(source, recipe.scale, "skeleton", options, what="skeleton")


def _object(reading: Reading, recipe: SkeletonRecipe) -> dict[str, Any]:
    """The parameters that say which voxels belong to the object."""
    return {
        "where": stored_name(reading.volume),
        "threshold": None if _is_mask(reading.volume, recipe) else recipe.threshold,
        "labels": list(recipe.labels),
        "scale": reading.scale,
    }


def _skeleton_stage(reading: Reading, recipe: SkeletonRecipe, spec: ImageSpec, core: Index3, part: Box | None) -> Stage:
    from volengine.ops.skeleton import SUPPORT

    volume = reading.volume
    halo = index3([SUPPORT + FIRST_MARGIN_VOX] * 3)
    tiling = tiling_of(volume.shape, core, part)
    inside = Box.of_shape(tiling.box(0).shape)
    read = math.prod(min(w, n) for w, n in zip(inside.grow(halo).shape, volume.shape, strict=True))
    return Stage(
        "skeleton",
        _SKELETON,
        tiling,
        params={
            **_object(reading, recipe),
            "factors": factors_of(spec),
            "layers": recipe.layers,
            "voxel_size": volume.voxel_size,
            "dtype": spec.dtype,
        },
        arrays={"source": ArrayInput(volume, halo, halo)},
        tables=reading.tables(),
        outputs=outputs_of(spec, at=start_of(part)),
        emits=True,
        kernel_bytes=kernel_bytes(_SKELETON, read=read, inside=inside.size),
    )


def _plan_lines(
    source: Volume, reading: Reading, recipe: SkeletonRecipe, out: str, part: Box | None, options: RunOptions
) -> Plan:
    memory, size = table_memory(options), min(source.voxel_size)
    step = size if recipe.step_nm is None else recipe.step_nm * NM

    def build(core: Index3) -> Stage:
        tiling = tiling_of(source.shape, core, part)
        return Stage(
            "voxels",
            _VOXELS,
            tiling,
            params=_object(reading, recipe),
            arrays={"source": ArrayInput(source)},
            tables=reading.tables(),
            emits=True,
            kernel_bytes=kernel_bytes(_VOXELS, inside=tiling.box(0).size),
        )

    core = options.core_for(size_of(source.shape, part), source.chunks or UNCHUNKED, build, largest=LARGEST_BLOCK)
    trace = Stage(
        "trace",
        _TRACE,
        Tiling((1, 1, 1), (1, 1, 1)),
        params={
            "rules": {
                "scale": [s / size for s in source.voxel_size],
                "side_nm": size / NM,
                "least": recipe.min_length_nm * NM / size,
                "spacing": step / size,
            }
        },
        tables={"voxels": TableInput("voxels", "all")},
        hints={"memory_bytes": memory},
        emits=True,
        kernel_bytes=kernel_bytes(_TRACE, memory_bytes=memory),
    )
    call = Call(
        _WRITE,
        {"stage": "trace", "out": located(out), "volume": source.to_json(), "decision": reading.decision},
        writes=(out,),
    )
    stages = (*reading.stages, build(core), trace)
    return Plan(source.name, stages, recipe={"skeleton": recipe.to_json()}, finish=(call,))
