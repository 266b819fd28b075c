"""Blending of overlapping pieces: weights by hand, pictures that come back, and sums that do not depend on blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box, index3
from volengine.core.tiling import Tiling
from volengine.ops import stitch
from volengine.ops.stitch import Placed, blend, boxes_array, ramp_widths, uncovered


def placed(pieces: list[np.ndarray], boxes: list[Box]) -> list[Placed]:
    table = boxes_array(boxes)
    return [Placed(v, b, b, ramp_widths(table, n)) for n, (v, b) in enumerate(zip(pieces, boxes, strict=True))]


def row(start: int, values: list[float]) -> tuple[np.ndarray, Box]:
    return np.array([[values]], float), Box((0, 0, start), (1, 1, start + len(values)))


def test_an_overlap_of_three_by_hand() -> None:
    """0 0 0 0 0 at 0 and 4 4 4 4 4 at 2: the weights of the second are 1/4, 2/4, 3/4 at 2, 3, 4."""
    pieces, boxes = zip(row(0, [0] * 5), row(2, [4] * 5), strict=True)
    found, empty = blend(Box((0, 0, 0), (1, 1, 8)), placed(list(pieces), list(boxes)), -1, "float64")
    assert found.ravel().tolist() == [0, 0, 1, 2, 3, 4, 4, -1]
    assert empty == 1


def test_four_pieces_at_a_corner_by_hand() -> None:
    """Pieces of 3 x 3 at 0 and 2: in the one voxel of all four each has the same weight."""
    boxes = [Box((0, y, x), (1, y + 3, x + 3)) for y in (0, 2) for x in (0, 2)]
    pieces = [np.full((1, 3, 3), v, float) for v in (0, 4, 8, 100)]
    found, _ = blend(Box((0, 0, 0), (1, 5, 5)), placed(pieces, boxes), 0, "float64")
    assert found[0, 2, 2] == 28
    assert found[0, 0].tolist() == [0, 0, 2, 4, 4]  # the overlap of the upper two is one voxel wide
    assert found[0, :, 0].tolist() == [0, 0, 4, 8, 8]


def test_integers_are_rounded_to_even_and_kept_in_their_range() -> None:
    values = np.array([-0.6, 0.5, 1.5, 254.6, 300.0])
    assert stitch.as_type(values, "uint8").tolist() == [0, 0, 2, 255, 255]


def test_widths_by_hand() -> None:
    """The right neighbour is two rows lower, which is no ramp along y; that above reaches 4 rows into the piece."""
    boxes = boxes_array([Box((0, 0, 0), (1, 20, 20)), Box((0, 2, 15), (1, 22, 35)), Box((0, 16, 0), (1, 36, 20))])
    assert ramp_widths(boxes, 0).tolist() == [[0, 0], [0, 4], [0, 5]]
    assert ramp_widths(boxes[:1], 0).tolist() == [[0, 0], [0, 0], [0, 0]]


@st.composite
def cuts(draw: st.DrawFn) -> tuple[np.ndarray, list[Box]]:
    """A picture and pieces of any size and place in it, some of them in others."""
    shape = index3(draw(st.integers(1, n)) for n in (3, 14, 14))
    dtype = draw(st.sampled_from(["int8", "uint16", "float32"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    picture = (rng.normal(0, 40, shape)).astype(dtype) if dtype != "uint16" else rng.integers(0, 65536, shape, "u2")
    boxes = []
    for _ in range(draw(st.integers(1, 7))):
        start = [draw(st.integers(0, n - 1)) for n in shape]
        stop = [draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)]
        boxes.append(Box(index3(start), index3(stop)))
    return picture, boxes


@settings(deadline=None, max_examples=150)
@given(cuts())
def test_a_picture_that_is_cut_into_pieces_comes_back(case: tuple[np.ndarray, list[Box]]) -> None:
    picture, boxes = case
    whole = Box.of_shape(picture.shape)
    found, empty = blend(whole, placed([picture[b.slices] for b in boxes], boxes), 7, picture.dtype.name)
    covered = np.zeros(picture.shape, bool)
    for box in boxes:
        covered[box.slices] = True
    np.testing.assert_array_equal(found, np.where(covered, picture, 7).astype(picture.dtype))
    assert empty == (~covered).sum() == uncovered(boxes_array(boxes), picture.shape)


@settings(deadline=None, max_examples=60)
@given(cuts(), st.tuples(*[st.integers(1, 6)] * 3))
def test_weights_are_a_mean_and_blocks_do_not_matter(case: tuple[np.ndarray, list[Box]], core: tuple[int, ...]) -> None:
    """Each voxel lies between the smallest and the largest of its pieces, and in any block is the same."""
    picture, boxes = case
    pieces = [np.full(b.shape, n + 1, np.float64) * np.pi for n, b in enumerate(boxes)]
    placed_all = placed(pieces, boxes)
    found, _ = blend(Box.of_shape(picture.shape), placed_all, np.nan, "float64")
    low, high = np.full(picture.shape, np.inf), np.full(picture.shape, -np.inf)
    for piece, box in zip(pieces, boxes, strict=True):
        low[box.slices] = np.minimum(low[box.slices], piece)
        high[box.slices] = np.maximum(high[box.slices], piece)
    seen = np.isfinite(low)
    assert (found[seen] >= low[seen] - 1e-12).all()
    assert (found[seen] <= high[seen] + 1e-12).all()
    for block in Tiling(picture.shape, index3(core)):
        part, _ = blend(block, placed_all, np.nan, "float64")
        np.testing.assert_array_equal(part, found[block.slices])


def test_bands_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    boxes = [Box((0, y, x), (2, y + 9, x + 9)) for y, x in itertools.product((0, 6), (0, 6))]
    pieces = placed([rng.normal(size=b.shape) for b in boxes], boxes)
    core = Box((0, 0, 0), (2, 15, 15))
    whole, _ = blend(core, pieces, 0, "float64")
    monkeypatch.setattr(stitch, "BAND_VOX", 40)
    np.testing.assert_array_equal(blend(core, pieces, 0, "float64")[0], whole)


def test_infinities_and_nan_of_one_piece_stay_where_they_are() -> None:
    pieces, boxes = zip(row(0, [np.inf, 1, 1]), row(2, [1, np.nan]), strict=True)
    found, _ = blend(Box((0, 0, 0), (1, 1, 4)), placed(list(pieces), list(boxes)), 0, "float32")
    np.testing.assert_array_equal(found.ravel(), np.array([np.inf, 1, 1, np.nan], "f4"))
