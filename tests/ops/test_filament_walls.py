"""Hollow tubes, rings, bands, sheets and cut vesicles: lengths that are known by formula, and what is told of walls."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.ops.filament_walls import lumens
from volengine.ops.filaments import centrelines

ONE = (1.0, 1.0, 1.0)


def tube(shape, begin, end, outer, inner, *, through=False, scale=ONE):
    """Voxels between two cylinders around an axis from ``begin`` to ``end``, or beyond, to the faces of the volume."""
    at = np.stack(np.indices(shape), -1).reshape(-1, 3)
    begin, way = np.array(begin, float), np.subtract(end, begin)
    length = np.linalg.norm(way)
    away = at * np.array(scale) - begin
    height = away @ way / length
    far = np.linalg.norm(away - height[:, None] * way / length, axis=1)
    inside = (far <= outer) & (far > inner)
    return at[inside if through else inside & (height >= 0) & (height <= length)]


def ring(radius, outer, tilt, inner=-1.0):
    side = 2 * (radius + outer) + 8
    at = np.stack(np.indices((side,) * 3), -1).reshape(-1, 3)
    z, y, x = (at - (side - 1) / 2).T
    up, across = z * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - z * np.sin(tilt)
    far = np.hypot(np.hypot(across, x) - radius, up)
    return at[(far <= outer) & (far > inner)]


@pytest.mark.parametrize(("outer", "inner"), [(12, 8), (6, 3), (10, 6)])
def test_hollow_tubes_have_one_line_of_their_length(outer, inner):
    shape, begin, end = (40, 44, 100), (19.5, 21.5, 14.5), (19.5, 21.5, 94.5)
    whole = tube(shape, begin, end, outer, inner)
    for voxels, length in [
        (whole, 80),
        (tube(shape, begin, end, outer, inner, through=True), 100),
        (whole[whole[:, 2] > 30], 64),  # cut at one side
    ]:
        (line,) = centrelines(voxels, ONE, least=20, to_ends=True)
        assert line.length == pytest.approx(length, rel=0.01)
        assert not line.wall
        np.testing.assert_allclose(line.position[:, :2], [[19.5, 21.5]] * len(line.position), atol=0.2)


@pytest.mark.parametrize(("outer", "inner"), [(10, 6), (6, 3)])
@pytest.mark.parametrize("way", [(0.52, 0.21, -0.83), (0.58, 0.58, 0.57)])
def test_hollow_tubes_of_any_direction(way, outer, inner):
    along = np.array(way) / np.linalg.norm(way)
    middle = np.abs(along) * 36 + outer + 3.3
    shape = tuple(np.ceil(2 * middle).astype(int))
    (line,) = centrelines(tube(shape, middle - 36 * along, middle + 36 * along, outer, inner), ONE, 20, to_ends=True)
    assert line.length == pytest.approx(72, rel=0.02)


@pytest.mark.parametrize(("outer", "inner"), [(8, 5), (6, 4)])
@pytest.mark.parametrize(("width", "begin", "end"), [(1, 30, 60), (3, 55, 90), (5, 55, 90)])
def test_a_slit_in_the_wall_of_a_tube_leaves_its_line(outer, inner, width, begin, end):
    """One in the middle left no line at all, one at an end three lines or one that was too short."""
    m = outer + 2
    whole = tube((2 * m + 1, 2 * m + 1, 90), (m, m, 0), (m, m, 89), outer, inner, through=True)
    slit = (abs(whole[:, 1] - m) < width / 2) & (whole[:, 0] > m) & (whole[:, 2] >= begin) & (whole[:, 2] < end)
    (line,) = centrelines(whole[~slit], ONE, least=20, to_ends=True)
    assert line.length == pytest.approx(90, rel=0.03)
    assert not line.wall


@pytest.mark.parametrize(("radius", "inner"), [(4, -1), (6, -1)])
@pytest.mark.parametrize("angle", [40, 60, 70])
def test_tubes_that_faces_cut_obliquely_end_where_their_axes_meet_the_faces(angle, radius, inner):
    slope, turn = np.radians(angle), 0.4
    way = np.array([np.cos(slope), np.sin(slope) * np.sin(turn), np.sin(slope) * np.cos(turn)])
    middle = np.abs(way) / way[0] * 20 + radius / way[0] + 4.3
    middle[0] = 19.5
    shape = (40, *np.ceil(2 * middle[1:]).astype(int))
    (line,) = centrelines(tube(shape, middle - way, middle + way, radius, inner, through=True), ONE, 20, to_ends=True)
    assert line.length == pytest.approx(40 / way[0], rel=0.03)
    ends = line.position[[0, -1]]
    half = 20 / way[0] * way
    np.testing.assert_allclose(ends[np.argsort(ends[:, 0])], [middle - half, middle + half], atol=2)


def test_voxels_of_other_sides():
    voxels = tube((50, 44, 90), (20.2, 21.5, 12.5), (80.3, 21.5, 70.5), 8, 5, scale=(2.0, 1.0, 1.0))
    (line,) = centrelines(voxels, (2.0, 1.0, 1.0), least=20, to_ends=True)
    assert line.length == pytest.approx(np.hypot(60.1, 58), rel=0.02)


def test_a_closed_tube_has_a_line():
    voxels = tube((40, 44, 120), (19.5, 21.5, 14.5), (19.5, 21.5, 104.5), 12, -1)
    far = np.hypot(voxels[:, 0] - 19.5, voxels[:, 1] - 21.5)
    (line,) = centrelines(voxels[(far > 8) | (np.abs(voxels[:, 2] - 59.5) > 41)], ONE, least=20, to_ends=True)
    assert line.length == pytest.approx(90, rel=0.01)


@pytest.mark.parametrize("tilt", [0.0, 0.6])
@pytest.mark.parametrize(("radius", "outer"), [(8, 5), (12, 4), (20, 4)])
def test_rings_stay_rings(radius, outer, tilt):
    (line,) = centrelines(ring(radius, outer, tilt), ONE, least=15, to_ends=True)
    assert line.closed
    assert not line.wall
    assert line.length == pytest.approx(2 * np.pi * radius, rel=0.02)


def test_walls_and_sheets_that_are_no_tubes_say_so():
    at = np.stack(np.indices((50, 51, 51)), -1).reshape(-1, 3)
    z, y, x = (at - [10.0, 25.0, 25.0]).T
    ball = np.abs(np.sqrt(z**2 + y**2 + x**2) - 20) <= 2
    band = (np.abs(np.hypot(y, x) - 20) <= 2) & (z >= 0) & (z < 30)  # wider than long
    sheet = (np.abs(z) <= 1) & (np.abs(y) <= 15)
    for voxels in (at[ball & (z >= 0)], at[band], at[sheet]):
        found = centrelines(voxels, ONE, least=20, to_ends=True)
        assert found
        assert all(line.wall for line in found)
    full, _ = lumens(np.ones((9, 9, 60), bool), np.ones(3))
    assert len(full) == 0


def test_a_vesicle_that_a_face_cuts_is_a_wall_or_says_so():
    at = np.stack(np.indices((48, 48, 70)), -1).reshape(-1, 3)
    for sides in ((20, 20, 20), (15, 15, 30)):
        away, inner = (np.linalg.norm((at - [23.5, 23.5, 34.5]) / (np.array(sides) - less), axis=1) for less in (0, 4))
        voxels = at[(away <= 1) & (inner > 1)]
        assert centrelines(voxels, ONE, least=20) is None
        found = centrelines(voxels[voxels[:, 2] > 40 - sides[2]], ONE, least=20)
        assert found is None or all(line.wall for line in found)
