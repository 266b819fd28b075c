"""Planning ``convert``: one stage that reads each block once and writes its part of every level of the pyramid."""

from __future__ import annotations

import math

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.stage import ArrayInput, Stage, kernel_bytes
from volengine.tasks.common.images import StoreOptions, core_unit, factors_of, image_spec, outputs_of
from volengine.tasks.common.layout import history
from volengine.tasks.common.unpack import unpacked, waits_for
from volengine.tasks.convert.project import Segmentation
from volengine.tasks.convert.project_plan import plan_segmentation
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.tilts import tilts_for

LARGEST_BLOCK = 2**23
"""Voxels per block: 32 MB of float32, so that reading, computing and writing overlap within 500 MB."""

_COPY = "volengine.tasks.convert.blocks:copy_block"


def plan_convert(
    source: Volume, recipe: ConvertRecipe, out: str | Segmentation, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan the stages that write ``source`` to the store ``out``, or as a segmentation of a copick project.

    A source that is compressed as a whole (``.gz``, ``.bz2``) is first unpacked into the scratch folder of ``folder``.
    The file of the recipe's tilt series is read.

    Returns
    -------
    Plan
        ``images[0]`` is the image that it writes.
    """
    if isinstance(out, Segmentation):
        return plan_segmentation(source, recipe, out, folder, options)
    if recipe.montage:
        raise InputError(f"{source.where}: is read as a volume here, not as a montage; leave out montage.")
    if recipe.threshold is not None:
        raise InputError("--threshold is for masks that go into a copick project (--out config.json#seg=NAME).")
    spec = image_spec(
        out,
        source,
        StoreOptions(recipe.chunk, recipe.shard, recipe.ngff, recipe.codec, recipe.levels),
        dtype=source.dtype,
        kind=recipe.kind,
        facts={**source.facts, **tilts_for(source, recipe.tilts), "history": history(source, "convert", recipe)},
    )
    read, before = unpacked(source, folder)

    def build(core: Index3) -> Stage:
        return _copy_stage(read, spec, core, before)

    core = options.core_for(source.shape, core_unit(spec), build, largest=LARGEST_BLOCK)
    return Plan(source.name, (*before, build(core)), (spec,), recipe={"convert": recipe.to_json()})


def _copy_stage(source: Volume, spec: ImageSpec, core: Index3, before: list[Stage]) -> Stage:
    voxels = math.prod(min(c, n) for c, n in zip(core, source.shape, strict=True))
    return Stage(
        "convert",
        _COPY,
        Tiling(source.shape, core),
        params={"factors": factors_of(spec), "kind": spec.kind},
        arrays={"source": ArrayInput(source)},
        tables=waits_for(before),
        outputs=outputs_of(spec),
        kernel_bytes=kernel_bytes(_COPY, voxels=voxels),
    )
