"""interact: competition and interactions between the predictions of one tomogram.

The rules are a list in the order in which they act (:mod:`volengine.core.rules`). A block reads every prediction that
the rules need once, as far around as their chain looks, and writes the features that the rules change as new
volumes. Predictions stay as they are, so rules can be changed and tried again; unchanged features are not copied.

>>> from volengine.tasks.interact import InteractRecipe, interact
>>> recipe = InteractRecipe.from_json({"rules": [
...     {"compete": {"emit": ["membrane", "ribosome"], "absorb": ["membrane", "ribosome"]}},
...     {"interact": {"child": "ribosome", "parent": "membrane", "kind": "avoid", "radius_nm": 10, "shape": "3d"}},
... ]})
>>> stores = {feature: f"predictions/TS_01__{feature}.ome.zarr" for feature in ("membrane", "ribosome")}
>>> gated = interact(stores, "gated", recipe)                                        # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec, Ngff
from volengine.core.paths import PathLike, path_text
from volengine.core.recipe import Recipe
from volengine.core.rules import Compete, Interact, Rule, changed_features, check_features, parse_rules, rules_to_json
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import choose_core
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_plan
from volengine.engine.stage import ArrayInput, Stage
from volengine.io import OpenVolume, is_packed, open_volume
from volengine.ops.interact import Chain
from volengine.tasks.images import core_unit, factors_of, image_spec, levels_of, outputs_of
from volengine.tasks.layout import feature_store, history, plan_folder, run_dir_in

LARGEST_BLOCK = 2**23
"""Voxels per block: about 200 a side, where a halo of 20 voxels doubles what is read."""


@dataclass(frozen=True)
class InteractRecipe(Recipe):
    """Rules between features, in the order in which they act.

    Parameters
    ----------
    rules
        A list of ``compete: {emit, absorb}`` and ``interact: {child, parent, kind, radius_nm, threshold, shape}``, or
        of the objects of ``volengine.core.rules``, which they become.
    compat
        ``ais``: Ais's numbers bit for bit (discs, strict comparison, radius in whole voxels; at most one competition,
        before the interactions).
    ngff
        Version of the written stores: ``0.5`` or ``0.4``.
    """

    rules: tuple[Any, ...]
    compat: Literal["", "ais"] = ""
    ngff: Ngff = "0.5"

    def check(self) -> None:
        if not self.rules:
            raise InputError("interact needs at least one rule.")
        object.__setattr__(self, "rules", parse_rules(self.rules, "InteractRecipe.rules"))
        if self.compat == "ais" and any(isinstance(rule, Compete) for rule in self.rules[1:]):
            raise InputError(
                "compat 'ais': Ais competes once, before all interactions; put 'compete' first, or leave compat out."
            )

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "rules": rules_to_json(self.rules)}


def interact(
    predictions: Mapping[str, PathLike], out: PathLike, recipe: InteractRecipe, options: RunOptions | None = None
) -> dict[str, OpenVolume]:
    """Apply rules to the predictions of one tomogram.

    Parameters
    ----------
    predictions
        Path or URL of each feature's prediction: OME-Zarr, MRC or TIFF; floating numbers up to 1 or integers up to 255.
    out
        Folder or URL that gets ``<name>__<feature>.ome.zarr`` for each changed feature.
    recipe, options
        The rules, and how to run.

    Returns
    -------
    dict
        Handle of each feature's prediction after the rules; unchanged ones are the given ones.

    Raises
    ------
    InputError
        A rule names a feature that is not there; predictions on different grids or of different types; a radius too
        small for ``compat``; an output that would replace one of the predictions.
    """
    out, options = path_text(out), options or RunOptions()
    volumes = {feature: _of_tomogram(open_volume(url), feature) for feature, url in predictions.items()}
    if not volumes:
        raise InputError("interact needs predictions; none are given.")
    run_dir = options.run_dir or run_dir_in(out, "interact.run")
    name = next(iter(volumes.values())).name
    plan = plan_interact(volumes, recipe, out, plan_folder(run_dir, name), options)
    run_plan(plan, run_dir, options)
    return volumes | {str(s.facts["feature"]): open_volume(s.url) for s in plan.images}


def interact_jobs(sources: list[str], out: str, recipe: InteractRecipe, options: RunOptions) -> tuple[list[Job], str]:
    """Jobs for the predictions of one or more tomograms, and their run folder.

    A prediction says which tomogram and feature it is of; of others (``TS_01__membrane.mrc``) the file name does.
    A source that cannot be read or does not say becomes a job of its own, which fails.
    """
    run_dir = options.run_dir or run_dir_in(out, "interact.run")
    groups: dict[str, list[tuple[str, Volume]]] = {}
    jobs: list[Job] = []
    for source in sources:
        try:
            feature, volume = _named(open_volume(source))
        except InputError as error:
            jobs.append(_refused(source, error))
        else:
            groups.setdefault(volume.name, []).append((feature, volume))

    def job(name: str) -> Job:
        def plan() -> Plan:
            return plan_interact(_unique(groups[name]), recipe, out, plan_folder(run_dir, name), options)

        return Job(name, plan)

    return [*map(job, groups), *jobs], run_dir


def _refused(source: str, error: InputError) -> Job:
    def plan() -> Plan:
        raise error

    return Job(source, plan)


def _named(volume: OpenVolume) -> tuple[str, OpenVolume]:
    """The feature that a prediction is of, and the prediction under its tomogram's name."""
    feature = str(volume.facts.get("feature", "")) or volume.name.rpartition("__")[2]
    if feature == volume.name:
        raise InputError(f"{volume.url} does not say which feature it predicts, nor does its name (TOMOGRAM__FEATURE).")
    return feature, _of_tomogram(volume, feature)


def _of_tomogram(volume: OpenVolume, feature: str) -> OpenVolume:
    return volume.with_(name=volume.name.removesuffix(f"__{feature}"))


def _unique(group: list[tuple[str, Volume]]) -> dict[str, Volume]:
    found: dict[str, Volume] = {}
    for feature, volume in group:
        if feature in found:
            raise InputError(f"{found[feature].url} and {volume.url} both predict {feature!r} of {volume.name}.")
        found[feature] = volume
    return found


def plan_interact(
    predictions: Mapping[str, Volume], recipe: InteractRecipe, out: str, folder: PlanFolder, options: RunOptions
) -> Plan:
    """One stage that reads the predictions the rules need and writes those that they change.

    The plan's images are the changed features, each with its name in ``facts["feature"]``. Nothing is kept in
    ``folder``: the stage needs no scratch.
    """
    rules: tuple[Rule, ...] = recipe.rules
    used = _check(predictions, recipe)
    first = next(iter(used.values()))
    chain = Chain(rules, first.voxel_size, recipe.compat)
    halos = chain.halo(changed_features(rules))
    specs = _specs(used, recipe, out)

    def build(core: Index3) -> Stage:
        return _stage(used, chain, halos, specs, core)

    core = options.block or choose_core(
        first.shape,
        core_unit(*specs.values()),
        options.limit_bytes(),
        build,
        wanted=options.processes,
        largest=LARGEST_BLOCK,
    )
    return Plan(
        first.name,
        (build(core),),
        tuple(specs.values()),
        recipe={"interact": recipe.to_json()},
        notes=tuple(_note(rule, chain) for rule in rules if isinstance(rule, Interact)),
    )


def _check(predictions: Mapping[str, Volume], recipe: InteractRecipe) -> dict[str, Volume]:
    """The predictions that the rules read, if they fit each other."""
    check_features(recipe.rules, sorted(predictions))
    used = {name: predictions[name] for name in dict.fromkeys(n for rule in recipe.rules for n in rule.features)}
    first = next(iter(used.values()))
    for other in used.values():
        for what in ("name", "shape", "dtype", "voxel_size"):
            a, b = getattr(first, what), getattr(other, what)
            if a != b:
                raise InputError(
                    f"{first.url} and {other.url} differ in their {what.replace('_', ' ')} ({a} and {b}); rules "
                    "work on predictions of one tomogram, on one grid and of one type."
                )
        if is_packed(other.url):
            raise InputError(f"{other.url} is compressed as a whole and cannot be read in blocks; convert it first.")
    dtype = np.dtype(first.dtype)
    if dtype.kind not in "uif" or dtype == np.int8:
        raise InputError(
            f"{first.url} holds {dtype.name}. A prediction holds floating numbers up to 1, or integers up to 255 "
            "(uint8); convert it first."
        )
    if recipe.compat == "ais" and dtype.kind == "f":
        raise InputError(f"{first.url} holds {dtype.name}; compat 'ais' is Ais's arithmetic on uint8.")
    return used


def _specs(used: Mapping[str, Volume], recipe: InteractRecipe, out: str) -> dict[str, ImageSpec]:
    """The images of the changed features."""
    taken = {_place(volume.url): volume.url for volume in used.values()}
    specs: dict[str, ImageSpec] = {}
    for feature in changed_features(recipe.rules):
        volume = used[feature]
        url = feature_store(out, volume.name, feature)
        if _place(url) in taken:
            raise InputError(f"The gated {feature!r} would replace {taken[_place(url)]}; give another --out.")
        taken[_place(url)] = f"that of another feature, {url}"
        steps = history(volume, "interact", recipe)
        steps[-1]["with"] = {
            name: [v.url.rsplit("/", 1)[-1], v.identity] for name, v in used.items() if name != feature
        }
        kept: dict[str, Any] = {key: volume.facts[key] for key in ("mrc", "colour") if key in volume.facts}
        specs[feature] = image_spec(
            url,
            volume,
            dtype=volume.dtype,
            kind="probability",
            ngff=recipe.ngff,
            facts={**kept, "feature": feature, "history": steps},
        )
    return specs


def _place(url: str) -> str:
    return url.rstrip("/") if "://" in url else str(Path(url).resolve())


def _note(rule: Interact, chain: Chain) -> str:
    verb = "near" if rule.kind == "colocalize" else "away from"
    steps = chain.reach(rule).halo_vox
    return f"{rule.child} {verb} {rule.parent}: {rule.radius_nm:g} nm is {steps} voxels z, y, x"


def _stage(
    used: Mapping[str, Volume],
    chain: Chain,
    halos: Mapping[str, Index3],
    specs: Mapping[str, ImageSpec],
    core: Index3,
) -> Stage:
    first = next(iter(used.values()))
    inside = Box.of_shape(index3(min(c, n) for c, n in zip(core, first.shape, strict=True)))
    itemsize = np.dtype(first.dtype).itemsize
    read = {
        name: math.prod(min(w, n) for w, n in zip(inside.grow(halo).shape, first.shape, strict=True))
        for name, halo in halos.items()
    }
    gated = sum(read[name] for name in specs) * itemsize
    return Stage(
        "interact",
        "volengine.tasks.interact:gate_block",
        Tiling(first.shape, core),
        params={
            "rules": rules_to_json(chain.rules),
            "voxel_size": chain.voxel_size,
            "compat": chain.compat,
            "factors": {name: factors_of(spec) for name, spec in specs.items()},
        },
        arrays={name: ArrayInput(used[name], halo, halo) for name, halo in halos.items()},
        outputs={key: output for name, spec in specs.items() for key, output in outputs_of(spec, name).items()},
        kernel_bytes=gated + max(read.values()) * (itemsize + 4) + inside.size,
    )


def gate_block(
    block: Block,
    rules: list[Any],
    voxel_size: list[float],
    compat: Literal["", "ais"],
    factors: dict[str, list[list[int]]],
) -> Result:
    """Kernel: the changed features of a block (those that ``factors`` names), on all levels.

    Counts the voxels of each that the rules have set to 0.
    """
    z, y, x = voxel_size
    chain = Chain(parse_rules(rules), (z, y, x), compat)
    gated = chain.gate(block.arrays, block.boxes, block.box, block.shape, factors)
    arrays: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for name, array in gated.items():
        arrays |= levels_of(np.ascontiguousarray(array), factors[name], "probability", name)
        counts[f"{name} voxels erased"] = int(np.count_nonzero(block.core_of(name)) - np.count_nonzero(array))
    return Result(arrays, counts=counts)
