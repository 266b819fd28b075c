"""Text cells of CSV tables that a spreadsheet would take for a formula.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, and names come from
files that anybody may have written. So such a text is written with an apostrophe before it, which spreadsheets show as
text. A text that already begins with apostrophes and such a sign gets one more, and one is taken away when volengine
reads its own table; so every text comes back. Numbers, and texts that are numbers, stay as they are.

>>> [guarded(cell) for cell in ("=HYPERLINK(1)", "-1.5", -1.5, "TS_01")]
["'=HYPERLINK(1)", '-1.5', -1.5, 'TS_01']
>>> plain("'=HYPERLINK(1)")
'=HYPERLINK(1)'
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SIGNS = ("=", "+", "-", "@", "\t", "\r")


def guarded(cell: Any) -> Any:
    """Return a cell as it is written: a text that a spreadsheet would run gets an apostrophe; others are unchanged."""
    return f"'{cell}" if isinstance(cell, str) and _runs(cell.lstrip("'")) else cell


def guarded_row(cells: Iterable[Any]) -> list[Any]:
    """Return the cells of a row as they are written."""
    return [guarded(cell) for cell in cells]


def plain(text: str) -> str:
    """Return the text of a cell that :func:`guarded` has written."""
    return text[1:] if text.startswith("'") and _runs(text.lstrip("'")) else text


def _runs(text: str) -> bool:
    return text.startswith(SIGNS) and not _is_number(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text
