"""Planning a segmentation of a copick project: one stage that makes a mask, or labels, of each block."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from volengine.core.boxes import Index3
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.stage import ArrayInput, Stage, kernel_bytes
from volengine.tasks.common.images import StoreOptions, core_unit, factors_of, image_spec, outputs_of
from volengine.tasks.common.layout import history
from volengine.tasks.common.named import stored_name
from volengine.tasks.common.readings import Reading, reading_of
from volengine.tasks.common.unpack import unpacked, waits_for
from volengine.tasks.convert.project import Segmentation
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.tilts import tilts_for

LARGEST_BLOCK = 2**23

_MASK = "volengine.tasks.convert.project_blocks:mask_block"
_ABOVE = "volengine.tasks.convert.project_blocks:above_block"
_LABELS = "volengine.tasks.convert.project_blocks:labels_block"


def plan_segmentation(
    source: Volume, recipe: ConvertRecipe, out: Segmentation, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan the stages that write ``source`` as a segmentation of a project.

    The store has the voxel size and origin of the run's tomogram, and OME-Zarr 0.4.

    Returns
    -------
    Plan
        ``images[0]`` is the image that it writes.
    """
    if out.labels is None:
        dtype = "uint8"
    else:
        dtype = np.min_scalar_type(max((new for _, new in out.labels), default=1)).name
    # Without the feature: run and object are in the name, as in all segmentations of a project.
    kept = {key: value for key, value in source.facts.items() if key not in ("feature", "classes")}
    spec = image_spec(
        out.store,
        source.with_(voxel_size=out.voxel_size, origin=out.origin, name=f"{out.run}__{out.name}"),
        StoreOptions(recipe.chunk, recipe.shard, "0.4", recipe.codec, recipe.levels),
        dtype=dtype,
        kind="labels",
        facts={**kept, **tilts_for(source, recipe.tilts), "history": history(source, "convert", recipe)},
    )
    read, before = unpacked(source, folder)
    reading = None
    if recipe.threshold is not None:
        reading = reading_of(read, None, "convert", options, what="convert with --threshold")
        before = [*before, *reading.stages]

    def build(core: Index3) -> Stage:
        return _stage(read, recipe, out, spec, core, before, reading)

    core = options.core_for(source.shape, core_unit(spec), build, largest=LARGEST_BLOCK)
    return Plan(source.name, (*before, build(core)), (spec,), recipe={"convert": recipe.to_json()})


def _stage(
    source: Volume,
    recipe: ConvertRecipe,
    out: Segmentation,
    spec: ImageSpec,
    core: Index3,
    before: list[Stage],
    reading: Reading | None,
) -> Stage:
    kernel = _MASK
    params: dict[str, Any] = {"factors": factors_of(spec), "where": stored_name(source)}
    if out.labels is not None:
        kernel, params = _LABELS, {**params, "labels": [list(pair) for pair in out.labels], "dtype": spec.dtype}
    elif reading is not None:
        kernel, params = _ABOVE, {**params, "threshold": recipe.threshold}
    voxels = math.prod(min(c, n) for c, n in zip(core, source.shape, strict=True))
    unpacking = [stage for stage in before if reading is None or stage not in reading.stages]
    return Stage(
        "convert",
        kernel,
        Tiling(source.shape, core),
        params=params,
        arrays={"source": ArrayInput(source)},
        tables={**waits_for(unpacking), **({} if reading is None else reading.tables())},
        outputs=outputs_of(spec),
        kernel_bytes=kernel_bytes(kernel, voxels=voxels),
    )
