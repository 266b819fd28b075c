"""The missing wedge: which frequencies a tilt series has measured.

>>> f = np.array([0.0, 1.0])
>>> wedge_mask(np.array([0.5]), np.zeros(1), f, (-60.0, 60.0), "y", 0.0).tolist()
[0.0, 1.0]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TiltAxis = Literal["x", "y"]


def wedge_mask(fz: Floats, fy: Floats, fx: Floats, tilts: Sequence[float], axis: TiltAxis, edge_deg: float) -> Floats:
    """Gain of a missing-wedge mask.

    The image at the tilt t about y measures the frequencies (fz, fx) = k (sin t, cos t), as in
    :mod:`volengine.sim.imaging.projector`: a voxel at (z, x) is projected to x cos t + z sin t. Other programs may
    count tilts with the opposite sign; then the range is turned round. For a tilt axis along x, y takes the place of x.

    Parameters
    ----------
    fz, fy, fx
        Frequencies, 1/angstrom, that can be broadcast against each other.
    tilts
        Lowest and highest tilt, degrees.
    axis
        Direction of the tilt axis in the volume.
    edge_deg
        The gain falls from 1 at the lowest and highest tilt to 0 at so many degrees beyond; 0: sharp.

    Returns
    -------
    float64, 0 to 1. Frequencies along the tilt axis, and the mean, are always measured.
    """
    along = np.broadcast_arrays(fx if axis == "y" else fy, fz)
    across = fy if axis == "y" else fx
    with np.errstate(invalid="ignore"):
        angle = np.degrees(np.arctan2(along[1], along[0]))
    low, high = tilts
    middle, half = (low + high) / 2, (high - low) / 2
    away = np.abs((angle - middle + 90) % 180 - 90) - half  # a direction and its opposite are the same
    if edge_deg:
        gain = 0.5 + 0.5 * np.cos(math.pi * np.clip(away / edge_deg, 0.0, 1.0))
    else:
        gain = (away <= 1e-9).astype(np.float64)
    gain = np.where((along[0] == 0) & (along[1] == 0), 1.0, gain)
    return np.broadcast_to(gain, np.broadcast_shapes(gain.shape, np.shape(across)))


def tilt_of(fz: Floats, fy: Floats, fx: Floats, axis: TiltAxis) -> Floats:
    """Absolute tilt, degrees 0 to 90, at which frequencies are measured; 0 on the tilt axis."""
    along = fx if axis == "y" else fy
    found: Floats = np.degrees(np.arctan2(np.abs(fz), np.abs(along)))
    return found
