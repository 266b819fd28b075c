"""Meshes of every format come back as they were written; files of other programs are read; damaged ones are refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.meshes import read_mesh, write_mesh

TETRA = np.array([[0, 0, 0], [0, 0, 10], [0, 20, 0], [30, 0, 0]], float)  # z, y, x
NONE = "element face 0\nproperty list uchar int vertex_indices\nend_header\n"
XYZ = (
    "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
    "element face {}\nproperty list uchar int vertex_indices\nend_header\n"
)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])  # outward in x, y, z


@given(
    count=st.integers(0, 30),
    triangles=st.integers(1, 30),
    seed=st.integers(0, 99),
    ending=st.sampled_from(["ply", "obj", "stl", "glb"]),
)
@settings(max_examples=40)
def test_there_and_back(tmp_path: Path, count: int, triangles: int, seed: int, ending: str) -> None:
    rng = np.random.default_rng(seed)
    vertices = np.round(rng.uniform(-5000, 5000, (count + 1, 3)), 3)
    faces = rng.integers(0, count + 1, (triangles, 3))
    file = tmp_path / f"mesh.{ending}"
    write_mesh(file, vertices, faces)
    back, corners, columns = read_mesh(file)
    assert corners.dtype == np.int32
    assert np.allclose(back[corners], vertices[faces], atol=5e-4)
    if ending == "stl":  # it has triangles, no vertices: those of one place are joined
        assert len(back) == len(np.unique(faces))
    else:
        assert np.allclose(back, vertices, atol=5e-4)
        assert np.array_equal(corners, faces)
    assert columns == {}


def test_ply_has_the_bytes_of_the_format(tmp_path: Path) -> None:
    """Float32 in x, y, z, little endian; what simulations write does not change with the library that writes it."""
    write_mesh(tmp_path / "t.ply", TETRA, FACES, {"instance": np.array([7, 7, 8, 8])})
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment lengths in angstrom\nelement vertex 4\nproperty float x\n"
        "property float y\nproperty float z\nproperty int instance\n"
        "element face 4\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.zeros(4, [("p", "<f4", (3,)), ("instance", "<i4")])
    rows["p"], rows["instance"] = TETRA[:, ::-1], [7, 7, 8, 8]
    lists = np.zeros(4, [("n", "u1"), ("c", "<i4", (3,))])
    lists["n"], lists["c"] = 3, FACES
    assert (tmp_path / "t.ply").read_bytes() == header.encode() + rows.tobytes() + lists.tobytes()


def test_stl_and_glb_hold_x_y_z_and_faces_that_look_outward(tmp_path: Path) -> None:
    write_mesh(tmp_path / "t.stl", TETRA, FACES)
    data = (tmp_path / "t.stl").read_bytes()
    rows = np.frombuffer(data[84:], [("normal", "<f4", (3,)), ("corner", "<f4", (3, 3)), ("more", "<u2")])
    assert int.from_bytes(data[80:84], "little") == 4
    assert np.array_equal(rows["corner"], TETRA[FACES][..., ::-1])
    assert np.allclose(rows["normal"][[0, 1, 2]], [[0, 0, -1], [0, -1, 0], [-1, 0, 0]])
    write_mesh(tmp_path / "t.glb", TETRA, FACES)
    data = (tmp_path / "t.glb").read_bytes()
    assert data[:4] == b"glTF"
    assert int.from_bytes(data[8:12], "little") == len(data)
    words = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    (primitive,) = words["meshes"][0]["primitives"]
    place = words["accessors"][primitive["attributes"]["POSITION"]]
    assert place["max"] == [10, 20, 30]


def test_files_hold_x_y_z_and_faces_that_look_outward(tmp_path: Path) -> None:
    write_mesh(tmp_path / "t.obj", TETRA, FACES)
    lines = (tmp_path / "t.obj").read_text().splitlines()
    assert "v 10.000 0.000 0.000" in lines
    assert "v 0.000 0.000 30.000" in lines
    assert "f 1 3 2" in lines
    points = TETRA[:, ::-1]
    volume = sum(np.dot(points[a], np.cross(points[b], points[c])) for a, b, c in FACES) / 6
    assert volume == pytest.approx(1000)


def test_a_column_cannot_be_called_as_a_coordinate(tmp_path: Path) -> None:
    """The file would have two values of that name, and could not be read."""
    with pytest.raises(InputError, match="cannot be called 'z'"):
        write_mesh(tmp_path / "a.ply", np.eye(3), [[0, 1, 2]], {"z": np.arange(3.0)})
    assert not (tmp_path / "a.ply").exists()


def test_columns_of_all_kinds(tmp_path: Path) -> None:
    columns = {
        "instance": np.array([1, 2, 3, 2**30], np.int64),
        "wide": np.array([0, 1, 2, 2**40], np.int64),
        "nx": np.array([0.5, -0.5, 0, 1], np.float32),
        "inside": np.array([True, False, True, False]),
    }
    write_mesh(tmp_path / "t.ply", TETRA, FACES, columns)
    _, _, back = read_mesh(tmp_path / "t.ply")
    assert list(back) == list(columns)
    assert back["instance"].dtype == np.int32
    for name, column in columns.items():
        assert np.array_equal(back[name], column)


@pytest.mark.parametrize("order", ["<", ">"])
def test_other_programs_ply(tmp_path: Path, order: str) -> None:
    """Doubles, either byte order, another name of the list, comments; as ASCII too."""
    word = "little" if order == "<" else "big"
    header = (
        f"ply\nformat binary_{word}_endian 1.0\ncomment by hand\nelement vertex 4\nproperty double x\n"
        "property double y\nproperty double z\nproperty uchar red\n"
        "element face 4\nproperty list uint8 uint32 vertex_index\nend_header\n"
    )
    rows = np.zeros(4, [("p", order + "f8", (3,)), ("red", "u1")])
    rows["p"], rows["red"] = TETRA[:, ::-1], [1, 2, 3, 4]
    lists = np.zeros(4, [("n", "u1"), ("c", order + "u4", (3,))])
    lists["n"], lists["c"] = 3, FACES
    (tmp_path / "b.ply").write_bytes(header.encode() + rows.tobytes() + lists.tobytes())
    text = header.replace(f"binary_{word}_endian", "ascii")
    text += "".join(f"{x} {y} {z} {i + 1}\n" for i, (z, y, x) in enumerate(TETRA))
    text += "".join(f"3 {a} {b} {c}\n" for a, b, c in FACES)
    (tmp_path / "a.ply").write_text(text)
    for name in ("a.ply", "b.ply"):
        vertices, faces, columns = read_mesh(tmp_path / name)
        assert np.array_equal(vertices, TETRA)
        assert np.array_equal(faces, FACES)
        assert columns["red"].tolist() == [1, 2, 3, 4]


def test_other_programs_stl(tmp_path: Path) -> None:
    """ASCII, with a name, indented, its numbers with exponents."""
    lines = ["solid membrane 1"]
    for face in FACES:
        lines += ["  facet normal 0 0 0", "    outer loop"]
        lines += [f"      vertex {x:e} {y:e} {z:e}" for z, y, x in TETRA[face]]
        lines += ["    endloop", "  endfacet"]
    (tmp_path / "a.stl").write_text("\n".join([*lines, "endsolid membrane 1", ""]))
    vertices, faces, columns = read_mesh(tmp_path / "a.stl")
    assert len(vertices) == 4
    assert np.array_equal(vertices[faces], TETRA[FACES])
    assert columns == {}


def test_other_programs_glb(tmp_path: Path) -> None:
    """Two parts, one of them moved by its node; indices of 16 bits."""
    points = TETRA[:, ::-1].astype("<f4").tobytes()
    indices = FACES.astype("<u2").tobytes()
    part = {"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}
    words = {
        "asset": {"version": "2.0", "generator": "by hand"},
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [{"mesh": 0}, {"mesh": 1, "translation": [100, 0, 0]}],
        "meshes": [part, part],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [0, 0, 0], "max": [10, 20, 30]},
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(points)},
            {"buffer": 0, "byteOffset": len(points), "byteLength": len(indices)},
        ],
        "buffers": [{"byteLength": len(points) + len(indices)}],
    }
    text = json.dumps(words).encode()
    text += b" " * (-len(text) % 4)
    body = points + indices
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    (tmp_path / "b.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    vertices, faces, _ = read_mesh(tmp_path / "b.glb")
    moved = np.add(TETRA, [0, 0, 100])
    assert sorted(vertices[faces].tolist()) == sorted(TETRA[FACES].tolist() + moved[FACES].tolist())


def test_faces_of_four_corners_become_two_triangles(tmp_path: Path) -> None:
    square = [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]]  # z, y, x
    (tmp_path / "q.obj").write_text("".join(f"v {x} {y} {z}\n" for z, y, x in square) + "f 1 2 3 4\n")
    vertices, faces, _ = read_mesh(tmp_path / "q.obj")
    assert vertices.tolist() == square
    assert faces.tolist() == [[0, 1, 2], [2, 3, 0]]


def test_obj_with_textures_and_numbers_from_the_end(tmp_path: Path) -> None:
    text = "g one\nv 0 0 0\nv 10 0 0 1.0\nv 0 20 0\nvn 0 0 1\nf 1/1/1 2//1 3\nf -3 -2 -1\n"
    (tmp_path / "t.obj").write_text(text)
    vertices, faces, _ = read_mesh(tmp_path / "t.obj")
    assert vertices.tolist() == [[0, 0, 0], [0, 0, 10], [0, 20, 0]]
    assert faces.tolist() == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("ending", ["ply", "stl", "glb"])
def test_every_truncation_is_refused(tmp_path: Path, ending: str) -> None:
    write_mesh(tmp_path / f"t.{ending}", TETRA, FACES, {"instance": np.arange(4)} if ending == "ply" else None)
    data = (tmp_path / f"t.{ending}").read_bytes()
    for end in range(len(data)):
        (tmp_path / f"cut.{ending}").write_bytes(data[:end])
        with pytest.raises(FormatError, match=rf"cut\.{ending}"):
            read_mesh(tmp_path / f"cut.{ending}")


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        *(
            (ending, text)
            for ending in ("ply", "obj", "stl", "glb")
            for text in ("", "hello", "solid nothing\nendsolid\n", "v 1 2\n", "v 0 0 0\n", "v 0 0 0\nf 1 2 3\n")
        ),
        ("obj", "v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n"),
        ("ply", "ply\nformat ascii 1.0\nelement vertex x\nend_header\n"),
        ("ply", "ply\nformat ascii 1.0\nelement face 0\nelement vertex 0\nend_header\n"),
        ("ply", "ply\nformat ascii 1.0\nelement vertex -1\nproperty float x\n" + NONE),
        ("ply", "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\n" + NONE + "1\n"),
        ("ply", "ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float x\n" + NONE),
        ("ply", "ply\nformat new 1.0\nelement vertex 0\nproperty float x\n" + NONE),
        ("ply", XYZ.format(3, 1) + "0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n"),
        ("ply", XYZ.format(3, 2) + "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"),
        ("ply", XYZ.format(4, 1) + "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"),
    ],
)
def test_what_is_no_mesh_is_refused(tmp_path: Path, ending: str, text: str) -> None:
    (tmp_path / f"m.{ending}").write_text(text)
    with pytest.raises(FormatError, match=rf"m\.{ending}"):
        read_mesh(tmp_path / f"m.{ending}")


def test_materials_that_a_mesh_names_are_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "m.mtl").write_text("newmtl red\nmap_Kd /dev/zero\n")
    (tmp_path / "t.obj").write_text("mtllib m.mtl\nusemtl red\nv 0 0 0\nv 10 0 0\nv 0 20 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    assert read_mesh(tmp_path / "t.obj")[1].tolist() == [[0, 1, 2]]


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name vertices"):
        write_mesh(tmp_path / "a.ply", TETRA, FACES + 1)
    with pytest.raises(InputError, match=r"not \.off"):
        write_mesh(tmp_path / "a.off", TETRA, FACES)
    with pytest.raises(InputError, match=r"not \.off"):
        read_mesh(tmp_path / "a.off")
    with pytest.raises(InputError, match="no faces"):
        write_mesh(tmp_path / "a.ply", TETRA, FACES[:0])
    with pytest.raises(InputError, match="one number for each"):
        write_mesh(tmp_path / "a.ply", TETRA, FACES, {"instance": [1]})
    for ending in ("obj", "stl", "glb"):
        with pytest.raises(InputError, match="only PLY holds columns"):
            write_mesh(tmp_path / f"a.{ending}", TETRA, FACES, {"instance": [1, 2, 3, 4]})
    with pytest.raises(InputError, match="not finite"):
        write_mesh(tmp_path / "a.ply", TETRA * np.nan, FACES)
    with pytest.raises(MissingError, match="no such file"):
        read_mesh(tmp_path / "a.ply")
    assert list(tmp_path.iterdir()) == []
