"""Tables that a bundle has read and reads again: a block's table is read by itself and by up to 26 neighbours."""

from __future__ import annotations

import threading

from volengine.core.block import Table
from volengine.engine.ledger import PlanFolder

RECENT_BYTES = 8 << 20
"""Bytes of tables that a bundle keeps for its next units."""


class RecentTables:
    """Reads tables of a plan's folder, and keeps those that were read last.

    Parameters
    ----------
    folder
        The folder. While a bundle runs, no earlier stage of its plan writes a table.
    most
        Bytes that are kept at most.
    """

    def __init__(self, folder: PlanFolder, most: int = RECENT_BYTES):
        self._folder, self._most = folder, most
        self._kept: dict[tuple[str, int], Table] = {}
        self._bytes = 0
        self._one = threading.Lock()

    def read(self, stage: str, number: int) -> Table:
        """Return the table of a unit; nobody may change it.

        Raises
        ------
        DamagedError
            The unit has written no table, or it cannot be read.
        """
        key = (stage, number)
        with self._one:  # the next unit is read in a thread, while this one may be read again with a wider halo
            table = self._kept.pop(key, None)
            if table is None:
                table = self._folder.read_table(stage, number)
                self._bytes += _size(table)
            self._kept[key] = table  # the last one
            while self._bytes > self._most:
                self._bytes -= _size(self._kept.pop(next(iter(self._kept))))
            return table


def _size(table: Table) -> int:
    return sum(column.nbytes for column in table.values())
