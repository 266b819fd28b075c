"""The stages of ``segment`` on one grid: statistics, networks on patches, blending across blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import MemoryRefusedError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import HEADROOM, STEPS, peak_bytes
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput, kernel_bytes
from volengine.ops import blend
from volengine.ops.normalise import CELL, MAD_SLICES
from volengine.tasks.common.images import core_unit, factors_of, outputs_of, scratch_spec
from volengine.tasks.common.layout import file_name
from volengine.tasks.common.roi import size_of, start_of, tiling_of
from volengine.tasks.segment.description import STATISTICS_SLICES, Net, crosses, teams
from volengine.tasks.segment.recipe import SegmentRecipe

LARGEST_BLOCK = 2**22
"""Voxels per block: it takes some seconds on a CPU; of a larger block more work is lost when a worker dies."""

_CELLS = "volengine.tasks.segment.blocks:slice_cells"
_STATISTICS = "volengine.tasks.segment.blocks:slice_statistics"
_PREDICT = "volengine.tasks.segment.blocks:predict"
_BLEND = "volengine.tasks.segment.blocks:blend_block"


def statistics_stages(
    name: str, volume: Volume, *, sampled: bool = False, params: Mapping[str, Any] | None = None
) -> list[Stage]:
    """The two stages that compute the statistics of a volume; the table of the second one has them.

    Parameters
    ----------
    name, volume
        Name of the second stage, and the volume.
    sampled
        Whether voxels are sampled for the median absolute deviation.
    params
        Further parameters of the kernel that reads the volume.
    """
    tiling = Tiling(volume.shape, (STATISTICS_SLICES, CELL, CELL))
    nz, *plane = volume.shape
    sample = min(MAD_SLICES, nz) * math.prod(plane) if sampled else 0
    cells = Stage(
        f"{name}-cells",
        _CELLS,
        tiling,
        params={**({"sampled": True} if sampled else {}), **(params or {})},
        arrays={"image": ArrayInput(volume)},
        emits=True,
        kernel_bytes=kernel_bytes(_CELLS, sampled=sampled),
    )
    _, ny, nx = tiling.grid
    statistics = Stage(
        name,
        _STATISTICS,
        Tiling((1, 1, 1), (1, 1, 1)),
        params={"grid": tiling.grid},
        tables={"cells": TableInput(cells.name, "all")},
        version=2,  # the scale of global_mad is no longer raised by 1e-7
        emits=True,
        kernel_bytes=kernel_bytes(_STATISTICS, slices=nz, cells=ny * nx, sample=sample),
    )
    return [cells, statistics]


@dataclass(frozen=True)
class GridStages:
    """The stages that predict on one grid: the tomogram's own, or the one that the networks were trained for.

    Parameters
    ----------
    volume
        The volume that the networks read: the tomogram, or its matched copy.
    recipe, nets
        The user's recipe, and how each network is applied.
    specs
        For each volume that is written (a feature or its uncertainty) its image.
    folder, options
        Folder of the plan, for scratch arrays; and how to run.
    native
        The tomogram itself, if ``volume`` is its matched copy: as in Ais, ``global_mad`` is computed from it.
    unsigned
        Whether the tomogram's signed bytes are taken for unsigned ones, see :class:`volengine.tasks.segment.nets.Grid`.
    label
        End of the names of stages and scratch arrays, where an ensemble predicts the same features on several grids.
    part
        The part of ``volume`` that is predicted, for which the networks' lattices are made; ``None``: all of it. The
        images are those of the part.
    """

    volume: Volume
    recipe: SegmentRecipe
    nets: list[Net]
    specs: dict[str, ImageSpec]
    folder: PlanFolder
    options: RunOptions
    native: Volume | None = None
    unsigned: bool = False
    label: str = ""
    part: Box | None = None

    def plan(self) -> Plan:
        """Choose the blocks, and return the stages as a plan."""
        core = self.core()
        over = [net.overhang(core) for net in self.nets]
        stages, scratch = [], self.scratch(core)
        for name, (volume, sampled) in self._statistics.items():
            stages += statistics_stages(f"{self.tag}-{name}", volume, sampled=sampled, params=self._bytes)
        stages.append(self.predict_stage(core))
        if any(any(o) for o in over):
            stages.append(self._blend(core, scratch))
        else:
            scratch = {}
        notes = [
            f"{', '.join(f for _, f in net.kept)}: {net.patches} patches of {net.lattice.patch} voxels, "
            f"window {net.window}, {'blended across blocks' if any(o) else 'no patch crosses a block'}"
            f"{f', computed by {net.backend}' if net.backend else ''}"
            for net, o in zip(self.nets, over, strict=True)
        ]
        if self.unsigned:
            notes.append(
                f"{self.volume.name}: its signed bytes are taken for 0 to 255 (-1 is 255), as Ais does for models with "
                "global_mad; without --compat ais they stay signed"
            )
        images = (*scratch.values(), *self.specs.values())
        return Plan(self.volume.name, tuple(stages), images, notes=tuple(notes))

    def core(self) -> Index3:
        """The block's core, voxels z, y, x.

        A block that no patch crosses, if there are then enough blocks for all workers; else one that patches exceed by
        less than a block.
        """
        if self.options.block is not None:
            for net in self.nets:
                net.overhang(self.options.block)
            return self.options.block
        unit = core_unit(*self.specs.values())
        try:
            core = self._choose(unit, self._apart, self._smallest(unit, 0.0))
            if self._apart(core):
                return core
        except MemoryRefusedError:
            pass
        try:
            return self._choose(unit, self._possible, self._smallest(unit, 1.0))
        except MemoryRefusedError as error:
            raise MemoryRefusedError(f"{error}{self._smaller_patches()}") from error

    def _smaller_patches(self) -> str:
        """What to do if whole slices take too much memory."""
        wide = [net for net in self.nets if net.whole_slices]
        if not wide:
            return ""
        _, y, x = wide[0].lattice.patch
        return f" {wide[0].path} sees whole slices ({y} x {x} voxels): --patch 1,256,256 or --exact takes less memory."

    def _choose(self, unit: Index3, accept: Callable[[Index3], bool], smallest: Index3) -> Index3:
        inside = math.prod(min(c, n) for c, n in zip(smallest, self.shape, strict=True))
        return self.options.core_for(
            self.shape, unit, self.predict_stage, largest=max(LARGEST_BLOCK, inside), accept=accept
        )

    def _smallest(self, unit: Index3, share: float) -> Index3:
        """The smallest core, a multiple of the unit, that patches exceed by at most this share; else the whole axis."""
        sides = []
        for axis, (n, u) in enumerate(zip(self.shape, unit, strict=True)):
            tried = (u * step for step in STEPS if u * step < n)
            fitting = (c for c in tried if all(net.axis_overhang(axis, c) <= share * c for net in self.nets))
            sides.append(next(fitting, -(-n // u) * u))
        return index3(sides)

    def _apart(self, core: Index3) -> bool:
        """Whether no patch crosses a block's border, and there is a block for each worker."""
        return not crosses(self.nets, core) and len(self.tiling(core)) >= self.options.processes

    def _possible(self, core: Index3) -> bool:
        return all(net.axis_overhang(axis, c) <= c for net in self.nets for axis, c in enumerate(core))

    @property
    def shape(self) -> Index3:
        """Shape of what is predicted: the volume's, or that of its part."""
        return size_of(self.volume.shape, self.part)

    def tiling(self, core: Index3) -> Tiling:
        """The blocks with this core."""
        return tiling_of(self.volume.shape, core, self.part)

    @cached_property
    def tag(self) -> str:
        """Prefix of the names of this grid's stages."""
        return "segment-" + "+".join(map(file_name, self.specs)) + self.label

    @cached_property
    def _statistics(self) -> dict[str, tuple[Volume, bool]]:
        """The statistics that networks need, by name: the volume, and whether voxels are sampled for the MAD."""
        kinds = {net.normalisation for net in self.nets}
        moments, mad = bool(kinds & {"per_slice", "volume"}), "global_mad" in kinds
        if self.native is None:
            return {"statistics": (self.volume, mad)} if moments or mad else {}
        tables = {"statistics": (self.volume, False)} if moments else {}
        return {**tables, "native": (self.native, True)} if mad else tables

    def predict_stage(self, core: Index3) -> Stage:
        """The stage ``predict``, which runs the networks, for blocks with this core.

        It writes the predictions if no patch crosses a block; else fixed-point sums, to the arrays of :meth:`scratch`.
        """
        halos = [net.halo(core) for net in self.nets]
        low, high = (index3(np.max([h[i] for h in halos], axis=0).tolist()) for i in (0, 1))
        direct = not crosses(self.nets, core)
        tables = {name: TableInput(f"{self.tag}-{name}", "all") for name in self._statistics}
        outputs: dict[str, Output] = {}
        if direct:
            for feature, spec in self.specs.items():
                outputs |= outputs_of(spec, feature, start_of(self.part))
        else:
            for name, spec in self.scratch(core).items():
                if name.endswith("/core"):
                    outputs[name] = Output(spec.volume(), at=start_of(self.part))
                else:
                    outputs[name] = Output(spec.volume(), owned=spec.levels[0].chunks)
        fixed, work, forward = kernel_bytes(
            _PREDICT,
            nets=self.nets,
            core=core,
            shape=self.shape,
            batch=self.recipe.batch,
            threads=self.options.threads(),
        )
        stage = Stage(
            f"{self.tag}-predict",
            _PREDICT,
            self.tiling(core),
            params={
                "nets": [net.to_json() for net in self.nets],
                "core": core,
                "direct": direct,
                "encoding": self._encoding,
                **({} if self.native else self._bytes),
            },
            arrays={"image": ArrayInput(self.volume, low, high)},
            tables=tables,
            outputs=outputs,
            kernel_bytes=work + forward,
            fixed_bytes=fixed,
            hints={"threads": 1},
        )
        spare = self.options.limit_bytes() * HEADROOM - peak_bytes(stage)
        threads = 1 + max(0, min(self.options.threads() - 1, int(spare // forward)))
        hints = {"threads": threads, "counted": self._counted}
        return replace(stage, kernel_bytes=work + threads * forward, hints=hints)

    @property
    def _bytes(self) -> dict[str, bool]:
        """The parameter of kernels that read the tomogram's signed bytes as unsigned ones."""
        return {"unsigned": True} if self.unsigned else {}

    @property
    def _counted(self) -> list[str]:
        """The features whose voxels are counted: none on a matched grid, because they are counted when restored."""
        if self.native is not None:
            return []
        return list(dict.fromkeys(f for net in self.nets for f in net.probable if f in self.specs))

    @property
    def _encoding(self) -> dict[str, Any]:
        spec = next(iter(self.specs.values()))
        rounding = self.recipe.resolved().rounding if spec.dtype == "uint8" else "nearest"
        return {"dtype": spec.dtype, "rounding": rounding, "factors": factors_of(spec)}

    def scratch(self, core: Index3) -> dict[str, ImageSpec]:
        """The scratch arrays for sums inside and beyond the core, by the name of the output."""
        made = {}
        shape, grid = self.shape, self.tiling(core).grid
        for team in teams(self.nets):
            over = team.overhang(core)
            for feature in team.sums:
                base = str(self.folder.scratch / f"segment-{file_name(feature)}{self.label}")
                chunk = index3(min(c, n) for c, n in zip(core, shape, strict=True))
                made[f"{feature}/core"] = scratch_spec(f"{base}-core", shape, "int32", chunk)
                for name in blend.directions(over):
                    owned = blend.piece_shape(name, core, over)
                    full = index3(g * n for g, n in zip(grid, owned, strict=True))
                    made[f"{feature}/{name}"] = scratch_spec(f"{base}-{name}", full, "int32", owned)
        return made

    def _blend(self, core: Index3, scratch: dict[str, ImageSpec]) -> Stage:
        arrays = {}
        for name, spec in scratch.items():
            piece = name.rpartition("/")[2]
            source = ArrayInput(spec.volume(), at=start_of(self.part))
            if piece != "core":
                source = ArrayInput(spec.volume(), owned=spec.levels[0].chunks, offset=blend.offset(piece))
            arrays[name] = source
        outputs: dict[str, Output] = {}
        for feature, spec in self.specs.items():
            outputs |= outputs_of(spec, feature, start_of(self.part))
        block = math.prod(min(c, n) for c, n in zip(core, self.shape, strict=True))
        return Stage(
            f"{self.tag}-blend",
            _BLEND,
            self.tiling(core),
            params={"nets": [net.to_json() for net in self.nets], "encoding": self._encoding},
            arrays=arrays,
            outputs=outputs,
            kernel_bytes=kernel_bytes(_BLEND, inside=block),
            hints={"counted": self._counted},
        )
