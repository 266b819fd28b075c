"""The fields of dataclasses as names and values, quickly.

``dataclasses.asdict`` copies every value, which for the plan of a small tomogram takes longer than planning it.

>>> import dataclasses
>>> @dataclasses.dataclass
... class Inner:
...     sizes: tuple[int, ...]
>>> @dataclasses.dataclass
... class Outer:
...     inner: Inner
>>> fields_of(Outer(Inner((1, 2))))
{'inner': {'sizes': (1, 2)}}
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

_LEAVES = frozenset((str, int, float, bool, type(None)))


def fields_of(value: Any) -> dict[str, Any]:
    """Return what ``dataclasses.asdict`` returns of a dataclass; values other than containers are not copied."""
    kind: type = type(value)
    found = {}
    for name in _names(kind):
        one = getattr(value, name)
        found[name] = one if type(one) in _LEAVES else _plain(one)
    return found


@cache
def _names(of: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(of))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind is tuple or kind is list:
        if _LEAVES.issuperset(map(type, value)):
            return kind(value)
        return kind(map(_plain, value))
    if kind is dict:
        return {
            key if type(key) in _LEAVES else _plain(key): one if type(one) in _LEAVES else _plain(one)
            for key, one in value.items()
        }
    if dataclasses.is_dataclass(kind):
        return fields_of(value)
    return value if not isinstance(value, tuple | list | dict) else _of_its_kind(value)


def _of_its_kind(value: Any) -> Any:
    """A container of another class, which is made again as such."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_plain, value))
    if isinstance(value, dict):
        return type(value)((_plain(key), _plain(one)) for key, one in value.items())
    return type(value)(map(_plain, value))
