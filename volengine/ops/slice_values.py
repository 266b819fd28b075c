"""Values of slices as a browser gets them: filters for the eye, and 16 bits over a range.

>>> plane = np.array([[0.0, 0.5], [1.0, np.nan]])
>>> sixteen_bits(plane, (0.0, 1.0)).tolist()
[[0, 32768], [65535, 0]]
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volengine.core.errors import InputError

Filter = Literal["none", "gaussian", "sobel"]
FILTERS: tuple[str, ...] = get_args(Filter)
TOP = 65535
"""Largest value of 16 bits."""
WIDEST_SIGMA = 16.0
"""Largest standard deviation of the Gaussian, voxels."""


def filtered(plane: NDArray[Any], name: str, sigma: float = 1.0) -> NDArray[np.float32]:
    """Filter a slice for looking at it.

    Parameters
    ----------
    plane
        Grey values (rows, columns). What is not finite counts as 0.
    name
        ``none``, ``gaussian``, or ``sobel``: the length of the gradient, in grey values per voxel, behind a Gaussian.
    sigma
        Standard deviation of the Gaussian, voxels; 0: no smoothing.

    Returns
    -------
    NDArray
        float32, of the same shape. Beyond the edges the nearest voxel is repeated.

    Raises
    ------
    InputError
        There is no such filter, or ``sigma`` is negative or too large.
    """
    if name not in FILTERS:
        raise InputError(f"filter is {name[:20]!r}; it is one of {', '.join(FILTERS)}.")
    if not 0 <= sigma <= WIDEST_SIGMA:
        raise InputError(f"sigma is {sigma:g}; it is 0 to {WIDEST_SIGMA:g} voxels.")
    values: NDArray[np.float32] = np.nan_to_num(plane.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if name != "none" and sigma > 0:
        values = ndimage.gaussian_filter(values, sigma, mode="nearest")
    if name == "sobel":
        along = [ndimage.sobel(values, axis, mode="nearest") for axis in (0, 1)]
        values = np.hypot(*along) / 8  # of a slope of 1 per voxel it is 1
    return values


def sixteen_bits(plane: NDArray[Any], span: tuple[float, float]) -> NDArray[np.uint16]:
    """Return a slice as 16-bit numbers: 0 at the beginning of ``span`` and below, 65535 at its end and above.

    Parameters
    ----------
    plane
        Values, of any shape; what is not finite becomes 0.
    span
        Two values, the lower one first.
    """
    low, high = span
    exact = plane.dtype == np.float64 or (plane.dtype.kind in "iu" and plane.dtype.itemsize > 2)
    scaled: NDArray[np.floating[Any]] = plane.astype(np.float64 if exact else np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled -= low
        scaled *= TOP / (high - low)
        np.clip(scaled, 0, TOP, out=scaled)
        np.nan_to_num(scaled, copy=False, nan=0.0)
        np.rint(scaled, out=scaled)
    return scaled.astype(np.uint16)
