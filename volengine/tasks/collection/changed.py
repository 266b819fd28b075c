"""Whether a tomogram of a manifest is still what was run: its parameters, and its source.

>>> from volengine.tasks.collection.manifest import Entry
>>> origin = {"given": "/raw/a.mrc", "url": "/raw/a.mrc", "path": "", "snapshot": {}, "row": {"threshold": 0.5}}
>>> changed(Entry("/raw/a.mrc", "a"), origin)
"threshold 0.5 → the recipe's"
"""

from __future__ import annotations

import json
from typing import Any

from volengine.core.json_text import shown
from volengine.engine.origin import Origin, source_changed, unreadable
from volengine.tasks.collection.columns import SHORT
from volengine.tasks.collection.manifest import Entry, file_name_of

Row = dict[str, Any]
"""The parameters of a tomogram in its manifest, as JSON values by column."""

_SHORT = {field: column for column, field in SHORT.items()}


def row_of(entry: Entry) -> Row:
    """Return the parameters of a tomogram; a field has one column, whatever the manifest calls it."""
    fields = {
        ".".join(filter(None, (one.target.step, one.target.feature, one.target.field))): one.value
        for one in entry.parameters
    }
    row: Row = json.loads(json.dumps({_SHORT.get(field, field): value for field, value in fields.items()}))
    return row


def changed(entry: Entry, origin: Origin) -> str:
    """Say how a tomogram differs from what was run; empty if it does not, or nothing is known of that.

    Parameters
    ----------
    entry
        The tomogram.
    origin
        The record of its plan.
    """
    if not origin or (said := unreadable(origin)):
        return said if origin else ""
    now, before = row_of(entry), origin.get("row", {})
    told = [
        f"{column} {_cell(before, column)} → {_cell(now, column)}"
        for column in dict.fromkeys([*now, *before])
        if column not in now or column not in before or now[column] != before[column]
    ]
    if entry.source == origin["given"]:
        told.append(source_changed(entry.name, origin, origin["url"]))
    elif not _is_moved(entry, origin):
        told.append(f"source {origin['given']} → {entry.source}")
    return "; ".join(filter(None, told))


def _is_moved(entry: Entry, origin: Origin) -> bool:
    """Whether the source of a tomogram is the file or store that was run, in another folder."""
    if "://" in entry.source or "#" in entry.source or not origin["snapshot"]:
        return False
    same_name = file_name_of(entry.source) == file_name_of(origin["given"])
    return same_name and not source_changed(entry.name, origin, entry.source)


def _cell(row: Row, column: str) -> str:
    return shown(row[column]) if column in row else "the recipe's"
