"""Stages: a kernel, its inputs, its one new output, and the blocks it runs on."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from volengine.core.block import Block, Result
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import PlanError
from volengine.core.tiling import Tiling, check_multiple
from volengine.core.volume import Volume

EdgeRule = Literal["clip", "reflect", "edge", "zero"]
Scope = Literal["own", "neighbours", "all"]
Kernel = Callable[..., Result]
ZERO: Index3 = (0, 0, 0)
BLOCK_PARAMS = ("core", "direct")
"""Parameters of kernels that follow from the blocks: the block's own shape, and whether it needs no neighbour."""


def load_function(name: str) -> Callable[..., Any]:
    """The function that a text ``"package.module:function"`` names."""
    module, _, function = name.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return loaded


def kernel_bytes(kernel: str, **facts: Any) -> Any:
    """What a kernel says of its own memory: ``FUNCTION_bytes(**facts)``, which stands beside it in its module.

    So the number is stated once, and a planner needs no import of the kernel's module.
    """
    return load_function(f"{kernel}_bytes")(**facts)


@dataclass(frozen=True)
class ArrayInput:
    """An array that a stage reads, block by block.

    Parameters
    ----------
    volume
        What to read: same shape as the stage's tiling, unless ``scaled``.
    low, high
        Halo in voxels before and behind the core (z, y, x).
    edge
        What the halo holds outside of the volume: ``clip`` (it is cut off there), ``reflect`` (mirror without
        repeating the border voxel), ``edge`` (the border voxel repeated) or ``zero``.
    align
        Round the box outwards to multiples of this before ``edge`` applies (1: as it is).
    owned, offset
        For scratch arrays that hold one piece of shape ``owned`` per block: read the piece of the block at grid
        index + ``offset``; pieces that do not exist are zeros.
    scaled
        The volume covers the tiling's space from edge to edge with voxels of another size: read what touches the
        core's space, and the halo, in the volume's own voxels.
    corner, extent
        For a piece of a larger volume: where the tiling's space begins in it, and how many of its voxels it has (the
        tiling's shape, or another one if ``scaled``). Halos reach beyond the piece, up to the volume's own faces.
    """

    volume: Volume
    low: Index3 = ZERO
    high: Index3 = ZERO
    edge: EdgeRule = "clip"
    align: Index3 = (1, 1, 1)
    owned: Index3 | None = None
    offset: Index3 = ZERO
    scaled: bool = False
    corner: Index3 = ZERO
    extent: Index3 | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "volume", self.volume.with_(facts={}))  # headers do not travel with every unit

    def box(self, core: Box, shape: Index3) -> Box:
        """The box this input covers for a core of a tiling of this shape."""
        if self.scaled:
            ratios = list(zip(self.extent or self.volume.shape, shape, strict=True))
            start = index3(a * n // m for a, (n, m) in zip(core.start, ratios, strict=True))
            stop = index3(-(-b * n // m) for b, (n, m) in zip(core.stop, ratios, strict=True))
            core, shape = Box(start, stop), self.volume.shape
        if self.extent is not None:
            core, shape = core.shift(self.corner), self.volume.shape
        wide = core.grow(self.low, self.high)
        start = index3(a // g * g for a, g in zip(wide.start, self.align, strict=True))
        stop = index3(-(-b // g) * g for b, g in zip(wide.stop, self.align, strict=True))
        box = Box(start, stop)
        return box.clip(shape) if self.edge == "clip" else box


@dataclass(frozen=True)
class TableInput:
    """Tables that an earlier stage of the plan emitted.

    ``own``: the table of the block with the same number. ``neighbours``: that one and those of the up to 26 blocks
    around it. ``all``: every block's (of a stage with one unit: block 0's).
    """

    stage: str
    scope: Scope = "own"


@dataclass(frozen=True)
class Output:
    """An array that a stage writes: at the core's place (scaled by ``factor``), or one piece per block.

    ``owned`` is the shape of the piece that each block owns in a scratch array of shape ``grid * owned``.
    """

    volume: Volume
    factor: Index3 = (1, 1, 1)
    owned: Index3 | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "volume", self.volume.with_(facts={}))

    def box(self, core: Box, index: Index3) -> Box:
        if self.owned is None:
            return core.coarsen(self.factor).clip(self.volume.shape)
        start = index3(i * n for i, n in zip(index, self.owned, strict=True))
        return Box(start, index3(a + n for a, n in zip(start, self.owned, strict=True)))


@dataclass(frozen=True)
class Stage:
    """One step of a plan.

    Parameters
    ----------
    name
        Unique in its plan.
    kernel
        ``"package.module:function"``; see :mod:`volengine.core.block`.
    tiling
        The blocks. ``Tiling(shape, shape)`` has one block: a reduce step over tables.
    params
        JSON values, handed to the kernel by name. Those that follow from the blocks alone are named as
        :data:`BLOCK_PARAMS`.
    hints
        More of them that say how to compute (threads), not what: they must not change results, so they are no part
        of any identity.
    arrays, tables
        Inputs by name.
    outputs
        Arrays to write, by name. A stage never reads its own output.
    emits
        Whether each block also emits a table.
    kernel_bytes
        Working memory of the kernel at its peak, for the largest unit, besides its inputs and outputs.
    fixed_bytes
        Memory a worker process needs besides all units, and besides the engine's own baseline (torch, weights).
    version
        Raised when the kernel's results change; part of every unit's identity.
    transient
        What the stage leaves in the scratch folder besides its outputs goes with it at the end of the run.
    resources
        Dask worker resources one unit needs, for example ``{"GPU": 1}``.
    """

    name: str
    kernel: str
    tiling: Tiling
    params: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, ArrayInput] = field(default_factory=dict)
    tables: Mapping[str, TableInput] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    emits: bool = False
    kernel_bytes: int = 0
    fixed_bytes: int = 0
    version: int = 1
    transient: bool = False
    resources: Mapping[str, float] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.outputs and not self.emits:
            raise PlanError(f"Stage {self.name!r} writes nothing.")
        written = {(o.volume.url, o.volume.path) for o in self.outputs.values()}
        for name, source in self.arrays.items():
            if (source.volume.url, source.volume.path) in written:
                raise PlanError(f"Stage {self.name!r} reads its own output through input {name!r}.")
        for output in self.outputs.values():
            v = output.volume
            unit = v.shards or v.chunks or v.shape
            if output.owned is not None:
                check_multiple(output.owned, unit, v.shape)
            else:
                full = index3(u * f for u, f in zip(unit, output.factor, strict=True))
                check_multiple(self.tiling.core, full, self.tiling.shape)

    @cached_property
    def function(self) -> Kernel:
        """The kernel itself."""
        return load_function(self.kernel)

    def run(self, block: Block) -> Result:
        """Call the kernel on one block."""
        return self.function(block, **self.params, **self.hints)

    def identify(self, identities: Mapping[str, str], upstream: Mapping[str, str]) -> str:
        """Identity of the stage's results: kernel, version, parameters, inputs, tiling and outputs.

        Parameters
        ----------
        identities
            Identity of what each input array holds, by input name.
        upstream
            Identity of each earlier stage, by stage name: for the tables.
        """
        facts = {
            "kernel": [self.kernel, self.version, dict(self.params)],
            "arrays": {k: [_place(a), identities[k]] for k, a in self.arrays.items()},
            "tables": {k: [upstream[t.stage], t.scope] for k, t in self.tables.items()},
            "outputs": {k: _place(o) for k, o in self.outputs.items()},
            "tiling": asdict(self.tiling),
        }
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stage:
        values = dict(data)
        values["tiling"] = Tiling(**{k: index3(v) for k, v in data["tiling"].items()})
        values["arrays"] = {k: ArrayInput(**_read(v)) for k, v in data["arrays"].items()}
        values["tables"] = {k: TableInput(**v) for k, v in data["tables"].items()}
        values["outputs"] = {k: Output(**_read(v)) for k, v in data["outputs"].items()}
        return cls(**values)


def _read(item: Mapping[str, Any]) -> dict[str, Any]:
    triples = {k: index3(v) if isinstance(v, list) else v for k, v in item.items()}
    return {**triples, "volume": Volume.from_json(item["volume"])}


def _place(item: ArrayInput | Output) -> dict[str, Any]:
    """What of an input or output counts for the identity: not where it lies, but how it is read or written."""
    facts = asdict(item)
    volume = facts.pop("volume")
    kept = ("path", "shape", "dtype", "chunks", "shards", "axes")
    return {**facts, **{k: volume[k] for k in kept}}
