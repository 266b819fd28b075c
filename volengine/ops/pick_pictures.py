"""Small pictures of the surroundings of picks, along an axis of the volume or of the particle.

>>> values = np.zeros((5, 5, 5))
>>> values[2, 2, 3] = 1.0
>>> turned = along_axes(values, (2.0, 2.0, 2.0), np.eye(3), 3)  # columns are x, y, z of the particle, each z, y, x
>>> turned.shape
(3, 3)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError


def along_axes(
    values: ArrayLike, centre: ArrayLike, axes: ArrayLike, side: int, mean: int = 1, step: ArrayLike = (1.0, 1.0, 1.0)
) -> NDArray[np.float64]:
    """Read a slice of a volume across an axis of a particle: trilinear, the mean of some slices side by side.

    Parameters
    ----------
    values
        (Z, Y, X) voxels around the particle; beyond them their faces are repeated.
    centre
        (3,) of the particle, voxels of ``values``, z, y, x.
    axes
        (3, 3) unit vectors z, y, x: columns are the axes of the picture's columns, its rows, and across it.
    side
        Pixels of the picture; its centre is pixel ``side // 2`` of rows and columns.
    mean
        Of how many slices the mean is, an odd number.
    step
        (3,) voxels of a pixel along z, y, x, for volumes whose voxels are no cubes.

    Returns
    -------
    (side, side) float64.

    Raises
    ------
    InputError
        ``mean`` or ``side`` is not positive, or ``mean`` is even.
    """
    from scipy.ndimage import map_coordinates

    if side < 1 or mean < 1 or mean % 2 == 0:
        raise InputError(f"side is {side} and mean {mean}; they are positive, and mean is odd.")
    right, down, across = np.asarray(axes, float).T
    steps = np.arange(side) - side // 2
    layers = np.arange(mean) - mean // 2
    offsets = (
        layers[:, None, None, None] * across + steps[None, :, None, None] * down + steps[None, None, :, None] * right
    )
    places = np.asarray(centre, float) + offsets * np.asarray(step, float)
    read = map_coordinates(np.asarray(values, np.float64), np.moveaxis(places, -1, 0), order=1, mode="nearest")
    found: NDArray[np.float64] = read.mean(axis=0)
    return found


def eight_bits(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    """Values from black (``low``) to white as 0 to 255; what is no number is black."""
    parts = np.nan_to_num((values - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    found: NDArray[np.uint8] = np.rint(255 * np.clip(parts, 0, 1)).astype(np.uint8)
    return found
