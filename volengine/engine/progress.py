"""A progress bar over the units of a run, with rate, time left, and the current stage."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

EVERY_S = 15.0


class Progress:
    """Shows the progress of a run on standard error: a bar on a terminal, otherwise a line every 15 seconds.

    Parameters
    ----------
    total, done
        Number of units, and how many of them are done already.
    show
        Whether to show anything.
    """

    def __init__(self, total: int, done: int, *, show: bool):
        self._show = show
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="unit",
            disable=not (show and self._terminal),
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self._total, self._done, self._began_with = total, done, done
        self._began = self._last = time.monotonic()

    def grow(self, total: int, done: int) -> None:
        """Add ``total`` units, of which ``done`` are done already."""
        self._total += total
        self._done += done
        self._began_with += done
        self._bar.total = self._total
        self._bar.n += done
        self._bar.refresh()

    def step(self, label: str, units: int = 1) -> None:
        """Count finished units; ``label`` names the current tomogram and stage."""
        self._done += units
        if self._terminal:
            self._bar.set_description(label, refresh=False)
            self._bar.update(units)
        elif self._show and time.monotonic() - self._last >= EVERY_S:
            self._last = time.monotonic()
            self._line(label)

    def _line(self, label: str) -> None:
        run = self._done - self._began_with
        rate = run / max(1e-9, time.monotonic() - self._began)
        left = (self._total - self._done) / rate if rate > 0 else float("inf")
        print(
            f"{label}: {self._done}/{self._total} units, {rate:.2f} units/s, {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self._show:
            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
