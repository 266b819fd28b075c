"""Kernels of ``segment``: slice statistics, networks over the patches of a block, blending across blocks.

A network's part of a stage is described by a :class:`Net`, as JSON: model file, patch lattice, window, edges. The
kernels unpack a block and call ``volengine.nets`` and ``volengine.ops``, where the method is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.lattice import AxisLattice, Edge, Lattice, PatchIndex
from volengine.ops import blend
from volengine.ops.normalise import Normalisation, combine, slice_moments
from volengine.ops.patches import PatchReader
from volengine.ops.quantise import ProbabilityType, Rounding, quantise
from volengine.ops.windows import Window
from volengine.tasks.images import levels_of

SLAB_VOXELS = 2**24


@dataclass(frozen=True)
class Net:
    """A model's part of the prediction.

    Parameters
    ----------
    path, digest
        The model file and its identity.
    features
        Name of the feature in each output channel; empty: the channel is not kept (background).
    lattice
        The patches.
    window, edges, normalisation
        How patches are blended, what lies outside of the volume, and how the input is normalised.
    bounded
        Whether the answers are probabilities.
    execution
        Fields of :class:`volengine.nets.predictor.Execution`.
    """

    path: str
    digest: str
    features: tuple[str, ...]
    lattice: Lattice
    window: Window
    edges: tuple[Edge, Edge, Edge]
    normalisation: Normalisation
    bounded: bool
    execution: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """JSON parameters of a kernel."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Net:
        values = dict(data)
        axes = [AxisLattice(**values["lattice"][axis]) for axis in "zyx"]
        z, y, x = values["edges"]
        values.update(lattice=Lattice(*axes), edges=(z, y, x), features=tuple(values["features"]))
        return cls(**values)

    @property
    def kept(self) -> list[tuple[int, str]]:
        """Channel and name of each feature that is written."""
        return [(channel, feature) for channel, feature in enumerate(self.features) if feature]

    @property
    def scale(self) -> float:
        """Fixed-point scale of its sums."""
        return blend.PROBABILITY_SCALE if self.bounded else blend.VALUE_SCALE


@dataclass(frozen=True)
class Storage:
    """How predictions are written: type, rounding, and the factors of the pyramid's levels."""

    dtype: ProbabilityType
    rounding: Rounding
    factors: tuple[Index3, ...]

    def levels(self, sums: NDArray[np.int32], net: Net, feature: str) -> dict[str, Any]:
        """A block of sums as stored values on all levels, named ``feature@level``."""
        values = quantise(sums, net.scale, self.dtype, self.rounding, bounded=net.bounded)
        return levels_of(values, self.factors, "probability", feature)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Storage:
        return cls(data["dtype"], data["rounding"], tuple(index3(f) for f in data["factors"]))


def slice_cells(block: Block) -> Result:
    """Kernel: sums of the cells of each slice (:func:`volengine.ops.normalise.slice_moments`)."""
    return Result(table={"cells": slice_moments(block.arrays["image"])})


def slice_statistics(block: Block, grid: Index3) -> Result:
    """Kernel of the one unit that reads all cells: mean and standard deviation of slices and volume."""
    tables = block.tables["cells"]
    nz, ny, nx = grid
    rows = []
    for z in range(nz):
        row = range(z * ny * nx, (z + 1) * ny * nx)
        rows.append(np.concatenate([tables[n]["cells"] for n in row], axis=1))
    moments = combine([np.concatenate(rows)])
    mean, std = moments.per_slice()
    return Result(table={"mean": mean, "std": std, "volume": np.array(moments.volume())})


def predict(
    block: Block, nets: list[dict[str, Any]], core: Index3, direct: bool, storage: dict[str, Any], threads: int = 1
) -> Result:
    """Kernel: run the patches that this block owns.

    Parameters
    ----------
    nets
        JSON of :class:`Net`.
    core
        Shape of a whole block's core.
    direct
        No patch crosses a block: write the predictions. Otherwise: hand on fixed-point sums as pieces, named
        ``feature/core``, ``feature/z``, ``feature/zy`` ...
    storage
        JSON of :class:`Storage`.
    threads
        Batches at a time on a CPU; results do not depend on it.
    """
    image = block.arrays["image"]
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError(
            f"The block at {block.box.start} holds voxels that are not finite (NaN or infinity); replace them first."
        )
    arrays: dict[str, Any] = {}
    patches = 0
    stored = Storage.from_json(storage)
    for net in map(Net.from_json, nets):
        over = net.lattice.overhang(core)
        if direct:
            values, count = _values(block, net, stored, threads)
            for feature, level in values.items():
                arrays |= levels_of(level, stored.factors, "probability", feature)
        else:
            region = block.box.grow((0, 0, 0), over).clip(block.shape)
            owned = list(net.lattice.owned(block.box))
            sums, count = _sums(block, net, owned, region, threads), len(owned)
            for channel, feature in net.kept:
                pieces = blend.split(sums[channel], block.box.shape, over, core)
                arrays |= {f"{feature}/{name}": piece for name, piece in pieces.items()}
        patches += count
    return Result(arrays, counts={"patches": patches})


def slab_slices(net: Net, box: Box, threads: int) -> int:
    """Slices to sum and to round at a time: all for 3D patches; for patches in slices, some, to save memory."""
    z, y, x = box.shape
    return z if net.lattice.z.patch > 1 else min(z, max(SLAB_VOXELS // (y * x), 2 * threads))


def _values(block: Block, net: Net, stored: Storage, threads: int) -> tuple[dict[str, Any], int]:
    """The predictions of a block that no patch crosses, by feature, and the number of patches that were run."""
    values = {feature: np.empty(block.box.shape, stored.dtype) for _, feature in net.kept}
    step = slab_slices(net, block.box, threads)
    patches = 0
    for first in range(block.box.start[0], block.box.stop[0], step):
        slab = Box((first, *block.box.start[1:]), (min(first + step, block.box.stop[0]), *block.box.stop[1:]))
        owned = list(net.lattice.owned(slab))
        sums = _sums(block, net, owned, slab, threads)
        for channel, feature in net.kept:
            target = values[feature][slab.slices_in(block.box)]
            target[...] = quantise(sums[channel], net.scale, stored.dtype, stored.rounding, bounded=net.bounded)
        patches += len(owned)
    return values, patches


def _sums(block: Block, net: Net, owned: list[PatchIndex], region: Box, threads: int) -> NDArray[np.int32]:
    """Fixed-point sums of all channels over a region."""
    from volengine.nets.predictor import Execution, load_predictor
    from volengine.nets.tiles import PatchJob, predict_patches

    predictor = load_predictor(net.path, net.digest, Execution(**net.execution))
    mean, std = _mean_and_std(block, net.normalisation)
    reader = PatchReader(
        block.arrays["image"], block.boxes["image"], block.shape, net.edges, net.normalisation, mean, std
    )
    job = PatchJob(net.lattice, reader, blend.Shares(net.lattice, net.window, net.scale))
    return predict_patches(predictor, job, owned, region, threads)


def _mean_and_std(
    block: Block, normalisation: Normalisation
) -> tuple[NDArray[np.float64] | float, NDArray[np.float64] | float]:
    if normalisation not in ("volume", "per_slice"):
        return 0.0, 1.0
    table = block.tables["statistics"][0]
    if normalisation == "volume":
        mean, std = table["volume"].tolist()
        return mean, std
    return table["mean"].astype(np.float64), table["std"].astype(np.float64)


def blend_block(block: Block, nets: list[dict[str, Any]], storage: dict[str, Any]) -> Result:
    """Kernel: a block's own sums and what its lower neighbours' patches add, as stored predictions."""
    stored = Storage.from_json(storage)
    arrays: dict[str, Any] = {}
    for net in map(Net.from_json, nets):
        for _, feature in net.kept:
            own = f"{feature}/core"
            pieces = {
                name: array.astype(np.int32, copy=False)
                for name, array in block.arrays.items()
                if name.startswith(f"{feature}/") and name != own
            }
            core = block.arrays[own].astype(np.int32)  # a copy: the sums are added in place
            arrays |= stored.levels(blend.join(core, pieces), net, feature)
    return Result(arrays)
