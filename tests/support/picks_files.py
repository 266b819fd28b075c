"""A grid, positions and volumes of the tests of ``picks``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mrc_files import write

VOXEL = (10.0, 10.0, 10.0)
SHAPE = (40, 50, 60)
POSITIONS = [[5, 6, 7], [10.25, 20, 30], [10.25, 20, 31], [39, 49, 59]]


def volume(path: Path, shape: tuple[int, int, int] = SHAPE, dtype: str = "i2", size: float = 10.0) -> Path:
    z, y, x = shape
    return write(path, np.zeros(shape, dtype), {"i2": 1, "f4": 2}[dtype], cell=(size * x, size * y, size * z))
