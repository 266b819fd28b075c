"""The structured log of a run: one JSON object per line, in the run folder.

Events are also records of the logger ``volengine`` (:mod:`logging`, level INFO), which nobody sees unless a program
asks for them, as the option ``-v`` does. What nobody may miss is a record of the level WARNING (:func:`remark`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("volengine")

SHOWN = 200
"""Letters of a fact in a record of the logger; a traceback is shown whole."""


def remark(text: str) -> None:
    """Tell whoever runs this what it waits for, or what it does that nobody would expect.

    A record of the level WARNING: it reaches standard error also without a progress bar, unless a program has set up
    :mod:`logging` otherwise or the option ``-q`` was given.
    """
    LOGGER.warning("%s", text)


class Log:
    """Appends events to ``log.jsonl``. Each line has ``time`` (seconds since 1970), ``event`` and the event's facts.

    A line that cannot be written, for example because the disk is full, is lost without an error.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, event: str, **facts: Any) -> None:
        """Append one event; a fact that JSON does not know is written as text."""
        if LOGGER.isEnabledFor(logging.INFO):
            LOGGER.info("%s", _record(event, facts))
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, default=str)
        with contextlib.suppress(OSError), self.path.open("a") as file:
            file.write(line + "\n")


def _record(event: str, facts: dict[str, Any]) -> str:
    """An event as a line of text; a traceback follows on lines of its own."""
    shown = {key: str(value) for key, value in facts.items() if key != "traceback" and value is not None}
    cut = {key: text if len(text) <= SHOWN else f"{text[:SHOWN]} ..." for key, text in shown.items()}
    words = " ".join(f"{key}={text}" for key, text in cut.items())
    return f"{event}: {words}" + (f"\n{facts['traceback'].rstrip()}" if facts.get("traceback") else "")
