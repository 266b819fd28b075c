"""Kernels of ``segment``: slice statistics, networks over the patches of a block, blending across blocks.

A network's part of a stage is described by a :class:`Net`, as JSON: model file, patch lattice, window, edges. The
kernels unpack a block and call ``volengine.nets`` and ``volengine.ops``, where the method is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.lattice import AxisLattice, Edge, Lattice
from volengine.ops import blend
from volengine.ops.normalise import EPSILON, Normalisation, combine, mad_sample, mad_statistics, slice_moments
from volengine.ops.patches import PatchReader
from volengine.ops.quantise import ProbabilityType, Rounding, quantise, quantise_spread
from volengine.ops.windows import Window
from volengine.tasks.images import levels_of

if TYPE_CHECKING:
    from volengine.nets.tta import View

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
        Whether the sums are of probabilities.
    execution
        Fields of :class:`volengine.nets.predictor.Execution`.
    mirror_volume
        Whether the views are of the whole volume instead of the patches.
    sigmoid
        The sums are of logits, and their sigmoid is written.
    network
        The own architecture that the user allowed for this model, if it has one.
    inverted
        The volume's contrast is the other way round than what the network knows.
    colour
        Red, green, blue, 0 to 1, in which viewers show what it predicts, if the model says one. It changes nothing of
        the prediction, so kernels do not get it.
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
    mirror_volume: bool = False
    sigmoid: bool = False
    network: str | None = None
    inverted: bool = False
    colour: tuple[float, float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON parameters of a kernel."""
        return {key: value for key, value in asdict(self).items() if key != "colour"}

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
    def spread(self) -> bool:
        """Whether the uncertainty is written too."""
        return bool(self.execution.get("spread"))

    @property
    def channels(self) -> list[tuple[int, str]]:
        """Channel and name of all sums that are needed: ``feature``, ``feature~mean`` and ``feature~square``."""
        groups = [""] if not self.spread else ["", "~square"] if self.bounded else ["", "~mean", "~square"]
        n = len(self.features)
        return [(g * n + channel, feature + end) for g, end in enumerate(groups) for channel, feature in self.kept]

    @property
    def products(self) -> list[str]:
        """Names of the volumes that are written."""
        names = [feature for _, feature in self.kept]
        return names + [uncertainty_of(f) for f in names] if self.spread else names

    @property
    def scale(self) -> float:
        """Fixed-point scale of its sums."""
        return blend.PROBABILITY_SCALE if self.bounded else blend.VALUE_SCALE

    @cached_property
    def passes(self) -> list[Pass]:
        """The patches of the volume, and of its mirrored versions where they lie otherwise."""
        from volengine.nets.tta import views

        if not self.mirror_volume:
            return [Pass(self.lattice, None, 1.0)]
        depth = self.lattice.z.patch
        depth = depth if depth > 1 else 1 + self.lattice.z.low + self.lattice.z.high
        every = views(self.execution["tta"], depth)
        found: dict[Lattice, list[View]] = {}
        for view in every:
            if view.mirrors is None:
                raise InputError("Only flips mirror a whole volume; use tta flips, or turn each patch.")
            found.setdefault(self.lattice.mirror(view.mirrors), []).append(view)
        return [Pass(lattice, tuple(seen), len(seen) / len(every)) for lattice, seen in found.items()]

    @property
    def patches(self) -> int:
        """Number of patches of all passes."""
        return sum(len(p.lattice) for p in self.passes)

    def overhang(self, core: Sequence[int]) -> Index3:
        """The largest of all passes; see :meth:`volengine.core.lattice.Lattice.overhang`."""
        return index3(np.max([p.lattice.overhang(core) for p in self.passes], axis=0).tolist())

    def halo(self, core: Sequence[int]) -> tuple[Index3, Index3]:
        """The largest of all passes; see :meth:`volengine.core.lattice.Lattice.halo`."""
        low, high = np.max([p.lattice.halo(core, self.edges) for p in self.passes], axis=0).tolist()
        return index3(low), index3(high)

    def axis_overhang(self, axis: int, core: int) -> int:
        """The same along one axis, of any length."""
        return max(p.lattice.axes[axis].overhang(core) for p in self.passes)


@dataclass(frozen=True)
class Pass:
    """Patches that count together: a lattice, the views they are seen from (``None``: all), and their share."""

    lattice: Lattice
    views: tuple[View, ...] | None
    share: float


def uncertainty_of(feature: str) -> str:
    """Name of the volume that holds a feature's uncertainty."""
    return f"{feature} uncertainty"


@dataclass(frozen=True)
class Storage:
    """How predictions are written: type, rounding, and the factors of the pyramid's levels."""

    dtype: ProbabilityType
    rounding: Rounding
    factors: tuple[Index3, ...]

    def values(self, sums: Mapping[str, NDArray[np.int32]], net: Net, feature: str) -> dict[str, NDArray[np.generic]]:
        """A feature's sums, by the names of :attr:`Net.channels`, as stored values of its products."""
        found = quantise(sums[feature], net.scale, self.dtype, self.rounding, bounded=net.bounded, sigmoid=net.sigmoid)
        values = {feature: found}
        if net.spread:
            means = sums[feature if net.bounded else f"{feature}~mean"]
            squares = sums[f"{feature}~square"]
            spread = quantise_spread(means, squares, blend.PROBABILITY_SCALE, self.dtype, self.rounding)
            values[uncertainty_of(feature)] = spread
        return values

    def levels(self, values: Mapping[str, NDArray[np.generic]]) -> dict[str, Any]:
        """Stored values on all levels, named ``product@level``."""
        arrays: dict[str, Any] = {}
        for name, level in values.items():
            arrays |= levels_of(level, self.factors, "probability", name)
        return arrays

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Storage:
        return cls(data["dtype"], data["rounding"], tuple(index3(f) for f in data["factors"]))


def slice_cells(block: Block, sampled: bool = False) -> Result:
    """Kernel: sums of the cells of each slice (:func:`volengine.ops.normalise.slice_moments`).

    ``sampled``: and the voxels that ``global_mad`` is made of.
    """
    table: Table = {"cells": slice_moments(block.arrays["image"])}
    if sampled:
        table["sample"] = mad_sample(block.arrays["image"], block.box, block.shape)
    return Result(table=table)


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
    found = {"mean": mean, "std": std, "volume": np.array(moments.volume())}
    if "sample" in tables[0]:
        found["mad"] = np.array(mad_statistics(tables[n]["sample"] for n in sorted(tables)))
    return Result(table=found)


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
    check_finite(block, "image")
    arrays: dict[str, Any] = {}
    patches = 0
    stored = Storage.from_json(storage)
    for net in map(Net.from_json, nets):
        over = net.overhang(core)
        if direct:
            values, count = _values(block, net, stored, threads)
            arrays |= stored.levels(values)
        else:
            region = block.box.grow((0, 0, 0), over).clip(block.shape)
            sums, count = _sums(block, net, block.box, region, threads)
            for channel, name in net.channels:
                pieces = blend.split(sums[channel], block.box.shape, over, core)
                arrays |= {f"{name}/{direction}": piece for direction, piece in pieces.items()}
        patches += count
    return Result(arrays, counts={"patches": patches})


def check_finite(block: Block, name: str) -> None:
    """Refuse voxels that are no numbers: a network would spread them over whole patches."""
    image = block.arrays[name]
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError(
            f"The block at {block.box.start} holds voxels that are not finite (NaN or infinity); replace them first."
        )


def slab_slices(net: Net, box: Box, threads: int) -> int:
    """Slices to sum and to round at a time: all for 3D patches; for patches in slices, some, to save memory."""
    z, y, x = box.shape
    return z if net.lattice.z.patch > 1 else min(z, max(SLAB_VOXELS // (y * x), 2 * threads))


def _values(block: Block, net: Net, stored: Storage, threads: int) -> tuple[dict[str, Any], int]:
    """The predictions of a block that no patch crosses, by feature, and the number of patches that were run."""
    values: dict[str, Any] = {}
    step = slab_slices(net, block.box, threads)
    patches = 0
    for first in range(block.box.start[0], block.box.stop[0], step):
        slab = Box((first, *block.box.start[1:]), (min(first + step, block.box.stop[0]), *block.box.stop[1:]))
        sums, count = _sums(block, net, slab, slab, threads)
        named = {name: sums[channel] for channel, name in net.channels}
        for _, feature in net.kept:
            for name, part in stored.values(named, net, feature).items():
                if slab == block.box:  # no copy of the whole
                    values[name] = part
                    continue
                whole = values.setdefault(name, np.empty(block.box.shape, stored.dtype))
                whole[slab.slices_in(block.box)] = part
        patches += count
    return values, patches


def _sums(block: Block, net: Net, core: Box, region: Box, threads: int) -> tuple[NDArray[np.int32], int]:
    """Fixed-point sums of all channels over a region, of the patches that a core owns; and how many these are."""
    from volengine.nets.predictor import Execution, load_predictor
    from volengine.nets.tiles import PatchJob, predict_patches

    predictor = load_predictor(net.path, net.digest, Execution(**net.execution), net.network)
    mean, std = _mean_and_std(block, net.normalisation)
    reader = PatchReader(
        block.arrays["image"], block.boxes["image"], block.shape, net.edges, net.normalisation, mean, std, net.inverted
    )
    total: NDArray[np.int32] | None = None
    patches = 0
    for each in net.passes:
        owned = list(each.lattice.owned(core))
        patches += len(owned)
        shares = blend.Shares(each.lattice, net.window, net.scale * each.share)
        job = PatchJob(each.lattice, reader, shares, each.views)
        total = predict_patches(predictor, job, owned, region, threads, total)
    if total is None:
        raise InputError("There is no pass over the volume.")
    return total, patches


def _mean_and_std(
    block: Block, normalisation: Normalisation
) -> tuple[NDArray[np.float64] | float, NDArray[np.float64] | float]:
    if normalisation not in ("volume", "per_slice", "global_mad"):
        return 0.0, 1.0
    if normalisation == "global_mad":
        own = "native" if "native" in block.tables else "statistics"
        centre, scale = block.tables[own][0]["mad"].tolist()
        return centre, scale - EPSILON  # to which standardise adds it
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
            own = (feature, f"{feature}~mean", f"{feature}~square")
            names = [name for _, name in net.channels if name in own]
            sums = {name: _joined(block, name) for name in names}
            arrays |= stored.levels(stored.values(sums, net, feature))
    return Result(arrays)


def _joined(block: Block, name: str) -> NDArray[np.int32]:
    """A block's own sums of this name, and what reaches in from its lower neighbours."""
    own = f"{name}/core"
    pieces = {
        key: array.astype(np.int32, copy=False)
        for key, array in block.arrays.items()
        if key.startswith(f"{name}/") and key != own
    }
    return blend.join(block.arrays[own].astype(np.int32), pieces)  # a copy: the sums are added in place
