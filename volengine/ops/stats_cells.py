"""Objects of label volumes cell by cell: what the whole volume at once gives (:mod:`volengine.ops.stats_labels`).

The objects of an atlas are finished in the smallest cell that holds all of them, class by class, as the regions of
``pick`` are (:mod:`volengine.ops.cells`); :func:`ordered` brings those of all cells into their order. Numbered objects
have no place of their own, because voxels with one number may be anywhere; :func:`add_ids` adds up their sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from volengine.core.block import Table
from volengine.core.boxes import Index3
from volengine.ops.cells import Inside, join, leaf, size_of
from volengine.ops.stats_labels import SEP, ClassRules, by_id, check_number

NODE = "node."
"""Beginning of the names of columns of what is open."""

IDS = "ids"
"""Column with the ids of all classes in a cell."""

OBJECT = ("class", "index", "weight", "voxels", "position")

Parts = dict[int, dict[int, Table]]
"""Tables of nodes by class id and by the number of the part."""


def leaves_of(tables: Mapping[int, Table]) -> Parts:
    """Make the nodes of each class from the tables of :func:`~volengine.ops.stats_labels.join_classes`, by block."""
    found: Parts = {}
    for number, table in tables.items():
        for id, seams in by_id(table).items():
            found.setdefault(id, {})[number] = leaf(number, seams)
    return found


def parts_of(tables: Mapping[int, Table]) -> Parts:
    """Take the open nodes of each class from the tables of :func:`join_cell_classes`, by cell."""
    found: Parts = {}
    for number, table in tables.items():
        nodes = {key.removeprefix(NODE): column for key, column in table.items() if key.startswith(NODE)}
        for id, mine in by_id(nodes).items():
            found.setdefault(id, {})[number] = mine
    return found


def sizes_of(parts: Parts) -> tuple[int, int]:
    """Return the number of nodes and of passes of all classes."""
    sizes = [size_of(mine) for mine in parts.values()]
    return sum(nodes for nodes, _ in sizes), sum(passes for _, passes in sizes)


def join_cell_classes(parts: Parts, inside: Inside, shape: Index3, rules: ClassRules) -> Table:
    """Join the parts of a cell, and finish the objects that lie in it as a whole.

    Parameters
    ----------
    parts, inside, shape
        As for :func:`~volengine.ops.cells.join`, the parts by class.
    rules
        The rules with which the tables were made.

    Returns
    -------
    One row per finished object: ``class``, ``index`` (int64, of its highest root), ``weight``, ``voxels`` (int64),
    ``position`` (float64, (n, 3), the centroid). What is open, named ``node.<id>.<column>`` of the classes that have
    any.
    """
    rows: list[Table] = []
    nodes: Table = {}
    for id in sorted(parts):
        regions, left, _ = join(parts[id], inside, shape, rules.regions(id))
        ids = np.full(regions["index"].size, id, np.int64)
        rows.append({"class": ids, **{key: regions[key] for key in OBJECT[1:]}})
        if left["root"].size:
            nodes |= {f"{NODE}{id}{SEP}{name}": column for name, column in left.items()}
    return {**_joined(rows), **nodes}


def _joined(rows: Sequence[Table]) -> Table:
    none: Table = {name: np.zeros((0, 3) if name == "position" else 0, np.int64) for name in OBJECT}
    none["position"] = none["position"].astype(np.float64)
    return {name: np.concatenate([none[name], *(r[name] for r in rows)]) for name in OBJECT}


def ids_in(tables: Sequence[Table], parts: Parts, *, whole: bool) -> Table:
    """Return the column of the ids in a cell: those of its parts' tables, or of the classes that its blocks have.

    Raises
    ------
    InputError
        The cell is the ``whole`` volume, and there are more ids than an atlas has.
    """
    known = [t[IDS] for t in tables if IDS in t]
    ids = np.unique(np.concatenate([np.array(sorted(parts), np.int64), *known]))
    if whole:
        check_number(ids.size, "in the whole volume")
    return {IDS: ids}


def ordered(cells: Sequence[Table]) -> Table:
    """Bring the objects of the cells of all levels into the order of a volume.

    Returns
    -------
    The table of :func:`~volengine.ops.stats_labels.resolve_classes`: by class, then by descending size; equal ones by
    the linear index of the highest root.
    """
    every = _joined(cells)
    order = np.lexsort((every["index"], -every["weight"], every["class"]))
    return {
        "class": every["class"][order],
        "position_vox": every["position"][order],
        "voxels": every["voxels"][order],
    }


def add_ids(tables: Sequence[Table]) -> Table:
    """Add up tables of :func:`~volengine.ops.stats_labels.count_ids`, or of this function: one row per number."""
    every = {
        name: np.concatenate([np.zeros((0, 3) if name == "sums" else 0, np.int64), *(t[name] for t in tables)])
        for name in ("id", "voxels", "sums")
    }
    order = np.argsort(every["id"], kind="stable")
    ids = every["id"][order]
    first = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if ids.size else np.zeros(0, np.int64)
    added = {name: every[name][order] for name in ("voxels", "sums")}
    if ids.size:
        added = {name: np.add.reduceat(column, first, axis=0) for name, column in added.items()}
    return {"id": ids[first], **added}
