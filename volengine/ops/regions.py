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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array, Table, merge_tables
from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError
from volengine.core.volume import Vector3
from volengine.ops.basins import block_basins
from volengine.ops.heights import BasinRules
from volengine.ops.passes import MAX_VOXELS, Passes, index_of_key, key_of
from volengine.ops.suppress import suppress

Int64 = NDArray[np.int64]
Position = Literal["centroid", "maximum"]

_SHELL = ("shell_index", "shell_region", "shell_d2")
REGION_COLUMNS = ("root", "voxels", "weight", "sums", "peak", "peak_index")


@dataclass(frozen=True)
class RegionRules:
    """Parameters that define how basins become picks.

    Parameters
    ----------
    unit
        Number by which the tables' weights are divided: :func:`~volengine.ops.basins.weight_unit` of the stored dtype.
    split
        Divide components by the watershed; otherwise a component is one region.
    seed_distance_vox
        A local maximum of the distance that is strictly closer than this to a stronger seed of its component is no
        seed.
    min_voxels
        Regions of fewer voxels are dropped.
    margin_vox
        Regions whose position is not in ``margin <= index < size - margin`` are dropped, per axis.
    spacing_vox
        Of two regions that are strictly closer than this, the one with the lower weight is dropped.
    scale
        Voxel sides z, y, x in the unit of the two distances; 1 for cubic voxels.
    position
        Position of a pick: ``centroid`` of the region's voxels, or ``maximum``: its first voxel of highest prediction.
    planar
        Treat every z slice by itself (as in :class:`~volengine.ops.heights.BasinRules`).

    Notes
    -----
    The filters are applied in the order size, margin, spacing; each sees only the regions that the one before kept.
    """

    unit: float = 1.0
    split: bool = True
    seed_distance_vox: float = 3.0
    min_voxels: int = 0
    margin_vox: Index3 = (0, 0, 0)
    spacing_vox: float = 0.0
    scale: Vector3 = (1.0, 1.0, 1.0)
    position: Position = "centroid"
    planar: bool = False


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
        **{k: own[k] for k in REGION_COLUMNS},
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
    """Return the passes inside of the block, and those to voxels of other blocks with a higher linear index."""
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
    for dz, dy, dx in rules.offsets:
        if (dz, dy, dx) < (0, 0, 0):
            continue
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
        best.add(own["shell_region"][rows], far_id.reshape(-1)[there] + first, key[rows], rim_key[there])
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
    }


def resolve(tables: Mapping[int, Table], shape: Index3, rules: RegionRules) -> tuple[Table, Table]:
    """Compute the picks of a volume, and the label of every local region, from the tables of :func:`join_seams`.

    Parameters
    ----------
    tables
        One table per block, by block number.
    shape
        Shape of the volume, z, y, x.
    rules
        How basins become picks.

    Returns
    -------
    picks
        One row per pick, by descending weight; equal weights by the linear index of the highest root. Columns:
        ``position_vox`` (float64, (n, 3), z, y, x), ``weight`` (float64, sum of predictions), ``label`` (int64,
        1 ... n), ``size_vox`` (int64, number of voxels).
    lookup
        ``labels`` (uint32): the label of each local region, or 0 if it was dropped, block after block. The labels of
        block ``blocks[i]`` start at ``starts[i]``.

    Notes
    -----
    Memory: about 320 bytes per local region and 230 per pass; this includes the rows of the tables (80 and 40).
    """
    graph = _Graph(tables)
    region_of_basin = graph.flood(rules, shape) if rules.split else graph.components()
    regions = _totals(region_of_basin, graph.columns)
    position = _positions(regions, shape, rules.position)
    exact = _sort(regions)
    kept = exact[_filters(position[exact], regions["voxels"][exact], shape, rules)]
    apart = suppress(
        position[kept] * rules.scale, rules.spacing_vox, position[kept, 0].astype(np.int64) if rules.planar else None
    )
    kept = kept[apart]
    picks: Table = {
        "position_vox": position[kept],
        "weight": regions["weight"][kept] / rules.unit,
        "label": np.arange(1, kept.size + 1, dtype=np.int64),
        "size_vox": regions["voxels"][kept],
    }
    label = np.zeros(regions["root"].size, np.uint32)
    label[kept] = picks["label"]
    return picks, graph.lookup(label[region_of_basin])


def _positions(regions: Table, shape: Index3, position: Position) -> NDArray[np.float64]:
    if position == "maximum":
        return np.stack(np.unravel_index(regions["peak_index"], shape), axis=1).astype(np.float64)
    centroid: NDArray[np.float64] = regions["sums"] / regions["voxels"][:, None]
    return centroid


def _sort(regions: Table) -> NDArray[np.intp]:
    """Return the rows by descending weight; equal ones by the linear index of their highest root."""
    return np.lexsort((index_of_key(regions["root"]), -regions["weight"]))


def _filters(position: NDArray[np.float64], voxels: Int64, shape: Index3, rules: RegionRules) -> NDArray[np.bool_]:
    margin = np.asarray(rules.margin_vox)
    inside = (position >= margin) & (position < np.asarray(shape) - margin)
    kept: NDArray[np.bool_] = (voxels >= rules.min_voxels) & inside.all(axis=1)
    return kept


def _totals(group: NDArray[np.integer[Any]], columns: Table) -> Table:
    """Combine the region columns of groups 0 ... n - 1 (none empty): sums, highest root, first of the highest peaks."""
    if not group.size:
        return columns
    order = np.lexsort((columns["peak_index"], -columns["peak"], group))
    ordered = group[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    summed = {k: np.add.reduceat(columns[k][order], first, axis=0) for k in ("voxels", "weight", "sums")}
    top = order[first]
    root = np.maximum.reduceat(columns["root"][order], first)
    return {"root": root, **summed, "peak": columns["peak"][top], "peak_index": columns["peak_index"][top]}


class _Graph:
    """The basins of the volume, from the highest root down, and the passes between them, from the best down."""

    def __init__(self, tables: Mapping[int, Table]) -> None:
        from scipy.sparse.csgraph import connected_components

        self.blocks = np.array(sorted(tables), np.int64)
        parts = [tables[int(n)] for n in self.blocks]
        sizes = [p["root"].size for p in parts]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        local = {k: np.concatenate([p[k] for p in parts]) for k in (*REGION_COLUMNS, "exit_block", "exit_region")}
        n = local["root"].size
        leaves = np.flatnonzero(local["exit_block"] >= 0)
        ends = self._row(local["exit_block"][leaves], local["exit_region"][leaves])
        count, basin = connected_components(_csr(leaves, ends, n), directed=False)
        columns = _totals(basin, {k: local[k] for k in REGION_COLUMNS})
        order = np.argsort(columns["root"])[::-1]
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)
        self.columns: Table = {k: v[order] for k, v in columns.items()}
        self.basin = rank[basin] if n else np.zeros(0, np.int64)
        self.size = int(count)
        self.a, self.b = self._passes(parts)

    def _row(self, block: Int64, region: Int64) -> Int64:
        """Return the rows of local regions in the joined table."""
        row: Int64 = self.starts[np.searchsorted(self.blocks, block)] + region - 1
        return row

    def _passes(self, parts: list[Table]) -> tuple[Int64, Int64]:
        best = Passes()
        for number, part in zip(self.blocks, parts, strict=True):
            a = self.basin[self._row(np.full(part["pass_a"].size, number), part["pass_a"])]
            b = self.basin[self._row(part["pass_block"], part["pass_b"])]
            differ = a != b
            best.add(a[differ], b[differ], part["pass_low"][differ], part["pass_high"][differ])
        a, b, low, high = best.arrays()
        order = np.lexsort((high, low))[::-1]
        return a[order].astype(np.int64), b[order].astype(np.int64)

    def components(self) -> Int64:
        """Return the number of each basin's connected component; components are ordered by their highest roots."""
        from scipy.sparse.csgraph import connected_components

        _, found = connected_components(_csr(self.a, self.b, self.size), directed=False)
        return _by_first(found)

    def flood(self, rules: RegionRules, shape: Index3) -> Int64:
        """Return the number of each basin's seed, by the minimum spanning forest that is rooted in the seeds."""
        from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

        if not self.size:
            return np.zeros(0, np.int64)
        component = self.components()
        where = np.stack(np.unravel_index(index_of_key(self.columns["root"]), shape), axis=1) * rules.scale
        seeds = np.flatnonzero(suppress(where, rules.seed_distance_vox, component))
        # A root above all, joined to the seeds by edges better than any pass, makes one tree of the forest.
        a = np.concatenate([np.full(seeds.size, self.size), self.a])
        b = np.concatenate([seeds, self.b])
        n = self.size + 1
        tree = minimum_spanning_tree(_csr(a, b, n, np.arange(1, a.size + 1, dtype=np.float64)), overwrite=True)
        low, high = tree.nonzero()
        real = (low != self.size) & (high != self.size)
        _, found = connected_components(_csr(low[real], high[real], self.size), directed=False)
        return _by_first(found)

    def lookup(self, label: NDArray[np.uint32]) -> Table:
        """Return the labels of the local regions, given the labels of the basins."""
        return {"labels": label[self.basin], "blocks": self.blocks, "starts": self.starts}


def _csr(a: Array, b: Array, n: int, data: NDArray[np.float64] | None = None) -> Any:
    from scipy.sparse import csr_array

    values = np.ones(len(a)) if data is None else data
    return csr_array((values, (a, b)), shape=(n, n))


def _by_first(group: NDArray[np.integer[Any]]) -> Int64:
    """Number the groups in the order of their first members."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(first.size, np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    return rank[inverse]


def block_labels(number: int, lookup: Table) -> NDArray[np.uint32]:
    """Return the labels of a block's local regions (uint32; item 0: background) from the lookup of :func:`resolve`."""
    at = int(np.searchsorted(lookup["blocks"], number))
    labels = lookup["labels"][int(lookup["starts"][at]) : int(lookup["starts"][at + 1])]
    return np.concatenate([[0], labels]).astype(np.uint32)


def relabel(basin: NDArray[np.uint32], labels: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Replace the local regions of a block by their labels, uint32."""
    return labels.take(basin)


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
    picks, lookup = resolve({0: join_seams(0, {0: table}, whole, shape, basins)}, shape, regions)
    return relabel(basin, block_labels(0, lookup)), picks
