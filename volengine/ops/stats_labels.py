"""Objects in label volumes, counted block by block: the components of each class of an atlas, or numbered objects.

An *atlas* holds class ids. Its objects are the connected components of each class, or the pieces into which a watershed
divides them. An *instance* volume numbers its objects: all voxels with one number are one object, however far apart
they are. Both are counted block by block into small tables of whole numbers, which are joined once. The result is the
same for every block shape.

>>> import numpy as np
>>> from volengine.core.boxes import Box
>>> labels = np.zeros((1, 4, 6), np.uint8)
>>> labels[0, 1, 1:3] = 7; labels[0, 3, 5] = 9
>>> table = count_ids(labels, Box((10, 0, 0), (11, 4, 6)))
>>> merged = merge_ids([table, count_ids(labels, Box((11, 0, 0), (12, 4, 6)))])
>>> merged["id"].tolist(), merged["voxels"].tolist(), merged["position_vox"].tolist()
([7, 9], [4, 2], [[10.5, 1.0, 1.5], [10.5, 3.0, 5.0]])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array, Table, is_blank
from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError
from volengine.core.volume import Vector3
from volengine.ops.basin_graph import RegionRules
from volengine.ops.basins import block_basins
from volengine.ops.heights import BasinRules, bounding_box
from volengine.ops.passes import key_of
from volengine.ops.regions import join_seams, resolve
from volengine.ops.runs import RANK, labelled

MOST_CLASSES = 100
"""Largest number of ids in an atlas. With more ids it is a prediction or a volume of numbered objects."""

SEP = "."
"""Between the id of a class and the name of its column."""

_CHUNK = 1 << 20  # voxels processed together: bounds the memory of their positions


@dataclass(frozen=True)
class ClassRules:
    """Parameters that define the objects of an atlas.

    Parameters
    ----------
    ids
        Class ids whose objects are counted; if empty, all ids but 0.
    split
        Ids whose components are divided by a watershed of the distance transform.
    connectivity
        Neighbours of a voxel that belong to the same component: 6, 18 or 26.
    max_distance_vox
        With ``split``: distances are cut off here, voxels.
    seed_distance_vox, scale
        With ``split``: as in :class:`~volengine.ops.regions.RegionRules`.
    """

    ids: tuple[int, ...] = ()
    split: tuple[int, ...] = ()
    connectivity: int = 26
    max_distance_vox: int = 64
    seed_distance_vox: float = 3.0
    scale: Vector3 = (1.0, 1.0, 1.0)

    def basins(self, id: int) -> BasinRules:
        """Return the rules for the basins of a class; without ``split``, distances are not needed and cut off at 1."""
        return BasinRules(0, self.connectivity, False, self.max_distance_vox if id in self.split else 1)

    def regions(self, id: int) -> RegionRules:
        """Return the rules by which the basins of a class become objects."""
        return RegionRules(split=id in self.split, seed_distance_vox=self.seed_distance_vox, scale=self.scale)


def whole_ids(labels: Array, where: str) -> Array:
    """Check that labels are whole numbers from 0 on, and convert floats to int64.

    Raises
    ------
    InputError
        A value is negative or no whole number; the message names ``where``.
    """
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels) & (labels == np.rint(labels)) & (np.abs(labels) < 2**53)
        if not whole.all():
            raise InputError(f"{where} holds {labels[~whole][0]}, which is no label: labels are whole numbers.")
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise InputError(
            f"{where} holds {labels.min()}; labels are 0 (nothing) or larger. Is it a tomogram? IMOD writes masks as "
            "signed bytes, -128 for 0 and -127 for 1: add 128 (newstack -mode 6), or write them as mode 1."
        )
    return labels


def class_basins(labels: Array, crop: Box, core: Box, shape: Index3, rules: ClassRules) -> Table:
    """Find the local regions of each class of a block.

    Parameters
    ----------
    labels
        Class ids in ``crop``, integers.
    crop, core, shape
        As for :func:`~volengine.ops.basins.block_basins`. If no class is split, the crop may be the core.
    rules
        Which classes are counted, and how.

    Returns
    -------
    The table columns of :func:`~volengine.ops.basins.block_basins`, named ``<id>.<column>``, for each class in the
    core.

    Raises
    ------
    InputError
        There are more than :data:`MOST_CLASSES` ids in the core.
    WiderHaloError
        A distance may depend on voxels outside of the crop.
    """
    inside = labels[core.slices_in(crop)]
    if is_blank(inside):
        return {}
    part = bounding_box(inside != 0).shift(core.start)
    inside = labels[part.slices_in(crop)]
    every = _ids_in(inside)
    there = np.intersect1d(every, rules.ids) if rules.ids else every
    check_number(there.size, f"in voxels {core.start} to {core.stop}")
    cut = np.intersect1d(there, rules.split)
    ids = np.setdiff1d(there, cut)
    wanted = inside if ids.size == every.size else np.where(np.isin(inside, ids), inside, 0)
    found = _components(wanted, part, core, shape, ids, rules.connectivity)
    for id in cut.tolist():
        mask = (labels == id).view(np.uint8)
        _, found[id] = block_basins(mask, crop, core, shape, rules.basins(id))
    return {f"{id}{SEP}{name}": found[id][name] for id in sorted(found) for name in found[id]}


def check_number(ids: int, where: str) -> None:
    """Refuse more ids than classes there are: these are the values of a prediction, a tomogram, or numbered objects."""
    if ids > MOST_CLASSES:
        raise InputError(
            f"There are {ids} different labels {where}: these are no class ids. If each number is one object, use "
            "--kind instances. If this is a prediction, pick it first. Otherwise choose the classes with --ids."
        )


def _ids_in(labels: Array) -> Array:
    """The numbers but 0 that occur, ascending; of a mask without a search."""
    if labels.dtype.kind in "bu" and labels.max() == 1:
        return np.ones(1, labels.dtype)
    there: Array = np.unique(labels)
    return np.asarray(there[there != 0])


def _components(
    inside: Array, part_box: Box, core: Box, shape: Index3, ids: Array, connectivity: int
) -> dict[int, Table]:
    """Return the components of each class in the columns of ``block_basins``: one region each, without passes.

    ``inside`` covers ``part_box``, a part of the core outside of which there are no labels; it holds 0 and ``ids``.

    The root of a region is the key of its last voxel with a distance of 1.
    """
    from skimage.measure import label

    if not ids.size:
        return {}
    if ids.size == 1:
        part, n = labelled(inside, connectivity)
    else:
        part, n = label(inside, background=0, return_num=True, connectivity=RANK[connectivity])
    part, class_at = part.reshape(-1), inside.reshape(-1)
    voxels, last, sums = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64), np.zeros((3, n + 1), np.int64)
    shell_index, shell_part = [], []
    for start in range(0, part.size, _CHUNK):
        at = np.flatnonzero(part[start : start + _CHUNK]) + start
        here = part[at]
        voxels += np.bincount(here, minlength=n + 1)
        last[here] = at  # of repeated ones the last value stays, and they ascend
        place = [p + a for p, a in zip(np.unravel_index(at, inside.shape), part_box.start, strict=True)]
        on = np.zeros(at.size, bool)
        for axis, p in enumerate(place):
            sums[axis] += np.bincount(here, weights=p, minlength=n + 1).astype(np.int64)
            on |= (p == core.start[axis]) & (core.start[axis] > 0)
            on |= (p == core.stop[axis] - 1) & (core.stop[axis] < shape[axis])
        shell_index.append(np.ravel_multi_index([p[on] for p in place], shape).astype(np.int64))
        shell_part.append(here[on])
    class_of = class_at[last]
    at = np.ravel_multi_index(
        [p + a for p, a in zip(np.unravel_index(last, inside.shape), part_box.start, strict=True)], shape
    )
    every = {"voxels": voxels, "sums": sums.T, "last": at.astype(np.int64)}
    index, region = np.concatenate(shell_index), np.concatenate(shell_part)
    return {int(id): _region_table(np.flatnonzero(class_of[1:] == id) + 1, every, index, region) for id in ids}


def _region_table(mine: Array, every: Table, shell_index: Array, shell_part: Array) -> Table:
    """Return the columns of ``block_basins`` for the components ``mine`` (ascending)."""
    n = len(mine)
    on = np.isin(shell_part, mine)
    none = np.zeros(0, np.int64)
    return {
        "root": key_of(np.ones(n, np.int64), every["last"][mine]),
        "exit": np.full(n, -1, np.int64),
        "voxels": every["voxels"][mine],
        "weight": every["voxels"][mine],
        "sums": every["sums"][mine],
        "peak": np.ones(n),
        "peak_voxels": every["voxels"][mine],
        "peak_sums": every["sums"][mine],
        "pass_a": none.astype(np.uint32),
        "pass_b": none.astype(np.uint32),
        "pass_low": none.astype(np.uint64),
        "pass_high": none.astype(np.uint64),
        "shell_index": shell_index[on],
        "shell_region": (np.searchsorted(mine, shell_part[on]) + 1).astype(np.uint32),
        "shell_d2": np.ones(int(on.sum()), np.uint32),
    }


def join_classes(number: int, tables: Mapping[int, Table], core: Box, shape: Index3, rules: ClassRules) -> Table:
    """Join the local regions of a block with those of the blocks around it, class by class.

    Parameters and columns are those of :func:`~volengine.ops.regions.join_seams`; columns are named ``<id>.<column>``.
    """
    found: dict[int, dict[int, Table]] = {block: by_id(table) for block, table in tables.items()}
    out: Table = {}
    for id in found[number]:
        mine = {block: known[id] for block, known in found.items() if id in known}
        table = join_seams(number, mine, core, shape, rules.basins(id))
        out |= {f"{id}{SEP}{name}": column for name, column in table.items()}
    return out


def resolve_classes(tables: Mapping[int, Table], shape: Index3, rules: ClassRules) -> Table:
    """Compute the objects of all classes from the tables of :func:`join_classes`.

    Parameters
    ----------
    tables
        One table per block, by block number.
    shape
        Shape of the volume, z, y, x.
    rules
        The rules with which the tables were made.

    Returns
    -------
    One row per object, by class, then by descending size: ``class`` (int64), ``position_vox`` (float64, (n, 3), the
    centroid), ``voxels`` (int64).

    Raises
    ------
    InputError
        There are more than :data:`MOST_CLASSES` ids in the whole volume.
    """
    split = {block: by_id(table) for block, table in tables.items()}
    rows: list[Table] = []
    every = sorted({id for known in split.values() for id in known})
    check_number(len(every), "in the whole volume")
    for id in every:
        mine = {block: known[id] for block, known in split.items() if id in known}
        picks, _ = resolve(mine, shape, rules.regions(id))
        ids = np.full(len(picks["size_vox"]), id, np.int64)
        rows.append({"class": ids, "position_vox": picks["position_vox"], "voxels": picks["size_vox"]})
    return _joined(rows)


def _joined(rows: Sequence[Table]) -> Table:
    none: Table = {
        "class": np.zeros(0, np.int64),
        "position_vox": np.zeros((0, 3)),
        "voxels": np.zeros(0, np.int64),
    }
    return {name: np.concatenate([none[name], *(r[name] for r in rows)]) for name in none}


def by_id(table: Table) -> dict[int, Table]:
    """Take apart a table whose columns are named ``<id>.<column>``."""
    found: dict[int, Table] = {}
    for name, column in table.items():
        id, _, rest = name.partition(SEP)
        found.setdefault(int(id), {})[rest] = column
    return found


def count_ids(labels: Array, box: Box) -> Table:
    """Count the voxels of each number in a block, and add up their indices.

    Parameters
    ----------
    labels
        Integers in ``box``; 0 is background.
    box
        The box of the volume that they cover.

    Returns
    -------
    One row per number: ``id``, ``voxels`` (int64), ``sums`` (int64, (n, 3): sums of the voxels' z, y, x in the volume).
    """
    at = np.flatnonzero(labels)
    ids, inverse = np.unique(labels.reshape(-1)[at], return_inverse=True)
    inverse = inverse.reshape(-1)
    n = len(ids)
    voxels = np.bincount(inverse, minlength=n).astype(np.int64)
    local = np.unravel_index(at, labels.shape)
    # Sums of local indices stay far below 2**53, so those that bincount makes of floats are exact.
    sums = [np.bincount(inverse, weights=p, minlength=n).astype(np.int64) for p in local]
    moved = np.stack(sums, axis=-1).reshape(n, 3) + voxels[:, None] * np.asarray(box.start, np.int64)
    return {"id": ids.astype(np.int64), "voxels": voxels, "sums": moved}


def merge_ids(tables: Sequence[Table]) -> Table:
    """Compute the objects of an instance volume from the tables of :func:`count_ids` of all blocks.

    Returns
    -------
    One row per number, ascending: ``id``, ``voxels`` (int64), ``position_vox`` (float64, (n, 3), the centroid).
    """
    every: dict[str, NDArray[np.int64]] = {
        name: np.concatenate([np.zeros((0, 3) if name == "sums" else 0, np.int64), *(t[name] for t in tables)])
        for name in ("id", "voxels", "sums")
    }
    ids, inverse = np.unique(every["id"], return_inverse=True)
    voxels, sums = np.zeros(len(ids), np.int64), np.zeros((len(ids), 3), np.int64)
    np.add.at(voxels, inverse.reshape(-1), every["voxels"])
    np.add.at(sums, inverse.reshape(-1), every["sums"])
    return {"id": ids, "voxels": voxels, "position_vox": sums / np.maximum(voxels, 1)[:, None]}
