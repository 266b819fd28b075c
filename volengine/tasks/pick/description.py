"""Facts that the planner and the last call of ``pick`` share: the outputs, and the names of the picks' columns."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.image import Ngff

COLUMN = "pick."
"""Prefix of the picks' columns in the table of ``resolve``; the other columns map local regions to labels."""

SPAN = "span"
"""Column of the tables with the smallest and the largest probability: (1, 2) float64."""

EXTRAS = ("axis_ratio", "filament", "along_nm", "curvature_radius_nm")
"""Columns that only some picks have."""


@dataclass(frozen=True)
class PickOutputs:
    """The outputs of ``pick``.

    Parameters
    ----------
    table
        File of the picks.
    store
        Store for the label volume, which becomes ``labels/<feature>`` in it.
    ngff
        OME-Zarr version of the store, if it does not exist yet.
    whole
        Whether the label volume is the store's own image, as in a copick project.
    """

    table: str
    store: str
    ngff: Ngff = "0.5"
    whole: bool = False
