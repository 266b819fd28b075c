"""What planning and the end of a plan share: where picks and labels go, and how the table of picks is stored."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.image import Ngff

COLUMN = "pick."
"""Begins the names of the picks' columns in the table of ``resolve``; the others map local regions to labels."""


@dataclass(frozen=True)
class PickOutputs:
    """Where the products of ``pick`` go.

    Parameters
    ----------
    table
        File of the picks.
    store
        Store that gets the label volume, as ``labels/<feature>``.
    ngff
        The store's version, if it must be made.
    """

    table: str
    store: str
    ngff: Ngff = "0.5"
