"""What runs bundles, and the news of them: the words between a driver and whatever runs its units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from volengine.engine.receipts import Receipt
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
    """

    bundle: Bundle
    receipts: list[Receipt]
    error: BaseException | None = None
    final: bool = True


def at_leisure() -> bool:
    """Whether a driver without other things to do is in a hurry."""
    return False


class Executor(Protocol):
    """Runs bundles.

    ``link`` is the address of a dashboard, if there is one. ``hurry`` tells whether the driver has something else to
    do, so that :meth:`results` does not wait any longer.
    """

    link: str | None
    hurry: Callable[[], bool]

    @property
    def slots(self) -> int:
        """Number of bundles that can run at the same time."""
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
