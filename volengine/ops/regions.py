"""Regions and picks of a whole volume, from the basins of its blocks.

:func:`volengine.ops.basins.block_basins` makes a small table per block. This module makes regions of the tables:

1. :func:`join_seams` (per block) finds where the paths that leave a block continue, and the passes across its borders.
2. :func:`resolve` (once per volume) joins the local regions to basins with exact totals, selects the seeds among their
   roots, assigns every basin to a seed by a minimum spanning forest, filters the regions and applies the spacing. It
   returns the picks, and the label of each local region of each block.
3. :func:`relabel` (per block) makes the label volume.

*Seeds* are selected from the highest root down: a root is a seed unless it is closer than ``seed_distance`` to a
stronger seed of the same connected component. Flooding from the seeds joins two basins through the best remaining pass.
The result is the minimum spanning forest of the graph of basins, rooted in the seeds. It is unique, because no two
passes are equal, and equals the forest over all voxels (Meyer 1994; Felkel et al., WSCG 2001; Cousty et al., IEEE TPAMI
31, 2009).

>>> prediction = np.zeros((1, 9, 20), np.uint8)
>>> prediction[0, 2:7, 2:7] = prediction[0, 2:7, 9:18] = 255
>>> labels, picks = pick_array(prediction, BasinRules(level=127), RegionRules(unit=255))
>>> picks["position_vox"].tolist(), picks["weight"].tolist()
([[0.0, 4.0, 13.0], [0.0, 4.0, 4.0]], [45.0, 25.0])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array, Table, is_nothing, merge_tables, nothing
from volengine.core.boxes import Box, Index3
from volengine.core.errors import FormatError, InputError
from volengine.ops.axes import axes_of
from volengine.ops.basin_graph import BasinGraph, RegionRules, region_columns
from volengine.ops.basins import block_basins
from volengine.ops.heights import BasinRules
from volengine.ops.passes import MAX_VOXELS, Passes, index_of_key, key_of
from volengine.ops.plateaus import block_middles, middle_positions, plateaus
from volengine.ops.suppress import suppress

Int64 = NDArray[np.int64]

_SHELL = ("shell_index", "shell_region", "shell_d2")


def check_size(shape: Index3) -> None:
    """Refuse volumes with more voxels than keys can number (:data:`~volengine.ops.passes.MAX_VOXELS`)."""
    size = int(np.prod(shape, dtype=object))
    if size > MAX_VOXELS:
        raise InputError(f"Picking handles volumes of up to {MAX_VOXELS} voxels; {shape} has {size}. Cut it in parts.")


def join_seams(number: int, tables: Mapping[int, Table], core: Box, shape: Index3, rules: BasinRules) -> Table:
    """Join the local regions of one block with those of the blocks around it.

    Parameters
    ----------
    number, core
        Number and core of the block.
    tables
        Tables of :func:`~volengine.ops.basins.block_basins` by block number: of this block and of all around it.
    shape, rules
        Shape of the volume, and the rules with which the tables were made.

    Returns
    -------
    The region columns of the block's table, with ``exit_block`` (int64, -1 for none) and ``exit_region`` (int64)
    instead of ``exit``. Also its passes, including those to voxels of other blocks with a higher linear index:
    ``pass_a`` (region of this block), ``pass_block``, ``pass_b`` (region of that block), ``pass_low``, ``pass_high``.
    And which of its regions touches which other block: ``touch_region``, ``touch_block`` (int64).

    Raises
    ------
    KeyError
        A neighbour's table lacks a voxel to which a path of this block leads.
    """
    own = tables[number]
    rim = _rim(number, tables, core, shape)

    exits = np.flatnonzero(own["exit"] >= 0)
    row, known = _find(rim["shell_index"], own["exit"][exits])
    if not known.all():
        raise KeyError(f"Block {number}: the tables of its neighbours do not hold the voxels its paths lead to.")
    exit_block, exit_region = np.full((2, own["exit"].size), -1, np.int64)
    exit_block[exits], exit_region[exits] = rim["block"][row], rim["shell_region"][row]

    return {
        **region_columns(own),
        "exit_block": exit_block,
        "exit_region": exit_region,
        **_seam_passes(number, own, rim, core, shape, rules),
    }


def _rim(number: int, tables: Mapping[int, Table], core: Box, shape: Index3) -> Table:
    """Return the neighbours' shell voxels that touch the core, by ascending index, with their ``block``."""
    near = core.grow((1, 1, 1))
    parts: list[Table] = [{"block": np.zeros(0, np.int64), **{k: tables[number][k][:0] for k in _SHELL}}]
    for other, table in tables.items():
        if other == number:
            continue
        touches = np.ones(table["shell_index"].size, bool)
        for at, a, b in zip(np.unravel_index(table["shell_index"], shape), near.start, near.stop, strict=True):
            touches &= (at >= a) & (at < b)
        part = {k: table[k][touches] for k in _SHELL}
        parts.append({"block": np.full(part["shell_index"].size, other, np.int64), **part})
    rim = merge_tables(parts)
    order = np.argsort(rim["shell_index"])
    return {k: v[order] for k, v in rim.items()}


def _find(ascending: Array, wanted: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the rows of ``ascending`` that hold the wanted values, and which of the values were found."""
    if not ascending.size:
        return np.zeros(wanted.size, np.intp), np.zeros(wanted.size, bool)
    row = np.minimum(np.searchsorted(ascending, wanted), ascending.size - 1)
    return row, ascending[row] == wanted


def _seam_passes(number: int, own: Table, rim: Table, core: Box, shape: Index3, rules: BasinRules) -> Table:
    """Return the columns of passes and touches of :func:`join_seams`."""
    index = own["shell_index"].astype(np.int64)
    z, rest = np.divmod(index, shape[1] * shape[2])
    y, x = np.divmod(rest, shape[2])
    key = key_of(own["shell_d2"], index)
    rim_key = key_of(rim["shell_d2"], rim["shell_index"])
    # A region of the rim is known to Passes by a number of its own, above those of this block.
    far, far_id = np.unique(np.stack([rim["block"], rim["shell_region"]], axis=1), axis=0, return_inverse=True)
    first = own["root"].size + 1
    best = Passes()
    best.add(own["pass_a"], own["pass_b"], own["pass_low"], own["pass_high"])
    touch = [np.zeros((0, 2), np.int64)]
    for dz, dy, dx in rules.offsets:
        to = (z + dz, y + dy, x + dx)
        within = np.ones(index.size, bool)
        inside = np.ones(index.size, bool)
        for t, n, a, b in zip(to, shape, core.start, core.stop, strict=True):
            within &= (t >= 0) & (t < n)
            inside &= (t >= a) & (t < b)
        rows = np.flatnonzero(within & ~inside)
        step = (dz * shape[1] + dy) * shape[2] + dx
        there, known = _find(rim["shell_index"], index[rows] + step)
        rows, there = rows[known], there[known]
        touch.append(np.stack([own["shell_region"][rows], rim["block"][there]], axis=1).astype(np.int64))
        if (dz, dy, dx) > (0, 0, 0):
            best.add(own["shell_region"][rows], far_id.reshape(-1)[there] + first, key[rows], rim_key[there])
    touches = np.unique(np.concatenate(touch), axis=0)
    own_region, other, low, high = best.arrays()
    across = np.flatnonzero(other >= first)
    block, region = np.full(other.size, number, np.int64), other.astype(np.int64)
    block[across], region[across] = far[other[across] - first].T
    return {
        "pass_a": own_region.astype(np.int64),
        "pass_block": block,
        "pass_b": region,
        "pass_low": low,
        "pass_high": high,
        "touch_region": touches[:, 0],
        "touch_block": touches[:, 1],
    }


def resolve(
    tables: Mapping[int, Table], shape: Index3, rules: RegionRules, middles: Sequence[Table] = ()
) -> tuple[Table, Table]:
    """Compute the picks of a volume, and the label of every local region, from the tables of :func:`join_seams`.

    Parameters
    ----------
    tables
        One table per block, by block number.
    shape
        Shape of the volume, z, y, x.
    rules
        How basins become picks.
    middles
        With ``position`` maximum: the tables of :func:`~volengine.ops.plateaus.block_middles` of all blocks.

    Returns
    -------
    picks
        One row per pick, by descending weight; equal weights by the linear index of the highest root. Columns:
        ``position_vox`` (float64, (n, 3), z, y, x), ``weight`` (float64, sum of predictions), ``label`` (int64,
        1 ... n), ``size_vox`` (int64, number of voxels); with ``orient`` also ``normal`` and ``axis_ratio``
        (:func:`~volengine.ops.axes.axes_of`).
    lookup
        ``labels`` (uint32): the label of each local region, or 0 if it was dropped, block after block. The labels of
        block ``blocks[i]`` start at ``starts[i]``. ``left`` (1,): number of regions that all filters but the last kept.

    Notes
    -----
    Memory: about 320 bytes per local region and 230 per pass; this includes the rows of the tables (80 and 40).
    """
    graph = BasinGraph(tables)
    region_of_basin, regions = graph.regions(rules, shape)
    position = centroids(regions) if rules.position == "centroid" else middle_positions(middles, shape)
    exact = order_of(regions["weight"], index_of_key(regions["root"]))
    kept = exact[filtered(position[exact], regions["voxels"][exact], shape, rules)]
    apart = suppress(
        position[kept] * rules.scale, rules.spacing_vox, position[kept, 0].astype(np.int64) if rules.planar else None
    )
    kept = kept[apart]
    left = kept.size
    kept = kept if left >= rules.min_picks else kept[:0]
    picks: Table = {
        "position_vox": position[kept],
        "weight": regions["weight"][kept] / rules.unit,
        "label": np.arange(1, kept.size + 1, dtype=np.int64),
        "size_vox": regions["voxels"][kept],
    }
    if rules.orient != "none":
        voxels, sums, products = (regions[name][kept] for name in ("voxels", "sums", "products"))
        picks |= axes_of(voxels, sums, products, shape, rules.scale, rules.orient, rules.orient_sign)
    label = np.zeros(regions["root"].size, np.uint32)
    label[kept] = picks["label"]
    return picks, {**graph.lookup(label[region_of_basin]), "left": np.array([left], np.int64)}


def centroids(regions: Table) -> NDArray[np.float64]:
    """Return the centroid (n, 3), voxels z, y, x, of each region."""
    centroid: NDArray[np.float64] = regions["sums"] / regions["voxels"][:, None]
    return centroid


def order_of(weight: Int64, index: Int64) -> NDArray[np.intp]:
    """Return the rows by descending weight; equal ones by ascending index, that of the region's highest root."""
    return np.lexsort((index, -weight))


def filtered(position: NDArray[np.float64], voxels: Int64, shape: Index3, rules: RegionRules) -> NDArray[np.bool_]:
    """Return which regions are large enough and not too near to the faces of the volume."""
    margin = np.asarray(rules.margin_vox)
    inside = (position >= margin) & (position < np.asarray(shape) - margin)
    kept: NDArray[np.bool_] = (voxels >= rules.min_voxels) & inside.all(axis=1)
    return kept


def block_labels(number: int, lookup: Table) -> NDArray[np.uint32]:
    """Return the labels of a block's local regions (uint32; item 0: background) from the lookup of :func:`resolve`."""
    at = int(np.searchsorted(lookup["blocks"], number))
    labels = lookup["labels"][int(lookup["starts"][at]) : int(lookup["starts"][at + 1])]
    return np.concatenate([[0], labels]).astype(np.uint32)


def relabel(basin: NDArray[np.uint32], labels: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Replace the local regions of a block by their labels, uint32; :func:`~volengine.core.block.nothing` if all are 0.

    Slices without regions stay as they are, and of the others one at a time is turned into indices of 8 bytes.

    Raises
    ------
    FormatError
        A region has no label, because the two are not of one block.
    """
    found: NDArray[np.uint32] = nothing(basin.shape, np.uint32)
    if not labels.any() or is_nothing(basin):
        return found
    found = np.zeros(basin.shape, np.uint32)
    for plane, target in zip(basin, found, strict=True):
        if highest := int(plane.max()):
            if highest >= labels.size:
                raise FormatError(
                    f"The local regions of a block go up to {highest}, its table to {labels.size - 1}: they are not "
                    "of the same run."
                )
            labels.take(plane, out=target, mode="clip")
    return found


def pick_array(prediction: Array, basins: BasinRules, regions: RegionRules) -> tuple[NDArray[np.uint32], Table]:
    """Pick a prediction that fits into memory as one block.

    Parameters
    ----------
    prediction
        Stored values z, y, x: integers (0 to 255), or floating point.
    basins, regions
        The rules of both steps.

    Returns
    -------
    The label volume (uint32, of the shape of the prediction), and the picks with the columns of :func:`resolve`.
    """
    shape = (prediction.shape[0], prediction.shape[1], prediction.shape[2])
    check_size(shape)
    whole = Box.of_shape(shape)
    basin, table = block_basins(prediction, whole, whole, shape, basins)
    seams = {0: join_seams(0, {0: table}, whole, shape, basins)}
    middles = []
    if regions.position == "maximum":
        middles.append(block_middles(0, basin, prediction, whole, shape, plateaus(seams, shape, regions), regions))
    picks, lookup = resolve(seams, shape, regions, middles)
    return relabel(basin, block_labels(0, lookup)), picks
