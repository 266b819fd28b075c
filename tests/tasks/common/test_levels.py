"""The levels of a block without any voxel are those of zeros, and take no memory."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.core.block import is_nothing, nothing
from volengine.tasks.common.levels import levels_of


@pytest.mark.parametrize("kind", ["intensity", "probability", "labels"])
@pytest.mark.parametrize("dtype", ["uint8", "uint32", "float32"])
def test_levels_of_nothing_are_those_of_zeros(kind, dtype):
    shape, factors = (33, 64, 70), [(1, 1, 1), (1, 2, 2), (4, 4, 4), (8, 8, 8)]
    found = levels_of(nothing(shape, dtype), factors, kind, "a")
    wanted = levels_of(np.zeros(shape, dtype), factors, kind, "a")
    assert list(found) == list(wanted)
    for name, array in found.items():
        assert is_nothing(array)
        assert array.shape == wanted[name].shape
        assert array.dtype == wanted[name].dtype
