"""Surface-Dice as a loss: soft skeletons of membranes by pooling.

Surface-Dice (Lamm et al., bioRxiv 2024.01.05.574336, equations 1 and 2) asks whether the skeleton of the prediction
lies in the truth (precision) and that of the truth in the prediction (recall), so a membrane's thickness matters
little and its holes matter. For training, skeletons are soft (after Shit et al., CVPR 2021): minimum and maximum over
3 x 3 x 3 voxels, which leaves surfaces in 3D and lines in 2D.
"""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, conv3d, max_pool2d, max_pool3d, pad, relu

from volengine.nets.training.losses.losses import IGNORE

ITERATIONS = 5
SMOOTH = 3.0
TRUTH_SIGMA, TRUTH_REACH, TRUTH_GAIN = 2.0, 7, 1.5


def surface_dice(logits: torch.Tensor, labels: torch.Tensor, iterations: int = ITERATIONS) -> torch.Tensor:
    """1 - soft Surface-Dice, mean over samples and features.

    Parameters
    ----------
    logits, labels
        (batch, features, [z,] y, x). Skeletons are zeroed where a label is 2; an ignored voxel is seen by its
        neighbours' skeleton, but has no gradient.
    iterations
        Erosions after the first: skeletons of membranes up to about 2 * iterations + 3 voxels thick are complete.

    Notes
    -----
    Precision and recall have 3 added to numerator and denominator, and the truth's skeleton is that of the mask
    blurred by a Gaussian (sigma 2, 15 voxels wide) times 1.5, as in the authors' program. At the patch's border the
    mask is taken as going on (theirs: as ending).
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
    """Soft skeleton of a mask (0 or 1; batch, features, [z,] y, x), which is blurred first; no gradient."""
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
    """What opening removes, over successive erosions (Shit et al., algorithm 1), same shape.

    With ``open(x)`` the maximum of the minimum over 3 voxels a side: ``s = relu(x - open(x))``; then, each time,
    ``x = minimum(x)``, ``d = relu(x - open(x))``, ``s = s + relu(d - s d)``. Beyond the border there is nothing.
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
    for axis in range(2, x.ndim):  # ten times as fast, but only forwards
        n = x.shape[axis]
        if n > 1:
            two = torch.maximum(x.narrow(axis, 0, n - 1), x.narrow(axis, 1, n - 1))
            inner = torch.maximum(two.narrow(axis, 0, n - 2), two.narrow(axis, 1, n - 2))
            x = torch.cat([two.narrow(axis, 0, 1), inner, two.narrow(axis, n - 2, 1)], axis)
    return x


def _lowest(x: torch.Tensor) -> torch.Tensor:
    return -_highest(-x)
