"""The columns of a manifest: what a cell says, and which value of a recipe it replaces.

``source``, ``name``, ``group``, ``priority`` and ``state`` are about the tomogram. Every other column is a parameter:
``STEP.FIELD`` is a field of a step of the recipe (``segment.tta``, ``convert.codec``), ``pick.FIELD`` one of all picks,
``pick.FEATURE.FIELD`` one of the picks of one feature, and ``filter.STEP.FIELD`` one of the filters
of that name (``filter.deconvolve.defocus_um``). Those that are used most have short names
(:data:`SHORT`). A column of another name is refused, because a mistyped one would change nothing without a word;
columns whose names begin with ``note`` are for people.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Union

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe, coerce
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.filter.recipe import FilterRecipe
from volengine.tasks.filter.steps import STEPS as FILTERS
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.segment.recipe import SegmentRecipe

OWN = ("source", "name", "group", "priority", "state")
SHORT = {"voxel_size": "convert.voxel_size", "invert": "segment.invert", "threshold": "pick.threshold"}
STEPS: dict[str, type[Recipe]] = {"convert": ConvertRecipe, "segment": SegmentRecipe, "pick": PickRecipe}
ELSEWHERE = {"convert.name": "name", "pick.feature": "pick.FEATURE.threshold"}
"""Fields that are no parameter of a tomogram, and the column to use."""

FILES = (("convert", "tilts"), ("segment", "models"), ("segment", "network_files"))
"""Fields that hold paths."""

YES, NO = ("yes", "true", "1", "y"), ("no", "false", "0", "n")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


@dataclasses.dataclass(frozen=True)
class Target:
    """The field of a recipe that a column is about; ``feature``: only of this feature's picks, or of this filter."""

    step: str
    field: str
    feature: str = ""

    @property
    def hint(self) -> Any:
        """The field's annotation."""
        of: type[Recipe] = FILTERS[self.feature] if self.step == "filter" else STEPS[self.step]
        return typing.get_type_hints(of)[self.field]


def is_note(column: str) -> bool:
    """Whether a column is for people alone."""
    return column.lower().startswith("note")


def target_of(column: str, where: str) -> Target | None:
    """Return the field that a column is about; ``None`` for those that are about the tomogram, or for people.

    Raises
    ------
    InputError
        There is no such column; the message names the nearest one.

    >>> target_of("threshold", "m.csv"), target_of("pick.ribosome.spacing_nm", "m.csv").feature
    (Target(step='pick', field='threshold', feature=''), 'ribosome')
    """
    if column in OWN or is_note(column):
        return None
    if column in ("roi", "region"):
        raise InputError(f"{where}: there is no column {column!r}; 'convert.roi' is the part that a run works on.")
    step, _, rest = SHORT.get(column, column).partition(".")
    feature, _, field = rest.rpartition(".")
    if step == "filter":
        return _filter_target(column, feature, field, where)
    if step not in STEPS or not rest or (feature and step != "pick"):
        known = [*OWN, "note", *SHORT, *(f"{s}.{f.name}" for s, r in STEPS.items() for f in dataclasses.fields(r))]
        near = get_close_matches(column, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join([*OWN, 'note', *SHORT])}, STEP.FIELD."
        raise InputError(
            f"{where}: there is no column {column!r}. {hint} Columns for people begin with 'note' (note_grid)."
        )
    if f"{step}.{field}" in ELSEWHERE:
        raise InputError(f"{where}: column {column!r} is no parameter; use {ELSEWHERE[f'{step}.{field}']!r}.")
    fields = [f.name for f in dataclasses.fields(STEPS[step])]
    if field not in fields:
        near = get_close_matches(field, fields, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(fields)}."
        raise InputError(f"{where}: column {column!r}: {step} has no {field!r}. {hint}")
    return Target(step, field, feature)


def _filter_target(column: str, name: str, field: str, where: str) -> Target:
    """The parameter of a filter that a column is about."""
    if name not in FILTERS:
        raise InputError(
            f"{where}: there is no column {column!r}; filter.STEP.FIELD names a step and one of its parameters, for "
            f"example filter.deconvolve.defocus_um. There are {', '.join(FILTERS)}."
        )
    fields = [f.name for f in dataclasses.fields(FILTERS[name])]
    if field not in fields:
        near = get_close_matches(field, fields, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(fields) or 'none'}."
        raise InputError(f"{where}: column {column!r}: {name} has no {field!r}. {hint}")
    return Target("filter", field, name)


def value_of(cell: Any, hint: Any, where: str) -> Any:
    """Read a cell as the value of a field: a number, yes or no, a word, or several with commas between them.

    Raises
    ------
    InputError
        It is no such value.

    >>> value_of("13.48", float | tuple[float, float, float], "x"), value_of("no", bool, "x")
    (13.48, False)
    >>> value_of("1,8,8", tuple[int, ...], "x")
    (1, 8, 8)
    """
    numbers = cell if isinstance(cell, list) else [cell]
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise InputError(f"{where} is {cell}; it must be a finite number.")
    errors = []
    for candidate in _readings(cell, hint) if isinstance(cell, str) else [cell]:
        try:
            return coerce(candidate, hint, where)
        except InputError as error:
            errors.append(error)
    raise errors[0]


def _readings(text: str, hint: Any) -> list[Any]:
    """What a text may stand for, the most likely first."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    found: list[Any] = []
    if bool in options and text.lower() in (*YES, *NO):
        found.append(text.lower() in YES)
    tuples = [option for option in options if typing.get_origin(option) is tuple]
    if tuples and ("," in text or ";" in text or len(tuples) == len([o for o in options if o is not type(None)])):
        parts = [part.strip() for part in re.split("[,;]", text)]
        found.append(parts if typing.get_args(tuples[0])[0] is str else [_scalar(part) for part in parts])
    if str in options:
        found.append(text)
    return [*found, _scalar(text), text]


def _scalar(text: str) -> Any:
    """The number that a text stands for; any other text is unchanged."""
    if _NUMBER.fullmatch(text) and len(text) < 100 and math.isfinite(float(text)):
        return float(text)
    return text


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A value of one tomogram: the field, the value, and where it stands, for messages."""

    target: Target
    value: Any
    where: str


def parameters_of(row: Mapping[str, Any], where: str, folder: Path) -> tuple[Parameter, ...]:
    """Read the parameters of a row; those of one feature come after those of all.

    Files are looked for in the folder of the manifest first.

    Raises
    ------
    InputError
        A value does not fit its field, or two columns are about the same one.
    """
    found: dict[Target, Parameter] = {}
    for column, cell in row.items():
        target = target_of(column, where)
        if target is None:
            continue
        if target in found:
            raise InputError(f"{where}: two columns are about {target.step}.{target.field}; keep one of them.")
        here = f"{where}, {column}"
        value = value_of(cell, target.hint, here)
        if (target.step, target.field) in FILES:
            value = tuple(_file(v, folder) for v in value) if isinstance(value, tuple) else _file(value, folder)
        found[target] = Parameter(target, value, here)
    return tuple(sorted(found.values(), key=lambda p: bool(p.target.feature)))


def _file(path: str, folder: Path) -> str:
    """A path as a recipe has it: in the folder of the manifest, if it is there."""
    return str(folder / path) if path and "://" not in path and (folder / path).exists() else path


def convert_recipe(recipe: ConvertRecipe, parameters: Sequence[Parameter]) -> ConvertRecipe:
    """Return the recipe of a conversion with a tomogram's own values."""
    made: ConvertRecipe = _with(recipe, [p for p in parameters if p.target.step == "convert"])
    return made


def filter_recipe(recipe: FilterRecipe | None, parameters: Sequence[Parameter]) -> FilterRecipe | None:
    """Return the recipe of the filters with a tomogram's own values.

    Raises
    ------
    InputError
        A value is for a filter that the recipe does not have.
    """
    mine = [p for p in parameters if p.target.step == "filter"]
    steps = () if recipe is None else recipe.steps
    for one in mine:
        if one.target.feature not in [step.name for step in steps]:
            raise InputError(f"{one.where}: the recipe has no filter {one.target.feature!r}.")
    if recipe is None or not mine:
        return recipe
    return recipe.with_(steps=tuple(_with(s, [p for p in mine if p.target.feature == s.name]) for s in steps))


def segment_recipe(recipe: SegmentRecipe | None, parameters: Sequence[Parameter]) -> SegmentRecipe | None:
    """Return the recipe of a segmentation with a tomogram's own values.

    Raises
    ------
    InputError
        A value is for a segmentation, and the recipe has none.
    """
    mine = [p for p in parameters if p.target.step == "segment"]
    if recipe is None:
        _refuse_without_step(mine)
        return None
    made: SegmentRecipe = _with(recipe, mine)
    return made


def pick_recipes(recipes: Sequence[PickRecipe], parameters: Sequence[Parameter]) -> tuple[PickRecipe, ...]:
    """Return the recipes of all picks with a tomogram's own values.

    Raises
    ------
    InputError
        A value is for a feature that the recipe does not pick, or for picks, and the recipe has none.
    """
    mine = [p for p in parameters if p.target.step == "pick"]
    features = [recipe.feature for recipe in recipes]
    if not recipes:
        _refuse_without_step(mine)
    for one in mine:
        if recipes and one.target.feature and one.target.feature not in features:
            raise InputError(
                f"{one.where}: the recipe does not pick {one.target.feature!r}; it picks {', '.join(features)}."
            )
    return tuple(_with(r, [p for p in mine if p.target.feature in ("", r.feature)]) for r in recipes)


def _refuse_without_step(parameters: Sequence[Parameter]) -> None:
    """Refuse values of a step that the recipe does not have, but for those of the columns that any collection has."""
    for one in parameters:
        if one.target.feature or f"{one.target.step}.{one.target.field}" not in SHORT.values():
            raise InputError(f"{one.where}: the recipe has no step {one.target.step!r}.")


def _with(recipe: Any, parameters: Sequence[Parameter]) -> Any:
    """The recipe with other values; what its check refuses is said with the place in the manifest."""
    if not parameters:
        return recipe
    try:
        return recipe.with_(**{p.target.field: p.value for p in parameters})
    except InputError as error:
        raise InputError(f"{parameters[-1].where}: {error}") from None
