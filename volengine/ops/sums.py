"""Sums whose last bit depends on the numbers alone.

BLAS divides the sum of ``np.dot`` of long vectors over threads, so it depends on how many there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sum_of_squares(values: NDArray[np.float64]) -> float:
    """Return the sum of the squares of numbers of any shape.

    >>> sum_of_squares(np.array([[1.0, 2.0], [3.0, 4.0]]))
    30.0
    """
    flat = values.reshape(-1)
    return float(np.einsum("i,i->", flat, flat))
