"""The tables of a stage, and who reads what a stage has made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from volengine.core.block import Table
from volengine.engine.ledger import PlanFolder
from volengine.engine.stage import Stage


class Tables(Mapping[int, Table]):
    """The tables of a stage by block number. Each is read anew when it is asked for, so that not all are in memory."""

    def __init__(self, folder: PlanFolder, stage: str, count: int):
        self.folder, self.stage, self.count = folder, stage, count

    def __getitem__(self, number: int) -> Table:
        if not 0 <= number < self.count:
            raise KeyError(number)
        return self.folder.read_table(self.stage, number)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))

    def __len__(self) -> int:
        return self.count


def reads(later: Stage, stage: Stage) -> bool:
    """Return whether ``later`` reads a table or an array of ``stage``."""
    made = {(o.volume.url, o.volume.path) for o in stage.outputs.values()}
    arrays = {(a.volume.url, a.volume.path) for a in later.arrays.values()}
    return bool(made & arrays) or any(t.stage == stage.name for t in later.tables.values())
