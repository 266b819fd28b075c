"""Rules between features: competition and interactions, as recipes.

>>> rules = parse_rules([
...     {"compete": {"emit": ["core", "shell"], "absorb": ["core", "shell"]}},
...     {"interact": {"child": "core", "parent": "shell", "kind": "colocalize", "radius_nm": 40}},
... ])
>>> [type(rule).__name__ for rule in rules]
['Compete', 'Interact']

Rules act in the order given, each on what the ones before it left. The *child* is the feature that is suppressed, the
*parent* the one that decides where (the names of Last et al., eLife 13:RP98552, 2024; Ais's own files call the child
"parent" and the parent "partner").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe


@dataclass(frozen=True)
class Compete(Recipe):
    """Where an emitting feature is more probable, an absorbing one becomes zero.

    Parameters
    ----------
    emit
        Features whose predictions compete.
    absorb
        Features that become zero where their prediction is below the largest of the emitting ones; ties survive. A
        feature may do both.
    """

    emit: tuple[str, ...]
    absorb: tuple[str, ...]

    def check(self) -> None:
        if not self.emit or not self.absorb:
            raise InputError("compete needs at least one feature that emits and one that absorbs.")
        if {*self.emit} == {*self.absorb} and len({*self.emit}) == 1:
            raise InputError(f"compete: {self.emit[0]!r} has nobody to compete with.")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.emit, *self.absorb]))

    @property
    def changes(self) -> tuple[str, ...]:
        return self.absorb


@dataclass(frozen=True)
class Interact(Recipe):
    """A feature is kept only near (or only away from) another one.

    Parameters
    ----------
    child
        The feature that is suppressed.
    parent
        The feature whose thresholded, dilated prediction is the mask.
    kind
        ``colocalize``: the child is kept inside of the mask; ``avoid``: outside.
    radius_nm
        The mask reaches to this distance from the parent; voxel centres exactly at the distance belong to it.
    threshold
        The parent counts where its prediction exceeds this, 0 to 1.
    shape
        ``2d``: discs in each z slice, as Ais; ``3d``: balls.
    """

    child: str
    parent: str
    kind: Literal["colocalize", "avoid"]
    radius_nm: float = 10.0
    threshold: float = 0.5
    shape: Literal["2d", "3d"] = "3d"

    def check(self) -> None:
        if self.child == self.parent:
            raise InputError(f"interact: {self.child!r} cannot be child and parent at once.")
        if self.radius_nm < 0:
            raise InputError(f"interact {self.child!r}: radius_nm must not be negative, it is {self.radius_nm}.")
        if not 0 <= self.threshold < 1:
            raise InputError(f"interact {self.child!r}: the threshold must be from 0 to below 1, not {self.threshold}.")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.child, self.parent)

    @property
    def changes(self) -> tuple[str, ...]:
        return (self.child,)


Rule = Compete | Interact
_KINDS: dict[str, type[Compete] | type[Interact]] = {"compete": Compete, "interact": Interact}


def parse_rules(items: Iterable[Any], where: str = "rules") -> tuple[Rule, ...]:
    """Rules from what YAML gives: a list of ``{compete: {...}}`` and ``{interact: {...}}``."""
    found: list[Rule] = []
    if isinstance(items, (str, Mapping)):
        raise InputError(f"{where} must be a list of rules, not {items!r}.")
    for number, item in enumerate(items):
        place = f"{where}[{number}]"
        if isinstance(item, (Compete, Interact)):
            found.append(item)
            continue
        if not isinstance(item, Mapping) or len(item) != 1 or next(iter(item)) not in _KINDS:
            raise InputError(f"{place} is {item!r}; a rule is one of compete: {{...}} and interact: {{...}}.")
        ((kind, values),) = item.items()
        found.append(_KINDS[kind].from_json(values, f"{place}.{kind}"))
    return tuple(found)


def rules_to_json(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """What :func:`parse_rules` reads."""
    return [{"compete" if isinstance(r, Compete) else "interact": r.to_json()} for r in rules]


def changed(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Features that the rules change, in order of first change."""
    return tuple(dict.fromkeys(name for rule in rules for name in rule.changes))


def read(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Features that the rules read, in order of first mention."""
    return tuple(dict.fromkeys(name for rule in rules for name in rule.reads))
