"""Components of a mask in a block, and their voxels.

>>> mask = np.zeros((2, 2, 5), np.uint8); mask[0, 0, 0] = mask[1, 1, 1] = mask[0, 0, 4] = 1
>>> regions_of(mask)[0, 0].tolist()
[1, 0, 0, 0, 2]
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import is_blank
from volengine.ops.runs import labelled

Array = NDArray[Any]
Seen = Literal["prediction", "labels", "instances"]
"""What a volume is taken for: probabilities or a mask, ids of classes, or a number for each object."""


def regions_of(mask: Array) -> NDArray[np.int32]:
    """Return the number of the component of each voxel of a block's core; 26 neighbours.

    The numbers are the rows, from 1, of the table that :func:`volengine.ops.stats_labels.class_basins` makes of the
    same mask.

    Parameters
    ----------
    mask
        uint8, 0 and 1, of the core.
    """
    return np.zeros(mask.shape, np.int32) if is_blank(mask) else labelled(mask)[0]
