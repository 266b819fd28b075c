"""Facts and tables as HTML for notebooks; names and values are text, never markup.

>>> facts_html("surfaces", {"feature": "<b>"})
'<p>surfaces</p><table><tr><th>feature</th><td>&lt;b&gt;</td></tr></table>'
>>> rows_html([{"number": 1, "area": 2.5}, {"number": 2}], most=1)
'<table><tr><th>number</th><th>area</th></tr><tr><td>1</td><td>2.5</td></tr></table><p>... and 1 more</p>'
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

ROWS = 5
"""Rows of a table that are shown."""


def facts_html(title: str, facts: Mapping[str, Any], picture: str = "") -> str:
    """A title and a line for each fact; empty facts are left out.

    Parameters
    ----------
    title, facts
        Texts and numbers.
    picture
        HTML of a picture, shown before them.
    """
    lines = "".join(f"<tr><th>{_text(k)}</th><td>{_text(v)}</td></tr>" for k, v in facts.items() if v not in (None, ""))
    return f"<p>{_text(title)}</p>{picture}<table>{lines}</table>"


def rows_html(rows: Sequence[Mapping[str, Any]], most: int = ROWS) -> str:
    """The first rows of a table, with the columns of all that are shown."""
    shown = rows[:most]
    columns = list(dict.fromkeys(key for row in shown for key in row))
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(row.get(c, ''))}</td>" for c in columns) + "</tr>" for row in shown)
    more = f"<p>... and {len(rows) - most} more</p>" if len(rows) > most else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"


def _text(value: Any) -> str:
    return html.escape(f"{value:.6g}" if isinstance(value, float) else str(value))
