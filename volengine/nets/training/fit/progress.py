"""How far a training is: a bar on a terminal, otherwise a line every 15 seconds, as for the other verbs.

The log file gets the line every 15 seconds in every case.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

EVERY_S = 15.0

T = TypeVar("T")


def say(text: str) -> None:
    """Print a line on standard error without breaking a bar."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


class Steps:
    """Shows the steps of a training on standard error, and logs them.

    Parameters
    ----------
    epochs, steps
        Number of epochs, and of steps in each.
    done
        Number of steps that were done before.
    show
        Whether to show anything on standard error.
    every_s
        Seconds between two lines; on a terminal only the log gets them.
    log
        Function that gets each line.
    """

    def __init__(
        self,
        epochs: int,
        steps: int,
        done: int,
        *,
        show: bool,
        every_s: float = EVERY_S,
        log: Callable[[str], None] = lambda line: None,
    ):
        self._epochs, self._steps = epochs, steps
        self._terminal = sys.stderr.isatty()
        self._show, self._every_s, self._log = show, every_s, log
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
        if self._due():
            total = self._epochs * self._steps
            each = (time.monotonic() - self._began) / (self._done - self._before)
            self._line(
                f"epoch {(self._done - 1) // self._steps + 1}/{self._epochs}, {self._done}/{total} steps, "
                f"loss {loss:.4f}, {each * (total - self._done):.0f} s left"
            )

    def validating(self, samples: Sequence[T]) -> Iterator[T]:
        """The same samples one after another; what is done with them at the end of an epoch is its validation."""
        for number, sample in enumerate(samples):
            if self._due():
                self._line(f"epoch {self._done // self._steps}/{self._epochs}, validation {number}/{len(samples)}")
            yield sample

    def _due(self) -> bool:
        if time.monotonic() - self._last < self._every_s:
            return False
        self._last = time.monotonic()
        return True

    def _line(self, text: str) -> None:
        self._log(f"training: {text}")
        if self._show and not self._terminal:
            say(f"training: {text}")

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()
