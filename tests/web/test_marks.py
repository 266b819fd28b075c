"""Picks and surfaces in the viewer's formats, read back by their specification and beside Neuroglancer's own writer."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import volengine
from volengine.core.errors import MissingError
from volengine.web.view.marks import AXIS_COLOURS, Marks, axes_of, mesh_file, radii_nm

PICKS = volengine.Picks(
    [[1.0, 2.0, 3.0], [4.0, 5.5, 6.0], [7.0, 8.0, 9.25]],
    voxel_size=(10.0, 20.0, 30.0),
    weight=[1.5, np.nan, 3.0],
    label=[3, 1, 2],
    volume_a3=[4 / 3 * np.pi * 50**3, 0.0, np.nan],
    euler=[[0, 0, 0], [0, 90, 0], [10, 20, 30]],
)
OFFSET, HALF = (1.0, 2.0, 3.0), (5.0, 10.0, 15.0)


def _expected() -> np.ndarray:
    """Centres, nm, x, y, z: (index x voxel + offset + half) / 10."""
    z, y, x = (np.asarray(PICKS.position_vox) * [10, 20, 30] + np.add(OFFSET, HALF)).T / 10
    return np.stack([x, y, z], axis=1)


def test_picks_are_balls_of_their_volume_at_their_places() -> None:
    balls = Marks.balls(PICKS, OFFSET, HALF, 12.0)
    body = balls.file("spatial/0_0_0")
    assert isinstance(body, bytes)
    (count,) = struct.unpack_from("<Q", body)
    rows = np.frombuffer(body, "<f4", 8 * 3, 8).reshape(3, 8)
    np.testing.assert_allclose(rows[:, :3], _expected(), rtol=1e-6)
    np.testing.assert_allclose(rows[:, 3:6], np.repeat([[5.0], [12.0], [12.0]], 3, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(rows[:, 6:], [[1.5, 3], [0, 1], [3, 2]])
    assert (count, np.frombuffer(body, "<u8", offset=8 + 96).tolist()) == (3, [0, 1, 2])
    assert balls.file("by_id/1") == body[8 + 32 : 8 + 64]
    info = balls.info()
    low, high = np.array(info["lower_bound"]), np.array(info["upper_bound"])
    assert (low < rows[:, :3] - rows[:, 3:6]).all()
    assert (high > rows[:, :3] + rows[:, 3:6]).all()
    assert info["spatial"][0]["chunk_size"] == (high - low).tolist()


def test_the_bytes_are_those_of_neuroglancers_own_writer(tmp_path: Path) -> None:
    neuroglancer = pytest.importorskip("neuroglancer", reason="neuroglancer is not installed (volengine[web])")
    from neuroglancer import write_annotations as theirs

    space = neuroglancer.CoordinateSpace(names=["x", "y", "z"], scales=[1, 1, 1], units="nm")
    names = [neuroglancer.AnnotationPropertySpec(id=name, type="float32") for name in ("weight", "label")]
    writer = theirs.AnnotationWriter(coordinate_space=space, annotation_type="ellipsoid", properties=names)
    balls = Marks.balls(PICKS, OFFSET, HALF, 12.0)
    for row, weight, label in zip(balls.geometry, *balls.values.values(), strict=True):
        writer.add_ellipsoid(row[:3], row[3:], weight=weight, label=label)
    writer.write(tmp_path)
    assert balls.file("spatial/0_0_0") == (tmp_path / "spatial0" / "0_0_0").read_bytes()
    assert balls.file("by_id/2") == (tmp_path / "by_id" / "2").read_bytes()


def test_axes_are_three_lines_in_three_colours() -> None:
    axes = Marks.axes(PICKS, OFFSET, HALF, 12.0)
    assert axes is not None
    assert len(axes) == 9
    ends = axes.geometry.reshape(3, 3, 2, 3)
    np.testing.assert_allclose(ends[:, :, 0], np.repeat(_expected()[:, None], 3, axis=1))
    lines = ends[:, :, 1] - ends[:, :, 0]
    np.testing.assert_allclose(np.linalg.norm(lines, axis=2), [[15.0] * 3, [36.0] * 3, [36.0] * 3])
    np.testing.assert_allclose(lines[0], 15.0 * np.eye(3), atol=1e-9)  # not turned: along x, y, z
    np.testing.assert_allclose(lines[1, 2], [-36.0, 0, 0], atol=1e-9)  # a tilt of 90 degrees: z points along -x
    np.testing.assert_allclose(np.cross(lines[2, 0], lines[2, 1]) / 36, lines[2, 2], atol=1e-9)
    body = axes.file("spatial/0_0_0")
    assert isinstance(body, bytes)
    assert [tuple(body[8 + 28 * k + 24 : 8 + 28 * k + 28]) for k in range(3)] == [(*c, 0) for c in AXIS_COLOURS]


def test_a_normal_is_the_z_axis_alone_and_a_table_without_either_has_none() -> None:
    normal = volengine.Picks([[1, 2, 3]], voxel_size=(10, 10, 10), normal=[[0.0, 0.6, 0.8]])
    axes = Marks.axes(normal, OFFSET, HALF, 1.0)
    assert axes is not None
    np.testing.assert_allclose(axes.geometry[0, 3:] - axes.geometry[0, :3], [3 * 0.8, 3 * 0.6, 0])
    np.testing.assert_array_equal(axes.values["axis"], [AXIS_COLOURS[2]])
    plain = volengine.Picks([[1, 2, 3]], voxel_size=(10, 10, 10))
    assert axes_of(plain) is None
    np.testing.assert_array_equal(radii_nm(plain, 7.0), [7.0])


def test_a_table_without_rows_is_shown_as_nothing() -> None:
    balls = Marks.balls(volengine.Picks(np.zeros((0, 3)), voxel_size=(10, 10, 10)), OFFSET, HALF, 1.0)
    assert balls.file("spatial/0_0_0") == struct.pack("<Q", 0)
    assert balls.info()["spatial"][0]["limit"] == 1


@pytest.mark.parametrize(
    "path", ["", "infos", "spatial/0_0_1", "by_id/3", "by_id/-1", "by_id/x", "by_id/\u0661", "../info"]
)
def test_annotations_that_are_not_there_are_missing(path: str) -> None:
    with pytest.raises(MissingError):
        Marks.balls(PICKS, OFFSET, HALF, 1.0).file(path)


def test_surfaces_are_meshes_at_their_places(tmp_path: Path) -> None:
    flat = volengine.Surface([[0, 0, 0], [0, 0, 10], [0, 30, 0], [20, 0, 0]], [[0, 1, 2], [1, 2, 3]], number=4)
    facts = volengine.SurfaceFacts(voxel_size=(8.0, 8.0, 8.0), origin=(100.0, 100.0, 100.0))
    volengine.write_surfaces(tmp_path / "a.surfaces", [(flat, {})], facts)
    surfaces = volengine.open_surfaces(tmp_path / "a.surfaces")
    assert mesh_file(surfaces, OFFSET, HALF, "info") == {"@type": "neuroglancer_legacy_mesh"}
    assert mesh_file(surfaces, OFFSET, HALF, "4:0") == {"fragments": ["4.mesh"]}
    body = mesh_file(surfaces, OFFSET, HALF, "4.mesh")
    assert isinstance(body, bytes)
    (count,) = struct.unpack_from("<I", body)
    at = np.frombuffer(body, "<f4", 3 * count, 4).reshape(-1, 3)
    z, y, x = (np.array([[0, 0, 0], [0, 0, 10], [0, 30, 0], [20, 0, 0]]) + np.add(OFFSET, HALF)).T / 10
    np.testing.assert_allclose(at, np.stack([x, y, z], axis=1), rtol=1e-6)
    faces = np.frombuffer(body, "<u4", offset=4 + 12 * count).reshape(-1, 3)
    np.testing.assert_array_equal(faces, [[0, 1, 2], [1, 2, 3]])
    for path in ("5.mesh", "4:1", "4.mesh:0", "..:0", "0004.ply", "x.mesh", "\u0664:0", ""):
        with pytest.raises(MissingError):
            mesh_file(surfaces, OFFSET, HALF, path)
