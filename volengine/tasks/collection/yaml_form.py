"""A manifest as YAML: ``tomograms`` is a list of names and values.

.. code-block:: yaml

    tomograms:
    - source: raw/TS_01.mrc    # comments stay
      voxel_size: 13.48
    - {source: raw/TS_02.mrc, state: skip}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError
from volengine.core.yaml_recipes import parse_yaml
from volengine.tasks.collection.table import Changes, Table

KEY = "tomograms"
TEXTS = ("source", "name", "group", "state")
"""Columns whose values are texts, also if they look like numbers."""

_SAFE = re.compile(r"[A-Za-z0-9./~_][A-Za-z0-9./~_+-]*")


class YamlForm:
    """A manifest as YAML.

    Parameters
    ----------
    text
        The text of the file.
    path
        Its name, for messages.

    Raises
    ------
    FormatError
        It is no YAML, or no list ``tomograms`` of names and values.
    """

    def __init__(self, text: str, path: Path):
        self.path, self.text = path, text
        value = parse_yaml(text.removeprefix("\ufeff"), str(path))
        if not isinstance(value, dict) or list(value) != [KEY]:
            raise FormatError(f"{path}: a manifest in YAML has the name {KEY!r}, and nothing beside it.")
        items = value[KEY] if value[KEY] is not None else []
        if not isinstance(items, list):
            raise FormatError(f"{path}: {KEY!r} is no list.")
        self.table = Table([])
        for number, item in enumerate(items):
            if not isinstance(item, dict) or not all(isinstance(key, str) for key in item):
                raise FormatError(f"{path}: number {number + 1} of {KEY!r} is not names and values.")
            self.table.rows.append({k: v for k, v in item.items() if v is not None and v != ""})
            self.table.where.append(f"number {number + 1}")
            self.table.columns += [name for name in item if name not in self.table.columns]

    def changed(self, changes: Changes, added: Sequence[Mapping[str, str]]) -> str:
        """Return the text with some values changed, and with entries added at the end of the list."""
        import yaml

        mark = "\ufeff" if self.text.startswith("\ufeff") else ""
        text = self.text.removeprefix(mark)
        root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
        listed = root.value[0][1]
        cuts: list[tuple[int, int, str]] = []
        for row, values in changes.items():
            for name, value in values.items():
                cuts.append(_cut(text, listed.value[row], name, _value(name, value)))
        if added:
            cuts.append(self._added(text, listed, added))
        for start, stop, put in sorted(cuts, key=lambda cut: cut[:2], reverse=True):
            text = text[:start] + put + text[stop:]
        return mark + text

    def _added(self, text: str, listed: Any, added: Sequence[Mapping[str, str]]) -> tuple[int, int, str]:
        """What is put where, so that the list has more entries."""
        if not getattr(listed, "value", None):
            lines = _entries(added, 0)
            start = listed.start_mark.index
            while start and text[start - 1] in " \t":
                start -= 1
            return start, listed.end_mark.index, "\n" + lines.rstrip("\n")
        if listed.flow_style:
            raise FormatError(f"{self.path}: write {KEY!r} as lines that begin with '- ', so that more can be added.")
        end = _end(listed.value[-1])
        line = text.find("\n", end)
        end = len(text) if line < 0 else line + 1
        before = "" if text[:end].endswith("\n") else "\n"
        return end, end, before + _entries(added, listed.start_mark.column)


def _entries(added: Sequence[Mapping[str, str]], column: int) -> str:
    blank = " " * column
    lines = []
    for row in added:
        given = [f"{name}: {_value(name, value)}" for name, value in row.items() if value]
        lines += [f"{blank}{'  ' if number else '- '}{one}\n" for number, one in enumerate(given)]
    return "".join(lines)


def _cut(text: str, entry: Any, name: str, value: str) -> tuple[int, int, str]:
    """Where the value of an entry stands, and what is put there; behind its first line if there is no such name."""
    for key, node in entry.value:
        if key.value == name:
            start = node.start_mark.index
            blank = " " if text[start - 1 : start] == ":" else ""
            return start, node.end_mark.index, blank + value
    key, first = entry.value[0]
    if entry.flow_style:
        stop = _end(entry.value[-1][1])
        return stop, stop, f", {name}: {value}"
    if first.start_mark.line == first.end_mark.line == key.start_mark.line:
        stop = text.find("\n", first.end_mark.index)
        stop = len(text) if stop < 0 else stop
        stop -= text[stop - 1 : stop] == "\r"
        return stop, stop, f"{_line_end(text)}{' ' * key.start_mark.column}{name}: {value}"
    start = key.start_mark.index
    return start, start, f"{name}: {value}{_line_end(text)}{' ' * key.start_mark.column}"


def _end(node: Any) -> int:
    """Where the last value of a node ends; PyYAML puts the end of a block behind the comments that follow it."""
    while isinstance(node.value, list) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end: int = node.end_mark.index
    return end


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _value(name: str, value: str) -> str:
    """A text as a value of YAML that is read as meant: a number of a column of numbers is one, a name is a text."""
    as_text = name in TEXTS or name.startswith("note")
    if as_text:
        plain = _SAFE.fullmatch(value) and parse_yaml(value, name) == value
        return value if plain else json.dumps(value, ensure_ascii=False)
    if "," in value:
        return "[" + ", ".join(part.strip() for part in value.split(",")) + "]"
    return value if re.fullmatch(r"[A-Za-z0-9.+-]+", value) else json.dumps(value, ensure_ascii=False)
