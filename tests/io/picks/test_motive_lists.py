"""Motive lists of STOPGAP, TOM and AV3, and ArtiaX's lists: 1-based positions, zxz angles, numbered tomograms."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from volengine.core.errors import FormatError, InputError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.io.picks import motive, read_all, read_picks, write_picks

A10 = (10.0, 10.0, 10.0)
COLUMNS = [
    *("motl_idx", "tomo_num", "object", "subtomo_num", "halfset", "orig_x", "orig_y", "orig_z", "score"),
    *("x_shift", "y_shift", "z_shift", "phi", "psi", "the", "class"),
]
ROW = "1 3 1 1 A 101 51 21 0.5 0.25 -0.5 1.5 10 20 30 2"
TURN = Rotation.from_euler("zxz", [10, 30, 20], degrees=True).as_matrix()
"""The pose of ROW: phi about z, then the about x, then psi about z, of fixed axes."""


def stopgap(path: Path, *rows: str, head: str = "") -> Path:
    labels = "".join(f"_{name}\n" for name in COLUMNS)
    path.write_text(f"{head}\ndata_stopgap_motivelist\n\nloop_\n{labels}\n" + "".join(f" {row}\n" for row in rows))
    return path


def motl(path: Path, *particles: dict[int, float], order: str = "<", machine: int = 6) -> Path:
    table = np.zeros((len(particles), 20), order + "f4")
    for row, particle in zip(table, particles, strict=True):
        for number, value in particle.items():
            row[number - 1] = value
    head = bytearray(512)
    head[0], head[3] = machine, 5
    head[4:16] = struct.pack(order + "3i", 20, len(particles), 1)
    path.write_bytes(bytes(head) + table.tobytes())
    return path


PARTICLE = {
    1: 0.5,
    4: 1,
    5: 3,
    6: 1,
    8: 101,
    9: 51,
    10: 21,
    11: 0.25,
    12: -0.5,
    13: 1.5,
    17: 10,
    18: 20,
    19: 30,
    20: 2,
}


def check_row(picks: Picks) -> None:
    """The one particle of ROW: x = 101 + 0.25 - 1, y = 51 - 0.5 - 1, z = 21 + 1.5 - 1."""
    assert picks.position_vox.tolist() == [[21.5, 49.5, 100.25]]
    assert picks.euler is not None
    np.testing.assert_allclose(euler_to_matrix(picks.euler)[0], TURN, atol=1e-12)
    assert picks.weight is not None
    assert picks.weight.tolist() == [0.5]
    assert picks.tomogram == "3"
    assert [picks.extra[k].tolist() for k in ("class", "object", "subtomo_num")] == [[2], [1], [1]]


def test_a_stopgap_row_has_its_place_and_pose(tmp_path: Path) -> None:
    picks = read_picks(stopgap(tmp_path / "a.star", ROW), voxel_size=A10)
    check_row(picks)
    assert picks.extra["halfset"].tolist() == ["A"]


@pytest.mark.parametrize(("order", "machine"), [("<", 6), (">", 5), (">", 3)])
def test_a_particle_of_a_motl_has_its_place_and_pose(tmp_path: Path, order: str, machine: int) -> None:
    check_row(read_picks(motl(tmp_path / "a.em", PARTICLE, order=order, machine=machine), voxel_size=A10))


def test_stopgaps_angles_are_dynamos_with_the_other_sign(tmp_path: Path) -> None:
    """``sg_motl_stopgap_to_dynamo``: tdrot = -psi, tilt = -the, narot = -phi."""
    numbers = ["0"] * 26
    numbers[6:9] = ["-20", "-30", "-10"]
    numbers[19], numbers[23:26] = "3", ["101.25", "50.5", "22.5"]
    (tmp_path / "a.tbl").write_text(" ".join(numbers) + "\n")
    dynamo = read_picks(tmp_path / "a.tbl", voxel_size=A10)
    picks = read_picks(stopgap(tmp_path / "a.star", ROW), voxel_size=A10)
    assert dynamo.position_vox.tolist() == picks.position_vox.tolist()
    assert dynamo.euler is not None
    assert picks.euler is not None
    np.testing.assert_allclose(euler_to_matrix(dynamo.euler), euler_to_matrix(picks.euler), atol=1e-12)


def test_written_positions_are_whole_pixels_and_shifts(tmp_path: Path) -> None:
    """STOPGAP cuts boxes at floor(orig), so a place of 99.75 is pixel 101 (from 1) with a shift of -0.25."""
    write_picks(tmp_path / "a.star", Picks([[20, 50.5, 99.75]], voxel_size=A10, tomogram="7"), "stopgap")
    lines = (tmp_path / "a.star").read_text().splitlines()
    row = dict(zip(COLUMNS, lines[-1].split(), strict=True))
    assert [lines.index(f"_{name}") for name in COLUMNS] == list(range(len(lines) - 17, len(lines) - 1))
    assert [row[k] for k in ("orig_x", "orig_y", "orig_z")] == ["101", "51", "21"]
    assert [float(row[k]) for k in ("x_shift", "y_shift", "z_shift")] == [-0.25, 0.5, 0]
    assert (row["tomo_num"], row["halfset"]) == ("7", "A")


def test_a_written_motl_is_what_stopgap_and_artiax_read(tmp_path: Path) -> None:
    picks = Picks([[20, 50.5, 99.75]], voxel_size=A10, tomogram="7", weight=[0.5], euler=[[80, 30, -110]])
    write_picks(tmp_path / "a.em", picks)
    data = (tmp_path / "a.em").read_bytes()
    assert (data[0], data[3], struct.unpack("<3i", data[4:16]), len(data)) == (6, 5, (20, 1, 1), 512 + 80)
    row = np.frombuffer(data, "<f4", 20, 512)
    np.testing.assert_allclose(row[[0, 4, 7, 8, 9, 10, 11, 12]], [0.5, 7, 101, 51, 21, -0.25, 0.5, 0])
    np.testing.assert_allclose(row[16:19], [10, 20, 30], atol=1e-5)  # phi, psi, theta


def test_names_of_tomograms_are_in_the_map_beside_the_list(tmp_path: Path) -> None:
    for path in (stopgap(tmp_path / "a.star", ROW), motl(tmp_path / "b.em", PARTICLE)):
        assert list(read_all(path, voxel_size=A10)) == ["3"]
        assert read_picks(path, voxel_size=A10, tomogram="TS_03").tomogram == "TS_03"  # one tomogram, the caller's name
        path.with_suffix(".doc").write_text("3 /data/TS_03.rec\n4 /data/TS_04.rec\n")
        assert list(read_all(path, voxel_size=A10)) == ["TS_03"]
        with pytest.raises(InputError, match="no tomogram 'TS_04'; there are 'TS_03'"):
            read_picks(path, voxel_size=A10, tomogram="TS_04")
        path.with_suffix(".doc").write_text("three TS_03\n")
        with pytest.raises(FormatError, match="line 1: a number and a file name"):
            read_picks(path, voxel_size=A10)


@pytest.mark.parametrize("name", ["a.star", "a.em"])
def test_several_tomograms_come_back_by_name(tmp_path: Path, name: str) -> None:
    format = "stopgap" if name == "a.star" else "motl"
    tables = [Picks(np.full((n, 3), n + 0.5), voxel_size=A10, tomogram=t) for t, n in (("TS_2", 2), ("TS_1", 3))]
    write_picks(tmp_path / name, tables, format)
    found = read_all(tmp_path / name, voxel_size=A10)
    assert {k: len(v) for k, v in found.items()} == {"TS_2": 2, "TS_1": 3}
    assert found["TS_1"].position_vox.tolist() == tables[1].position_vox.tolist()
    numbered = [t.with_(tomogram=n) for t, n in zip(tables, ("12", "5"), strict=True)]
    write_picks(tmp_path / name, numbered, format)
    assert list(read_all(tmp_path / name, voxel_size=A10)) == ["12", "5"]
    assert (tmp_path / "a.doc").read_text() == "12 12.mrc\n5 5.mrc\n"
    for bad in ("", "a/b"):
        with pytest.raises(InputError, match=r"picks\.with_\(tomogram"):
            write_picks(tmp_path / name, tables[0].with_(tomogram=bad), format)


def test_volengines_own_stopgap_list_comes_back_completely(tmp_path: Path) -> None:
    picks = Picks(
        [[1, 2.25, 3], [4, 5, 6.5]],
        voxel_size=(8, 8, 8),
        origin=(1, 2, 3),
        shape=(9, 9, 9),
        tomogram="TS 1",
        feature="f",
        weight=[0, 0],
        extra={"halfset": ["A", "B"], "class": [3, 4]},
    )
    write_picks(tmp_path / "a.star", picks, "stopgap")
    assert read_picks(tmp_path / "a.star") == picks
    plain = picks.with_(weight=None, extra={})
    write_picks(tmp_path / "a.star", plain, "stopgap")
    assert read_picks(tmp_path / "a.star") == plain


@given(
    position=st.lists(st.tuples(*[st.floats(-50, 6000)] * 3), max_size=5),
    angles=st.lists(st.tuples(*[st.floats(-360, 360)] * 3), min_size=5, max_size=5),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize(
    ("name", "format", "voxel", "degree"),
    [("a.star", "stopgap", 1e-11, 1e-11), ("a.em", "motl", 1e-7, 1e-4), ("a.tsv", "artiax", 1e-11, 1e-11)],
)
def test_places_and_poses_come_back(
    tmp_path: Path, name: str, format: str, voxel: float, degree: float, position: list[float], angles: list[float]
) -> None:
    n = len(position)
    picks = Picks(
        np.array(position).reshape(n, 3), voxel_size=A10, tomogram="t", euler=np.array(angles[:n]).reshape(n, 3)
    )
    write_picks(tmp_path / name, picks, format)
    back = read_picks(tmp_path / name, format, voxel_size=A10, tomogram="t")
    np.testing.assert_allclose(back.position_vox, picks.position_vox, atol=voxel, rtol=0)
    found = np.zeros((n, 3)) if back.euler is None else back.euler
    if back.euler is None:  # zeros in the file: phi 90 - rot and so on are all zero
        found = motive.to_euler(np.zeros(n), np.zeros(n), np.zeros(n))
    assert picks.euler is not None
    turned = Rotation.from_matrix(euler_to_matrix(found)) * Rotation.from_matrix(euler_to_matrix(picks.euler)).inv()
    assert not n or np.degrees(turned.magnitude()).max() < degree


def test_an_artiax_list_counts_from_0(tmp_path: Path) -> None:
    """ArtiaX subtracts 1 from motive lists, and nothing from its own."""
    path = tmp_path / "a.tsv"
    head = "pos_x\tpos_y\tpos_z\tshift_x\tshift_y\tshift_z\tphi\tthe\tpsi\tclass\tmy score\n"
    path.write_text(head + "100\t50\t20\t0.25\t-0.5\t1.5\t10\t30\t20\t2\t0.5\n")
    picks = read_picks(path, voxel_size=A10)
    assert picks.position_vox.tolist() == [[21.5, 49.5, 100.25]]
    assert picks.euler is not None
    np.testing.assert_allclose(euler_to_matrix(picks.euler)[0], TURN, atol=1e-12)
    assert (picks.extra["class"].tolist(), picks.extra["my_score"].tolist()) == ([2], [0.5])
    path.write_text(head + "100\t50\n")
    with pytest.raises(FormatError, match="line 2: 2 values for 11 columns"):
        read_picks(path, voxel_size=A10)
    path.write_text("1\t2\t3\n")  # a TSV of Ais
    assert read_picks(path, voxel_size=A10).position_vox.tolist() == [[3, 2, 1]]
    with pytest.raises(FormatError, match="does not name each column"):
        read_picks(path, "artiax", voxel_size=A10)


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([ROW.replace("101", "x")], "line 22: orig_x is 'x'"),
        ([ROW.replace("1 3 1", "1 3.5 1", 1)], "line 22: tomo_num is 3.5"),
        ([ROW, ROW.replace(" 51 ", " nan ")], "line 23: the position"),
        ([ROW[:-2]], "line 22: 15 values"),
        ([ROW, ROW[:-1] + "1"], "line 23: motl_idx 1 is the particle of line 22 once more"),
        ([ROW[:-1] + "1.5"], "line 22: class is 1.5"),
    ],
)
def test_damage_of_a_stopgap_list_is_named_with_its_line(tmp_path: Path, rows: list[str], what: str) -> None:
    with pytest.raises(FormatError, match=what):
        read_picks(stopgap(tmp_path / "a.star", *rows), voxel_size=A10)


def test_a_star_file_of_others_is_no_stopgap_list(tmp_path: Path) -> None:
    (tmp_path / "a.star").write_text("data_stopgap_wedgelist\n\nloop_\n_tomo_num\n1\n")
    with pytest.raises(FormatError, match=r"no block data_stopgap_motivelist.*formats of picks are"):
        read_picks(tmp_path / "a.star", "stopgap", voxel_size=A10)
    path = stopgap(tmp_path / "b.star", ROW)
    path.write_text(path.read_text().replace("_orig_z\n", "_orig_w\n"))
    with pytest.raises(FormatError, match="no column _orig_z"):
        read_picks(path, voxel_size=A10)


def test_an_em_file_that_is_no_motive_list_or_damaged_is_refused(tmp_path: Path) -> None:
    path = motl(tmp_path / "a.em", PARTICLE, PARTICLE)
    data = path.read_bytes()
    for changed, what in (
        (data[:-4], "says 2 particles, which are 672 bytes, but the file has 668"),
        (data + b"\0", "says 2 particles"),
        (data[:4] + struct.pack("<3i", 40, 1, 1) + data[16:], "40 x 1 x 1 values of type 5"),
        (data[:4] + struct.pack("<3i", 20, 2, 7) + data[16:], "20 x 2 x 7 values"),
        (data[:3] + b"\x02" + data[4:], "values of type 2"),
        (b"\x09" + data[1:], "header of an EM file"),
        (data[:100], "header of an EM file"),
        (data[: 512 + 80 + 28] + struct.pack("<f", np.nan) + data[512 + 80 + 32 :], "particle 2: a value"),
        (data[: 512 + 16] + struct.pack("<f", 2.5) + data[512 + 20 :], "particle 1: the number of the tomogram"),
    ):
        path.write_bytes(changed)
        with pytest.raises(FormatError, match=what):
            read_picks(path, voxel_size=A10)


def test_rows_that_programs_use_otherwise_do_not_stop_a_motl(tmp_path: Path) -> None:
    picks = read_picks(motl(tmp_path / "a.em", {**PARTICLE, 6: 0.5, 14: np.nan}), voxel_size=A10)
    assert picks.position_vox.tolist() == [[21.5, 49.5, 100.25]]
    assert picks.extra["object"].tolist() == [0.5]


def test_what_a_motive_list_cannot_hold_is_refused(tmp_path: Path) -> None:
    picks = Picks([[1, 2, 3]], voxel_size=A10, tomogram="t")
    for changes, what in (
        ({"extra": {"class": ["a"]}}, "'class' of a motive list holds whole numbers"),
        ({"extra": {"object": [-1]}}, "'object'"),
        ({"extra": {"halfset": ["a b"]}}, "'halfset'"),
    ):
        with pytest.raises(InputError, match=what):
            write_picks(tmp_path / "a.star", picks.with_(**changes), "stopgap")
    with pytest.raises(InputError, match="float32 cannot hold positions beyond"):
        write_picks(tmp_path / "a.em", picks.with_(position_vox=[[1, 2, 1e8]]))
