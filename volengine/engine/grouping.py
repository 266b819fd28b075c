"""How many units of a stage go together as one bundle."""

from __future__ import annotations

BUNDLE_SECONDS = 1.5
"""Seconds that a bundle of small units should take, so that the scheduler's cost per unit is negligible."""

LARGEST = 512
"""Units of a bundle at most."""


def group_size(seconds: float | None, pending: int, slots: int, *, beside: int = 0, takers: int = 1) -> int:
    """Return how many units make a bundle: those of some time, but so few that all slots have the same to do.

    Small units of a plan go together, although it has few of them, where other plans keep the slots busy.

    Parameters
    ----------
    seconds
        What a unit takes; ``None`` if nothing is known of it.
    pending
        Units of the stage that wait.
    slots
        Number of bundles that run at the same time.
    beside
        Number of units of other plans that could run at the same time.
    takers
        Number of parts that take units over from each other.

    >>> group_size(0.01, 1000, 2), group_size(10.0, 1000, 2), group_size(None, 1000, 2)
    (150, 4, 4)
    >>> group_size(0.1, 3, 2), group_size(0.1, 3, 2, beside=100)
    (1, 15)
    """
    fitting = int(BUNDLE_SECONDS / max(seconds or BUNDLE_SECONDS, 1e-4))
    shares = (2 if seconds else 8) * slots * takers
    fair, joined = -(-pending // shares), -(-(pending + beside) // shares)
    return max(1, min(max(4, fitting), fair, LARGEST), min(fitting, joined, LARGEST))
