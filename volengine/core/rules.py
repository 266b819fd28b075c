"""Rules between predictions: competition and interactions, in the order in which they are written.

A rule gates predictions by one another (Ais, eLife 2024, e98552, section on model interactions). A list of rules is
a chain: each rule sees what the earlier ones left. In YAML::

    rules:
      - compete: {emit: [membrane, carbon], absorb: [membrane, carbon]}
      - interact: {child: membrane, parent: carbon, kind: avoid, radius_nm: 10}
      - interact: {child: ribosome, parent: membrane, kind: colocalize, radius_nm: 30, shape: 3d}

>>> parse_rules([{"interact": {"child": "core", "parent": "shell", "radius_nm": 10}}])[0].kind
'colocalize'
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe

Compat = Literal["ais"]


@dataclass(frozen=True)
class Compete(Recipe):
    """Of several features, the strongest one stays at each voxel.

    A feature that absorbs becomes 0 where it is less than the largest of the features that emit. Equal ones stay.

    Parameters
    ----------
    emit
        Features that compete; one that also absorbs competes with itself among the others.
    absorb
        Features that are gated.
    """

    emit: tuple[str, ...]
    absorb: tuple[str, ...]

    def check(self) -> None:
        for name, features in (("emit", self.emit), ("absorb", self.absorb)):
            if not features:
                raise InputError(f"compete: {name!r} names no feature.")
            double = sorted({f for f in features if features.count(f) > 1})
            if double:
                raise InputError(f"compete: {name!r} names {double[0]!r} twice.")
        if len(set(self.features)) == 1:
            raise InputError(f"compete: {self.emit[0]!r} competes with itself alone, which changes nothing.")

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature that the rule reads or changes."""
        return tuple(dict.fromkeys((*self.emit, *self.absorb)))

    @property
    def changes(self) -> tuple[str, ...]:
        """The features that the rule may change."""
        return self.absorb


@dataclass(frozen=True)
class Interact(Recipe):
    """A feature stays only near another one, or only away from it.

    Parameters
    ----------
    child
        The feature that is gated.
    parent
        The feature whose neighbourhood decides.
    kind
        ``colocalize``: the child becomes 0 farther than the radius from the parent. ``avoid``: within the radius.
    radius_nm
        A voxel is near the parent if the centre of a voxel of the parent is this far or less; more than 0. Below one
        voxel: the parent's own voxels.
    threshold
        The parent is where its prediction is strictly greater, 0 to below 1.
    shape
        ``2d``: distances within the z slice (discs, as in the paper); ``3d``: in space (balls).
    """

    child: str
    parent: str
    kind: Literal["colocalize", "avoid"] = "colocalize"
    radius_nm: float = 10.0
    threshold: float = 0.5
    shape: Literal["2d", "3d"] = "2d"

    def check(self) -> None:
        for name in ("child", "parent"):
            if not getattr(self, name):
                raise InputError(f"interact: {name!r} names no feature.")
        if not 0 < self.radius_nm < math.inf:
            raise InputError(
                f"interact {self.child!r} with {self.parent!r}: radius_nm must be more than 0, not {self.radius_nm}. "
                "(In Ais, where nothing is near at radius 0, it erases everything.) For the parent's own voxels alone "
                "give a radius below one voxel."
            )
        if not 0 <= self.threshold < 1:
            raise InputError(f"interact: threshold is a probability from 0 to below 1, not {self.threshold}.")

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature that the rule reads or changes."""
        return tuple(dict.fromkeys((self.child, self.parent)))

    @property
    def changes(self) -> tuple[str, ...]:
        """The features that the rule may change."""
        return (self.child,)


Rule: TypeAlias = Compete | Interact

_KINDS: dict[str, type[Compete] | type[Interact]] = {"compete": Compete, "interact": Interact}


def parse_rules(rules: Any, where: str = "rules") -> tuple[Rule, ...]:
    """Rules from JSON or YAML values (``[{"compete": {...}}, {"interact": {...}}]``); rules pass as they are.

    Raises
    ------
    InputError
        Not a list, an unknown kind of rule, or a rule that cannot be; the message says which one.
    """
    if not isinstance(rules, Sequence) or isinstance(rules, str):
        raise InputError(f"{where}: expected a list of rules, got {rules!r}.")
    return tuple(_parse(rule, f"{where}[{number}]") for number, rule in enumerate(rules))


def _parse(rule: Any, where: str) -> Rule:
    if isinstance(rule, Compete | Interact):
        return rule
    if not isinstance(rule, Mapping) or len(rule) != 1:
        raise InputError(f"{where}: write '- compete: {{...}}' or '- interact: {{...}}', not {rule!r}.")
    ((kind, values),) = rule.items()
    if kind not in _KINDS:
        near = difflib.get_close_matches(str(kind), _KINDS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(_KINDS)}."
        raise InputError(f"{where}: there is no rule {kind!r}. {hint}")
    place = f"{where}.{kind}"
    try:
        return _KINDS[kind].from_json(values, place)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(place) else f"{where}.{text}") from None


def rules_to_json(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """JSON values from which :func:`parse_rules` makes equal rules."""
    return [{"compete" if isinstance(rule, Compete) else "interact": rule.to_json()} for rule in rules]


def changed_features(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The features that a chain may change, in the order in which it first does."""
    return tuple(dict.fromkeys(feature for rule in rules for feature in rule.changes))


def check_features(rules: Iterable[Rule], known: Iterable[str]) -> None:
    """Refuse rules about features that are not there.

    Raises
    ------
    InputError
        With the known features, and the nearest one.
    """
    names = list(known)
    for number, rule in enumerate(rules):
        for feature in rule.features:
            if feature not in names:
                near = difflib.get_close_matches(feature, names, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise InputError(
                    f"rules[{number}] is about {feature!r}, but there is no such prediction.{hint} "
                    f"Known: {', '.join(names) or 'none'}."
                )
