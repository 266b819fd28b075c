"""EMAN2's boxes and particles: centres by tool, classes, and what cannot be known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks

A10 = (10.0, 10.0, 10.0)
ODD = (101, 200, 201)
"""z, y, x: centres n // 2 = 50, 100, 100; n / 2 = 50.5, 100, 100.5."""


def info(path: Path, *boxes: object, **more: Any) -> Path:
    path.write_text(json.dumps({"boxes_3d": list(boxes), **more}))
    return path


def test_boxes_count_unbinned_pixels_from_the_centre(tmp_path: Path) -> None:
    """10 pixels of 2 angstrom are 2 voxels of 10 angstrom: x = 100 + 2, y = 100 + 4, z = 50 - 1."""
    path = info(tmp_path / "TS_01_info.json", [10, 20, -5, "manual", 0, 0], apix_unbin=2.0)
    picks = read_picks(path, voxel_size=A10, shape=ODD)
    assert picks.position_vox.tolist() == [[49, 104, 102]]
    assert (picks.tomogram, picks.weight, picks.shape) == ("TS_01", None, ODD)
    for known, what in (
        ({}, "voxel_size .* and shape"),
        ({"voxel_size": A10}, "shape"),
        ({"shape": ODD}, "voxel_size"),
    ):
        with pytest.raises(InputError, match=rf"2 angstrom from the centre.*: set {what}"):
            read_picks(path, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "z", "x"),
    [
        ("manual", 49, 102),
        ("fromlst", 49, 102),
        ("tm", 49.5, 102.5),
        ("tomoseg", 49.5, 102.5),
        ("tomobox", 49.5, 102.5),
    ],
)
def test_the_centre_differs_by_tool(tmp_path: Path, method: str, z: float, x: float) -> None:
    """The boxer counts from n // 2, template matching, segmentation and the network picker from n / 2."""
    path = info(tmp_path / "a_info.json", [10, 20, -5, method, 0, 0], apix_unbin=2.0)
    assert read_picks(path, voxel_size=A10, shape=ODD).position_vox.tolist() == [[z, 104, x]]
    even = read_picks(path, voxel_size=A10, shape=(100, 200, 200))
    assert even.position_vox.tolist() == [[49, 104, 102]]


def test_without_apix_unbin_boxes_are_voxels(tmp_path: Path) -> None:
    path = info(tmp_path / "a.json", [30, 20, 10], [3, 2, 1, "tm", 0.5, 1, 99.0], [1, 1, 1, "manual"])
    picks = read_picks(path, voxel_size=A10)
    assert picks.position_vox.tolist() == [[10, 20, 30], [1, 2, 3], [1, 1, 1]]
    assert picks.weight is not None
    assert picks.weight.tolist() == [0, 0.5, 0]
    with pytest.raises(InputError, match="voxel_size"):
        read_picks(path)


def test_classes_have_names(tmp_path: Path) -> None:
    classes = {"0": {"name": "ribosome", "boxsize": 32}, "3": {"name": "apoferritin", "boxsize": 16}, "4": "old"}
    one = info(tmp_path / "a.json", [1, 2, 3, "manual", 0.0, 3], class_list=classes)
    picks = read_picks(one, voxel_size=A10)
    assert (picks.feature, picks.extra["class"].tolist()) == ("apoferritin", [3])
    boxes = [[1, 2, 3, "manual", 0.0, k] for k in (3, 0, 7, 4)]
    several = read_picks(info(tmp_path / "b.json", *boxes, class_list=classes), voxel_size=A10)
    assert several.extra["class_name"].tolist() == ["apoferritin", "ribosome", "particles_07", "old"]
    write_picks(tmp_path / "c.json", several.with_(shape=ODD), "eman2")
    data = json.loads((tmp_path / "c.json").read_text())
    assert {k: v["name"] for k, v in data["class_list"].items()} == {
        "3": "apoferritin",
        "0": "ribosome",
        "7": "particles_07",
        "4": "old",
    }
    assert read_picks(tmp_path / "c.json") == several.with_(shape=ODD)
    named = several.with_(extra={"class_name": several.extra["class_name"]}, shape=ODD)
    write_picks(tmp_path / "d.json", named, "eman2")
    assert read_picks(tmp_path / "d.json") == named
    mixed = {"class": [1, 1, 1, 1], "class_name": ["a", "b", "a", "a"]}
    with pytest.raises(InputError, match="several names"):
        write_picks(tmp_path / "e.json", several.with_(extra=mixed, shape=ODD), "eman2")


@given(
    position=st.lists(st.tuples(*[st.floats(-50, 5000)] * 3), max_size=5),
    shape=st.tuples(*[st.integers(1, 5000)] * 3),
    size=st.floats(0.5, 50),
    unit=st.one_of(st.none(), st.floats(0.5, 50)),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_boxes_come_back(
    tmp_path: Path, position: list[float], shape: tuple[int, int, int], size: float, unit: float | None
) -> None:
    picks = Picks(
        np.array(position).reshape(-1, 3), voxel_size=(size,) * 3, origin=(1, 2, 3), shape=shape, tomogram="TS__1",
        feature="f", weight=np.arange(len(position)),
    )  # fmt: skip
    write_picks(tmp_path / "a.json", picks, "eman2", pixel_size=unit)
    back = read_picks(tmp_path / "a.json")
    np.testing.assert_allclose(back.position_vox, picks.position_vox, atol=1e-10, rtol=0)
    assert back.with_(position_vox=picks.position_vox) == picks
    data = json.loads((tmp_path / "a.json").read_text())
    del data["volengine"]
    (tmp_path / "b.json").write_text(json.dumps(data))
    plain = read_picks(tmp_path / "b.json", voxel_size=picks.voxel_size, shape=shape)
    np.testing.assert_allclose(plain.position_vox, picks.position_vox, atol=1e-10, rtol=0)


def test_volengines_own_file_on_another_grid_needs_its_shape(tmp_path: Path) -> None:
    write_picks(tmp_path / "a.json", Picks([[10, 20, 30]], voxel_size=A10, shape=ODD, tomogram="t"), "eman2")
    with pytest.raises(InputError, match="set shape"):
        read_picks(tmp_path / "a.json", voxel_size=(20, 20, 20))
    back = read_picks(tmp_path / "a.json", voxel_size=(20, 20, 20), shape=(50, 100, 100))
    assert back.position_vox.tolist() == [[25 - 20, 50 - 40, 50 - 35]]


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ([1, 2], "box 1 .* must begin with x, y and z"),
        ([1, 2, "3"], "box 1 .* must begin"),
        ([1, 2, float("inf")], "box 1 .* must begin"),
        ("1 2 3", "box 1 .* must begin"),
        ([1, 2, 3, 4, 5], "box 1 .* the method and a score"),
        ([1, 2, 3, "manual", "high"], "box 1 .* the method and a score"),
        ([1, 2, 3, "manual", 0.0, 1.5], "box 1 .* the class is 1.5"),
        ([1, 2, 3, "manual", 0.0, -1], "box 1 .* the class is -1"),
        ([1, 2, 3, "manual", 0.0, float("nan")], "box 1 .* the class is nan"),
        ([1, 2, 3, "e2tomo_annotate_stat", 0.0, 0], "box 1 .* e2tomo_annotate"),
    ],
)
def test_a_damaged_box_is_named(tmp_path: Path, box: object, what: str) -> None:
    path = info(tmp_path / "a.json", [1, 2, 3, "manual", 0.0, 0], box, apix_unbin=1.0)
    with pytest.raises(FormatError, match=what):
        read_picks(path, voxel_size=A10, shape=ODD)


def test_an_info_file_without_boxes_is_not_0_picks(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"apix_unbin": 2.0, "tlt_params": []}')
    for format in (None, "eman2"):
        with pytest.raises(FormatError, match="formats of picks are relion"):
            read_picks(tmp_path / "a.json", format, voxel_size=A10, shape=ODD)
    for unit in (0, "2", -1, True):
        with pytest.raises(FormatError, match="apix_unbin is"):
            read_picks(info(tmp_path / "a.json", [1, 2, 3], apix_unbin=unit), voxel_size=A10, shape=ODD)


def test_what_a_box_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    picks = Picks([[1, 2, 3]], voxel_size=A10, shape=ODD, tomogram="t")
    with pytest.raises(InputError, match="counts from the centre of 't'"):
        write_picks(tmp_path / "a.json", picks.with_(shape=None), "eman2")
    with pytest.raises(InputError, match="one pixel size"):
        write_picks(tmp_path / "a.json", picks.with_(voxel_size=(10, 10, 12)), "eman2")


def stack(path: Path, *headers: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for number, header in enumerate(headers):
            group = file.create_group(f"MDF/images/{number}")
            for key, value in header.items():
                group.attrs[f"EMAN.{key}"] = value
    return path


def test_particles_of_a_stack_count_their_pixels_from_the_centre(tmp_path: Path) -> None:
    """10 pixels of 5 angstrom are 5 voxels of 10 angstrom; particle 10 comes after particle 9."""
    header = {"ptcl_source_coord": np.array([10.0, 20.0, -5.0]), "apix_x": 5.0}
    headers = [{**header, "ptcl_source_coord": np.array([10.0 + 2 * i, 20, -5])} for i in range(11)]
    path = stack(tmp_path / "TS_01__ribosome.hdf", *headers)
    picks = read_picks(path, voxel_size=A10, shape=ODD)
    assert picks.position_vox.tolist() == [[50 - 2.5, 100 + 10, 100 + 5 + i] for i in range(11)]
    assert (picks.tomogram, picks.feature) == ("TS_01", "ribosome")
    with pytest.raises(InputError, match=r"5 angstrom from the centre.*set shape"):
        read_picks(path, voxel_size=A10)
    with pytest.raises(InputError, match="eman2-hdf are read and not written"):
        write_picks(path, picks)


def test_stacks_that_do_not_say_where_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf"
    known = {"voxel_size": A10, "shape": ODD}
    for headers, what in (
        ([{"apix_x": 5.0}], "particle 0 .* is missing"),
        ([{"ptcl_source_coord": [1.0, 2.0], "apix_x": 5.0}], r"particle 0 .* is \[1\.0, 2\.0\]"),
        ([{"ptcl_source_coord": [1.0, 2.0, 3.0]}], "particle 0 .* pixel size"),
        ([{"ptcl_source_coord": "here", "apix_x": 5.0}], "damaged"),
        ([], "no group MDF/images"),
    ):
        with pytest.raises(FormatError, match=what):
            read_picks(stack(path, *headers), **known)  # type: ignore[arg-type]
    path.write_bytes(b"not HDF5")
    with pytest.raises(FormatError, match="no HDF5 file"):
        read_picks(path, **known)  # type: ignore[arg-type]
    stack(path, {"apix_x": 5.0})
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(FormatError, match="damaged"):
        read_picks(path, **known)  # type: ignore[arg-type]
    with pytest.raises(MissingError):
        read_picks(tmp_path / "none.hdf", **known)  # type: ignore[arg-type]
