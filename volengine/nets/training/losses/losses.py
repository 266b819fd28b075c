"""Losses on logits, with voxels that are ignored.

Logits are (batch, features, [z,] y, x). Labels have that shape too: 0 (background), 1 (feature) and 2 (ignore), one
map per feature, float or integer. An ignored voxel has no gradient. ``LOSSES`` names those that a recipe can ask for:

>>> import torch
>>> logits, labels = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
>>> float(get_loss("bce")(logits, labels))                                             # doctest: +ELLIPSIS
0.693...

Features are independent (sigmoid) except for ``cross_entropy``: there they exclude each other, and the network has one
more channel, the background, which comes first. The losses of regression (``l1``, ``l2``) compare numbers; NaN is
ignored. Combined losses (several terms, datasets, deep supervision, a discriminator) are in
:mod:`volengine.nets.training.losses.combined`, Surface-Dice is in :mod:`volengine.nets.training.losses.surface`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from volengine.core.errors import InputError

IGNORE = 2
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

LOSSES: dict[str, str] = {
    "bce": "volengine.nets.training.losses.losses:masked_bce",
    "dice": "volengine.nets.training.losses.losses:masked_dice",
    "bce_dice": "volengine.nets.training.losses.losses:bce_dice",
    "cross_entropy": "volengine.nets.training.losses.losses:cross_entropy",
    "focal": "volengine.nets.training.losses.losses:focal",
    "surface_dice": "volengine.nets.training.losses.surface:surface_dice",
    "l1": "volengine.nets.training.losses.losses:masked_l1",
    "l2": "volengine.nets.training.losses.losses:masked_l2",
}
EXCLUSIVE = frozenset({"cross_entropy"})
"""Losses for networks with a background channel before the features."""
REGRESSION = frozenset({"l1", "l2"})
"""Losses whose labels are numbers."""


def get_loss(name: str) -> Loss:
    """The loss of this name.

    Raises
    ------
    InputError
        The loss does not exist.
    """
    if name not in LOSSES:
        raise InputError(f"There is no loss {name!r}; known are {', '.join(LOSSES)}.")
    module, _, function = LOSSES[name].partition(":")
    loss: Loss = getattr(importlib.import_module(module), function)
    return loss


def _target(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mask of voxels that count, and their labels (0 elsewhere)."""
    counts = labels != IGNORE
    return counts, torch.where(counts, labels, 0).to(logits.dtype)


def masked_bce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the voxels that count; 0 if none counts."""
    return _bce(logits, *_target(logits, labels))


def masked_dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the features of 1 - soft Dice over the batch (Milletari et al., 2016, without squares)."""
    return _dice(logits, *_target(logits, labels))


def bce_dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of :func:`masked_bce` and :func:`masked_dice`."""
    counts, target = _target(logits, labels)  # once for both: they are kept until the gradient is computed
    return _bce(logits, counts, target) + _dice(logits, counts, target)


def _bce(logits: torch.Tensor, counts: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * counts).sum() / counts.sum().clamp(min=1)


def _dice(logits: torch.Tensor, counts: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    probability = logits.sigmoid() * counts
    over = [0, *range(2, logits.ndim)]
    both = (probability * target).sum(over)
    total = probability.sum(over) + target.sum(over)
    return (1 - (2 * both + 1) / (total + 1)).mean()


def focal(logits: torch.Tensor, labels: torch.Tensor, gamma: float = 2.0, alpha: float | None = None) -> torch.Tensor:
    """Mean of ``-(1 - p_t)^gamma log p_t`` over the voxels that count (Lin et al., ICCV 2017, equation 4).

    Parameters
    ----------
    alpha
        Weight of feature voxels, 1 - alpha that of the background (equation 5); ``None``: both weigh 1.
    """
    counts, target = _target(logits, labels)
    signed = logits * (2 * target - 1)  # the logit of the true class
    each = -((-signed).sigmoid() ** gamma) * logsigmoid(signed)
    if alpha is not None:
        each = each * (alpha * target + (1 - alpha) * (1 - target))
    return (each * counts).sum() / counts.sum().clamp(min=1)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Categorical cross-entropy of features that exclude each other, mean over the voxels that count.

    Parameters
    ----------
    logits
        (batch, 1 + features, ...): the channel of the background, then those of the features.
    labels
        (batch, features, ...). A voxel with several features counts for the first; a voxel is ignored if any of its
        labels is 2.

    Raises
    ------
    InputError
        The number of channels is not the number of features plus 1.
    """
    if logits.shape[1] != labels.shape[1] + 1:
        raise InputError(
            f"cross_entropy needs {labels.shape[1] + 1} channels (background, then {labels.shape[1]} features), "
            f"the network gives {logits.shape[1]}."
        )
    counts, classes = (labels != IGNORE).all(1), class_map(labels)
    each = -logits.log_softmax(1).gather(1, classes[:, None])[:, 0]
    return torch.where(counts, each, 0).sum() / counts.sum().clamp(min=1)


def class_map(labels: torch.Tensor) -> torch.Tensor:
    """Class of each voxel (batch, ...), int64: 0 background, 1 the first feature, ..."""
    found = labels == 1
    return torch.where(found.any(1), found.to(torch.uint8).argmax(1) + 1, 0)


def masked_l1(values: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference over voxels whose target is not NaN."""
    return _regression(values, target, 1)


def masked_l2(values: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared difference over voxels whose target is not NaN."""
    return _regression(values, target, 2)


def _regression(values: torch.Tensor, target: torch.Tensor, power: int) -> torch.Tensor:
    counts = ~torch.isnan(target)
    apart = torch.where(counts, values - torch.nan_to_num(target), 0)
    return apart.abs().pow(power).sum() / counts.sum().clamp(min=1)
