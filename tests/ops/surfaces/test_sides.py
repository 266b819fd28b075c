"""Faces and mid-surfaces of membranes of known place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marched_shapes import OFF, area, grid, raw
from numpy.typing import NDArray

from volengine.ops.surfaces.finish import Wanted, finished
from volengine.ops.surfaces.normals import area_vectors, vertex_normals
from volengine.ops.surfaces.orient import points_to, turned
from volengine.ops.surfaces.sides import Side, one_side
from volengine.ops.surfaces.smooth import smoothed
from volengine.ops.surfaces.topology import shape_of

Array = NDArray[Any]


def _body(mask: Array, *, closed: bool = True) -> tuple[Array, Array]:
    places, faces = raw(mask, closed=closed)
    return smoothed(places, faces, 8.0) - (mask.shape[0] / 2 - OFF), faces


@pytest.mark.parametrize(("side", "radius"), [("outer", 22.5), ("inner", 17.5), ("middle", 20.0)])
def test_of_a_shell_each_side_is_a_closed_sphere_that_points_outwards(side: Side, radius: float) -> None:
    at = np.sqrt((grid(56) ** 2).sum(0))
    places, faces = _body(np.abs(at - 20) < 2.5)
    made, corners = one_side(places, faces, side, 10.0, None)
    found = shape_of(made, corners)
    assert found["closed"]
    assert found["islands"] == 1
    assert np.isclose(found["area"], 4 * np.pi * radius**2, rtol=0.02)
    assert np.isclose(found["volume"], 4 / 3 * np.pi * radius**3, rtol=0.02)
    assert np.abs(np.linalg.norm(made, axis=1) - radius).max() < 0.6


@pytest.mark.parametrize("normal", [(1, 0, 0), (0, 0, 1), (1, 1, 0), (1, -1, 1), (0.2, 1, 0.5)])
@pytest.mark.parametrize("side", ["outer", "inner", "middle"])
def test_of_a_disc_in_any_direction_each_side_lies_where_it_should(normal: tuple[float, ...], side: Side) -> None:
    unit = np.array(normal) / np.linalg.norm(normal)
    at = grid(64)
    height = np.tensordot(unit, at, 1)
    places, faces = _body((np.abs(height) < 3) & ((at**2).sum(0) - height**2 < 22**2))
    place = tuple((50 * unit).tolist())
    made, corners = one_side(places, faces, side, 12.0, place)
    found = shape_of(made, corners)
    assert found["islands"] == 1
    assert found["border_loops"] == 1
    normals = vertex_normals(made, corners)
    assert (normals @ unit).mean() > 0.97
    off = (made @ unit)[np.linalg.norm(made - np.outer(made @ unit, unit), axis=1) < 15]
    assert np.isclose(off.mean(), {"outer": 3.0, "inner": -3.0, "middle": 0.0}[side], atol=0.35)
    assert np.pi * 16**2 < found["area"] < np.pi * 22.5**2
    other, back = one_side(places, faces, side, 12.0, tuple((-50 * unit).tolist()))
    assert (vertex_normals(other, back) @ unit).mean() < -0.97


def test_of_an_open_vesicle_the_convex_side_is_the_outer_one() -> None:
    z, y, x = grid(56)
    mask = (np.abs(np.sqrt(z**2 + y**2 + x**2) - 20) < 2.5) & (z < 8)
    places, faces = _body(mask)
    made, corners = one_side(places, faces, "outer", 10.0, None)
    assert np.isclose(np.linalg.norm(made, axis=1).mean(), 22.5, atol=0.4)
    assert (np.einsum("ij,ij->i", vertex_normals(made, corners), made) > 0).mean() > 0.98
    assert points_to(made, corners, (0, 0, 0)) is False
    assert points_to(made, turned(corners), (0, 0, 0)) is True


@pytest.mark.parametrize("normal", [(1, 0.4, 0.3), (1, 1, 0.5)])
def test_the_sides_of_a_membrane_of_one_voxel_come_apart(normal: tuple[float, float, float]) -> None:
    unit = np.array(normal) / np.linalg.norm(normal)
    at = grid(56)
    height = np.tensordot(unit, at, 1)
    within = np.cross(unit, [1.0, 0.0, 0.0])
    middle = 8 * within / np.linalg.norm(within)
    hole = np.linalg.norm(at - middle[:, None, None, None], axis=0) < 5
    disc = (np.abs(height) < 0.6) & ((at**2).sum(0) - height**2 < 20**2)
    for mask, loops in ((disc, 1), (disc & ~hole, 2)):
        places, faces = _body(mask)
        made, corners = one_side(places, faces, "middle", 10.0, tuple((50 * unit).tolist()))
        found = shape_of(made, corners)
        assert found["islands"] == 1
        assert found["border_loops"] >= loops
        assert np.abs(made @ unit).max() < 0.8
        assert (vertex_normals(made, corners) @ unit).mean() > 0.95


def test_a_vesicle_with_small_holes_has_sides() -> None:
    """Where proteins cross a membrane, labels of the membrane alone have holes, whose smooth walls join its faces."""
    at = grid(44)
    square = (at**2).sum(0)
    shell = np.abs(np.sqrt(square) - 16) < 2.25
    for k in np.arange(16) + 0.5:
        z, turn = 1 - k / 8, np.pi * (1 + np.sqrt(5)) * k
        axis = np.array([z, np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn)])
        along = np.tensordot(axis, at, 1)
        shell &= (along < 0) | (square - along**2 > 4**2)
    places, faces = _body(shell)
    whole = 4 * np.pi * 16**2
    cases: tuple[tuple[Side, float], ...] = (("outer", 18.25), ("inner", 13.75), ("middle", 16.0))
    for side, radius in cases:
        made, corners = one_side(places, faces, side, 12.0, None)
        assert np.isclose(np.median(np.linalg.norm(made, axis=1)), radius, atol=0.3)
        assert 0.45 * whole < area(made, corners) * (16 / radius) ** 2 < 0.8 * whole
        if side == "middle":
            assert np.abs(np.linalg.norm(made, axis=1) - radius).max() < 0.5
            assert ((vertex_normals(made, corners) * made).sum(axis=1) > 0).all()


def test_a_blob_and_a_thick_slab_have_no_two_faces() -> None:
    at = grid(40)
    for mask in ((at**2).sum(0) < 15**2, np.abs(at[0]) < 12):
        places, faces = _body(mask)
        made, corners = one_side(places, faces, "middle", 10.0, None)
        assert len(made) == len(corners) == 0


def test_normals_are_hand_derived() -> None:
    """Corners along x, then y: seen from +z, x to y is counterclockwise in the frame x, y, z."""
    flat = np.array([[0.0, 0, 0], [0, 0, 2], [0, 2, 0]])
    assert area_vectors(flat, np.array([[0, 1, 2]])).tolist() == [[4.0, 0.0, 0.0]]
    assert vertex_normals(flat, np.array([[0, 2, 1]]))[0].tolist() == [-1.0, 0.0, 0.0]
    assert area(flat, np.array([[0, 1, 2]])) == 2.0


@pytest.mark.parametrize("cut", [-3.0, 0.0, 3.3, 6.0])
@pytest.mark.parametrize("vertex_area", [None, 4.0])
def test_a_mid_surface_stays_inside_of_the_faces_that_cut_its_membrane(cut: float, vertex_area: float | None) -> None:
    """A shell of radius 16 about a place ``cut`` beyond the first slice: half of its thickness led 0.6 voxels out."""
    n = 50
    z, y, x = grid(n)
    away = np.sqrt((z + n / 2 + cut) ** 2 + y**2 + x**2)
    places, faces = raw(np.abs(away - 16) < 2, closed=False)
    wanted = Wanted(smooth=8.0, vertex_area=vertex_area, side="middle", max_thickness=9.0)
    ((at, corners),) = finished(places, faces, wanted)
    assert at.min() >= 0
    found = shape_of(at, corners)
    assert (found["manifold"], found["islands"], found["border_loops"]) == (True, 1, 1)
    middle = np.array([-OFF - cut, n / 2 - OFF, n / 2 - OFF])
    assert np.abs(np.linalg.norm(at - middle, axis=1) - 16).max() < 0.35
    # the cap above the first slice; where the membrane lies obliquely on the face some of it is missing
    assert np.isclose(found["area"], 2 * np.pi * 16 * (16 - OFF - cut), rtol=0.015)
    outwards = np.einsum("ij,ij->i", area_vectors(at, corners), at[corners].mean(axis=1) - middle)
    assert (outwards > 0).all()


def _shell(voxel: tuple[float, ...], radius: float, wall: float, off: tuple[float, ...]) -> tuple[Array, Array]:
    """The raw mesh of a shell around a place near 0."""
    far = radius + wall
    sides = [(np.arange(int(2 * far / v) + 4) + o) * v - far for v, o in zip(voxel, off, strict=True)]
    at = np.stack(np.meshgrid(*sides, indexing="ij"))
    places, faces = raw(np.abs(np.sqrt((at**2).sum(0)) - radius) <= wall / 2)
    return places * voxel + [side[0] for side in sides], faces


SIZES = st.tuples(*[st.sampled_from([1.0, 1.3, 2.0])] * 3)


@settings(max_examples=4, deadline=None)
@given(SIZES, st.floats(10, 14), st.floats(3.0, 4.0), st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_sides_of_a_closed_shell_are_closed_for_every_voxel_size(
    voxel: tuple[float, float, float], radius: float, voxels: float, off: tuple[float, ...]
) -> None:
    """Walls of three of the longest voxels: terraces at the poles leave no holes; areas are those of spheres."""
    wall = voxels * max(voxel)
    radius = max(radius, 2 * wall)
    mesh = _shell(voxel, radius, wall, off)
    terraces = 8 * max(voxel) if max(voxel) > min(voxel) else 0.0
    smooth = 8 * float(np.prod(voxel)) ** (1 / 3)
    for side, away in (("middle", 0.0), ("outer", wall / 2), ("inner", -wall / 2)):
        ((made, corners),) = finished(*mesh, Wanted(smooth, None, side, None, 1.5 * wall, terraces=terraces))
        found = shape_of(made, corners)
        assert (found["closed"], found["islands"], found["genus"], found["manifold"]) == (True, 1, 0, True)
        assert np.isclose(found["area"], 4 * np.pi * (radius + away) ** 2, rtol=0.03)


def test_the_volume_enclosed_is_positive_whatever_side_normals_point_to() -> None:
    mesh = _shell((1.0, 1.0, 1.0), 14.0, 4.0, (0.2, 0.1, 0.3))
    for place in (None, (0.0, 0.0, 0.0), (90.0, 0.0, 0.0)):
        ((made, corners),) = finished(*mesh, Wanted(8.0, None, "middle", place, 8.0))
        inwards = (np.einsum("ij,ij->i", vertex_normals(made, corners), made) < 0).mean()
        assert inwards == (1.0 if place == (0.0, 0.0, 0.0) else 0.0)
        assert np.isclose(shape_of(made, corners)["volume"], 4 / 3 * np.pi * 14**3, rtol=0.02)
    body = np.pi * 4 / 3 * (16**3 - 12**3)
    for corners in (mesh[1], turned(mesh[1])):
        assert np.isclose(shape_of(mesh[0], corners)["volume"], body, rtol=0.02)
