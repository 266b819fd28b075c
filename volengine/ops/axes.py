"""The principal axes of regions: which way a rod points, and the normal of a sheet.

The axes are the eigenvectors of the covariance of a region's voxels, in physical units (principal component analysis).
It is computed from sums of whole numbers, which can be added up over blocks in any order, so the axes do not depend on
blocks. A voxel counts as a box, not as a point, so a region of a single voxel has a covariance, too.

>>> import numpy as np
>>> index = np.argwhere(np.ones((1, 1, 9), bool))  # a rod along x
>>> pairs = np.stack([index[:, a] * index[:, b] for a, b in PAIRS], axis=1)
>>> found = axes_of(np.array([9]), index.sum(0)[None], pairs.sum(0)[None], (1, 1, 9), (1, 1, 1), "long-axis")
>>> found["normal"].tolist(), found["axis_ratio"].round(3).tolist()
([[0.0, 0.0, 1.0]], [0.012])
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table
from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.volume import Vector3

Int64 = NDArray[np.int64]
Floats = NDArray[np.float64]

Orient = Literal["none", "long-axis", "normal"]
OrientSign = Literal["z", "in", "out"]

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Axes whose coordinates are multiplied, in the order of the column ``products``."""

NEARLY_ZERO = 1e-9
"""Up to this a component of a unit vector does not decide its sign, because it may be rounding."""


def axes_of(
    voxels: Int64,
    sums: Int64,
    products: Int64,
    shape: Index3,
    scale: Vector3,
    orient: Orient,
    sign: OrientSign = "z",
) -> Table:
    """Compute the direction of each region.

    Parameters
    ----------
    voxels, sums, products
        Number of voxels (n,), sums of their coordinates z, y, x (n, 3), and sums of the products :data:`PAIRS` (n, 6).
    shape
        Shape of the volume, for ``sign``.
    scale
        Voxel sides z, y, x, in any unit.
    orient
        ``long-axis``: the axis of the largest variance, along a rod; ``normal``: that of the smallest one, across a
        sheet.
    sign
        An axis has no head; it points up (``z``: its first component of z, y, x that is not 0 is positive), away from
        the volume's centre (``out``), or towards it (``in``). Where the last two do not decide, the first does.

    Returns
    -------
    dict
        ``normal`` (n, 3), unit vectors z, y, x; ``axis_ratio`` (n,): for the long axis the second variance by the
        first, for the normal the third by the second. Near 1 the axis is not determined: the region is round there.

    Raises
    ------
    InputError
        A region has so many voxels, so far apart, that 64 bits may not hold its sums (3 × 10⁹ in a volume of 40,000).
    """
    if len(voxels) and int(voxels.max()) * max(shape) ** 2 >= 2**62:
        raise InputError(
            f"A region has {int(voxels.max())} voxels in a volume of {shape}, too many for its axes. Pick it with "
            "--orient none, or parts of the volume."
        )
    size = np.asarray(scale, float)
    covariance = _covariances(voxels, sums, products) * np.outer(size, size) + np.diag(size**2 / 12)
    variance, vectors = np.linalg.eigh(covariance.reshape(-1, 3, 3))  # ascending
    if orient == "long-axis":
        axis, ratio = vectors[:, :, 2], variance[:, 1] / variance[:, 2]
    else:
        axis, ratio = vectors[:, :, 0], variance[:, 0] / variance[:, 1]
    axis = axis * _first_sign(axis)[:, None]
    if sign != "z":
        centre = (np.asarray(shape) - 1) / 2
        from_centre = (sums / np.maximum(voxels, 1)[:, None] - centre) * size
        length = np.linalg.norm(from_centre, axis=1)
        along = np.einsum("ij,ij->i", axis, from_centre) * (1 if sign == "out" else -1)
        axis = np.where((along < -NEARLY_ZERO * length)[:, None], -axis, axis)
    return {"normal": axis, "axis_ratio": np.clip(ratio, 0.0, 1.0)}


def _covariances(voxels: Int64, sums: Int64, products: Int64) -> Floats:
    """Covariances of the voxels' centres (n, 3, 3), voxels squared."""
    found = np.empty((len(voxels), 3, 3))
    count = voxels.astype(np.float64)
    for column, (a, b) in enumerate(PAIRS):
        # Sums around the nearest whole number of the mean are small and exact. Those that they are computed from may
        # have passed 2**63 and gone on at -2**63, as int64 does; adding and subtracting brings them back.
        at, bt = (_nearest(sums[:, k], voxels) for k in (a, b))
        around = products[:, column] - at * sums[:, b] - bt * sums[:, a] + at * bt * voxels
        rest = [(sums[:, k] - t * voxels) / count for k, t in ((a, at), (b, bt))]
        found[:, a, b] = found[:, b, a] = around / count - rest[0] * rest[1]
    return found


def _nearest(sums: Int64, voxels: Int64) -> Int64:
    whole: Int64 = (2 * sums + voxels) // (2 * voxels)
    return whole


def _first_sign(axis: NDArray[Any]) -> Floats:
    """The sign of the first component that is not (nearly) 0."""
    large = np.abs(axis) > NEARLY_ZERO
    first = np.take_along_axis(axis, large.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(first < 0, -1.0, 1.0)
