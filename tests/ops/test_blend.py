"""Integer blending: split and join across blocks give the sums of the whole; nothing overflows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box, index3
from volengine.core.lattice import Lattice
from volengine.core.tiling import Tiling
from volengine.ops.blend import (
    PROBABILITY_SCALE,
    VALUE_LIMIT,
    VALUE_SCALE,
    Shares,
    directions,
    join,
    offset,
    piece_shape,
    split,
)

WINDOWS = ("gaussian", "hann", "constant", "crop")


def add(sums, region, lattice, shares, indices, values):
    for index in indices:
        box = lattice.box(index)
        visible = box.clip(lattice.shape)
        part = np.rint(values(index) * shares[shares.key(index)]).astype(np.int32)
        sums[visible.slices_in(region)] += part[visible.slices_in(box)]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_pieces_of_neighbours_make_the_whole(data):
    shape = data.draw(st.tuples(*[st.integers(1, 20)] * 3))
    patch = data.draw(st.tuples(*[st.integers(1, 12)] * 3))
    overlap = data.draw(st.tuples(*[st.sampled_from([0, 0.25, 0.5, 0.8])] * 3))
    window = data.draw(st.sampled_from(WINDOWS))
    core = tuple(data.draw(st.integers(min(p - 1, n) or 1, 20)) for p, n in zip(patch, shape, strict=True))
    lattice = Lattice.sliding(shape, patch, overlap)
    shares = Shares(lattice, window, PROBABILITY_SCALE)

    def values(index):
        return np.random.default_rng(list(index)).random(patch, dtype=np.float32)

    whole = np.zeros(shape, np.int32)
    add(whole, Box.of_shape(shape), lattice, shares, np.ndindex(*lattice.grid), values)
    tiling = Tiling(shape, core)
    over = lattice.overhang(core)
    made = {}
    for number in np.random.default_rng(0).permutation(len(tiling)).tolist():
        region = tiling.box(number).grow((0, 0, 0), over).clip(shape)
        sums = np.zeros(region.shape, np.int32)
        add(sums, region, lattice, shares, list(lattice.owned(tiling.box(number)))[::-1], values)
        made[tiling.index(number)] = split(sums, tiling.box(number).shape, over, core)
    for number in range(len(tiling)):
        index = tiling.index(number)
        pieces = {}
        for name in directions(over):
            lower = index3(i + d for i, d in zip(index, offset(name), strict=True))
            assert made[index][name].shape == piece_shape(name, core, over)
            if min(lower) >= 0:
                pieces[name] = made[lower][name]
        joined = join(made[index]["core"].copy(), pieces)
        np.testing.assert_array_equal(joined, whole[tiling.box(number).slices])


def test_overhangs_name_the_directions_of_their_pieces():
    assert directions((1, 2, 3)) == ["z", "y", "x", "zy", "zx", "yx", "zyx"]
    assert directions((0, 2, 3)) == ["y", "x", "yx"]
    assert directions((0, 0, 0)) == []
    assert offset("zx") == (-1, 0, -1)


def test_full_scale_neither_overflows_nor_drifts():
    for window in WINDOWS:
        lattice = Lattice.sliding((20, 20, 20), (9, 9, 9), (0.6, 0.6, 0.6))
        for scale, value in ((PROBABILITY_SCALE, 1.0), (VALUE_SCALE, VALUE_LIMIT), (VALUE_SCALE, -VALUE_LIMIT)):
            sums = np.zeros((20, 20, 20), np.int64)
            shares = Shares(lattice, window, scale)
            full = np.full((9, 9, 9), value, np.float32)
            add(sums, Box.of_shape((20, 20, 20)), lattice, shares, np.ndindex(*lattice.grid), lambda _, f=full: f)
            assert np.abs(sums).max() < 2**31
            count = 3**3  # patches that may touch a voxel, each rounded once
            np.testing.assert_allclose(sums / scale, value, rtol=2**-22, atol=count * 0.5 / scale)


def test_shares_keep_what_fits():
    lattice = Lattice.sliding((40, 8, 8), (8, 8, 8), (0.5, 0, 0))
    shares = Shares(lattice, "gaussian", PROBABILITY_SCALE, keep_bytes=8**3 * 4 * 2)
    first = shares[shares.key((0, 0, 0))]
    for index in np.ndindex(*lattice.grid):
        shares[shares.key(index)]
    assert len(shares._kept) == 2
    np.testing.assert_array_equal(first, shares[shares.key((0, 0, 0))])
