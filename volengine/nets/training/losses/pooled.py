"""The losses of a set of samples that does not fit into memory, from sums over its samples.

A loss that is a ratio, such as Dice, must not be averaged over patches: a patch without the feature adds about 1 to it,
whatever the network does. Here each sample yields a few sums per feature, the sums are added over the set, and the loss
is computed once, as if the set were a single batch. A feature that the set does not hold is left out of ratios. For
losses that a training computes per sample (``surface_dice``) this means that all voxels of the set count alike.

>>> pool = Pool([Term("bce_dice")])
>>> sums = [pool.sums(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), label)) for label in (0, 1)]
>>> pool.score(sums).truth  # voxels of each feature
[16.0]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from volengine.core.errors import InputError
from volengine.nets.training.losses.losses import EXCLUSIVE, IGNORE, LOSSES, REGRESSION, class_map
from volengine.nets.training.losses.recipe import Term
from volengine.nets.training.losses.surface import SMOOTH, soft_skeleton, truth_skeleton

Sums = NDArray[np.float64]
Make = Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]
"""From logits and labels of one sample to sums, each a number per feature (or one for all)."""
Value = Callable[[Sums], float]
"""From the sums of the whole set, (sums, features), to the loss."""


@dataclass(frozen=True)
class Score:
    """What is known of a network from a set.

    Parameters
    ----------
    loss
        The loss; NaN if the set says nothing: no feature is in it, or no voxel of it counts.
    dice
        Dice at 0.5 over all features together; NaN for a regression, and if no feature is in the set.
    truth
        For each feature its number of voxels in the set; empty for a regression.
    found, both
        For each feature the number of voxels that were predicted, and of those that were predicted rightly.
    """

    loss: float
    dice: float
    truth: list[float]
    found: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)

    def shares(self) -> dict[str, list[float]]:
        """Dice, precision and recall of each feature, pooled over the set; NaN where the set or the answer has none.

        >>> Score(0.5, 0.5, truth=[8, 0], found=[4, 0], both=[3, 0]).shares()
        {'dice': [0.5, nan], 'precision': [0.75, nan], 'recall': [0.375, nan]}
        """
        rows = list(zip(self.both, self.found, self.truth, strict=True))
        return {
            "dice": [2 * both / (found + truth) if truth else math.nan for both, found, truth in rows],
            "precision": [both / found if found and truth else math.nan for both, found, truth in rows],
            "recall": [both / truth if truth else math.nan for both, _, truth in rows],
        }


class Pool:
    """The losses of a recipe over a set.

    Parameters
    ----------
    terms
        The losses; they are added with their weights, divided by the sum of all weights. A loss with datasets takes the
        samples of these datasets only. A loss is left out if nothing counts for it in the whole set.
    """

    def __init__(self, terms: Sequence[Term]):
        self.terms = tuple(terms)
        unknown = [term.loss for term in terms if term.loss not in POOLED]
        if unknown:
            raise InputError(f"There is no loss {unknown[0]!r}; known are {', '.join(LOSSES)}.")
        self._regression = self.terms[0].loss in REGRESSION
        self._exclusive = self.terms[0].loss in EXCLUSIVE

    def sums(self, logits: torch.Tensor, labels: torch.Tensor, dataset: str = "") -> list[Sums]:
        """The sums of one sample, (1, features, ...): for Dice at 0.5, and for each term."""
        found = [_zero_one(logits, labels, self._exclusive)] if not self._regression else [np.zeros((0, 0))]
        for term in self.terms:
            counts = not term.datasets or dataset in term.datasets
            made = [part.reshape(-1).double().cpu().numpy() for part in POOLED[term.loss][0](logits, labels)]
            found.append(np.stack(made) * counts)
        return found

    def score(self, samples: Sequence[list[Sums]]) -> Score:
        """The loss of a set from the sums of its samples, in any fixed order."""
        return self._score(self._total(samples))

    def _total(self, samples: Sequence[list[Sums]]) -> list[Sums]:
        return [np.sum([sample[k] for sample in samples], axis=0) for k in range(len(self.terms) + 1)]

    def noise(self, samples: Sequence[list[Sums]], others: Sequence[list[Sums]]) -> float:
        """Standard error of the difference between the losses of two networks over the same set.

        By the jackknife (Efron & Stein, Annals of Statistics 9, 586, 1981): the difference is computed again without
        each sample in turn. Samples that are hard for both networks cancel. Neighbouring patches of one volume are
        alike, so the true error is rather larger.

        Parameters
        ----------
        samples, others
            The sums of the same samples, for each of the networks.

        Returns
        -------
        float
            NaN if there is a single sample, or if the loss rests on one: without it no feature would be in the set.

        Examples
        --------
        >>> pool = Pool([Term("l2")])
        >>> none = np.zeros((0, 0))
        >>> squares = [[[none, np.array([[s], [1.0]])] for s in each] for each in ((1.0, 2.0, 6.0), (1.0, 1.0, 1.0))]
        >>> apart = np.array([0.0, 1.0, 5.0])  # the loss is a mean, so this is the standard error of a mean
        >>> bool(np.isclose(pool.noise(*squares), apart.std(ddof=1) / 3**0.5))
        True
        """
        both = [(part, self._total(part)) for part in (samples, others)]
        count = len(samples)
        left = np.empty((2, count))
        for row, (each, total) in zip(left, both, strict=True):
            for k in range(count):
                row[k] = self._score([a - b for a, b in zip(total, each[k], strict=True)]).loss
        apart = left[0] - left[1]
        if count < 2 or not np.isfinite(apart).all():
            return math.nan
        return float(np.sqrt((count - 1) / count * ((apart - apart.mean()) ** 2).sum()))

    def _score(self, total: Sequence[Sums]) -> Score:
        """The loss from the sums of the whole set."""
        values = [(term.weight, POOLED[term.loss][1](part)) for term, part in zip(self.terms, total[1:], strict=True)]
        known = [(weight, value) for weight, value in values if not math.isnan(value)]
        loss = sum(w * v for w, v in known) / sum(w for w, _ in known) if known else math.nan
        if self._regression:
            return Score(loss, math.nan, [])
        both, found, truth = total[0]
        each = [part.tolist() for part in (truth, found, both)]
        if not truth.any():
            return Score(math.nan, math.nan, *each)
        return Score(loss, float(2 * both.sum() / (found.sum() + truth.sum())), *each)


def found_voxels(logits: torch.Tensor, exclusive: bool) -> torch.Tensor:
    """Mask of the predicted voxels: probability above 1/2, or the most probable of exclusive classes."""
    if not exclusive:
        return logits > 0
    best = logits.argmax(1, keepdim=True)
    return best == torch.arange(1, logits.shape[1], device=best.device).reshape(1, -1, *[1] * (logits.ndim - 2))


def _over(labels: torch.Tensor) -> list[int]:
    return [0, *range(2, labels.ndim)]


def _zero_one(logits: torch.Tensor, labels: torch.Tensor, exclusive: bool) -> Sums:
    counts, over = labels != IGNORE, _over(labels)
    found, truth = found_voxels(logits, exclusive) & counts, (labels == 1) & counts
    return np.stack([mask.sum(over).double().cpu().numpy() for mask in (found & truth, found, truth)])


def _entropies(logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    counts, over = labels != IGNORE, _over(labels)
    target = torch.where(counts, labels, 0).to(logits.dtype)
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    return [(each * counts).sum(over), counts.sum(over)]


def _focal(logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    from volengine.nets.training.losses.losses import focal

    number = (labels != IGNORE).sum()
    return [focal(logits, labels) * number, number]


def _overlaps(logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    counts, over = labels != IGNORE, _over(labels)
    target = torch.where(counts, labels, 0).to(logits.dtype)
    probability = logits.sigmoid() * counts
    return [(probability * target).sum(over), probability.sum(over), target.sum(over)]


def _classes(logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    counts = (labels != IGNORE).all(1)
    each = -logits.log_softmax(1).gather(1, class_map(labels)[:, None])[:, 0]
    return [torch.where(counts, each, 0).sum(), counts.sum()]


def _surfaces(logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    counts, over = labels != IGNORE, _over(labels)
    truth, probability = (labels == 1).to(logits.dtype), logits.sigmoid()
    found, true = soft_skeleton(probability) * counts, truth_skeleton(truth) * counts
    return [x.sum(over) for x in (found * truth, found, true * probability, true, truth)]


def _differences(power: int) -> Make:
    def make(values: torch.Tensor, target: torch.Tensor) -> list[torch.Tensor]:
        counts = ~torch.isnan(target)
        apart = torch.where(counts, values - torch.nan_to_num(target), 0)
        return [apart.abs().pow(power).sum(), counts.sum()]

    return make


def _mean(sums: Sums) -> float:
    return float(sums[0].sum() / sums[1].sum()) if sums[1].any() else math.nan


def _dice(sums: Sums) -> float:
    both, found, truth = sums[:, sums[2] > 0]
    return float(np.mean(1 - (2 * both + 1) / (found + truth + 1))) if truth.size else math.nan


def _surface_dice(sums: Sums) -> float:
    hits, found, covered, true, _ = sums[:, sums[4] > 0]
    if not true.size:
        return math.nan
    precision, recall = (hits + SMOOTH) / (found + SMOOTH), (covered + SMOOTH) / (true + SMOOTH)
    return float(np.mean(1 - 2 * precision * recall / (precision + recall)))


def _both(logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    return [*_entropies(logits, labels), *_overlaps(logits, labels)]


def _both_value(sums: Sums) -> float:
    return _mean(sums[:2]) + _dice(sums[2:])


POOLED: dict[str, tuple[Make, Value]] = {
    "bce": (_entropies, _mean),
    "dice": (_overlaps, _dice),
    "bce_dice": (_both, _both_value),
    "cross_entropy": (_classes, _mean),
    "focal": (_focal, _mean),
    "surface_dice": (_surfaces, _surface_dice),
    "l1": (_differences(1), _mean),
    "l2": (_differences(2), _mean),
}
"""For each loss the sums of a sample, and the loss of these sums."""
