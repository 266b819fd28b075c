"""Patches of training sets that hold images and truth together: Ais's ``.scnt``, MemBrain's NIfTI folders.

An entry that is larger than the patch is cropped at a random place. An entry that is smaller is padded: the normalised
image with 0 (the mean), the labels with 2 (ignore). Statistics for ``normalisation="volume"`` are computed from all
entries of a tomogram together, because the tomogram itself is not available.

Validation uses whole tomograms. A set that states the tomogram of each box (``.scnt``, tar form) keeps some of its
tomograms; a NIfTI folder has its own part for validation (``imagesVal``). Other sets have no validation, because boxes
of one tomogram overlap and lie in neighbouring slices, so a random half of them is not independent of the other half.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.volume import Vector3
from volengine.ops.score_masks import FEATURE, IGNORE, labels_of
from volengine.tasks.train.contrast import check_contrast
from volengine.tasks.train.samples import LazyPatches, Patch, PatchRules, TrainSample, Use, thinned

Read = Callable[[int], tuple[NDArray[Any], NDArray[Any]]]
MAX_DECODED = 256_000_000
"""Bytes of decompressed NIfTI patches that are kept in memory."""


@dataclass(frozen=True)
class Stored:
    """A training set: numbered entries, each an image with its labels.

    Parameters
    ----------
    path
        The set's path, for messages.
    read, read_labels
        Functions of an entry's number. ``read`` returns its image (z, y, x) and labels (1 or z, y, x), ``read_labels``
        only the labels.
    groups
        For each entry the name of its group; entries of one group are normalised with the same statistics.
    tomograms
        For each entry the tomogram that it was cut from; ``""`` if that is not known.
    rows
        For each entry the index of the recipe's feature that its labels show.
    voxel_size
        Voxel size in angstrom.
    reserved
        Numbers of the entries that the set itself keeps for validation.
    """

    path: str
    read: Read
    read_labels: Callable[[int], NDArray[Any]]
    groups: tuple[str, ...]
    tomograms: tuple[str, ...]
    rows: tuple[int, ...]
    voxel_size: Vector3
    reserved: frozenset[int] = frozenset()


class SetPatches:
    """Patches of a training set.

    Parameters
    ----------
    stored
        The set.
    sample, rules
        The sample that names the set, and what a patch is.
    held
        Tomograms that are kept for validation.
    use
        ``train`` or ``validate``: all entries are used for this; ``both``: ``held`` and the set decide.
    token
        The data set that the patches belong to.

    Raises
    ------
    InputError
        The normalisation needs whole slices or the whole tomogram; or all voxels of all entries are equal.
    """

    def __init__(
        self, stored: Stored, sample: TrainSample, rules: PatchRules, held: Collection[str], use: Use, token: str
    ):
        if rules.normalisation in ("per_slice", "global_mad"):
            raise InputError(
                f"{stored.path}: boxes are no whole slices, so normalisation {rules.normalisation!r} cannot be had; "
                "use per_patch, volume or none."
            )
        self.stored, self.rules, self.token = stored, rules, token
        self.name, self.voxel_size = stored.path, stored.voxel_size
        numbers = range(len(stored.groups))
        check_contrast((stored.read(n)[0] for n in numbers), stored.path)
        kept = {n for n in numbers if n in stored.reserved or stored.tomograms[n] in held}
        kept = set(numbers) if use == "validate" else set() if use == "train" else kept
        self.training = [n for n in numbers if n not in kept]
        self.held_out = sorted(kept)
        self.weight = sample.weight if self.training else 0.0
        self._moments = self._statistics() if rules.normalisation == "volume" else {}
        self._positive = [self._with_feature(k) for k in range(len(rules.features))]

    @property
    def positives(self) -> tuple[int, ...]:
        """For each feature the number of entries for training that contain it."""
        return tuple(map(len, self._positive))

    def _with_feature(self, k: int) -> list[int]:
        mine = [n for n in self.training if self.stored.rows[n] == k]
        return [n for n in mine if (self.stored.read_labels(n) == FEATURE).any()]

    def _statistics(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each group; reads one entry at a time."""
        sums: dict[str, list[float]] = {}
        for number, group in enumerate(self.stored.groups):
            image = self.stored.read(number)[0].astype(np.float64)
            n, mean = image.size, float(image.mean())
            square = float(((image - mean) ** 2).sum())
            count, old, squares = sums.setdefault(group, [0.0, 0.0, 0.0])
            total, apart = count + n, mean - old
            sums[group] = [total, old + apart * n / total, squares + square + apart**2 * count * n / total]
        return {group: (mean, float(np.sqrt(squares / n))) for group, (n, mean, squares) in sums.items()}

    def draw(self, rng: np.random.Generator) -> Patch:
        """A patch of a random entry; with probability ``positive_share``, cut around a voxel of the feature."""
        if not self.training:
            raise InputError(f"{self.stored.path} is for validation only.")
        there = [numbers for numbers in self._positive if numbers]  # a set may know only some of the features
        places = there[int(rng.integers(len(there)))] if there else []
        wanted = bool(places) and rng.random() < self.rules.positive_share
        numbers = places if wanted else self.training
        return self._cut(numbers[int(rng.integers(len(numbers)))], rng, wanted)

    def validation(self) -> LazyPatches[Patch]:
        """The middle patches of the entries that are kept for validation."""
        return LazyPatches([(self._middle, n) for n in thinned(self.held_out)])

    def _middle(self, number: int) -> Patch:
        return self._cut(number, None, False)

    def _cut(self, number: int, rng: np.random.Generator | None, wanted: bool) -> Patch:
        rules = self.rules
        image, values = self.stored.read(number)
        known = whole_depth(labels_of(values, f"{self.stored.path}: sample {number}"), len(image))
        start = self._start(known, rng, wanted)
        box = Box(start, index3(a + n for a, n in zip(start, rules.patch, strict=True)))
        seen = box.grow((rules.below, 0, 0), (rules.above, 0, 0))
        inside, counted = seen.clip(image.shape), box.clip(image.shape)
        out = np.zeros(seen.shape, np.float32)
        out[inside.slices_in(seen)] = self._normalised(image[inside.slices].astype(np.float32), number)
        labels = np.full((len(rules.features), *box.shape), IGNORE, np.uint8)
        labels[self.stored.rows[number]][counted.slices_in(box)] = known[counted.slices]
        return out, labels

    def _normalised(self, image: NDArray[np.float32], number: int) -> NDArray[np.float32]:
        from volengine.ops.normalise import standardise, standardise_itself

        if self.rules.normalisation == "volume":
            standardise(image, *self._moments[self.stored.groups[number]], image)
        elif self.rules.normalisation == "per_patch":
            standardise_itself(image)
        return image

    def _start(self, labels: NDArray[np.uint8], rng: np.random.Generator | None, wanted: bool) -> Index3:
        """First voxel of the patch: random, around a voxel of the feature, or such that it is central (no ``rng``)."""
        rules = self.rules
        ends = [
            (low, n - p - high) if n >= p + low + high else ((n - p) // 2,) * 2
            for n, p, low, high in zip(labels.shape, rules.patch, (rules.below, 0, 0), (rules.above, 0, 0), strict=True)
        ]
        annotated = np.flatnonzero((labels != IGNORE).any(axis=(1, 2)))
        if len(annotated):  # the patch always contains an annotated slice
            first, last = int(annotated[0]) - rules.patch[0] + 1, int(annotated[-1])
            ends[0] = (min(max(ends[0][0], first), last), max(min(ends[0][1], last), first))
        if rng is None:
            return index3((a + b) // 2 for a, b in ends)
        if wanted:
            marked = np.flatnonzero(labels == FEATURE)
            voxel = np.unravel_index(marked[int(rng.integers(len(marked)))], labels.shape)
            inside = [int(rng.integers(n)) for n in rules.patch]
            return index3(min(max(int(v) - i, a), b) for v, i, (a, b) in zip(voxel, inside, ends, strict=True))
        return index3(int(rng.integers(a, b + 1)) for a, b in ends)


def whole_depth(labels: NDArray[np.uint8], depth: int) -> NDArray[np.uint8]:
    """Extend labels of the middle slices to ``depth`` slices; the added ones are 2 (ignore)."""
    if len(labels) == depth:
        return labels
    out = np.full((depth, *labels.shape[1:]), IGNORE, np.uint8)
    first = (depth - len(labels) + 1) // 2 if len(labels) > 1 else depth // 2
    out[first : first + len(labels)] = labels
    return out


# -- kinds of sets -------------------------------------------------------------------------------------------


def scnt_stored(sample: TrainSample, rules: PatchRules) -> Stored:
    """Open a training set of Ais (``.scnt``).

    Raises
    ------
    InputError
        The set does not state its pixel size, its boxes have too few slices, or its feature is not in the recipe.
    """
    from volengine.io.training.scnt import open_scnt

    opened = open_scnt(sample.volume)
    size = sample.voxel_size or opened.pixel_size
    if size is None:
        raise InputError(f"{sample.volume} does not say its pixel size; set voxel_size (angstrom).")
    if opened.shape[0] < rules.context + rules.patch[0] - 1 and rules.context > 1:
        raise InputError(
            f"{sample.volume}: boxes of {opened.shape[0]} slices are too thin for {rules.context} slices of context."
        )
    rows = tuple(_row(sample, rules, name) for name in opened.features)
    groups = tuple(name or sample.volume for name in opened.tomograms)
    return Stored(sample.volume, opened.read, opened.read_labels, groups, opened.tomograms, rows, (size,) * 3)


def _row(sample: TrainSample, rules: PatchRules, stated: str) -> int:
    """Index of the recipe's feature that a set's labels show: the sample's, the recipe's only one, or by name."""
    names = sample.features or rules.features
    if len(names) == 1:
        return rules.features.index(names[0])
    by_name = {name.lower(): name for name in names}
    if stated.lower() in by_name:
        return rules.features.index(by_name[stated.lower()])
    raise InputError(
        f"{sample.volume}: its labels are of {stated or 'a feature that it does not name'!r}, which is none of "
        f"{', '.join(names)}; say which one it is: features."
    )


def nifti_stored(sample: TrainSample, rules: PatchRules) -> dict[str, Stored]:
    """Open a NIfTI folder as one set for each data set (token) in it."""
    from volengine.io.training.nifti import find_pairs, read_nifti

    pairs = find_pairs(sample.volume)
    if sample.voxel_size is None:
        raise InputError(f"{sample.volume}: NIfTI says no voxel size to be believed; set voxel_size (MemBrain's: 10).")
    row = _row(sample, rules, "")
    decoded = _Decoded(read_nifti)
    found = {}
    for token in dict.fromkeys(p.token for p in pairs):
        mine = [p for p in pairs if p.token == token]

        def read(number: int, mine: Sequence[Any] = mine) -> tuple[NDArray[Any], NDArray[Any]]:
            image, labels = decoded(mine[number].image), decoded(mine[number].labels)
            if image.shape != labels.shape:
                raise InputError(f"{mine[number].image} is {image.shape}, its labels {labels.shape}.")
            return image, labels

        def read_labels(number: int, mine: Sequence[Any] = mine) -> NDArray[Any]:
            return decoded(mine[number].labels)

        found[token] = Stored(
            f"{sample.volume} ({token})",
            read,
            read_labels,
            tuple(p.name for p in mine),
            ("",) * len(mine),
            (row,) * len(mine),
            (sample.voxel_size,) * 3,
            frozenset(n for n, p in enumerate(mine) if p.validation),
        )
    return found


class _Decoded:
    """Cache of recently read files."""

    def __init__(self, read: Callable[[str], NDArray[Any]]):
        self._read = read
        self._held: OrderedDict[str, NDArray[Any]] = OrderedDict()

    def __call__(self, path: str) -> NDArray[Any]:
        array = self._held.pop(path, None)
        if array is None:
            array = self._read(path)
        self._held[path] = array
        while len(self._held) > 1 and sum(a.nbytes for a in self._held.values()) > MAX_DECODED:
            self._held.popitem(last=False)
        return array
