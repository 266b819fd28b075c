"""Plain text: tables, and texts in JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a table as lines of text, one per row, with columns of equal width.

    Parameters
    ----------
    head
        Titles of the columns.
    rows
        Cells; each is shown as ``str(cell)``. From the second column on, cells that begin with a digit are aligned to
        the right.
    """
    cells = [[str(c) for c in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for number, row in enumerate(cells):
        parts = [
            c.rjust(w) if i and (number == 0 or c[:1].isdigit()) else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def counted(number: int, what: str, one: str = "", several: str = "") -> str:
    """Format a number with the noun that it counts, and a verb that agrees with it.

    >>> counted(1, "surface"), counted(0, "pick"), counted(2, "vertex/vertices")
    ('1 surface', '0 picks', '2 vertices')
    >>> counted(1, "point", "lies", "lie"), counted(2, "point", "lies", "lie")
    ('1 point lies', '2 points lie')

    Parameters
    ----------
    number
        How many there are.
    what
        The noun; where its plural has no s, with the plural behind a slash.
    one, several
        The verb for one and for any other number; default: none.
    """
    singular, _, plural = what.partition("/")
    noun, verb = (singular, one) if number == 1 else (plural or f"{singular}s", several)
    return f"{number} {noun} {verb}".rstrip()


def texts_in(value: Any) -> Iterator[str]:
    """Yield the texts in JSON values, without the names in mappings.

    >>> list(texts_in({"a": ["x", 1, {"b": "xy"}]}))
    ['x', 'xy']
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(one)


def with_texts(value: Any, texts: Mapping[str, str]) -> Any:
    """Return JSON values in which whole texts are replaced by others; names in mappings stay.

    >>> with_texts({"a": ["x", 1, {"b": "xy"}]}, {"x": "y"})
    {'a': ['y', 1, {'b': 'xy'}]}
    """
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, Mapping):
        return {key: with_texts(one, texts) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(with_texts(one, texts) for one in value)
    return value
