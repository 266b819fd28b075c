"""The settings of a sweep: recipes of ``run`` in which some fields have other values.

>>> varied = Varied.parse("pick.ribosome.threshold=0.3:0.5:0.1")
>>> varied.name, varied.values
('pick.ribosome.threshold', (0.3, 0.4, 0.5))
>>> [number["n"] for number in combined([Varied("n", (1, 2))])]
[1, 2]
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.rules import Compete, Interact
from volengine.core.yaml_recipes import parse_yaml
from volengine.tasks.run import RunRecipe
from volengine.tasks.sweep.recipe import MOST_SETTINGS

HOW = "write pick.FEATURE.FIELD=0.3,0.5, rules.1.FIELD=5:20:5 or rules.1=on,off"


@dataclass(frozen=True)
class Varied:
    """A field of the recipe, and the values that are tried.

    Parameters
    ----------
    name
        ``pick.FEATURE.FIELD``, ``rules.NUMBER.FIELD`` or ``rules.NUMBER``.
    values
        The values, each once, in the order given.
    """

    name: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, text: str) -> Varied:
        """Read ``NAME=VALUES``: values with commas between them, or ``from:to:step`` with both ends included.

        Raises
        ------
        InputError
            The text has another form, or a value is there twice.
        """
        name, equal, given = text.partition("=")
        name, parts = name.strip(), name.strip().split(".")
        known = (parts[0] == "pick" and len(parts) >= 3) or (parts[0] == "rules" and len(parts) in (2, 3))
        if not equal or not known or not given.strip():
            raise InputError(f"vary: {text!r} is not understood; {HOW}.")
        values = [value for one in given.split(",") for value in _values(one.strip(), text)]
        if len({repr(value) for value in values}) < len(values):
            raise InputError(f"vary: {text!r} names a value twice.")
        if len(parts) == 2:  # YAML reads on and off as true and false
            values = [{True: "on", False: "off"}.get(v, v) if isinstance(v, bool) else v for v in values]
        if len(parts) == 2 and any(v not in ("on", "off") for v in values):
            raise InputError(f"vary: {text!r}: a rule is tried with on and off; a field of it is rules.1.radius_nm.")
        return cls(name, tuple(values))


def _values(text: str, where: str) -> list[Any]:
    ends = text.split(":")
    if len(ends) != 3:
        return [parse_yaml(text, f"vary: {where}")]
    try:
        first, last, step = map(float, ends)
    except ValueError:
        raise InputError(f"vary: {where!r}: {text!r} is no range; write from:to:step, as 0.3:0.9:0.1.") from None
    if not (step > 0 and math.isfinite(first) and math.isfinite(last) and first <= last):
        raise InputError(f"vary: {where!r}: {text!r} has no values; write from:to:step with a step above 0.")
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > MOST_SETTINGS:
        raise InputError(f"vary: {where!r}: {text!r} are {count} values; up to {MOST_SETTINGS} settings are tried.")
    # Rounded, so that 0.1 + 2 * 0.1 is the number that a person writes.
    return [float(f"{first + k * step:.12g}") for k in range(count)]


def combined(varied: Sequence[Varied]) -> list[dict[str, Any]]:
    """All combinations, the last field running fastest.

    Raises
    ------
    InputError
        A field is named twice, or there are too many combinations.
    """
    names = [one.name for one in varied]
    if len(set(names)) < len(names):
        raise InputError(f"vary names a field twice: {', '.join(names)}; give all of its values at once.")
    number = math.prod(len(one.values) for one in varied)
    if number > MOST_SETTINGS:
        raise InputError(f"vary: these are {number} settings; up to {MOST_SETTINGS} are tried. Try fewer values first.")
    return [dict(zip(names, row, strict=True)) for row in itertools.product(*(one.values for one in varied))]


def setting(recipe: RunRecipe, values: Mapping[str, Any]) -> RunRecipe:
    """The recipe with some fields changed.

    Parameters
    ----------
    recipe
        A recipe of ``run`` with a pick step.
    values
        Values by the names of :class:`Varied`.

    Raises
    ------
    InputError
        The recipe has no such feature, rule or field, or refuses a value.
    """
    data = copy.deepcopy(recipe.to_json())
    left_out: list[int] = []
    for name, value in values.items():
        where, *rest = name.split(".")
        if where == "pick":
            _pick(data, ".".join(rest[:-1]), name)[rest[-1].replace("-", "_")] = value
            continue
        number = _rule(data, rest[0], name)
        if len(rest) == 2:
            (fields,) = data["interact"]["rules"][number].values()
            fields[rest[1].replace("-", "_")] = value
        elif value == "off":
            left_out.append(number)
    if left_out:
        rules = data["interact"]["rules"]
        data["interact"]["rules"] = [rule for number, rule in enumerate(rules) if number not in left_out]
        if not data["interact"]["rules"]:
            data["interact"] = None
    said = ", ".join(f"{name}={value}" for name, value in values.items())
    return RunRecipe.from_json(data, where=f"vary: {said}: recipe")


def stated(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe that differ from their defaults, as JSON values.

    >>> from volengine.tasks.pick.recipe import PickRecipe
    >>> stated(PickRecipe(feature="core", spacing_nm=5, split=True))
    {'feature': 'core', 'spacing_nm': 5.0}
    """
    found = {}
    for f in dataclasses.fields(recipe):
        value = getattr(recipe, f.name)
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if value != default:
            found[f.name] = _stated(value)
    return found


def _stated(value: Any) -> Any:
    if isinstance(value, Compete | Interact):
        return {"compete" if isinstance(value, Compete) else "interact": stated(value)}
    if isinstance(value, Recipe):
        return stated(value)
    return [_stated(one) for one in value] if isinstance(value, tuple) else value


def _pick(data: Mapping[str, Any], feature: str, name: str) -> dict[str, Any]:
    for one in data["pick"]:
        if one["feature"] == feature:
            found: dict[str, Any] = one
            return found
    raise InputError(
        f"vary: {name}: the recipe picks no {feature!r}; it picks {', '.join(p['feature'] for p in data['pick'])}."
    )


def _rule(data: Mapping[str, Any], number: str, name: str) -> int:
    rules = (data["interact"] or {"rules": ()})["rules"]
    if not number.isdecimal() or not 1 <= int(number) <= len(rules):
        there = f"it has rules 1 to {len(rules)}" if rules else "it has no rules"
        raise InputError(f"vary: {name}: the recipe has no rule {number!r}; {there}.")
    return int(number) - 1
