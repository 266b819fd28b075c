"""Samples of a training: their description in a recipe, and the interface of an open sample.

A *sample* (:class:`TrainSample`) names data: a tomogram with its truth, or a training set that holds both. A *sample
source* (:class:`SampleSource`) is an open sample: it draws patches for training and provides patches for validation. It
reads each patch when it is needed. :func:`volengine.tasks.train.sources.open_sources` opens samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.model import TargetUnits
from volengine.core.recipe import Recipe
from volengine.core.roi import Roi
from volengine.core.volume import Vector3
from volengine.io.names import VOLUME_SUFFIXES, suffix_of

if TYPE_CHECKING:
    from volengine.ops.normalise import Normalisation

Truth = NDArray[np.uint8] | NDArray[np.float32]
"""Labels (features, z, y, x), uint8: 0, 1 or 2; for a regression the target numbers, float32, NaN where unknown."""

Patch = tuple[NDArray[np.float32], Truth]
"""The normalised input of a network, (slices or z, y, x) float32, and its truth."""

NamedPatch = tuple[NDArray[np.float32], Truth, str]
"""A patch, its truth, and the name of the data set that it belongs to."""

T = TypeVar("T")
Use = Literal["both", "train", "validate"]
"""What a sample is used for."""

SCAN_SLAB = 16
"""Slices that are read at a time where a whole volume is looked at."""
MOST_VALIDATION = 64
"""A source with at least this many patches for validation gives this many or more, but fewer than twice as many."""


@dataclass(frozen=True)
class TrainSample(Recipe):
    """One volume with its truth, for one or several features; or a training set that holds both.

    Parameters
    ----------
    volume
        Path or URL of the tomogram; or a training set that holds its own truth (then without labels and points): Ais's
        ``.scnt``, or a folder with ``imagesTr`` and ``labelsTr`` (NIfTI).
    labels
        One label volume per feature, in order: 0 background, 1 feature, 2 ignore. ``store.ome.zarr#labels/core`` names
        labels inside a store.
    ids, ignore_id
        With a single label volume that holds class ids: voxels that equal ``ids[k]`` belong to feature k, voxels that
        equal ``ignore_id`` do not count, and all others are background.
    points
        One picks file per feature instead of labels; the feature is a ball around each point.
    radius_nm
        Radius of these balls; one for all features or one per feature.
    beyond_nm
        With points: voxels further than this from every point are background; those between the radius and this are
        ignored. ``None``: everything outside of the balls is background.
    targets
        One volume of numbers per feature instead of labels, which the network learns to predict (losses ``l1``,
        ``l2``): for example the ideal tomogram of a noisy one, or the other half of the tilt series. NaN is ignored.
    region
        Use only this part of the volume: ``z0:z1,y0:y1,x0:x1`` in voxels or nm, as the ``roi`` of other verbs
        (:mod:`volengine.core.roi`); or z0, y0, x0, z1, y1, x1 in voxels, where -1 stands for the end.
    slices
        Only these z slices are annotated; voxels in others do not count.
    boxes
        Train as Ais does, on boxes in annotated slices: a picks file with their centres; or ``auto``: boxes side by
        side that cover the annotated slices (``slices``; by default those in which a feature is marked).
    box_vox
        Side of these boxes in voxels; voxels outside of them do not count.
    copies, negatives
        Boxes with a feature are drawn in this many orientations: four right angles, then arbitrary ones. For each such
        draw there are ``negatives`` draws of boxes without a feature, which are not turned.
    features
        The features for which the sample holds the truth, in the order of its labels; the others are ignored in it.
        Default: all.
    weight
        How often patches are drawn from the sample, relative to the others.
    token
        Name of the data set that the sample belongs to, for losses that apply to some data sets; default: the volume's
        name.
    use
        ``train``, ``validate``, or ``both``: a part of it is kept for validation, see the recipe's ``validation``.
    voxel_size
        Voxel size in angstrom, if the file does not state it (NIfTI never does).

    Examples
    --------
    >>> TrainSample(volume="TS_01.ome.zarr", points=("ribosomes.star",), radius_nm=(12,)).use
    'both'
    """

    volume: str
    labels: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    ignore_id: int | None = None
    points: tuple[str, ...] = ()
    radius_nm: tuple[float, ...] = ()
    beyond_nm: float | None = None
    targets: tuple[str, ...] = ()
    region: tuple[int, int, int, int, int, int] | str | None = None
    slices: tuple[int, ...] = ()
    boxes: str = ""
    box_vox: int = 64
    copies: int = 10
    negatives: float = 1.3
    features: tuple[str, ...] = ()
    weight: float = 1.0
    token: str = ""
    use: Use = "both"
    voxel_size: float | None = None

    def check(self) -> None:
        if sum(map(bool, (self.labels, self.points, self.targets))) != 1 and not self.is_set:
            raise InputError(f"{self.volume}: give either labels or points (or targets: volumes of numbers).")
        if isinstance(self.region, str):
            Roi.parse(self.region, f"{self.volume}: region")
        if self.targets and (self.boxes or self.slices or self.ids):
            raise InputError(f"{self.volume}: boxes, slices and ids are for labels, not for targets.")
        if self.is_set and (self.boxes or self.slices or self.region or self.ids):
            raise InputError(f"{self.volume} is a training set; boxes, slices, region and ids are for volumes.")
        if self.points and (not self.radius_nm or min(self.radius_nm) <= 0):
            raise InputError(f"{self.volume}: points need radius_nm, a number above 0 (how far the feature reaches).")
        if self.points and len(self.radius_nm) not in (1, len(self.points)):
            raise InputError(f"{self.volume}: {len(self.points)} points files, but {len(self.radius_nm)} radii.")
        if self.beyond_nm is not None and self.points and self.beyond_nm < max(self.radius_nm):
            raise InputError(
                f"{self.volume}: beyond_nm is {self.beyond_nm}, less than the radius {max(self.radius_nm)} nm."
            )
        if self.ids and len(self.labels) != 1:
            raise InputError(f"{self.volume}: ids need exactly one label volume, not {len(self.labels)}.")
        if self.ignore_id is not None and (not self.ids or self.ignore_id in self.ids):
            raise InputError(f"{self.volume}: ignore_id {self.ignore_id} needs ids that do not contain it: {self.ids}.")
        if min(self.box_vox, self.copies) < 1 or self.negatives < 0 or not self.weight > 0:
            raise InputError(
                f"{self.volume}: box_vox ({self.box_vox}) and copies ({self.copies}) must be 1 or more, negatives "
                f"({self.negatives}) 0 or more, weight ({self.weight}) positive."
            )
        if self.features and not self.is_set and len(self.features) != self.count:
            raise InputError(
                f"{self.volume}: truth of {self.count} for {len(self.features)} features ({', '.join(self.features)})."
            )

    @property
    def is_set(self) -> bool:
        """Whether the sample is a training set, which holds its own truth."""
        return not (self.labels or self.points or self.targets) and suffix_of(self.volume) not in VOLUME_SUFFIXES

    @property
    def in_boxes(self) -> bool:
        """Whether its truth is known in boxes of slices: those of ``boxes``, or the boxes of an ``.scnt``."""
        return bool(self.boxes) or (self.is_set and suffix_of(self.volume) == ".scnt")

    @property
    def count(self) -> int:
        """Number of features for which the sample holds the truth; 0 for a training set, which is not open yet."""
        return len(self.ids) or len(self.labels) or len(self.points) or len(self.targets)

    def check_features(self, features: Sequence[str]) -> None:
        """Refuse a sample whose truth does not fit the recipe's features.

        Raises
        ------
        InputError
            The sample names a feature that the recipe lacks, or the numbers of features differ.
        """
        unknown = [f for f in self.features if f not in features]
        if unknown:
            raise InputError(f"{self.volume}: {unknown[0]!r} is not one of the features {', '.join(features)}.")
        if not self.features and not self.is_set and self.count != len(features):
            raise InputError(
                f"{self.volume}: truth of {self.count} for {len(features)} features ({', '.join(features)})."
            )


@dataclass(frozen=True)
class PatchRules:
    """The fields of a :class:`~volengine.tasks.train.recipe.TrainRecipe` that sample sources need."""

    features: tuple[str, ...]
    patch: Index3
    context: int = 1
    normalisation: Normalisation = "volume"
    positive_share: float = 0.5
    validation_share: float = 0.15
    validation: Literal["ends", "slab", "tomogram"] = "ends"
    target_normalisation: TargetUnits = "volume"
    seed: int = 0
    folds: int = 0
    fold: int = 0

    @property
    def below(self) -> int:
        """Context slices below a patch."""
        return self.context // 2

    @property
    def above(self) -> int:
        """Context slices above a patch."""
        return self.context - 1 - self.below


class SampleSource(Protocol):
    """An open sample."""

    @property
    def name(self) -> str:
        """Name of the sample, for messages."""
        ...

    @property
    def token(self) -> str:
        """The data set that the sample belongs to."""
        ...

    @property
    def weight(self) -> float:
        """How often patches are drawn from it, relative to the others; 0: it is for validation only."""
        ...

    @property
    def voxel_size(self) -> Vector3:
        """Voxel size in angstrom, z, y, x."""
        ...

    @property
    def positives(self) -> tuple[int, ...]:
        """For each feature the number of known places in the part for training (thinned, if there are many)."""
        ...

    def draw(self, rng: np.random.Generator) -> Patch:
        """A random patch of the part for training."""
        ...

    def validation(self) -> Sequence[Patch]:
        """The patches for validation, always the same; each is read when it is asked for."""
        ...


class LazyPatches(Sequence[T]):
    """A sequence of patches that are not kept in memory: each access reads the patch again.

    Parameters
    ----------
    parts
        Pairs of a function and its argument; the call returns the patch.
    """

    def __init__(self, parts: Sequence[tuple[Callable[[Any], T], Any]] = ()):
        self._parts = list(parts)

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, number: int) -> T: ...
    @overload
    def __getitem__(self, number: slice) -> LazyPatches[T]: ...
    def __getitem__(self, number: int | slice) -> T | LazyPatches[T]:
        if isinstance(number, slice):
            return LazyPatches(self._parts[number])
        read, what = self._parts[number]
        return read(what)


def thinned(keys: Sequence[Any]) -> Sequence[Any]:
    """Every n-th key, so that at least :data:`MOST_VALIDATION` remain, and fewer than twice as many."""
    return keys[:: len(keys) // MOST_VALIDATION] if len(keys) > MOST_VALIDATION else keys
