"""Regions of a volume cell by cell, as a tree: what is whole inside of a cell is finished there.

A *cell* is a box of blocks, or of smaller cells. :func:`volengine.ops.regions.resolve` needs the tables of all blocks;
this module needs those of one cell at a time:

1. :func:`leaf` makes a table of *nodes* from the table of a block; a node is a local region.
2. :func:`join` takes the tables of the parts of a cell. It joins nodes to basins where paths lead from part to part. A
   component is *complete* if no voxel of it touches a voxel outside of the cell. Its regions follow from its own basins
   and passes; they are measured, filtered, and leave the table. The nodes of the other components go up, with the names
   of those local regions that others outside may refer to.
3. :func:`labels_of_block` follows the local regions of a block through the tables of the cells that hold it.

The cell of the whole volume leaves nothing open. The regions are those of ``resolve``, for every choice of blocks and
cells: seeds and forest of a component depend on its own basins only, and totals are sums of whole numbers.

References to nodes of other parts are names (block, local region), which stay valid until both are in one cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table
from volengine.core.boxes import Index3
from volengine.ops.basin_graph import BasinGraph, RegionRules, connected, region_columns, totals
from volengine.ops.passes import Passes, index_of_key
from volengine.ops.plateaus import plateau_centres
from volengine.ops.regions import centroids, filtered

Int64 = NDArray[np.int64]
Inside = Callable[[Int64], NDArray[np.bool_]]

DROPPED = -1
"""Where a node goes whose region was dropped. Region ``r`` of the cell is ``-2 - r``; its node ``n`` is ``n``."""

NODE_BYTES, PASS_BYTES = 400, 250
"""Bytes that :func:`join` needs for a node and for a pass, with their rows in the tables; measured with tracemalloc."""

_PASSES = ("pass_a", "pass_block", "pass_b", "pass_low", "pass_high")
_EXITS = ("exit_block", "exit_region")
_TOUCHES = ("touch_node", "touch_to", "touch_block", "touch_region")


def leaf(number: int, seams: Table) -> Table:
    """Make the table of nodes of a block from that of :func:`~volengine.ops.regions.join_seams`.

    Parameters
    ----------
    number
        Number of the block.
    seams
        Its table.

    Returns
    -------
    One row per node: the region columns, ``exit_block`` and ``exit_region`` (where its paths go on; -1: nowhere). One
    row per pass: ``pass_a`` (node), ``pass_block`` and ``pass_b`` (block -1: a node of this table; else the name of a
    local region), ``pass_low``, ``pass_high``. One row for each local region and other block that it touches:
    ``touch_node``, ``touch_to`` (that block), and its name ``touch_block``, ``touch_region``. All int64 but the keys,
    which are uint64.
    """
    own = seams["pass_block"] == number
    return {
        **region_columns(seams),
        "exit_block": seams["exit_block"],
        "exit_region": seams["exit_region"],
        "pass_a": seams["pass_a"] - 1,
        "pass_block": np.where(own, -1, seams["pass_block"]),
        "pass_b": seams["pass_b"] - own,
        "pass_low": seams["pass_low"],
        "pass_high": seams["pass_high"],
        "touch_node": seams["touch_region"] - 1,
        "touch_to": seams["touch_block"],
        "touch_block": np.full(seams["touch_region"].size, number, np.int64),
        "touch_region": seams["touch_region"],
    }


def size_of(parts: Mapping[int, Table]) -> tuple[int, int]:
    """Return the number of nodes and of passes in some tables of nodes."""
    return sum(p["root"].size for p in parts.values()), sum(p["pass_a"].size for p in parts.values())


def join(parts: Mapping[int, Table], inside: Inside, shape: Index3, rules: RegionRules) -> tuple[Table, Table, Table]:
    """Join the parts of a cell, and finish the components that lie in it as a whole.

    Parameters
    ----------
    parts
        Tables of :func:`leaf`, or the tables ``nodes`` of smaller cells, by number.
    inside
        Which of the blocks with these numbers lie in the cell.
    shape
        Shape of the volume.
    rules
        How basins become regions, and which regions are dropped: by volume and margin, not yet by spacing.

    Returns
    -------
    regions
        The regions that were finished here: ``index`` (int64, linear index of the highest root), ``weight``, ``voxels``
        (int64), ``position`` (float64, (n, 3), z, y, x); with ``orient`` also ``sums`` and ``products``. If positions
        are those of the highest value, there are ``peak`` (float64) and ``centre`` (float64, (n, 3)) instead, of which
        :mod:`volengine.ops.cell_middles` makes them; then the margin is left to it, too.
    nodes
        What is open, as the table of :func:`leaf`.
    lookup
        ``to`` (int64): where each node of the parts went, part after part; a node here, :data:`DROPPED`, or a region
        here. Those of part ``parts[i]`` begin at ``starts[i]``.
    """
    numbers = sorted(parts)
    tables = [parts[n] for n in numbers]
    starts = np.concatenate([[0], np.cumsum([t["root"].size for t in tables])]).astype(np.int64)
    names = _Names(tables, starts)
    rows = {key: np.concatenate([t[key] for t in tables]) for key in (*region_columns(tables[0]), *_EXITS)}
    group, basins = _joined(rows, names, inside)
    passes = _passes(tables, starts, group, names, inside)
    touches = _touches(tables, starts, group, inside)
    within = passes["pass_block"] < 0
    component = connected(passes["pass_a"][within], passes["pass_b"][within], basins["root"].size)
    is_open = np.zeros(basins["root"].size + 1, bool)
    is_open[component[touches["touch_node"]]] = True
    is_open = is_open[component]
    goes, regions = _finished(~is_open, basins, passes, shape, rules)
    goes[is_open] = np.arange(np.count_nonzero(is_open))
    nodes = {key: column[is_open] for key, column in basins.items()}
    kept = is_open[passes["pass_a"]]
    nodes |= {key: passes[key][kept] for key in _PASSES}
    nodes["pass_a"] = goes[nodes["pass_a"]]
    here = nodes["pass_block"] < 0
    nodes["pass_b"][here] = goes[nodes["pass_b"][here]]
    nodes |= {**touches, "touch_node": goes[touches["touch_node"]]}
    return regions, nodes, {"to": goes[group], "parts": np.array(numbers, np.int64), "starts": starts}


class _Names:
    """The nodes of local regions by their names (block, local region), as far as other parts may refer to them."""

    def __init__(self, tables: Sequence[Table], starts: Int64) -> None:
        block, region = (np.concatenate([t[key] for t in tables]) for key in ("touch_block", "touch_region"))
        node = np.concatenate([t["touch_node"] + start for t, start in zip(tables, starts, strict=False)])
        self.names, first = np.unique(self._key(block, region), return_index=True)
        self.nodes: Int64 = node[first]

    @staticmethod
    def _key(block: Int64, region: Int64) -> Int64:
        key: Int64 = (block << 32) | region
        return key

    def __call__(self, block: Int64, region: Int64) -> Int64:
        """Return the rows of these nodes.

        Raises
        ------
        KeyError
            No part has such a local region that touches another block.
        """
        wanted = self._key(block, region)
        if not wanted.size:
            return wanted
        row = np.minimum(np.searchsorted(self.names, wanted), max(self.names.size - 1, 0))
        if not self.names.size or (self.names[row] != wanted).any():
            raise KeyError("The tables of the parts do not hold the local regions to which others refer.")
        return self.nodes[row]


def _joined(rows: Table, names: _Names, inside: Inside) -> tuple[Int64, Table]:
    """Join the nodes whose paths lead to others in the cell; return the basin of each node, and the basins."""
    n = rows["root"].size
    leaves = np.flatnonzero((rows["exit_block"] >= 0) & inside(rows["exit_block"]))
    ends = names(rows["exit_block"][leaves], rows["exit_region"][leaves])
    group = connected(leaves, ends, n)
    basins = totals(group, region_columns(rows))
    # The one node of a basin whose paths do not lead to another one here has the end of all of them.
    last = np.ones(n, bool)
    last[leaves] = False
    for key in _EXITS:
        basins[key] = np.full(basins["root"].size, -1, np.int64)
        basins[key][group[last]] = rows[key][last]
    return group, basins


def _passes(tables: Sequence[Table], starts: Int64, group: Int64, names: _Names, inside: Inside) -> Table:
    """The best pass between every two basins that touch, and between every basin and local region outside."""
    a, block, b, low, high = (np.concatenate([t[key] for t in tables]) for key in _PASSES)
    counts = [t["pass_a"].size for t in tables]
    first = np.repeat(starts[:-1], counts)
    a = group[a + first] if a.size else a
    own = block < 0
    near = ~own & inside(block)
    b = b.copy()
    b[own] = group[b[own] + first[own]] if own.any() else b[own]
    b[near] = group[names(block[near], b[near])] if near.any() else b[near]
    across = ~own & ~near
    differ = across | (a != b)
    best = Passes()
    known = differ & ~across
    best.add(a[known], b[known], low[known], high[known])
    inner = best.arrays()
    count = int(group.max(initial=-1)) + 1  # a local region outside has a number above those of the basins
    far, number = np.unique(np.stack([block[across], b[across]], axis=1), axis=0, return_inverse=True)
    best = Passes()
    best.add(a[across], number.reshape(-1) + count, low[across], high[across])
    outer = best.arrays()
    to = far[outer[1].astype(np.int64) - count]
    return {
        "pass_a": np.concatenate([inner[0], outer[0]]).astype(np.int64),
        "pass_block": np.concatenate([np.full(inner[0].size, -1, np.int64), to[:, 0]]),
        "pass_b": np.concatenate([inner[1].astype(np.int64), to[:, 1]]),
        "pass_low": np.concatenate([inner[2], outer[2]]),
        "pass_high": np.concatenate([inner[3], outer[3]]),
    }


def _touches(tables: Sequence[Table], starts: Int64, group: Int64, inside: Inside) -> Table:
    """The rows of local regions that touch a block outside of the cell, with their basins."""
    node, to, block, region = (np.concatenate([t[key] for t in tables]) for key in _TOUCHES)
    out = ~inside(to)
    first = np.repeat(starts[:-1], [t["touch_node"].size for t in tables])
    rows = (node + first)[out]
    found = group[rows] if rows.size else rows
    return {"touch_node": found, "touch_to": to[out], "touch_block": block[out], "touch_region": region[out]}


def _finished(
    whole: NDArray[np.bool_], basins: Table, passes: Table, shape: Index3, rules: RegionRules
) -> tuple[Int64, Table]:
    """Make regions of the basins of whole components; return where each basin goes, and the regions that are kept."""
    rows = np.flatnonzero(whole)
    number = np.zeros(whole.size, np.int64)
    number[rows] = np.arange(rows.size)
    mine = (passes["pass_block"] < 0) & whole[passes["pass_a"]]
    best = Passes()
    a, b = (number[passes[key][mine]] for key in ("pass_a", "pass_b"))
    best.add(a, b, passes["pass_low"][mine], passes["pass_high"][mine])
    graph = BasinGraph.of_basins(region_columns({key: column[rows] for key, column in basins.items()}), best)
    region_of_basin, regions = graph.regions(rules, shape)
    if rules.position == "centroid":
        columns = {"position": centroids(regions)}
        kept = np.flatnonzero(filtered(columns["position"], regions["voxels"], shape, rules))
    else:
        columns = {"peak": regions["peak"], "centre": plateau_centres(regions)}
        kept = np.flatnonzero(regions["voxels"] >= rules.min_voxels)
    to = np.full(regions["voxels"].size, DROPPED, np.int64)
    to[kept] = -2 - np.arange(kept.size)
    goes = np.zeros(whole.size, np.int64)
    goes[rows] = to[region_of_basin[graph.basin]]
    extra = ("sums", "products") if rules.orient != "none" else ()
    columns |= {key: regions[key] for key in ("weight", "voxels", *extra)}
    return goes, {"index": index_of_key(regions["root"][kept]), **{key: c[kept] for key, c in columns.items()}}


def labelled(lookup: Table, labels: Int64) -> Table:
    """Put labels into a lookup of :func:`join`: ``to`` is ``-1 - label`` where it was a region, and -1 for label 0.

    Parameters
    ----------
    lookup
        The table.
    labels
        (n,) label of each region of the cell, 0 for none.
    """
    to = lookup["to"].copy()
    done = to < 0
    to[done] = -1 - np.concatenate([[0], labels])[-1 - to[done]]
    return {**lookup, "to": to}


def labels_of_block(number: int, lookups: Sequence[tuple[int, Table]]) -> NDArray[np.uint32]:
    """Return the labels of a block's local regions, uint32; item 0 is the background.

    Parameters
    ----------
    number
        Number of the block.
    lookups
        For each cell that holds the block, from the smallest to the largest: its number, and its lookup of
        :func:`labelled`.
    """
    _, at = followed(number, lookups)
    return np.concatenate([[0], -1 - at]).astype(np.uint32)


def followed(number: int, lookups: Sequence[tuple[int, Table]]) -> tuple[Int64, Int64]:
    """Follow the local regions of a block up the tree; arguments as for :func:`labels_of_block`, labelled or not.

    Returns
    -------
    The place in ``lookups`` of the cell where each of them ends, and where it goes there (``to``, below 0).
    """
    at, level = np.zeros((2, 0), np.int64)
    part = number
    for place, (cell, lookup) in enumerate(lookups):
        row = int(np.searchsorted(lookup["parts"], part))
        to = lookup["to"][int(lookup["starts"][row]) : int(lookup["starts"][row + 1])]
        if place == 0:
            at, level = to.copy(), np.zeros(to.size, np.int64)
        else:
            going = at >= 0
            at[going] = to[at[going]]
            level[going] = place
        part = cell
    return level, at
