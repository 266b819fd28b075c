"""The interface of a kernel: it takes a :class:`Block` and returns a :class:`Result`.

A *kernel* is a function ``kernel(block, **params) -> Result``. A plan names it by a text,
``"package.module:function"``, and its parameters are JSON values. A kernel works on arrays, boxes and small tables; it
opens no files and does not know where it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from volengine.core.boxes import Box, Index3

Array = NDArray[Any]
Table = dict[str, Array]
"""A small table: columns by name, of any shape and any dtype but ``object``; stored as ``.npz`` without pickle."""


@dataclass(frozen=True)
class Block:
    """The inputs of one unit.

    Parameters
    ----------
    number, index
        Number (C order) and grid index of the block in its tiling.
    box
        The core: the voxels that the unit writes, in voxels of the tiled volume.
    shape
        Shape of the whole tiled volume, z, y, x.
    arrays
        The input arrays by input name, with their halos.
    boxes
        The box that each input array covers. With the edge rule ``clip`` it lies inside of the volume. With
        ``reflect``, ``edge`` and ``zero`` it may reach outside, and that rule fills the array there.
    tables
        For each input name, tables by block number: the table of this block (scope ``own``), of this block and its
        neighbours (``neighbours``), or of all blocks (``all``).
    """

    number: int
    index: Index3
    box: Box
    shape: Index3
    arrays: Mapping[str, Array]
    boxes: Mapping[str, Box]
    tables: Mapping[str, Mapping[int, Table]] = field(default_factory=dict)

    def core_of(self, name: str) -> Array:
        """Return the view of an input array that covers the core (for inputs on the grid of the tiling)."""
        return self.arrays[name][self.box.slices_in(self.boxes[name])]


@dataclass(frozen=True)
class Result:
    """What a kernel returns.

    Parameters
    ----------
    arrays
        One array per output of the stage, by output name, with the shape of the box that the unit writes.
    table
        The block's table; ``None`` if the stage emits none.
    counts
        Whole numbers by name, for example ``{"patches": 12}``. The run report adds them up over the blocks.
    files
        Other files that the kernel has written, which must lie in the scratch folder of the plan.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    table: Table | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    files: Sequence[Path] = ()


def nothing(shape: Sequence[int], dtype: DTypeLike) -> Array:
    """Return zeros that take no memory, whatever their shape: for the outputs of a block without any foreground.

    Every voxel is the same one in memory, so the array is read-only. :func:`is_nothing` recognises it, and where it is
    written nothing is encoded.

    >>> nothing((512, 512, 512), "uint32").strides
    (0, 0, 0)
    """
    return np.broadcast_to(np.zeros((), dtype), tuple(shape))


def is_nothing(array: Array) -> bool:
    """Return whether an array is one of :func:`nothing`: one zero in memory (and not -0.0), however many voxels."""
    return array.size > 0 and not any(array.strides) and not any(array[(0,) * array.ndim].tobytes())


def is_blank(array: Array) -> bool:
    """Return whether all bits of an array of numbers are zero, so that :func:`nothing` can stand for it."""
    return is_nothing(array) or not array.size or not bits_of(array).max()


def bits_of(array: Array) -> Array:
    """Return the bits of numbers as unsigned integers, of which that of -0.0 is not 0; a view if it can be one."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def merge_tables(tables: Sequence[Table]) -> Table:
    """Concatenate the rows of tables that have the same columns; an empty sequence gives an empty table."""
    if not tables:
        return {}
    return {key: np.concatenate([t[key] for t in tables]) for key in tables[0]}
