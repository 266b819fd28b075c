"""What picks say of the angle about their normal, and what is said of formats that do not hold it."""

from __future__ import annotations

from collections.abc import Collection

from volengine.core.picks import EXTRA, Picks
from volengine.core.text import counted

KNOWN = "in_plane_known"
"""Extra column: whether a pick's angle about the normal was measured (1), or is 0 or random (0)."""


def lost_note(picks: Picks, kept: Collection[str], format: str) -> str:
    """Say it if a file does not tell of which picks the angle about the normal is not known; else empty.

    Parameters
    ----------
    picks
        What was written.
    kept
        Names of the columns that the file gives back.
    format
        Name of its format.

    Examples
    --------
    >>> picks = Picks([[1, 2, 3]], (10, 10, 10), euler=[[0, 30, 60]], extra={KNOWN: [0]})
    >>> lost_note(picks, ["position_vox", "euler"], "dynamo")
    'dynamo does not hold in_plane_known: the angle about the normal of 1 pick of 1 is not known.'
    """
    if KNOWN not in picks.extra or EXTRA + KNOWN in kept:
        return ""
    unknown = int((picks.extra[KNOWN] == 0).sum())
    if not unknown:
        return ""
    return (
        f"{format} does not hold {KNOWN}: the angle about the normal of {counted(unknown, 'pick')} of {len(picks)} "
        "is not known."
    )
