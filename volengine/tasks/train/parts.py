"""Where the parts of a volume for training and for validation lie.

A slab of a stated share of the region is kept for validation. It lies at the end of the longest axis if this slab, and
what remains for training, hold a fair share of every feature (:data:`FAIR`). Otherwise all places along all three axes
are compared, and the one is taken where the feature that fares worst fares best: a slab without a feature cannot tell a
good network from a bad one. The choice depends on nothing but region, share and truth. A slab that does not lie at an
end divides the rest into two parts; training patches and their context slices lie in one of them.

With folds the region is divided into as many slabs of equal length along one axis, each of which is kept once: along
the longest axis, if every slab is fair to every feature, otherwise along the axis where the worst slab fares best.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.tasks.train.samples import PatchRules, Use

FAIR = 0.5
"""A part is fair to a feature if it holds at least this much of what an even distribution would give it."""


@dataclass(frozen=True)
class Marks:
    """Where a feature is: boxes that must lie in a part as a whole.

    Parameters
    ----------
    start, stop
        (n, 3) int, first voxel of each box, and the one behind its last.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]

    @classmethod
    def voxels(cls, rows: NDArray[np.int64]) -> Marks:
        """Single voxels, (n, 3)."""
        return cls(rows, rows + 1)

    def inside(self, box: Box) -> NDArray[np.bool_]:
        """Which of them lie inside of a box."""
        found: NDArray[np.bool_] = np.all((self.start >= box.start) & (self.stop <= box.stop), axis=1)
        return found


@dataclass(frozen=True)
class Parts:
    """The parts of a region.

    Parameters
    ----------
    training
        Boxes in which training patches lie; empty: the sample is for validation only.
    held_out
        The part for validation; ``None`` if there is none.
    """

    training: tuple[Box, ...]
    held_out: Box | None

    def worth(self, marks: Sequence[Marks], region: Box) -> tuple[float, float]:
        """How fair both parts are to the features, 0 to 1: to the one that fares worst, and on average.

        A feature that is nowhere in the region does not count; without any the result is (1, 1).
        """
        if self.held_out is None:
            return 1.0, 1.0
        held, trained = self.held_out.size / region.size, sum(box.size for box in self.training) / region.size
        values = []
        for mark in marks:
            n = len(mark.start)
            if n:
                seen = int(mark.inside(self.held_out).sum()), sum(int(mark.inside(box).sum()) for box in self.training)
                values.append(min(1.0, seen[0] / (n * held), seen[1] / (n * trained)))
        return (min(values), sum(values) / len(values)) if values else (1.0, 1.0)


def split(
    region: Box, rules: PatchRules, volume: Volume, use: Use, marks: Callable[[], Sequence[Marks]] = tuple
) -> Parts:
    """Divide a region into the parts for training and for validation.

    Parameters
    ----------
    region, rules, volume
        The region, the rules of its patches and the volume in which it lies.
    use
        ``train`` or ``validate``: the whole region is used for this; ``both``: a slab is kept for validation.
    marks
        Function that gives where each feature is; called only if a slab is to be placed.

    Raises
    ------
    InputError
        A part is smaller than a patch with its context.
    """
    if use == "validate":
        whole = within(region, rules.context, volume)
        if not _fits(whole, rules):
            raise InputError(
                f"{volume.url}: the part for validation {whole.shape} is smaller than the patch {rules.patch} with "
                f"{rules.context} slices of context."
            )
        return Parts((), whole)
    if rules.folds and use == "both":
        return _of_fold(region, rules, volume, marks())
    axis = int(np.argmax(region.shape))
    held = _held(region, rules, axis) if use == "both" and rules.validation_share else 0
    first = _laid(region, rules, volume, axis, region.stop[axis] - held, held)
    _check(first, rules, volume, axis, held)
    if not held:
        return Parts(first.training, None)
    known = marks()
    best, worth = first, first.worth(known, region)
    if worth[0] >= FAIR:
        return first
    for place in _places(region, rules):
        other = _laid(region, rules, volume, *place)
        if other.held_out is not None and _fits(other.held_out, rules) and other.training:
            value = other.worth(known, region)
            if value > worth:
                best, worth = other, value
    return best


def _of_fold(region: Box, rules: PatchRules, volume: Volume, known: Sequence[Marks]) -> Parts:
    """The parts of one of the folds."""
    best: list[Parts] = []
    worth = (-1.0, -1.0)
    for axis in sorted(range(3), key=lambda a: -region.shape[a]):
        ends = [region.start[axis] + region.shape[axis] * k // rules.folds for k in range(rules.folds + 1)]
        folds = [_laid(region, rules, volume, axis, a, b - a) for a, b in itertools.pairwise(ends)]
        if all(f.training and f.held_out is not None and _fits(f.held_out, rules) for f in folds):
            value = min(f.worth(known, region) for f in folds)
            if value > worth:
                best, worth = folds, value
            if worth[0] >= FAIR:
                break
    if not best:
        raise InputError(
            f"{volume.url}: the region {region.shape} cannot be divided into {rules.folds} slabs that each hold a "
            f"patch {rules.patch} with {rules.context} slices of context; use smaller patches, fewer --folds, "
            "or as many tomograms as folds."
        )
    return best[rules.fold - 1]


def _held(region: Box, rules: PatchRules, axis: int) -> int:
    """Number of voxels of an axis that are kept for validation: the share, but at least a patch with its context."""
    least = rules.patch[axis] + (rules.context - 1 if axis == 0 else 0)
    return max(int(np.ceil(rules.validation_share * region.shape[axis])), least)


def _places(region: Box, rules: PatchRules) -> Iterator[tuple[int, int, int]]:
    """Axis, first voxel and length of every slab that is compared: at the ends first, then every half length."""
    axes = sorted(range(3), key=lambda a: -region.shape[a])
    lengths = [_held(region, rules, a) for a in range(3)]
    for a in axes:
        for start in (region.stop[a] - lengths[a], region.start[a]):
            yield a, start, lengths[a]
    for a in axes:
        step = max(1, lengths[a] // 2)
        for start in range(region.stop[a] - lengths[a] - step, region.start[a], -step):
            yield a, start, lengths[a]


def _laid(region: Box, rules: PatchRules, volume: Volume, axis: int, start: int, length: int) -> Parts:
    """The parts if the slab of this length begins at ``start``; parts for training that are too small are left out."""

    def piece(a: int, b: int) -> Box:
        low, high = list(region.start), list(region.stop)
        low[axis], high[axis] = max(a, region.start[axis]), max(a, min(b, region.stop[axis]))
        return within(Box(index3(low), index3(high)), rules.context, volume)

    stop = start + length
    rest = [piece(region.start[axis], start)] + ([piece(stop, region.stop[axis])] if stop < region.stop[axis] else [])
    fitting = tuple(box for box in rest if _fits(box, rules))
    return Parts(fitting, piece(start, stop) if length else None)


def _check(parts: Parts, rules: PatchRules, volume: Volume, axis: int, held: int) -> None:
    """Refuse a region that is too small for the usual place of the slab."""
    if not parts.training:
        raise InputError(
            f"{volume.url}: the training part is smaller than the patch {rules.patch} with {rules.context} slices of "
            f"context ({held} voxels of axis {'zyx'[axis]} are kept for validation); use smaller patches or "
            "--validation-share 0."
        )
    if parts.held_out is not None and not _fits(parts.held_out, rules):
        raise InputError(
            f"{volume.url}: no patch {rules.patch} with {rules.context} slices of context fits into the part for "
            f"validation {parts.held_out.shape}; use a larger --validation-share, or 0."
        )


def _fits(box: Box, rules: PatchRules) -> bool:
    return all(n >= p for n, p in zip(box.shape, rules.patch, strict=True))


def within(box: Box, context: int, volume: Volume) -> Box:
    """The part of a box in which patches may lie: their context slices stay in the box, or pass the volume's ends."""
    below = context // 2 if box.start[0] > 0 else 0
    above = context - 1 - context // 2 if box.stop[0] < volume.shape[0] else 0
    start, stop = box.start[0] + below, box.stop[0] - above
    return Box((start, *box.start[1:]), (max(start, stop), *box.stop[1:]))


def containing(boxes: Sequence[Box], box: Box) -> Box | None:
    """The one of the boxes in which a box lies as a whole; ``None`` if it lies in none of them."""
    return next((one for one in boxes if one.contains(box)), None)


def grid(box: Box, patch: Index3) -> list[list[int]]:
    """First voxels, along each axis, of patches that cover a box; they overlap if its sides are no multiples."""
    axes = []
    for a, b, n in zip(box.start, box.stop, patch, strict=True):
        axes.append(np.unique(np.linspace(a, b - n, -(-(b - a) // n)).astype(int)).tolist())
    return axes
