"""What a table of picks must not contradict itself in, and what is no pose. Values by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.io.picks import read_all, read_picks, write_picks
from volengine.io.picks.of_volumes import read_of
from volengine.io.picks.rows import Known

A10 = (10.0, 10.0, 10.0)
NAN = float("nan")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# -- positions in two units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("z,y,x,z_a,y_a,x_a", "1,2,3,10,20,30"),
        ("z,y,x,z_angstrom,y_angstrom,x_angstrom", "1,2,3,10,20,30"),
        ("z_vox,y_vox,x_vox,z_ang,y_ang,x_ang", "1,2,3,10.4,20,29.6"),  # rounded
        ("z,y,x,z_a", "1,2,3,10"),
    ],
)
def test_positions_in_two_units_that_agree(tmp_path: Path, header: str, row: str) -> None:
    path = written(tmp_path / "a.csv", f"{header}\n{row}\n")
    assert read_picks(path, voxel_size=A10).position_vox.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("row", ["1,2,3,10,20,36", "1,2,3,11,20,30"])
def test_positions_in_two_units_that_contradict_each_other_are_refused(tmp_path: Path, row: str) -> None:
    path = written(tmp_path / "a.csv", f"z,y,x,z_a,y_a,x_a\n4,5,6,40,50,60\n{row}\n")
    with pytest.raises(FormatError, match=r"pick 1 \(counted from 0\) is at .* its voxels of 10, 10, 10 angstrom"):
        read_picks(path, voxel_size=A10)
    with pytest.raises(FormatError, match="pick 1"):
        read_of(path, {"a": Known(A10, shape=(40, 40, 40))})


def test_the_other_voxel_size_is_found(tmp_path: Path) -> None:
    """Voxels of 8 A: with 10 A the two are not the same places."""
    path = written(tmp_path / "a.csv", "z,y,x,z_a,y_a,x_a\n10,20,30,80,160,240\n")
    assert read_picks(path, voxel_size=(8, 8, 8)).position_vox.tolist() == [[10, 20, 30]]
    with pytest.raises(FormatError, match="Is the voxel size or the origin another one"):
        read_picks(path, voxel_size=A10)


def test_the_origin_belongs_to_positions_in_angstrom(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "z,y,x,z_a,y_a,x_a\n1,2,3,110,120,130\n")
    assert read_picks(path, voxel_size=A10, origin=(100, 100, 100)).position_vox.tolist() == [[1, 2, 3]]
    with pytest.raises(FormatError, match="origin"):
        read_picks(path, voxel_size=A10)


def test_our_own_file_in_which_one_unit_was_changed_is_refused(tmp_path: Path) -> None:
    picks = Picks([[1.25, 2, 3]], (7.84, 7.84, 7.84), origin=(33, -5, 0.5), shape=(9, 9, 9), tomogram="T")
    path = tmp_path / "a.csv"
    write_picks(path, picks)
    assert read_picks(path) == picks
    text = path.read_text()
    (row,) = (line for line in text.splitlines() if line.startswith("T,"))
    cells = row.split(",")
    cells[1] = "4.25"  # z_vox, in a spreadsheet
    path.write_text(text.replace(row, ",".join(cells)))
    with pytest.raises(FormatError, match="correct the columns"):
        read_picks(path)


# -- poses -----------------------------------------------------------------------------------------------------------


def star(labels: str, *rows: str) -> str:
    names = [f"_rlnCoordinate{a}" for a in "XYZ"] + [f"_rln{label}" for label in labels.split()]
    return "data_particles\n\nloop_\n" + "\n".join([*names, *(f"1 2 3 {row}" for row in rows)]) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.star", star("AngleTilt AnglePsi", "10 20"), "has _rlnAngleTilt, _rlnAnglePsi, but not _rlnAngleRot"),
        ("a.star", star("AngleRot", "10"), "but not _rlnAngleTilt, _rlnAnglePsi"),
        (
            "a.star",
            star("TomoSubtomogramRot TomoSubtomogramTilt", "1 2"),
            "but not _rlnTomoSubtomogramPsi",
        ),
        ("a.csv", "z,y,x,tilt,psi\n1,2,3,10,20\n", "columns tilt, psi, but not rot"),
        ("a.csv", "z,y,x,rot_deg,psi_deg\n1,2,3,10,20\n", "columns rot_deg, psi_deg, but not tilt_deg"),
        ("a.csv", "z,y,x,nz,ny\n1,2,3,0,1\n", "but not nx"),
        ("a.csv", "z,y,x,normal_z\n1,2,3,0\n", "but not normal_y, normal_x"),
    ],
)
def test_a_part_of_a_pose_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_picks(written(tmp_path / name, text), voxel_size=A10)


def test_a_column_that_may_mean_something_else_is_kept(tmp_path: Path) -> None:
    picks = read_picks(written(tmp_path / "a.csv", "z,y,x,tilt\n1,2,3,10\n"), voxel_size=A10)
    assert picks.euler is None
    assert picks.extra["tilt"].tolist() == [10]


def test_stopgap_lists_need_all_angles(tmp_path: Path) -> None:
    text = "data_stopgap_motivelist\n\nloop_\n_tomo_num\n_orig_x\n_orig_y\n_orig_z\n_the\n1 2 3 4 90\n"
    with pytest.raises(FormatError, match="no column _phi"):
        read_picks(written(tmp_path / "a.star", text), voxel_size=A10)
    text = text.replace("_the\n", "").replace(" 90\n", "\n")
    assert read_picks(written(tmp_path / "a.star", text), voxel_size=A10).euler is None


FILES = {
    "a.star": star("AngleRot AngleTilt AnglePsi", "10 20 30", "{}"),
    "a.csv": "z,y,x,rot,tilt,psi\n1,2,3,1,2,3\n1,2,3,{}\n",
    "n.csv": "z,y,x,nz,ny,nx\n1,2,3,0,0,1\n1,2,3,{}\n",
    "a.tbl": "\n".join(" ".join(["1"] * 6 + [angles] + ["1"] * 17) for angles in ("1 2 3", "{}")),
    "a.tsv": "pos_x\tpos_y\tpos_z\tshift_x\tshift_y\tshift_z\tphi\tthe\tpsi\n1\t2\t3\t0\t0\t0\t1\t2\t3\n"
    "1\t2\t3\t0\t0\t0\t{}\n",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("angles", ["nan nan nan", "0 nan 0", "inf 0 0"])
def test_angles_that_are_no_numbers_are_no_pose(tmp_path: Path, name: str, angles: str) -> None:
    separator = {".csv": ",", ".tsv": "\t"}.get(Path(name).suffix, " ")
    text = FILES[name].format(angles.replace(" ", separator))
    with pytest.raises(FormatError, match=r"line \d+: the (angles|normal) .* (nan|inf).*no pose. Remove the 1 pick "):
        read_picks(written(tmp_path / name, text), voxel_size=A10)
    good = FILES[name].format(separator.join("010"))
    assert read_picks(written(tmp_path / name, good), voxel_size=A10).orientation is not None


def test_angles_of_which_none_is_known_are_no_column(tmp_path: Path) -> None:
    text = star("AngleRot AngleTilt AnglePsi", "nan nan nan", "nan nan nan")
    picks = read_picks(written(tmp_path / "a.star", text), voxel_size=A10)
    assert picks.euler is None
    assert len(picks) == 2
    write_picks(tmp_path / "b.csv", Picks([[1, 2, 3]], A10, tomogram="T", euler=[[0, np.nan, 0]]))
    with pytest.raises(FormatError, match="no pose"):
        read_picks(tmp_path / "b.csv")


# -- names, numbers, optics ----------------------------------------------------------------------------------------


def test_each_tomogram_of_a_set_is_an_optics_group_of_its_name(tmp_path: Path) -> None:
    """As RELION makes them (ParticleSet::read); tomograms.star names the same groups."""
    starfile = pytest.importorskip("starfile")
    one = Picks([[1, 2, 3], [4, 5, 6]], A10, shape=(40, 50, 60), tomogram="TS_01")
    two = one[:1].with_(tomogram="TS_02")
    write_picks(tmp_path / "r_optimisation_set.star", [one, two, two.with_(tomogram="TS_03", voxel_size=(8, 8, 8))])
    found = starfile.read(tmp_path / "r_particles.star")
    optics, particles = found["optics"], found["particles"]
    assert optics["rlnOpticsGroup"].tolist() == [1, 2, 3]
    assert optics["rlnOpticsGroupName"].tolist() == ["TS_01", "TS_02", "TS_03"]
    assert optics["rlnTomoTiltSeriesPixelSize"].tolist() == [10, 10, 8]
    assert particles["rlnOpticsGroup"].tolist() == [1, 1, 2, 3]
    tomograms = starfile.read(tmp_path / "r_tomograms.star")["global"]
    assert tomograms["rlnOpticsGroupName"].tolist() == tomograms["rlnTomoName"].tolist() == ["TS_01", "TS_02", "TS_03"]
    back = read_all(tmp_path / "r_optimisation_set.star")
    assert [p.voxel_size[0] for p in back.values()] == [10, 10, 8]
    write_picks(tmp_path / "p.star", [one, two], "relion5")  # one table: a group for each pixel size
    assert starfile.read(tmp_path / "p.star")["particles"]["rlnOpticsGroup"].tolist() == [1, 1, 1]


def test_a_file_that_is_named_as_eman2_looks_for_it_is_written_for_eman2(tmp_path: Path) -> None:
    picks = Picks([[1, 2, 3]], A10, shape=(40, 50, 60), tomogram="TS_01")
    write_picks(tmp_path / "TS_01_info.json", picks)
    assert '"boxes_3d"' in (tmp_path / "TS_01_info.json").read_text()
    write_picks(tmp_path / "TS_01.json", picks)
    assert '"points"' in (tmp_path / "TS_01.json").read_text()
    with pytest.raises(InputError, match="EMAN2 counts from the centre"):
        write_picks(tmp_path / "TS_02_info.json", picks.with_(shape=None))
    write_picks(tmp_path / "TS_03_info.json", picks, "copick")
    assert '"points"' in (tmp_path / "TS_03_info.json").read_text()


def test_lists_of_points_may_end_with_xyz(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", "1 2 3\n4.5 5 6\n")
    assert read_picks(path, voxel_size=A10).position_vox.tolist() == [[3, 2, 1], [6, 5, 4.5]]
    molecule = written(tmp_path / "m.xyz", "2\nwater\nO 0 0 0\nH 0 0 1\n")
    with pytest.raises(FormatError, match="line 1: 1 values; a list of points has three"):
        read_picks(molecule, voxel_size=A10)


def test_numbers_of_tomograms_get_names_by_a_file(tmp_path: Path) -> None:
    row = [*["1"] * 19, "5", *["1"] * 6]
    path = written(tmp_path / "a.tbl", "\n".join(" ".join([*row[:19], n, *row[20:]]) for n in ("5", "6")))
    with pytest.raises(InputError, match=r"Numbers get names by a file a\.doc beside it"):
        read_picks(path, voxel_size=A10, tomogram="TS_05")
    with pytest.raises(InputError, match=r"a\.doc"):
        read_of(path, {"TS_05": Known(A10)})
    written(tmp_path / "a.doc", "5 TS_05.mrc\n6 TS_06.mrc\n")
    assert len(read_picks(path, voxel_size=A10, tomogram="TS_05")) == 1
