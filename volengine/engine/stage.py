"""Stages: a kernel with its inputs, its new outputs, and the blocks on which it runs."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from volengine.core.block import Block, Result
from volengine.core.boxes import Box, Index3, index3, neighbours
from volengine.core.digest import digest_of
from volengine.core.errors import InputError, PlanError
from volengine.core.fields import fields_of
from volengine.core.text import with_texts
from volengine.core.tiling import Tiling, check_multiple
from volengine.core.volume import Volume
from volengine.engine.kernels import OWN_KERNELS, check_listed
from volengine.engine.plan_json import made

EdgeRule = Literal["clip", "reflect", "edge", "zero"]
Scope = Literal["own", "neighbours", "within", "holding", "all"]
Kernel = Callable[..., Result]
ZERO: Index3 = (0, 0, 0)
MAX_UNITS = 2**28
"""Largest number of blocks of a stage that a file may announce."""

BLOCK_PARAMS = ("core", "direct")
"""Names of kernel parameters that depend on the blocks only: the block's shape, and whether it needs no neighbour."""


def load_function(name: str) -> Callable[..., Any]:
    """Import the function that a text ``"package.module:function"`` names.

    The text must come from Python code, or from a file whose names have been looked up in the list of
    :mod:`volengine.engine.kernels`, as :meth:`Stage.from_json` does.
    """
    module, _, function = name.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return loaded


def kernel_bytes(kernel: str, **facts: Any) -> Any:
    """Return the memory that a kernel needs, from the function ``KERNEL_bytes(**facts)`` beside it in its module.

    So the number is stated once, and a planner does not import the module of the kernel in its own code.

    Parameters
    ----------
    kernel
        ``"package.module:function"``.
    facts
        Arguments of ``function_bytes``.
    """
    return load_function(f"{kernel}_bytes")(**facts)


@dataclass(frozen=True)
class ArrayInput:
    """An array that a stage reads, block by block.

    Parameters
    ----------
    volume
        The volume. It has the shape of the stage's tiling, unless ``scaled`` or ``extent`` is given.
    low, high
        Halo in voxels before and behind the core, z, y, x.
    edge
        Edge rule for the halo outside of the volume: ``clip`` (the halo is cut off), ``reflect`` (mirrored without
        repeating the border voxel), ``edge`` (the border voxel repeated) or ``zero``.
    align
        The box is extended outwards to multiples of this, z, y, x, before ``edge`` is applied.
    owned, offset
        For scratch arrays that hold one piece of shape ``owned`` per block: read the piece of the block at grid index +
        ``offset``. A piece that does not exist is zero.
    scaled
        The volume covers the space of the tiling from edge to edge, with another voxel size. The voxels that touch the
        core's space are read, and a halo in the volume's own voxels.
    corner, extent
        For a part of a larger volume: the first voxel of the tiling's space in that volume, and the number of the
        volume's voxels that it covers (the tiling's shape, or another one if ``scaled``). Halos reach beyond the part,
        up to the faces of the volume. For a piece of the tiling's space the corner is negative; with the edge rule
        ``clip`` a block gets the voxels that the piece has there, often none.
    parts
        Start and stop of a box of the volume for each block: the block with the number n reads ``parts[n]``. The tiling
        has blocks along z alone.
    at
        For an array that holds only a part of the tiling's space: the voxel of that space at which its first voxel
        lies. Boxes stay in voxels of the tiling (:meth:`stored` is the one in the array), and the array's faces are
        those of a volume for ``edge``.
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
    parts: tuple[tuple[Index3, Index3], ...] | None = None
    at: Index3 = ZERO

    def __post_init__(self) -> None:
        object.__setattr__(self, "volume", self.volume.with_(facts={}))  # do not send the header with every unit

    def box(self, core: Box, shape: Index3) -> Box:
        """Return the box that this input covers, for a core of a tiling of this shape."""
        if self.scaled:
            ratios = list(zip(self.extent or self.volume.shape, shape, strict=True))
            start = index3(a * n // m for a, (n, m) in zip(core.start, ratios, strict=True))
            stop = index3(-(-b * n // m) for b, (n, m) in zip(core.stop, ratios, strict=True))
            core = Box(start, stop)
        if self.extent is not None:
            core = core.shift(self.corner)
        wide = core.grow(self.low, self.high)
        start = index3(a // g * g for a, g in zip(wide.start, self.align, strict=True))
        stop = index3(-(-b // g) * g for b, g in zip(wide.stop, self.align, strict=True))
        box = Box(start, stop)
        if self.edge != "clip":
            return box
        return box.intersect(Box.of_shape(self.volume.shape).shift(self.at))

    def stored(self, box: Box) -> Box:
        """Return the box in voxels of the array itself, for one of :meth:`region`."""
        return box if self.at == ZERO else box.shift(index3(-a for a in self.at))

    def widened(self, halo: Index3) -> ArrayInput:
        """Return this input with a halo of at least ``halo`` on every side; pieces of scratch arrays have none."""
        if self.owned is not None or self.parts is not None:
            return self
        low = index3(max(a, h) for a, h in zip(self.low, halo, strict=True))
        high = index3(max(a, h) for a, h in zip(self.high, halo, strict=True))
        return replace(self, low=low, high=high)

    def region(self, core: Box, index: Index3, shape: Index3) -> Box:
        """Return the box that the block with this core and grid index reads; it may reach outside of the volume."""
        if self.parts is not None:
            return Box(*self.parts[index[0]])
        if self.owned is None:
            return self.box(core, shape)
        start = index3((i + d) * n for i, d, n in zip(index, self.offset, self.owned, strict=True))
        return Box(start, index3(a + n for a, n in zip(start, self.owned, strict=True)))


@dataclass(frozen=True)
class TableInput:
    """Tables that an earlier stage of the plan emitted.

    Parameters
    ----------
    stage
        Name of the stage.
    scope
        ``own``: the table of the block with the same number. ``neighbours``: this table and those of the up to 26
        blocks around it. ``within``: those of the smaller blocks that lie in this one. ``holding``: that of the larger
        block that holds this one. ``all``: the tables of all blocks (for a stage with one unit, the table of block 0).
    core
        With ``within`` and ``holding``: the shape of the blocks of that stage, voxels z, y, x.
    """

    stage: str
    scope: Scope = "own"
    core: Index3 | None = None

    def numbers(self, number: int, tiling: Tiling) -> list[int]:
        """Return the numbers of the blocks whose tables a unit reads, but for the scope ``all``.

        Parameters
        ----------
        number, tiling
            Number of the unit's block, and the tiling of its stage.
        """
        if self.scope == "own":
            return [number]
        if self.scope == "neighbours":
            return sorted([number, *(tiling.number(i) for i in neighbours(tiling.index(number), tiling.grid))])
        other = Tiling(tiling.shape, self.core or tiling.core, tiling.start, tiling.stop)
        box = tiling.box(number)
        if self.scope == "holding":
            return [other.owner(box.start)]
        first = [(a - s) // c for a, s, c in zip(box.start, other.start, other.core, strict=True)]
        behind = [-(-(b - s) // c) for b, s, c in zip(box.stop, other.start, other.core, strict=True)]
        return [other.number(index) for index in itertools.product(*map(range, first, behind))]


@dataclass(frozen=True)
class Output:
    """An array that a stage writes.

    Parameters
    ----------
    volume
        The array: a level of an image, or a scratch array.
    factor
        Voxels of the tiling per voxel of the array, z, y, x. A block writes its core coarsened by it.
    owned
        For scratch arrays of shape ``grid * owned``: the shape of the piece that each block writes instead.
    at
        The voxel of the tiling's space at which the array's first voxel lies: the start of the tiling's roi.
    """

    volume: Volume
    factor: Index3 = (1, 1, 1)
    owned: Index3 | None = None
    at: Index3 = ZERO

    def __post_init__(self) -> None:
        object.__setattr__(self, "volume", self.volume.with_(facts={}))

    def box(self, core: Box, index: Index3) -> Box:
        """Return the box of the array that the block with this core and grid index writes."""
        if self.owned is None:
            local = core if self.at == ZERO else core.shift(index3(-a for a in self.at))
            return local.coarsen(self.factor).clip(self.volume.shape)
        start = index3(i * n for i, n in zip(index, self.owned, strict=True))
        return Box(start, index3(a + n for a, n in zip(start, self.owned, strict=True)))


@dataclass(frozen=True)
class Stage:
    """One step of a plan.

    Parameters
    ----------
    name
        Name, unique in its plan.
    kernel
        ``"package.module:function"``; see :mod:`volengine.core.block`.
    tiling
        The blocks. ``Tiling(shape, shape)`` has one block, as a reduce step over tables needs it.
    params
        JSON values that are passed to the kernel by name. Those that depend on the blocks only have the names in
        :data:`BLOCK_PARAMS`.
    arrays, tables
        Inputs by name.
    outputs
        Arrays to write, by name. A stage never reads its own output.
    emits
        Whether each block also emits a table.
    kernel_bytes
        Peak working memory of the kernel for the largest unit, without its inputs and outputs, bytes.
    fixed_bytes
        Memory that stays in a worker process, besides the engine's own baseline (torch, weights), bytes.
    version
        Version of the kernel, part of the identity of every unit. Raise it when the kernel's results change.
    transient
        Whether the stage writes other files into the scratch folder, which is deleted at the end of the run.
    resources
        Dask worker resources that one unit needs, for example ``{"GPU": 1}``.
    hints
        More parameters of the kernel, which say how to compute and not what (threads). They must not change results,
        so they are not part of any identity.
    moved
        Where files are now that the parameters name by the path at which results were computed
        (:mod:`volengine.engine.moved`); no part of any identity.

    Raises
    ------
    PlanError
        The stage writes nothing, reads its own output, or its blocks would share a shard of an output; or its name
        cannot be the name of a folder.
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
    moved: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_folder_name(self.name, "A stage")
        if not self.outputs and not self.emits:
            raise PlanError(f"Stage {self.name!r} writes nothing.")
        places = [(o.volume.url, o.volume.path) for o in self.outputs.values()]
        written = set(places)
        if len(written) < len(places):
            twice = next(place for place in places if places.count(place) > 1)
            raise PlanError(f"Stage {self.name!r} writes {'/'.join(filter(None, twice))} twice.")
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
                check_multiple(self.tiling.core, full, self.tiling.roi.shape)
                if output.at != self.tiling.start:
                    raise PlanError(
                        f"Stage {self.name!r} works from voxel {self.tiling.start} on, but its output begins at "
                        f"{output.at}."
                    )

    @cached_property
    def function(self) -> Kernel:
        """The kernel itself."""
        return load_function(self.kernel)

    def run(self, block: Block) -> Result:
        """Call the kernel on one block."""
        params = with_texts(dict(self.params), self.moved) if self.moved else self.params
        return self.function(block, **params, **self.hints)

    def identify(self, identities: Mapping[str, str], upstream: Mapping[str, str]) -> str:
        """Compute the identity of the stage's results: a digest of kernel, version, parameters, inputs, outputs,
        tiling.

        Parameters
        ----------
        identities
            Identity of the contents of each input array, by input name.
        upstream
            Identity of each earlier stage, by stage name; it stands for the tables that are read from it.

        Returns
        -------
        20 hexadecimal digits.

        Raises
        ------
        PlanError
            A parameter has no exact text (:mod:`volengine.core.digest`).
        """
        facts = {
            "kernel": [self.kernel, self.version, dict(self.params)],
            "arrays": {k: [_place(a), identities[k]] for k, a in self.arrays.items()},
            "tables": {k: [upstream[t.stage], t.scope] for k, t in self.tables.items()},
            "outputs": {k: _place(o) for k, o in self.outputs.items()},
            "tiling": _tiling(self.tiling),
        }
        return digest_of(facts)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], also: Collection[str] = (), where: str = "stage") -> Stage:
        """Make a stage from the values of :meth:`to_json`.

        Parameters
        ----------
        data
            The values. They may come from anybody's file.
        also
            Names of kernels that may be run besides the package's own (:mod:`volengine.engine.kernels`).
        where
            What holds the values, for messages.

        Raises
        ------
        OldPlanError
            The kernel is not in the list.
        InputError
            A value is missing, unknown, or not of its type.
        """
        stage = made(cls, data, where)
        if math.prod(stage.tiling.grid) > MAX_UNITS:
            raise InputError(f"{where}: {stage.tiling} has more than {MAX_UNITS} blocks.")
        check_listed(stage.kernel, OWN_KERNELS, also, where)
        return stage


def check_folder_name(name: str, what: str) -> None:
    """Refuse a name that would lead to another folder: tables and ledgers are stored under names."""
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise PlanError(f"{what} cannot be called {name!r}: its files are in a folder of that name. Rename it.")


def _place(item: ArrayInput | Output) -> dict[str, Any]:
    """Return the facts of an input or output that count for the identity: how it is read or written, not its URL."""
    facts = fields_of(item)
    volume = facts.pop("volume")
    if facts.get("parts") is None:
        facts.pop("parts", None)  # as before there were any: results of earlier runs stay valid
    if facts["at"] == ZERO:  # as it was before parts of volumes were worked on
        facts.pop("at")
    kept = ("path", "shape", "dtype", "chunks", "shards", "axes")
    return {**facts, **{k: volume[k] for k in kept}}


def _tiling(tiling: Tiling) -> dict[str, Any]:
    """Return the facts of a tiling that count for the identity; those of a roi only if there is one."""
    facts = fields_of(tiling)
    if tiling.roi == Box.of_shape(tiling.shape):
        del facts["start"], facts["stop"]
    return facts
