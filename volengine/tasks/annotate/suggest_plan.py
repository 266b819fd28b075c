"""Planning ``annotate suggest``: one stage that scores the patches of a prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Stage, kernel_bytes
from volengine.tasks.annotate.suggest_recipe import SuggestRecipe

_SCORE = "volengine.tasks.annotate.suggest_blocks:uncertain_block"
_KEEP = "volengine.tasks.annotate.suggest_finish:keep_patches"


@dataclass(frozen=True)
class SuggestGiven:
    """A prediction of a tomogram, and what another model predicts there, or ``None``."""

    prediction: Volume
    other: Volume | None = None


def plan_suggest(given: SuggestGiven, recipe: SuggestRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stage that scores the patches of a prediction, and the call that keeps them in ``out`` (``.npz``).

    Patches lie side by side in the middle of the volume; less than half of one is left at each face.

    Raises
    ------
    InputError
        The volume is smaller than a patch, or the two predictions have different shapes.
    """
    volume, other = given.prediction, given.other
    if other is not None and other.shape != volume.shape:
        raise InputError(f"{other.where} has {other.shape} voxels, but {volume.where} {volume.shape}.")
    patch = index3(recipe.patch)
    if any(n < p for n, p in zip(volume.shape, patch, strict=True)):
        raise InputError(f"{volume.where}: {volume.shape} voxels are fewer than a patch has; give a smaller --patch.")
    start = index3(n % p // 2 for n, p in zip(volume.shape, patch, strict=True))
    stop = index3(s + n // p * p for s, n, p in zip(start, volume.shape, patch, strict=True))
    halo = index3([recipe.outline_vox] * 3)
    arrays = {"prediction": volume} if other is None else {"prediction": volume, "other": other}

    def build(core: Index3) -> Stage:
        wide = math.prod(min(c, n) + 2 * recipe.outline_vox for c, n in zip(core, volume.shape, strict=True))
        return Stage(
            "suggest-score",
            _SCORE,
            Tiling(volume.shape, core, start, stop),
            params={
                "patch": patch,
                "outline_vox": recipe.outline_vox,
                "sure": recipe.sure,
                "where": [one.name for one in arrays.values()],
            },
            arrays={name: ArrayInput(one, halo, halo) for name, one in arrays.items()},
            emits=True,
            kernel_bytes=kernel_bytes(_SCORE, voxels=wide, several=other is not None),
        )

    core = options.core_for(index3(b - a for a, b in zip(start, stop, strict=True)), patch, build)
    core = index3(-(-c // p) * p for c, p in zip(core, patch, strict=True))  # whole patches, whatever --block says
    call = Call(_KEEP, {"out": out}, writes=(out,))
    return Plan(volume.name, (build(core),), recipe={"annotate suggest": recipe.to_json()}, finish=(call,))
