"""Leaving out what lies outside of a part of a volume."""

from __future__ import annotations

import numpy as np

from volengine.core.block import Array
from volengine.core.boxes import Box


def inside_only(values: Array, crop: Box, roi: Box) -> Array:
    """Return values that cover ``crop``, with 0 outside of a roi of the volume; the values themselves if nothing is.

    >>> inside_only(np.array([[[1, 2, 3]]]), Box((0, 0, 4), (1, 1, 7)), Box((0, 0, 5), (1, 1, 6))).tolist()
    [[[0, 2, 0]]]
    """
    if roi.contains(crop):
        return values
    seen = roi.intersect(crop).slices_in(crop)
    made = np.zeros_like(values)
    made[seen] = values[seen]
    return made
