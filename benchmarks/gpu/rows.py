"""The parts, and what they say: rows of a table."""

from __future__ import annotations

import contextlib
import json
import math
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

BAD = ("FAILED", "crashed", "late")
"""Results of a row that mean a fault."""


class Part(NamedTuple):
    """A function of a :class:`Bench`, ``module:function``, and its share of the time."""

    target: str
    weight: float


PARTS = {
    "machine": Part("machine:machine", 2.5),
    "networks": Part("check_networks:networks", 5),
    "prediction": Part("check_prediction:prediction", 2),
    "memory": Part("check_memory:memory", 2),
    "simulation": Part("check_simulation:simulation", 2),
    "training": Part("check_training:training", 3),
    "processes": Part("check_processes:processes", 2),
    "ranks": Part("check_ranks:ranks", 1),
    "copies": Part("measure_copies:copies", 2),
    "wall": Part("measure_wall:wall", 3),
    "precisions": Part("measure_precisions:precisions", 5),
    "compile": Part("measure_compile:compiled", 3),
}
"""In the order in which they run: what may be wrong first, then what may be slow."""


@dataclass
class Row:
    """A row of the table.

    Parameters
    ----------
    part, what
        The part, and what was checked or measured.
    result
        ``ok``, ``FAILED``, ``measured``, ``met`` or ``missed`` (a goal), ``skipped``, ``crashed``, ``late``.
    figures
        Numbers and short texts by name.
    note
        Why something failed or was skipped.
    """

    part: str
    what: str
    result: str
    figures: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values; NaN and infinity, which JSON does not have, as text."""
        held = asdict(self)
        held["figures"] = {k: _plain(v) for k, v in self.figures.items()}
        return held


def absent(error: BaseException) -> bool:
    """Whether an error says that somebody else's package is not installed."""
    from volengine.core.errors import DependencyError

    if isinstance(error, DependencyError):
        return True
    return isinstance(error, ModuleNotFoundError) and not (error.name or "volengine").startswith("volengine")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class Bench:
    """What a part is given: the device, its time, and where its rows go.

    Parameters
    ----------
    part
        Name of the part.
    device
        The device that is tested.
    tiny
        Whether sizes are small.
    out
        Folder for files.
    deadline
        When the part should end, as ``time.time``.
    """

    part: str
    device: torch.device
    tiny: bool
    out: Path
    deadline: float

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU of CUDA (or ROCm)."""
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds that are left for this part."""
        return self.deadline - time.time()

    def size(self, tiny: int, full: int) -> int:
        """A size: small to test the script, large to measure."""
        return tiny if self.tiny else full

    def say(self, what: str, result: str, figures: dict[str, Any] | None = None, note: str = "") -> None:
        """Add a row to the table."""
        row = Row(self.part, what, result, figures or {}, note)
        with (self.out / "rows.jsonl").open("a") as file:
            file.write(json.dumps({"row": row.to_json()}) + "\n")

    def check(self, what: str, error: float, limit: float, **figures: Any) -> None:
        """A check: an error, which must not be above a limit (NaN is)."""
        fine = bool(error <= limit)
        note = "" if fine else f"{error:.3g} is above {limit:.3g}"
        self.say(what, "ok" if fine else "FAILED", {"error": float(error), "limit": float(limit), **figures}, note)

    def equal(self, what: str, same: bool, note: str = "", **figures: Any) -> None:
        """A check that is true or false; ``note``: what it means if it is false."""
        self.say(what, "ok" if same else "FAILED", figures, "" if same else note)

    def goal(self, what: str, value: float, most: float, **figures: Any) -> None:
        """A measurement that should not be above a goal; to miss it is no fault."""
        self.say(what, "met" if value <= most else "missed", {**figures, "ratio": float(value), "goal": float(most)})

    def figure(self, what: str, **figures: Any) -> None:
        """A measurement."""
        self.say(what, "measured", figures)

    def skip(self, what: str, why: str) -> None:
        """Something that cannot be done here."""
        self.say(what, "skipped", note=why)

    @contextlib.contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Context for one thing: an error becomes a row.

        A package that is not here is no fault; what volengine itself does not have is one. After an error of CUDA
        itself the process cannot go on.
        """
        try:
            yield
        except Exception as error:
            if absent(error):
                self.skip(what, f"not here: {error}")
                return
            traceback.print_exc()
            self.say(what, "FAILED", note=f"{type(error).__name__}: {error}"[:400])
            if "CUDA error" in str(error) and "out of memory" not in str(error):
                raise SystemExit(3) from error
