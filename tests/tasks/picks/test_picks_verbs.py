"""picks convert, merge, filter and info: real files, values by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from calling import Command
from mrc_files import write
from picks_files import POSITIONS, SHAPE, VOXEL, volume

from volengine.core.errors import FormatError, InputError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks
from volengine.io.picks.formats import FORMATS
from volengine.tasks.common.picks_lost import lost_by
from volengine.tasks.picks.convert import convert_picks, merge_picks
from volengine.tasks.picks.info import picks_info

# -- convert -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [name for name, one in FORMATS.items() if one.reads and one.writes])
def test_every_format_of_the_table_is_written_and_read(tmp_path: Path, csv: Path, picks: Picks, format: str) -> None:
    out = tmp_path / f"out{FORMATS[format].endings[0]}"
    made = convert_picks(csv, out, {"to": format})
    assert made.format == format
    assert made.files[-1] == str(out)
    assert made.counts == {"TS_01": 4}
    back = convert_picks(out, tmp_path / "back.csv", {"read_as": format, "voxel_size": VOXEL, "shape": SHAPE})
    found = read_picks(back.files[0])
    atol = 0.5 if FORMATS[format].whole else 1e-4
    np.testing.assert_allclose(found.position_vox, picks.position_vox, atol=atol)


def test_what_a_format_does_not_hold_is_said(tmp_path: Path, csv: Path) -> None:
    made = convert_picks(csv, tmp_path / "a.tsv")
    said = "\n".join(made.notes)
    assert "moved by up to 0.25 voxels" in said
    assert "ais-tsv does not hold it: weight, euler, note" in said
    assert "does not say the voxel size" in said
    made = convert_picks(csv, tmp_path / "a.tbl")
    assert made.notes == (
        "Dropped, because dynamo does not hold it: note.",
        "The file does not say: shape, feature.",
    )
    assert convert_picks(csv, tmp_path / "a.star").notes == ()


@pytest.mark.parametrize(("format", "held"), [("dynamo", False), ("motl", False), ("cmm", False), ("relion", True)])
def test_angles_that_are_not_known_are_said_to_be_lost(tmp_path: Path, picks: Picks, format: str, held: bool) -> None:
    """0 in every row says that none is known, which is not nothing."""
    write_picks(tmp_path / "in.csv", picks.with_(extra={"in_plane_known": [0] * len(picks)}))
    made = convert_picks(tmp_path / "in.csv", tmp_path / f"a{FORMATS[format].endings[0]}", {"to": format})
    said = f"{format} does not hold in_plane_known: the angle about the normal of 4 picks of 4 is not known."
    assert (said in made.notes) is not held
    unknown = picks.with_(extra={"in_plane_known": [0] * 4})
    assert (said in lost_by([unknown], format, Path(made.files[-1]))) is not held


def test_extra_columns_that_mean_something_else_are_dropped_and_said(tmp_path: Path) -> None:
    extra = {"rlnMicrographName": ["x.mrc"], "rlnClassNumber": [3]}
    picks = Picks([[1, 2, 3]], voxel_size=VOXEL, tomogram="TS_01", extra=extra)
    write_picks(tmp_path / "a.csv", picks)
    made = convert_picks(tmp_path / "a.csv", tmp_path / "a.star", {"to": "warp"})
    assert made.notes == ("Dropped, because warp keeps the name for something else: rlnMicrographName.",)
    assert set(read_picks(made.files[0]).extra) == {"rlnClassNumber"}


def test_a_folder_gets_a_file_of_each_tomogram(tmp_path: Path, picks: Picks) -> None:
    tables = [picks, picks[:2].with_(tomogram="TS_02"), picks[:0].with_(tomogram="a b")]
    write_picks(tmp_path / "all.star", tables)
    with pytest.raises(InputError, match="holds one tomogram, and there are 3; give a folder"):
        convert_picks(tmp_path / "all.star", tmp_path / "all.json")
    with pytest.raises(InputError, match="is a folder; say which format"):
        convert_picks(tmp_path / "all.star", f"{tmp_path}/out/")
    made = convert_picks(tmp_path / "all.star", f"{tmp_path}/out/", {"to": "copick"})
    assert made.counts == {"TS_01": 4, "TS_02": 2, "a b": 0}
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(Path(file).name for file in made.files)
    assert len(read_picks(tmp_path / "out" / "TS_02__ribosome.json")) == 2
    made = convert_picks(tmp_path / "all.star", f"{tmp_path}/info/", {"to": "eman2"})  # EMAN2 looks for these names
    assert [Path(file).name for file in made.files] == ["TS_01_info.json", "TS_02_info.json", "a~20b_info.json"]
    assert read_picks(made.files[1], voxel_size=VOXEL).tomogram == "TS_02"
    one = convert_picks(tmp_path / "all.star", tmp_path / "one.json", {"tomogram": "TS_02"})
    assert one.counts == {"TS_02": 2}


def test_messages_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    """What cannot be written is found in a folder of volengine's own, which nobody knows."""
    write_picks(tmp_path / "a.csv", Picks([[1, 2, 3]], voxel_size=(10, 10, 20), tomogram="T", shape=(9, 9, 9)))
    names = {"imod": "a.mod", "eman2": "a_info.json", "relion": "a.star", "dynamo": "a.tbl"}
    for to, out in ((to, tmp_path / name) for to, name in names.items()):
        with pytest.raises(InputError, match=f"^{re.escape(str(out))}: "):
            convert_picks(tmp_path / "a.csv", out, {"to": to})


def test_files_are_not_replaced_unless_asked(tmp_path: Path, csv: Path) -> None:
    (tmp_path / "a.star").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        convert_picks(csv, tmp_path / "a.star")
    assert (tmp_path / "a.star").read_text() == "mine"
    convert_picks(csv, tmp_path / "a.star", {"overwrite": True})
    assert len(read_picks(tmp_path / "a.star")) == 4


@pytest.mark.parametrize(
    ("out", "beside"),
    [
        ("a.tbl", "a.doc"),
        ("a.em", "a.doc"),
        ("a_optimisation_set.star", "a_particles.star"),
        ("a_optimisation_set.star", "a_tomograms.star"),
    ],
)
def test_files_beside_are_not_replaced_unless_asked(tmp_path: Path, csv: Path, out: str, beside: str) -> None:
    """A map of names, or the particles of a project, may be somebody's; one with the same bytes is no hindrance."""
    (tmp_path / beside).write_text("mine")
    with pytest.raises(InputError, match=f"{beside} exists, and would be written beside"):
        convert_picks(csv, tmp_path / out)
    assert (tmp_path / beside).read_text() == "mine"
    assert not (tmp_path / out).exists()
    convert_picks(csv, tmp_path / out, {"overwrite": True})
    assert (tmp_path / beside).read_text() != "mine"
    (tmp_path / out).unlink()
    convert_picks(csv, tmp_path / out)
    assert len(read_picks(tmp_path / out, voxel_size=VOXEL)) == 4


def test_the_volume_gives_grid_and_name(tmp_path: Path) -> None:
    """Centred angstrom of a tomogram of 40 x 50 x 60 voxels of 10: index = angstrom / 10 + shape / 2."""
    star = tmp_path / "centred.star"
    labels = [f"rlnCenteredCoordinate{a}Angst" for a in "XYZ"] + ["rlnTomoName"]
    rows = "100 -50 20 TS_01\n0 0 0 TS_02\n"
    star.write_text("data_particles\n\nloop_\n" + "".join(f"_{x}\n" for x in labels) + rows)
    tomogram = volume(tmp_path / "TS_01_Vol.mrc")
    made = convert_picks(star, tmp_path / "a.csv", {"volume": str(tomogram)})
    assert made.counts == {"TS_01_Vol": 1}
    assert read_picks(made.files[0]).position_vox.tolist() == [[2 + 20, -5 + 25, 10 + 30]]
    write_picks(tmp_path / "b.tbl", Picks([[1, 2, 3]], voxel_size=VOXEL, tomogram="TS_01"))
    with pytest.raises(InputError, match="relion5 needs the shape of the tomogram: give --volume, or --shape"):
        convert_picks(tmp_path / "b.tbl", tmp_path / "b.star", {"to": "relion5"})
    with pytest.raises(InputError, match="none of them is 'TS_09'"):
        convert_picks(star, tmp_path / "c.csv", {"volume": str(volume(tmp_path / "TS_09.mrc"))})
    other = convert_picks(tmp_path / "b.tbl", tmp_path / "d.csv", {"volume": str(tomogram)})
    assert other.counts == {"TS_01_Vol": 1}
    with pytest.raises(InputError, match="has picks of 'TS_01', and the volume is 'TS_09'"):
        convert_picks(tmp_path / "b.tbl", tmp_path / "e.csv", {"volume": str(tmp_path / "TS_09.mrc")})
    of_another = {"volume": str(tmp_path / "TS_09.mrc"), "tomogram": "TS_09"}
    assert convert_picks(tmp_path / "b.tbl", tmp_path / "e.csv", of_another).counts == {"TS_09": 1}
    renamed = convert_picks(tmp_path / "b.tbl", tmp_path / "f.csv", {"volume": str(volume(tmp_path / "cell.mrc"))})
    assert renamed.notes[0] == "The picks of 'TS_01' are written as those of 'cell'."


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (-10.0, 20.0, 50.0)])
def test_the_volume_gives_the_origin_of_chimerax(tmp_path: Path, origin: tuple[float, float, float]) -> None:
    """Markers are at origin + index * voxel size; most volumes have the origin 0, which is one like any other."""
    z, y, x = SHAPE
    write(tmp_path / "TS_01.mrc", np.zeros(SHAPE, "i1"), 0, cell=(10 * x, 10 * y, 10 * z), origin=origin[::-1])
    marker = '<marker id="1" x="300" y="200" z="100" radius="5"/>'
    (tmp_path / "a.cmm").write_text(f'<marker_set name="ribosome">{marker}</marker_set>')
    made = convert_picks(tmp_path / "a.cmm", tmp_path / "a.csv", {"volume": str(tmp_path / "TS_01.mrc")})
    found = read_picks(made.files[0])
    assert found.position_vox.tolist() == [[(100 - origin[0]) / 10, (200 - origin[1]) / 10, (300 - origin[2]) / 10]]
    assert found.origin == origin


@pytest.mark.parametrize("format", [name for name, one in FORMATS.items() if one.writes and one.poses])
def test_normals_are_kept_by_every_format_with_poses(tmp_path: Path, format: str) -> None:
    """As they are, or as angles, which is said; never as nothing."""
    normals = np.array([[1, 0, 0], [-1, 0, 0], [0, 0.6, -0.8]], float)
    picks = Picks([[1, 2, 3]] * 3, voxel_size=VOXEL, shape=SHAPE, tomogram="TS_01", normal=normals)
    write_picks(tmp_path / "in.csv", picks)
    made = convert_picks(tmp_path / "in.csv", f"{tmp_path}/out/", {"to": format})
    assert not any("Dropped" in note for note in made.notes)
    found = read_picks(made.files[0], format, voxel_size=VOXEL, shape=SHAPE, tomogram="TS_01")
    assert found.orientation is not None
    np.testing.assert_allclose(euler_to_matrix(found.orientation)[:, ::-1, 2], normals, atol=1e-6)


def test_pixel_size_is_that_of_the_coordinates(tmp_path: Path, csv: Path) -> None:
    """Unbinned pixels of 2.5 angstrom: voxel 10.25 of 10 angstrom is pixel 41."""
    convert_picks(csv, tmp_path / "a.star", {"pixel_size": 2.5})
    row = next(line.split() for line in (tmp_path / "a.star").read_text().splitlines() if line.startswith("120.0"))
    assert row[:3] == ["120.0", "80.0", "41.0"]
    (tmp_path / "b.tsv").write_text("30 20 10\n")
    with pytest.raises(InputError, match="set voxel_size"):
        convert_picks(tmp_path / "b.tsv", tmp_path / "b.csv")
    made = convert_picks(tmp_path / "b.tsv", tmp_path / "b.csv", {"pixel_size": 4})
    assert read_picks(made.files[0]).place.tolist() == [[40, 80, 120]]
    assert made.notes == ("The file states no voxel size: coordinates were taken for voxels of 4 A.",)


def test_a_format_that_would_lose_picks_is_refused(tmp_path: Path, csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check reads what was written: a writer with a fault (here: half a voxel off) leaves no file."""
    from volengine.io.picks import dynamo

    texts = dynamo._texts
    monkeypatch.setattr(dynamo, "_texts", lambda picks, first: texts(picks, first + 0.5))
    with pytest.raises(InputError, match=r"dynamo would move picks of 'TS_01' by 0\.5 voxels"):
        convert_picks(csv, tmp_path / "b.tbl")
    assert not (tmp_path / "b.tbl").exists()


@pytest.mark.parametrize("format", ["coords", "cbox", "portal", "imod-text", "artiax", "ais-tsv"])
def test_a_file_that_states_no_name_is_called_after_tomogram_and_feature(tmp_path: Path, format: str) -> None:
    """The names that a folder as output gives; Ais and the other verbs use them, too."""
    feature, known = "β-tubulin ring", {"voxel_size": 10.0}
    one = Picks(np.array(POSITIONS).round(), VOXEL, shape=SHAPE, tomogram="TS_01", feature=feature)
    write_picks(tmp_path / "in.csv", one)
    made = convert_picks(tmp_path / "in.csv", f"{tmp_path}/out/", {"to": format})
    read = {"read_as": format, **known}
    back = read_picks(convert_picks(made.files[0], tmp_path / "back.csv", read).files[0])
    assert (back.tomogram, back.feature) == ("TS_01", feature)
    volume(tmp_path / "TS_02.mrc")
    with pytest.raises(InputError, match="has picks of 'TS_01', and the volume is 'TS_02'"):
        convert_picks(made.files[0], tmp_path / "no.csv", {**read, "volume": str(tmp_path / "TS_02.mrc")})
    other = one.with_(feature="actin", position_vox=one.position_vox + 1)
    write_picks(tmp_path / "in2.csv", other)
    second = convert_picks(tmp_path / "in2.csv", f"{tmp_path}/out/", {"to": format})
    joined = merge_picks([made.files[0], second.files[0]], tmp_path / "all.csv", read)
    assert joined.counts == {"TS_01": 8}


def test_a_name_that_the_file_states_is_kept(tmp_path: Path) -> None:
    write_picks(tmp_path / "TS__1.csv", Picks(POSITIONS, VOXEL, tomogram="TS__1"))
    (tmp_path / "TS__2.csv").write_text("tomogram,x,y,z\nTS__2,1,2,3\n")
    for name in ("TS__1", "TS__2"):
        made = convert_picks(tmp_path / f"{name}.csv", tmp_path / f"{name}.star", {"voxel_size": 10.0})
        assert list(made.counts) == [name]


def test_picks_outside_of_the_tomogram_are_counted(tmp_path: Path) -> None:
    """A RELION 5 file of pixels of 2.5 A, with the shape of the binned tomogram: 100 A are 40 pixels, from 20 of 40."""
    star = tmp_path / "centred.star"
    optics = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n1 2.5\n\n"
    labels = [f"_rlnCenteredCoordinate{a}Angst\n" for a in "XYZ"] + ["_rlnTomoName\n", "_rlnOpticsGroup\n"]
    rows = "0 0 49.9 TS_01 1\n0 0 -100 TS_01 1\n0 100 0 TS_01 1\n"
    star.write_text(optics + "data_particles\n\nloop_\n" + "".join(labels) + rows)
    made = convert_picks(star, tmp_path / "a.csv", {"shape": SHAPE})
    assert read_picks(made.files[0]).position_vox[:, 0].tolist() == pytest.approx([39.96, -20, 20])
    (note,) = made.notes
    assert note.startswith("TS_01: 3 of 3 picks lie outside of its 40 x 50 x 60 voxels (z, y, x) of 2.5 A; ")
    assert not convert_picks(star, tmp_path / "b.csv", {"shape": SHAPE, "voxel_size": 10.0}).notes


@pytest.mark.parametrize(("name", "format"), [("relion4", "relion"), ("RELION5", "relion5"), ("WarpTools", "warp")])
def test_formats_by_the_names_that_people_use(tmp_path: Path, csv: Path, name: str, format: str) -> None:
    made = convert_picks(csv, tmp_path / "a.star", {"to": name})
    assert made.format == format
    assert len(read_picks(tmp_path / "a.star", name, shape=SHAPE)) == 4


def test_a_mistyped_format_is_answered_with_the_nearest(tmp_path: Path, csv: Path) -> None:
    with pytest.raises(InputError, match=r"no format 'dynmo' for picks. Did you mean dynamo or dynamo0\?"):
        convert_picks(csv, tmp_path / "a.tbl", {"to": "dynmo"})


def test_info_has_numbers(csv: Path, tmp_path: Path) -> None:
    facts = picks_info(csv)
    assert json.loads(json.dumps(facts)) == facts
    (one,) = facts["tomograms"]
    assert (facts["format"], facts["picks"], one["picks"]) == ("csv", 4, 4)
    assert one["voxel_size"] == [10, 10, 10]
    assert (one["lowest"], one["highest"]) == ([5, 6, 7], [39, 49, 59])
    assert (one["weight"], one["outside"]) == ([1, 4], 0)
    assert one["columns"] == ["weight", "euler", "note"]
    (tmp_path / "b.tsv").write_text("30 20 10\n")
    (one,) = picks_info(tmp_path / "b.tsv")["tomograms"]
    assert (one["voxel_size"], one["shape"], one["picks"]) == (None, None, 1)
    assert "highest" not in one
    (one,) = picks_info(tmp_path / "b.tsv", {"voxel_size": 5})["tomograms"]
    assert one["highest"] == [10, 20, 30]
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(FormatError, match="no file of picks"):
        picks_info(tmp_path / "b.json")
    with pytest.raises(InputError, match="is a folder; give the file of the picks"):
        picks_info(tmp_path)


def test_the_commands(volengine: Command, csv: Path) -> None:
    code, out, _ = volengine("picks", "convert", "in.csv", "all_optimisation_set.star", "--pixel-size", "2.5")
    assert code == 0
    assert out.splitlines()[-2:] == ["all_optimisation_set.star (relion5-set)", "  TS_01: 4 picks"]
    code, out, err = volengine("picks", "convert", "in.csv", "a.xyzzy")
    assert (code, out) == (2, "")
    assert "the ending '.xyzzy' does not say the format; give --read-as or --to, one of relion," in err
    write_picks("n.coords", Picks(POSITIONS, voxel_size=VOXEL))
    _, _, err = volengine("picks", "convert", "n.coords", "n.star")
    assert "does not say the voxel size of tomogram 'n': give --voxel-size (angstrom)." in err
    code, out, _ = volengine("picks", "info", "all_optimisation_set.star", "--json")
    assert json.loads(out)["tomograms"][0]["shape"] == list(SHAPE)
    code, out, _ = volengine("picks", "merge", "in.csv", "all_optimisation_set.star", "m.tbl", "--spacing-nm", "0.1")
    assert code == 0
    assert "TS_01: 4 picks" in out
    code, out, _ = volengine("picks", "filter", "in.csv", "f.star", "--region", "0,0,0,20,50,60", "--to", "relion5")
    assert code == 0
    assert "1 of 4 picks dropped: outside of the region" in out
    code, out, _ = volengine("picks", "info", "f.star", "in.csv")
    assert out.count("TS_01: ") == 2
    _, out, _ = volengine("picks", "--help")
    assert all(f"  {name}" in out for name in FORMATS)


def test_markers_of_chimerax_need_an_origin(tmp_path: Path, volengine: Command) -> None:
    """A place in the scene is origin + index * voxel size: it is asked for, and 0 only if that is said."""
    Path("a.cmm").write_text('<marker_set name="r"><marker id="1" x="130" y="120" z="110" radius="1"/></marker_set>')
    code, _, err = volengine("picks", "convert", "a.cmm", "a.csv", "--voxel-size", "10")
    assert code != 0
    assert "--origin" in err
    for origin, want in (("100,100,100", [1, 2, 3]), ("0,0,0", [11, 12, 13])):
        found = ("--voxel-size", "10", "--origin", origin, "--overwrite")
        assert volengine("picks", "convert", "a.cmm", "a.csv", *found)[0] == 0
        assert read_picks("a.csv").position_vox.tolist() == [want]
    volume(tmp_path / "a.mrc")
    assert volengine("picks", "convert", "a.cmm", "b.csv", "--volume", "a.mrc", "--origin", "100,100,100")[0] == 0
    assert read_picks("b.csv").position_vox.tolist() == [[1, 2, 3]]
    assert read_picks("b.csv").origin == (100, 100, 100)


def test_numbers_of_tomograms_take_the_name_of_the_volume(tmp_path: Path) -> None:
    row = [*["1"] * 19, "5", *["1"] * 3, "4", "5", "6"]
    table = tmp_path / "a.tbl"
    table.write_text("\n".join(" ".join([*row[:19], n, *row[20:]]) for n in ("5", "6")) + "\n")
    where = str(volume(tmp_path / "TS_05.mrc"))
    with pytest.raises(InputError, match=r"choose one with --tomogram.*a\.doc"):
        convert_picks(table, tmp_path / "a.csv", {"volume": where})
    made = convert_picks(table, tmp_path / "a.csv", {"volume": where, "tomogram": "5"})
    assert made.counts == {"TS_05": 1}
    assert read_picks(made.files[0]).position_vox.tolist() == [[6, 5, 4]]


def test_filaments_are_said_to_be_contours_of_imod(tmp_path: Path) -> None:
    picks = Picks([[1, 1, 1], [2, 2, 2]], VOXEL, shape=SHAPE, tomogram="T", extra={"filament": [1, 2], "note": [1, 1]})
    write_picks(tmp_path / "a.csv", picks)
    made = convert_picks(tmp_path / "a.csv", tmp_path / "a.mod")
    assert "Filaments are written as contours." in made.notes
    assert "Dropped, because imod does not hold it: note." in made.notes


@pytest.mark.parametrize("flag", ["--to", "--format"])
def test_the_option_of_the_format_has_one_name_in_all_verbs(csv: Path, volengine: Command, flag: str) -> None:
    assert volengine("picks", "convert", "in.csv", "a.star", flag, "warp")[0] == 0
    assert picks_info("a.star")["format"] == "warp"
    for verb in (("pick",), ("picks", "convert"), ("picks", "merge"), ("picks", "filter")):
        assert flag in volengine(*verb, "--help")[1]


def test_positions_in_angstrom_are_said_to_count_from_the_first_voxel(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("z_a,y_a,x_a\n110,120,130\n")
    said = "a.csv has positions in angstrom: they were taken to count from the tomogram's first voxel"
    made = convert_picks(tmp_path / "a.csv", tmp_path / "b.csv", {"voxel_size": 10.0})
    assert any(said in note for note in made.notes)
    assert read_picks(made.files[0]).position_vox.tolist() == [[11, 12, 13]]
    given = {"voxel_size": 10.0, "origin": (100.0, 100.0, 100.0), "overwrite": True}
    made = convert_picks(tmp_path / "a.csv", tmp_path / "b.csv", given)
    assert not any(said in note for note in made.notes)
    assert read_picks(made.files[0]).position_vox.tolist() == [[1, 2, 3]]
    made = convert_picks(tmp_path / "b.csv", tmp_path / "c.csv")
    assert not any(said in note for note in made.notes)


@pytest.mark.parametrize(
    ("given", "said"), [([], True), (["--origin", "0,0,0"], False), (["--origin", "1,2,3"], False)]
)
def test_markers_of_a_tomogram_without_an_origin_say_so(
    volengine: Command, tmp_path: Path, given: list[str], said: bool
) -> None:
    """ChimeraX shows markers beside the map if its header has an origin that the table of picks does not hold."""
    write_picks(tmp_path / "a.tbl", Picks([[1, 2, 3]], voxel_size=(10,) * 3, tomogram="TS_01"))
    code, out, _ = volengine("picks", "convert", "a.tbl", "a.cmm", *given)
    assert code == 0
    assert ("none is known of TS_01: 0 was taken" in out) is said
    assert "none is known" not in volengine("picks", "convert", "a.tbl", "b.mod")[1]


def test_hundreds_of_tomograms_are_one_line_unless_asked_for(tmp_path: Path, volengine: Command) -> None:
    tables = [
        Picks([[1, 2, 3], [30, 2, 3]], VOXEL, shape=SHAPE, tomogram=f"TS_{n:03}", weight=[1.0, 2.0]) for n in range(30)
    ]
    write_picks(tmp_path / "many.csv", tables)
    code, said, _ = volengine("picks", "merge", "many.csv", "--out", "all.csv")
    assert (code, said.splitlines()[:2]) == (0, ["all.csv (csv)", "  together: 60 picks of 30 tomograms"])
    assert "TS_007: 2 picks" in volengine("picks", "merge", "many.csv", "--out", "b.csv", "-v")[1]
    said = volengine("picks", "convert", "many.csv", "--out", "folder/", "--to", "csv")[1]
    assert said.startswith("30 files in folder (csv)\n  together: 60 picks of 30 tomograms\n")
    words = ["picks", "filter", "many.csv", "--min-weight", "1.5", "--out"]
    short, whole = (volengine(*words, *more)[1] for more in (["c.csv"], ["d.csv", "-v"]))
    assert short.count("1 of 2 picks dropped") == 8
    assert "22 more notes; -v shows them" in short
    assert whole.count("1 of 2 picks dropped") == 30


def test_info_of_weights_that_are_no_numbers_is_json(tmp_path: Path, volengine: Command) -> None:
    weights = ([1.0, np.nan], [np.nan, np.nan])
    tables = [Picks([[1, 2, 3]] * 2, VOXEL, shape=SHAPE, tomogram=f"T{n}", weight=w) for n, w in enumerate(weights)]
    write_picks(tmp_path / "a.csv", tables)
    one, other = json.loads(volengine("picks", "info", "a.csv", "--json")[1])["tomograms"]
    assert one["weight"] == [1.0, 1.0]
    assert "weight" not in other


def test_names_of_tomograms_come_back_from_names_of_files(tmp_path: Path, volengine: Command) -> None:
    write_picks(tmp_path / "a.csv", Picks([[1, 2, 3]], VOXEL, shape=SHAPE, tomogram="TS 1", feature="ER membrane"))
    assert volengine("picks", "convert", "a.csv", "--out", "o/", "--to", "coords")[0] == 0
    (file,) = (tmp_path / "o").iterdir()
    code, said, _ = volengine("picks", "info", str(file), "--voxel-size", "10", "--json")
    (found,) = json.loads(said)["tomograms"]
    assert (code, found["name"], found["feature"]) == (0, "TS 1", "ER membrane")
