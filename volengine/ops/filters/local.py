"""Filters of a voxel's neighbourhood: median, bilateral, non-local means, anisotropic diffusion.

Each function takes an array with a margin around what it is to return, and returns it without this margin
(:func:`reach`). A value depends on its neighbourhood alone, and is computed by the same sums in the same order wherever
the array begins; so blocks with a halo give the values of the whole volume, bit for bit. Beyond the volume its voxels
are mirrored (without repeating the border voxel), which is the caller's part. Neighbourhoods are counted in voxels.

``scipy.ndimage.median_filter`` computes the median. ``scikit-image`` has a bilateral filter of images only, and its
fast non-local means adds up running sums over the whole array, which depend on where it begins; so both are written
here, and compared with it in the tests.

>>> spike = np.zeros((5, 5, 5), np.float32)
>>> spike[2, 2, 2] = 9
>>> median(spike, 1).shape, float(median(spike, 1).max())
((3, 3, 3), 0.0)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]

STEP = 1 / 7
"""Length of a step of diffusion in time; with six neighbours it is stable up to 1/6."""
SPATIAL = 2.0
"""The bilateral filter looks as far as so many of its spatial standard deviations."""


def reach(kind: str, values: Mapping[str, Any]) -> int:
    """Number of voxels around a voxel that a filter looks at, along each axis.

    Parameters
    ----------
    kind
        ``median``, ``bilateral``, ``nlm`` or ``diffusion``; any other kind looks at the voxel alone.
    values
        The parameters of the filter.
    """
    if kind == "median":
        return int(values["radius"])
    if kind == "bilateral":
        return math.ceil(SPATIAL * float(values["sigma_vox"]))
    if kind == "nlm":
        return int(values["search"]) + int(values["patch"])
    return int(values["iterations"]) if kind == "diffusion" else 0


def working_copies(kind: str) -> int:
    """Number of copies of its input (float32, margin included) that a filter holds at most, its result included."""
    return {"median": 2, "bilateral": 5, "nlm": 7, "diffusion": 6}.get(kind, 2)


def apply(kind: str, array: Real, values: Mapping[str, Any]) -> Real:
    """Apply a filter by its name; it returns the array without :func:`reach` voxels on every side."""
    filters: dict[str, Callable[..., Real]] = {"median": median, "bilateral": bilateral, "nlm": nlm}
    return filters.get(kind, diffusion)(array, **values)


def median(array: Real, radius: int) -> Real:
    """The median of the cube of ``2 radius + 1`` voxels a side around each voxel.

    Parameters
    ----------
    array
        float32 (z, y, x), with a margin of ``radius``.
    radius
        Voxels, 1 or more.
    """
    from scipy import ndimage

    return _inner(ndimage.median_filter(array, size=2 * radius + 1, mode="nearest"), radius)


def bilateral(array: Real, sigma_vox: float, sigma_value: float) -> Real:
    """The bilateral filter (Tomasi and Manduchi 1998): a Gaussian mean of neighbours with similar values.

    Weights are exp(-d² / (2 sigma_vox²) - (difference of values)² / (2 sigma_value²)) for the cube of :data:`SPATIAL`
    sigma_vox around a voxel.

    Parameters
    ----------
    array
        float32 (z, y, x), with a margin of ``ceil(2 sigma_vox)``.
    sigma_vox, sigma_value
        Standard deviations: in voxels, and in grey values.
    """
    margin = math.ceil(SPATIAL * sigma_vox)
    centre = _inner(array, margin)
    total, weights = np.zeros_like(centre), np.zeros_like(centre)
    for offset in itertools.product(range(-margin, margin + 1), repeat=3):
        near = _shifted(array, margin, offset)
        weight = near - centre
        weight *= np.float32(1 / (math.sqrt(2) * sigma_value))
        np.square(weight, out=weight)
        weight += np.float32(sum(d * d for d in offset) / (2 * sigma_vox**2))
        np.negative(weight, out=weight)
        np.exp(weight, out=weight)
        weights += weight
        weight *= near
        total += weight
    total /= weights
    return total


def nlm(array: Real, patch: int, search: int, strength: float, noise: float) -> Real:
    """Non-local means (Buades, Coll and Morel 2005): the mean of voxels whose surroundings look alike.

    The weight of a voxel is exp(-max(d² - 2 noise², 0) / strength²), d² the mean squared difference of the two cubes of
    ``2 patch + 1`` voxels around both (as ``skimage.restoration.denoise_nl_means`` with ``fast_mode``, which leaves out
    weights below exp(-5)).

    Parameters
    ----------
    array
        float32 (z, y, x), with a margin of ``patch + search``.
    patch, search
        Radius of the cubes that are compared, and of the cube in which voxels are looked for, voxels.
    strength, noise
        Grey values: how different cubes may be, and the standard deviation of the noise.
    """
    margin = patch + search
    centre = _inner(array, search)
    inside = _inner(array, margin)
    total, weights = np.zeros_like(inside), np.zeros_like(inside)
    box = np.full(2 * patch + 1, 1 / (2 * patch + 1))
    for offset in itertools.product(range(-search, search + 1), repeat=3):
        distance = _shifted(array, search, offset) - centre
        np.square(distance, out=distance)
        distance = _inner(_separable(distance, box), patch)
        distance -= np.float32(2 * noise**2)
        np.maximum(distance, 0, out=distance)
        distance *= np.float32(-1 / strength**2)
        np.exp(distance, out=distance)
        weights += distance
        distance *= _shifted(array, margin, offset)
        total += distance
    total /= weights
    return total


def diffusion(array: Real, iterations: int, kappa: float) -> Real:
    """Anisotropic diffusion (Perona and Malik 1990): smoothing that stops at edges.

    In each iteration a voxel gains :data:`STEP` times the sum over its six neighbours of g(d) d, d the difference of
    values and g = exp(-(d / kappa)²).

    Parameters
    ----------
    array
        float32 (z, y, x), with a margin of ``iterations``.
    iterations
        Number of iterations; smoothing without edges has the standard deviation sqrt(2 iterations / 7) voxels.
    kappa
        Difference of grey values above which an edge is kept.
    """
    for _ in range(iterations):
        centre = _inner(array, 1)
        change = np.zeros_like(centre)
        for axis, sign in itertools.product(range(3), (-1, 1)):
            offset = [0, 0, 0]
            offset[axis] = sign
            difference = _shifted(array, 1, offset) - centre
            weight = difference * np.float32(1 / kappa)
            np.square(weight, out=weight)
            np.negative(weight, out=weight)
            np.exp(weight, out=weight)
            weight *= difference
            change += weight
        change *= np.float32(STEP)
        change += centre
        array = change
    return array


def _separable(array: Real, weights: NDArray[np.float64]) -> Real:
    """Correlate along each axis; sums are in the order of the weights, not running ones."""
    from scipy import ndimage

    for axis in range(3):
        array = ndimage.correlate1d(array, weights, axis=axis, mode="nearest")
    return array


def _inner(array: Real, margin: int) -> Real:
    """A contiguous copy without a margin."""
    return np.ascontiguousarray(array[tuple(slice(margin, n - margin) for n in array.shape)])


def _shifted(array: Real, margin: int, offset: Sequence[int]) -> Real:
    """What lies at an offset from each voxel inside of a margin, as a view."""
    return array[tuple(slice(margin + d, n - margin + d) for d, n in zip(offset, array.shape, strict=True))]
