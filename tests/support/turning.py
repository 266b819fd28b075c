"""Points turned by a quaternion, with a plain matrix product."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.specimen import rotation_matrix


def rotate(points: ArrayLike, quaternion: ArrayLike) -> NDArray[np.float64]:
    """Points (n, 3), z, y, x, turned about 0 by one quaternion (4,)."""
    matrix = rotation_matrix(quaternion)[0]
    turned: NDArray[np.float64] = np.asarray(points, float) @ matrix[::-1, ::-1].T
    return turned
