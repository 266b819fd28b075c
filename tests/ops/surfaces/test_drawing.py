"""Pictures of surfaces: what is where, what hides what, colours, and the size."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.drawing import SCALE, UNKNOWN, draw, shown_window, value_colours

RED, BLUE = (200, 0, 0), (0, 0, 200)


def square(z: float, low: tuple[float, float], high: tuple[float, float], upwards: bool = True) -> Surface:
    """A square across z, between two corners y, x. Its normal is +z: counterclockwise in x, y seen from there."""
    (y0, x0), (y1, x1) = low, high
    at = np.array([[z, y0, x0], [z, y0, x1], [z, y1, x1], [z, y1, x0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Surface(at, faces if upwards else faces[:, ::-1])


def colour(picture: np.ndarray, row: float, column: float) -> list[int]:
    height, width = picture.shape[:2]
    found: list[int] = picture[int(row * height), int(column * width)].tolist()
    return found


def test_seen_from_below_it_is_a_slice() -> None:
    """x to the right, y down, and what has the smaller z in front; faces that look away are darker."""
    near, far = square(0, (0, 0), (50, 50), upwards=False), square(10, (0, 0), (100, 200))
    picture = draw([near, far], colours=(RED, BLUE), view=(-1, 0, 0), pixels=100)
    assert picture.shape == (51, 100, 3)  # both ends are seen, and 100.5 fine pixels are rounded up
    assert colour(picture, 0.25, 0.12) == [200, 0, 0]
    assert colour(picture, 0.25, 0.5) == colour(picture, 0.75, 0.12) == [0, 0, 120]  # 0.6 of 200, from behind


def test_seen_from_above_y_goes_up_and_the_other_one_is_in_front() -> None:
    near, far = square(0, (0, 0), (50, 50), upwards=False), square(10, (0, 0), (100, 100))
    picture = draw([near, far], colours=(RED, BLUE), view=(1, 0, 0), pixels=100)
    assert np.unique(picture.reshape(-1, 3), axis=0).tolist() == [[0, 0, 200]]
    picture = draw([near, square(-10, (0, 0), (100, 100))], colours=(RED, BLUE), view=(1, 0, 0), pixels=100)
    assert colour(picture, 0.75, 0.25) == [120, 0, 0]
    assert colour(picture, 0.25, 0.25) == [0, 0, 200]


@pytest.mark.parametrize(
    ("view", "row", "column"),
    [((0, -1, 0), 0, 2), ((0, 1, 0), 0, -2), ((0, 0, 1), 0, 1), ((0, 0, -1), 0, -1)],
)
def test_from_the_side_z_goes_up_and_nothing_is_mirrored(view: tuple[int, ...], row: int, column: int) -> None:
    """By hand: who looks along +y (from -y) with z up sees +x to the right; from +x, +y is to the right."""
    ball = trimesh.creation.icosphere(2, 10.0)
    places = {1: (0.0, 60.0, 0.0), 2: (0.0, 0.0, 60.0)}  # z, y, x
    middle = Surface(ball.vertices, ball.faces)
    other = Surface(ball.vertices + np.array(places[abs(column)]), ball.faces)
    top = Surface(ball.vertices + np.array([40.0, 0, 0]), ball.faces)
    picture = draw([middle, other, top], colours=(RED, BLUE, (0, 200, 0)), view=view, pixels=160)
    strongest = picture.astype(int)
    blue = np.argwhere(strongest[..., 2] > strongest[..., 0] + 30)
    red = np.argwhere(strongest[..., 0] > strongest[..., 2] + 30)
    white = picture.min(axis=2) == 255
    green = np.argwhere((strongest[..., 1] > strongest[..., 0] + 30) & ~white)
    right = blue[:, 1].mean() - red[:, 1].mean()
    assert np.sign(right) == np.sign(column)
    assert green[:, 0].mean() < red[:, 0].mean() - 20


def test_a_ball_is_a_disc_that_is_bright_in_its_middle() -> None:
    ball = trimesh.creation.icosphere(4, 50.0)
    surface = Surface(ball.vertices[:, ::-1], ball.faces)  # x, y, z to z, y, x: outwards stays outwards
    picture = draw([surface], colours=(RED,), pixels=200)
    seen = (picture != 255).any(axis=2)
    assert seen.mean() == pytest.approx(np.pi / 4, rel=0.02)
    assert picture[100, 100].tolist() == pytest.approx([200, 0, 0], abs=2)
    assert picture[100, 3, 0] < 130


def test_no_holes_however_large_the_faces_and_the_same_for_any_order() -> None:
    rng = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(4, 50.0)
    some = rng.permutation(len(ball.faces))
    first, second = (draw([Surface(ball.vertices, f)], pixels=90) for f in (ball.faces, ball.faces[some]))
    np.testing.assert_allclose(first.astype(int), second.astype(int), atol=12)  # ties at edges go to the first face
    np.testing.assert_array_equal(first, draw([Surface(ball.vertices, ball.faces)], pixels=90))
    large = draw([square(0, (0, 0), (300, 500))], colours=(RED,), view=(1, 0, 0), pixels=333)
    assert (large == (200, 0, 0)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.integers(0, 99))
def test_any_direction_and_size(pixels: int, view: list[float], seed: int) -> None:
    at = np.random.default_rng(seed).normal(size=(12, 3)) * 100
    surface = Surface(at, np.arange(12).reshape(4, 3))
    if not any(view) or np.linalg.norm(view) == 0:
        with pytest.raises(InputError, match="not all 0"):
            draw([surface], view=view)
        return
    picture = draw([surface], view=view, pixels=pixels)
    assert max(picture.shape[:2]) == pixels
    assert picture.dtype == np.uint8
    assert (picture != 255).any()


def test_columns_give_the_colours() -> None:
    flat = square(0, (0, 0), (100, 100))
    columns = {"low": np.full(4, -5.0), "high": np.full(4, 5.0), "unknown": np.full(4, np.nan)}
    surface = flat.with_columns(**columns)
    for name, wanted in (("low", SCALE[0]), ("high", SCALE[-1]), ("unknown", UNKNOWN)):
        picture = draw([surface], column=name, window=(-1, 1), view=(1, 0, 0), pixels=20)
        np.testing.assert_allclose(picture[10, 10], wanted, atol=1)
    assert draw([surface], column="unknown", view=(1, 0, 0), pixels=20).shape == (20, 20, 3)
    with pytest.raises(InputError, match=r"no column 'thickness'; it has: low, high, unknown"):
        draw([surface], column="thickness")


def test_values_between_the_ends() -> None:
    found = value_colours([0, 1, 2, 1.5], (0, 2))
    np.testing.assert_allclose(found[:3], SCALE[[0, 2, 4]])
    np.testing.assert_allclose(found[3], SCALE[3])
    with pytest.raises(InputError, match="from 2 to 2"):
        value_colours([1], (2, 2))


def test_windows_leave_out_the_ends_and_are_never_empty() -> None:
    assert shown_window(np.arange(101.0)) == (2.0, 98.0)
    assert shown_window([np.nan, np.inf]) == (0.0, 1.0)
    low, high = shown_window([3.0, 3.0, np.nan])
    assert low == 3.0 < high
    assert shown_window([0.0])[1] > 0


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(InputError, match="no faces"):
        draw([Surface(np.zeros((0, 3)), np.zeros((0, 3), int))])
