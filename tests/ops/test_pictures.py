"""Pictures of slices: contrast, tints, outlines and marks lie where the voxels are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.ops.pictures import (
    CAPTION,
    GREEN,
    ORANGE,
    captioned,
    enlarge,
    grey,
    label_colours,
    marks,
    outline,
    overlay,
    png,
    side_by_side,
    window_of,
)

BLACK = np.zeros((12, 20, 3), np.uint8)


def test_contrast_runs_from_one_end_of_the_window_to_the_other():
    plane = np.array([[-5.0, 0.0, 5.0, 10.0, 99.0]])
    picture = grey(plane, (0.0, 10.0))
    assert picture.dtype == np.uint8
    assert picture.shape == (1, 5, 3)
    assert picture[0, :, 0].tolist() == [0, 0, 127, 255, 255]
    assert (picture == picture[..., :1]).all()


def test_window_leaves_out_the_tails_and_is_never_empty():
    volume = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    volume[0, 0, 0] = -1e6
    low, high = window_of(volume, 1, 99)
    assert (low, high) == pytest.approx((10, 989), abs=1)
    low, high = window_of(np.full((4, 4, 4), 3, np.int8))
    assert low < high


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
@settings(deadline=None, max_examples=25)
def test_each_voxel_becomes_a_square(scale, ny, nx):
    plane = np.arange(ny * nx, dtype=np.float32).reshape(ny, nx)
    picture = grey(plane, (0, 40), scale)
    assert picture.shape == (ny * scale, nx * scale, 3)
    np.testing.assert_array_equal(picture, enlarge(grey(plane, (0, 40)), scale))
    for y in range(ny):
        for x in range(nx):
            square = picture[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
            assert (square == grey(plane, (0, 40))[y, x]).all()


def test_overlay_tints_by_strength_and_changes_nothing_elsewhere():
    strength = np.zeros((3, 5), np.float32)
    strength[1, 2], strength[2, 4], strength[0, 0] = 1.0, 0.5, 7.0
    base = np.full((12, 20, 3), 100, np.uint8)
    tinted = overlay(base, strength, ORANGE, opacity=0.5)
    assert (tinted[4:8, 8:12] == np.rint((100 + np.array(ORANGE)) / 2)).all()
    assert (tinted[8:12, 16:20] == np.rint(0.75 * 100 + 0.25 * np.array(ORANGE))).all()
    assert (tinted[0, 0] == tinted[4, 8]).all()  # more than 1 is 1
    untouched = np.repeat(np.repeat(strength == 0, 4, 0), 4, 1)
    assert (tinted[untouched] == 100).all()
    assert (base == 100).all()


def brute_outline(labels: np.ndarray) -> np.ndarray:
    """Pixels of a label with a 4-neighbour of another one."""
    edge = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(*labels.shape):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            v, u = y + dy, x + dx
            if 0 <= v < labels.shape[0] and 0 <= u < labels.shape[1] and labels[v, u] != labels[y, x]:
                edge[y, x] = True
    return edge & (labels > 0)


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_outlines_lie_inside_their_label_in_its_colour(seed, scale):
    labels = np.random.default_rng(seed).integers(0, 4, (6, 7)) * 11
    large = labels.repeat(scale, 0).repeat(scale, 1)
    drawn = outline(np.zeros((*large.shape, 3), np.uint8), labels)
    edge = brute_outline(large)
    assert (drawn[~edge] == 0).all()
    np.testing.assert_array_equal(drawn[edge], label_colours(large[edge]))


def test_outlines_are_as_wide_as_asked_and_may_be_tinted():
    labels = np.zeros((12, 20), np.uint8)
    labels[2:10, 3:15] = 1
    drawn = outline(BLACK, labels, GREEN, width=2)
    line = np.zeros((12, 20), bool)
    line[2:10, 3:15] = True
    line[4:8, 5:13] = False
    assert (drawn[line] == GREEN).all()
    assert (drawn[~line] == 0).all()
    filled = outline(BLACK, labels > 0, GREEN, width=1, opacity=0.5)
    assert (filled[5, 8] == np.rint(np.array(GREEN) / 2)).all()
    assert (filled[0, 0] == 0).all()


def test_labels_next_to_each_other_have_different_bright_colours():
    colours = label_colours(np.arange(1, 60)).astype(int)
    assert (colours.max(axis=1) == 255).all()
    assert len(np.unique(colours, axis=0)) == 59
    assert (np.abs(np.diff(colours, axis=0)).sum(axis=1) > 60).all()
    np.testing.assert_array_equal(label_colours(np.array([7, 7])), colours[[6, 6]])


@given(st.floats(0, 11), st.floats(0, 19), st.integers(2, 4))
@settings(deadline=None, max_examples=30)
def test_marks_are_centred_on_their_voxel(y, x, scale):
    base = np.zeros((12 * scale, 20 * scale, 3), np.uint8)
    cy, cx = (y + 0.5) * scale - 0.5, (x + 0.5) * scale - 0.5
    rows, columns = np.nonzero(marks(base, [(y, x)], GREEN, scale=scale, radius=2).any(axis=2))
    assert np.abs(np.hypot(rows - cy, columns - cx) - 2 * scale).max() < 1
    rows, columns = np.nonzero(marks(base, [(y, x)], GREEN, scale=scale, radius=2, cross=True).any(axis=2))
    assert np.minimum(np.abs(rows - cy), np.abs(columns - cx)).max() < 1
    assert max(np.abs(rows - cy).max(), np.abs(columns - cx).max()) <= 2 * scale
    assert not base.any()


def test_no_marks_change_nothing():
    np.testing.assert_array_equal(marks(BLACK, [], GREEN, scale=4, radius=2), BLACK)


def test_pictures_side_by_side_have_white_between_them():
    row = side_by_side([BLACK, BLACK[:6]], gap=3)
    assert row.shape == (12, 43, 3)
    assert (row[:, 20:23] == 255).all()
    assert (row[:6, 23:] == 0).all()
    assert (row[6:, 23:] == 255).all()


def test_a_caption_is_a_white_strip_with_a_text_above():
    picture = np.full((9, 60, 3), 7, np.uint8)
    with_text, without = captioned(picture, "+2 nm"), captioned(picture, "")
    assert with_text.shape == (9 + CAPTION, 60, 3)
    np.testing.assert_array_equal(with_text[CAPTION:], picture)
    assert (without[:CAPTION] == 255).all()
    assert (with_text[:CAPTION] < 128).sum() > 20


def test_png_keeps_every_pixel():
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    image = Image.open(io.BytesIO(png(picture)))
    assert image.format == "PNG"
    np.testing.assert_array_equal(np.array(image), picture)
