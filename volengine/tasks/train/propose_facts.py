"""What a proposal is made from: facts of the samples, of the machine, and of the networks to choose from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from volengine.core.boxes import Index3
from volengine.core.volume import Vector3
from volengine.tasks.train.samples import Use

Kind = Literal["volume", "slices", "boxes", "set", "flat set"]


ANISOTROPIC = 3.0
"""Voxels this many times as long along z as in the plane are learnt in 2D (nnU-Net's threshold)."""
INDEPENDENT = 0.5
"""So are slices whose likeness to their neighbours is less than this share of that of neighbouring rows."""
FEW_SLICES = 32


def is_flat(shape: Index3, voxel_size: Vector3, alike: Vector3) -> bool:
    """Whether objects are better measured in single slices: few of them, far apart, or unlike each other."""
    z, y, x = alike
    apart = z < INDEPENDENT * min(y, x) and min(y, x) > 0.3
    return shape[0] < FEW_SLICES or voxel_size[0] >= ANISOTROPIC * min(voxel_size[1:]) or apart


@dataclass(frozen=True)
class FeatureFacts:
    """What was measured of a feature in a sample.

    Parameters
    ----------
    name
        The feature.
    share
        Its share of the voxels that count.
    thickness_vox
        The usual diameter of the balls that fit into its objects, voxels: the thickness of a membrane, the diameter of
        a filament or particle; ``None`` if none was found as a whole.
    """

    name: str
    share: float
    thickness_vox: float | None = None


@dataclass(frozen=True)
class GreyFacts:
    """What was measured of the grey values of a sample.

    Parameters
    ----------
    drift
        Standard deviation of the slices' means, by that of the volume.
    spread
        Ratio of the largest to the smallest standard deviation of slices, without the outermost 5 % of each end.
    offset, gain
        Mean of the region less that of the volume, by the volume's standard deviation; ratio of their standard
        deviations.
    tails
        Standard deviation by 1.4826 times the median absolute deviation: 1 for noise, more with few extreme voxels.
    """

    drift: float = 0.0
    spread: float = 1.0
    offset: float = 0.0
    gain: float = 1.0
    tails: float = 1.0


@dataclass(frozen=True)
class SampleFacts:
    """What was measured of a sample that is trained on.

    Parameters
    ----------
    name, kind, use
        The sample's volume; how it is annotated: whole (a part of) volumes, single slices, boxes in slices, a training
        set of boxes with 3D labels or with labels of one slice; and what it is used for.
    shape
        Voxels of the region, z, y, x; of a set those of its smallest box.
    voxels
        Voxels of all regions or boxes whose truth is known.
    depth
        Number of slices from which a context can be taken.
    voxel_size
        Angstrom, z, y, x.
    features
        The features that it knows.
    tomograms
        Names of its tomograms, as far as they are known.
    greys
        Its grey values; ``None`` for sets.
    alike
        Correlation of neighbouring voxels along z, y, x; ``None`` if it was not measured.
    reserved
        Whether the set keeps a part for validation itself.
    box
        Side of the boxes in slices; 0: there are none.
    """

    name: str
    kind: Kind
    use: Use
    shape: Index3
    voxels: int
    depth: int
    voxel_size: Vector3
    features: tuple[FeatureFacts, ...] = ()
    tomograms: tuple[str, ...] = ()
    greys: GreyFacts | None = None
    alike: Vector3 | None = None
    reserved: bool = False
    box: int = 0

    @property
    def is_set(self) -> bool:
        """Whether it is a training set."""
        return self.kind in ("set", "flat set")


@dataclass(frozen=True)
class MachineFacts:
    """The device of a training.

    Parameters
    ----------
    device
        Its name, for messages.
    kind
        ``cpu`` or ``gpu``.
    memory
        Free bytes.
    threads
        Threads that compute.
    """

    device: str
    kind: Literal["cpu", "gpu"]
    memory: int
    threads: int = 1


@dataclass(frozen=True)
class Candidate:
    """A network to choose.

    Parameters
    ----------
    network, arguments
        Its name and arguments.
    volumetric
        Whether it is 3D.
    radius
        Radius of its receptive field in the plane, voxels; ``None``: it normalises over its patch.
    stride
        Patches must be multiples of it.
    takes_context
        Whether it can see several slices.
    """

    network: str
    volumetric: bool
    radius: int | None
    stride: Index3
    arguments: dict[str, Any] = field(default_factory=dict)
    takes_context: bool = False
