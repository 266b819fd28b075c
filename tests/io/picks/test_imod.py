"""IMOD models: the half voxel, parts of images, contours and meshes, pixel sizes, and damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import DATA

from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.io.picks import imod_file, read_picks, write_picks

REAL = DATA / "real" / "coordinates" / "imod_models"
A10 = (10.0, 10.0, 10.0)
SCALE = struct.pack(">18f", *[1] * 3, *[0] * 3, *[0] * 3, *[10] * 3, *[0] * 3, *[0] * 3)


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack(">i", len(body)) + body


def contour(*points: tuple[float, float, float], flags: int = 0) -> bytes:
    return b"CONT" + struct.pack(">iIii", len(points), flags, 0, 0) + np.array(points, ">f4").tobytes()


def mesh(vertices: list[tuple[float, float, float]], commands: list[int], flags: int = 0) -> bytes:
    head = struct.pack(">iiIhh", len(vertices), len(commands), flags, 0, 0)
    return b"MESH" + head + np.array(vertices, ">f4").tobytes() + np.array(commands, ">i4").tobytes()


def object_(name: bytes, flags: int, *parts: bytes) -> bytes:
    """The 176 bytes of an object: name, 64 of extra data, number of contours, flags, 40 of drawing."""
    return (
        b"OBJT"
        + name.ljust(64, b"\0")
        + bytes(64)
        + struct.pack(">iI", len(parts), flags)
        + bytes(40)
        + b"".join(parts)
    )


def model(path: Path, *parts: bytes, flags: int = 0, pixel: float = 1.0, units: int = 0) -> Path:
    """The 232 bytes of a header: name, sizes, number of objects, flags, ... pixel size at byte 208, units at 212."""
    head = bytearray(232)
    head[140:148] = struct.pack(">iI", 1, flags)
    head[208:216] = struct.pack(">fi", pixel, units)
    path.write_bytes(b"IMODV1.2" + bytes(head) + b"".join(parts) + b"IEOF")
    return path


ONE = object_(b"ribosome", imod_file.SCATTERED, contour((30.5, 20.5, 10.0), (0.5, 0.5, 0.0)))


def test_the_centre_of_a_voxel_has_a_half_in_x_and_y_only(tmp_path: Path) -> None:
    """(30.5, 20.5, 10) is the centre of voxel x, y, z = 30, 20, 10."""
    picks = read_picks(model(tmp_path / "a.mod", ONE), voxel_size=A10)
    assert picks.position_vox.tolist() == [[10, 20, 30], [0, 0, 0]]
    assert (picks.feature, picks.tomogram) == ("ribosome", "a")
    assert (picks.extra["object"].tolist(), picks.extra["contour"].tolist()) == ([1, 1], [1, 1])
    write_picks(tmp_path / "b.mod", Picks([[10, 20, 30]], voxel_size=A10, tomogram="t"))
    data = (tmp_path / "b.mod").read_bytes()
    at = data.index(b"CONT") + 20
    assert struct.unpack(">3f", data[at : at + 12]) == (30.5, 20.5, 10.0)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the example files are not at {REAL}")
@pytest.mark.parametrize(
    ("name", "objects", "n", "voxel_size"),
    [
        ("two_contour_example.mod", 1, 25, 4.48),
        ("multiple_objects_example.mod", 3, 6, 19.733333),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # imodmodel's own
def test_real_models_are_read_as_imodmodel_reads_them(name: str, objects: int, n: int, voxel_size: float) -> None:
    imodmodel = pytest.importorskip("imodmodel")
    picks = read_picks(REAL / name)
    frame = imodmodel.read(REAL / name)
    assert (len(picks), len(imod_file.read_model(REAL / name).objects)) == (n, objects)
    np.testing.assert_allclose(picks.voxel_size, voxel_size, rtol=1e-6)
    np.testing.assert_array_equal(picks.position_vox + np.array([0, 0.5, 0.5]), frame[["z", "y", "x"]])
    np.testing.assert_array_equal(picks.extra["object"] - 1, frame["object_id"])
    np.testing.assert_array_equal(picks.extra["contour"] - 1, frame["contour_id"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # imodmodel's own
def test_imodmodel_reads_the_same_coordinates(tmp_path: Path) -> None:
    imodmodel = pytest.importorskip("imodmodel")
    import pandas as pd

    rng = np.random.default_rng(1)
    points = rng.uniform(0, 500, (20, 3)).astype("f4")
    number = np.repeat([0, 1, 2, 3], 5)
    frame = pd.DataFrame(dict(zip("xyz", points.T, strict=True)) | {"object_id": number // 2, "contour_id": number % 2})
    imodmodel.write(frame, tmp_path / "a.mod")
    picks = read_picks(tmp_path / "a.mod", voxel_size=A10)
    np.testing.assert_array_equal(picks.position_vox[:, ::-1] + [0.5, 0.5, 0], points.astype(float))
    assert (picks.extra["object"].tolist(), picks.extra["contour"].tolist()) == (
        (number // 2 + 1).tolist(),
        (number % 2 + 1).tolist(),
    )
    write_picks(tmp_path / "b.mod", picks)
    again = imodmodel.read(tmp_path / "b.mod")
    np.testing.assert_array_equal(again[["x", "y", "z"]], points)
    np.testing.assert_array_equal(again[["object_id", "contour_id"]], frame[["object_id", "contour_id"]])
    found = imodmodel.ImodModel.from_file(tmp_path / "b.mod")
    assert (found.header.pixelsize, found.header.units) == (1.0, -9)
    assert found.objects[0].header.flags.open


def test_a_filament_is_an_open_contour_in_its_order(tmp_path: Path) -> None:
    path = model(
        tmp_path / "a.mod",
        object_(b"actin", imod_file.OPEN, contour((3.5, 0.5, 0), (1.5, 0.5, 0), (2.5, 0.5, 0)), contour((9.5, 0.5, 1))),
    )
    picks = read_picks(path, voxel_size=A10)
    assert picks.position_vox[:, 2].tolist() == [3, 1, 2, 9]
    assert picks.extra["contour"].tolist() == [1, 1, 1, 2]
    write_picks(tmp_path / "b.mod", picks)
    assert read_picks(tmp_path / "b.mod") == picks
    (one,) = imod_file.read_model(tmp_path / "b.mod").objects
    assert one.flags & (imod_file.OPEN | imod_file.SCATTERED) == imod_file.OPEN
    assert [len(c.points) for c in one.contours] == [3, 1]


@pytest.mark.parametrize("format", ["imod", "imod-text"])
def test_numbered_filaments_become_contours(tmp_path: Path, format: str) -> None:
    path = tmp_path / "a.mod"
    position, filament = [[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.array([2, 1, 2])
    picks = Picks(position, voxel_size=A10, tomogram="a", extra={"filament": filament})
    write_picks(path, picks, format)
    back = read_picks(path, format, voxel_size=A10)
    rows = {tuple(at): number for at, number in zip(back.position_vox.tolist(), back.extra["contour"], strict=True)}
    assert rows == {(1, 2, 3): 2, (4, 5, 6): 1, (7, 8, 9): 2}
    if format == "imod":
        (one,) = imod_file.read_model(path).objects
        assert one.flags & (imod_file.OPEN | imod_file.SCATTERED) == imod_file.OPEN
    write_picks(path, picks.with_(extra={"filament": filament - 1}), format)  # IMOD has no contour 0
    assert set(read_picks(path, format, voxel_size=A10).extra.get("contour", [1])) == {1}


def test_points_that_count_in_a_part_of_an_image(tmp_path: Path) -> None:
    """binspec.html: the coordinate in the full image is x + (otrans - ctrans) / cscale."""
    minx = struct.pack(">18f", *[1] * 3, *(100, 0, -50), *[0] * 3, *[10] * 3, *(-100, -300, -50), *[0] * 3)
    path = model(tmp_path / "a.mod", ONE, chunk(b"MINX", minx), flags=imod_file.HAS_ORIGIN)
    picks = read_picks(path)
    assert picks.position_vox.tolist() == [[10, 50, 50], [0, 30, 20]]
    assert picks.voxel_size == A10
    plain = model(tmp_path / "b.mod", ONE, chunk(b"MINX", minx))  # without the flag, otrans means nothing
    assert read_picks(plain).position_vox.tolist() == [[10, 20, 30], [0, 0, 0]]


@pytest.mark.parametrize(
    ("pixel", "units", "wanted"), [(1.368, -9, 13.68), (13.68, -10, 13.68), (1.368e-3, -6, 13.68), (1.0, 0, None)]
)
def test_the_pixel_size_has_a_unit(tmp_path: Path, pixel: float, units: int, wanted: float | None) -> None:
    path = model(tmp_path / "a.mod", ONE, pixel=pixel, units=units)
    if wanted is None:
        with pytest.raises(InputError, match="voxel_size"):
            read_picks(path)
        return
    picks = read_picks(path)
    np.testing.assert_allclose(picks.voxel_size, wanted, rtol=1e-6)
    half = read_picks(path, voxel_size=(2 * wanted,) * 3)
    np.testing.assert_allclose(half.position_vox, [[5, 10, 15], [0, 0, 0]], rtol=1e-6)
    near = read_picks(path, voxel_size=(13.7,) * 3)  # the same, with fewer digits: coordinates are not rescaled
    assert near.position_vox.tolist() == [[10, 20, 30], [0, 0, 0]]


def test_two_pixel_sizes_are_refused_unless_the_caller_knows(tmp_path: Path) -> None:
    path = model(tmp_path / "a.mod", ONE, chunk(b"MINX", SCALE), pixel=2.0, units=-9)
    with pytest.raises(InputError, match=r"20\.0 angstrom, and its image has \(10\.0, .*set voxel_size"):
        read_picks(path)
    assert read_picks(path, voxel_size=A10).position_vox.tolist() == [[10, 20, 30], [0, 0, 0]]
    same = model(tmp_path / "b.mod", ONE, chunk(b"MINX", SCALE), pixel=1.001, units=-9)
    np.testing.assert_allclose(read_picks(same).voxel_size, 10.01, rtol=1e-6)


@pytest.mark.parametrize("flag", [imod_file.FLIPPED, imod_file.ROTATED])
def test_a_model_of_a_flipped_image_is_refused(tmp_path: Path, flag: int) -> None:
    with pytest.raises(FormatError, match=r"Y and Z exchanged.*3dmod"):
        read_picks(model(tmp_path / "a.mod", ONE, flags=flag), voxel_size=A10)


VERTICES = [(1.5, 2.5, 3), (0, 0, 2), (4.5, 5.5, 6), (3, 4, 0), (7.5, 8.5, 9), (0, 1, 0)]
"""Three vertices, each with its normal."""


@pytest.mark.parametrize(
    "commands", [[-25, 0, 2, 4, -22, -1], [-23, 1, 0, 3, 2, 5, 4, -22, -1], [-21, 0, 2, 4, -22, -1]]
)
def test_vertices_of_meshes_are_read_if_asked_for(tmp_path: Path, commands: list[int]) -> None:
    coarse = mesh([(0, 0, 0), (0, 0, 1)], [-25, 0, 0, 0, -22, -1], flags=1 << 20)
    path = model(tmp_path / "a.mod", object_(b"membrane", 0, mesh(VERTICES, commands), coarse))
    with pytest.raises(FormatError, match=r"meshes and no points in contours.*imod-mesh"):
        read_picks(path, voxel_size=A10)
    picks = read_picks(path, "imod-mesh", voxel_size=A10)
    assert picks.position_vox.tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    if commands[0] == -21:
        assert picks.normal is None
    else:
        assert picks.normal is not None
        np.testing.assert_allclose(picks.normal, [[1, 0, 0], [0, 0.8, 0.6], [0, 1, 0]], atol=1e-15)
    both = model(tmp_path / "b.mod", ONE, object_(b"m", 0, mesh(VERTICES, commands)))
    assert len(read_picks(both, voxel_size=A10)) == 2
    with pytest.raises(FormatError, match="has no meshes"):
        read_picks(model(tmp_path / "c.mod", ONE), "imod-mesh", voxel_size=A10)


def test_damage_is_named(tmp_path: Path) -> None:
    path = model(tmp_path / "a.mod", ONE)
    data = path.read_bytes()
    huge = data.replace(b"CONT" + struct.pack(">i", 2), b"CONT" + struct.pack(">i", 2**31 - 1))
    for changed, what in (
        (data[:-4], "the name of a chunk at byte"),
        (data[:100], "the header at byte 8 needs 232 bytes, and 92 are left"),
        (data[:300], "an object at byte 244 needs 176 bytes"),
        (huge, r"a contour of 2147483647 points at byte \d+ needs"),
        (data.replace(b"CONT" + struct.pack(">i", 2), b"CONT" + struct.pack(">i", -1)), "a contour of -1 points"),
        (data[:-4] + b"LABL" + struct.pack(">i", -5) + b"IEOF", "chunk b'LABL' at byte"),
        (data.replace(b"OBJT", b"CONT", 1), "before any object"),
        (data.replace(b"V1.2", b"V1.1"), r"version b'V1\.1'"),
        (b"hello world" * 50, "formats of picks are"),
        (data.replace(struct.pack(">f", 20.5), struct.pack(">f", np.nan)), "point 0 .* is at"),
        (
            data.replace(struct.pack(">f", 20.5), b"\x7f\x81\x00\x00"),
            "point 0 .* is at",
        ),  # signalling: found by fuzzing
    ):
        path.write_bytes(changed)
        with pytest.raises(FormatError, match=what):
            read_picks(path, voxel_size=A10)
    for commands in ([-25, 0, 2, 40, -22, -1], [-24, 0, 1], [5]):
        with pytest.raises(FormatError, match=r"index 40|command -24|command 5"):
            read_picks(model(path, object_(b"m", 0, mesh(VERTICES, commands))), "imod-mesh", voxel_size=A10)


def test_chunks_that_are_not_known_are_skipped(tmp_path: Path) -> None:
    part = ONE + chunk(b"SIZE", bytes(8)) + chunk(b"IMAT", bytes(16)) + chunk(b"ZZZZ", b"CONTOBJT")
    path = model(tmp_path / "a.mod", part, chunk(b"VIEW", bytes(4)))
    assert len(read_picks(path, voxel_size=A10)) == 2


@given(
    points=st.lists(st.tuples(*[st.floats(-100, 2000)] * 3, st.integers(1, 3), st.integers(1, 4)), max_size=8),
    columns=st.sampled_from([(), ("contour",), ("object",), ("object", "contour")]),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_models_come_back(tmp_path: Path, points: list[tuple[float, ...]], columns: tuple[str, ...]) -> None:
    points = sorted(points, key=lambda p: tuple(p[3 if c == "object" else 4] for c in columns))
    table = np.array(points).reshape(-1, 5)
    extra = {c: table[:, 3 if c == "object" else 4].astype(int) for c in columns}
    picks = Picks(
        table[:, :3], voxel_size=A10, origin=(1, 2, 3), shape=(9, 8, 7), tomogram="ü", feature="f", extra=extra
    )
    write_picks(tmp_path / "a.mod", picks)
    back = read_picks(tmp_path / "a.mod")
    np.testing.assert_allclose(back.position_vox, picks.position_vox, atol=1e-4, rtol=0)
    assert back.with_(position_vox=picks.position_vox) == picks
    write_picks(tmp_path / "a.txt", picks, "imod-text")
    text = read_picks(tmp_path / "a.txt", "imod-text", voxel_size=A10, tomogram="ü")
    np.testing.assert_allclose(text.position_vox, picks.position_vox, atol=1e-12, rtol=0)


def test_lines_of_model2point(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("  1   2   30.50  20.50  10.00\n  1   3    0.50   0.50   0.00\n")
    picks = read_picks(path, "imod-text", voxel_size=A10)
    assert picks.position_vox.tolist() == [[10, 20, 30], [0, 0, 0]]
    assert (picks.extra["object"].tolist(), picks.extra["contour"].tolist()) == ([1, 1], [2, 3])
    path.write_text("2 30.5 20.5 10\n")
    assert read_picks(path, "imod-text", voxel_size=A10).extra["contour"].tolist() == [2]
    for text, what in (("1 2\n", "line 1: 2 values"), ("1 2 3\n1 2 3 4\n", "line 2: 4 values"), ("1 2 x\n", "line 1")):
        path.write_text(text)
        with pytest.raises(FormatError, match=what):
            read_picks(path, "imod-text", voxel_size=A10)


def test_what_a_model_cannot_hold_is_refused(tmp_path: Path) -> None:
    picks = Picks([[1, 2, 3]], voxel_size=A10, tomogram="t")
    for changes, what in (
        ({"voxel_size": (10, 10, 12)}, "one pixel size"),
        ({"extra": {"contour": [0]}}, "run from 0 to 1"),
        ({"extra": {"object": [2_000_000]}}, "run from 1 to 2000000"),
        ({"extra": {"object": ["a"]}}, "'object'"),
        ({"position_vox": [[1, 2, 1e9]]}, "float32"),
    ):
        with pytest.raises(InputError, match=what):
            write_picks(tmp_path / "a.mod", picks.with_(**changes))


def test_points_that_differ_in_name_are_not_called_by_that_of_the_first(tmp_path: Path) -> None:
    mixed = {"object_name": np.array(["a", "b", "a"])}
    write_picks(tmp_path / "a.mod", Picks([[1, 2, 3]] * 3, (10.0,) * 3, shape=(9, 9, 9), tomogram="T", extra=mixed))
    assert [one.name for one in imod_file.read_model(tmp_path / "a.mod").objects] == [""]
    assert "object_name" not in read_picks(tmp_path / "a.mod").extra
