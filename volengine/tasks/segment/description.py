"""Facts that the planner and the kernels of ``segment`` share: how each network is applied, how predictions are stored.

A stage carries both in its parameters, as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.fields import fields_of
from volengine.core.lattice import AxisLattice, EdgeRule, Lattice
from volengine.ops import blend
from volengine.ops.normalise import Normalisation
from volengine.ops.quantise import ProbabilityType, Rounding, quantise, quantise_spread
from volengine.ops.windows import Window
from volengine.tasks.common.levels import levels_of

if TYPE_CHECKING:
    from volengine.nets.tta import View


UNCERTAINTY = " uncertainty"
"""Suffix of the name of the volume that holds a feature's uncertainty."""

STATISTICS_SLICES = 64
"""Slices per block in the stages that compute statistics."""


@dataclass(frozen=True)
class Net:
    """How one model is applied to a volume.

    Parameters
    ----------
    path, digest
        The model file and the digest of its bytes.
    features
        Name of the feature in each output channel; an empty name: the channel is not written (background).
    lattice
        Where the patches lie.
    window, edges, normalisation
        How patches are blended, what stands in for voxels outside of the volume (per axis), and how the input is
        normalised.
    bounded
        Whether probabilities (0 to 1) are summed, and not logits or other values.
    execution
        Fields of :class:`volengine.nets.predictor.Execution`.
    mirror_volume
        Whether test-time augmentation flips the whole volume instead of each patch.
    sigmoid
        Logits are summed, and the sigmoid of their mean is written.
    network
        The user's own architecture that this model may run, if it has one.
    inverted
        The volume has the opposite contrast of those that the network was trained on.
    colour
        Red, green, blue, 0 to 1, in which viewers show the prediction, if the model states one. It does not change the
        prediction, so kernels do not get it.
    epsilon
        Number that is added to the divisor of the normalisation, as the program does from which the model is; 0: none.
    averaged
        For each channel the number of models on this grid whose mean is taken, if the network is one of an ensemble.
    revision
        Raised where an architecture is computed in another order since, so that its last bits differ; the results of
        other architectures stay valid.
    """

    path: str
    digest: str
    features: tuple[str, ...]
    lattice: Lattice
    window: Window
    edges: tuple[EdgeRule, EdgeRule, EdgeRule]
    normalisation: Normalisation
    bounded: bool
    execution: Mapping[str, Any]
    mirror_volume: bool = False
    sigmoid: bool = False
    network: str | None = None
    inverted: bool = False
    colour: tuple[float, float, float] | None = None
    epsilon: float = 0.0
    averaged: tuple[int, ...] = ()
    revision: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, for the parameters of a kernel."""
        given = {"colour": False, "averaged": bool(self.averaged), "revision": bool(self.revision)}
        left_out = [key for key, kept in given.items() if not kept]
        values = {key: value for key, value in fields_of(self).items() if key not in left_out}
        if self.lattice.roi == Box.of_shape(self.lattice.shape):  # as it was before parts of volumes were predicted
            for axis in values["lattice"].values():
                del axis["begin"], axis["stop"]
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Net:
        values = dict(data)
        axes = [AxisLattice(**values["lattice"][axis]) for axis in "zyx"]
        z, y, x = values["edges"]
        values.update(lattice=Lattice(*axes), edges=(z, y, x), features=tuple(values["features"]))
        values["averaged"] = tuple(values.get("averaged", ()))
        return cls(**values)

    @property
    def kept(self) -> list[tuple[int, str]]:
        """Channel and name of each feature that is written."""
        return [(channel, feature) for channel, feature in enumerate(self.features) if feature]

    @property
    def whole_slices(self) -> bool:
        """Whether each patch is a whole slice."""
        z, y, x = (self.lattice.z, self.lattice.y, self.lattice.x)
        return z.patch == 1 and y.patch >= y.n and x.patch >= x.n

    @property
    def spread(self) -> bool:
        """Whether the uncertainty is written, too."""
        return bool(self.execution.get("spread"))

    @property
    def backend(self) -> str:
        """The library that computes it, with its version; empty: PyTorch."""
        return str(self.execution.get("backend", ""))

    @property
    def channels(self) -> list[tuple[int, str]]:
        """Channel and name of every sum that the blend needs: ``feature``, ``feature~mean`` and ``feature~square``."""
        groups = [""] if not self.spread else ["", "~square"] if self.bounded else ["", "~mean", "~square"]
        n = len(self.features)
        return [(g * n + channel, feature + end) for g, end in enumerate(groups) for channel, feature in self.kept]

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each of the network's sums in the mean of an ensemble; empty: all 1."""
        groups = 1 if not self.spread else 2 if self.bounded else 3
        return tuple(1 / n for n in self.averaged) * groups if any(n > 1 for n in self.averaged) else ()

    @property
    def products(self) -> list[str]:
        """Names of the volumes that are written."""
        names = [feature for _, feature in self.kept]
        return names + [uncertainty_of(f) for f in names] if self.spread else names

    @property
    def probable(self) -> list[str]:
        """Names of the features whose stored values are probabilities."""
        return [feature for _, feature in self.kept] if self.bounded or self.sigmoid else []

    @property
    def scale(self) -> float:
        """Fixed-point scale of the network's sums."""
        return blend.PROBABILITY_SCALE if self.bounded else blend.VALUE_SCALE

    @cached_property
    def passes(self) -> list[Pass]:
        """The patches of the volume, and those of its mirrored versions where their places differ."""
        from volengine.nets.tta import mirrored_depth, views

        if not self.mirror_volume:
            return [Pass(self.lattice, None, 1.0)]
        z = self.lattice.z
        every = views(self.execution["tta"], mirrored_depth(z.patch > 1, 1 + z.low + z.high))
        found: dict[Lattice, list[View]] = {}
        for view in every:
            if view.mirrors is None:
                raise InputError("Only flips mirror a whole volume; use tta flips, or turn each patch.")
            found.setdefault(self.lattice.mirror(view.mirrors), []).append(view)
        return [Pass(lattice, tuple(seen), len(seen) / len(every)) for lattice, seen in found.items()]

    @property
    def patches(self) -> int:
        """Number of patches of all passes."""
        return sum(p.lattice.wanted for p in self.passes)

    def overhang(self, core: Sequence[int]) -> Index3:
        """The largest overhang of all passes, voxels z, y, x; see :meth:`volengine.core.lattice.Lattice.overhang`."""
        return index3(np.max([p.lattice.overhang(core) for p in self.passes], axis=0).tolist())

    def halo(self, core: Sequence[int]) -> tuple[Index3, Index3]:
        """The largest halo of all passes, voxels z, y, x; see :meth:`volengine.core.lattice.Lattice.halo`."""
        low, high = np.max([p.lattice.halo(core, self.edges) for p in self.passes], axis=0).tolist()
        return index3(low), index3(high)

    def axis_overhang(self, axis: int, core: int) -> int:
        """The overhang along one axis, for a core of this length."""
        return max(p.lattice.axes[axis].overhang(core) for p in self.passes)


@dataclass(frozen=True)
class Pass:
    """Patches that are summed together: a lattice, their views (``None``: all), and their share of the sum."""

    lattice: Lattice
    views: tuple[View, ...] | None
    share: float


@dataclass(frozen=True)
class Team:
    """Networks of one grid whose sums are added: a single one, or those models of an ensemble that share features.

    They agree in what is summed (:attr:`Net.bounded`, :attr:`Net.sigmoid`, :attr:`Net.spread`).
    """

    nets: tuple[Net, ...]

    @property
    def features(self) -> list[str]:
        """Names of the features that are written."""
        return list(dict.fromkeys(feature for net in self.nets for _, feature in net.kept))

    @property
    def sums(self) -> list[str]:
        """Names of all sums, see :attr:`Net.channels`."""
        return list(dict.fromkeys(name for net in self.nets for _, name in net.channels))

    @property
    def roi(self) -> Box:
        """The part of the volume that is predicted, the same of all networks."""
        return self.nets[0].lattice.roi

    def overhang(self, core: Sequence[int]) -> Index3:
        """The largest overhang of all networks, voxels z, y, x."""
        return index3(np.max([net.overhang(core) for net in self.nets], axis=0).tolist())


def teams(nets: Iterable[Net]) -> list[Team]:
    """Put networks that share a feature, directly or through others, into one team."""
    found: list[tuple[Net, ...]] = []
    for net in nets:
        mine = {feature for _, feature in net.kept}
        own = [team for team in found if any(mine & {f for _, f in other.kept} for other in team)]
        found = [*(team for team in found if team not in own), (*(net for team in own for net in team), net)]
    return [Team(team) for team in found]


def uncertainty_of(feature: str) -> str:
    """Name of the volume that holds a feature's uncertainty."""
    return f"{feature}{UNCERTAINTY}"


@dataclass(frozen=True)
class Encoding:
    """How predictions become stored values: dtype, rounding, and the factors of the pyramid's levels."""

    dtype: ProbabilityType
    rounding: Rounding
    factors: tuple[Index3, ...]

    def values(self, sums: Mapping[str, NDArray[np.int32]], team: Team, feature: str) -> dict[str, NDArray[np.generic]]:
        """Turn sums of a feature (int32, by the names of :attr:`Net.channels`) into stored values of its volumes."""
        net = team.nets[0]
        found = quantise(sums[feature], net.scale, self.dtype, self.rounding, bounded=net.bounded, sigmoid=net.sigmoid)
        values = {feature: found}
        if net.spread:
            means = sums[feature if net.bounded else f"{feature}~mean"]
            squares = sums[f"{feature}~square"]
            spread = quantise_spread(means, squares, blend.PROBABILITY_SCALE, self.dtype, self.rounding)
            values[uncertainty_of(feature)] = spread
        return values

    def levels(self, values: Mapping[str, NDArray[np.generic]]) -> dict[str, Any]:
        """Stored values of each volume on all levels, named ``product@level``."""
        arrays: dict[str, Any] = {}
        for name, level in values.items():
            arrays |= levels_of(level, self.factors, "probability", name)
        return arrays

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Encoding:
        return cls(data["dtype"], data["rounding"], tuple(index3(f) for f in data["factors"]))


def above_half(arrays: Mapping[str, Any], features: Sequence[str]) -> dict[str, int]:
    """Count the voxels above a probability of 0.5 on the finest level of predictions, by ``FEATURE voxels above 0.5``.

    ``arrays`` are stored values by ``product@level``, as :meth:`Encoding.levels` returns them.
    """
    counts = {}
    for feature in features:
        values = arrays[f"{feature}@0"]
        level = 127 if values.dtype == np.uint8 else 0.5
        counts[f"{feature} voxels above 0.5"] = int(np.count_nonzero(values > level))
    return counts


def crosses(nets: Sequence[Net], core: Sequence[int]) -> bool:
    """Whether a patch of any network reaches beyond the upper faces of blocks with this core."""
    return any(net.axis_overhang(axis, c) > 0 for net in nets for axis, c in enumerate(core))
