"""Kernels that find where a label lies, to whose side normals point, and the memory that they need."""

from __future__ import annotations

import numpy as np

from volengine.core.block import Block, Result, Table
from volengine.core.errors import InputError
from volengine.ops.stats_labels import whole_ids

COLUMNS = ("cell", "voxels", "sums")
"""Number of the cell (z, y, x, as many as fit in 2**21 along each axis), the label's voxels in it, sums of places."""

_AXIS = 2**21


def label_cells(block: Block, ids: list[int], side: int, where: str) -> Result:
    """Kernel: the voxels of a label in a block, gathered in cells.

    Parameters
    ----------
    ids
        The numbers that count; none: all but 0.
    side
        Of the cells, voxels.
    where
        Name of the volume, for messages.

    Returns
    -------
    Result
        A row for each cell with a voxel of the label: :data:`COLUMNS`. Cells count from the volume's first voxel, so a
        cell may be in the tables of several blocks.

    Raises
    ------
    InputError
        A value is no label.
    """
    numbers = whole_ids(block.arrays["labels"], where)
    mask = np.isin(numbers, ids) if ids else numbers != 0
    place = np.argwhere(mask) + np.array(block.box.start)
    cell, row = np.unique(_numbered(place // side), return_inverse=True)
    sums = np.stack([np.bincount(row, place[:, n], len(cell)) for n in range(3)], axis=1).astype(np.int64)
    return Result(table={"cell": cell, "voxels": np.bincount(row, minlength=len(cell)), "sums": sums})


def label_cells_bytes(voxels: int) -> int:
    """Bytes that :func:`label_cells` needs for a block of so many voxels, all of which may be of the label."""
    return 110 * voxels + 2**20


def label_places(block: Block, where: str, ids: list[int], voxel_size: list[float]) -> Result:
    """Reduce kernel: the mean place of a label's voxels in each cell.

    Parameters
    ----------
    where, ids
        Name of the volume, and the numbers that count, for messages.
    voxel_size
        Angstrom, z, y, x.

    Returns
    -------
    Result
        ``places`` (n, 3), angstrom from the first voxel, z, y, x; in the order of the cells.

    Raises
    ------
    InputError
        There is no such voxel.
    """
    tables = [table for table in block.tables["cells"].values() if len(table["cell"])]
    if not tables:
        what = f"label {', '.join(map(str, ids))}" if ids else "labels"
        raise InputError(f"--towards: {where} holds no voxel of {what}, so nothing says which side is meant.")
    every: Table = {name: np.concatenate([table[name] for table in tables]) for name in COLUMNS}
    cell, row = np.unique(every["cell"], return_inverse=True)
    voxels = np.zeros(len(cell), np.int64)
    sums = np.zeros((len(cell), 3), np.int64)
    np.add.at(voxels, row, every["voxels"])
    np.add.at(sums, row, every["sums"])
    return Result(table={"places": sums / voxels[:, None] * np.array(voxel_size)})


def label_places_bytes(cells: int, blocks: int) -> int:
    """Bytes that :func:`label_places` needs for so many cells, each of which may be cut by blocks."""
    return 600 * cells + 4000 * blocks + 2**20


def _numbered(cell: np.ndarray) -> np.ndarray:
    return np.asarray((cell[:, 0] * _AXIS + cell[:, 1]) * _AXIS + cell[:, 2], np.int64)
