"""Combined losses: several terms, each for some datasets; deep supervision; the losses of adversarial training.

>>> terms = [Term("bce_dice"), Term("surface_dice", weight=0.5, datasets=("rori",))]
>>> loss = Objective(terms)
>>> import torch
>>> logits, labels = torch.zeros(2, 1, 8, 8, 8), torch.ones(2, 1, 8, 8, 8)
>>> loss(logits, labels, ("rori", "other")).ndim
0
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import interpolate

from volengine.core.errors import InputError
from volengine.nets.training.losses.losses import EXCLUSIVE, IGNORE, REGRESSION, Loss, get_loss, masked_l1
from volengine.nets.training.losses.recipe import Term

Answers = torch.Tensor | Sequence[torch.Tensor]
"""Logits, or with deep supervision the logits of each resolution, the full one first."""


class Objective:
    """The loss that a fit minimises.

    Parameters
    ----------
    terms
        The losses. A single loss for all samples is computed over the whole batch. With several losses, or with
        datasets, each loss is computed per sample and averaged over its samples (0 if there are none); the losses are
        added with their weights, divided by the sum of all weights.
    """

    def __init__(self, terms: Sequence[Term]):
        if not terms:
            raise InputError("There is no loss to minimise.")
        self.terms = tuple(terms)
        self._losses: list[Loss] = [get_loss(term.loss) for term in terms]
        kinds = {(t.loss in EXCLUSIVE, t.loss in REGRESSION) for t in terms}
        if len(kinds) > 1:
            raise InputError(
                f"{', '.join(t.loss for t in terms)} cannot be added: they need different channels or labels."
            )
        ((self.exclusive, self.regression),) = kinds

    def __call__(self, answers: Answers, labels: torch.Tensor, datasets: Sequence[str] = ()) -> torch.Tensor:
        """The loss of a batch, from its logits (deep supervision: at several resolutions), labels and datasets."""
        if isinstance(answers, torch.Tensor):
            return self._one(answers.float(), labels, datasets)
        return deep_supervision(lambda x, y: self._one(x.float(), y, datasets), answers, labels)

    def _one(self, logits: torch.Tensor, labels: torch.Tensor, datasets: Sequence[str]) -> torch.Tensor:
        if len(self.terms) == 1 and not self.terms[0].datasets:
            return self._losses[0](logits, labels)
        total = logits.sum() * 0
        for term, loss in zip(self.terms, self._losses, strict=True):
            own = [k for k in range(len(logits)) if not term.datasets or (datasets and datasets[k] in term.datasets)]
            if own:
                each = torch.stack([loss(logits[k : k + 1], labels[k : k + 1]) for k in own])
                total = total + term.weight * each.mean()
        return total / sum(term.weight for term in self.terms)


def deep_supervision(loss: Loss, answers: Sequence[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """Sum of the losses at all resolutions, weighted 1, 1/2, 1/4, ...; as in membrain-seg, not divided by the weights.

    Parameters
    ----------
    answers
        Logits, the full resolution first.
    labels
        Labels at full resolution; coarser ones take the nearest voxel.
    """
    total = torch.zeros((), device=labels.device)
    for level, logits in enumerate(answers):
        size = logits.shape[2:]
        truth = labels if size == labels.shape[2:] else interpolate(labels.float(), size=size, mode="nearest")
        total = total + loss(logits, truth) / 2**level
    return total


# -- a discriminator (Pix2pix) ---------------------------------------------------------------------------------

L1_WEIGHT = 100.0


def shown(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The input of a discriminator: predictions (0 to 1) or labels, with 0 where labels are 2 (ignore)."""
    return torch.where(labels == IGNORE, 0, answers).to(torch.float32)


def adversarial(judged: torch.Tensor, probability: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The generator's loss: ``mean((D - 1)^2) + 100 * L1`` where labels count.

    Least squares (Mao et al., ICCV 2017) and the weight of 100 (Isola et al., CVPR 2017) are those of Ais's Pix2pix.

    Parameters
    ----------
    judged
        Output of the discriminator for the generator's predictions, any shape.
    probability, labels
        (batch, features, ...); probabilities are from 0 to 1.
    """
    target = torch.where(labels == IGNORE, torch.nan, labels.float())
    return ((judged - 1) ** 2).mean() + L1_WEIGHT * masked_l1(probability, target)


def discriminating(judged_true: torch.Tensor, judged_false: torch.Tensor) -> torch.Tensor:
    """The discriminator's loss: half of ``mean((D(true) - 1)^2) + mean(D(false)^2)``."""
    return (((judged_true - 1) ** 2).mean() + (judged_false**2).mean()) / 2
