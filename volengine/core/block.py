"""What a kernel sees and what it gives back.

A *kernel* is a function ``kernel(block, **params) -> Result``, named ``"package.module:function"``, whose
parameters are JSON values. It knows arrays, boxes and small tables; it opens no file and knows no cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3

Array = NDArray[Any]
Table = dict[str, Array]
"""A small table: named columns (any shape, no objects). Stored as ``.npz`` without pickle."""


@dataclass(frozen=True)
class Block:
    """One unit's view of its inputs.

    Parameters
    ----------
    number, index
        Running number and grid index of the block in its tiling.
    box
        The core: what the unit writes, in voxels of the tiled volume.
    shape
        Shape of the whole tiled volume.
    arrays
        The input arrays by name, halo included.
    boxes
        The box each input array covers. With edge rule ``clip`` it lies inside of the volume; with ``reflect``,
        ``edge`` and ``zero`` it may leave it, and the array is filled there by that rule.
    tables
        The input tables by name: one table (scope ``own`` or a single unit's), or the tables of several blocks
        keyed by block number (scope ``neighbours`` and ``all``).
    """

    number: int
    index: Index3
    box: Box
    shape: Index3
    arrays: Mapping[str, Array]
    boxes: Mapping[str, Box]
    tables: Mapping[str, Mapping[int, Table]] = field(default_factory=dict)

    def core_of(self, name: str) -> Array:
        """The part of an input array that lies in the core."""
        return self.arrays[name][self.box.slices_in(self.boxes[name])]


@dataclass(frozen=True)
class Result:
    """What a kernel returns: arrays for the stage's outputs, a table if the stage emits one, and counts.

    ``counts`` (for example ``{"patches": 12}``) are added up over the blocks into the run report.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    table: Table | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


def merge_tables(tables: Sequence[Table]) -> Table:
    """The rows of several tables with the same columns, one below the other."""
    if not tables:
        return {}
    return {key: np.concatenate([t[key] for t in tables]) for key in tables[0]}
