"""Values of a plan's JSON, strictly: every field has the type that its class states, or the file is refused.

``plan.json`` is read again when a run is resumed, shown or repaired. It may be damaged, made by another version, or not
made by volengine at all.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union

from volengine.core.errors import InputError
from volengine.core.recipe import coerce

T = TypeVar("T")


def made(cls: type[T], data: Any, where: str) -> T:
    """Make a dataclass, with the dataclasses inside of it, from the values of ``dataclasses.asdict``.

    Parameters
    ----------
    cls
        The dataclass.
    data
        JSON values by field name.
    where
        How messages name this value.

    Raises
    ------
    InputError
        ``data`` is no mapping, a name is unknown or missing, or a value is not of the type of its field.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} is {_short(data)}; it must be names and values.")
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    strange = next((name for name in data if name not in known), None)
    if strange is not None:
        raise InputError(f"{where}: there is no {_short(strange)}.")
    for name, f in known.items():
        if name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: {name!r} is missing.")
    values = {name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} cannot be used: {error}.") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return made(typing.cast(type[Any], hint), value, where)
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise InputError(f"{where} is {_short(value)}; it must be names and values.")
        inner = args[1] if args else Any
        return {key: _value(inner, item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple and args[-1] is Ellipsis:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where} is {_short(value)}; it must be a list.")
        return tuple(_value(args[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    if origin in (Union, types.UnionType) and type(None) in args and value is None:
        return None
    return coerce(value, hint, where)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
