"""Windows: MONAI's map; the shares of a lattice's patches add up to one everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map

from volengine.core.errors import InputError
from volengine.core.lattice import Lattice
from volengine.ops.windows import importance, share

WINDOWS = ("gaussian", "hann", "constant", "crop")


@pytest.mark.parametrize("patch", [(1, 64, 64), (32, 32, 32), (7, 5, 96), (1, 1, 1), (96, 96, 96)])
def test_gaussian_is_monais_importance_map(patch):
    theirs = compute_importance_map(patch, mode="gaussian", sigma_scale=0.125, dtype=torch.float32).numpy()
    mine = importance("gaussian", patch)
    assert mine.dtype == np.float32
    np.testing.assert_allclose(mine, theirs, rtol=3e-6)
    assert mine.min() == theirs.min() or patch[0] < 8  # the floor of 0.001 acts on all larger ones


def test_gaussian_floor_is_where_monai_has_it():
    mine = importance("gaussian", (32, 32, 32))
    product = np.prod(np.meshgrid(*[np.exp(-((np.arange(32) - 15.5) ** 2) / 32)] * 3), axis=0)
    assert mine.min() == np.float32(1e-3)
    np.testing.assert_array_equal(mine == np.float32(1e-3), product <= 1e-3)


def test_hann_has_no_zeros_and_is_symmetric():
    window = importance("hann", (8, 9, 10))
    assert window.min() > 0
    np.testing.assert_allclose(window, window[::-1, ::-1, ::-1], rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(1, 24)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.sampled_from([0, 0.25, 0.5, 0.8])] * 3),
    st.sampled_from(WINDOWS),
)
def test_shares_add_up_to_one_and_follow_the_formula(shape, patch, overlap, window):
    lattice = Lattice.sliding(shape, patch, overlap)
    low = [max(0, -a.start(0)) for a in lattice.axes]
    total = np.zeros([max(n, p) for n, p in zip(shape, patch, strict=True)])
    weights = np.zeros_like(total)
    for index in np.ndindex(*lattice.grid):
        where = lattice.box(index).shift(low).slices
        total[where] += share(window, patch, lattice.neighbours(index))
        if window != "crop":
            weights[where] += importance(window, patch)
    np.testing.assert_allclose(total, 1, atol=1e-12)
    if window != "crop":
        for index in np.ndindex(*lattice.grid):
            expected = importance(window, patch) / weights[lattice.box(index).shift(low).slices]
            np.testing.assert_allclose(share(window, patch, lattice.neighbours(index)), expected, rtol=1e-5)


def test_crop_takes_each_voxel_from_the_patch_whose_centre_is_nearest():
    lattice = Lattice.sliding((1, 1, 50), (1, 1, 16), (0, 0, 0.5))
    centres = np.array(lattice.x.starts) + 7.5
    chosen = np.full(50, -1)
    for i in range(lattice.x.count):
        cell = np.flatnonzero(share("crop", (1, 1, 16), lattice.neighbours((0, 0, i)))[0, 0])
        chosen[lattice.x.start(i) + cell] = i
    distance = np.abs(np.arange(50)[:, None] - centres)
    assert (distance[np.arange(50), chosen] <= distance.min(1) + 1e-9).all()


def test_an_unknown_window_is_refused():
    with pytest.raises(InputError, match=r"gaussian, hann, constant, crop"):
        share("bump", (1, 1, 1), ((0,), (0,), (0,)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="crop"):
        importance("crop", (1, 1, 1))
