"""Points of the CryoET Data Portal: what each line means, what folders say, and what is no point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from volengine.core.errors import FormatError, InputError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks

A10 = (10.0, 10.0, 10.0)
POINT = {"type": "point", "location": {"x": 19.77, "y": 153.42, "z": 171.97}}
TURN = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]


def lines(path: Path, *points: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(p) + "\n" for p in points))
    return path


def test_a_location_is_a_voxel_in_the_order_x_y_z(tmp_path: Path) -> None:
    picks = read_picks(lines(tmp_path / "a.ndjson", POINT), voxel_size=A10)
    assert picks.position_vox.tolist() == [[171.97, 153.42, 19.77]]
    assert (picks.euler, picks.label, picks.tomogram) == (None, None, "a")
    with pytest.raises(InputError, match="voxel_size"):
        read_picks(tmp_path / "a.ndjson")


def test_the_matrix_turns_the_object_into_the_tomogram(tmp_path: Path) -> None:
    """A quarter turn about z: the object's x axis becomes the tomogram's y axis."""
    path = lines(tmp_path / "a.ndjson", {**POINT, "type": "orientedPoint", "xyz_rotation_matrix": TURN})
    picks = read_picks(path, voxel_size=A10)
    assert picks.euler is not None
    np.testing.assert_allclose(euler_to_matrix(picks.euler)[0] @ [1, 0, 0], [0, 1, 0], atol=1e-15)
    write_picks(tmp_path / "b.ndjson", picks)
    (point,) = map(json.loads, (tmp_path / "b.ndjson").read_text().splitlines())
    assert point["type"] == "orientedPoint"
    np.testing.assert_allclose(point["xyz_rotation_matrix"], TURN, atol=1e-15)


def test_relions_matrix_is_the_inverse_of_its_zyz_rotation(tmp_path: Path) -> None:
    """As the portal's own converter makes it, here with SciPy."""
    from scipy.spatial.transform import Rotation

    angles = np.random.default_rng(0).uniform(-180, 180, (5, 3))
    write_picks(tmp_path / "a.ndjson", Picks(np.zeros((5, 3)), voxel_size=A10, euler=angles))
    found = [json.loads(line)["xyz_rotation_matrix"] for line in (tmp_path / "a.ndjson").read_text().splitlines()]
    np.testing.assert_allclose(found, Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix(), atol=1e-12)


def test_instances_are_labels(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.ndjson", *({**POINT, "type": "instancePoint", "instance_id": i} for i in (7, 2)))
    picks = read_picks(path, voxel_size=A10)
    assert picks.label is not None
    assert picks.label.tolist() == [7, 2]
    write_picks(tmp_path / "b.ndjson", picks)
    assert read_picks(tmp_path / "b.ndjson", voxel_size=A10, tomogram="a") == picks
    both = {**POINT, "type": "orientedPoint", "xyz_rotation_matrix": TURN, "instance_id": 3}
    oriented = read_picks(lines(path, both), voxel_size=A10)
    assert oriented.label is not None
    assert (oriented.label.tolist(), oriented.euler is None) == ([3], False)


def test_the_portals_folders_say_run_spacing_and_object(tmp_path: Path) -> None:
    folder = tmp_path / "TS_026" / "Reconstructions" / "VoxelSpacing10.012" / "Annotations" / "101"
    path = lines(folder / "cytosolic_ribosome-1.0_point.ndjson", POINT)
    picks = read_picks(path)
    assert (picks.tomogram, picks.feature, picks.voxel_size) == ("TS_026", "cytosolic_ribosome", (10.012,) * 3)
    assert picks.position_vox.tolist() == [[171.97, 153.42, 19.77]]
    half = read_picks(path, voxel_size=(20.024,) * 3)
    np.testing.assert_allclose(half.position_vox, [[171.97 / 2, 153.42 / 2, 19.77 / 2]], rtol=1e-14)
    assert read_picks(path, voxel_size=A10).position_vox.tolist() == [[171.97, 153.42, 19.77]]  # the same, rounded


@pytest.mark.parametrize(
    ("second", "what"),
    [
        ({**POINT, "type": "box"}, "line 2 is no point"),
        ({"points": []}, "line 2 is no point"),
        ([1, 2], "line 2 is no point"),
        ({**POINT, "location": {"x": 1, "y": 2}}, "line 2: the location"),
        ({**POINT, "location": {"x": 1, "y": 2, "z": "3"}}, "line 2: the location"),
        ({**POINT, "location": {"x": 1, "y": 2, "z": float("nan")}}, "line 2: the location"),
        ({**POINT, "type": "orientedPoint"}, "line 2: xyz_rotation_matrix is None"),
        ({**POINT, "type": "orientedPoint", "xyz_rotation_matrix": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, "line 2: xyz"),
        ({**POINT, "type": "orientedPoint", "xyz_rotation_matrix": [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}, "line 2: xyz"),
        ({**POINT, "type": "instancePoint", "instance_id": 1.5}, "line 2: instance_id"),
        ({**POINT, "type": "instancePoint", "instance_id": 1}, "line 2: the type is instancePoint, but point"),
    ],
)
def test_what_is_no_point_is_refused_with_its_line(tmp_path: Path, second: object, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        read_picks(lines(tmp_path / "a.ndjson", POINT, second), voxel_size=A10)


def test_a_whole_json_file_is_refused_with_the_list_of_formats(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"points": [],\n "unit": "angstrom"}\n')
    with pytest.raises(FormatError, match="line 1 is damaged"):
        read_picks(tmp_path / "a.ndjson", voxel_size=A10)
    (tmp_path / "b.ndjson").write_text('{"boxes_3d": []}\n')
    with pytest.raises(FormatError, match=r"formats of picks are relion.*portal"):
        read_picks(tmp_path / "b.ndjson", voxel_size=A10)
