"""Digests of values: the same digest means the same value, to the last bit.

>>> digest_of({"b": 1, "a": [0.5, None]}) == digest_of({"a": (0.5, None), "b": 1})
True
>>> digest_of([np.zeros(3)]) == digest_of([np.zeros(3, "float32")])
False

JSON values are digested as JSON with sorted keys. What JSON does not know gets a text of its own: NumPy arrays and
scalars (dtype, shape, bytes), enumerations, dataclasses, bytes, mappings with other keys than text. Anything else is
refused, because ``str()`` of a value may be the same for two that differ: that of a large array leaves most of it out.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from volengine.core.errors import PlanError

DIGITS = 20
"""Hexadecimal digits of a digest, 80 bits: among 10⁹ values two equal ones have a chance of about 10⁻⁶."""

MARK = "$"
"""First character of the keys that stand for other types than JSON's; in a mapping's own keys it is doubled."""


_LEAVES = frozenset((str, int, float, bool, type(None)))


def digest_of(value: Any) -> str:
    """Compute the digest of a value.

    Parameters
    ----------
    value
        JSON values, tuples (equal to lists), mappings, NumPy arrays and scalars, dataclasses, enumerations, paths
        (equal to their text), bytes.

    Returns
    -------
    20 hexadecimal digits of SHA-256.

    Raises
    ------
    PlanError
        A value has another type, or contains itself.
    """
    return hashlib.sha256(exact_text(value).encode()).hexdigest()[:DIGITS]


def exact_text(value: Any) -> str:
    """Return a text that is the same for equal values only; parameters and errors are those of :func:`digest_of`.

    Of JSON values it is ``json.dumps(value, sort_keys=True)``.
    """
    try:
        if _is_json(value) and f'"{MARK}' not in (text := json.dumps(value, sort_keys=True)):
            return text
        return json.dumps(_plain(value), sort_keys=True)
    except RecursionError:
        raise PlanError("A value contains itself, or is nested too deeply; it has no digest.") from None
    except ValueError as error:  # a whole number of thousands of digits
        if isinstance(error, PlanError):
            raise
        raise PlanError(f"A value has no digest: {error}.") from None


def _is_json(value: Any) -> bool:
    """Whether a value has JSON's own types only, so that its text is exact if no text begins with :data:`MARK`."""
    kind = type(value)
    if kind is dict:
        for key, one in value.items():
            if type(key) is not str or (type(one) not in _LEAVES and not _is_json(one)):
                return False
        return True
    if kind is list or kind is tuple:
        return all(type(one) in _LEAVES or _is_json(one) for one in value)
    return kind in _LEAVES


def _plain(value: Any) -> Any:
    """Return the value as JSON values; other types as a mapping with one key that begins with :data:`MARK`."""
    if type(value) in _LEAVES:
        return value
    if value is None or isinstance(value, (bool, np.generic)):
        return _scalar(value) if isinstance(value, np.generic) else value
    if type(value) is dict:
        return _mapping(value)
    if type(value) in (list, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum) and not isinstance(value, (str, int, float)):
        return {f"{MARK}enum": [_type_name(value), value.name]}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, os.PathLike) and isinstance(text := os.fspath(value), str):
        return text
    if isinstance(value, (bytes, bytearray)):
        return {f"{MARK}bytes": value.hex()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {f"{MARK}dataclass": [_type_name(value), fields]}
    raise PlanError(
        f"A value of type {_type_name(value)} has no digest, so it cannot be a parameter; use numbers, texts, lists, "
        "mappings or NumPy arrays."
    )


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    if all(type(key) is str or (isinstance(key, str) and not isinstance(key, enum.Enum)) for key in value):
        return {f"{MARK}{k}" if k.startswith(MARK) else str(k): _plain(v) for k, v in value.items()}
    # JSON would write the keys 1 and "1", or True and "true", alike
    pairs = sorted((exact_text(k), exact_text(v)) for k, v in value.items())
    return {f"{MARK}mapping": pairs}


def _scalar(value: np.generic) -> Any:
    if isinstance(value, np.float64):  # a float, equal to the number that comes back from JSON
        return float(value)
    if isinstance(value, np.str_):
        return str(value)
    return {f"{MARK}scalar": _array(np.asarray(value))}


def _array(value: np.ndarray[Any, Any]) -> dict[str, Any]:
    if value.dtype.hasobject:
        raise PlanError(
            f"An array of Python objects (shape {value.shape}) has no digest; give it a dtype of numbers or text."
        )
    if isinstance(value, np.ma.MaskedArray):
        return {f"{MARK}masked": [_array(value.filled()), _array(np.ma.getmaskarray(value))]}
    data = np.ascontiguousarray(value)  # makes one dimension of none, so the shape is that of the value
    kind = value.dtype.str if value.dtype.names is None else repr(value.dtype.descr)
    return {f"{MARK}array": [kind, list(value.shape), hashlib.sha256(data.tobytes()).hexdigest()]}


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
