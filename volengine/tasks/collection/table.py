"""What every form of a manifest gives: its table, and its text with changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Changes = Mapping[int, Mapping[str, str]]
"""New texts of cells: by the number of the row, then by the name of the column."""


@dataclass
class Table:
    """What a manifest says.

    Parameters
    ----------
    columns
        Names of the columns, in their order.
    rows
        For each row its values by column: texts, of YAML also numbers, yes or no, and lists. Empty ones are left out.
    where
        Where each row stands, for messages: ``line 3``.
    """

    columns: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    where: list[str] = field(default_factory=list)


class Form(Protocol):
    """A manifest's text, taken apart."""

    table: Table

    def changed(self, changes: Changes, added: Sequence[Mapping[str, str]]) -> str:
        """Return the text with some cells changed and rows added at its end; missing columns are added, too."""
        ...
