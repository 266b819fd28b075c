"""How uncertain predictions are in patches: where a person who looks would help a network most.

Of one prediction a voxel counts by its binary entropy, 0 where the probability is 0 or 1 and 1 where it is 0.5. Of two
predictions it counts by their difference (disagreement of a committee; Seung et al., 1992). The border of an object
stays uncertain whatever is learnt, because the truth itself is no sharper there; so voxels near both sure feature and
sure background, the *outline*, count nothing.

Values are whole numbers, so sums do not depend on their order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volengine.core.boxes import Index3

TOP = 65535
"""The whole number of probability 1, and of the largest uncertainty."""


def _entropy() -> NDArray[np.int64]:
    """The binary entropy of each probability of 16 bits, in 65535ths of a bit."""
    p = np.arange(TOP + 1) / TOP
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    bits[[0, -1]] = 0.0
    return np.rint(TOP * bits).astype(np.int64)


ENTROPY = _entropy()


class Scores(NamedTuple):
    """Patches in C order: sums of uncertainty, and of each the slice (in the patch) that has the largest share.

    Where slices are equal it is the first of them.
    """

    total: NDArray[np.int64]
    slice: NDArray[np.int64]


def whole_probability(values: NDArray[Any]) -> NDArray[np.int64]:
    """Probabilities as whole numbers to 65535.

    >>> whole_probability(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 32768, 65535]
    """
    found: NDArray[np.int64] = np.rint(np.clip(values, 0.0, 1.0) * np.float64(TOP)).astype(np.int64)
    return found


def outline(levels: NDArray[np.int64], reach_vox: int, sure: float) -> NDArray[np.bool_]:
    """The voxels that have both sure feature and sure background nearby.

    Parameters
    ----------
    levels
        A prediction, whole numbers to 65535, (z, y, x); voxels beyond its faces are missed.
    reach_vox
        Nearby is a cube that reaches so far on each side; 0: there is none.
    sure
        Probability from which a voxel is sure to be of the feature, above 0.5; of the background up to 1 - ``sure``.

    Returns
    -------
    (z, y, x) bool
    """
    if not reach_vox:
        return np.zeros(levels.shape, bool)
    size = 2 * reach_vox + 1
    high: NDArray[np.bool_] = ndimage.maximum_filter(levels, size, mode="nearest") >= math.ceil(sure * TOP)
    low: NDArray[np.bool_] = ndimage.minimum_filter(levels, size, mode="nearest") <= math.floor((1 - sure) * TOP)
    return high & low


def uncertainty(
    levels: NDArray[np.int64], other: NDArray[np.int64] | None, reach_vox: int, sure: float
) -> NDArray[np.int64]:
    """The uncertainty of each voxel, whole numbers to 65535.

    Parameters
    ----------
    levels
        A prediction, whole numbers to 65535, (z, y, x).
    other
        Another model's prediction: then their difference counts; ``None``: the entropy.
    reach_vox, sure
        As of :func:`outline`; of two predictions the outlines of both are left out.

    Returns
    -------
    (z, y, x) int64

    Examples
    --------
    >>> uncertainty(np.array([[[0, 32768, 65535]]]), None, 0, 0.8).tolist()
    [[[0, 65535, 0]]]
    >>> uncertainty(np.array([[[0, 32768]]]), np.array([[[0, 65535]]]), 0, 0.8).tolist()
    [[[0, 32767]]]
    """
    left_out = outline(levels, reach_vox, sure)
    if other is None:
        found = ENTROPY[levels]
    else:
        found = np.abs(levels - other)
        left_out |= outline(other, reach_vox, sure)
    found[left_out] = 0
    return found


def score_patches(values: NDArray[np.int64], patch: Index3) -> Scores:
    """Sum the uncertainty of patches that lie side by side.

    Parameters
    ----------
    values
        As of :func:`uncertainty`; its sides are multiples of the patch's.
    patch
        Shape of a patch, voxels z, y, x.
    """
    (gz, gy, gx), (pz, py, px) = (n // p for n, p in zip(values.shape, patch, strict=True)), patch
    planes = values.reshape(gz, pz, gy, py, gx, px).sum(axis=(3, 5))  # (gz, pz, gy, gx)
    return Scores(planes.sum(axis=1).ravel(), planes.argmax(axis=1).ravel())
