"""Spacing of the picks of a volume cell by cell, with the same picks as for the whole volume at once.

Of two picks that are too close, the one of lower weight is dropped (:mod:`volengine.ops.suppress`). In a cell most
picks are decided without looking outside: :func:`space`. Those that are not, and the kept ones that matter to others,
go up to the next cell; the cell of the whole volume decides all (:func:`numbered`).

>>> rules, whole = RegionRules(spacing_vox=3), Box((0, 0, 0), (1, 1, 20))
>>> picks = {"index": np.array([2, 4]), "weight": np.array([9, 8]), "position": np.array([[0.0, 0, 2], [0, 0, 4]])}
>>> open_, kept = space([candidates(picks, whole)], [], whole, whole, rules)
>>> open_["index"].size, kept["index"].tolist()
(0, [2])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table
from volengine.core.boxes import Box
from volengine.ops.basin_graph import RegionRules
from volengine.ops.regions import order_of
from volengine.ops.suppress import suppress_part

Int64 = NDArray[np.int64]

PICK_BYTES, KEPT_BYTES = 400, 80
"""Bytes for an undecided pick, and for one that is decided; measured with tracemalloc."""


def candidates(regions: Table, box: Box) -> Table:
    """Return the regions whose position lies in a box, as undecided picks.

    Parameters
    ----------
    regions
        Regions with ``index``, ``weight``, ``position`` (:func:`volengine.ops.cells.join`).
    box
        The box, voxels z, y, x; the voxel of a position is that which it is rounded down to.

    Returns
    -------
    These three columns, and ``known`` (bool): whether a pick is known to be kept.
    """
    at = np.floor(regions["position"])
    mine = ((at >= box.start) & (at < box.stop)).all(axis=1)
    picks = {key: regions[key][mine] for key in ("index", "weight", "position")}
    return {**picks, "known": np.zeros(np.count_nonzero(mine), bool)}


def space(
    picks: Sequence[Table], kept: Sequence[Table], box: Box, whole: Box, rules: RegionRules
) -> tuple[Table, Table]:
    """Decide about the picks of a cell, as far as those outside of it do not matter.

    Parameters
    ----------
    picks
        Tables of :func:`candidates`, or the open picks of smaller cells.
    kept
        The picks that were kept in smaller cells.
    box, whole
        Box of the cell, and that of all cells: the volume, or its part that is picked.
    rules
        ``spacing_vox``, ``scale`` and ``planar`` are used.

    Returns
    -------
    Two tables: the open picks, as the argument; and all picks of the cell that are kept: ``index``, ``weight`` (int64).
    """
    index, weight, position, known = (
        np.concatenate([t[key] for t in picks]) for key in ("index", "weight", "position", "known")
    )
    order = order_of(weight, index)
    index, weight, position, known = index[order], weight[order], position[order], known[order]
    near = _near(position, box, whole, rules)
    group = position[:, 0].astype(np.int64) if rules.planar else None
    here, undecided = suppress_part(position * rules.scale, rules.spacing_vox, near, known, group)
    up = undecided | (here & near)
    new = here & ~known
    return (
        {"index": index[up], "weight": weight[up], "position": position[up], "known": here[up]},
        {
            "index": np.concatenate([*(t["index"] for t in kept), index[new]]),
            "weight": np.concatenate([*(t["weight"] for t in kept), weight[new]]),
        },
    )


def _near(position: NDArray[np.float64], box: Box, whole: Box, rules: RegionRules) -> NDArray[np.bool_]:
    """Which picks are so near to a face of the cell that a pick behind it may be too close."""
    near = np.zeros(len(position), bool)
    reach = rules.spacing_vox * (1 + 1e-6)
    if reach <= 0:
        return near
    for axis in (1, 2) if rules.planar else (0, 1, 2):
        at, side = position[:, axis], rules.scale[axis]
        if box.start[axis] > whole.start[axis]:
            near |= (at - box.start[axis]) * side <= reach
        if box.stop[axis] < whole.stop[axis]:
            near |= (box.stop[axis] - at) * side <= reach
    return near


def numbered(kept: Table, min_picks: int) -> Table:
    """Number the picks of a volume by descending weight.

    Parameters
    ----------
    kept
        The picks of the cell of the whole volume.
    min_picks
        With fewer picks none is kept.

    Returns
    -------
    ``index`` (int64, ascending) and ``label`` (int64, 1 ... n) of each pick, and ``left`` (1,): their number before
    ``min_picks``.
    """
    left = kept["index"].size
    if left < min_picks:
        kept = {key: column[:0] for key, column in kept.items()}
    label = np.empty(kept["index"].size, np.int64)
    label[order_of(kept["weight"], kept["index"])] = np.arange(1, label.size + 1)
    ascending = np.argsort(kept["index"])
    return {"index": kept["index"][ascending], "label": label[ascending], "left": np.array([left], np.int64)}


def labels_of(index: Int64, numbers: Table) -> Int64:
    """Return the labels of regions, given the index of each one's root and the table of :func:`numbered`; or 0."""
    known = numbers["index"]
    if not known.size:
        return np.zeros(index.size, np.int64)
    row = np.minimum(np.searchsorted(known, index), known.size - 1)
    return np.where(known[row] == index, numbers["label"][row], 0)
