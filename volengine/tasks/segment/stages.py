"""Planning ``segment``: patch lattices from recipe and model facts, blocks, stages, memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import MemoryRefusedError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import HEADROOM, STEPS, choose_core, peak_bytes
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput
from volengine.ops import blend
from volengine.ops.normalise import CELL, MAD_SLICES
from volengine.tasks.common.images import core_unit, factors_of, outputs_of, scratch_spec
from volengine.tasks.segment.blocks import Net, slab_slices
from volengine.tasks.segment.recipe import SegmentRecipe

LARGEST_BLOCK = 2**22
"""Voxels per block: some seconds on a CPU; larger ones cost progress when a worker dies."""

STATISTICS_SLICES = 64
TORCH_BYTES = 350_000_000
"""Measured: what importing torch and a first convolution add to a worker process."""

SHARES_BYTES = 100_000_000
"""Blend shares that are kept, and one being made."""

_BLOCKS = "volengine.tasks.segment.blocks"


@lru_cache(maxsize=64)
def _network_bytes(path: str, digest: str, own: str | None, shape: tuple[int, ...]) -> tuple[int, int]:
    """(weights, peak of a forward) of a model file for an input of this shape; nothing is computed."""
    import torch

    from volengine.nets.checkpoint import load_facts
    from volengine.nets.footprint import forward_bytes
    from volengine.nets.registry import build

    facts = load_facts(path)
    with torch.device("meta"):
        module = build(facts.network, facts.arguments, own=own)
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    return weights, forward_bytes(module, shape)


def _input_shape(net: Net, batch: int) -> tuple[int, ...]:
    """The largest input of the network (batch 0: as chosen on a CPU)."""
    from volengine.nets.predictor import auto_batch

    sides = [a.patch + a.low + a.high + 2 * (a.align - 1) for a in net.lattice.axes]
    sides = [
        min(s // a.align, -(-a.n // a.align)) * a.align if a.bounded else s
        for s, a in zip(sides, net.lattice.axes, strict=True)
    ]
    flat = net.lattice.z.patch == 1
    batch = batch or auto_batch(sides, not flat)
    return (batch, *sides) if flat else (batch, 1, *sides)


@dataclass(frozen=True)
class Segmentation:
    """The prediction of one grid in the making.

    Parameters
    ----------
    volume
        What the networks see: the tomogram, or its matched copy.
    recipe, nets
        How they predict.
    specs
        What is written, by product.
    folder, options
        Where scratch arrays lie, and how to run.
    native
        The tomogram, where ``volume`` is its matched copy: Ais takes ``global_mad`` from it.
    """

    volume: Volume
    recipe: SegmentRecipe
    nets: list[Net]
    specs: dict[str, ImageSpec]
    folder: PlanFolder
    options: RunOptions
    native: Volume | None = None

    def plan(self) -> Plan:
        """Choose blocks and put the stages together."""
        core = self.core()
        over = [net.overhang(core) for net in self.nets]
        stages, scratch = [], self.scratch(core)
        for name, (volume, sampled) in self._statistics.items():
            stages += self._statistics_stages(name, volume, sampled=sampled)
        stages.append(self.predict(core))
        if any(any(o) for o in over):
            stages.append(self._blend(core, scratch))
        else:
            scratch = {}
        notes = [
            f"{', '.join(f for _, f in net.kept)}: {net.patches} patches of {net.lattice.patch} voxels, "
            f"window {net.window}, {'blended across blocks' if any(o) else 'no patch crosses a block'}"
            for net, o in zip(self.nets, over, strict=True)
        ]
        images = (*scratch.values(), *self.specs.values())
        return Plan(self.volume.name, tuple(stages), images, notes=tuple(notes))

    def core(self) -> Index3:
        """The block: one that no patch crosses if that leaves a block for each worker, else one that patches reach
        over by less than a block."""
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
        return self._choose(unit, self._possible, self._smallest(unit, 1.0))

    def _choose(self, unit: Index3, accept: Callable[[Index3], bool], smallest: Index3) -> Index3:
        inside = math.prod(min(c, n) for c, n in zip(smallest, self.volume.shape, strict=True))
        return choose_core(
            self.volume.shape,
            unit,
            self.options.limit_bytes(),
            self.predict,
            wanted=self.options.processes,
            largest=max(LARGEST_BLOCK, inside),
            accept=accept,
        )

    def _smallest(self, unit: Index3, share: float) -> Index3:
        """The smallest core, in units, that patches reach over by at most this share of it, else the whole axis."""
        sides = []
        for axis, (n, u) in enumerate(zip(self.volume.shape, unit, strict=True)):
            tried = (u * step for step in STEPS if u * step < n)
            fitting = (c for c in tried if all(net.axis_overhang(axis, c) <= share * c for net in self.nets))
            sides.append(next(fitting, -(-n // u) * u))
        return index3(sides)

    def _crossed(self, core: Index3) -> bool:
        return any(net.axis_overhang(axis, c) > 0 for net in self.nets for axis, c in enumerate(core))

    def _apart(self, core: Index3) -> bool:
        """Whether no patch crosses a block, and there is a block for each worker."""
        return not self._crossed(core) and len(Tiling(self.volume.shape, core)) >= self.options.processes

    def _possible(self, core: Index3) -> bool:
        return all(net.axis_overhang(axis, c) <= c for net in self.nets for axis, c in enumerate(core))

    @cached_property
    def tag(self) -> str:
        """What the names of its stages begin with."""
        return "segment-" + "+".join(self.specs)

    @cached_property
    def _statistics(self) -> dict[str, tuple[Volume, bool]]:
        """The tables of statistics that networks need: of which volume, and whether with the voxels of a MAD."""
        kinds = {net.normalisation for net in self.nets}
        moments, mad = bool(kinds & {"per_slice", "volume"}), "global_mad" in kinds
        if self.native is None:
            return {"statistics": (self.volume, mad)} if moments or mad else {}
        tables = {"statistics": (self.volume, False)} if moments else {}
        return {**tables, "native": (self.native, True)} if mad else tables

    def _statistics_stages(self, name: str, volume: Volume, *, sampled: bool) -> list[Stage]:
        tiling = Tiling(volume.shape, (STATISTICS_SLICES, CELL, CELL))
        nz, *plane = volume.shape
        sample = 4 * min(MAD_SLICES, nz) * math.prod(plane) if sampled else 0
        cells = Stage(
            f"{self.tag}-{name}-cells",
            f"{_BLOCKS}:slice_cells",
            tiling,
            params={"sampled": True} if sampled else {},
            arrays={"image": ArrayInput(volume)},
            emits=True,
            kernel_bytes=3 * 8 * CELL * CELL + (4 * STATISTICS_SLICES * CELL * CELL if sampled else 0),
        )
        _, ny, nx = tiling.grid
        statistics = Stage(
            f"{self.tag}-{name}",
            f"{_BLOCKS}:slice_statistics",
            Tiling((1, 1, 1), (1, 1, 1)),
            params={"grid": tiling.grid},
            tables={"cells": TableInput(cells.name, "all")},
            emits=True,
            kernel_bytes=4 * 24 * nz * ny * nx + 3 * sample,
        )
        return [cells, statistics]

    def predict(self, core: Index3) -> Stage:
        """The stage that runs the networks, for blocks of this shape."""
        halos = [net.halo(core) for net in self.nets]
        low, high = (index3(np.max([h[i] for h in halos], axis=0).tolist()) for i in (0, 1))
        direct = not self._crossed(core)
        tables = {name: TableInput(f"{self.tag}-{name}", "all") for name in self._statistics}
        outputs: dict[str, Output] = {}
        if direct:
            for feature, spec in self.specs.items():
                outputs |= outputs_of(spec, feature)
        else:
            for name, spec in self.scratch(core).items():
                over = None if name.endswith("/core") else spec.levels[0].chunks
                outputs[name] = Output(spec.volume(), owned=over)
        weights, work, forward = self._memory(core)
        stage = Stage(
            f"{self.tag}-predict",
            f"{_BLOCKS}:predict",
            Tiling(self.volume.shape, core),
            params={
                "nets": [net.to_json() for net in self.nets],
                "core": core,
                "direct": direct,
                "storage": self._storage,
            },
            arrays={"image": ArrayInput(self.volume, low, high)},
            tables=tables,
            outputs=outputs,
            kernel_bytes=work + forward,
            fixed_bytes=TORCH_BYTES + weights,
            hints={"threads": 1},
        )
        spare = self.options.limit_bytes() * HEADROOM - peak_bytes(stage)
        threads = 1 + max(0, min(self.options.threads() - 1, int(spare // forward)))
        return replace(stage, kernel_bytes=work + threads * forward, hints={"threads": threads})

    def _memory(self, core: Index3) -> tuple[int, int, int]:
        """Bytes of all weights, of a block's sums, and of the largest forward in one thread."""
        weights = forward = sums = 0
        for net in self.nets:
            shape = _input_shape(net, self.recipe.batch)
            own, peak = _network_bytes(net.path, net.digest, net.network, shape)
            weights += 2 * own  # in the convolutions' own order besides
            answers = (len(net.channels) + 3) if len(net.channels) > 1 else 4
            forward = max(forward, peak + 4 * answers * math.prod(shape))
            region = self._region(net, core)
            if not self._crossed(core):
                slices = slab_slices(net, region, self.options.threads())
                region = Box(region.start, (slices, *region.stop[1:]))
            copies = 1 if len(net.passes) == 1 else 2  # a GPU gets those of the pass before, and gives new ones back
            groups = len(net.channels) // max(len(net.kept), 1)
            sums += 4 * copies * groups * len(net.features) * region.size
        block = math.prod(min(c, n) for c, n in zip(core, self.volume.shape, strict=True))
        return weights, sums + SHARES_BYTES + 8 * block, forward

    def _region(self, net: Net, core: Index3) -> Box:
        """A block's core and what its patches reach over it."""
        over = [net.axis_overhang(axis, c) for axis, c in enumerate(core)]
        return Box.of_shape([min(c + o, n) for c, o, n in zip(core, over, self.volume.shape, strict=True)])

    @property
    def _storage(self) -> dict[str, Any]:
        spec = next(iter(self.specs.values()))
        rounding = self.recipe.resolved().rounding if spec.dtype == "uint8" else "nearest"
        return {"dtype": spec.dtype, "rounding": rounding, "factors": factors_of(spec)}

    def scratch(self, core: Index3) -> dict[str, ImageSpec]:
        """Scratch arrays for the sums and for the pieces beyond the core, by output name."""
        made = {}
        shape = self.volume.shape
        grid = Tiling(shape, core).grid
        for net in self.nets:
            over = index3(net.axis_overhang(axis, c) for axis, c in enumerate(core))
            for _, feature in net.channels:
                base = str(self.folder.scratch / f"segment-{feature}")
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
            source = ArrayInput(spec.volume())
            if piece != "core":
                source = replace(source, owned=spec.levels[0].chunks, offset=blend.offset(piece))
            arrays[name] = source
        outputs: dict[str, Output] = {}
        for feature, spec in self.specs.items():
            outputs |= outputs_of(spec, feature)
        block = math.prod(min(c, n) for c, n in zip(core, self.volume.shape, strict=True))
        return Stage(
            f"{self.tag}-blend",
            f"{_BLOCKS}:blend_block",
            Tiling(self.volume.shape, core),
            params={"nets": [net.to_json() for net in self.nets], "storage": self._storage},
            arrays=arrays,
            outputs=outputs,
            kernel_bytes=(4 + 8) * block,
        )
