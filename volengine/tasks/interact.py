"""interact: competition and interactions between the predictions of one tomogram.

All predictions that the rules need are read once, with the halo that the chain of rules needs; features that the rules
change are written as new volumes, the others stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.image import Ngff
from volengine.core.recipe import Recipe
from volengine.core.rules import Rule, changed_features, check_features, parse_rules, rules_to_json
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import choose_core
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_plan
from volengine.engine.stage import ArrayInput, Stage
from volengine.io import open_volume
from volengine.tasks.images import core_unit, factors_of, image_spec, levels_of, outputs_of
from volengine.tasks.layout import history, join_url, plan_folder


@dataclass(frozen=True)
class InteractRecipe(Recipe):
    """Rules between features, in the order in which they act.

    Parameters
    ----------
    rules
        A list of ``compete: {emit, absorb}`` and ``interact: {child, parent, kind, radius_nm, threshold, shape}``; see
        ``volengine.core.rules``.
    compat
        ``ais``: Ais's numbers bit for bit (discs, strict comparison, radius in whole voxels).
    ngff
        Version of the written stores: ``0.5`` or ``0.4``.
    """

    rules: tuple[Any, ...]
    compat: Literal["", "ais"] = ""
    ngff: Ngff = "0.5"

    def check(self) -> None:
        if not self.rules:
            raise InputError("interact needs at least one rule.")
        self.parsed()

    def parsed(self) -> tuple[Rule, ...]:
        """The rules as objects."""
        return parse_rules(self.rules, "InteractRecipe.rules")

    def to_json(self) -> dict[str, Any]:
        return {"rules": rules_to_json(self.parsed()), "compat": self.compat, "ngff": self.ngff}


def interact(
    predictions: Mapping[str, str], out: str, recipe: InteractRecipe, options: RunOptions | None = None
) -> dict[str, Volume]:
    """Apply rules to the predictions of one tomogram.

    Parameters
    ----------
    predictions
        Path or URL of each feature's prediction.
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
        A rule names a feature that is not there; predictions on different grids; a radius too small for ``compat``.
    """
    options = options or RunOptions()
    volumes = {feature: open_volume(url) for feature, url in predictions.items()}
    run_dir = options.run_dir or join_url(out, "interact.run")
    name = next(iter(volumes.values())).name
    plan = plan_interact(volumes, recipe, out, plan_folder(run_dir, name), options)
    run_plan(plan, run_dir, options)
    return volumes | {str(s.facts["feature"]): open_volume(s.url) for s in plan.images}


def interact_jobs(sources: list[str], out: str, recipe: InteractRecipe, options: RunOptions) -> tuple[list[Job], str]:
    """Jobs for the predictions of one or more tomograms, grouped by the tomogram's name; and the run folder."""
    groups: dict[str, dict[str, Volume]] = {}
    for source in sources:
        volume = open_volume(source)
        feature = volume.facts.get("feature")
        if not feature:
            raise InputError(f"{source} does not say which feature it predicts; it is no prediction of volengine.")
        if feature in groups.setdefault(volume.name, {}):
            raise InputError(f"{volume.name}: two predictions of {feature!r} are given.")
        groups[volume.name][str(feature)] = volume
    run_dir = options.run_dir or join_url(out, "interact.run")

    def job(name: str) -> Job:
        return Job(name, lambda: plan_interact(groups[name], recipe, out, plan_folder(run_dir, name), options))

    return [job(name) for name in groups], run_dir


def plan_interact(
    predictions: Mapping[str, Volume], recipe: InteractRecipe, out: str, folder: PlanFolder, options: RunOptions
) -> Plan:
    """One stage that reads all predictions the rules need and writes the changed ones."""
    from volengine.ops.interact import rules_halo

    rules = recipe.parsed()
    _check(predictions, rules)
    first = predictions[_read(rules)[0]]
    halos = rules_halo(rules, changed_features(rules), first.voxel_size, recipe.compat)
    specs = {
        feature: image_spec(
            join_url(out, f"{volume.name}__{feature}.ome.zarr"),
            volume,
            dtype=volume.dtype,
            kind="probability",
            ngff=recipe.ngff,
            facts={"feature": feature, "history": history(volume, "interact", recipe)},
        )
        for feature in changed_features(rules)
        for volume in (predictions[feature],)
    }

    def build(core: Index3) -> Stage:
        inputs = {name: ArrayInput(predictions[name], halo, halo) for name, halo in halos.items()}
        widest = index3(max(axis) for axis in zip(*halos.values(), strict=True))
        voxels = Box((0, 0, 0), index3(min(c, n) for c, n in zip(core, first.shape, strict=True))).grow(widest).size
        return Stage(
            "interact",
            "volengine.tasks.interact:gate_block",
            Tiling(first.shape, core),
            params={
                "rules": rules_to_json(rules),
                "voxel_size": first.voxel_size,
                "compat": recipe.compat,
                "factors": {name: factors_of(spec) for name, spec in specs.items()},
            },
            arrays=inputs,
            outputs={k: o for name, spec in specs.items() for k, o in outputs_of(spec, name).items()},
            kernel_bytes=voxels * (16 + 2 * np.dtype(first.dtype).itemsize * len(halos)),
        )

    core = options.block or choose_core(
        first.shape, core_unit(*specs.values()), options.limit_bytes(), build, wanted=options.processes
    )
    return Plan(first.name, (build(core),), tuple(specs.values()), recipe={"interact": recipe.to_json()})


def _read(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """Features that the rules read, in order of first mention."""
    return tuple(dict.fromkeys(name for rule in rules for name in rule.features))


def _check(predictions: Mapping[str, Volume], rules: tuple[Rule, ...]) -> None:
    check_features(rules, sorted(predictions))
    used = [predictions[name] for name in _read(rules)]
    for other in used[1:]:
        for what in ("shape", "dtype", "voxel_size", "name"):
            a, b = getattr(used[0], what), getattr(other, what)
            if a != b:
                raise InputError(
                    f"{used[0].url} and {other.url} differ in their {what.replace('_', ' ')} ({a} and {b}): "
                    "the predictions of one tomogram must lie on one grid."
                )
    if used[0].dtype not in ("uint8", "float16", "float32"):
        raise InputError(f"{used[0].url} holds {used[0].dtype}; predictions are uint8, float16 or float32.")


def gate_block(
    block: Block,
    rules: list[Any],
    voxel_size: list[float],
    compat: Literal["", "ais"],
    factors: dict[str, list[list[int]]],
) -> Result:
    """Kernel: the changed features of a block, on all levels.

    Each feature is read as far as the chain needs it. The rules act on the widest common box, in which a feature
    that is known less far is zero at the rim: there it no longer matters.
    """
    from volengine.ops.interact import apply_rules

    z, y, x = voxel_size
    start = index3(min(axis) for axis in zip(*(b.start for b in block.boxes.values()), strict=True))
    stop = index3(max(axis) for axis in zip(*(b.stop for b in block.boxes.values()), strict=True))
    whole = Box(start, stop)
    wide = {}
    for name, array in block.arrays.items():
        if block.boxes[name] == whole:
            wide[name] = array
        else:
            wide[name] = np.zeros(whole.shape, array.dtype)
            wide[name][block.boxes[name].slices_in(whole)] = array
    gated = apply_rules(wide, parse_rules(rules), (z, y, x), compat)
    arrays: dict[str, Any] = {}
    for name, at in factors.items():
        core = np.ascontiguousarray(gated[name][block.box.slices_in(whole)])
        arrays |= levels_of(core, at, "probability", name)
    return Result(arrays)
