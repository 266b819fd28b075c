"""Rules between predictions: competition and interactions, applied in the order in which they are listed.

A rule sets voxels of a prediction to 0 depending on other predictions (Last et al., eLife 13:RP98552, 2024, section on
model interactions). A list of rules is a chain: each rule works on the result of the rules before it. In YAML::

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
    """At each voxel, only the features with the largest prediction keep it.

    A feature that absorbs is set to 0 where it is less than the largest of the features that emit. Where it is equal to
    it, it keeps its value.

    Parameters
    ----------
    emit
        Features whose largest prediction must be reached. A feature may both emit and absorb.
    absorb
        Features that are set to 0 where they do not reach it.

    Examples
    --------
    >>> Compete(emit=("membrane", "ribosome"), absorb=("membrane", "ribosome")).features
    ('membrane', 'ribosome')
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
        """The features that the rule reads or changes."""
        return tuple(dict.fromkeys((*self.emit, *self.absorb)))

    @property
    def changes(self) -> tuple[str, ...]:
        """The features that the rule may change."""
        return self.absorb


@dataclass(frozen=True)
class Interact(Recipe):
    """A feature keeps its voxels only near another feature, or only away from it.

    Parameters
    ----------
    child
        The feature whose voxels may be set to 0.
    parent
        The feature whose distance decides.
    kind
        ``colocalize``: the child is set to 0 outside of the radius around the parent. ``avoid``: inside of it.
    radius_nm
        Largest distance between the centre of a voxel and the centre of the nearest voxel of the parent; more than 0.
        Less than one voxel: the parent's own voxels.
    threshold
        The parent is where its prediction is strictly greater than this; 0 to below 1.
    shape
        ``2d``: distances within the z slice (discs, as in the paper); ``3d``: distances in space (balls).

    Examples
    --------
    >>> Interact(child="ribosome", parent="membrane", kind="avoid", radius_nm=10).features
    ('ribosome', 'membrane')
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
                "(In Ais, radius 0 erases everything.) Give a radius below one voxel for the parent's own voxels alone."
            )
        if not 0 <= self.threshold < 1:
            raise InputError(f"interact: threshold is a probability from 0 to below 1, not {self.threshold}.")

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the rule reads or changes."""
        return tuple(dict.fromkeys((self.child, self.parent)))

    @property
    def changes(self) -> tuple[str, ...]:
        """The features that the rule may change."""
        return (self.child,)


Rule: TypeAlias = Compete | Interact

_KINDS: dict[str, type[Compete] | type[Interact]] = {"compete": Compete, "interact": Interact}


def parse_rules(rules: Any, where: str = "rules") -> tuple[Rule, ...]:
    """Make rules from JSON or YAML values.

    Parameters
    ----------
    rules
        A list of ``{"compete": {...}}``, ``{"interact": {...}}``, or rules, which are returned unchanged.
    where
        How error messages name the list.

    Raises
    ------
    InputError
        ``rules`` is no list, a kind of rule is unknown, or a rule is refused; the message says which one.
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
    """Return the rules as JSON values; :func:`parse_rules` makes equal rules of them."""
    return [{"compete" if isinstance(rule, Compete) else "interact": rule.to_json()} for rule in rules]


def changed_features(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Return the features that a chain may change, in the order in which it first changes them."""
    return tuple(dict.fromkeys(feature for rule in rules for feature in rule.changes))


def check_features(rules: Iterable[Rule], known: Iterable[str]) -> None:
    """Refuse rules that name a feature without a prediction.

    Parameters
    ----------
    rules
        The rules.
    known
        The features that have a prediction.

    Raises
    ------
    InputError
        A rule names another feature; the message lists the known ones.
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
