"""The parts of the pages that are made from the code, so that they cannot be out of date.

A page holds ``<!-- begin KIND module:name -->``, generated lines, ``<!-- end -->``. Kinds:

- ``fields``: the fields of a recipe or handle with type, default and the text of its docstring;
- ``function``: a function's signature and docstring;
- ``verbs``: the verbs of the command line.

``python docs/generated.py`` writes them anew; ``docs/check.py`` compares.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union

from volengine.core.recipe import field_texts

PART = re.compile(r"(<!-- begin (\w+)(?: ([\w.]+):(\w+))? -->\n)(.*?)(<!-- end -->)", re.DOTALL)
WORDS = {int: "whole number", float: "number", str: "text", bool: "yes or no", dict: "names and values"}


def filled(text: str) -> str:
    """A page with its generated parts as they must be."""
    return PART.sub(lambda m: f"{m[1]}{make(m[2], m[3], m[4])}{m[6]}", text)


def make(kind: str, module: str | None, name: str | None) -> str:
    """The lines of one part."""
    if kind == "verbs":
        from volengine.cli.main import VERBS

        return _table(("verb", "what it does"), ((f"`{verb}`", text) for verb, text in VERBS.items()))
    thing = getattr(importlib.import_module(module or ""), name or "")
    if kind == "fields":
        return _fields(thing)
    if kind == "function":
        return _function(thing)
    raise ValueError(f"there is no part of kind {kind!r}")


def _table(head: tuple[str, ...], rows: typing.Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _fields(cls: Any) -> str:
    hints = typing.get_type_hints(cls)
    texts = {name: text.replace("``", "`") for name, text in field_texts(cls).items()}
    rows = [
        (f"`{f.name}`", kind_of(hints[f.name]), _default(f), texts.get(f.name, "")) for f in dataclasses.fields(cls)
    ]
    return _table(("name", "value", "default", "meaning"), rows)


def kind_of(hint: Any) -> str:
    """A type in the words of somebody who writes YAML."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(kind_of(a) for a in args if a is not type(None))
    if origin is Literal:
        return " or ".join(f"`{a}`" if a != "" else '`""`' for a in args)
    if origin is tuple:
        return f"list of {kind_of(args[0])}" if args[-1] is Ellipsis else f"{len(args)} x {kind_of(args[0])}"
    if hint is Any:
        return "anything"
    return WORDS.get(origin or hint, f"`{getattr(hint, '__name__', hint)}`")


def _default(f: dataclasses.Field[Any]) -> str:
    if f.default is not dataclasses.MISSING:
        value = f.default
    elif f.default_factory is not dataclasses.MISSING:
        value = f.default_factory()
    else:
        return "needed"
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if dataclasses.is_dataclass(value):
        return "its defaults"
    return f"`{', '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def _function(function: Any) -> str:
    text = re.split(r"\n(?:Examples\n-+\n)?>>>", inspect.cleandoc(function.__doc__ or ""))[0].rstrip()
    return f"<!-- not run: a signature -->\n```python\n{_signature(function)}\n```\n\n{''.join(_markdown(text))}"


def _signature(function: Any) -> str:
    """``def name(...) -> ...: ...``, one argument per line if it would be too long."""
    signature = inspect.signature(function)
    answer = signature.return_annotation  # kept as text (PEP 563)
    arrow = "" if answer is signature.empty else f" -> {answer}"
    parameters = list(signature.parameters.values())
    shown = [re.sub(r": '([^']*)'", r": \1", str(p)) for p in parameters]
    keyword = next((n for n, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), None)
    if keyword is not None:
        shown.insert(keyword, "*")
    short = f"def {function.__name__}({', '.join(shown)}){arrow}: ..."
    if len(short) <= 110:
        return short
    return "\n".join([f"def {function.__name__}(", *(f"    {text}," for text in shown), f"){arrow}: ..."])


def _markdown(doc: str) -> Iterator[str]:
    """A numpy-style docstring: section heads bold, items as a list."""
    item = False
    lines = re.sub(r":[a-z]+:`~?([^`]*)`", r"`\1`", doc).splitlines()  # roles of Sphinx, which Markdown does not know
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", line):
            continue
        if re.fullmatch(r"-{3,}", below):
            yield f"*{line}*\n\n"
            item = True
        elif item and line and not line.startswith(" "):
            yield f"- `{line}`:"
        elif item and line:
            yield f" {line.strip().replace('``', '`')}" + ("\n" if not below.startswith("    ") else "")
        else:
            yield line.replace("``", "`") + "\n"
    yield "\n"


def main() -> int:
    root = Path(__file__).resolve().parents[1]
    for page in sorted((root / "docs").glob("*.md")):
        text = page.read_text()
        if (new := filled(text)) != text:
            page.write_text(new)
            print(f"{page.relative_to(root)}: written anew")
    return 0


if __name__ == "__main__":
    sys.exit(main())
