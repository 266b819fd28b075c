"""Which slices of which validation patches a training shows: those that hold the features, the same in every epoch.

The choice follows from the truth alone. Features take turns, and for each of them the data sets; of a data set's
patches comes first the one with a slice in which the feature has many voxels and leaves many free, so that its border
is seen. Patches without any feature are shown only if there are too few others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.ops.score_masks import FEATURE, IGNORE

MOST, MOST_OF_MANY = 6, 24
"""Number of cuts of a training with up to three features, and the largest number with more."""
SPREAD = 0.618033988749895
"""Fraction of the golden ratio: its multiples modulo 1 fill an interval evenly."""


@dataclass(frozen=True)
class Holding:
    """What a validation patch holds.

    Parameters
    ----------
    dataset
        The data set that it belongs to.
    truth, counted
        For each feature the number of its voxels, and of the voxels that count.
    slices, worth
        For each feature the slice that shows it best, and how well it does; 0 where the feature is not in the patch.
    prints
        Checksums of the labels in these slices; overlapping patches may show the same slice.
    depth
        Number of slices.
    """

    dataset: str
    truth: tuple[int, ...]
    counted: tuple[int, ...]
    slices: tuple[int, ...]
    worth: tuple[float, ...]
    prints: tuple[int, ...]
    depth: int


@dataclass(frozen=True)
class Cut:
    """A slice that is shown: number of the validation patch, slice in it, and the data set it is of."""

    number: int
    z: int
    dataset: str


def holding(labels: NDArray[Any], dataset: str = "") -> Holding:
    """What a patch holds, from its labels (features, z, y, x): 0 background, 1 feature, 2 ignore.

    >>> labels = np.zeros((1, 3, 2, 2), np.uint8)
    >>> labels[0, 1, 0], labels[0, 2] = 1, 1
    >>> holding(labels).slices  # slice 2 is full of the feature: no border is seen there
    (1,)
    """
    there, counts = (labels == FEATURE).sum((2, 3)), (labels != IGNORE).sum((2, 3))
    # a slice full of the feature is better than none
    worth = there * (counts - there) + there / (1 + counts)
    best = worth.argmax(1)
    return Holding(
        dataset,
        tuple(there.sum(1).tolist()),
        tuple(counts.sum(1).tolist()),
        tuple(best.tolist()),
        tuple(worth.max(1).tolist()),
        tuple(zlib.crc32(labels[:, z].tobytes()) for z in best),
        labels.shape[1],
    )


def holdings(samples: Iterable[Sequence[Any]]) -> list[Holding]:
    """What each sample (image, labels, and its data set, if stated) holds; each is read once."""
    return [holding(np.asarray(s[1]), str(s[2]) if len(s) > 2 else "") for s in samples]


def choose(held: Sequence[Holding], features: int) -> list[Cut]:
    """Choose the cuts of a training.

    Parameters
    ----------
    held
        What each validation patch holds.
    features
        Number of features.

    Returns
    -------
    list of Cut
        At most :data:`MOST` cuts, with many features two for each, at most :data:`MOST_OF_MANY`. No cut is there twice,
        and none that shows the same labels as another one of its data set.
    """
    most = min(max(MOST, 2 * features), MOST_OF_MANY)
    turns = [iter(_of_feature(held, k)) for k in range(features)]
    chosen: dict[Cut, None] = {}
    taken: set[tuple[str, int]] = set()
    while turns and len(chosen) < most:
        for turn in list(turns):
            found = next(((cut, key) for cut, key in turn if key not in taken), None)
            if found is None:
                turns.remove(turn)
            elif len(chosen) < most:
                chosen[found[0]] = None
                taken.add(found[1])
    shown = {cut.number for cut in chosen}
    rest = [k for k in range(len(held)) if k not in shown]
    for some in ([k for k in rest if not any(held[k].truth)], [k for k in rest if any(held[k].truth)]):
        for k in evenly(len(some), max(0, MOST - len(chosen))):
            chosen[Cut(some[k], held[some[k]].depth // 2, held[some[k]].dataset)] = None
    return list(chosen)


def evenly(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the numbers below ``count``, evenly spread, with both ends."""
    return sorted({k * (count - 1) // max(1, wanted - 1) for k in range(wanted)}) if count else []


def _of_feature(held: Sequence[Holding], k: int) -> list[tuple[Cut, tuple[str, int]]]:
    """All cuts of a feature with what they show, the best first.

    The data sets take turns, in an order that is spread over all of them.
    """
    cuts: dict[str, list[tuple[Cut, tuple[str, int]]]] = {}
    for number in sorted(range(len(held)), key=lambda n: (-held[n].worth[k], n)):
        one = held[number]
        if one.truth[k]:
            cut = Cut(number, one.slices[k], one.dataset)
            cuts.setdefault(one.dataset, []).append((cut, (one.dataset, one.prints[k])))
    names = [name for name in dict.fromkeys(one.dataset for one in held) if name in cuts]
    order = [names[n] for n in sorted(range(len(names)), key=lambda n: n * SPREAD % 1)]
    first = k % max(1, len(order))
    order = order[first:] + order[:first]
    longest = max(map(len, cuts.values()), default=0)
    return [cuts[name][n] for n in range(longest) for name in order if n < len(cuts[name])]
