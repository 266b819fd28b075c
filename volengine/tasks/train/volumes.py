"""Patches of one volume with any kind of truth: streamed, with a part of the region kept for validation.

Where this part lies says :mod:`volengine.tasks.train.parts`; training patches and their context slices never touch it.
Patches lie inside the region. Statistics of ``normalisation="volume"`` are those of the region; those of ``per_slice``
are of whole slices and those of ``global_mad`` of the whole tomogram, as in prediction.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.roi import roi_box
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Vector3, Volume
from volengine.engine.reading import read_box
from volengine.io.cached import ChunkCache
from volengine.io.names import Source
from volengine.io.open import open_source, open_volume
from volengine.ops.score_masks import FEATURE
from volengine.tasks.train.contrast import check_contrast, slabs
from volengine.tasks.train.labels import LabelFiles, LabelPoints, Labels, LabelSlices, LabelSome
from volengine.tasks.train.parts import Marks, Parts, grid, split
from volengine.tasks.train.samples import SCAN_SLAB, LazyPatches, Patch, PatchRules, TrainSample, Use, thinned
from volengine.tasks.train.targets import TargetFiles

if TYPE_CHECKING:
    from volengine.ops.normalise import Moments

MAX_POSITIONS = 20_000
OF_EACH_FEATURE = 16
"""If there are more patches for validation than are used, at least this many with each feature are among them."""


class OpenVolume:
    """The tomogram and the truth of a sample, its parts for training and validation, and its normalisation.

    ``place`` says in words where the part for validation lies.

    Parameters
    ----------
    sample, rules
        What to open, and what a patch is.
    use
        ``train`` or ``validate``: the whole region is used for this; ``both``: a part is kept for validation.
    cache
        Cache of recently read chunks.
    parts
        Its parts, if they are known already: those of several samples of one tomogram are the same.

    Raises
    ------
    InputError
        The region leaves the volume, all of its voxels are equal, or one of its parts is smaller than a patch.
    """

    def __init__(
        self,
        sample: TrainSample,
        rules: PatchRules,
        use: Use = "both",
        cache: ChunkCache | None = None,
        parts: Parts | None = None,
    ):
        self.sample, self.rules = sample, rules
        self.volume = open_volume(sample.volume, voxel_size=sample.voxel_size)
        source = open_source(self.volume)
        self.source: Source = source if cache is None else cache.over(source, self.volume)
        self.region = region_of(sample, self.volume)
        check_contrast(slabs(self.source, self.region), region_text(self.volume, self.region))
        self.labels = labels_of(sample, self.volume, rules, self.region, cache)
        parts = parts or split(self.region, rules, self.volume, use, self.marks)
        self.training, self.held_out = parts.training, parts.held_out
        self.place = parts.place(self.region)
        self._moments = self._statistics() if rules.normalisation in ("volume", "per_slice") else None
        self._mad = self._sampled() if rules.normalisation == "global_mad" else None

    @property
    def name(self) -> str:
        """The tomogram's name."""
        return self.volume.name

    @property
    def token(self) -> str:
        """The data set that the sample belongs to."""
        return self.sample.token or self.volume.name

    @property
    def weight(self) -> float:
        """The sample's weight; 0 if it has no part for training."""
        return self.sample.weight if self.training else 0.0

    @property
    def voxel_size(self) -> Vector3:
        """Voxel size in angstrom, z, y, x."""
        return self.volume.voxel_size

    @cached_property
    def marked(self) -> list[NDArray[np.int64]]:
        """For each feature its voxels in the region, (n, 3), evenly thinned to a bounded number; none for targets."""
        found = [Thinned(MAX_POSITIONS) for _ in self.rules.features]
        if self.sample.targets:
            return [thinned.rows for thinned in found]
        for slab in self.region.slabs(SCAN_SLAB):
            for k, labels in enumerate(self.labels.read(slab)):
                found[k].add(np.argwhere(labels == FEATURE) + slab.start)
        return [thinned.rows for thinned in found]

    def marks(self) -> list[Marks]:
        """Where each feature is, for the place of the part for validation."""
        return [Marks.voxels(rows) for rows in self.marked]

    def _statistics(self) -> Moments:
        from volengine.ops.normalise import combine, slice_moments

        _, ny, nx = self.volume.shape
        region = self.region
        if self.rules.normalisation == "per_slice":
            region = Box((region.start[0], 0, 0), (region.stop[0], ny, nx))
        rows = [slice_moments(self.source.read(slab)) for slab in region.slabs(SCAN_SLAB)]
        return combine([np.concatenate(rows, axis=0)])

    def _sampled(self) -> tuple[float, float]:
        from volengine.ops.normalise import MAD_SLICES, check_mad, mad_sample, mad_statistics

        nz, ny, nx = self.volume.shape
        chosen = np.linspace(0, nz - 1, min(MAD_SLICES, nz)).astype(int)
        boxes = [Box((z, 0, 0), (z + 1, ny, nx)) for z in chosen.tolist()]
        found = mad_statistics(mad_sample(self.source.read(box), box, self.volume.shape) for box in boxes)
        check_mad(*found, self.volume.url)
        return found

    def normalised(self, image: NDArray[np.float32], z: int) -> NDArray[np.float32]:
        """Normalise voxels (z, y, x) in place and return them; ``z`` is the number of their first slice."""
        from volengine.ops.normalise import slice_scale, standardise, standardise_itself

        if self._mad is not None:
            standardise(image, *self._mad, image)
        elif self._moments is not None and self.rules.normalisation == "volume":
            mean, std = self._moments.volume()
            standardise(image, mean, std, image)
        elif self._moments is not None:
            means, stds = self._moments.per_slice()
            stds = slice_scale(stds, self._moments.volume()[1])
            at = np.clip(np.arange(z, z + len(image)) - self.region.start[0], 0, len(means) - 1)
            standardise(image, means[at], stds[at], image)
        elif self.rules.normalisation == "per_patch":
            standardise_itself(image)
        return image

    def cut(self, start: Index3) -> Patch:
        """The normalised patch with its first voxel at ``start``, and its labels."""
        rules = self.rules
        box = Box(start, index3(a + n for a, n in zip(start, rules.patch, strict=True)))
        seen = box.grow((rules.below, 0, 0), (rules.above, 0, 0))
        edge: Literal["reflect", "edge"] = "reflect" if rules.patch[0] > 1 else "edge"
        image = read_box(self.source, seen, edge).astype(np.float32)
        return self.normalised(image, seen.start[0]), self.labels.read(box)


class Patches(OpenVolume):
    """Patches at random places of a volume; a share of them is drawn around voxels of the features."""

    def __init__(
        self,
        sample: TrainSample,
        rules: PatchRules,
        use: Use = "both",
        cache: ChunkCache | None = None,
        parts: Parts | None = None,
    ):
        super().__init__(sample, rules, use, cache, parts)
        self._places = [_PlacesIn(box, rules, self.marked, sample.slices) for box in self.training]
        if sample.slices and any(len(place.slices) for place in self._places):  # in the others no voxel counts
            self._sizes = [place.count if len(place.slices) else 0 for place in self._places]
        else:
            self._sizes = [place.count for place in self._places]

    @property
    def positives(self) -> tuple[int, ...]:
        """Number of known (thinned) voxels of each feature; for targets 1 if there is a part for training, else 0."""
        if self.sample.targets:
            known = self.sample.features or self.rules.features
            return tuple(int(bool(self.training) and f in known) for f in self.rules.features)
        return tuple(sum(len(p.positive[k]) for p in self._places) for k in range(len(self.rules.features)))

    def draw(self, rng: np.random.Generator) -> Patch:
        """Draw a random patch of the training part.

        With probability ``positive_share`` it contains a random voxel of a random feature, of those that are known in
        this sample (not for targets). If only some slices are annotated, it contains one of them.
        """
        if not self.training:
            raise InputError(f"{self.volume.url} is for validation only.")
        there = [k for k, count in enumerate(self.positives) if count and not self.sample.targets]
        feature = there[int(rng.integers(len(there)))] if there else 0
        if there and rng.random() < self.rules.positive_share:
            number = int(rng.integers(self.positives[feature]))
            for place in self._places:
                if number < len(place.positive[feature]):
                    return self.cut(place.around(place.positive[feature][number], rng))
                number -= len(place.positive[feature])
        place = self._places[0]
        if len(self._places) > 1:
            shares = np.cumsum(self._sizes) / sum(self._sizes)
            place = self._places[min(int(np.searchsorted(shares, rng.random(), "right")), len(shares) - 1)]
        return self.cut(place.anywhere(rng))

    def validation(self) -> LazyPatches[Patch]:
        """Patches that cover the held-out slabs; they overlap if their sides are not multiples of the patch.

        Of very many patches an even choice is taken, and some that contain each feature.
        """
        axes = [grid(slab, self.rules.patch) for slab in self.held_out]
        sides = [tuple(map(len, starts)) for starts in axes]
        first = [0, *np.cumsum([math.prod(s) for s in sides]).tolist()]  # the number of the first patch of each slab
        chosen = set(thinned(range(first[-1])))
        for mark in self.marks():
            there = [np.empty(0, int)]
            for held, starts, shape, before in zip(self.held_out, axes, sides, first, strict=False):
                rows = mark.start[mark.inside(held)]
                near = [np.searchsorted(begin, rows[:, a], "right") - 1 for a, begin in enumerate(starts)]
                there.append(before + np.unique(np.ravel_multi_index(near, shape)))
            with_feature = np.concatenate(there)
            wanted = min(OF_EACH_FEATURE, len(with_feature))
            if len(chosen.intersection(with_feature.tolist())) < wanted:
                some = np.linspace(0, len(with_feature) - 1, wanted).astype(int)
                chosen |= {int(n) for n in with_feature[some]}
        places = []
        for number in sorted(chosen):
            slab = bisect.bisect_right(first, number) - 1
            at = np.unravel_index(number - first[slab], sides[slab])
            places.append(index3(starts[int(k)] for starts, k in zip(axes[slab], at, strict=True)))
        return LazyPatches([(self.cut, start) for start in places])


class _PlacesIn:
    """The places of patches in one box of the part for training."""

    def __init__(self, box: Box, rules: PatchRules, marked: Sequence[NDArray[np.int64]], slices: Sequence[int]):
        self._patch = rules.patch
        self._low, self._high = np.array(box.start), np.array(box.stop) - rules.patch
        self.count = int(np.prod(self._high - self._low + 1))
        self.positive = [rows[Marks.voxels(rows).inside(box)] for rows in marked]
        self.slices = np.array([z for z in slices if box.start[0] <= z < box.stop[0]], int)

    def around(self, voxel: NDArray[np.int64], rng: np.random.Generator) -> Index3:
        """First voxel of a random patch that contains a voxel."""
        inside = np.array([int(rng.integers(n)) for n in self._patch])
        return index3(np.clip(voxel - inside, self._low, self._high))

    def anywhere(self, rng: np.random.Generator) -> Index3:
        """First voxel of a random patch; it contains an annotated slice, if there are any."""
        start = np.array([int(rng.integers(a, b + 1)) for a, b in zip(self._low, self._high, strict=True)])
        if len(self.slices):  # in other slices no voxel counts
            at = self.slices[int(rng.integers(len(self.slices)))] - int(rng.integers(self._patch[0]))
            start[0] = np.clip(at, self._low[0], self._high[0])
        return index3(start)


class Thinned:
    """Keep every s-th of many rows; s is doubled whenever more than twice ``most`` rows are kept.

    The memory is bounded, and the choice does not depend on chance.
    """

    def __init__(self, most: int):
        self.rows: NDArray[np.int64] = np.empty((0, 3), np.int64)
        self._most, self._every, self._seen = most, 1, 0

    def add(self, rows: NDArray[np.int64]) -> None:
        """Add the next rows, (n, 3)."""
        kept = rows[-self._seen % self._every :: self._every]
        self._seen += len(rows)
        self.rows = np.concatenate([self.rows, kept])
        while len(self.rows) > 2 * self._most:
            self.rows, self._every = self.rows[::2], 2 * self._every


def labels_of(
    sample: TrainSample, volume: Volume, rules: PatchRules, region: Box, cache: ChunkCache | None = None
) -> Labels:
    """The truth of a sample for all features of the rules; voxels that it does not know are ignored.

    Raises
    ------
    InputError
        The truth does not have the volume's shape, or names a slice outside of it.
    """
    labels: Labels
    features = rules.features
    if sample.targets:
        labels = TargetFiles(sample.targets, volume, region, rules.target_normalisation, cache)
    elif sample.labels:
        labels = LabelFiles(sample.labels, volume, sample.ids, sample.ignore_id, cache)
    else:
        beyond = None if sample.beyond_nm is None else sample.beyond_nm * NM_TO_ANGSTROM
        radii = [r * NM_TO_ANGSTROM for r in sample.radius_nm]
        labels = LabelPoints.from_files(sample.points, radii, volume, beyond)
    if sample.slices:
        outside = [z for z in sample.slices if not 0 <= z < volume.shape[0]]
        if outside:
            raise InputError(f"{volume.url}: slice {outside[0]} is not one of its {volume.shape[0]}.")
        labels = LabelSlices(labels, sample.slices, sample.count)
    if sample.features and sample.features != features:
        labels = LabelSome(labels, [features.index(f) for f in sample.features], len(features))
    return labels


def region_of(sample: TrainSample, volume: Volume) -> Box:
    """The part of the volume that the sample uses.

    Raises
    ------
    InputError
        The region is empty, or leaves the volume.
    """
    if sample.region is None:
        return Box.of_shape(volume.shape)
    if isinstance(sample.region, str):
        return roi_box(sample.region, volume.shape, volume.voxel_size, volume.where, "region")
    start = index3(sample.region[:3])
    stop = index3(n if v == -1 else v for v, n in zip(sample.region[3:], volume.shape, strict=True))
    box = Box(start, stop)
    if box.empty or not Box.of_shape(volume.shape).contains(box):
        raise InputError(f"The region {sample.region} is empty or leaves the volume {volume.shape} ({volume.url}).")
    return box


def region_text(volume: Volume, region: Box) -> str:
    """The part of a volume that a sample uses, for messages."""
    whole = region == Box.of_shape(volume.shape)
    return volume.url if whole else f"{volume.url}, voxels {region.start} to {region.stop} (z, y, x)"
