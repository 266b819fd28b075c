"""A manifest as STAR: a loop with the label ``_source``, in a file that may have other blocks, too.

An empty cell is ``""``, ``.`` or ``?``. Values with blanks or ``#`` are in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from volengine.core.errors import FormatError, InputError
from volengine.io.picks.star import TOKEN, parse_star
from volengine.tasks.collection.table import Changes, Table

NOTHING = ("", ".", "?", "<NA>")
"""Values that say that there is none."""

_PLAIN = re.compile(r"[^\s\"'#_$\[\];.?<][^\s\"'#]*")
_WORD = re.compile(r"(data|loop|save|stop|global)_", re.IGNORECASE)


class StarForm:
    """A manifest as STAR.

    Parameters
    ----------
    text
        The text of the file.
    path
        Its name, for messages.

    Raises
    ------
    FormatError
        It is no STAR, or does not have one loop with the label ``_source``.
    """

    def __init__(self, text: str, path: Path):
        self.path = path
        self.lines = text.removeprefix("\ufeff").splitlines(keepends=True)
        self.mark = text[: len(text) - len(text.removeprefix("\ufeff"))]
        found = [t for t in parse_star(text.removeprefix("\ufeff"), path).values() if "source" in t.columns]
        if len(found) != 1 or not found[0].loop:
            raise FormatError(
                f"{path}: {len(found)} tables have the label _source; a manifest is one table (loop_) with that label."
            )
        self.star = found[0]
        names = list(self.star.columns)
        self.table = Table(names)
        for number, cells in enumerate(zip(*self.star.columns.values(), strict=True)):
            self.table.rows.append({n: c for n, c in zip(names, cells, strict=True) if c not in NOTHING})
            self.table.where.append(f"line {self.star.lines[number]}")

    def changed(self, changes: Changes, added: Sequence[Mapping[str, str]]) -> str:
        """Return the text with some cells changed, and with rows added behind the last one."""
        lines, names = list(self.lines), list(self.table.columns)
        rows = [number - 1 for number in self.star.lines]
        new = [n for n in dict.fromkeys(k for v in (*changes.values(), *added) for k in v) if n not in names]
        label = self._last_label(rows)
        for row, at in enumerate(rows):
            values = changes.get(row, {})
            for column in reversed([n for n in values if n in names]):
                lines[at] = _replaced(lines[at], names.index(column), _cell(values[column]))
            lines[at] = _extended(lines[at], [_cell(values.get(n, "")) for n in new])
        end = "\r\n" if lines[label].endswith("\r\n") else "\n"
        last = max([label, *rows])
        if not lines[last].endswith(("\n", "\r")):
            lines[last] += end
        all_names = [*names, *new]
        more = ["  ".join(_cell(row.get(n, "")) for n in all_names) + end for row in added]
        lines[last + 1 : last + 1] = more
        labels = [f"_{n} #{k}{end}" for k, n in enumerate(new, len(names) + 1)]
        lines[label + 1 : label + 1] = labels
        return self.mark + "".join(lines)

    def _last_label(self, rows: Sequence[int]) -> int:
        """The line of the last label of the table."""
        first = next(n for n, line in enumerate(self.lines) if line.strip() == f"data_{self.star.name}")
        at = last = first
        stop = rows[0] if rows else len(self.lines)
        for at in range(first + 1, stop):
            if self.lines[at].strip().startswith("data_"):
                break
            if self.lines[at].strip().startswith("_"):
                last = at
        return last


def _replaced(line: str, number: int, value: str) -> str:
    """The line with another value in the place of one of its words."""
    words = [m for m in TOKEN.finditer(line) if not m[0].startswith("#")]
    found = words[number]
    return line[: found.start()] + value + line[found.end() :]


def _extended(line: str, values: Sequence[str]) -> str:
    """The line with more words behind its last one, before a comment."""
    words = [m for m in TOKEN.finditer(line) if not m[0].startswith("#")]
    at = words[-1].end()
    return line[:at] + "".join(f"  {value}" for value in values) + line[at:]


def _cell(value: str) -> str:
    """A value as a word of STAR.

    Raises
    ------
    InputError
        It has both kinds of quotes, or a line end.
    """
    if _PLAIN.fullmatch(value) and not _WORD.match(value):
        return value
    if value and value in NOTHING:
        raise InputError(f"STAR cannot hold {value!r}, by which it says that there is nothing; give another value.")
    quote = "'" if '"' in value else '"'
    if quote in value or re.search(r"[^\S ]", value):
        raise InputError(f"STAR cannot hold {value!r}, which has both kinds of quotes, a tab or a line end; rename it.")
    return f"{quote}{value}{quote}"
