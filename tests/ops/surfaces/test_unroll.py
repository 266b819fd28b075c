"""Unrolled surfaces: areas and places by formula."""

from __future__ import annotations

import numpy as np
import pytest
from oriented_surfaces import TURNS, ball, sheet, torus

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.points import normals_of, on_faces
from volengine.ops.surfaces.unroll import How, rasterised, unroll


def test_a_sphere_keeps_its_areas_and_every_pixel_shows_its_direction() -> None:
    shape = ball(100, (5, 6, 7))
    flat = unroll(shape)
    assert flat.how == "sphere"
    # faces are flat, their pictures are not: those at the poles are cut
    assert flat.stretch == pytest.approx((1, 1, 1), abs=0.05)
    raster = rasterised(flat, 5.0)
    rows, columns = raster.face.shape
    assert (rows, columns) == (40, 126)  # 2 R and 2 pi R
    assert raster.twice < 0.02
    r, c = np.nonzero(raster.face >= 0)
    assert len(r) > 0.98 * rows * columns
    at = on_faces(shape, normals_of(shape), raster.face[r, c], raster.weights[r, c])
    apart = at.place - (5, 6, 7)
    middle = (r > 4) & (r < 35)
    assert apart[middle, 0] == pytest.approx(100 - 5 * (r[middle] + 0.5), abs=3)  # the top row is +z
    longitude = (c + 0.5) * 5 / 100 - np.pi
    off = np.angle(np.exp(1j * (np.arctan2(apart[:, 1], apart[:, 2]) - longitude)))
    assert np.abs(off[middle]).max() < 0.05


@pytest.mark.parametrize("turn", TURNS)
def test_a_sheet_is_laid_flat_as_it_is(turn: np.ndarray) -> None:
    shape = sheet(100, 60, 20, turn, (3, 2, 1))
    flat = unroll(shape)
    assert flat.how == "conformal"
    assert flat.stretch == pytest.approx((1, 1, 1), abs=1e-6)
    raster = rasterised(flat, 1.0)
    assert (raster.face >= 0).sum() == pytest.approx(6000, rel=0.03)
    assert raster.twice < 0.05  # middles of pixels on edges
    corners = shape.vertices[shape.faces]
    assert np.linalg.norm(flat.corners[:, 0] - flat.corners[:, 1], axis=1) == pytest.approx(
        np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)
    )


@pytest.mark.parametrize("how", ["polar", "conformal", "auto"])
def test_a_sheet_of_which_parts_touch_in_one_point(how: How) -> None:
    """A corner of a smaller sheet lies on the border of a larger one, which is laid flat alone."""
    shape, small = sheet(100, 60, 20), sheet(20, 20, 4)
    faces = small.faces + len(shape.vertices)
    faces[faces == faces.min()] = shape.borders[0, 0]
    touching = Surface(np.concatenate([shape.vertices, small.vertices]), np.concatenate([shape.faces, faces]))
    found = unroll(touching, how)
    assert found.faces.tolist() == list(range(len(shape.faces)))
    assert found.stretch == pytest.approx((1, 1, 1), abs=0.25 if how == "polar" else 0.01)


def test_a_sheet_that_branches_has_no_polar_picture() -> None:
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    branching = Surface(np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9], [0, -9, 0.0]]), faces, number=7)
    with pytest.raises(InputError, match="more than two faces meet"):
        unroll(branching, "polar")


def test_a_rolled_sheet_is_rolled_out() -> None:
    """Half a cylinder of radius 30 and height 100: a rectangle of 100 x 30 pi."""
    shape = sheet(100, 30 * np.pi, 40)
    turn = shape.vertices[:, 2] / 30
    rolled = Surface(np.stack([30 * np.cos(turn), shape.vertices[:, 1], 30 * np.sin(turn)], 1), shape.faces)
    flat = unroll(rolled)
    assert flat.stretch == pytest.approx((1, 1, 1), abs=0.01)
    assert rasterised(flat, 1.0).twice < 0.05
    side = np.linalg.norm(flat.corners.reshape(-1, 2).max(0) - flat.corners.reshape(-1, 2).min(0))
    assert side >= np.hypot(100, 30 * np.pi) * 0.99


def tube(radius: float, length: float, around: int = 48, along: int = 40) -> Surface:
    """An open tube along x, its normals outwards."""
    x, turn = np.meshgrid(np.linspace(0, length, along), np.arange(around) * 2 * np.pi / around, indexing="ij")
    at = np.stack([radius * np.sin(turn), radius * np.cos(turn), x], axis=-1).reshape(-1, 3)
    i, j = np.arange(along - 1)[:, None] * around, np.arange(around)[None]
    a, b = i + j, i + (j + 1) % around
    faces = np.stack([a, b, a + around, b, b + around, a + around], axis=-1).reshape(-1, 3)
    one = Surface(at, faces)
    return one if (normals_of(one) * at)[:, :2].sum() > 0 else Surface(at, faces[:, ::-1])


def test_a_tube_is_cut_along_its_length_and_laid_flat() -> None:
    """By formula: a rectangle of 200 x 2 pi 30, in which distances are those along the tube."""
    shape = tube(30, 200)
    flat = unroll(shape)
    assert flat.how == "conformal"
    assert flat.stretch == pytest.approx((1, 1, 1), abs=0.01)
    raster = rasterised(flat, 2.0)
    assert raster.twice < 0.05
    assert raster.face.shape == pytest.approx((100, 95), abs=2) or raster.face.shape == pytest.approx((95, 100), abs=2)
    assert (raster.face >= 0).sum() == pytest.approx(200 * 2 * np.pi * 30 / 4, rel=0.03)
    corners = shape.vertices[shape.faces]
    assert np.linalg.norm(flat.corners[:, 0] - flat.corners[:, 1], axis=1) == pytest.approx(
        np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1), rel=0.02
    )


def test_a_long_closed_surface_is_not_squeezed_like_a_sphere() -> None:
    """An ellipsoid of 1 : 1 : 5 across the axis of the projection."""
    round_one = ball(30, (0, 0, 0))
    long_one = Surface(round_one.vertices * (1, 1, 5), round_one.faces)
    low, _, high = unroll(long_one, "sphere").stretch
    flat = unroll(long_one)
    assert flat.stretch[2] / flat.stretch[0] < high / low
    assert rasterised(flat, 2.0).twice < 0.1


def test_a_sheet_with_a_hole_needs_no_cut() -> None:
    shape = sheet(100, 60, 20)
    middle = np.linalg.norm(shape.vertices[shape.faces].mean(axis=1) - shape.vertices.mean(axis=0), axis=1)
    flat = unroll(Surface(shape.vertices, shape.faces[middle > 15]))
    assert flat.stretch == pytest.approx((1, 1, 1), abs=1e-6)


def test_pictures_are_seen_from_the_side_of_the_normals() -> None:
    """Columns go to the right, rows downwards: corners that go counterclockwise have a positive area with rows up."""
    for shape, how in ((ball(50, level=2), "sphere"), (sheet(50, 50), "conformal"), (sheet(50, 50), "polar")):
        corners = unroll(shape, how).corners
        u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        right_up = u[:, 1] * -v[:, 0] + u[:, 0] * v[:, 1]  # x1 y2 - y1 x2 with y = -row
        assert (right_up > 0).mean() > 0.95


def test_distances_from_the_middle_of_a_polar_picture_are_those_along_the_surface() -> None:
    shape = ball(100, level=3)
    flat = unroll(shape, "polar")
    centre = flat.corners[shape.faces[flat.faces] == flat.middle][0]
    apart = np.linalg.norm(flat.corners - centre, axis=2)
    arcs = 100 * np.arccos(np.clip(shape.vertices @ shape.vertices[flat.middle] / 1e4, -1, 1))[shape.faces]
    assert np.abs(apart - arcs)[arcs < 200].max() < 4


def test_what_is_no_sphere_is_not_unrolled_as_one() -> None:
    with pytest.raises(InputError, match="use polar"):
        unroll(sheet(10, 10), "sphere")
    with pytest.raises(InputError, match="use polar"):
        unroll(torus(100, 30), "sphere")
    with pytest.raises(InputError, match="is closed"):
        unroll(torus(100, 30), "conformal")
    assert unroll(torus(100, 30)).how == "polar"
    with pytest.raises(InputError, match="no faces"):
        unroll(Surface(np.zeros((3, 3)), np.empty((0, 3), int)))


def test_of_several_parts_the_largest_is_shown() -> None:
    one, two = sheet(50, 50), sheet(100, 100, centre=(500, 0, 0))
    both = Surface(np.concatenate([one.vertices, two.vertices]), np.concatenate([one.faces, two.faces + 121]))
    flat = unroll(both, "polar")
    assert flat.faces.tolist() == list(range(200, 400))
    assert flat.middle >= 121


def test_pictures_without_end_are_refused() -> None:
    with pytest.raises(InputError, match="larger pixels"):
        rasterised(unroll(ball(1e6, level=1)), 1.0)
