"""A progress bar over the units or volumes of a run, with the current stage and the time that is left."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

EVERY_S = 15.0

FORMAT = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}{postfix}]"
"""The bar; that of tqdm says a time left that takes all units for alike, and the volumes that are open for all."""


class Progress:
    """Shows the progress of a run on standard error: a bar on a terminal, otherwise a line every 15 seconds.

    Parameters
    ----------
    total, done
        Number of units, and how many of them are done already; or of volumes.
    show
        Whether to show anything.
    """

    def __init__(self, total: int, done: int, *, show: bool):
        self._show = show
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            bar_format=FORMAT,
            disable=not (show and self._terminal),
            dynamic_ncols=True,
        )
        self._total, self._done = total, done
        self._last = time.monotonic()

    def grow(self, total: int, done: int) -> None:
        """Add ``total`` units, of which ``done`` are done already."""
        self._total += total
        self._done += done
        self._bar.total = self._total
        self._bar.n += done
        self._bar.refresh()

    def step(self, label: str, units: int = 1) -> None:
        """Count finished units; ``label`` says what they are."""
        self._done += units
        self.show(f"{label}: {self._done}/{self._total} units", self._done)

    @property
    def due(self) -> bool:
        """Whether something would be shown now: always on a terminal, else every 15 seconds."""
        return self._show and (self._terminal or time.monotonic() - self._last >= EVERY_S)

    def show(self, line: str, done: float, left: str = "") -> None:
        """Show how far it is.

        Parameters
        ----------
        line
            What is done at present.
        done
            How much of the total is done.
        left
            The time that is left, in words; empty if it is not known.
        """
        if self._terminal:
            self._bar.set_description_str(line, refresh=False)
            self._bar.set_postfix_str(left, refresh=False)
            self._bar.update(done - self._bar.n)
        elif self.due:
            self._last = time.monotonic()
            print(", ".join(filter(None, [line, left])), file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self._show:
            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
