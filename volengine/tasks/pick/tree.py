"""Planning the tree of ``pick``: cells of up to 64 blocks, of up to 64 cells, and so on up to the whole volume.

The stages take the place of ``resolve`` and ``relabel`` (:mod:`volengine.tasks.pick.plan`) in volumes of more blocks
than one cell has. No unit of them gathers a volume: ``join`` goes up the tree and finishes regions, ``middles`` and
``nearest`` place them where the prediction is highest, if that is asked for, ``space`` goes up and decides which of
them are too close, ``label`` numbers them cell by cell (:mod:`volengine.tasks.pick.tree_blocks`). For filaments
``voxels`` and ``trace`` follow (:mod:`volengine.tasks.pick.filament_blocks`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.stage import ArrayInput, Stage, TableInput, kernel_bytes
from volengine.tasks.common.cells import cells_of, table_memory
from volengine.tasks.common.images import factors_of, outputs_of
from volengine.tasks.common.readings import Reading
from volengine.tasks.common.roi import size_of, start_of, tiling_of, within
from volengine.tasks.pick.recipe import PickRecipe

_JOIN = "volengine.tasks.pick.tree_blocks:join_cell"
_MIDDLES = "volengine.tasks.pick.tree_blocks:middles_by_cells"
_NEAREST = "volengine.tasks.pick.tree_blocks:nearest_cell"
_SPACE = "volengine.tasks.pick.tree_blocks:space_cell"
_LABEL = "volengine.tasks.pick.tree_blocks:label_cell"
_RELABEL = "volengine.tasks.pick.tree_blocks:relabel_by_cells"
_VOXELS = "volengine.tasks.pick.filament_blocks:voxels_by_cells"
_TRACE = "volengine.tasks.pick.filament_blocks:trace_cell"


def middles_stage(
    name: str,
    kernel: str,
    reading: Reading,
    scratch: ImageSpec,
    core: Index3,
    rules: Mapping[str, Any],
    found: Mapping[str, TableInput],
    **more: int,
) -> Stage:
    """The stage that finds the middle of each region's plateau as far as it lies in a block.

    Parameters
    ----------
    name, kernel
        Of the stage.
    reading, scratch
        The prediction, and the array of local regions.
    core
        Shape of the blocks.
    rules
        Fields of :class:`~volengine.ops.basin_graph.RegionRules`.
    found
        The tables that say where each region is highest.
    more
        What the kernel's memory depends on besides.
    """
    z, y, x = (min(c, n) for c, n in zip(core, reading.volume.shape, strict=True))
    return Stage(
        name,
        kernel,
        Tiling(reading.volume.shape, core),
        params={"rules": rules, "scale": reading.scale},
        arrays={"prediction": ArrayInput(reading.volume), "basin": ArrayInput(scratch.volume())},
        tables={**found, **reading.tables()},
        emits=True,
        kernel_bytes=kernel_bytes(
            kernel,
            inside=z * y * x,
            plane=y * x,
            itemsize=np.dtype(reading.dtype).itemsize,
            copies=reading.copies,
            **more,
        ),
    )


@dataclass(frozen=True)
class Tree:
    """The tree of one feature.

    Parameters
    ----------
    prefix
        Begin of the names of its stages; ``seams`` is one of them.
    shape, core
        Shape of the volume, and of the blocks of ``basins``.
    cells
        Shape of the cells of each level (:func:`~volengine.tasks.common.cells.cells_of`).
    rules
        Fields of :class:`~volengine.ops.basin_graph.RegionRules`.
    memory
        Bytes that a unit may use for tables.
    part
        The part of the volume that is picked; ``None``: the whole.
    filament
        How filaments are traced (the recipe's ``filament_rules``); ``None``: regions are picked.
    """

    prefix: str
    shape: Index3
    core: Index3
    cells: tuple[Index3, ...]
    rules: Mapping[str, Any]
    memory: int
    part: Box | None = None
    filament: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls, prefix: str, volume: Volume, recipe: PickRecipe, core: Index3, part: Box | None, options: RunOptions
    ) -> Tree | None:
        """Return the tree for blocks of this shape; ``None`` if one cell holds the volume, or the recipe has none.

        The picks of Ais need more than sums over regions.
        """
        cells = tuple(cells_of(size_of(volume.shape, part), core))
        if len(cells) == 1 or recipe.compat:
            return None
        rules = asdict(recipe.region_rules(volume))
        filament = recipe.filament_rules(volume) if recipe.filament else None
        return cls(prefix, volume.shape, core, cells, rules, table_memory(options), part, filament)

    def name(self, step: str, level: int) -> str:
        """Return the name of a stage; levels are counted from 1, and -1 is the last."""
        return f"{self.prefix}-{step}-{level if level > 0 else len(self.cells) + 1 + level}"

    @property
    def levels(self) -> range:
        """The numbers of the levels."""
        return range(1, len(self.cells) + 1)

    @property
    def picks(self) -> dict[str, Any]:
        """The parameters of the last call that say where the picks are."""
        lines = {} if self.filament is None else {"least": self.filament["min_picks"]}
        return {
            "stage": self.name("space", -1),
            "rows": [self.name("trace" if lines else "label", level) for level in self.levels],
            "span": self.name("join", -1),
            **lines,
        }

    @property
    def highest(self) -> bool:
        """Whether positions are those of the highest value."""
        return bool(self.rules["position"] == "maximum")

    def stages(self, reading: Reading, scratch: ImageSpec) -> list[Stage]:
        """Return the stages but for ``relabel``.

        Parameters
        ----------
        reading, scratch
            The prediction, and the array of local regions; only for positions at the highest value, and filaments.
        """
        joins, nearest, spaces, labels = (
            [step(level) for level in self.levels] for step in (self._join, self._nearest, self._space, self._label)
        )
        placed = [self._middles(reading, scratch), *nearest] if self.highest else []
        lines = [] if self.filament is None else [self._voxels_stage(scratch), *map(self._trace, self.levels)]
        return [*joins, *placed, *spaces, *labels, *lines]

    def _tiling(self, level: int) -> Tiling:
        return tiling_of(self.shape, self.cells[level - 1], self.part)

    def _voxels(self, level: int) -> int:
        return self._tiling(level).box(0).size

    @property
    def _roi(self) -> dict[str, list[int]]:
        """The parameter of kernels that says which part is picked."""
        return {} if self.part is None else {"roi": [*self.part.start, *self.part.stop]}

    def _parts(self, step: str, level: int) -> dict[str, TableInput]:
        return {"cells": TableInput(self.name(step, level - 1), "within", self.cells[level - 2])}

    def _holding(self, step: str) -> dict[str, TableInput]:
        """The tables of the cells of all levels that hold a block."""
        cells = zip(self.levels, self.cells, strict=True)
        return {f"level-{n}": TableInput(self.name(step, n), "holding", cell) for n, cell in cells}

    def _join(self, level: int) -> Stage:
        seams = {"seams": TableInput(f"{self.prefix}-seams", "within", self.core)}
        return Stage(
            self.name("join", level),
            _JOIN,
            self._tiling(level),
            params={"core": list(self.core), "rules": self.rules, **self._roi},
            tables=seams if level == 1 else self._parts("join", level),
            emits=True,
            kernel_bytes=kernel_bytes(_JOIN, voxels=self._voxels(level), memory_bytes=self.memory),
            hints={"memory_bytes": self.memory},
        )

    def _middles(self, reading: Reading, scratch: ImageSpec) -> Stage:
        name, holding = f"{self.prefix}-middles", self._holding("join")
        more = {"cell": self._voxels(1), "levels": len(self.levels), "memory_bytes": self.memory}
        stage = middles_stage(name, _MIDDLES, reading, scratch, self.core, self.rules, holding, **more)
        return within(stage, self.part, scratch)

    def _nearest(self, level: int) -> Stage:
        middles = {"cells": TableInput(f"{self.prefix}-middles", "within", self.core)}
        return Stage(
            self.name("nearest", level),
            _NEAREST,
            self._tiling(level),
            params={"level": level - 1, "rules": self.rules},
            tables={
                "join": TableInput(self.name("join", level)),
                **(middles if level == 1 else self._parts("nearest", level)),
            },
            emits=True,
            kernel_bytes=kernel_bytes(_NEAREST, voxels=self._voxels(level), memory_bytes=self.memory),
        )

    def _space(self, level: int) -> Stage:
        regions = self._holding("nearest" if self.highest else "join")
        return Stage(
            self.name("space", level),
            _SPACE,
            self._tiling(level),
            params={"level": level, "levels": len(self.cells), "rules": self.rules, **self._roi},
            tables=regions if level == 1 else self._parts("space", level),
            emits=True,
            kernel_bytes=kernel_bytes(_SPACE, voxels=self._voxels(level), memory_bytes=self.memory),
            hints={"memory_bytes": self.memory},
        )

    def _label(self, level: int) -> Stage:
        numbers = {"numbers": TableInput(self.name("space", -1), "all")}
        placed = {"nearest": TableInput(self.name("nearest", level))} if self.highest else {}
        return Stage(
            self.name("label", level),
            _LABEL,
            self._tiling(level),
            params={"rules": self.rules},
            tables={"join": TableInput(self.name("join", level)), **placed, **numbers},
            emits=True,
            kernel_bytes=kernel_bytes(
                _LABEL,
                voxels=self._voxels(level),
                whole=math.prod(size_of(self.shape, self.part)),
                memory_bytes=self.memory,
            ),
        )

    def _voxels_stage(self, scratch: ImageSpec) -> Stage:
        return Stage(
            f"{self.prefix}-voxels",
            _VOXELS,
            tiling_of(self.shape, self.core, self.part),
            arrays={"basin": ArrayInput(scratch.volume(), at=start_of(self.part))},
            tables=self._holding("label"),
            emits=True,
            kernel_bytes=kernel_bytes(_VOXELS, **self._block()),
        )

    def _trace(self, level: int) -> Stage:
        voxels = TableInput(f"{self.prefix}-voxels", "within", self.core)
        if level > 1:
            voxels = self._parts("trace", level)["cells"]
        rules = {key: value for key, value in (self.filament or {}).items() if key != "min_picks"}
        return Stage(
            self.name("trace", level),
            _TRACE,
            self._tiling(level),
            params={"rules": rules},
            tables={"voxels": voxels, "label": TableInput(self.name("label", level))},
            emits=True,
            version=2,
            kernel_bytes=kernel_bytes(_TRACE, memory_bytes=self.memory),
            hints={"memory_bytes": self.memory},
        )

    def _block(self) -> dict[str, int]:
        """What the memory of a kernel depends on that follows the regions of a block up the tree."""
        inside = tiling_of(self.shape, self.core, self.part).box(0).size
        return {"inside": inside, "cell": self._voxels(1), "levels": len(self.levels)}

    def relabel(self, scratch: ImageSpec, spec: ImageSpec) -> Stage:
        """Return the stage that writes the label image."""
        return Stage(
            f"{self.prefix}-relabel",
            _RELABEL,
            tiling_of(self.shape, self.core, self.part),
            params={"factors": factors_of(spec)},
            arrays={"basin": ArrayInput(scratch.volume(), at=start_of(self.part))},
            tables=self._holding("label"),
            outputs=outputs_of(spec, at=start_of(self.part)),
            kernel_bytes=kernel_bytes(_RELABEL, **self._block()),
        )
