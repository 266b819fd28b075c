"""Patches of one volume with any kind of truth: streamed, with a slab of the region kept for validation.

The slab is the end of the region's longest axis; training patches and their context slices never touch it. Patches lie
inside the region. Statistics of ``normalisation="volume"`` are those of the region; those of ``per_slice`` are of whole
slices and those of ``global_mad`` of the whole tomogram, as in prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Vector3, Volume
from volengine.engine.work import read_box
from volengine.io.cached import ChunkCache
from volengine.io.names import Source
from volengine.io.open import open_source, open_volume
from volengine.tasks.train.labels import LabelFiles, LabelPoints, Labels, LabelSlices, LabelSome
from volengine.tasks.train.samples import LazyPatches, Patch, PatchRules, TrainSample, Use, thinned
from volengine.tasks.train.targets import TargetFiles

if TYPE_CHECKING:
    from volengine.ops.normalise import Moments

MAX_POSITIONS = 20_000
SCAN_SLAB = 16


class OpenVolume:
    """The tomogram and the truth of a sample, its parts for training and validation, and its normalisation.

    Parameters
    ----------
    sample, rules
        What to open, and what a patch is.
    use
        ``train`` or ``validate``: the whole region is used for this; ``both``: a slab is kept for validation.
    cache
        Cache of recently read chunks.

    Raises
    ------
    InputError
        The region leaves the volume, or one of its parts is smaller than a patch.
    """

    def __init__(self, sample: TrainSample, rules: PatchRules, use: Use = "both", cache: ChunkCache | None = None):
        self.sample, self.rules = sample, rules
        self.volume = open_volume(sample.volume, voxel_size=sample.voxel_size)
        source = open_source(self.volume)
        self.source: Source = source if cache is None else cache.over(source, self.volume)
        self.region = region_of(sample, self.volume)
        self.labels = labels_of(sample, self.volume, rules, self.region, cache)
        self.training, self.held_out = split(self.region, rules, self.volume, use)
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
        return 0.0 if self.training is None else self.sample.weight

    @property
    def voxel_size(self) -> Vector3:
        """Voxel size in angstrom, z, y, x."""
        return self.volume.voxel_size

    def _statistics(self) -> Moments:
        from volengine.ops.normalise import combine, slice_moments

        _, ny, nx = self.volume.shape
        starts = range(self.region.start[0], self.region.stop[0], SCAN_SLAB)
        rows = []
        for z in starts:
            stop = min(z + SCAN_SLAB, self.region.stop[0])
            if self.rules.normalisation == "per_slice":
                box = Box((z, 0, 0), (stop, ny, nx))
            else:
                box = Box((z, *self.region.start[1:]), (stop, *self.region.stop[1:]))
            rows.append(slice_moments(self.source.read(box)))
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

    def __init__(self, sample: TrainSample, rules: PatchRules, use: Use = "both", cache: ChunkCache | None = None):
        super().__init__(sample, rules, use, cache)
        self.positive = self._positions()
        first, last = (box.start[0], box.stop[0]) if (box := self.training) else (0, 0)
        self.slices = np.array([z for z in sample.slices if first <= z < last], int)

    def _positions(self) -> list[NDArray[np.int64]]:
        """For each feature its voxels in the training part, (n, 3), evenly thinned to a bounded number."""
        found = [Thinned(MAX_POSITIONS) for _ in self.rules.features]
        if self.sample.targets:
            return [thinned.rows for thinned in found]
        box = self.training or Box((0, 0, 0), (0, 0, 0))
        for z in range(box.start[0], box.stop[0], SCAN_SLAB):
            slab = Box((z, *box.start[1:]), (min(z + SCAN_SLAB, box.stop[0]), *box.stop[1:]))
            for k, labels in enumerate(self.labels.read(slab)):
                found[k].add(np.argwhere(labels == 1) + slab.start)
        return [thinned.rows for thinned in found]

    @property
    def positives(self) -> tuple[int, ...]:
        """Number of known (thinned) voxels of each feature; for targets 1 if there is a part for training, else 0."""
        if self.sample.targets:
            known = self.sample.features or self.rules.features
            return tuple(int(self.training is not None and f in known) for f in self.rules.features)
        return tuple(len(rows) for rows in self.positive)

    def draw(self, rng: np.random.Generator) -> Patch:
        """Draw a random patch of the training part.

        With probability ``positive_share`` it contains a random voxel of a feature (not for targets). If only some
        slices are annotated, it contains one of them.
        """
        if self.training is None:
            raise InputError(f"{self.volume.url} is for validation only.")
        low = np.array(self.training.start)
        high = np.array(self.training.stop) - self.rules.patch
        places = self.positive[int(rng.integers(len(self.positive)))]
        if len(places) and rng.random() < self.rules.positive_share:
            voxel = places[int(rng.integers(len(places)))]
            inside = np.array([int(rng.integers(n)) for n in self.rules.patch])
            start = np.clip(voxel - inside, low, high)
        else:
            start = np.array([int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True)])
            if len(self.slices):  # in other slices no voxel counts
                at = self.slices[int(rng.integers(len(self.slices)))] - int(rng.integers(self.rules.patch[0]))
                start[0] = np.clip(at, low[0], high[0])
        return self.cut(index3(start))

    def validation(self) -> LazyPatches[Patch]:
        """Patches that cover the held-out slab; they overlap if its sides are not multiples of the patch."""
        if self.held_out is None:
            return LazyPatches()
        axes = []
        for a, b, n in zip(self.held_out.start, self.held_out.stop, self.rules.patch, strict=True):
            count = -(-(b - a) // n)
            axes.append(np.unique(np.linspace(a, b - n, count).astype(int)))
        starts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        return LazyPatches([(self.cut, index3(s)) for s in thinned(starts.tolist())])


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
    start = index3(sample.region[:3])
    stop = index3(n if v == -1 else v for v, n in zip(sample.region[3:], volume.shape, strict=True))
    box = Box(start, stop)
    if box.empty or not Box.of_shape(volume.shape).contains(box):
        raise InputError(f"The region {sample.region} is empty or leaves the volume {volume.shape} ({volume.url}).")
    return box


def split(region: Box, rules: PatchRules, volume: Volume, use: Use) -> tuple[Box | None, Box | None]:
    """Divide a region into the parts for training and for validation; ``None`` stands for a part that is not used.

    With ``use="both"`` the part for validation is the end of the longest axis.

    Raises
    ------
    InputError
        A part is smaller than a patch with its context.
    """
    if use == "validate":
        whole = _within(region, rules.context, volume)
        _check_fits(whole, rules, f"{volume.url}: the part for validation {whole.shape}")
        return None, whole
    axis = int(np.argmax(region.shape))
    length, patch = region.shape[axis], rules.patch[axis]
    least = patch + (rules.context - 1 if axis == 0 else 0)
    share = rules.validation_share if use == "both" else 0
    held = max(int(np.ceil(share * length)), least) if share else 0
    stop, start = list(region.stop), list(region.start)
    stop[axis] -= held
    start[axis] = stop[axis]
    training = _within(Box(region.start, index3(stop)), rules.context, volume)
    if any(n < p for n, p in zip(training.shape, rules.patch, strict=True)):
        raise InputError(
            f"{volume.url}: the training part {training.shape} is smaller than the patch {rules.patch} "
            f"({held} voxels of axis {'zyx'[axis]} are kept for validation); use smaller patches or "
            "--validation-share 0."
        )
    if not held:
        return training, None
    held_out = _within(Box(index3(start), region.stop), rules.context, volume)
    if any(n < p for n, p in zip(held_out.shape, rules.patch, strict=True)):
        raise InputError(
            f"{volume.url}: no patch {rules.patch} with {rules.context} slices of context fits into the part for "
            f"validation {held_out.shape}; use a larger --validation-share, or 0."
        )
    return training, held_out


def _check_fits(box: Box, rules: PatchRules, what: str) -> None:
    if any(n < p for n, p in zip(box.shape, rules.patch, strict=True)):
        raise InputError(f"{what} is smaller than the patch {rules.patch} with {rules.context} slices of context.")


def _within(box: Box, context: int, volume: Volume) -> Box:
    """The part of a box in which patches may lie: their context slices stay in the box, or pass the volume's ends."""
    below = context // 2 if box.start[0] > 0 else 0
    above = context - 1 - context // 2 if box.stop[0] < volume.shape[0] else 0
    start, stop = box.start[0] + below, box.stop[0] - above
    return Box((start, *box.start[1:]), (max(start, stop), *box.stop[1:]))
