"""Planning the tree of ``stats``: its stages take the place of ``stats-join`` in volumes of more blocks than a cell.

Of an atlas each cell finishes the objects that lie in it as a whole, and the last call brings those of all cells into
order. Numbered objects are added up from cell to cell (:mod:`volengine.tasks.stats.tree_blocks`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from volengine.core.boxes import Box, Index3
from volengine.engine.options import RunOptions
from volengine.engine.stage import Stage, TableInput, kernel_bytes
from volengine.tasks.common.cells import cells_of, table_memory
from volengine.tasks.common.roi import size_of, tiling_of

_JOIN = "volengine.tasks.stats.tree_blocks:join_objects"
_ADD = "volengine.tasks.stats.tree_blocks:add_objects"


@dataclass(frozen=True)
class Tree:
    """The tree of a label volume.

    Parameters
    ----------
    shape, core
        Shape of the volume, and of the blocks.
    part
        The part of the volume that is counted; ``None``: the whole.
    cells
        Shape of the cells of each level (:func:`~volengine.tasks.common.cells.cells_of`).
    memory
        Bytes that a unit may use for tables.
    """

    shape: Index3
    core: Index3
    part: Box | None
    cells: tuple[Index3, ...]
    memory: int

    @classmethod
    def of(cls, shape: Index3, core: Index3, part: Box | None, options: RunOptions) -> Tree | None:
        """Return the tree for blocks of this shape; ``None`` if one cell holds the volume."""
        cells = tuple(cells_of(size_of(shape, part), core))
        return None if len(cells) == 1 else cls(shape, core, part, cells, table_memory(options))

    def atlas(self, rules: Mapping[str, Any]) -> list[Stage]:
        """Return the stages that join the tables of ``stats-seams``; each has objects."""
        params: dict[str, Any] = {"core": list(self.core), "rules": rules}
        if self.part is not None:
            params["roi"] = [*self.part.start, *self.part.stop]
        first = {"seams": TableInput("stats-seams", "within", self.core)}
        return self._stages("stats-join", _JOIN, first, "cells", lambda last: params)

    def instances(self) -> list[Stage]:
        """Return the stages that add up the tables of ``stats-ids``; the last one has the objects."""
        first = {"parts": TableInput("stats-ids", "within", self.core)}
        return self._stages("stats-add", _ADD, first, "parts", lambda last: {"last": last})

    def _stages(self, name: str, kernel: str, first: Mapping[str, TableInput], parts: str, params: Any) -> list[Stage]:
        stages: list[Stage] = []
        for level, cell in enumerate(self.cells, 1):
            tables = first if level == 1 else {parts: TableInput(stages[-1].name, "within", self.cells[level - 2])}
            voxels = math.prod(min(c, n) for c, n in zip(cell, size_of(self.shape, self.part), strict=True))
            stages.append(
                Stage(
                    f"{name}-{level}",
                    kernel,
                    tiling_of(self.shape, cell, self.part),
                    params=params(level == len(self.cells)),
                    tables=tables,
                    emits=True,
                    kernel_bytes=kernel_bytes(kernel, voxels=voxels, memory_bytes=self.memory),
                    hints={"memory_bytes": self.memory},
                )
            )
        return stages
