"""Reading what an earlier stage of the same plan has written: nothing that was lost is taken for zeros."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from volengine.core.boxes import Box, index3
from volengine.core.errors import DamagedError
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.reading import reached
from volengine.engine.receipts import Receipts
from volengine.io.open import open_sink

if TYPE_CHECKING:
    from volengine.engine.plan import Plan


@dataclass(frozen=True)
class Writer:
    """Who writes an array: a stage, the identity of its results, and the name of its output."""

    stage: str
    identity: str
    output: str


class Zeros:
    """The objects of an array of which receipts say that they hold only zeros, so that nothing is stored.

    The receipts are read when an object is absent, and then only those that are new.
    """

    def __init__(self, folder: Path, writer: Writer):
        self._receipts = Receipts(folder / "ledger")
        self._writer = writer
        self._keys: set[str] = set()
        self._lock = threading.Lock()

    def unknown(self, absent: Iterable[str]) -> set[str]:
        """Return those keys of which no receipt says that they hold only zeros."""
        keys = set(absent)
        with self._lock:
            if keys - self._keys:
                self._catch_up()
            return keys - self._keys

    def _catch_up(self) -> None:
        afresh, news = self._receipts.stream()
        if afresh:
            self._keys.clear()
        for receipt in news:
            if (receipt["stage"], receipt["identity"]) == (self._writer.stage, self._writer.identity):
                wrote = receipt.get("wrote", {}).get(self._writer.output, {})
                self._keys.update(key for key, entry in wrote.items() if entry is None)


def writers_of(plan: Plan) -> dict[str, dict[str, Writer]]:
    """Return, for each stage, who writes those of its inputs that an earlier stage writes."""
    writers = {
        (output.volume.url, output.volume.path): Writer(stage.name, plan.identities[stage.name], name)
        for stage in plan.stages
        for name, output in stage.outputs.items()
    }
    return {
        stage.name: {
            name: writers[a.volume.url, a.volume.path]
            for name, a in stage.arrays.items()
            if (a.volume.url, a.volume.path) in writers
        }
        for stage in plan.stages
    }


@lru_cache(maxsize=16)
def _zeros(folder: Path, writer: Writer) -> Zeros:
    return Zeros(folder, writer)


class Earlier:
    """An array that an earlier stage of the plan has written.

    Zarr stores nothing where there are only zeros, so an object that was lost would read as zeros. The receipts tell
    the two apart.
    """

    def __init__(self, volume: Volume, folder: PlanFolder, writer: Writer):
        self.volume = volume
        self.sink = open_sink(volume)
        self.zeros = _zeros(folder.path, writer)

    def check(self, box: Box) -> None:
        """Refuse a box with an object that is not there although its receipt says that it was stored.

        Raises
        ------
        DamagedError
            There is one; the engine makes it again.
        """
        if lost := self.zeros.unknown(self.sink.absent(self._whole(box))):
            key = min(lost)
            raise DamagedError(
                f"{self.volume.where}: the object {key} was written by this run and is missing.",
                self.volume.url,
                self.volume.path,
                tuple(sorted(lost)),
            )

    def _whole(self, box: Box) -> Box:
        """Return the smallest box of whole objects around a box."""
        inside = reached(box, self.volume.shape).clip(self.volume.shape)
        start = index3(a // n * n for a, n in zip(inside.start, self.sink.unit, strict=True))
        stop = index3(-(-b // n) * n for b, n in zip(inside.stop, self.sink.unit, strict=True))
        return Box(start, stop).clip(self.volume.shape)
