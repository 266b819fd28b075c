"""What is not as it was written: the word for it, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["missing", "damaged", "foreign", "unfinished"]

MISSING = "is missing"


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written.

    Parameters
    ----------
    where
        Path or URL of the object, file, image or plan.
    kind
        ``missing``, ``damaged``, ``foreign`` (it belongs to something else, or to nothing that is known), or
        ``unfinished``.
    why
        What was found, in words that follow the path: ``"is missing"``.
    """

    where: str
    kind: Kind
    why: str

    def __str__(self) -> str:
        return f"{self.where} {self.why}"


def missing(where: str) -> Problem:
    """Make the problem of something that is not there."""
    return Problem(where, "missing", MISSING)
