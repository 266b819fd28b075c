"""What runs bundles, and the news of them: the words between a driver and whatever runs its units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from volengine.engine.receipts import Receipt
from volengine.engine.stage import Stage
from volengine.engine.work import Bundle


@dataclass(frozen=True)
class Done:
    """News of a bundle.

    Parameters
    ----------
    bundle
        The bundle.
    receipts
        Receipts of units that have finished.
    error
        The error that ended the bundle, or ``None``.
    final
        Whether the bundle has ended. An executor may first report receipts one by one with ``final=False``.
    left
        Units of a bundle that has ended which were not begun, and are to be given out again; of bundles that follow
        each other those of the first that has some.
    """

    bundle: Bundle
    receipts: list[Receipt]
    error: BaseException | None = None
    final: bool = True
    left: tuple[int, ...] = ()


def at_leisure() -> bool:
    """Whether a driver without other things to do is in a hurry."""
    return False


class Executor(Protocol):
    """Runs bundles.

    ``hurry`` tells whether the driver has something else to
    do, so that :meth:`results` does not wait any longer.
    """

    hurry: Callable[[], bool]

    @property
    def link(self) -> str | None:
        """Address of a dashboard, if there is one."""
        ...

    @property
    def slots(self) -> int:
        """Number of bundles that can run at the same time."""
        ...

    @property
    def window(self) -> int:
        """Number of bundles that the driver gives out at any time: those that run, and some that wait for them."""
        ...

    def together(self, stages: Sequence[Stage]) -> bool:
        """Whether bundles of these stages can follow each other in one worker, and this saves messages."""
        ...

    def submit(self, bundle: Bundle) -> None:
        """Start a bundle, or queue it."""
        ...

    def results(self) -> Iterator[Done]:
        """Wait for news of one bundle and yield it. Yields nothing if there is none for some seconds,
        or if the driver is in a hurry."""
        ...

    def close(self) -> None:
        """Stop, and release the workers that this executor started."""
        ...
