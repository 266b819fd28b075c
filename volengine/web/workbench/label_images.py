"""Label images of a project's annotations, kept up to date in the background while people draw.

What a stroke changes is written some moments after it, many strokes at once, so that drawing does not wait. The images
are those of ``volengine annotate merge``, by the same code; what a killed server has left behind is written at the next
start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from volengine.tasks.annotate.images import bring_up
from volengine.tasks.annotate.store import Annotations

PAUSE_S = 1.0
"""Seconds without a stroke before images are written."""
LONGEST_S = 10.0
"""Seconds after which they are written although somebody draws on."""


class LabelImages:
    """A thread that writes the label images of annotations.

    Parameters
    ----------
    using
        Opens the annotations of a tomogram by its number; gives ``None`` where there are none.
    pause_s, longest_s
        See :data:`PAUSE_S`, :data:`LONGEST_S`.
    """

    def __init__(
        self,
        using: Callable[[int], AbstractContextManager[Annotations | None]],
        pause_s: float = PAUSE_S,
        longest_s: float = LONGEST_S,
    ):
        self._using, self._pause, self._longest = using, pause_s, longest_s
        self._wanted: dict[int, tuple[float, float]] = {}
        self._failed: dict[int, str] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def want(self, number: int) -> None:
        """Have the images of a tomogram written soon: its annotations have changed, or may have."""
        now = time.monotonic()
        with self._changed:
            if self._closing:
                return
            first, _ = self._wanted.get(number, (now, now))
            self._wanted[number] = first, now
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="label images", daemon=True)
                self._thread.start()
            self._changed.notify()

    def failure(self, number: int) -> str:
        """Why the images of a tomogram could not be written the last time; empty if they could."""
        with self._changed:
            return self._failed.get(number, "")

    def close(self) -> None:
        """Write what is still to be written, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while (number := self._next()) is not None:
            said = ""
            try:
                with self._using(number) as annotations:
                    if annotations is not None:
                        bring_up(annotations)
            except Exception as error:  # the journal has it; the next stroke, start or merge tries again
                said = str(error) or type(error).__name__
            with self._changed:
                self._failed[number] = said

    def _next(self) -> int | None:
        """Wait for a tomogram whose time has come; ``None`` at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                due = {n: min(last + self._pause, first + self._longest) for n, (first, last) in self._wanted.items()}
                number = min(due, key=due.__getitem__, default=None)
                if number is None and self._closing:
                    return None
                if number is not None and (self._closing or due[number] <= now):
                    del self._wanted[number]
                    return number
                self._changed.wait(None if number is None else due[number] - now)
