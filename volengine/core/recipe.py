"""Recipes: the parameters of a verb as frozen dataclasses that check their values.

A recipe inherits from :class:`Recipe`. It can be written as JSON and read from a mapping, for example from YAML.
Unknown names, values of a wrong type and missing values are refused; the message says where, and names the nearest
known name. A text field also takes a :class:`pathlib.Path` and keeps its text. A field that is a list of texts or
numbers also takes a single one: ``models="membrane.safetensors"`` is ``models=("membrane.safetensors",)``, and
``radius_nm=3`` is ``radius_nm=(3.0,)``.

>>> @dataclasses.dataclass(frozen=True)
... class Example(Recipe):
...     radius_nm: float = 10.0
>>> Example.from_json({"radius-nm": 5})
Example(radius_nm=5.0)
>>> Example(radius_nm="wide")
Traceback (most recent call last):
volengine.core.errors.InputError: Example.radius_nm is 'wide'; it must be a number.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import os
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Self, Union

from volengine.core.errors import InputError
from volengine.core.json_text import shown
from volengine.core.paths import path_text


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Base of all recipes. Override :meth:`check` to refuse values that fit their type but make no sense."""

    def __post_init__(self) -> None:
        kind: Any = type(self)
        hints = _hints(kind)
        for f in dataclasses.fields(self):
            where = f"{type(self).__name__}.{f.name}"
            value = _listed(getattr(self, f.name), hints[f.name], where)
            object.__setattr__(self, f.name, coerce(value, hints[f.name], where))
        self.check()

    def check(self) -> None:
        """Raise :class:`InputError` when values contradict each other."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; :meth:`from_json` makes an equal recipe of them."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "") -> Self:
        """Make a recipe from a mapping.

        Parameters
        ----------
        data
            Values by field name. Names may be written with ``-`` or ``_``.
        where
            How error messages name this mapping; default: the name of the class.

        Raises
        ------
        InputError
            ``data`` is no mapping, a name is unknown, a value is missing, or a value is refused.
        """
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

    @classmethod
    def of(cls, given: Self | Mapping[str, Any] | None) -> Self:
        """Return the recipe that a caller gives: as it is, from names and values, or with all defaults.

        Raises
        ------
        InputError
            Names and values that :meth:`from_json` refuses, or anything else.
        """
        return given if isinstance(given, cls) else cls.from_json({} if given is None else given)  # type: ignore[arg-type]

    def with_(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@functools.cache
def _hints(of: Any) -> Mapping[str, Any]:
    """The annotations of a class; finding them takes longer than all else, and each tomogram has recipes."""
    return typing.get_type_hints(of)


def field_texts(cls: type) -> dict[str, str]:
    """Return what the docstring of a dataclass says about each field, under ``Parameters``.

    A class says it of its own fields; what it inherits is said by the class that it inherits it from.
    """
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        found |= _texts_of(one)
    return found


def _texts_of(cls: type) -> dict[str, str]:
    doc = inspect.cleandoc(cls.__dict__.get("__doc__") or "")  # Python 3.13 takes the indentation away, older do not
    _, _, section = doc.partition("Parameters\n----------\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if re.fullmatch(r"\w[\w, ]*", line):
            names = [name.strip() for name in line.split(",")]
        elif line.startswith("    "):
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
        elif line.strip():
            break
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Recipe):
        return value.to_json()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value


def _listed(value: Any, hint: Any, where: str) -> Any:
    """Put a single text, path or number into a list, if a list of such is expected; others are returned unchanged."""
    of, value = _element(hint), _native(value)
    if isinstance(value, str | os.PathLike):
        if of is not str and typing.get_origin(of) is not Literal:
            return value
        if isinstance(value, str) and "," in value:
            raise InputError(f"{where} is {value!r}; give several as a list.")
        return (value,)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (value,) if number and of in (int, float) else value


@functools.cache
def _element(hint: Any) -> Any:
    """What a list of any length holds; ``None`` if the annotation has no such list, or other values beside it."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return _element(options[0]) if len(options) == 1 else None
    args = typing.get_args(hint)
    return args[0] if typing.get_origin(hint) is tuple and args[-1] is Ellipsis else None


def coerce(value: Any, hint: Any, where: str) -> Any:
    """Convert a value to the type of a field's annotation.

    Lists become tuples, integers become floats, floats that are whole numbers become integers, numbers of numpy become
    Python's and paths become texts where the annotation says so, and mappings become recipes. A number is also one of
    the words that it spells: ``ngff: 0.5`` in YAML is ``"0.5"``. Nothing else is converted: a text is not parsed, a
    float is not rounded, and ``True`` is not a number.

    Parameters
    ----------
    value
        The value, as a caller or a YAML file gives it.
    hint
        The annotation: ``int``, ``float``, ``str``, ``bool``, ``None``, ``Any``, a recipe, ``Literal``, a union,
        ``tuple[X, ...]``, a tuple of fixed length, or ``dict[K, V]``. Of a union the first type that fits is taken.
    where
        How error messages name the value, for example ``PickRecipe.spacing_nm``.

    Returns
    -------
    The value as that type.

    Raises
    ------
    InputError
        The value does not fit the annotation.

    >>> coerce([1, 2], tuple[float, ...], "Recipe.sizes")
    (1.0, 2.0)
    >>> coerce(26.0, Literal[6, 18, 26], "Recipe.connectivity"), coerce(0.5, Literal["0.4", "0.5"], "Recipe.ngff")
    (26, '0.5')
    """
    value = _native(value)
    # for plain types, which most are, without typing's functions, which take longer than all else
    origin, args = (None, ()) if type(hint) is type else (typing.get_origin(hint), typing.get_args(hint))
    if hint is Any:
        return value
    if origin is Literal:
        found = next((a for a in args if _is_choice(value, a)), None)
        if found is not None:
            return found
        raise InputError(f"{where} is {shown(value)}; it must be one of {', '.join(str(a) for a in args if a != '')}.")
    if origin in (Union, types.UnionType):
        errors = []
        for option in args:
            try:
                return coerce(value, option, where)
            except InputError as error:
                errors.append(str(error))
        deeper = (error for error in errors if not error.startswith(f"{where} is "))
        raise InputError(next(deeper, f"{where} is {value!r}; it must be {_said(hint)}."))
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
            try:
                return float(value)
            except OverflowError:
                raise InputError(f"{where} is {shown(value)}; it is larger than any number.") from None
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif hint is str and isinstance(value, os.PathLike):
        return path_text(value)
    elif isinstance(value, hint):
        return value
    if origin is tuple and isinstance(value, str) and args[0] in (int, float):
        numbers = re.findall(r"[-+]?\d+(?:\.\d+)?", value)
        if numbers and (args[-1] is Ellipsis or len(numbers) == len(args)):
            raise InputError(f"{where} is {shown(value)}; it must be {_said(hint)}: [{', '.join(numbers)}].")
    quoted = hint is str and isinstance(value, (bool, int, float))
    hint_text = ' (in YAML: put it into quotes, "...")' if quoted else ""
    raise InputError(f"{where} is {shown(value)}; it must be {_said(hint)}{hint_text}.")


def _native(value: Any) -> Any:
    """Python's own value of a number of numpy, which a caller has computed; others are returned unchanged."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value


def _is_choice(value: Any, choice: Any) -> bool:
    """Whether a value is one of the values of a ``Literal``, or a number that says the same."""
    if isinstance(value, bool) or isinstance(choice, bool):
        return value is choice
    if isinstance(choice, str) and isinstance(value, (int, float)):
        return str(value) == choice
    return bool(value == choice)


WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "left out"}
SEVERAL = {int: "whole numbers", float: "numbers", str: "texts"}


def _said(hint: Any) -> str:
    """Describe in words what an annotation takes; ``None`` among several is not mentioned."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_said(option) for option in args if option is not type(None))
    if origin is Literal:
        return "one of " * (len(args) > 1) + ", ".join(map(str, args))
    if origin is tuple:
        of = SEVERAL.get(args[0], "values")
        return f"a list of {of}" if args[-1] is Ellipsis else f"a list of {len(args)} {of}"
    if origin is dict or (isinstance(hint, type) and issubclass(hint, Recipe)):
        return "names and values"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))
