"""Losses on logits, with voxels that do not count.

Labels are 0 (background), 1 (feature) and 2 (ignore), one map per feature, float or integer, shape as the logits.
"""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

IGNORE = 2


def masked_bce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the voxels that count (0 where none does)."""
    counts = labels != IGNORE
    target = torch.where(counts, labels, 0).to(logits.dtype)
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * counts).sum() / counts.sum().clamp(min=1)


def masked_dice(logits: torch.Tensor, labels: torch.Tensor, smooth: float = 1.0) -> torch.Tensor:
    """1 - soft Dice over the batch, per feature, mean over the features (Milletari et al., 2016, without squares)."""
    counts = labels != IGNORE
    target = torch.where(counts, labels, 0).to(logits.dtype)
    probability = logits.sigmoid() * counts
    over = [0, *range(2, logits.ndim)]
    both = (probability * target).sum(over)
    total = probability.sum(over) + target.sum(over)
    return (1 - (2 * both + smooth) / (total + smooth)).mean()


def bce_dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of both, one to one."""
    return masked_bce(logits, labels) + masked_dice(logits, labels)
