"""Sums over the receipts of a stage. The driver keeps these instead of receipts, so it stays small for any plan."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from volengine.engine.receipts import Numbers, Receipt

if TYPE_CHECKING:
    from volengine.engine.plan import Plan


@dataclass
class Tally:
    """What the units of a stage have taken, as far as this run has run them; the seconds take 4 bytes per unit."""

    seconds: array[float] = field(default_factory=lambda: array("f"))
    counts: Counter[str] = field(default_factory=Counter)
    read: int = 0
    written: int = 0
    peak: int | None = None
    first: float | None = None
    last: float | None = None

    def add(self, receipt: Receipt) -> None:
        """Add the receipt of a unit."""
        self.seconds.append(float(receipt["seconds"]))
        self.counts.update(receipt.get("counts", {}))
        self.read += receipt["read"]
        self.written += receipt["written"]
        began = receipt["time"] - receipt["seconds"]
        self.first = began if self.first is None else min(self.first, began)
        self.last = receipt["time"] if self.last is None else max(self.last, receipt["time"])
        self.peak = receipt["peak_rss"] if self.peak is None else max(self.peak, receipt["peak_rss"])

    def said(self) -> dict[str, float]:
        """Return what the log says when a stage is done: units that this run has run, and their seconds."""
        return {"units": len(self.seconds), "seconds": round(sum(self.seconds), 3)}

    def to_json(self) -> dict[str, Any]:
        """Return the part of the run report about a stage."""
        return {
            "run": len(self.seconds),
            "seconds": round(sum(self.seconds), 3),
            "median_seconds": round(statistics.median(self.seconds), 4) if self.seconds else None,
            "first": self.first,
            "last": self.last,
            "read_bytes": self.read,
            "written_bytes": self.written,
            "counts": dict(self.counts),
            "peak_rss_bytes": self.peak,
        }


class Counted:
    """What the stages that write images have counted, over all runs of a plan, and the seconds of all its units.

    Stages that write tables are spoken of by the calls that make products of them.
    """

    def __init__(self, plan: Plan):
        self._identities = plan.identities
        shown = [stage for stage in plan.stages if stage.outputs and not stage.emits]
        self._seen = {stage.name: Numbers() for stage in shown}
        self._counts: Counter[str] = Counter()
        self.seconds = 0.0

    def add(self, receipt: Receipt) -> None:
        """Add a receipt; a unit that has two is counted once, and its seconds twice."""
        stage, number = receipt["stage"], int(receipt["number"])
        if self._identities.get(stage) != receipt["identity"]:
            return
        self.seconds += receipt["seconds"]
        seen = self._seen.get(stage)
        if seen is not None and number not in seen:
            seen.add(number)
            self._counts.update(receipt.get("counts", {}))

    def lines(self) -> list[str]:
        """Return what was counted."""
        return [f"{number} {name}" for name, number in self._counts.items()]
