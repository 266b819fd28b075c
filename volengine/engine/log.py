"""The structured log of a run: one JSON object per line, in the run folder."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any


class Log:
    """Appends events to ``log.jsonl``. Each line has ``time`` (seconds since 1970), ``event`` and the event's facts.

    A line that cannot be written, for example because the disk is full, is lost without an error.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, event: str, **facts: Any) -> None:
        """Append one event; a fact that JSON does not know is written as text."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, default=str)
        with contextlib.suppress(OSError), self.path.open("a") as file:
            file.write(line + "\n")
