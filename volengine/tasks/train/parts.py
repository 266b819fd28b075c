"""Where the parts of a volume for training and for validation lie.

A stated share of the region is kept for validation: with ``validation="ends"`` two slabs, one at each end of the
longest axis, half of the share each, but at least a patch; with ``slab`` one slab at the end of this axis. Where two
slabs would be more than the share and more than a third of the axis (:data:`MOST`), there is one, so that most of a
small region is left for training.

They lie there if they, and what remains for training, hold a fair share of every feature (:data:`FAIR`); if two slabs
do not, but one does, there is one. Otherwise all places along all three axes are compared (both ends, and single
slabs), and the one is taken where the feature that fares worst fares best: a slab without a feature cannot tell a good
network from a bad one. The choice depends on nothing but region, share and truth. A slab that does not lie at an end
divides the rest into two parts; training patches and their context slices lie in one of them.

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

MOST = 1 / 3
"""Two slabs take at most this share of an axis, or the share that is asked for, if it is larger."""

Place = tuple[int, tuple[tuple[int, int], ...]]
"""An axis, and of each slab along it the first voxel and the one behind its last; slabs in rising order."""


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
        The slabs for validation; empty: there are none.
    """

    training: tuple[Box, ...]
    held_out: tuple[Box, ...]

    def place(self, region: Box) -> str:
        """Where the part for validation lies, in words: ``y 0 to 31 and 103 to 134 (47 % of the region)``."""
        if not self.held_out:
            return ""
        axis = next((a for a in range(3) if self.held_out[0].shape[a] < region.shape[a]), 0)
        ranges = " and ".join(f"{box.start[axis]} to {box.stop[axis] - 1}" for box in self.held_out)
        share = sum(box.size for box in self.held_out) / region.size
        return f"{'zyx'[axis]} {ranges} ({share:.0%} of the region)".replace("%", " %")

    def worth(self, marks: Sequence[Marks], region: Box) -> tuple[float, float]:
        """How fair both parts are to the features, 0 to 1: to the one that fares worst, and on average.

        A feature that is nowhere in the region does not count; without any the result is (1, 1).
        """
        if not self.held_out:
            return 1.0, 1.0
        both = self.held_out, self.training
        shares = [sum(box.size for box in part) / region.size for part in both]
        values = []
        for mark in marks:
            n = len(mark.start)
            if n:
                seen = [sum(int(mark.inside(box).sum()) for box in part) for part in both]
                values.append(min(1.0, *(s / (n * share) for s, share in zip(seen, shares, strict=True))))
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
        ``train`` or ``validate``: the whole region is used for this; ``both``: a part is kept for validation.
    marks
        Function that gives where each feature is; called only if a part is to be placed.

    Raises
    ------
    InputError
        The region, or a part of it, is smaller than a patch with its context.
    """
    _check_region(region, rules, volume)
    if use == "validate":
        return Parts((), (within(region, rules.context, volume),))
    if rules.folds and use == "both":
        return _of_fold(region, rules, volume, marks())
    axis = int(np.argmax(region.shape))
    held = _held(region, rules, axis) if use == "both" and rules.validation_share else 0
    single = _laid(region, rules, volume, axis, ((region.stop[axis] - held, region.stop[axis]),) if held else ())
    _check(single, rules, volume, axis, held)
    if not held:
        return single
    both = _ends(region, rules, axis)
    usual = [single] if both is None else [_laid(region, rules, volume, *both), single]
    usual = [parts for parts in usual if _possible(parts, rules)]
    known = marks()
    for parts in usual:
        if parts.worth(known, region)[0] >= FAIR:
            return parts
    best, worth = usual[0], usual[0].worth(known, region)
    for place in _places(region, rules):
        other = _laid(region, rules, volume, *place)
        if _possible(other, rules):
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
        folds = [_laid(region, rules, volume, axis, (part,)) for part in itertools.pairwise(ends)]
        if all(_possible(f, rules) for f in folds):
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


def _held(region: Box, rules: PatchRules, axis: int, slabs: int = 1) -> int:
    """Number of voxels of an axis that a slab has: its part of the share, but at least a patch with its context."""
    least = rules.patch[axis] + (rules.context - 1 if axis == 0 else 0)
    return max(int(np.ceil(rules.validation_share / slabs * region.shape[axis])), least)


def _ends(region: Box, rules: PatchRules, axis: int) -> Place | None:
    """Two slabs at the ends of an axis; ``None`` if they are not wanted, or would leave too little for training."""
    length, low, high = _held(region, rules, axis, 2), region.start[axis], region.stop[axis]
    if rules.validation != "ends" or 2 * length > max(MOST * (high - low), _held(region, rules, axis) + 1):
        return None
    return axis, ((low, low + length), (high - length, high))


def _places(region: Box, rules: PatchRules) -> Iterator[Place]:
    """Every place that is compared: both ends, then single slabs at an end, then at every half length."""
    axes = sorted(range(3), key=lambda a: -region.shape[a])
    yield from filter(None, (_ends(region, rules, a) for a in axes))
    lengths = [_held(region, rules, a) for a in range(3)]
    for a in axes:
        for start in (region.stop[a] - lengths[a], region.start[a]):
            yield a, ((start, start + lengths[a]),)
    for a in axes:
        step = max(1, lengths[a] // 2)
        for start in range(region.stop[a] - lengths[a] - step, region.start[a], -step):
            yield a, ((start, start + lengths[a]),)


def _laid(region: Box, rules: PatchRules, volume: Volume, axis: int, slabs: Sequence[tuple[int, int]]) -> Parts:
    """The parts if these slabs are kept for validation; parts for training that are too small are left out."""

    def piece(a: int, b: int) -> Box:
        low, high = list(region.start), list(region.stop)
        low[axis], high[axis] = max(a, region.start[axis]), max(a, min(b, region.stop[axis]))
        return within(Box(index3(low), index3(high)), rules.context, volume)

    begins = [region.start[axis], *(stop for _, stop in slabs)]
    ends = [*(start for start, _ in slabs), region.stop[axis]]
    rest = [piece(a, b) for a, b in zip(begins, ends, strict=True) if a < b]
    return Parts(tuple(box for box in rest if _fits(box, rules)), tuple(piece(a, b) for a, b in slabs))


def _check_region(region: Box, rules: PatchRules, volume: Volume) -> None:
    """Refuse a region into which no patch fits, even if nothing is kept for validation."""
    sides = within(region, rules.context, volume).shape
    short = [axis for axis in range(3) if sides[axis] < rules.patch[axis]]
    if not short:
        return
    where = " and ".join(f"{sides[axis]} voxels along {'zyx'[axis]}" for axis in short)
    smaller = [1 << n.bit_length() - 1 if n < p else p for n, p in zip(sides, rules.patch, strict=True)]
    ways = [f"a smaller patch, for example --patch {','.join(map(str, smaller))}"] if min(sides) else []
    if rules.patch[0] > 1 and short == [0]:
        ways.append("a 2D network and its patch, such as --network unet2d --patch 1,128,128")
    if rules.context > 1:
        ways.append("fewer slices of context")
    if region.shape != volume.shape:
        ways.append("a larger region")
    raise InputError(
        f"{volume.url}: no patch {rules.patch} fits into the region {region.shape}, which has {where}"
        f"{f' for patches with {rules.context} slices of context' if rules.context > 1 else ''}. Give "
        f"{', or '.join(ways)}; --plan proposes what fits."
    )


def _check(parts: Parts, rules: PatchRules, volume: Volume, axis: int, held: int) -> None:
    """Refuse a region that is too small for the usual place of the slab."""
    if not parts.training:
        raise InputError(
            f"{volume.url}: the training part is smaller than the patch {rules.patch} with {rules.context} slices of "
            f"context ({held} voxels of axis {'zyx'[axis]} are kept for validation); use smaller patches or "
            "--validation-share 0."
        )
    short = next((slab for slab in parts.held_out if not _fits(slab, rules)), None)
    if short is not None:
        raise InputError(
            f"{volume.url}: no patch {rules.patch} with {rules.context} slices of context fits into the part for "
            f"validation {short.shape}; use a larger --validation-share, or 0."
        )


def _possible(parts: Parts, rules: PatchRules) -> bool:
    return bool(parts.training) and all(_fits(slab, rules) for slab in parts.held_out)


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
