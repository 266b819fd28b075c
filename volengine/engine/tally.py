"""Sums over the receipts of a stage. The driver keeps these instead of receipts, so it stays small for any plan."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from volengine.engine.receipts import Receipt

if TYPE_CHECKING:
    from volengine.engine.ledger import PlanFolder
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


def counted(plan: Plan, folder: PlanFolder) -> list[str]:
    """Lines that say what the stages that write images have counted, over all runs of the plan.

    Stages that write tables are spoken of by the calls that make products of them.
    """
    counts: Counter[str] = Counter()
    seen: set[tuple[str, int]] = set()
    shown = {stage.name for stage in plan.stages if stage.outputs and not stage.emits}
    for receipt in folder.receipts:
        unit = (receipt["stage"], int(receipt["number"]))
        current = plan.identities.get(receipt["stage"]) == receipt["identity"]
        if unit[0] in shown and unit not in seen and current:
            seen.add(unit)
            counts.update(receipt.get("counts", {}))
    return [f"{number} {name}" for name, number in counts.items()]
