"""Facts that the planner and the last call of ``pick`` share: the outputs, and the names of the picks' columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from volengine.core.block import Block, Table
from volengine.core.image import Ngff
from volengine.ops.basin_graph import RegionRules

COLUMN = "pick."
"""Prefix of the picks' columns in the table of ``resolve``; the other columns map local regions to labels."""

SPAN = "span"
"""Column of the tables with the smallest and the largest probability: (1, 2) float64."""

EXTRAS = ("axis_ratio", "filament", "along_nm", "length_nm", "curvature_radius_nm")
"""Columns that only some picks have."""


VOXELS_PER_REGION = 5000
"""Assumed for the memory of ``resolve``, which is planned before regions are known; measured: 900 to 40,000."""


def region_rules(values: dict[str, Any]) -> RegionRules:
    """The rules from JSON values, in which tuples have become lists."""
    triples: dict[str, Any] = {key: tuple(values[key]) for key in ("margin_vox", "scale")}
    return RegionRules(**{**values, **triples})


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


def cells_holding(block: Block) -> list[tuple[int, Table]]:
    """The cells that hold a block, from the smallest to the largest: their numbers and tables."""
    names = (name for name in block.tables if name.startswith("level-"))
    by_level = sorted(names, key=lambda name: int(name.rpartition("-")[2]))
    return [next(iter(block.tables[name].items())) for name in by_level]
