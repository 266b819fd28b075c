"""Components of a mask, by its runs: the stretches of voxels along x.

Two runs in neighbouring rows belong together if they touch, and a union of runs takes far less than one of voxels,
where a mask has long runs, or few. Of others the voxels are looked at one by one, by SciPy.

>>> mask = np.array([[[1, 1, 0, 0, 1], [0, 0, 1, 0, 0]]], np.uint8)
>>> labelled(mask)[0].tolist(), labelled(mask, 6)[1]
([[[1, 1, 0, 0, 2], [0, 0, 1, 0, 0]]], 3)
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANK = {6: 1, 18: 2, 26: 3}
"""By the number of neighbours: in how many axes a neighbour may differ."""
VOXELS_PER_RUN = 16
"""A mask with more runs than one for so many voxels is given to SciPy; so the memory for runs is bounded, too."""


def labelled(mask: NDArray[Any], neighbours: int = 26) -> tuple[NDArray[np.int32], int]:
    """Number the components of a mask.

    Parameters
    ----------
    mask
        (z, y, x); what is not 0 belongs to a component.
    neighbours
        6, 18 or 26.

    Returns
    -------
    labels, count
        int32, 0 outside of components, which have the numbers from 1 on in the order of their first voxels; and how
        many there are.
    """
    from scipy.ndimage import generate_binary_structure, label

    inside = np.ascontiguousarray(mask != 0)
    _, ny, nx = mask.shape
    flat = inside.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = flat[[0, -1]] if flat.size else np.zeros(2, bool)
    changes = np.concatenate([[0][: int(ends[0])], changes, [flat.size][: int(ends[1])]]).astype(np.int64)
    if len(changes) // 2 * VOXELS_PER_RUN > flat.size:
        found = np.empty(mask.shape, np.int32)
        return found, int(label(inside, generate_binary_structure(3, RANK[neighbours]), output=found))
    rows = np.arange(nx, flat.size, nx)
    cut = np.repeat(rows[flat[rows] & flat[rows - 1]], 2)  # no run goes on in the next row
    changes = np.sort(np.concatenate([changes, cut]), kind="stable")
    start, stop = changes[::2], changes[1::2]
    padded = start + start // nx, stop + (stop - 1) // nx  # with a voxel of nothing after each row
    of_run, count = _joined(*padded, (ny, nx + 1), RANK[neighbours])
    values = np.zeros(2 * len(start) + 1, np.int32)
    values[1::2] = of_run
    lengths = np.diff(changes, prepend=0, append=flat.size)
    return np.repeat(values, lengths).reshape(mask.shape), count


def _joined(
    start: NDArray[np.int64], stop: NDArray[np.int64], sides: tuple[int, int], rank: int
) -> tuple[NDArray[np.int64], int]:
    """The number of the component of each run, from 1, and how many there are; ``sides`` of a plane with padding."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(start):
        return np.zeros(0, np.int64), 0
    ny, row = sides
    y = start // row % ny
    ends = []
    for dz, dy in itertools.product((0, 1), (-1, 0, 1)):
        apart = dz + abs(dy)
        if (dz, dy) <= (0, 0) or apart > rank:
            continue
        mine = np.flatnonzero((y + dy >= 0) & (y + dy < ny))
        away, wider = (dz * ny + dy) * row, int(apart < rank)
        first = np.searchsorted(stop, start[mine] + away - wider, side="right")
        many = np.searchsorted(start, stop[mine] + away + wider, side="left") - first
        many = np.maximum(many, 0)
        other = np.repeat(first - np.cumsum(many) + many, many) + np.arange(int(many.sum()))
        ends.append((np.repeat(mine, many), other))
    a, b = (np.concatenate(one) for one in zip(*ends, strict=True))
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(start),) * 2)
    count, label = connected_components(graph, directed=False)
    first_run = np.unique(label, return_index=True)[1]
    number = np.empty(count, np.int64)
    number[np.argsort(first_run)] = np.arange(1, count + 1)
    return number[label], int(count)
