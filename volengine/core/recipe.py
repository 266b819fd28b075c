"""Recipes: the user's parameters of a task, frozen and strict, as JSON and YAML.

A recipe is a frozen dataclass that inherits from :class:`Recipe`. Reading one from a mapping refuses unknown
names (with the nearest known one), wrong types and missing values, and says where.

A field of text takes a :class:`pathlib.Path`, too, and keeps its text. A field that is a list of texts takes a single
one: ``models="membrane.safetensors"`` is ``models=("membrane.safetensors",)``.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Self, Union

from volengine.core.errors import InputError
from volengine.core.paths import path_text


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Base of all recipes. Override :meth:`check` to refuse values that fit their type but make no sense."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):
            where = f"{type(self).__name__}.{f.name}"
            value = _listed(getattr(self, f.name), hints[f.name], where)
            object.__setattr__(self, f.name, coerce(value, hints[f.name], where))
        self.check()

    def check(self) -> None:
        """Raise :class:`InputError` when values contradict each other."""

    def to_json(self) -> dict[str, Any]:
        """JSON values only; ``from_json`` gives an equal recipe back."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "") -> Self:
        """A recipe from a mapping, for example from YAML; names may be written with ``-`` or ``_``."""
        where = where or cls.__name__
        if not isinstance(data, Mapping):
            raise InputError(f"{where}: expected names and values, got {data!r}.")
        known = {f.name: f for f in dataclasses.fields(cls)}
        given = {str(k).replace("-", "_"): v for k, v in data.items()}
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."
                raise InputError(f"{where}: there is no {name!r}.{hint}")
        for name, f in known.items():
            no_default = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
            if no_default and name not in given:
                raise InputError(f"{where}: {name!r} is missing.")
        try:
            return cls(**given)
        except InputError as error:
            raise InputError(str(error).replace(f"{cls.__name__}.", f"{where}.", 1)) from None

    def with_(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def _plain(value: Any) -> Any:
    if isinstance(value, Recipe):
        return value.to_json()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value


def _listed(value: Any, hint: Any, where: str) -> Any:
    """A single text or path as a list of one, where a list of texts is wanted."""
    if hint != tuple[str, ...] or not isinstance(value, str | os.PathLike):
        return value
    if isinstance(value, str) and "," in value:
        raise InputError(f"{where} is {value!r}; give several as a list.")
    return (value,)


def coerce(value: Any, hint: Any, where: str) -> Any:
    """``value`` as the annotated type, or :class:`InputError`.

    Lists become tuples, ints become floats, paths become text.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if value in args:
            return value
        raise InputError(f"{where} is {value!r}; it must be one of {', '.join(map(str, args))}.")
    if origin in (Union, types.UnionType):
        errors = []
        for option in args:
            try:
                return coerce(value, option, where)
            except InputError as error:
                errors.append(str(error))
        raise InputError(errors[0])
    if hint is type(None):
        if value is None:
            return None
    elif isinstance(hint, type) and issubclass(hint, Recipe):
        if isinstance(value, hint):
            return value
        if isinstance(value, Mapping):
            return hint.from_json(value, where)
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            if len(args) == 2 and args[1] is Ellipsis:
                return tuple(coerce(v, args[0], f"{where}[{i}]") for i, v in enumerate(value))
            if len(value) == len(args):
                pairs = enumerate(zip(value, args, strict=True))
                return tuple(coerce(v, a, f"{where}[{i}]") for i, (v, a) in pairs)
            raise InputError(f"{where} needs {len(args)} values, got {len(value)}: {value!r}.")
    elif origin is dict:
        if isinstance(value, Mapping):
            return {coerce(k, args[0], where): coerce(v, args[1], f"{where}.{k}") for k, v in value.items()}
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif hint is str and isinstance(value, os.PathLike):
        return path_text(value)
    elif isinstance(value, hint):
        return value
    name = getattr(hint, "__name__", str(hint))
    raise InputError(f"{where} is {value!r}; it must be {name}.")
