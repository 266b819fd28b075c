"""Planning ``score``: one stage that counts voxels per block, and a call that computes the scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Stage, kernel_bytes
from volengine.io.stores import located
from volengine.ops.stored import prediction_dtype
from volengine.tasks.common.layout import file_name
from volengine.tasks.common.named import stored_name
from volengine.tasks.common.readings import Reading, reading_of
from volengine.tasks.common.roi import box_of, tiling_of
from volengine.tasks.score.inputs import Case
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.score.table import files_of

FIRST_MARGIN_VOX = 12
"""Halo beyond the support of the skeleton's filters; a block with a thicker mask is read again with a wider halo."""

LARGEST_BLOCK = 2**22
"""Voxels per block: about 160 a side, or 210 with the halo of the skeletons."""

UNCHUNKED = (64, 64, 64)

_SCORE = "volengine.tasks.score.blocks:score_block"
_WRITE = "volengine.tasks.score.finish:write_scores"


def plan_score(source: Case, recipe: ScoreRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stages that find out which predictions are masks, the one that counts voxels, and the call at the end.

    The call writes the table ``out`` (``.csv``).

    ``folder`` is not used, because the stage needs no scratch.

    Raises
    ------
    InputError
        A prediction is neither a probability nor a mask, the region leaves the volume, or the block does not fit
        ``skeleton`` 2d.
    """
    shape = source.first.shape
    unit = source.first.chunks or UNCHUNKED
    if recipe.skeleton == "2d":
        unit = (min(unit[0], 16), *shape[1:])
        if options.block is not None and any(b < n for b, n in zip(options.block[1:], shape[1:], strict=True)):
            raise InputError(f"--skeleton 2d works on whole slices: --block must be {shape[1:]} in y and x.")

    readings = _readings(source, recipe, options)

    def build(core: Index3) -> Stage:
        return _stage(source, recipe, readings, core)

    core = options.core_for(_covered(source, recipe).shape, unit, build, largest=LARGEST_BLOCK)
    names = list(source.predictions)
    facts: dict[str, Any] = {
        "tomogram": source.name,
        "predictions": {f: stored_name(v) for f, v in source.predictions.items()},
        "truth": {f: stored_name(v) for f, v in source.truth.items()},
        "recipe": {k: v for k, v in recipe.to_json().items() if k != "mask_grid" and (k != "roi" or v)},
    }
    if notes := source.notes(accept=recipe.any_origin):
        facts["notes"] = notes
    call = Call(
        _WRITE,
        {
            "stage": "score",
            "names": names,
            "masks": [k for k, f in enumerate(names) if f not in readings],
            "decisions": {f: reading.decision for f, reading in readings.items() if reading.decision},
            "out": located(out),
            "facts": facts,
        },
        writes=tuple(str(path) for path in files_of(located(out))),
    )
    stages = (*(stage for reading in readings.values() for stage in reading.stages), build(core))
    return Plan(source.name, stages, recipe={"score": recipe.to_json()}, finish=(call,))


def _readings(case: Case, recipe: ScoreRecipe, options: RunOptions) -> dict[str, Reading]:
    """How each prediction of probabilities is read; features whose prediction is a mask or class ids are left out.

    That a volume holds probabilities is known by ``prediction_kind``; else it may turn out to be a mask.
    """
    found: dict[str, Reading] = {}
    for feature, volume in case.predictions.items():
        auto = recipe.prediction_kind == "auto"
        if recipe.prediction_ids or recipe.prediction_kind == "labels" or (auto and volume.kind == "labels"):
            continue
        if auto or recipe.scale is not None:
            prefix = f"score-{file_name(feature)}"
            found[feature] = reading_of(volume, recipe.scale, prefix, options, what="score")
        else:
            found[feature] = Reading(volume, prediction_dtype(volume.dtype), None, ())
    return found


def _region(recipe: ScoreRecipe, volume: Volume) -> Box:
    return box_of(volume, recipe.roi) or Box.of_shape(volume.shape)


def _covered(case: Case, recipe: ScoreRecipe) -> Box:
    """What blocks cover: the region; whole slices of it if each slice is thinned."""
    region = _region(recipe, case.first)
    if recipe.skeleton != "2d":
        return region
    _, y, x = case.first.shape
    return Box((region.start[0], 0, 0), (region.stop[0], y, x))


def _stage(case: Case, recipe: ScoreRecipe, readings: Mapping[str, Reading], core: Index3) -> Stage:
    from volengine.ops.skeleton import SUPPORT

    shape, names = case.first.shape, list(case.predictions)
    halo: Index3 = index3([SUPPORT + FIRST_MARGIN_VOX] * 3) if recipe.skeleton == "3d" else (0, 0, 0)
    region = _region(recipe, case.first)
    tiling = tiling_of(shape, core, _covered(case, recipe))
    inside = Box.of_shape(tiling.box(0).shape)
    read = math.prod(min(w, n) for w, n in zip(inside.grow(halo).shape, shape, strict=True))
    arrays = {f"prediction{k}": ArrayInput(case.predictions[f], halo, halo) for k, f in enumerate(names)}
    arrays |= {f"truth{k}": ArrayInput(case.truth[f], halo, halo) for k, f in enumerate(names)}
    if recipe.prediction_ids:
        arrays = {"prediction0": arrays["prediction0"]} | {k: a for k, a in arrays.items() if k.startswith("truth")}
    if recipe.ids:
        arrays = {k: a for k, a in arrays.items() if k.startswith("prediction") or k == "truth0"}
    return Stage(
        "score",
        _SCORE,
        tiling,
        params={
            "names": names,
            "thresholds": [recipe.threshold if f in readings else None for f in names],
            "prediction_ids": recipe.prediction_ids,
            "ids": recipe.ids,
            "ignore_id": recipe.ignore_id,
            "instances": recipe.instances,
            "skeleton": recipe.skeleton,
            "region": [*region.start, *region.stop],
            "scale": recipe.scale,
        },
        arrays=arrays,
        tables={
            key: t for k, f in enumerate(names) if f in readings for key, t in readings[f].tables(f"kind{k}").items()
        },
        emits=True,
        kernel_bytes=kernel_bytes(_SCORE, voxels=inside.size, read=read, features=len(names), skeleton=recipe.skeleton),
        version=2,
    )
