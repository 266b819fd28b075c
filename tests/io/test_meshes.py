"""Meshes come back as they were written; damaged files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.meshes import read_mesh, write_mesh

TETRA = np.array([[0, 0, 0], [0, 0, 10], [0, 20, 0], [30, 0, 0]], float)  # z, y, x
NONE = "element face 0\nproperty list uchar int i\nend_header\n"
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])  # outward in x, y, z


@given(
    count=st.integers(0, 30),
    triangles=st.integers(0, 30),
    seed=st.integers(0, 99),
    ending=st.sampled_from(["ply", "obj"]),
)
@settings(max_examples=30)
def test_there_and_back(tmp_path: Path, count: int, triangles: int, seed: int, ending: str) -> None:
    rng = np.random.default_rng(seed)
    vertices = np.round(rng.uniform(-5000, 5000, (count + 1, 3)), 3)
    faces = rng.integers(0, count + 1, (triangles, 3))
    file = tmp_path / f"mesh.{ending}"
    write_mesh(file, vertices, faces)
    back, corners, columns = read_mesh(file)
    assert np.allclose(back, vertices, atol=5e-4)
    assert corners.dtype == np.int32
    assert np.array_equal(corners, faces)
    assert columns == {}


def test_files_hold_x_y_z_and_faces_that_look_outward(tmp_path: Path) -> None:
    write_mesh(tmp_path / "t.obj", TETRA, FACES)
    lines = (tmp_path / "t.obj").read_text().splitlines()
    assert "v 10.000 0.000 0.000" in lines
    assert "v 0.000 0.000 30.000" in lines
    assert "f 1 3 2" in lines
    points = TETRA[:, ::-1]
    volume = sum(np.dot(points[a], np.cross(points[b], points[c])) for a, b, c in FACES) / 6
    assert volume == pytest.approx(1000)


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


def test_obj_with_textures_and_numbers_from_the_end(tmp_path: Path) -> None:
    text = "g one\nv 0 0 0\nv 10 0 0 1.0\nv 0 20 0\nvn 0 0 1\nf 1/1/1 2//1 3\nf -3 -2 -1\n"
    (tmp_path / "t.obj").write_text(text)
    vertices, faces, _ = read_mesh(tmp_path / "t.obj")
    assert vertices.tolist() == [[0, 0, 0], [0, 0, 10], [0, 20, 0]]
    assert faces.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    write_mesh(tmp_path / "t.ply", TETRA, FACES, {"instance": np.arange(4)})
    data = (tmp_path / "t.ply").read_bytes()
    for end in range(len(data)):
        (tmp_path / "cut.ply").write_bytes(data[:end])
        with pytest.raises(FormatError, match=r"cut\.ply"):
            read_mesh(tmp_path / "cut.ply")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "v 1 2\n",
        "v 0 0 0\nf 1 2 3\n",
        "v 0 0 0\nf 1 1 1 1\n",
        "ply\nformat ascii 1.0\nelement vertex x\nend_header\n",
        "ply\nformat ascii 1.0\nelement face 0\nelement vertex 0\nend_header\n",
        "ply\nformat ascii 1.0\nelement vertex -1\nproperty float x\n" + NONE,
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\n" + NONE + "1\n",
        "ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float x\n" + NONE,
        "ply\nformat new 1.0\nelement vertex 0\nproperty float x\n" + NONE,
    ],
)
def test_what_is_no_mesh_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.obj").write_text(text)
    with pytest.raises(FormatError, match=r"m\.obj"):
        read_mesh(tmp_path / "m.obj")


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name vertices"):
        write_mesh(tmp_path / "a.ply", TETRA, FACES + 1)
    with pytest.raises(InputError, match=r"\.stl"):
        write_mesh(tmp_path / "a.stl", TETRA, FACES)
    with pytest.raises(InputError, match="one number for each"):
        write_mesh(tmp_path / "a.ply", TETRA, FACES, {"instance": [1]})
    with pytest.raises(InputError, match="OBJ has no columns"):
        write_mesh(tmp_path / "a.obj", TETRA, FACES, {"instance": [1, 2, 3, 4]})
    with pytest.raises(InputError, match="not finite"):
        write_mesh(tmp_path / "a.ply", TETRA * np.nan, FACES)
    with pytest.raises(MissingError, match="no such file"):
        read_mesh(tmp_path / "a.ply")
    assert list(tmp_path.iterdir()) == []
