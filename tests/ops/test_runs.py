"""Components of masks by their runs: as SciPy numbers them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volengine.ops import runs
from volengine.ops.runs import RANK, labelled


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.floats(0, 1),
    st.integers(0, 99),
    st.sampled_from(sorted(RANK)),
    st.sampled_from(["bool", "uint8", "int32", "float32"]),
)
def test_components_are_those_of_scipy(
    shape: tuple[int, int, int], share: float, seed: int, neighbours: int, dtype: str
) -> None:
    mask = (np.random.default_rng(seed).random(shape) < share).astype(dtype)
    wanted, count = ndimage.label(mask, ndimage.generate_binary_structure(3, RANK[neighbours]))
    for per_run in (0, 10**6):  # by runs, whatever the mask; by voxels
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runs, "VOXELS_PER_RUN", per_run)
            found, many = labelled(mask, neighbours)
        assert many == count
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, wanted)


def test_numbers_are_in_the_order_of_first_voxels_in_long_runs() -> None:
    z, y, x = np.indices((30, 40, 300))
    mask = ((np.sin(z / 3) + np.sin(y / 4) + np.sin(x / 30)) > 1.6).astype(np.uint8)
    found, count = labelled(mask)
    wanted, many = ndimage.label(mask, np.ones((3, 3, 3)))
    assert count == many > 5
    np.testing.assert_array_equal(found, wanted)
