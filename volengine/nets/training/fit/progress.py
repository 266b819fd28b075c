"""How far a training is: a bar on a terminal, otherwise a line every 15 seconds, as for the other verbs."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

EVERY_S = 15.0


def say(text: str) -> None:
    """Print a line on standard error without breaking a bar."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


class Steps:
    """Shows the steps of a training on standard error.

    Parameters
    ----------
    epochs, steps
        Number of epochs, and of steps in each.
    done
        Number of steps that were done before.
    show
        Whether to show anything.
    every_s
        Without a terminal: seconds between two lines.
    """

    def __init__(self, epochs: int, steps: int, done: int, *, show: bool, every_s: float = EVERY_S):
        self._epochs, self._steps = epochs, steps
        self._terminal = sys.stderr.isatty()
        self._show, self._every_s = show, every_s
        self._done = self._before = done
        self._began = self._last = time.monotonic()
        self._bar = tqdm(
            total=epochs * steps, initial=done, desc="training", unit="step", disable=not (show and self._terminal)
        )

    def step(self, loss: float) -> None:
        """Count a step."""
        self._done += 1
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update()
        if self._show and not self._terminal and time.monotonic() - self._last >= self._every_s:
            self._last = time.monotonic()
            self._line(loss)

    def _line(self, loss: float) -> None:
        total = self._epochs * self._steps
        each = (time.monotonic() - self._began) / (self._done - self._before)
        say(
            f"training: epoch {(self._done - 1) // self._steps + 1}/{self._epochs}, {self._done}/{total} steps, "
            f"loss {loss:.4f}, {each * (total - self._done):.0f} s left"
        )

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()
