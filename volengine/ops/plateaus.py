"""The middle of a plateau: where a region's prediction is highest, if many of its voxels are equally high.

Predictions are often saturated: hundreds of voxels of a particle hold the same highest value. The *middle* is the one
of these voxels that is nearest to their centroid; of several the one with the lowest linear index. The centroid is a
sum over the whole region, so it is known only after the regions of all blocks are joined:

1. :func:`plateaus` (once per volume) computes the centroid of each region's highest voxels, from the tables of regions.
2. :func:`block_middles` (per block) finds the nearest of these voxels in the block.
3. :func:`middle_positions` (once) takes the nearest over all blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array, Table
from volengine.core.boxes import Box, Index3
from volengine.ops.basin_graph import BasinGraph, RegionRules


def plateaus(tables: Mapping[int, Table], shape: Index3, rules: RegionRules) -> Table:
    """Compute the highest value of each region of a volume, and the centroid of the voxels that hold it.

    Parameters
    ----------
    tables, shape, rules
        As for :func:`volengine.ops.regions.resolve`.

    Returns
    -------
    Per region ``peak`` (float64) and ``centre`` (float64, (n, 3), z, y, x); and ``regions`` (int64): the number of the
    region of each local region, block after block. Those of block ``blocks[i]`` start at ``starts[i]``.
    """
    graph = BasinGraph(tables)
    region_of_basin, regions = graph.regions(rules, shape)
    return {
        "peak": regions["peak"],
        "centre": plateau_centres(regions),
        "regions": region_of_basin[graph.basin],
        "blocks": graph.blocks,
        "starts": graph.starts,
    }


def plateau_centres(regions: Table) -> NDArray[np.float64]:
    """Return the centroid (n, 3), z, y, x, of each region's voxels of highest value."""
    centres: NDArray[np.float64] = regions["peak_sums"] / np.maximum(regions["peak_voxels"], 1)[:, None]
    return centres


def block_middles(
    number: int, basin: NDArray[np.uint32], values: Array, core: Box, shape: Index3, found: Table, rules: RegionRules
) -> Table:
    """Find in a block, for each region, the voxel of its highest value that is nearest to their centroid.

    Parameters
    ----------
    number, core
        Number and core of the block.
    basin, values
        Local regions and prediction in the core.
    shape
        Shape of the volume.
    found
        The table of :func:`plateaus`.
    rules
        Only ``scale`` is used: distances are physical ones.

    Returns
    -------
    One row per region with such a voxel in the block: ``region`` (int64), ``far`` (float64, squared distance to the
    centroid), ``index`` (int64, linear index in the volume).
    """
    at = int(np.searchsorted(found["blocks"], number))
    region_of = found["regions"][int(found["starts"][at]) : int(found["starts"][at + 1])]
    peak_of = np.concatenate([[np.nan], found["peak"][region_of]])  # of local region 0, the background: nothing equals
    centre_of = np.concatenate([np.zeros((1, 3)), found["centre"][region_of]])
    rows = []
    for z, (local, slice_values) in enumerate(zip(basin, values, strict=True), core.start[0]):
        y, x = np.nonzero(slice_values == peak_of[local])
        mine = local[y, x]
        place = (np.full(y.size, z), y + core.start[1], x + core.start[2])
        far = np.zeros(y.size)
        for axis, coordinate in enumerate(place):
            far += ((coordinate - centre_of[mine, axis]) * rules.scale[axis]) ** 2
        index = np.ravel_multi_index(place, shape).astype(np.int64)
        rows.append(_nearest({"region": region_of[mine.astype(np.int64) - 1], "far": far, "index": index}))
    return _nearest(_stacked(rows))


def middle_positions(tables: Sequence[Table], shape: Index3) -> NDArray[np.float64]:
    """Return the position (n, 3), z, y, x of each region's middle, from the tables of :func:`block_middles`."""
    nearest = _nearest(_stacked(tables))
    return np.stack(np.unravel_index(nearest["index"], shape), axis=1).astype(np.float64)


def _nearest(rows: Table) -> Table:
    """Keep one row per region, by ascending region: the nearest, of equals the one with the lowest index."""
    order = np.lexsort((rows["index"], rows["far"], rows["region"]))
    ordered = {key: column[order] for key, column in rows.items()}
    region = ordered["region"]
    first = np.append(True, region[1:] != region[:-1])[: region.size]
    return {key: column[first] for key, column in ordered.items()}


def _stacked(rows: Sequence[Table]) -> Table:
    none: Table = {"region": np.zeros(0, np.int64), "far": np.zeros(0), "index": np.zeros(0, np.int64)}
    return {key: np.concatenate([none[key], *(row[key] for row in rows)]) for key in none}
