"""Facts that volengine adds to files of other programs, in formats with room for a JSON text of its own.

The picks are read back from them completely, as far as the format's numbers are; the other program ignores them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from volengine.core.errors import FormatError
from volengine.core.json_text import shown
from volengine.core.picks import Picks
from volengine.io.picks import rows as r


def carried(picks: Picks, kept: Collection[str]) -> r.Facts:
    """Make the facts of picks: grid, names, and those columns that the format keeps.

    Parameters
    ----------
    picks
        The picks of one tomogram.
    kept
        Columns that the file holds, by their names in ``Picks.columns``.
    """
    facts: r.Facts = {k: v for k, v in picks.facts().items() if v is not None}
    facts["columns"] = {k: v.dtype.kind for k, v in picks.columns.items() if k in kept}
    return facts


def taken(value: Any, where: str) -> r.Facts:
    """Return facts that a file holds, checked; nothing if there are none.

    Raises
    ------
    FormatError
        They are no facts that volengine writes.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FormatError(f"{where}: the facts that volengine wrote are {shown(value)}: damaged; remove them.")
    facts = r.checked_facts(value, f"{where}: the facts that volengine wrote")
    if "tomogram" not in facts or "columns" not in facts:
        raise FormatError(f"{where}: the facts that volengine wrote lack the tomogram or the columns; remove them.")
    return facts
