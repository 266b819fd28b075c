"""What is tuned: rules and pick steps, read from names and values with the field that is wrong, and as forms.

>>> settings = Settings.read({"rules": [], "pick": [{"feature": "core", "threshold": 0.4}]})
>>> settings.pick[0].threshold
0.4
>>> Settings.read({"rules": [], "pick": [{"feature": "core", "threshold": 4}]})
Traceback (most recent call last):
volengine.tasks.tune.settings.FieldError: --threshold is a probability from 0 to below 1, not 4.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe, field_texts
from volengine.core.rules import Compete, Interact, changed_features, parse_rules
from volengine.tasks.interact.recipe import InteractRecipe
from volengine.tasks.pick.recipe import PickRecipe

TUNED = (
    "threshold",
    "min_volume_nm3",
    "spacing_nm",
    "split",
    "seed_distance_nm",
    "position",
    "connectivity",
    "mode",
    "margin_vox",
    "max_distance_vox",
    "min_picks",
)
"""Fields of a pick step that change which picks there are, and where."""

SLIDES = {"threshold": (0.0, 0.99, 0.01), "spacing_nm": (0.0, 60.0, 0.5), "radius_nm": (0.5, 60.0, 0.5)}
"""Where a slider begins and ends, and its step; a number beyond it can be typed where the recipe allows it."""

MOST = 50
"""Rules, and pick steps."""


class FieldError(InputError):
    """Something is refused; ``part`` is ``rules`` or ``pick``, ``number`` counts from 0, ``field`` may be empty."""

    def __init__(self, message: str, part: str = "", number: int = 0, field: str = ""):
        super().__init__(message)
        self.part, self.number, self.field = part, number, field


@dataclass(frozen=True)
class Settings:
    """Rules and pick steps.

    Parameters
    ----------
    rules
        The rules, or ``None``.
    pick
        What is picked; each has the name of its feature.
    """

    rules: InteractRecipe | None
    pick: tuple[PickRecipe, ...]

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Settings:
        """Read ``rules`` and ``pick``, lists of names and values.

        Raises
        ------
        FieldError
            Something is refused.
        """
        rules = [_rule(one, number) for number, one in enumerate(_list(given, "rules"))]
        pick = tuple(_pick(one, number) for number, one in enumerate(_list(given, "pick")))
        names = [one.feature for one in pick]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise FieldError(f"{name!r} is picked twice.", "pick", number, "feature")
        if not pick:
            raise FieldError("Choose a feature to pick.", "pick")
        return cls(InteractRecipe(rules=tuple(rules)) if rules else None, pick)

    @property
    def changed(self) -> tuple[str, ...]:
        """The features that the rules change."""
        return changed_features(self.rules.rules) if self.rules else ()


def _list(given: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = given.get(name, [])
    if not isinstance(value, list) or len(value) > MOST:
        raise FieldError(f"{name} are a list of at most {MOST}.", name)
    return value


def _rule(given: Any, number: int) -> Compete | Interact:
    try:
        (rule,) = parse_rules([given])
    except InputError as error:
        kind = Interact if isinstance(given, Mapping) and "interact" in given else Compete
        raise FieldError(str(error).removeprefix("rules[0]."), "rules", number, _field_in(str(error), kind)) from None
    return rule


def _pick(given: Any, number: int) -> PickRecipe:
    try:
        one = PickRecipe.from_json(given, "pick")
    except InputError as error:
        raise FieldError(str(error), "pick", number, _field_in(str(error), PickRecipe)) from None
    for name, wrong in (("filament", one.filament), ("compat", one.compat), ("roi", one.roi), ("scale", one.scale)):
        if wrong:
            raise FieldError(f"{name} is not tuned here; try it with volengine sweep.", "pick", number, name)
    if not one.feature:
        raise FieldError("Choose a feature.", "pick", number, "feature")
    return one


def _field_in(message: str, kind: type[Recipe]) -> str:
    """The field that a message of a recipe is about; empty if it names none."""
    known = {f.name for f in fields(kind)}
    named = (word.replace("-", "_") for word in re.findall(r"(?:--|\.|'|\b)([a-z][a-z0-9_-]*[a-z0-9])", message))
    return next((name for name in named if name in known), "")


def pick_form() -> list[dict[str, Any]]:
    """The fields of a pick step: ``name``, ``text``, ``kind``, ``default``, ``choices``, ``slide``."""
    return _form(PickRecipe, TUNED, PickRecipe().resolved())


def rule_form() -> list[dict[str, Any]]:
    """The fields of an interaction, likewise."""
    return _form(Interact, ("kind", "radius_nm", "threshold", "shape"), Interact(child="a", parent="b"))


def _form(kind: type[Recipe], names: Sequence[str], defaults: Recipe) -> list[dict[str, Any]]:
    texts, hints = field_texts(kind), get_type_hints(kind)
    return [
        {
            "name": name,
            "text": texts[name].replace("``", ""),
            "default": _plain(getattr(defaults, name)),
            "slide": SLIDES.get(name),
            **_kind_of(hints[name]),
        }
        for name in names
    ]


def _kind_of(hint: Any) -> dict[str, Any]:
    """How a value is given: one of some choices, yes or no, a whole number, a number, or three whole numbers."""
    if get_origin(hint) is Literal:
        return {"kind": "choice", "choices": list(get_args(hint))}
    given = [one for one in get_args(hint) if one is not type(None)] if type(None) in get_args(hint) else [hint]
    if get_origin(given[0]) is tuple:
        return {"kind": "three"}
    return {"kind": {bool: "yes", int: "whole", float: "number"}[given[0]]}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
