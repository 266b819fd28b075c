"""Surface-Dice as a loss, with soft skeletons of membranes that are computed by pooling.

Surface-Dice (Lamm et al., bioRxiv 2024.01.05.574336, equations 1 and 2) measures how much of the prediction's skeleton
lies in the truth (precision), and how much of the truth's skeleton lies in the prediction (recall). So the thickness of
a membrane hardly matters, but its holes do. For training, skeletons are soft (after Shit et al., CVPR 2021): minima and
maxima over 3 x 3 x 3 voxels, which leave surfaces in 3D and lines in 2D.
"""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, conv3d, max_pool2d, max_pool3d, pad, relu

from volengine.nets.training.losses.losses import IGNORE

ITERATIONS = 5
SMOOTH = 3.0
TRUTH_SIGMA, TRUTH_REACH, TRUTH_GAIN = 2.0, 7, 1.5


def surface_dice(logits: torch.Tensor, labels: torch.Tensor, iterations: int = ITERATIONS) -> torch.Tensor:
    """Mean of 1 - soft Surface-Dice over samples and features.

    Parameters
    ----------
    logits, labels
        (batch, features, [z,] y, x). Skeletons are set to 0 where a label is 2. An ignored voxel influences the
        skeleton of its neighbours, but has no gradient.
    iterations
        Number of erosions after the first; skeletons of membranes up to about 2 * iterations + 3 voxels thick are
        complete.

    Notes
    -----
    As in the authors' program, 3 is added to numerator and denominator of precision and recall, and the truth's
    skeleton is computed from the mask, blurred by a Gaussian (sigma 2, 15 voxels wide) and multiplied by 1.5. At the
    border of the patch the mask is continued, whereas it ends in their program.
    """
    counts = labels != IGNORE
    truth = (labels == 1).to(logits.dtype)
    probability = logits.sigmoid()
    probability = torch.where(counts, probability, probability.detach())
    found = soft_skeleton(probability, iterations) * counts
    true = truth_skeleton(truth, iterations) * counts
    over = tuple(range(2, logits.ndim))
    precision = ((found * truth).sum(over) + SMOOTH) / (found.sum(over) + SMOOTH)
    recall = ((true * probability).sum(over) + SMOOTH) / (true.sum(over) + SMOOTH)
    return (1 - 2 * precision * recall / (precision + recall)).mean()


def truth_skeleton(truth: torch.Tensor, iterations: int = ITERATIONS) -> torch.Tensor:
    """Soft skeleton of a mask (batch, features, [z,] y, x; 0 or 1), which is blurred first; it has no gradient."""
    with torch.no_grad():
        at = torch.arange(-TRUTH_REACH, TRUTH_REACH + 1, dtype=torch.float32, device=truth.device)
        weights = torch.exp(-0.5 * (at / TRUTH_SIGMA) ** 2)
        weights = (weights / weights.sum()).to(truth.dtype)
        x = truth.flatten(0, 1)[:, None]
        dims = x.ndim - 2
        convolve = conv3d if dims == 3 else conv2d
        x = pad(x, (TRUTH_REACH, TRUTH_REACH) * dims, mode="replicate")
        for axis in range(dims):
            x = convolve(x, weights.reshape([1, 1, *[-1 if a == axis else 1 for a in range(dims)]]))
        return soft_skeleton(TRUTH_GAIN * x.reshape(truth.shape), iterations)


def soft_skeleton(x: torch.Tensor, iterations: int = ITERATIONS) -> torch.Tensor:
    """Soft skeleton: the parts that opening removes after each of several erosions (Shit et al., algorithm 1).

    ``open(x)`` is the maximum of the minimum over 3 voxels a side. It starts with ``s = relu(x - open(x))``; each
    iteration computes ``x = minimum(x)``, ``d = relu(x - open(x))``, ``s = s + relu(d - s d)``. Voxels beyond the
    border do not take part. The result has the shape of ``x``.
    """
    skeleton = relu(x - _highest(_lowest(x)))
    for _ in range(iterations):
        x = _lowest(x)
        more = relu(x - _highest(_lowest(x)))
        skeleton = skeleton + relu(more - skeleton * more)
    return skeleton


def _highest(x: torch.Tensor) -> torch.Tensor:
    """Maximum over 3 voxels along each of the last axes."""
    if torch.is_grad_enabled():
        return max_pool3d(x, 3, 1, 1) if x.ndim == 5 else max_pool2d(x, 3, 1, 1)
    for axis in range(2, x.ndim):  # ten times as fast, but only for the forward pass
        n = x.shape[axis]
        if n > 1:
            two = torch.maximum(x.narrow(axis, 0, n - 1), x.narrow(axis, 1, n - 1))
            inner = torch.maximum(two.narrow(axis, 0, n - 2), two.narrow(axis, 1, n - 2))
            x = torch.cat([two.narrow(axis, 0, 1), inner, two.narrow(axis, n - 2, 1)], axis)
    return x


def _lowest(x: torch.Tensor) -> torch.Tensor:
    return -_highest(-x)
