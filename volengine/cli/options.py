"""Click options made from recipes: the same names, types, defaults and help as in Python and YAML."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

import click
from click.shell_completion import CompletionItem

from volengine.cli.command import joined, split_list
from volengine.cli.messages import quiet
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe, coerce, field_texts

F = TypeVar("F", bound=Callable[..., Any])


INTEGER = re.compile(r"[-+]?[0-9]+")
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


class FieldType(click.ParamType[Any]):
    """A command-line value of a recipe field: a number, a word, or values with commas between them.

    Parameters
    ----------
    hint
        The field's annotation. For a list of any length (:attr:`takes_list`) one occurrence of the option gives a
        tuple, and the option puts those of all occurrences together.
    where
        How messages name the value.
    words
        Words that a shell offers for a text.
    """

    def __init__(self, hint: Any, where: str, words: Sequence[str] = ()):
        self.hint = hint
        self.where = where
        self.words = words
        self.name = _type_name(hint)

    @property
    def takes_list(self) -> bool:
        """Whether the field is a list of any length."""
        return any(typing.get_origin(o) is tuple and typing.get_args(o)[-1] is Ellipsis for o in _options(self.hint))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        errors = []
        try:
            for candidate in _readings(value, self.hint):
                try:
                    return coerce(candidate, self.hint, self.where)
                except InputError as error:
                    errors.append(str(error))
        except ValueError as error:  # an empty value between commas
            errors.insert(0, str(error))
        return self.fail(errors[0], param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """How help shows a value: choices as they are written, kinds of values in capitals."""
        return "FORMAT" if self.words else _metavar(self.hint)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The choices that begin so; for any other text a shell offers files."""
        choices = [str(a) for o in _options(self.hint) if typing.get_origin(o) is Literal for a in typing.get_args(o)]
        choices = choices or list(self.words)
        if choices:
            return [CompletionItem(word) for word in choices if word and word.startswith(incomplete)]
        texts = str in _options(self.hint) or tuple[str, ...] in _options(self.hint)
        return [CompletionItem(incomplete, type="file")] if texts else []


def _readings(text: str, hint: Any) -> list[Any]:
    """The values that a text may stand for in this type, the most likely first."""
    options = _options(hint)
    found: list[Any] = []
    for option in options:
        if typing.get_origin(option) is tuple:
            of, *more = typing.get_args(option)
            if more[-1:] == [Ellipsis] or "," in text:
                parts = [text] if of is str and _is_there(text) else split_list(text)
                found.append([part if of is str else _scalar(part) for part in parts])
    if str in options:
        found.append(text)
    return [*found, _scalar(text), text]


def _is_there(text: str) -> bool:
    """Whether a text with a comma is the name of a file or folder as it stands."""
    try:
        return "," in text and os.path.lexists(text)
    except ValueError:  # a zero byte
        return False


def _scalar(text: str) -> Any:
    """The number that a text stands for, such as ``1e-3`` or ``.5``; any other text is unchanged."""
    text = text.strip()
    with contextlib.suppress(ValueError):  # Python reads no integers of thousands of digits
        if INTEGER.fullmatch(text):
            return int(text)
        if NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
    return text


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _type_name(hint: Any) -> str:
    names = []
    for option in _options(hint):
        origin, args = typing.get_origin(option), typing.get_args(option)
        if option is type(None):
            continue
        if origin is Literal:
            names.append("|".join(str(a) for a in args if a != ""))
        elif origin is tuple:
            count = "..." if args[-1] is Ellipsis else ",".join(["z,y,x"] if len(args) == 3 else ["value"] * len(args))
            names.append(count if count != "..." else f"{args[0].__name__},...")
        else:
            names.append(getattr(option, "__name__", str(option)))
    return "|".join(names)


VOLUME = (
    "For tables of picks: the tomograms (files, stores, folders). Only rows of these count; voxel size, shape and "
    "origin that a table does not state are taken from its tomogram. Default: all rows, as the table states them."
)
"""Text of the option that gives tables of picks their tomograms."""

NO_NETWORK = ("device",)
"""Options of a run that a verb without networks does not use."""

_KINDS = {int: "INT", float: "NUMBER", str: "TEXT", Any: "VALUE"}


def _metavar(hint: Any) -> str:
    """The kinds of values of an annotation, for help: ``none|xy|isotropic``, ``NUMBER|Z,Y,X``, ``TEXT,...``."""
    shown = []
    for option in _options(hint):
        origin, args = typing.get_origin(option), typing.get_args(option)
        if origin is Literal:
            shown.append("|".join(str(a) for a in args if a != ""))
        elif origin is tuple:
            kind = _KINDS.get(args[0], "VALUE")
            sides = {3: "Z,Y,X", 6: "Z,Y,X,Z,Y,X"}.get(len(args), ",".join([kind] * len(args)))
            shown.append(f"{kind},..." if args[-1] is Ellipsis else sides)
        elif option is not type(None):
            shown.append(_KINDS.get(option, "VALUE"))
    return "|".join(shown)


FORMAT_NAMES = ("--to", "--format")
"""The option that says which format of picks is written has both names in every verb."""


def recipe_options(
    recipe: type[Recipe], *, leave_out: tuple[str, ...] = (), formats: Mapping[str, Sequence[str]] | None = None
) -> Callable[[F], F]:
    """A decorator that adds one option per recipe field; an option that is not given has the value ``None``.

    Use :func:`from_options` to build the recipe from the command's keyword arguments.

    Parameters
    ----------
    recipe
        The recipe.
    leave_out
        Fields that get no option.
    formats
        Names of formats, which shells offer, for each field whose value is one. The options ``--to`` and ``--format``
        are the same.
    """
    words = formats or {}
    hints = typing.get_type_hints(recipe)
    texts = {name: text.replace("``", "") for name, text in field_texts(recipe).items()}

    def decorate(function: F) -> F:
        for f in reversed(dataclasses.fields(recipe)):
            if f.name in leave_out:
                continue
            flag = "--" + f.name.replace("_", "-")
            text = texts.get(f.name, "")
            default = f.default if f.default is not dataclasses.MISSING else None
            if f.default is f.default_factory is dataclasses.MISSING:
                text = f"{text} [no default]"
            if hints[f.name] is bool:
                text = f"{text} [default: {'yes' if default else 'no'}]"
                option = click.option(f"{flag}/--no-{flag[2:]}", f.name, default=None, help=text)
            else:
                if default not in (None, (), {}, ""):
                    text = f"{text} [default: {_shown(default)}]"
                kind = FieldType(hints[f.name], f.name, words.get(f.name, ()))
                flags = FORMAT_NAMES if f.name in words and flag in FORMAT_NAMES else (flag,)
                several: dict[str, Any] = {"multiple": True, "callback": joined} if kind.takes_list else {}
                option = click.option(*flags, f.name, type=kind, default=None, help=text, **several)
            function = option(function)
        return function

    return decorate


def source_and_out(help: str, *names: str, several: bool = False) -> Callable[[F], F]:
    """A decorator for a verb that makes one file of others: its arguments, and ``--out`` as in every verb.

    The form without the flag, ``VERB SOURCE OUT``, works as well.

    Parameters
    ----------
    help
        Text of ``--out``.
    names
        Names of the arguments; default: ``source``.
    several
        Whether the only argument takes several values; the function is then given a tuple.
    """
    names = names or ("source",)
    words = " ".join(name.upper() for name in names) + ("..." if several else "")

    def decorate(function: F) -> F:
        def with_out(**values: Any) -> Any:
            given, out = values.pop("given"), values.pop("out")
            if out is None and (len(given) == len(names) + 1 or (several and len(given) > 1)):
                *given, out = given
            if out is None or (len(given) != len(names) and not several):
                raise click.UsageError(f"Give {words} and --out; given are {', '.join(given)}.")
            named = {names[0]: tuple(given)} if several else dict(zip(names, given, strict=True))
            return function(**named, out=out, **values)

        with_out.__doc__, with_out.__dict__ = function.__doc__, dict(function.__dict__)
        with_out.__dict__["__wrapped__"] = function
        arguments = click.argument("given", nargs=-1, required=True, metavar=words)
        return arguments(click.option("--out", help=help + " [required]")(with_out))  # type: ignore[return-value]

    return decorate


def texts_option(flag: str, name: str, help: str, *, hidden: bool = False) -> Callable[[F], F]:
    """A decorator that adds an option with a list of texts, besides those of recipes; without values it is ``()``.

    One that is ``hidden``, another spelling, is not listed by ``--help``.
    """

    def texts(ctx: click.Context, param: click.Parameter, value: Any) -> tuple[str, ...]:
        return joined(ctx, param, value) or ()

    kind = FieldType(tuple[str, ...], flag.removeprefix("--"))
    return click.option(flag, name, multiple=True, type=kind, callback=texts, help=help, hidden=hidden)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


R = TypeVar("R", bound=Recipe)


def from_options(recipe: type[R], values: dict[str, Any], **fixed: Any) -> R:
    """Make the recipe from a command's keyword arguments, and remove its fields from ``values``."""
    names = {f.name for f in dataclasses.fields(recipe)}
    given = {name: values.pop(name) for name in list(values) if name in names}
    given = {k: v for k, v in given.items() if v is not None}
    if "progress" in names and quiet():
        given["progress"] = False
    return recipe.from_json({**given, **fixed})
