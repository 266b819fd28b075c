"""Arrays of zeros that take no memory are recognised, and only they; blank is what they can stand for."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.core.block import bits_of, is_blank, is_nothing, nothing


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "int8", "float16", "float32"])
def test_nothing_is_zeros(dtype):
    made = nothing((3, 4, 5), dtype)
    assert is_nothing(made)
    assert is_blank(made)
    assert is_nothing(made[1:, :2])
    assert np.array_equal(made, np.zeros((3, 4, 5), dtype))
    assert made.dtype == dtype
    with pytest.raises(ValueError, match="read-only"):
        made[0, 0, 0] = 1


def test_other_arrays_are_not_nothing():
    assert not is_nothing(np.zeros((3, 4, 5), np.uint8))  # it has memory, which may be changed
    assert not is_nothing(np.broadcast_to(np.uint8(7), (3, 4, 5)))
    assert not is_nothing(np.broadcast_to(np.float32(-0.0), (3, 4, 5)))
    assert not is_nothing(np.zeros((0, 4, 5), np.uint8))


@pytest.mark.parametrize("value", [-0.0, 1e-45, np.nan, 1.0])
def test_blank_is_a_matter_of_bits(value):
    array = np.zeros((3, 4, 5), np.float32)
    assert is_blank(array[:, ::2])
    array[1, 2, 3] = value
    assert not is_blank(array)
    assert is_blank(array[:, ::3])
    assert np.count_nonzero(bits_of(array)) == 1
