"""What the folder of a plan says of a tomogram: its recipe, its results, and what its stages took."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError, MissingError
from volengine.core.volume import Volume
from volengine.engine.kernels import ONLY_SHOWN
from volengine.engine.ledger import PlanFolder
from volengine.engine.plan import Plan
from volengine.engine.tally import Tally
from volengine.io.names import split_group

WRITES_PICKS = "volengine.tasks.pick.finish:write_table"
"""The call that writes a table of picks; its parameters say of which prediction."""
WRITE_SURFACES = (
    "volengine.tasks.surface.finish:write_meshes",
    "volengine.tasks.surfaces.measure_finish:write_measured",
)
"""The calls that write a set of surfaces."""


@dataclass(frozen=True)
class Table:
    """A table of picks.

    Parameters
    ----------
    feature
        The feature.
    path
        The table.
    prediction
        What was picked.
    recipe
        The recipe of the step, JSON values.
    threshold
        Its threshold.
    tomogram
        What the table calls the tomogram; empty: as the report does.
    """

    feature: str
    path: str
    prediction: str
    recipe: Mapping[str, Any]
    threshold: float
    tomogram: str = ""


@dataclass(frozen=True)
class Prediction:
    """The prediction of a feature: before the rules, and after them; empty: no rule has changed it."""

    feature: str
    path: str
    gated: str = ""

    @property
    def last(self) -> str:
        """What was picked, or would be."""
        return self.gated or self.path


@dataclass(frozen=True)
class Past:
    """What a plan has made, and how.

    Parameters
    ----------
    tomogram
        The tomogram that was segmented; empty if there is none.
    predictions, labels, tables
        What was found in it; labels as ``store#group``.
    recipe
        The recipe, JSON values.
    said, notes
        What was said when it was made; warnings of the plan.
    stages
        Rows: stage, units, those that were run, seconds, largest memory of a process and the planned one, bytes.
    finished
        When it was finished, seconds since 1970; ``None``: it is not.
    command, versions
        The command that has finished it, and versions by package; empty if they are not known.
    surfaces
        Sets of surfaces.
    """

    tomogram: str
    predictions: tuple[Prediction, ...]
    labels: tuple[str, ...]
    tables: tuple[Table, ...]
    recipe: Mapping[str, Any]
    said: tuple[str, ...]
    notes: tuple[str, ...]
    stages: tuple[tuple[str, int, int, float, int, int], ...]
    finished: float | None
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    surfaces: tuple[str, ...] = ()


def past_of(path: str) -> Past:
    """Read the folder of a plan.

    Raises
    ------
    MissingError
        There is no plan.
    InputError
        It is damaged or of another version of volengine.
    """
    folder = PlanFolder(path)
    plan = Plan.former(folder, ONLY_SHOWN)
    if plan is None:
        raise MissingError(f"{path}: there is no plan in this folder.")
    finished = folder.read_json("finished.json")
    if finished is not None and not isinstance(finished, dict):
        run = shlex.quote(str(folder.path.parent.parent))
        raise InputError(f"{path}/finished.json: is damaged; volengine verify {run} says more.")
    by = (finished or {}).get("by", {})
    here = _Places(folder)
    kept = [spec for spec in plan.images if not spec.scratch]
    images = [(spec.kind, here(spec.url), spec.group, str(spec.facts.get("feature", ""))) for spec in kept]
    said = (finished or {}).get("said", [])
    warnings = [str(note) for spec in kept for note in spec.facts.get("warnings", [])]
    return Past(
        _tomogram(plan, here),
        _predictions([(feature, _place(url, group)) for kind, url, group, feature in images if kind == "probability"]),
        tuple(_place(url, group) for kind, url, group, _ in images if kind == "labels"),
        _tables(plan, here),
        dict(plan.recipe),
        tuple(map(str, said)),
        tuple(dict.fromkeys([*plan.notes, *warnings])),
        _stages(plan, folder),
        float(finished["time"]) if finished and isinstance(finished.get("time"), int | float) else None,
        str(by.get("command", "")),
        {str(name): str(version) for name, version in by.get("versions", {}).items()},
        tuple(here(str(call.params["out"])) for call in plan.finish if call.function in WRITE_SURFACES),
    )


class _Places:
    """Where files are now that a plan names by the path at which they were made.

    A folder that was copied with its results means the copies, also if one of them is missing.
    """

    def __init__(self, folder: PlanFolder):
        self._before, self._now = folder.moved_from(), folder.path.absolute()

    def __call__(self, place: str) -> str:
        path, group = split_group(place)
        if self._before and "://" not in path:
            moved = Path(os.path.normpath(self._now / os.path.relpath(path, self._before)))
            if moved.exists() or moved.parent.is_dir():
                return _place(str(moved), group)
        return place


def _place(url: str, group: str) -> str:
    return f"{url}#{group}" if group else url


def _tomogram(plan: Plan, here: _Places) -> str:
    """The last tomogram that the plan has made, else the one that it reads."""
    made = [s for s in plan.images if not s.scratch and s.kind == "intensity"]
    if made:
        return here(_place(made[-1].url, made[-1].group))
    written = {spec.url for spec in plan.images if spec.scratch}
    for stage in plan.stages:
        for source in stage.arrays.values():
            if source.volume.kind == "intensity" and source.volume.url not in written:
                return here(_place(source.volume.url, source.volume.path.rpartition("/")[0]))
    return ""


def _predictions(found: list[tuple[str, str]]) -> tuple[Prediction, ...]:
    """The predictions by feature: the first one of a feature is that before the rules."""
    by_feature: dict[str, list[str]] = {}
    for feature, place in found:
        by_feature.setdefault(feature, []).append(place)
    return tuple(
        Prediction(feature, places[0], places[-1] if len(places) > 1 else "") for feature, places in by_feature.items()
    )


def _tables(plan: Plan, here: _Places) -> tuple[Table, ...]:
    steps = plan.recipe.get("pick") or ()
    recipes = {str(step.get("feature", "")): step for step in ([steps] if isinstance(steps, Mapping) else steps)}
    found = []
    for call in plan.finish:
        if call.function == WRITES_PICKS:
            feature = str(call.params["feature"])
            volume = Volume.from_json(call.params["volume"])
            place = here(_place(volume.url, volume.path.rpartition("/")[0]))
            recipe = recipes.get(feature) or recipes.get("") or {}
            found.append(
                Table(
                    feature, here(str(call.params["out"])), place, recipe, float(call.params["threshold"]), volume.name
                )
            )
    return tuple(found)


def _stages(plan: Plan, folder: PlanFolder) -> tuple[tuple[str, int, int, float, int, int], ...]:
    """What the stages took in all runs of this plan."""
    tallies = {stage.name: Tally() for stage in plan.stages}
    identities = plan.identities
    for receipt in folder.receipts:
        if identities.get(receipt["stage"]) == receipt["identity"]:
            tallies[receipt["stage"]].add(receipt)
    return tuple(
        (name, len(plan.stage(name).tiling), len(t.seconds), round(sum(t.seconds), 3), t.peak or 0, plan.peak_of(name))
        for name, t in tallies.items()
    )
