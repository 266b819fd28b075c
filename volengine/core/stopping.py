"""What is said of work that Ctrl-C or SIGTERM has stopped: what is kept, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WITHOUT_OUT = "Nothing is kept without --out: the same command begins anew."
"""Said of what has no folder of its own."""


@contextmanager
def if_stopped(note: str | Callable[[], str], *, instead: bool = False) -> Iterator[None]:
    """Add a sentence to the :class:`KeyboardInterrupt` that ends what is within, which the command prints.

    Parameters
    ----------
    note
        The sentence; or what makes it at that time, and gives an empty one where there is nothing to say.
    instead
        In place of sentences that the interrupt has from within; else these are kept, and nothing is added.

    >>> try:
    ...     with if_stopped("The same command goes on."):
    ...         raise KeyboardInterrupt
    ... except KeyboardInterrupt as stop:
    ...     print(*stop.__notes__)
    The same command goes on.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if instead or not getattr(stop, "__notes__", None):
            said = note if isinstance(note, str) else note()
            stop.__notes__ = [said] if said else []
        raise


def how_it_goes_on(state: Path) -> str:
    """What is said of a training that was stopped, whose state after its last epoch is in a file."""
    if not state.exists():
        return "No epoch was finished: the same command begins anew."
    return f"The epochs that were finished are kept ({state.parent}); the same command goes on after the last of them."
