"""Planning ``segment``: patch lattices from recipe and model facts, blocks, stages, memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError, MemoryRefusedError, PlanError
from volengine.core.image import ImageSpec
from volengine.core.lattice import AxisLattice, Edge, Lattice
from volengine.core.model import ModelFacts
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import HEADROOM, choose_core, peak_bytes
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput
from volengine.io.stores import located
from volengine.ops import blend
from volengine.ops.normalise import CELL, MAD_SLICES
from volengine.tasks.images import core_unit, factors_of, outputs_of, scratch_spec
from volengine.tasks.segment_blocks import Net, slab_slices
from volengine.tasks.segment_recipe import Resolved, SegmentRecipe, check_voxel_size, fit_stride

LARGEST_BLOCK = 2**22
"""Voxels per block: some seconds on a CPU; larger ones cost progress when a worker dies."""

BLOCK_STEPS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Multiples of the shard that ``choose_core`` considers."""

STATISTICS_SLICES = 64
TORCH_BYTES = 350_000_000
"""Measured: what importing torch and a first convolution add to a worker process."""

EXACT_TILE = 3
"""Exact mode: side of a tile over the receptive field's radius; a 3D network then computes each voxel about 5 times.
The nearest power of two is taken, so that blocks hold whole tiles."""

SHARES_BYTES = 100_000_000
"""Blend shares that are kept, and one being made."""

SLICE_MULTIPLE, SLICE_CONTEXT = 32, 64
"""Ais pads whole slices to a multiple of 32, plus 64 voxels."""

BACKGROUND = "background"
"""A channel of this name, beside others under a softmax, is no feature: nothing is written for it."""

_BLOCKS = "volengine.tasks.segment_blocks"


def nets_of(volume: Volume, recipe: SegmentRecipe, options: RunOptions) -> list[Net]:
    """What each model of the recipe does on this volume."""
    return [_net(volume, recipe, options, path) for path in recipe.models]


def _net(volume: Volume, recipe: SegmentRecipe, options: RunOptions, path: str) -> Net:
    from volengine.nets.checkpoint import identity, load_facts
    from volengine.nets.registry import allowed
    from volengine.nets.registry import located as own_located
    from volengine.nets.tta import views

    facts = load_facts(path)
    if not recipe.any_voxel_size:
        check_voxel_size(volume, path, facts)
    how = recipe.resolved()
    _check_answer(recipe, facts, path)
    views(how.tta, facts.patch[0] if facts.volumetric else facts.context)
    edge: Edge = how.edge or facts.edge
    softmax = facts.activation == "softmax"
    logits = how.mean_of == "logits"
    own = allowed(facts.network, recipe.network_files)
    return Net(
        path=located(path),
        digest=identity(path),
        features=tuple("" if softmax and f == BACKGROUND else f for f in facts.features),
        lattice=lattice_of(volume.shape, recipe, facts, path),
        window="constant" if recipe.exact else how.window or facts.window,
        edges=(edge if facts.volumetric else "edge", edge, edge),  # slices beyond the ends: the last one, as in Ais
        normalisation=facts.normalisation,
        bounded=facts.activation != "none" and not logits,
        execution={
            "batch": recipe.batch,
            "device": options.device,
            "precision": recipe.precision,
            "channels_last": recipe.channels_last,
            "compile": recipe.compile,
            "tta": how.tta,
            "mean_of": how.mean_of,
            "spread": recipe.uncertainty,
        },
        mirror_volume=how.tta_of == "volume",
        sigmoid=logits and facts.activation == "sigmoid" and recipe.answer == "probabilities",
        network=own and own_located(own),
    )


def _check_answer(recipe: SegmentRecipe, facts: ModelFacts, path: str) -> None:
    """Refuse what this model's answers cannot be made into."""
    if facts.activation == "none" and recipe.dtype == "uint8":
        raise InputError(f"{path} predicts values, not probabilities; use --dtype float32.")
    if facts.activation == "none" and recipe.uncertainty:
        raise InputError(f"{path} predicts values, not probabilities; leave out --uncertainty.")
    if facts.activation == "softmax" and recipe.resolved().mean_of == "logits":
        raise InputError(f"{path} answers with a softmax over its channels; only probabilities can be averaged.")
    if recipe.compat == "ais" and facts.volumetric:
        raise InputError(f"{path} is a 3D network; --compat ais is for networks that see slices.")
    if recipe.compat == "membrain" and not facts.volumetric:
        raise InputError(f"{path} sees slices; --compat membrain is for 3D networks.")


def lattice_of(shape: Index3, recipe: SegmentRecipe, facts: ModelFacts, path: str) -> Lattice:
    """The patches of a model on a volume of this shape.

    Raises
    ------
    PlanError
        Patches that the network's stride does not divide.
    InputError
        Exact mode for a network without finite receptive field.
    """
    how = recipe.resolved()
    patch = _patch(shape, how, facts, path)
    fit_stride(patch, facts.stride, path)
    below, above = facts.context_slices
    if recipe.exact:
        return _exact(shape, patch, facts, path, given=how.patch is not None)
    overlap = facts.overlap if how.overlap is None else how.overlap
    flat = not facts.volumetric
    margin = recipe.margin_vox
    return Lattice.sliding(
        shape,
        patch,
        (0.0 if flat else overlap, overlap, overlap),
        (0 if flat else margin, margin, margin),
        (below, 0, 0),
        (above, 0, 0),
    )


def _patch(shape: Index3, how: Resolved, facts: ModelFacts, path: str) -> Index3:
    if how.patch == "slice":
        y, x = (
            -(-n // math.lcm(SLICE_MULTIPLE, s)) * math.lcm(SLICE_MULTIPLE, s) + SLICE_CONTEXT
            for n, s in zip(shape[1:], facts.stride[1:], strict=True)
        )
        return facts.patch[0], y, x
    patch = facts.patch if how.patch is None else how.patch
    if not facts.volumetric and patch[0] != 1:
        raise PlanError(f"{path} sees slices: its patches are one voxel thick along z, not {patch[0]}.")
    return patch


def _exact(shape: Index3, patch: Index3, facts: ModelFacts, path: str, *, given: bool) -> Lattice:
    if facts.receptive_field is None:
        raise InputError(
            f"{path}: the network has no finite receptive field (it normalises over its patch), so there is no exact "
            "mode for it; leave out --exact."
        )
    if facts.normalisation == "per_patch":
        raise InputError(f"{path} was trained with patches normalised by themselves; leave out --exact.")
    if not given:  # context is computed and thrown away: tiles that are small beside it cost many times their size
        strides = zip(patch, facts.receptive_field, facts.stride, strict=True)
        patch = index3(max(p, -(-_power(EXACT_TILE * r) // s) * s) for p, r, s in strides)
    z, y, x = (
        AxisLattice.tiles(n, p, r, s)
        for n, p, r, s in zip(shape, patch, facts.receptive_field, facts.stride, strict=True)
    )
    if not facts.volumetric:
        z = AxisLattice.sliding(shape[0], 1, low=facts.context_slices[0], high=facts.context_slices[1])
    return Lattice(z, y, x)


def _power(length: int) -> int:
    """The power of two nearest to a length."""
    return 1 << round(math.log2(length)) if length > 0 else 1


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
    """The plan of one tomogram in the making."""

    volume: Volume
    recipe: SegmentRecipe
    nets: list[Net]
    specs: dict[str, ImageSpec]
    folder: PlanFolder
    options: RunOptions

    def plan(self) -> Plan:
        """Choose blocks and put the stages together."""
        core = self.core()
        over = [net.overhang(core) for net in self.nets]
        stages, scratch = [], self.scratch(core)
        if self._needs_statistics:
            stages += self._statistics()
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
        return Plan(
            self.volume.name,
            tuple(stages),
            (*scratch.values(), *self.specs.values()),
            recipe={"segment": self.recipe.to_json()},
            notes=tuple(notes),
        )

    def core(self) -> Index3:
        """The block: one that no patch crosses if that leaves a block for each worker, else one that patches reach
        over by less than a block."""
        if self.options.block is not None:
            for net in self.nets:
                net.overhang(self.options.block)
            return self.options.block
        unit = core_unit(*self.specs.values())
        try:
            core = self._choose(unit, lambda c: not self._crossed(c), self._smallest(unit, 0.0))
            if not self._crossed(core) and len(Tiling(self.volume.shape, core)) >= self.options.processes:
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
            tried = (u * step for step in BLOCK_STEPS if u * step < n)
            fitting = (c for c in tried if all(net.axis_overhang(axis, c) <= share * c for net in self.nets))
            sides.append(next(fitting, -(-n // u) * u))
        return index3(sides)

    def _crossed(self, core: Index3) -> bool:
        return any(net.axis_overhang(axis, c) > 0 for net in self.nets for axis, c in enumerate(core))

    def _possible(self, core: Index3) -> bool:
        return all(net.axis_overhang(axis, c) <= c for net in self.nets for axis, c in enumerate(core))

    @cached_property
    def _tag(self) -> str:
        return "segment-" + "+".join(self.specs)

    @property
    def _needs_statistics(self) -> bool:
        return any(net.normalisation in ("per_slice", "volume", "global_mad") for net in self.nets)

    def _statistics(self) -> list[Stage]:
        tiling = Tiling(self.volume.shape, (STATISTICS_SLICES, CELL, CELL))
        sampled = any(net.normalisation == "global_mad" for net in self.nets)
        nz, *plane = self.volume.shape
        sample = 4 * min(MAD_SLICES, nz) * math.prod(plane) if sampled else 0
        cells = Stage(
            f"{self._tag}-cells",
            f"{_BLOCKS}:slice_cells",
            tiling,
            params={"sampled": True} if sampled else {},
            arrays={"image": ArrayInput(self.volume)},
            emits=True,
            kernel_bytes=3 * 8 * CELL * CELL + (4 * STATISTICS_SLICES * CELL * CELL if sampled else 0),
        )
        _, ny, nx = tiling.grid
        statistics = Stage(
            f"{self._tag}-statistics",
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
        tables = {"statistics": TableInput(f"{self._tag}-statistics", "all")} if self._needs_statistics else {}
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
            f"{self._tag}-predict",
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
            copies = 1 if len(net.passes) == 1 else 2  # of the pass that is added, beside the sum of those before
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
        return {"dtype": self.recipe.dtype, "rounding": self.recipe.resolved().rounding, "factors": factors_of(spec)}

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
            f"{self._tag}-blend",
            f"{_BLOCKS}:blend_block",
            Tiling(self.volume.shape, core),
            params={"nets": [net.to_json() for net in self.nets], "storage": self._storage},
            arrays=arrays,
            outputs=outputs,
            kernel_bytes=(4 + 8) * block,
        )
