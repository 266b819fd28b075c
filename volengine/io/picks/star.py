"""STAR tables, read line by line and written as ``starfile`` writes them.

``starfile`` is not used for reading: errors must name the line, names such as ``001`` must stay text, and numbers must
keep their last bit. It also refuses empty loops and changes apostrophes, both of which occur in real files. It is not
used for writing either: through its data frames the ten picks of a small tomogram take longer than picking them. The
tests compare both readers on real files, and the bytes of both writers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from volengine.core.errors import FormatError, InputError
from volengine.io.picks.rows import read_text

TOKEN = re.compile(r'"[^"]*"|\'[^\']*\'|#.*|[^\s#]+')
"""A word of a line, or a comment."""
_UNFIT = re.compile(r"['\"#]|[^\S ]|[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WORD_OF_STAR = re.compile(r"_|data_|loop_|save_|stop_|global_|[\[\]$;]", re.IGNORECASE)
"""A value that begins so means something else in STAR, unless it is in quotes."""


@dataclass
class Table:
    """A block of a STAR file. A block without ``loop_`` is a table of one row.

    Parameters
    ----------
    name
        Name of the block, without ``data_``.
    loop
        Whether it has ``loop_``.
    columns
        Columns of texts by label, without the ``_`` before it.
    lines
        Line number of each row.
    """

    name: str
    loop: bool = False
    columns: dict[str, list[str]] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)


def read_star(path: Path) -> tuple[dict[str, Table], str]:
    """Read all blocks of a STAR file by name; the file's text is returned, too.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no STAR file, or the number of values of a row differs from the number of labels; with the line.
    """
    text = read_text(path)
    return parse_star(text, path), text


def parse_star(text: str, path: Path) -> dict[str, Table]:
    """Read all blocks of the text of a STAR file by name; errors are those of :func:`read_star`."""
    tables: dict[str, Table] = {}
    table: Table | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("data_"):
            table = Table(line.removeprefix("data_"))
            if table.name in tables:
                raise FormatError(f"{path}, line {number}: there are two blocks {line}.")
            tables[table.name] = table
        elif table is None:
            raise FormatError(f"{path}, line {number}: STAR begins with a line data_..., not {line[:40]!r}.")
        elif line.startswith("loop_") and not table.columns:
            table.loop = True
        elif line.startswith("_") and not (table.loop and table.lines):
            _label(table, line, number, path)
        else:
            _row(table, line, number, path)
    if not tables:
        raise FormatError(f"{path} is not a STAR file: it has no line data_... .")
    return tables


def _words(line: str) -> list[str]:
    """Return the values of a line; ``#`` outside of quotes begins a comment."""
    words = []
    for word in TOKEN.findall(line):
        if word[0] == "#":
            break
        words.append(word[1:-1] if word[0] in "\"'" and len(word) > 1 and word[-1] == word[0] else word)
    return words


def _label(table: Table, line: str, number: int, path: Path) -> None:
    label, *values = _words(line)
    label = label.removeprefix("_")
    if label in table.columns:
        raise FormatError(f"{path}, line {number}: the label _{label} is there twice.")
    if not table.loop and len(values) != 1:
        raise FormatError(f"{path}, line {number}: _{label} has {len(values)} values instead of one.")
    table.columns[label] = [] if table.loop else values
    table.lines = [] if table.loop else [number]


def _row(table: Table, line: str, number: int, path: Path) -> None:
    words = _words(line)
    if not table.loop or not table.columns:
        raise FormatError(f"{path}, line {number}: a label _... is expected here, not {line[:40]!r}.")
    if len(words) != len(table.columns):
        raise FormatError(
            f"{path}, line {number}: {len(words)} values, but data_{table.name} has {len(table.columns)} labels."
        )
    for column, word in zip(table.columns.values(), words, strict=True):
        column.append(word)
    table.lines.append(number)


def star_text(blocks: Mapping[str, Mapping[str, Sequence[str]]], comments: Sequence[str]) -> str:
    """Make the text of a STAR file of loops. The same tables give the same bytes.

    Parameters
    ----------
    blocks
        Columns of texts by label, for each block name.
    comments
        Lines that are written before the blocks.

    Raises
    ------
    InputError
        A value has a quote, ``#``, a tab or a line end, which STAR programs cannot read.
    """
    for table in blocks.values():
        for label, values in table.items():
            unfit = next((v for v in values if _UNFIT.search(v)), None)
            if unfit is not None:
                raise InputError(f"STAR cannot hold the {label} {unfit!r}: it has a quote, '#' or a tab; rename it.")
    body = "\n\n".join(_loop(name, table) for name, table in blocks.items())
    return "".join(f"{c}\n" for c in comments) + f"\n\n{body}"


def _loop(name: str, table: Mapping[str, Sequence[str]]) -> str:
    """Make the lines of a block."""
    head = [f"data_{name}", "", "loop_", *(f"_{label} #{number}" for number, label in enumerate(table, 1))]
    rows = zip(*(map(_quoted, values) for values in table.values()), strict=True)
    return "".join(f"{line}\n" for line in (*head, *map("\t".join, rows)))


def _quoted(value: str) -> str:
    """Put a value in quotes that has blanks, is empty, or would be taken for a word of STAR."""
    return f'"{value}"' if not value or " " in value or _WORD_OF_STAR.match(value) else value
