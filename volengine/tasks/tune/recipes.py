"""Recipes of tuned rules and picks: written for ``volengine run``, read back, and the commands that give the same.

Recipes lie in one folder, ``recipes/NAME.yaml`` of a project. The step that makes the predictions is that of the recipe
that was read, else the one with which the predictions were made, by their histories.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from volengine import __version__ as version
from volengine.core.atomic import write_atomic
from volengine.core.errors import InputError, VolengineError
from volengine.core.picks import Picks
from volengine.core.rules import rules_to_json
from volengine.core.volume import Volume
from volengine.core.yaml_recipes import read_yaml, yaml_text
from volengine.io.annotations.folder import check_name
from volengine.io.picks import ending_of, files_of
from volengine.tasks.common.named import stored_name
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.run import RunRecipe
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.sweep.settings import stated
from volengine.tasks.tune.settings import Settings

ENDING = ".yaml"
GATED = "tuned/gated"
ANY_VOXELS = "csv"
"""The format of tables for voxels that the format of a pick step cannot hold."""


def names_in(folder: Path) -> list[str]:
    """The recipes of a folder, by name."""
    return sorted(file.stem for file in folder.glob(f"[!.]*{ENDING}") if file.is_file())


def read_recipe(folder: Path, name: Any) -> RunRecipe:
    """A recipe of a folder.

    Raises
    ------
    InputError, MissingError
        The name is none of a recipe, or the file is none of ``volengine run``.
    """
    file = _file(folder, name)
    return RunRecipe.from_json(read_yaml(file), where=str(file))


def _file(folder: Path, name: Any) -> Path:
    """The file of a recipe; a link that leads out of the project is refused."""
    file = folder / f"{check_name(name, 'recipe')}{ENDING}"
    if not file.resolve().is_relative_to(folder.parent.resolve()):
        raise InputError(f"{file}: is a link that leads out of the project.")
    return file


@dataclass(frozen=True)
class Loaded:
    """What of a recipe is tuned: ``rules`` and ``pick`` as :meth:`Settings.read` takes them, and the ``roi``."""

    rules: list[dict[str, Any]]
    pick: list[dict[str, Any]]
    roi: str

    @classmethod
    def of(cls, recipe: RunRecipe) -> Loaded:
        """Of a recipe of ``run``.

        Raises
        ------
        InputError
            It has a step that cannot be tuned here.
        """
        interact = recipe.interact
        if interact is not None and (interact.scale is not None or interact.compat):
            raise InputError("The recipe's rules have scale or compat, which are not tuned here; use volengine sweep.")
        parts = {one.roi for one in recipe.pick}
        if len(parts) > 1:
            raise InputError("The recipe picks another part for each feature; give all pick steps one roi, or none.")
        found = cls(
            rules_to_json(interact.rules) if interact else [],
            [{k: v for k, v in stated(one).items() if k != "roi"} for one in recipe.pick],
            next(iter(parts), ""),
        )
        Settings.read({"rules": found.rules, "pick": found.pick})
        return found


def writable_step(step: PickRecipe, volume: Volume) -> tuple[PickRecipe, str]:
    """A pick step whose table can be written: of voxels that are no cubes most formats, STAR among them, hold none.

    Parameters
    ----------
    step
        The step.
    volume
        The prediction that it picks from.

    Returns
    -------
    PickRecipe
        The step; where the writer of its format refuses such voxels, it writes CSV.
    str
        Why it does; empty: it is as it was.
    """
    middle = np.array([[(n - 1) / 2 for n in volume.shape]])
    size, origin = volume.voxel_size, volume.origin
    pick = Picks(middle, voxel_size=size, origin=origin, shape=volume.shape, tomogram="tomogram", feature=step.feature)
    try:
        files_of(Path(f"picks{ending_of(step.format)}"), pick, step.format, None)
    except InputError:
        sides = " x ".join(f"{side:g}" for side in size)
        why = (
            f"The picks of {step.feature} are written as {ANY_VOXELS.upper()}: the voxels are {sides} Å (z, y, x), and "
            f"tables of {step.format or 'RELION'} have one pixel size only."
        )
        return step.with_(format=ANY_VOXELS), why
    return step, ""


def writable_settings(settings: Settings, predictions: Mapping[str, Volume]) -> tuple[Settings, list[str]]:
    """The settings with :func:`writable_step` done to each pick step whose prediction is there, and why."""
    found = [
        writable_step(one, predictions[one.feature]) if one.feature in predictions else (one, "")
        for one in settings.pick
    ]
    return replace(settings, pick=tuple(step for step, _ in found)), [why for _, why in found if why]


def run_recipe(settings: Settings, predictions: Mapping[str, Volume], base: RunRecipe | None, roi: str) -> RunRecipe:
    """The recipe of ``run`` that finds what these settings find.

    Parameters
    ----------
    settings
        Rules and pick steps.
    predictions
        The predictions, by feature.
    base
        A recipe whose other steps are kept.
    roi
        Only this part is picked; empty: the whole.

    Raises
    ------
    InputError
        Nothing says how the predictions were made.
    """
    interact = settings.rules
    if base is not None and base.interact is not None and interact is not None:
        interact = base.interact.with_(rules=interact.rules)
    names = {one.feature for one in settings.pick}
    if settings.rules is not None:
        names |= {name for rule in settings.rules.rules for name in rule.features}
    pick = tuple(one.with_(roi=roi) for one in settings.pick)
    if base is not None and base.segment is not None:
        return base.with_(interact=interact, pick=pick)
    return RunRecipe(segment=_segment({n: predictions[n] for n in sorted(names)}), interact=interact, pick=pick)


def _segment(predictions: Mapping[str, Volume]) -> SegmentRecipe:
    """The step that has made predictions, by their histories: the models of all, if the rest is alike."""
    models: list[str] = []
    found: list[SegmentRecipe] = []
    for volume in predictions.values():
        steps = [step for step in volume.facts.get("history") or [] if step.get("verb") == "segment"]
        try:
            one = SegmentRecipe.from_json(steps[-1]["recipe"])
        except (IndexError, KeyError, VolengineError):
            raise InputError(
                f"{stored_name(volume)} does not say with which models it was made, which a recipe of volengine run "
                "needs. Load a recipe with these models and save under its name or another, or use the commands below."
            ) from None
        models += [name for name in one.models if name not in models]
        found.append(one.with_(models=("",), roi=""))
    if any(one != found[0] for one in found):
        raise InputError(
            "The predictions were made with different segment steps, which one recipe cannot have. Load a recipe with "
            "the step that is wanted, and save it under another name."
        )
    return found[0].with_(models=tuple(models))


def write_recipe(folder: Path, name: Any, recipe: RunRecipe, *, replace: bool = False) -> Path:
    """Write a recipe; return its file.

    Raises
    ------
    InputError
        The name is none of a recipe, or there is a recipe of this name.
    """
    file = _file(folder, name)
    if file.exists() and not replace:
        raise InputError(f"{file}: there is a recipe of this name; replace it, or give another name.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(file, f"# volengine {version} workbench: tuned\n{yaml_text(stated(recipe))}", durable=True)
    return file


def commands(settings: Settings, predictions: Mapping[str, Volume], roi: str, folder: Path) -> list[str]:
    """The commands that find the same in a part, without a recipe: rules, then picks.

    They are for any POSIX shell, in whatever folder it is: what they write goes to ``tuned`` in ``folder``, also the
    file of the rules.
    """
    found = [shlex.join(["cd", os.path.abspath(folder)])]  # noqa: PTH100  # links stay
    places = {name: one.url if "://" in one.url else os.path.abspath(one.url) for name, one in predictions.items()}  # noqa: PTH100
    changed = settings.changed
    if settings.rules is not None and changed:
        used = dict.fromkeys(name for rule in settings.rules.rules for name in rule.features)
        sources = [places[name] for name in used if name in places]
        rules = yaml_text({"rules": stated(settings.rules)["rules"]})
        found.append("mkdir -p tuned")
        found.append(f"printf '%s' {shlex.quote(rules)} > tuned/rules.yaml")  # echo would read backslashes
        found.append(shlex.join(["volengine", "interact", *sources, "--rules", "tuned/rules.yaml", "--out", GATED]))
    for one in settings.pick:
        source = places.get(one.feature)
        if source is None:
            continue
        if one.feature in changed:
            source = f"{GATED}/{source.rstrip('/').rpartition('/')[2]}"
        words = ["volengine", "pick", source, "--out", "tuned", "--no-labels", *_options(stated(one)), "--roi", roi]
        found.append(shlex.join(words))
    return found


def _options(fields: Mapping[str, Any]) -> Sequence[str]:
    words: list[str] = []
    for name, value in fields.items():
        option = f"--{name.replace('_', '-')}"
        if name == "labels":
            continue
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        elif isinstance(value, list | tuple):
            words += [option, ",".join(map(str, value))]
        else:
            words += [option, str(value)]  # of a float all digits: the number that was used
    return words
