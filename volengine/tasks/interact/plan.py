"""Planning ``interact``: what the predictions are, the halos of the rules, and the stage that applies them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.paths import place_key
from volengine.core.rules import Interact, Rule, changed_features, check_features, rules_to_json
from volengine.core.tiling import Tiling
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Stage, kernel_bytes
from volengine.io.names import is_packed
from volengine.ops.interact import RuleChain
from volengine.tasks.common.images import StoreOptions, core_unit, factors_of, image_spec, outputs_of
from volengine.tasks.common.layout import feature_store, file_name
from volengine.tasks.common.named import stored_name
from volengine.tasks.common.origins import origins_note
from volengine.tasks.common.readings import Reading, reading_of
from volengine.tasks.common.roi import box_of, check_same_part, facts_of, history_of, seen_of, size_of, tiling_of
from volengine.tasks.interact.recipe import InteractRecipe

LARGEST_BLOCK = 2**23
"""Voxels per block: about 200 a side; with a halo of 20 voxels twice as many are read."""

_GATE = "volengine.tasks.interact.blocks:gate_block"

LONGEST_STEP = 4095
"""Largest radius of an interaction, voxels; no volume of the field is so thick."""


def plan_interact(
    source: Mapping[str, Volume], recipe: InteractRecipe, out: str, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan the stages that find out which predictions are masks, and the one that applies the rules.

    Parameters
    ----------
    source
        The predictions of one tomogram, by feature.
    recipe
        The rules.
    out
        Folder or URL for the changed features.
    folder
        Folder of the plan; not used, because the stage needs no scratch.
    options
        How to run.

    Returns
    -------
    Plan
        Its images are the changed features; ``facts["feature"]`` of each is its feature's name.

    Raises
    ------
    InputError
        A prediction is missing, the predictions differ in grid or dtype, one is no prediction by its metadata, or an
        output would replace one of them.
    """
    rules: tuple[Rule, ...] = recipe.rules
    used = _check(source, recipe)
    readings = {
        name: reading_of(volume, recipe.scale, f"interact-{file_name(name)}", options, what="interact")
        for name, volume in used.items()
    }
    _check_types(readings, recipe)
    first = next(iter(used.values()))
    chain = RuleChain(rules, first.voxel_size, recipe.compat)
    _check_radii(chain, first)
    halos = chain.halo(changed_features(rules))
    part = box_of(first, recipe.roi)
    specs = _specs({name: reading.seen for name, reading in readings.items()}, recipe, out, part)
    read = {name: readings[name] for name in halos}

    def build(core: Index3) -> Stage:
        return _stage(read, chain, halos, specs, tiling_of(first.shape, core, part))

    core = options.core_for(size_of(first.shape, part), core_unit(*specs.values()), build, largest=LARGEST_BLOCK)
    return Plan(
        first.name,
        (*(stage for reading in read.values() for stage in reading.stages), build(core)),
        tuple(specs.values()),
        recipe={"interact": recipe.to_json()},
        finish=(
            Call(
                "volengine.tasks.interact.finish:say_masks",
                {"read": {n: _said(r) for n, r in read.items()}, "notes": _origins(used)},
            ),
        ),
        notes=tuple(_note(rule, chain) for rule in rules if isinstance(rule, Interact)),
    )


def _check(predictions: Mapping[str, Volume], recipe: InteractRecipe) -> dict[str, Volume]:
    """The predictions that the rules read; refuses predictions that differ in grid or dtype."""
    check_features(recipe.rules, sorted(predictions))
    used = {name: predictions[name] for name in dict.fromkeys(n for rule in recipe.rules for n in rule.features)}
    first = next(iter(used.values()))
    for other in used.values():
        for what in ("name", "shape", "voxel_size"):
            a, b = getattr(first, what), getattr(other, what)
            if a != b:
                raise InputError(
                    f"{first.url} and {other.url} differ in their {what.replace('_', ' ')} ({a} and {b}); rules "
                    "work on predictions of one tomogram, on one grid and of one type."
                )
        check_same_part(first, other)
        if is_packed(other.url):
            raise InputError(f"{other.url} is compressed as a whole and cannot be read in blocks; convert it first.")
    return used


def _check_radii(chain: RuleChain, volume: Volume) -> None:
    """Refuse radii for which the steps of a dilation do not fit into their integers."""
    for rule in chain.rules:
        if isinstance(rule, Interact):
            steps = rule.radius_nm * NM_TO_ANGSTROM / min(volume.voxel_size)
            if steps > LONGEST_STEP:
                raise InputError(
                    f"{rule.child} {rule.kind} {rule.parent}: a radius of {rule.radius_nm:g} nm is {steps:g} voxels of "
                    f"{volume.where}; up to {LONGEST_STEP} are possible. Is it given in nm?"
                )


def _origins(used: Mapping[str, Volume]) -> list[str]:
    """What there is to say about the origins of predictions, see :mod:`volengine.tasks.common.origins`."""
    first, *others = used.values()
    one = (stored_name(first), first.origin, first.voxel_size)
    said = (origins_note(one, (stored_name(v), v.origin, v.voxel_size), accept=True) for v in others)
    return list(dict.fromkeys(filter(None, said)))


def _check_types(readings: Mapping[str, Reading], recipe: InteractRecipe) -> None:
    """Refuse predictions of different types: which of two is higher would depend on how each was rounded."""
    first = next(iter(readings.values()))
    for other in readings.values():
        if first.dtype != other.dtype:
            raise InputError(
                f"{first.volume.url} and {other.volume.url} differ in their dtype ({first.volume.dtype} and "
                f"{other.volume.dtype}); rules work on predictions of one tomogram, on one grid and of one type. Masks "
                "of 0 and 1 beside floating numbers from 0 to 1 are read with --scale 1; volengine segment --dtype "
                "writes both types."
            )
    if recipe.compat == "ais" and first.dtype != "uint8":
        raise InputError(f"{first.volume.url} holds {first.volume.dtype}; compat 'ais' is Ais's arithmetic on uint8.")


def _said(reading: Reading) -> dict[str, Any]:
    return {"volume": reading.volume.to_json(), "decision": reading.decision}


def _specs(used: Mapping[str, Volume], recipe: InteractRecipe, out: str, part: Box | None) -> dict[str, ImageSpec]:
    """The images of the changed features."""
    taken = {_place(volume.url): volume.url for volume in used.values()}
    specs: dict[str, ImageSpec] = {}
    for feature in changed_features(recipe.rules):
        volume = used[feature]
        url = feature_store(out, volume.name, feature)
        if _place(url) in taken:
            raise InputError(f"The gated {feature!r} would replace {taken[_place(url)]}; give another --out.")
        taken[_place(url)] = f"that of another feature, {url}"
        steps = history_of(volume, "interact", recipe, part)
        steps[-1]["with"] = {
            name: [v.url.rsplit("/", 1)[-1], v.identity] for name, v in used.items() if name != feature
        }
        facts = facts_of(volume.facts, part)
        kept: dict[str, Any] = {key: facts[key] for key in ("mrc", "colour") if key in facts}
        specs[feature] = image_spec(
            url,
            seen_of(volume, part),
            StoreOptions(ngff=recipe.ngff),
            dtype=volume.dtype,
            kind="probability",
            facts={**kept, "feature": feature, "history": steps},
        )
    return specs


def _place(url: str) -> str:
    return place_key(url.rstrip("/") if "://" in url else str(Path(url).resolve()))


def _note(rule: Interact, chain: RuleChain) -> str:
    verb = "near" if rule.kind == "colocalize" else "away from"
    steps = chain.reach(rule).halo_vox
    return f"{rule.child} {verb} {rule.parent}: {rule.radius_nm:g} nm is {steps} voxels z, y, x"


def _stage(
    readings: Mapping[str, Reading],
    chain: RuleChain,
    halos: Mapping[str, Index3],
    specs: Mapping[str, ImageSpec],
    tiling: Tiling,
) -> Stage:
    reading = next(iter(readings.values()))
    first = reading.seen
    inside = Box.of_shape(tiling.box(0).shape)
    itemsize = np.dtype(first.dtype).itemsize
    read = {
        name: math.prod(min(w, n) for w, n in zip(inside.grow(halo).shape, first.shape, strict=True))
        for name, halo in halos.items()
    }
    gated = sum(read[name] for name in specs)
    return Stage(
        "interact",
        _GATE,
        tiling,
        params={
            "rules": rules_to_json(chain.rules),
            "voxel_size": chain.voxel_size,
            "compat": chain.compat,
            "factors": {name: factors_of(spec) for name, spec in specs.items()},
            "wheres": {name: stored_name(each.volume) for name, each in readings.items()},
            "scale": reading.scale,
        },
        arrays={name: ArrayInput(readings[name].volume, halo, halo) for name, halo in halos.items()},
        tables={key: table for name, each in readings.items() for key, table in each.tables(name).items()},
        outputs={
            k: output for name, spec in specs.items() for k, output in outputs_of(spec, name, tiling.start).items()
        },
        kernel_bytes=kernel_bytes(
            _GATE,
            inside=inside.size,
            read=read.values(),
            gated=gated,
            itemsize=itemsize,
            copies=any(each.copies for each in readings.values()),
        ),
        version=2,
    )
