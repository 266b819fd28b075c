"""The basins of a volume as a graph: joined over blocks, flooded from seeds, combined to regions.

:mod:`volengine.ops.regions` describes the method. The graph is made of the tables of all blocks, and is the same for
every choice of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array, Table
from volengine.core.boxes import Index3
from volengine.core.volume import Vector3
from volengine.ops.axes import Orient, OrientSign
from volengine.ops.passes import Passes, index_of_key
from volengine.ops.suppress import suppress

Int64 = NDArray[np.int64]
Position = Literal["centroid", "maximum"]

REGION_COLUMNS = ("root", "voxels", "weight", "sums", "peak", "peak_voxels", "peak_sums")
"""Columns of :func:`~volengine.ops.basins.block_basins` with one row per region; ``products`` may be there, too."""

SUMMED = ("voxels", "weight", "sums", "products")
"""Those of them that are sums over voxels."""


def region_columns(table: Table) -> Table:
    """Return the columns of a table that have one row per region."""
    return {k: table[k] for k in (*REGION_COLUMNS, "products") if k in table}


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
        Position of a pick: ``centroid`` of the region's voxels, or ``maximum``: of its voxels of highest prediction
        the one nearest to their centroid (:mod:`volengine.ops.plateaus`).
    planar
        Treat every z slice by itself (as in :class:`~volengine.ops.heights.BasinRules`).
    orient
        The axis of a region that gives the direction of its pick (:mod:`volengine.ops.axes`), or ``none``.
    orient_sign
        To which side it points.
    min_picks
        If fewer regions than this are left, all are dropped.

    Notes
    -----
    The filters are applied in the order size, margin, spacing, least number; each sees only the regions that the one
    before kept.
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
    orient: Orient = "none"
    orient_sign: OrientSign = "z"
    min_picks: int = 0


def totals(group: NDArray[np.integer[Any]], columns: Table) -> Table:
    """Combine the region columns of groups 0 ... n - 1 (none empty): sums, highest root, plateau of the highest value.

    The voxels of highest value of a group are those of its members that reach it.
    """
    if not group.size:
        return columns
    order = np.lexsort((-columns["peak"], group))
    ordered = group[order]
    starts = np.append(True, ordered[1:] != ordered[:-1])
    first = np.flatnonzero(starts)
    peak = columns["peak"][order]
    at_top = peak == peak[first][np.cumsum(starts) - 1]
    summed = {k: np.add.reduceat(columns[k][order], first, axis=0) for k in SUMMED if k in columns}
    for key in ("peak_voxels", "peak_sums"):
        column = columns[key][order]
        column[~at_top] = 0
        summed[key] = np.add.reduceat(column, first, axis=0)
    root = np.maximum.reduceat(columns["root"][order], first)
    return {"root": root, **summed, "peak": peak[first]}


class BasinGraph:
    """The basins of the volume, from the highest root down, and the passes between them, from the best down."""

    a: Int64
    b: Int64

    def __init__(self, tables: Mapping[int, Table]) -> None:
        self.blocks = np.array(sorted(tables), np.int64)
        parts = [tables[int(n)] for n in self.blocks]
        sizes = [p["root"].size for p in parts]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = [region_columns(p) for p in parts]
        names = rows[0].keys() if rows else REGION_COLUMNS
        local = {k: np.concatenate([p[k] for p in parts]) for k in (*names, "exit_block", "exit_region")}
        n = local["root"].size
        leaves = np.flatnonzero(local["exit_block"] >= 0)
        ends = self._row(local["exit_block"][leaves], local["exit_region"][leaves])
        basin = connected(leaves, ends, n)
        self._order(basin, totals(basin, region_columns(local)))
        self.a, self.b = self._passes(parts)

    @classmethod
    def of_basins(cls, columns: Table, best: Passes) -> BasinGraph:
        """Make the graph of whole components: their basins are joined already, in any order, with their best passes.

        ``lookup`` is not for such a graph, which knows no blocks; ``basin`` has the rank of each row of ``columns``.
        """
        graph = cls.__new__(cls)
        graph._order(np.arange(columns["root"].size), columns)
        first, second, low, high = best.arrays()
        order = np.lexsort((high, low))[::-1]
        graph.a, graph.b = graph.basin[first[order]], graph.basin[second[order]]
        return graph

    def _order(self, basin: NDArray[np.integer[Any]], columns: Table) -> None:
        """Put basins into the order of their roots; ``basin`` is the basin of each local region."""
        order = np.argsort(columns["root"])[::-1]
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        self.columns: Table = {k: v[order] for k, v in columns.items()}
        self.basin: Int64 = rank[basin] if basin.size else np.zeros(0, np.int64)
        self.size = int(order.size)

    def _row(self, block: Int64, region: Int64) -> Int64:
        """Return the rows of local regions in the joined table."""
        row: Int64 = self.starts[np.searchsorted(self.blocks, block)] + region - 1
        return row

    def _passes(self, parts: list[Table]) -> tuple[Int64, Int64]:
        if len(parts) == 1 and self.size == parts[0]["root"].size:  # its passes are those of the volume
            return self._passes_of_one(parts[0])
        best = Passes()
        for number, part in zip(self.blocks, parts, strict=True):
            a = self.basin[self._row(np.full(part["pass_a"].size, number), part["pass_a"])]
            b = self.basin[self._row(part["pass_block"], part["pass_b"])]
            differ = a != b
            best.add(a[differ], b[differ], part["pass_low"][differ], part["pass_high"][differ])
        first, second, low, high = best.arrays()
        order = np.lexsort((high, low))[::-1]
        return first[order].astype(np.int64), second[order].astype(np.int64)

    def _passes_of_one(self, part: Table) -> tuple[Int64, Int64]:
        """The same for a single block, which has one pass for each pair of regions."""
        a, b = (self.basin[part[name].astype(np.int64) - 1] for name in ("pass_a", "pass_b"))
        order = np.lexsort((part["pass_high"], part["pass_low"]))[::-1]
        return np.minimum(a, b)[order], np.maximum(a, b)[order]

    def components(self) -> Int64:
        """Return the number of each basin's connected component; components are ordered by their highest roots."""
        return _by_first(connected(self.a, self.b, self.size))

    def flood(self, rules: RegionRules, shape: Index3) -> Int64:
        """Return the number of each basin's seed, by the minimum spanning forest that is rooted in the seeds."""
        from scipy.sparse.csgraph import minimum_spanning_tree

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
        return _by_first(connected(low[real], high[real], self.size))

    def regions(self, rules: RegionRules, shape: Index3) -> tuple[Int64, Table]:
        """Return the number of each basin's region, and the region columns of all regions."""
        region_of_basin = self.flood(rules, shape) if rules.split else self.components()
        return region_of_basin, totals(region_of_basin, self.columns)

    def lookup(self, label: NDArray[np.uint32]) -> Table:
        """Return the labels of the local regions, given the labels of the basins."""
        return {"labels": label[self.basin], "blocks": self.blocks, "starts": self.starts}


def connected(a: Array, b: Array, n: int) -> Int64:
    """Return the number of the connected component of each of ``n`` nodes with edges between ``a`` and ``b``."""
    from scipy.sparse.csgraph import connected_components

    if not n:
        return np.zeros(0, np.int64)
    _, found = connected_components(_csr(a, b, n), directed=False)
    number: Int64 = found.astype(np.int64)
    return number


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
