"""The structured log of a run: one JSON object per line, beside the ledger."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any


class Log:
    """Appends events to ``log.jsonl``; each line has ``time``, ``event`` and what belongs to it.

    A line that cannot be written (a full disk) is lost; the error itself reaches the user elsewhere.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, event: str, **facts: Any) -> None:
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, default=str)
        with contextlib.suppress(OSError), self.path.open("a") as file:
            file.write(line + "\n")
