"""Containers of MemBrain-pick: read beside h5py, by hand-derived places, and refused where they are damaged."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.surface import Surface
from volengine.io import membrain_pick
from volengine.io.membrain_pick import read_membrain_pick, write_membrain_pick
from volengine.io.surfaces import SurfaceFacts, open_surfaces

POINTS = np.array([[3.0, 2, 1], [4, 2, 1], [3, 5, 1]], "f4")
"""x, y, z in voxels."""
MESH = {"points": POINTS, "faces": np.array([[0, 1, 2]]), "normals": np.array([[0.0, 0, 1]] * 3)}


def container(path: Path, **more) -> Path:
    """As ``store_mesh_in_hdf5`` of MemBrain-pick writes it."""
    with h5py.File(path, "w") as file:
        for key, value in {**MESH, **more}.items():
            if value is not None:
                file.create_dataset(key, data=value, dtype=h5py.string_dtype() if isinstance(value, str) else None)
    return path


def test_points_are_voxels_x_y_z_and_become_places(tmp_path: Path) -> None:
    """By hand: the voxel x, y, z = 3, 2, 1 of 10 angstrom is the place z, y, x = 10, 20, 30."""
    values = np.arange(6.0).reshape(3, 2)
    more = {"normal_values": values, "scores": [0.5, 9, 10], "labels": [1, 0, 0], "cluster_centers": [[3.5, 2, 1]]}
    file = container(tmp_path / "a.h5", pixel_size=10.0, tomo_file="x/TS_01.rec.mrc", **more)
    found = read_membrain_pick(file)
    (surface,) = found.surfaces
    assert surface.vertices.tolist() == [[10, 20, 30], [10, 20, 40], [10, 50, 30]]
    assert surface.faces.tolist() == [[0, 1, 2]]
    assert surface.normals.tolist() == [[1, 0, 0]] * 3
    assert {name: column.tolist() for name, column in surface.columns.items()} == {
        "score": [0.5, 9, 10],
        "label": [1, 0, 0],
        "normal_value_00": [0, 2, 4],
        "normal_value_01": [1, 3, 5],
    }
    assert found.centres[0].tolist() == [[10, 20, 35]]
    assert (found.pixel_size, found.tomogram) == (10.0, "x/TS_01.rec.mrc")


def test_a_container_is_a_set_of_surfaces(tmp_path: Path) -> None:
    opened = open_surfaces(container(tmp_path / "a.h5", pixel_size=8.0, tomo_file="x/TS_01.mrc"))
    assert opened.facts == SurfaceFacts("TS_01", "", (8.0, 8.0, 8.0))
    assert opened.read(1).vertices[0].tolist() == [8, 16, 24]
    bare = container(tmp_path / "b.h5")
    with pytest.raises(InputError, match="states no pixel_size"):
        open_surfaces(bare)
    assert open_surfaces(bare, SurfaceFacts(voxel_size=(4.0, 4.0, 4.0))).read(1).vertices[0].tolist() == [4, 8, 12]


def test_several_meshes_in_groups(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for k in range(2):
            for key, value in {**MESH, "pixel_size": 10.0}.items():
                file.create_dataset(f"mb{k}/{key}", data=value + k if key == "points" else value)
    found = read_membrain_pick(tmp_path / "a.h5")
    assert found.names == ["mb0", "mb1"]
    assert [one.number for one in found.surfaces] == [1, 2]
    assert len(open_surfaces(tmp_path / "a.h5")) == 2
    assert open_surfaces(tmp_path / "a.h5").read(2).vertices[0].tolist() == [20, 30, 40]


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_written_is_what_membrain_pick_reads(tmp_path: Path, count: int) -> None:
    columns = {"score": [1.0, 2, 3], "profile_0_nm": [5.0, 6, 7], "profile_m0p25_nm": [1.0, 1, 1]}
    one = Surface([[10, 20, 30], [10, 20, 40], [10, 50, 30]], [[0, 1, 2]], [[1, 0, 0]] * 3, columns)
    file = tmp_path / "a.h5"
    write_membrain_pick(file, [one] * count, 10.0, tomogram="TS_01.mrc", centres=[np.array([[10.0, 20, 35]])] * count)
    with h5py.File(file) as stored:
        group = stored if count == 1 else stored["0002"]
        assert group["points"][()].tolist() == POINTS.tolist()
        assert group["normals"][()].tolist() == [[0, 0, 1]] * 3
        assert group["normal_values"][()].tolist() == [[1, 5], [1, 6], [1, 7]]  # by their distance
        assert group["scores"][()].tolist() == [1, 2, 3]
        assert group["cluster_centers"][()].tolist() == [[3.5, 2, 1]]
        assert group["pixel_size"][()] == 10.0
        assert group["tomo_file"][()] == b"TS_01.mrc"
    assert len(read_membrain_pick(file).surfaces) == count
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"points": POINTS[:, :2]}, r"points has the shape \(3, 2\)"),
        ({"faces": [[0, 1, 3]]}, "vertices 0 to 3; there are 3"),
        ({"faces": [[0, 1, 0.5]]}, "whole numbers"),
        ({"points": np.full((3, 3), np.nan)}, "three finite numbers"),
        ({"normals": [[0.0, 0, 1]]}, "normals for 3 vertices"),
        ({"scores": [1.0]}, "column 'score'"),
        ({"cluster_centers": [1.0, 2]}, "cluster_centers"),
        ({"pixel_size": -1.0}, "must be positive"),
        ({"points": None}, "holds no meshes"),
        ({"scores": "text"}, "none of such a mesh"),
        ({"scores": np.zeros((1, 1, 1))}, "none of such a mesh"),
    ],
)
def test_damaged_containers_are_refused(tmp_path: Path, more: dict, message: str) -> None:
    file = container(tmp_path / "a.h5", **{"pixel_size": 10.0, **more})
    with pytest.raises(FormatError, match=message):
        read_membrain_pick(file)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"no HDF5 at all")
    with pytest.raises(FormatError, match="no HDF5 file"):
        read_membrain_pick(tmp_path / "a.h5")
    with pytest.raises(MissingError):
        read_membrain_pick(tmp_path / "b.h5")
    whole = container(tmp_path / "c.h5", pixel_size=10.0).read_bytes()
    (tmp_path / "c.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError):
        read_membrain_pick(tmp_path / "c.h5")


def test_more_than_may_be_read_is_refused_before_it_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("points", (10**9, 3), "f8", chunks=(1000, 3))
        file.create_dataset("faces", data=[[0, 1, 2]])
    with pytest.raises(FormatError, match="announces more than"):
        read_membrain_pick(tmp_path / "a.h5")


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    container(tmp_path / "other.h5", pixel_size=10.0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["points"] = h5py.ExternalLink("other.h5", "/points")
        file["faces"] = h5py.ExternalLink("other.h5", "/faces")
    with pytest.raises(FormatError, match="holds no meshes"):
        read_membrain_pick(tmp_path / "a.h5")


def test_meshes_of_different_pixel_sizes_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for k in range(2):
            for key, value in {**MESH, "pixel_size": 10.0 + k}.items():
                file.create_dataset(f"mb{k}/{key}", data=value)
    with pytest.raises(InputError, match="different pixel sizes"):
        read_membrain_pick(tmp_path / "a.h5")
    with pytest.raises(InputError, match="positive pixel size"):
        write_membrain_pick(tmp_path / "b.h5", [], 10.0)


def test_a_file_on_which_the_library_hangs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by fuzzing: with a few bytes changed, HDF5 does not come back; a small file has 5 seconds, here 2."""
    import zipfile

    with zipfile.ZipFile(Path(__file__).parents[1] / "references" / "damaged.zip") as archive:
        (tmp_path / "a.h5").write_bytes(archive.read("membrain_pick_1.h5"))
    monkeypatch.setattr(membrain_pick, "SECONDS", (2, 60))
    with pytest.raises(FormatError, match=r"a\.h5 .*damaged .*its limits are 2 s"):
        membrain_pick.read_membrain_pick(tmp_path / "a.h5")
