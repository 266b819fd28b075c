"""The middles of plateaus (:mod:`volengine.ops.plateaus`) of regions that were finished in a tree of cells.

1. :func:`plateaus_of_block` gives the highest values of those regions, in the cells that hold a block, which the block
   has voxels of, and their centroids; :func:`volengine.ops.plateaus.block_middles` finds the nearest voxels in it.
2. :func:`nearest` takes, going up the tree, the nearest one of each region over the parts of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volengine.core.block import Table
from volengine.core.boxes import Index3
from volengine.ops.basin_graph import RegionRules
from volengine.ops.cells import DROPPED, Int64, followed
from volengine.ops.regions import filtered

_ROWS = ("level", "row", "far", "index")


def plateaus_of_block(
    number: int, lookups: Sequence[tuple[int, Table]], regions: Sequence[Table]
) -> tuple[Table, Table]:
    """Return the plateaus of the regions that have voxels in a block.

    Parameters
    ----------
    number
        Number of the block.
    lookups, regions
        For each cell that holds the block, from the smallest to the largest: its number and its lookup, and its regions
        (:func:`volengine.ops.cells.join`).

    Returns
    -------
    found
        The table that :func:`~volengine.ops.plateaus.block_middles` takes.
    names
        ``level`` (0 for the smallest cells) and ``row`` (int64) of its regions in the tables of their cells.
    """
    level, to = followed(number, lookups)
    names, region = np.unique(np.stack([level, -2 - to], axis=1)[to != DROPPED], axis=0, return_inverse=True)
    # Local regions that were dropped belong to one more region, which has no highest value: nothing equals NaN.
    peak, centre = np.full(len(names) + 1, np.nan), np.zeros((len(names) + 1, 3))
    for place, table in enumerate(regions):
        mine = np.flatnonzero(names[:, 0] == place)
        peak[mine], centre[mine] = table["peak"][names[mine, 1]], table["centre"][names[mine, 1]]
    of_local = np.full(to.size, len(names), np.int64)
    of_local[to != DROPPED] = region.reshape(-1)
    blocks, starts = np.array([number], np.int64), np.array([0, to.size], np.int64)
    found: Table = {"peak": peak, "centre": centre, "regions": of_local, "blocks": blocks, "starts": starts}
    return found, {"level": names[:, 0], "row": names[:, 1]}


def named(middles: Table, names: Table) -> Table:
    """Return the rows of :func:`~volengine.ops.plateaus.block_middles` with the names of their regions."""
    region = middles["region"]
    return {
        "level": names["level"][region],
        "row": names["row"][region],
        "far": middles["far"],
        "index": middles["index"],
    }


def nearest(
    rows: Sequence[Table], level: int, regions: Table, shape: Index3, rules: RegionRules
) -> tuple[Table, Table]:
    """Take the nearest middles over the parts of a cell.

    Parameters
    ----------
    rows
        Tables of :func:`named`, or what smaller cells have left.
    level
        Level of the cell, 0 for the smallest.
    regions
        The regions that were finished in the cell.
    shape, rules
        Shape of the volume; the margin is used.

    Returns
    -------
    regions
        The regions with their ``position``. It is NaN, and so in no cell, where it is too near to a face of the volume.
    left
        The rows of regions of larger cells, at most one for each.
    """
    table = {key: np.concatenate([t[key] for t in rows]) for key in _ROWS}
    order = np.lexsort((table["index"], table["far"], table["row"], table["level"]))
    table = {key: column[order] for key, column in table.items()}
    step = (table["level"][1:] != table["level"][:-1]) | (table["row"][1:] != table["row"][:-1])
    table = {key: column[np.append(True, step)[: column.size]] for key, column in table.items()}
    mine = table["level"] == level
    index: Int64 = table["index"][mine]
    if not np.array_equal(table["row"][mine], np.arange(regions["index"].size)):
        raise KeyError(f"Level {level}: {index.size} regions have a highest voxel, not {regions['index'].size}.")
    position = np.stack(np.unravel_index(index, shape), axis=1).astype(np.float64)
    position[~filtered(position, regions["voxels"], shape, rules)] = np.nan
    return {**regions, "position": position}, {key: column[~mine] for key, column in table.items()}
