"""Picks on surfaces as RELION, STOPGAP and Dynamo read them: positions and angles by hand, from the files' own numbers.

The readers of this package take no part: numbers are taken from the text, and turned into matrices by scipy, and by
``eulerangles`` (A. Burt), which knows the conventions of RELION and Dynamo.

By hand: RELION's matrix Rz(rot) Ry(tilt) Rz(psi) of intrinsic rotations turns the tomogram's axes into those of the
particle, so that its rows are the particle's axes in the tomogram (x, y, z). With rot = 0 these are
x: (cos psi cos tilt, -sin psi cos tilt, sin tilt), y: (sin psi, cos psi, 0), z: (-cos psi sin tilt, sin psi sin tilt,
cos tilt).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile
from scipy.spatial.transform import Rotation

from volengine.io.picks import write_picks
from volengine.io.surfaces import SurfaceFacts
from volengine.tasks.surfaces.writing import Found, write_found

SIZE, SHAPE = 10.0, (40, 50, 60)
ROOT = np.sqrt(0.5)
CASES = {
    # normal z, y, x; rot; RELION's angles; the particle's x and z axis in the tomogram, x, y, z
    "along +z": ((1, 0, 0), 0.0, (0, 0, 0), (1, 0, 0), (0, 0, 1)),
    "along -z": ((-1, 0, 0), 0.0, (0, 180, 0), (-1, 0, 0), (0, 0, -1)),
    "along +y": ((0, 1, 0), 0.0, (0, 90, 90), (0, 0, 1), (0, 1, 0)),
    "along +x": ((0, 0, 1), 0.0, (0, 90, 180), (0, 0, 1), (1, 0, 0)),
    # between x and z: tilt 45, psi 180: x axis (-cos 45, 0, sin 45)
    "tilted": ((ROOT, 0, ROOT), 0.0, (0, 45, 180), (-ROOT, 0, ROOT), (ROOT, 0, ROOT)),
    # Rz(90) on the left: its first row is minus the second one without it, -(sin psi, cos psi, 0)
    "tilted and turned": ((ROOT, 0, ROOT), 90.0, (90, 45, 180), (0, 1, 0), (ROOT, 0, ROOT)),
    "along +z, turned": ((1, 0, 0), 90.0, (90, 0, 0), (0, -1, 0), (0, 0, 1)),
}


@pytest.fixture(params=[*CASES])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Write one pick at the place x = 123, y = 241, z = 305 angstrom in all formats."""
    normal, rot, *_ = CASES[request.param]
    facts = SurfaceFacts("7", "receptor", (SIZE,) * 3, (0.0,) * 3, SHAPE)
    one = Found(1, np.array([[305.0, 241, 123]]), np.array([normal], float), np.array([rot]), np.array([0.5]))
    picks, counts, notes = write_found(str(tmp_path / "a.star"), [one], (SIZE,) * 3, facts, "receptor", "relion")
    assert (counts, notes) == ({1: 1}, [])
    for name, format in (("five.star", "relion5"), ("gap.star", "stopgap"), ("a.tbl", "dynamo"), ("b.tbl", "dynamo0")):
        write_picks(tmp_path / name, picks, format)
    return request.param, tmp_path


def check(matrix: np.ndarray, name: str) -> None:
    """The columns of the matrix that turns the reference into the tomogram are the particle's axes."""
    normal, _, _, x_axis, z_axis = CASES[name]
    np.testing.assert_allclose(z_axis, normal[::-1])
    np.testing.assert_allclose(matrix[:, 2], z_axis, atol=1e-6)
    np.testing.assert_allclose(matrix[:, 0], x_axis, atol=1e-6)
    assert np.linalg.det(matrix) == pytest.approx(1)


@pytest.mark.parametrize("file", ["a.star", "five.star"])
def test_relion(case: tuple[str, Path], file: str) -> None:
    """Pixels from 0 in RELION 4; angstrom from the middle of the tomogram (half of its size) in RELION 5."""
    import eulerangles

    name, folder = case
    row = starfile.read(folder / file)["particles"].iloc[0]
    angles = [row[f"rlnAngle{k}"] for k in ("Rot", "Tilt", "Psi")]
    np.testing.assert_allclose(angles, CASES[name][2], atol=1e-6)
    check(Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().T, name)
    theirs = eulerangles.euler2matrix(np.array(angles), axes="zyz", intrinsic=True, right_handed_rotation=True)
    check(theirs.reshape(3, 3).T, name)
    if file == "a.star":
        assert [row[f"rlnCoordinate{k}"] for k in "XYZ"] == pytest.approx([12.3, 24.1, 30.5])
    else:
        at = [row[f"rlnCenteredCoordinate{k}Angst"] for k in "XYZ"]
        assert at == pytest.approx([123 - 300, 241 - 250, 305 - 200])


def test_stopgap(case: tuple[str, Path]) -> None:
    """Rz(psi) Rx(the) Rz(phi) of fixed axes turns the reference; whole pixels from 1, and the rest as a shift."""
    name, folder = case
    row = starfile.read(folder / "gap.star").iloc[0]
    check(Rotation.from_euler("zxz", [row["phi"], row["the"], row["psi"]], degrees=True).as_matrix(), name)
    assert [row[f"orig_{k}"] + row[f"{k}_shift"] for k in "xyz"] == pytest.approx([13.3, 25.1, 31.5])
    assert [row[f"orig_{k}"] for k in "xyz"] == [13, 25, 31]


@pytest.mark.parametrize(("file", "first"), [("a.tbl", 1), ("b.tbl", 0)])
def test_dynamo(case: tuple[str, Path], file: str, first: int) -> None:
    """Columns 7 to 9: tdrot, tilt, narot, the tomogram's axes into the particle's; 24 to 26: place."""
    import eulerangles

    name, folder = case
    row = np.array((folder / file).read_text().split(), float)
    check(Rotation.from_euler("zxz", row[6:9], degrees=True).as_matrix().T, name)
    theirs = eulerangles.euler2matrix(row[6:9], axes="zxz", intrinsic=False, right_handed_rotation=True)
    check(theirs.reshape(3, 3).T, name)
    assert row[23:26] + row[3:6] == pytest.approx(np.array([12.3, 24.1, 30.5]) + first)


def test_any_angles_are_the_same_rotation_in_all_programs(tmp_path: Path) -> None:
    import eulerangles

    rng = np.random.default_rng(1)
    normal = rng.normal(size=(50, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    facts = SurfaceFacts("7", "receptor", (SIZE,) * 3, (0.0,) * 3, SHAPE)
    one = Found(1, rng.uniform(50, 350, (50, 3)), normal, rng.uniform(-180, 180, 50), rng.uniform(size=50))
    picks, _, _ = write_found(str(tmp_path / "a.star"), [one], (SIZE,) * 3, facts, "receptor", "relion")
    write_picks(tmp_path / "gap.star", picks, "stopgap")
    write_picks(tmp_path / "a.tbl", picks, "dynamo")
    relion = starfile.read(tmp_path / "a.star")["particles"]
    angles = relion[[f"rlnAngle{k}" for k in ("Rot", "Tilt", "Psi")]].to_numpy()
    truth = np.swapaxes(Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix(), 1, 2)
    gap = starfile.read(tmp_path / "gap.star")[["phi", "the", "psi"]].to_numpy()
    np.testing.assert_allclose(Rotation.from_euler("zxz", gap, degrees=True).as_matrix(), truth, atol=1e-6)
    table = np.loadtxt(tmp_path / "a.tbl")[:, 6:9]
    theirs = eulerangles.convert_eulers(angles, "relion", "dynamo")
    for one_table in (table, theirs):
        matrix = Rotation.from_euler("zxz", one_table, degrees=True).as_matrix()
        np.testing.assert_allclose(np.swapaxes(matrix, 1, 2), truth, atol=1e-6)
    np.testing.assert_allclose(truth[:, ::-1, 2], normal, atol=1e-6)
