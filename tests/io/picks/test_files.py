"""Picks in files of others: real ones, damaged ones, and ones that do not say enough."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import starfile
from hypothesis import given
from hypothesis import strategies as st
from places import DATA

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.picks import Picks
from volengine.io.picks import read_all, read_picks, write_picks
from volengine.io.picks.formats import FORMATS
from volengine.io.picks.star import _WORD_OF_STAR, star_text

REAL = DATA / "real"
COORDINATES = REAL / "coordinates"
needs_data = pytest.mark.skipif(not COORDINATES.is_dir(), reason=f"the example files are not at {COORDINATES}")

A10 = (10.0, 10.0, 10.0)


def star(*rows: str, labels: str = "rlnCoordinateX rlnCoordinateY rlnCoordinateZ rlnTomoName") -> str:
    return "data_particles\n\nloop_\n" + "".join(f"_{x}\n" for x in labels.split()) + "".join(f"{r}\n" for r in rows)


# Real files --------------------------------------------------------------------------------------------------------


@needs_data
def test_every_real_star_file_reads_as_starfile_reads_it():
    starfile = pytest.importorskip("starfile")
    from volengine.io.picks.star import read_star

    found = 0
    for path in sorted(COORDINATES.rglob("*.star")):
        tables, _ = read_star(path)
        blocks = starfile.read(path, always_dict=True)
        assert list(tables) == list(blocks)
        for name, block in blocks.items():
            for label in block:
                mine = tables[name].columns[str(label)]
                theirs = block[label].tolist() if hasattr(block[label], "tolist") else [block[label]]
                assert len(mine) == len(theirs)
                assert all(a == str(b) or float(a) == b for a, b in zip(mine, theirs, strict=True))
                found += len(mine)
    assert found > 20_000


@needs_data
def test_relion5_project_with_tomograms():
    path = COORDINATES / "cylindra_relion5" / "Picks" / "job_picks" / "optimisation_set.star"
    found = read_all(path)
    assert {k: len(v) for k, v in found.items()} == {"TS_01": 3, "TS_02": 2}
    picks = found["TS_01"]
    assert picks.shape == (44, 136, 84)
    assert picks.voxel_size == (10.52, 10.52, 10.52)
    centred = np.array([[11.16, 765.48005, -176.94], [11.16, 9.700021, 51.55000899999999]])
    np.testing.assert_allclose(picks.position_vox[:2], centred / 10.52 + np.array([22, 68, 42]), atol=1e-6)
    particles = path.with_name("particles.star")
    with pytest.raises(InputError, match="voxel_size"):
        read_all(particles)
    with pytest.raises(InputError, match=r"shape.*optimisation_set"):
        read_all(particles, voxel_size=picks.voxel_size)
    with pytest.raises(FormatError, match="no rlnCoordinateZ"):
        read_all(particles, "relion", voxel_size=picks.voxel_size)
    again = read_picks(particles, tomogram="TS_01", voxel_size=picks.voxel_size, shape=(44, 136, 84))
    np.testing.assert_allclose(again.position_vox, picks.position_vox, rtol=1e-15)


@needs_data
def test_a_star_file_of_template_matching_is_read():
    picks = read_picks(COORDINATES / "SPEF1MT2_001_8.48Apx_particles.star")
    assert (len(picks), picks.tomogram, picks.voxel_size) == (2500, "SPEF1MT2_001_8.48Apx", (8.48, 8.48, 8.48))
    np.testing.assert_array_equal(picks.position_vox[0], [135, 769, 691])
    np.testing.assert_array_equal(picks.euler[0], [69.000008, 87.452668, 98.000018])
    assert picks.extra["rlnLCCmax"][0] == 0.582118


@needs_data
def test_annotation_star_without_pixel_size():
    path = COORDINATES / "hsp60.star"
    with pytest.raises(InputError, match="voxel_size"):
        read_picks(path)
    picks = read_picks(path, voxel_size=(1.96, 1.96, 1.96))
    assert (len(picks), picks.tomogram) == (27, "tomo_0054")
    np.testing.assert_array_equal(picks.position_vox[0], [1015.192, 3235.5812, 1142.0204])
    assert set(picks.extra["rlnParticleName"]) == {"hsp60"}


@needs_data
def test_a_table_of_dynamo_is_read():
    path = COORDINATES / "dynamo" / "b4_motl_CR_tm_topbott_clean600_1_dynamo.tbl"
    found = read_all(path, voxel_size=A10)
    assert sum(map(len, found.values())) == 1343
    assert list(found)[:3] == ["2", "25", "27"]
    first = found["2"]
    np.testing.assert_allclose(first.position_vox[0], [167 + 0.6847 - 1, 548 + 1.1602 - 1, 507 + 1.0651 - 1])
    np.testing.assert_allclose(first.euler[0], [-180 - 90 + 360, -79.159, 144.13 + 90 - 360])
    np.testing.assert_array_equal(first.weight[:2], [0.1593, 0.1426])


@needs_data
def test_foreign_csv_with_normals():
    path = REAL / "hiv_tomogram" / "hiv_crop_x000-062_points.csv"
    picks = read_picks(path, voxel_size=(40, 40, 40), tomogram="hiv")
    assert (len(picks), picks.tomogram) == (3813, "hiv")
    np.testing.assert_array_equal(picks.position_vox[0], [50.83526, 20.90565, 22.94967])
    np.testing.assert_array_equal(picks.normal[0], [-0.994393, 0.057547, -0.088713])
    np.testing.assert_allclose(np.linalg.norm(picks.normal, axis=1), 1, atol=1e-5)


@needs_data
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("starfile/two_basic_blocks.star", "no table with rlnCoordinateX/Y/Z; there is data_block_0, data_block_1"),
        ("starfile/rln3.1_data_style.star", "more than one table .* data_block_2, data_block_3"),
        ("cylindra_relion5/Tomograms/job_tomo/tomograms.star", "no table .* data_global"),
    ],
)
def test_real_files_without_picks(name, message):
    with pytest.raises(InputError, match=message):
        read_picks(COORDINATES / name, voxel_size=A10)


# Files that are not well -------------------------------------------------------------------------------------------

XYZ = "rlnCoordinateX rlnCoordinateY rlnCoordinateZ"
OPTICS = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n1 2.0\n"
POINT = b'{"location": {"x": 1, "y": 2, "z": 3}'
MIRROR = b"[[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]"

DAMAGED = [
    ("a.star", b"", "no line data_"),
    ("a.star", b"hello\n", "line 1: STAR begins"),
    ("a.star", b"\xff\xfe\x00", "not a text file"),
    ("a.star", b"data_\n\0\n", "zero bytes"),
    ("a.star", star("1 2 3 a", "1 2 a").encode(), "line 9: 3 values, but data_particles has 4"),
    ("a.star", star("1 2 3 a", "1 x2 3 a").encode(), "line 9: rlnCoordinateY is 'x2', not a number"),
    ("a.star", star("1 2 3 a", "1 1_2 3 a").encode(), "line 9: rlnCoordinateY is '1_2', not a number"),
    ("a.star", star("1 2 3 a", "1 nan 3 a").encode(), "line 9: the position is"),
    ("a.star", star("1 2 3 a", labels="rlnCoordinateX rlnCoordinateX rlnB rlnC").encode(), "line 5: the label"),
    ("a.star", b"data_a\n_x 1\n1 2\n", "line 3: a label"),
    ("a.star", b"data_a\n_x\n", "line 2: _x has 0 values"),
    ("a.star", b"data_a\n\ndata_a\n", "line 3: there are two blocks"),
    ("a.star", star("1 2 3 0", labels=XYZ + " rlnPixelSize").encode(), "line 8: .*pixel size is 0"),
    ("a.star", b"# volengine {broken\n" + star("1 2 3 a").encode(), "line 1: the facts"),
    ("a.star", (OPTICS + star("1 2 3 2", labels=XYZ + " rlnOpticsGroup")).encode(), "line 13: .* no optics group 2"),
    ("a.tbl", b"1 2 3\n", "line 1: 3 numbers; .* at least 26"),
    ("a.tbl", b" ".join([b"1"] * 26) + b"\n" + b" ".join([b"1"] * 27), "line 2: 27 numbers; .* 26, as"),
    ("a.tbl", b" ".join([b"1"] * 25) + b" ?\n", "line 1: column 26 is '\\?'"),
    ("a.tbl", b" ".join([b"1.5"] * 26) + b"\n", "line 1: the tomogram's number .* 1.5"),
    ("a.csv", b"", "no line with the names"),
    ("a.csv", b"# nothing\n\n", "no line with the names"),
    ("a.csv", b"a,b\n1,2\n", "no columns z_vox.*there are a, b"),
    ("a.csv", b"# c\nz,y,x\n1,2,3\n1,2\n", "line 4: 2 values for 3 columns"),
    ("a.csv", b"z,y,x\n1,2,3\n\n1,inf,3\n", "line 4: the position"),
    ("a.csv", b"z,y,x,z\n1,2,3,4\n", "'z' is there twice"),
    ("a.csv", b"z,y,x,label\n1,2,3,4.5\n", "line 2: label is '4.5', not a whole number"),
    ("a.tsv", b"1\t2\t3\n1\t2\n", "line 2: 2 values"),
    ("a.tsv", b"x\ty\tz\n", "line 1: z is 'z'"),
    ("a.json", b"{", "no JSON"),
    ("a.json", b"[]", "no list 'points'"),
    ("a.json", b'{"points": 3}', "no list 'points'"),
    ("a.json", b'{"unit": "pixel", "points": []}', "unit .* 'pixel'"),
    ("a.json", b'{"points": [' + POINT + b'}, {"location": {"x": 1}}]}', "point 1 .* no location"),
    ("a.json", b'{"points": [{"location": {"x": 1, "y": 2, "z": NaN}}]}', "point 0 "),
    ("a.json", b'{"points": [' + POINT + b', "transformation_": [[1]]}]}', "point 0 .* 4x4"),
    ("a.json", b'{"points": [' + POINT + b', "transformation_": %b}]}' % MIRROR, "point 0 .* no rotation"),
    ("a.json", b'{"points": [' + POINT + b', "score": "high"}]}', "score of point 0"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), DAMAGED)
def test_damaged_files_say_where(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        read_picks(path, voxel_size=A10)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("format", sorted(k for k, v in FORMATS.items() if v.writes and k not in ("ais-tsv", "motl")))
def test_a_file_cut_off_anywhere_never_reads_as_wrong_picks(tmp_path, format):
    """Cut at any byte, a file gives an error or fewer picks, never a pick that was not there.

    (But for a cut inside of a line's last value, which no format of plain text can show.)
    """
    ending = {"dynamo": "tbl", "dynamo0": "tbl", "csv": "csv", "copick": "json"}.get(format, "star")
    path = tmp_path / f"p.{ending}"
    position = np.array([[11, 22, 33], [44, 55, 66]])
    picks = Picks(position, voxel_size=A10, shape=(80, 80, 80), tomogram="TS", weight=[0.25, 0.5])
    write_picks(path, picks, format)
    content = path.read_bytes()
    cuts = [n for n in range(len(content)) if content[n - 1 : n].isspace() or ending == "json"]
    assert len(cuts) > 4
    for length in cuts:
        path.write_bytes(content[:length])
        try:
            found = read_picks(path, format, voxel_size=A10, shape=(80, 80, 80))
        except InputError:
            continue
        assert len(found) <= 2
        np.testing.assert_allclose(found.position_vox, position[: len(found)])


# Files that do not say enough --------------------------------------------------------------------------------------


def test_missing_facts_are_asked_for_by_name(tmp_path):
    path = tmp_path / "p.star"
    path.write_text(star("1 2 3 a"))
    with pytest.raises(InputError, match=r"voxel size of tomogram 'a': set voxel_size"):
        read_picks(path)
    picks = read_picks(path, voxel_size=A10, origin=(1, 2, 3), shape=(7, 8, 9))
    assert picks == Picks([[3, 2, 1]], voxel_size=A10, origin=(1, 2, 3), shape=(7, 8, 9), tomogram="a")
    with pytest.raises(InputError, match="voxel_size must be three positive"):
        read_picks(path, voxel_size=(1, 1, 0))
    with pytest.raises(InputError, match="no format 'em'"):
        read_picks(path, "em")
    with pytest.raises(MissingError, match="absent"):
        read_picks(tmp_path / "absent.star")


def test_files_without_names_take_the_callers(tmp_path):
    path = tmp_path / "TS_7.csv"
    path.write_text("x;y;z;Score\n3;2;1;0.5\n")
    assert read_picks(path, voxel_size=A10).tomogram == "TS_7"
    picks = read_picks(path, voxel_size=A10, tomogram="other")
    assert picks.tomogram == "other"
    np.testing.assert_array_equal(picks.position_vox, [[1, 2, 3]])
    assert picks.weight == [0.5]


@pytest.mark.parametrize("name", ["tomogram", "tomo_name", "Tomogram_Name", "tomo", "tomo_id", "run_name"])
def test_csv_of_several_tomograms_is_divided_by_the_column_that_names_them(tmp_path, name):
    path = tmp_path / "p.csv"
    path.write_text(f"{name},x,y,z\ntomo_1,1,2,3\ntomo_2,4,5,6\n")
    found = read_all(path, voxel_size=(10, 10, 10))
    places = {key: one.position_vox.tolist() for key, one in found.items()}
    assert places == {"tomo_1": [[3, 2, 1]], "tomo_2": [[6, 5, 4]]}


def test_tables_of_the_czii_challenge_are_angstrom_and_name_tomogram_and_feature(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text(
        "id,experiment,particle_type,x,y,z\n0,TS_5_4,ribosome,100,250,300\n1,TS_69_2,apo-ferritin,10,20,30\n"
    )
    found = read_all(path, voxel_size=(10, 10, 10))
    assert {name: one.position_vox.tolist() for name, one in found.items()} == {
        "TS_5_4": [[30, 25, 10]],
        "TS_69_2": [[3, 2, 1]],
    }
    assert found["TS_5_4"].extra["feature"].tolist() == ["ribosome"]


def test_csv_in_angstrom_has_the_origin_taken_off(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("z_a,y_a,x_a\n120,240,360\n")
    picks = read_picks(path, voxel_size=A10, origin=(20, 40, 60))
    np.testing.assert_array_equal(picks.position_vox, [[10, 20, 30]])
    np.testing.assert_array_equal(picks.position, [[120, 240, 360]])


def test_points_of_napari_are_read(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("index,axis-0,axis-1,axis-2\n0.0,1.5,2.0,3.0\n")
    picks = read_picks(path, voxel_size=A10)
    np.testing.assert_array_equal(picks.position_vox, [[1.5, 2, 3]])


@pytest.mark.parametrize(
    ("columns", "size"),
    [
        ("rlnPixelSize 4.0", 4.0),
        ("rlnDetectorPixelSize 4.0", 4.0),
        ("rlnMagnification 10000 rlnDetectorPixelSize 4.0", 4.0),
        ("rlnMagnification 12500.0 rlnDetectorPixelSize 5.0", 4.0),
        ("rlnTomoTiltSeriesPixelSize 4.0 rlnDetectorPixelSize 9", 4.0),
    ],
)
def test_pixel_size_in_the_table(tmp_path, columns, size):
    words = columns.split()
    path = tmp_path / "p.star"
    labels = "rlnCoordinateX rlnCoordinateY rlnCoordinateZ rlnMicrographName " + " ".join(words[::2])
    path.write_text(star(f"30 20 10 tomostar/TS_1.tomostar {' '.join(words[1::2])}", labels=labels))
    picks = read_picks(path)
    assert picks.voxel_size == (size,) * 3
    assert picks.tomogram == "TS_1"
    np.testing.assert_array_equal(read_picks(path, voxel_size=(8, 8, 8)).position_vox, [[5, 10, 15]])


def test_dynamo_states_the_pixel_size_of_some_tomograms(tmp_path):
    """Column 36 is 0 where it is not known: the sizes that are stated count all the same."""

    def row(tomogram, pixel):
        return " ".join(["1", *["0"] * 18, str(tomogram), *["0"] * 3, "31", "21", "11", *["0"] * 9, str(pixel)]) + "\n"

    path = tmp_path / "p.tbl"
    path.write_text(row(1, 2.0) + row(2, 0))
    with pytest.raises(InputError, match="does not say the voxel size of tomogram '2'"):
        read_all(path)
    found = read_all(path, voxel_size=(4, 4, 4))
    assert found["1"].place.tolist() == [[20, 40, 60]]
    assert found["2"].place.tolist() == [[40, 80, 120]]
    path.write_text(row(1, 2.0) + row(1, 0))
    with pytest.raises(FormatError, match=r"different pixel sizes: .*nan: not stated"):
        read_all(path, voxel_size=(4, 4, 4))


def test_texts_that_python_takes_for_numbers_stay_texts(tmp_path):
    path = tmp_path / "p.star"
    labels = "rlnCoordinateX rlnCoordinateY rlnCoordinateZ rlnMicrographName rlnImageName"
    path.write_text(star("1 2 3 a 1_2", labels=labels))
    assert read_picks(path, voxel_size=A10).extra["rlnImageName"].tolist() == ["1_2"]


WORDS = st.one_of(
    st.sampled_from(
        ["", "a b", "data_x", "loop_", "_y", "x_1", "001", "NaN", "None", "<NA>", "[a]", "$", ";", "-1.5e-3"]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="'\"#"), max_size=6),
)


@given(st.data())
def test_star_files_are_the_bytes_that_starfile_writes(data):
    """But for quotes around words that mean something in STAR, which starfile leaves out."""
    blocks = {}
    for name in data.draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True)):
        rows, labels = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 3))
        blocks[name] = {f"l{k}": data.draw(st.lists(WORDS, min_size=rows, max_size=rows)) for k in range(labels)}
    frames = {
        name: pd.DataFrame(
            {
                label: [f'"{v}"' if _WORD_OF_STAR.match(v) and " " not in v else v for v in values]
                for label, values in table.items()
            },
            dtype=object,
        )
        for name, table in blocks.items()
    }
    body = starfile.to_string(frames).split("\n", 1)[1].rstrip("\n")
    assert star_text(blocks, ["# one", "# two"]) == f"# one\n# two\n{body}\n"


def test_empty_loops_and_comments(tmp_path):
    """RELION writes an empty loop with a comment behind it; starfile cannot read that."""
    path = tmp_path / "p.star"
    path.write_text("# version 50001\n" + star() + "\n# version 50001\n\ndata_general\n\n_rlnA 1\n")
    picks = read_picks(path, voxel_size=A10, tomogram="TS")
    assert (len(picks), picks.tomogram) == (0, "TS")


def test_a_star_file_of_ais_is_read(tmp_path):
    path = tmp_path / "TS_1_coords.star"
    labels = "rlnCoordinateX rlnCoordinateY rlnCoordinateZ rlnMicrographName aisParticleSize aisParticleID"
    path.write_text(star("30.0 20.0 10.0 TS_1 512 0123456789", labels=labels))
    picks = read_picks(path, voxel_size=A10)
    assert (picks.tomogram, picks.weight, picks.extra["aisParticleID"]) == ("TS_1", [512], [123456789])
    np.testing.assert_array_equal(picks.position_vox, [[10, 20, 30]])


def test_picks_of_other_copick_programs_are_read(tmp_path):
    path = tmp_path / "data-portal_1_ribosome.json"
    turn = [[0.0, -1.0, 0.0, 5.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    points = [
        {"location": {"x": 25.0, "y": 20.0, "z": 10.0}, "transformation_": turn, "instance_id": 3, "score": None},
        {"location": {"x": 10, "y": 10, "z": 10}},
    ]
    data = {"pickable_object_name": "ribosome", "user_id": "u", "session_id": "1", "points": points}
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="set voxel_size"):
        read_picks(path)
    picks = read_picks(path, voxel_size=A10)
    np.testing.assert_array_equal(picks.position_vox, [[1, 2, 3], [1, 1, 1]])
    np.testing.assert_array_equal(picks.label, [3, 0])
    np.testing.assert_array_equal(picks.weight, [1, 1])
    assert (picks.feature, picks.tomogram) == ("ribosome", path.stem)
    np.testing.assert_allclose(picks.euler, [[0, 0, -90], [0, 0, 0]])
    path.write_text(json.dumps(data | {"run_name": "TS_1", "voxel_spacing": 5.0, "trust_orientation": False}))
    picks = read_picks(path)
    assert (picks.tomogram, picks.voxel_size, picks.euler) == ("TS_1", (5, 5, 5), None)


# Writing -----------------------------------------------------------------------------------------------------------

ONE = Picks([[1, 2, 3]], voxel_size=A10, tomogram="TS")


@pytest.mark.parametrize(
    ("picks", "name", "options", "message"),
    [
        ([], "a.csv", {}, "no picks to write"),
        (ONE, "a.xyzzy", {}, "ending '.xyzzy'"),
        ([ONE, ONE], "a.csv", {}, "'TS' comes twice"),
        ([ONE, ONE.with_(tomogram="b")], "a.json", {}, "holds one tomogram, not 2"),
        ([ONE, ONE.with_(tomogram="b", weight=[1])], "a.csv", {}, "same columns: weight"),
        ([ONE, ONE.with_(tomogram="b", weight=[1])], "a.star", {}, "same columns: rlnAutopickFigureOfMerit"),
        (ONE.with_(voxel_size=(10, 10, 11)), "a.star", {}, "one pixel size"),
        (ONE.with_(voxel_size=(10, 10, 11)), "a.tbl", {}, "one pixel size"),
        (ONE.with_(tomogram=""), "a.star", {}, "tomogram's name"),
        (ONE.with_(tomogram=""), "a.tbl", {}, "tomogram's name"),
        (ONE.with_(tomogram="it's"), "a.star", {}, "STAR cannot hold"),
        (ONE, "a.star", {"format": "relion5"}, "set picks.with_.shape"),
        (ONE, "a.csv", {"pixel_size": 2.0}, "pixel_size"),
        (ONE, "a.star", {"pixel_size": 0.0}, "pixel_size"),
        (ONE.with_(extra={"rlnAngleRot": [1]}), "a.star", {}, "means something else"),
        (ONE.with_(extra={"z_vox": [1]}), "a.csv", {}, "means something else"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, picks, name, options, message):
    with pytest.raises(InputError, match=message):
        write_picks(tmp_path / name, picks, **options)
    assert not list(tmp_path.iterdir())


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "p.csv"
    write_picks(path, ONE)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_picks(path, ONE[[0, 0]])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]
    with pytest.raises(MissingError, match=r"folder .* does not exist"):
        write_picks(tmp_path / "absent" / "p.csv", ONE)


def test_the_same_picks_give_the_same_bytes(tmp_path):
    for ending in ("star", "tbl", "csv", "json", "tsv"):
        path = tmp_path / f"p.{ending}"
        write_picks(path, ONE)
        before = path.read_bytes()
        write_picks(path, ONE)
        assert path.read_bytes() == before
        assert b"20" + b"26" not in before  # no date
