"""Values of a volume at any places: linear, or cubic convolution, whose result depends on 4³ voxels and nothing else.

Cubic convolution (R. G. Keys, IEEE Trans. Acoust. Speech Signal Process. 29 (1981) 1153, with a = -1/2) goes through
the voxels, is exact for polynomials of the second degree, and needs no filter over the whole volume, as cubic splines
do. So a block with a margin of two voxels gives the same bytes as the whole volume. Voxels beyond a face of the volume
are those of the face.

>>> ramp = np.arange(6.0) + np.zeros((6, 6, 6))
>>> interpolate(ramp, np.zeros(3, int), np.array([[2.5, 2.5, 2.25], [2, 2, 5.5]]), ramp.shape, "cubic").tolist()
[2.25, nan]
"""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError

Floats = NDArray[np.float64]
Order = Literal["linear", "cubic"]

REACH = {"linear": 1, "cubic": 2}
"""Voxels that are read beyond the voxel below a place."""
ROUNDING = 1e-6
"""Places up to this far outside, in voxels, count as on the face."""


def steps(start: float, stop: float, step: float) -> Floats:
    """Distances from ``start`` to ``stop``, both included.

    Raises
    ------
    InputError
        ``step`` is not positive, ``stop`` lies before ``start``, or the way is no whole number of steps.

    >>> steps(-2.5, 2.25, 0.25).size
    20
    """
    if not (step > 0 and np.isfinite([start, stop, step]).all() and stop >= start):
        raise InputError(
            f"Distances go from a smaller to a larger one by a positive step, not {start}, {stop}, {step}."
        )
    count = (stop - start) / step
    if abs(count - round(count)) > 1e-6:
        raise InputError(
            f"From {start:g} to {stop:g} there are {count:.3f} steps of {step:g}; a whole number is needed. End at "
            f"{start + np.floor(count) * step:g}, for example."
        )
    if count > 10_000:
        raise InputError(f"From {start:g} to {stop:g} there are {count:.0f} steps of {step:g}; 10,000 are the most.")
    return np.asarray(start + np.arange(round(count) + 1) * step, np.float64)


def along_normals(place: Floats, normal: Floats, distance: ArrayLike) -> Floats:
    """(n, d, 3) places at distances along the normals, angstrom, z, y, x."""
    found: Floats = place[:, None] + np.asarray(distance, np.float64)[None, :, None] * normal[:, None]
    return found


def inside(at_vox: Floats, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Whether places lie between the centres of the first and the last voxels of each axis."""
    last = np.asarray(shape, np.float64) - 1
    return np.asarray(((at_vox >= -ROUNDING) & (at_vox <= last + ROUNDING)).all(axis=-1))


def interpolate(
    voxels: NDArray[Any], start: NDArray[np.int64], at_vox: Floats, shape: tuple[int, int, int], order: Order
) -> Floats:
    """Values at places.

    Parameters
    ----------
    voxels
        A box of the volume, z, y, x, that reaches :data:`REACH` voxels around the places, or to the volume's faces.
    start
        Index of its first voxel in the volume.
    at_vox
        (n, 3) places in voxels of the volume, z, y, x.
    shape
        Shape of the volume.
    order
        ``linear`` or ``cubic``.

    Returns
    -------
    (n,) float64; NaN outside of the volume. The sum is taken in one order, so that no box changes it.
    """
    valid = inside(at_vox, shape)
    found = np.full(len(at_vox), np.nan)
    last = np.asarray(shape) - 1
    at = np.clip(at_vox[valid], 0, last)
    if order == "linear":
        from scipy.ndimage import map_coordinates

        if voxels.dtype.kind not in "iuf" or voxels.dtype == np.float16 or not voxels.dtype.isnative:
            voxels = voxels.astype(np.float64)  # scipy knows no others
        # the start is a whole number, so that this difference is exact and no box changes the weights
        found[valid] = map_coordinates(voxels, (at - start).T, np.float64, order=1, mode="nearest")
        return found
    if order != "cubic":
        raise InputError(f"There is no interpolation {order!r}; there are linear and cubic.")
    low = np.minimum(np.floor(at).astype(np.int64), np.maximum(last - 1, 0))
    weights = _cubic_weights(at - low)
    index = np.clip(low[:, :, None] + np.arange(-1, 3), 0, last[:, None]) - start[:, None]
    index *= np.array([voxels.shape[1] * voxels.shape[2], voxels.shape[2], 1])[:, None]
    flat = np.ascontiguousarray(voxels).reshape(-1)
    total = np.zeros(len(at))
    for k, j in product(range(4), range(4)):
        row = index[:, 0, k] + index[:, 1, j]
        line = np.zeros(len(at))
        for i in range(4):
            line += weights[:, 2, i] * flat[row + index[:, 2, i]]
        total += weights[:, 0, k] * weights[:, 1, j] * line
    found[valid] = total
    return found


def _cubic_weights(t: Floats) -> Floats:
    """Weights (n, 3, 4) of the voxels -1, 0, 1, 2 from the one below, at the fraction ``t`` of the way to the next."""
    weights = [
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
    return np.stack(weights, axis=2)
