"""Tables whose positions contain the origin, beside a volume that states one: every verb puts them in their voxels.

The values are derived by hand: voxel (2, 3, 4) of a volume with voxels of 20 x 10 x 8 angstrom (z, y, x) and the origin
500, -300, 40 is at 500 + 40 = 540, -300 + 30 = -270, 40 + 32 = 72 angstrom.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from calling import Command

import volengine
from volengine import RunOptions
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.open import open_volume
from volengine.io.picks import read_all, read_picks, write_picks
from volengine.tasks.picks.convert import convert_picks, filter_picks, merge_picks
from volengine.tasks.picks.extract import extract_picks
from volengine.tasks.picks.info import picks_info
from volengine.tasks.train.data import TrainingData
from volengine.tasks.train.labels import LabelPoints
from volengine.tasks.train.recipe import TrainRecipe

QUIET = RunOptions(progress=False)
SHAPE, SIZE, ORIGIN = (12, 16, 20), (20.0, 10.0, 8.0), (500.0, -300.0, 40.0)
VOXELS = [[2, 3, 4], [8, 10, 15]]
ANGSTROM = [[540, -270, 72], [660, -200, 160]]
TABLES = ("places.csv", "places.cmm", "places.am")


def volume(path: Path, origin: tuple[float, float, float] = ORIGIN, data: np.ndarray | None = None) -> Path:
    with mrcfile.new(path, data=np.zeros(SHAPE, np.float32) if data is None else data) as mrc:
        mrc.voxel_size = SIZE[::-1]
        mrc.header.origin.z, mrc.header.origin.y, mrc.header.origin.x = origin
    return path


def foreign(folder: Path, angstrom: list[list[float]] = ANGSTROM, stem: str = "places") -> None:
    """The positions as ChimeraX, Amira and a script would write them."""
    rows = "".join(f"{z},{y},{x}\n" for z, y, x in angstrom)
    (folder / f"{stem}.csv").write_text("z_a,y_a,x_a\n" + rows)
    marks = "".join(f'<marker id="{i}" x="{x}" y="{y}" z="{z}"/>' for i, (z, y, x) in enumerate(angstrom, 1))
    (folder / f"{stem}.cmm").write_text(f'<marker_set name="r">{marks}</marker_set>')
    at = "\n".join(f"{x} {y} {z}" for z, y, x in angstrom)
    (folder / f"{stem}.am").write_text(
        "# AmiraMesh 3D ASCII 2.0\ndefine VERTEX 2\ndefine EDGE 0\ndefine POINT 0\n"
        'Parameters { Units { Coordinates "angstrom" } ContentType "HxSpatialGraph" }\n'
        "VERTEX { float[3] VertexCoordinates } @1\nEDGE { int[2] EdgeConnectivity } @2\n"
        "EDGE { int NumEdgePoints } @3\nPOINT { float[3] EdgePointCoordinates } @4\n"
        f"@1\n{at}\n@2\n@3\n@4\n"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    volume(tmp_path / "TS_01.mrc")
    foreign(tmp_path)
    truth = Picks(np.array(VOXELS, float), SIZE, shape=SHAPE, tomogram="TS_01", feature="r")
    write_picks("truth.csv", truth)
    return tmp_path


@pytest.mark.parametrize("table", TABLES[:2])
def test_score(folder: Path, table: str) -> None:
    recipe = {"features": ["r"], "radius_nm": 0.1}
    row = volengine.score(table, "truth.csv", recipe, volumes="TS_01.mrc")["r"]
    assert (row["found"], row["truth"], row["paired"]) == (2, 2, 2)
    assert row["error_nm"] == pytest.approx(0, abs=1e-6)


def test_without_a_volume_markers_are_refused(folder: Path) -> None:
    table = "places.cmm"
    with pytest.raises(InputError, match=r"origin \+ index \* voxel size: give the volume"):
        volengine.score(table, "truth.csv", {"features": ["r"]})
    with pytest.raises(InputError, match="--volume"):
        volengine.stats(table, None, {"plots": False}, QUIET)


def test_without_a_volume_it_is_said_from_where_a_table_was_taken_to_count(folder: Path) -> None:
    said = volengine.score("places.csv", "truth.csv", {"features": ["r"], "voxel_size": 10}).text()
    assert "places.csv has positions in angstrom: they were taken to count from the tomogram's first voxel" in said
    found = volengine.stats("places.csv", None, {"plots": False, "voxel_size": 10}, QUIET).text()
    assert "taken to count from the tomogram's first voxel" in found


def test_the_other_table_may_state_the_origin(folder: Path) -> None:
    truth = Picks(np.array(VOXELS, float), SIZE, ORIGIN, SHAPE, tomogram="TS_01", feature="r")
    write_picks("stated.csv", truth)
    row = volengine.score("places.cmm", "stated.csv", {"features": ["r"], "radius_nm": 0.1})["r"]
    assert (row["paired"], row["recall"]) == (2, 1)


@pytest.mark.parametrize("table", TABLES[:2])
def test_stats(folder: Path, table: str) -> None:
    recipe = {"plots": False, "radius_nm": 0.1, "classes": ["r"]}
    (folder / f"TS_01__r{Path(table).suffix}").write_bytes((folder / table).read_bytes())
    name = f"TS_01__r{Path(table).suffix}"
    (folder / "known").mkdir()
    write_picks("known/TS_01__r.csv", read_picks("truth.csv"))
    found = volengine.stats(name, None, recipe, QUIET, truth="known/TS_01__r.csv", volumes="TS_01.mrc")
    (row,) = [one for one in found.tables["counting"] if one["tomogram"] == "TS_01"]
    assert (row["found"], row["truth"], row["recall"]) == (2, 2, 1)
    assert row["error_nm"] == pytest.approx(0, abs=1e-6)


def test_stats_asks_the_label_volumes_of_the_same_call(folder: Path) -> None:
    labels = np.zeros(SHAPE, np.int16)
    labels[8, 10, 15] = 1
    volume(folder / "TS_01__core.mrc", data=labels)
    (folder / "TS_01__r.csv").write_text("z_a,y_a,x_a\n540,-270,72\n")
    recipe = {"plots": False, "kind": "instances", "voxel_size": 10.0}
    found = volengine.stats(["TS_01__r.csv", "TS_01__core.mrc"], None, recipe, QUIET)
    assert "taken to count" not in found.text()  # -270 angstrom would lie outside of the tomogram, and be refused
    assert {row["class"] for row in found.tables["classes"] if row["tomogram"] == "TS_01"} == {"core", "r"}


@pytest.mark.parametrize("table", TABLES)
def test_train(folder: Path, table: str) -> None:
    points = LabelPoints.from_files([table], [1.0], open_volume("TS_01.mrc"))
    assert np.argwhere(points.read(Box.of_shape(SHAPE))[0] == 1).tolist() == VOXELS
    sample = {"volume": "TS_01.mrc", "points": [table], "radius_nm": [1.0]}
    recipe = TrainRecipe.from_json({"features": ["r"], "samples": [sample]})
    assert [note for note in TrainingData.of(recipe).notes if "origin" in note or "outside" in note] == []


@pytest.mark.parametrize("table", TABLES)
def test_picks_verbs(folder: Path, table: str) -> None:
    convert_picks(table, "out.csv", {"volume": "TS_01.mrc"})
    out = read_picks("out.csv")
    assert (out.position_vox.tolist(), out.origin, out.shape) == (VOXELS, ORIGIN, SHAPE)
    facts = picks_info(table, {"volume": "TS_01.mrc"})["tomograms"][0]
    assert (facts["lowest"], facts["highest"], facts["outside"]) == (VOXELS[0], VOXELS[1], 0)
    merge_picks([table, "truth.csv"], "merged.csv", {"volume": "TS_01.mrc", "tomogram": "TS_01"})
    assert read_picks("merged.csv").position_vox.tolist() == [*VOXELS, *VOXELS]
    made = extract_picks(table, "TS_01.mrc", "boxes.mrc", {"box": 4})
    assert (made.number, read_picks("boxes.csv").position_vox.tolist()) == (2, VOXELS)
    others = str(Path(table).with_stem("others"))  # of the same file, a pick is not its own neighbour
    shutil.copy(table, others)
    filter_picks(table, "near.csv", {"volume": "TS_01.mrc", "near": others, "near_nm": 0.1})
    assert read_picks("near.csv").position_vox.tolist() == VOXELS
    filter_picks("truth.csv", "also.csv", {"volume": "TS_01.mrc", "near": table, "near_nm": 0.1})
    assert read_picks("also.csv").position_vox.tolist() == VOXELS


def test_each_tomogram_of_a_table_has_its_own_origin(folder: Path) -> None:
    volume(folder / "TS_02.mrc", (0.0, 80.0, -8.0))
    (folder / "both.csv").write_text("tomogram,z_a,y_a,x_a\nTS_01,540,-270,72\nTS_02,40,110,24\n")
    tables = [Picks([[2.0, 3, 4]], SIZE, shape=SHAPE, tomogram=name, feature="r") for name in ("TS_01", "TS_02")]
    write_picks("known.csv", tables)
    row = volengine.score("both.csv", "known.csv", {"features": ["r"], "radius_nm": 0.1}, volumes=["."])["r"]
    assert (row["found"], row["paired"]) == (2, 2)


def test_own_tables_say_with_which_origin_they_were_written(folder: Path) -> None:
    """Another volume does not move them; two origins that are stated and differ are refused, or reported."""
    picks = Picks(np.array(VOXELS, float), SIZE, (0.0, 0.0, 160.0), SHAPE, tomogram="TS_01", feature="r")
    write_picks("own.cmm", picks)
    assert read_picks("own.cmm", origin=ORIGIN).position_vox.tolist() == VOXELS
    with pytest.raises(InputError, match=r"25, 30, 15 voxels apart.*--any-origin"):
        volengine.score("own.cmm", "truth.csv", {"features": ["r"]}, volumes="TS_01.mrc")
    recipe = {"features": ["r"], "radius_nm": 0.1, "any_origin": True}
    assert volengine.score("own.cmm", "truth.csv", recipe, volumes="TS_01.mrc")["r"]["paired"] == 2
    with pytest.raises(InputError, match="--any-origin"):
        volengine.stats("own.cmm", None, {"plots": False}, QUIET, volumes="TS_01.mrc")
    notes = convert_picks("own.cmm", "own.csv", {"volume": "TS_01.mrc"}).notes
    assert any("25, 30, 15 voxels apart" in note for note in notes)
    assert read_picks("own.csv").position_vox.tolist() == VOXELS


def test_a_volume_without_an_origin_counts_from_its_first_voxel(folder: Path) -> None:
    volume(folder / "TS_03.mrc", (0.0, 0.0, 0.0))
    foreign(folder, [[40, 30, 32]] * 2, "TS_03")
    for ending in (".csv", ".cmm", ".am"):
        (picks,) = read_all(f"TS_03{ending}", voxel_size=SIZE, volume_origin=(0.0, 0.0, 0.0)).values()
        assert picks.position_vox.tolist() == [[2, 3, 4]] * 2
    for ending in (".csv", ".cmm"):
        truth = Picks([[2.0, 3, 4]] * 2, SIZE, shape=SHAPE, tomogram="TS_03", feature="r")
        write_picks("three.csv", truth)
        row = volengine.score(f"TS_03{ending}", "three.csv", {"features": ["r"]}, volumes="TS_03.mrc")["r"]
        assert row["paired"] == 2


def test_volumes_of_one_tomogram_that_state_different_origins_are_refused(folder: Path) -> None:
    (folder / "b").mkdir()
    volume(folder / "b" / "TS_01.mrc", (0.0, 0.0, 80.0))
    with pytest.raises(InputError, match="Two volumes of tomogram 'TS_01' state different origins"):
        volengine.score("places.csv", "truth.csv", {"features": ["r"]}, volumes=["TS_01.mrc", "b/TS_01.mrc"])
    (folder / "c").mkdir()
    volume(folder / "c" / "TS_01.mrc", (0.0, 0.0, 0.0))  # a mask, say, whose program has not kept it
    for both in (["TS_01.mrc", "c/TS_01.mrc"], ["c/TS_01.mrc", "TS_01.mrc"]):
        recipe = {"features": ["r"], "radius_nm": 0.1}
        assert volengine.score("places.csv", "truth.csv", recipe, volumes=both)["r"]["paired"] == 2


def test_info_tells_the_number_of_markers(folder: Path, volengine: Command) -> None:
    code, out, messages = volengine("info", "places.cmm")
    assert (code, messages) == (0, "")
    assert "2" in out


def test_info_of_a_graph_without_a_unit_says_what_is_missing(folder: Path, volengine: Command) -> None:
    text = (folder / "places.am").read_text().replace('Units { Coordinates "angstrom" } ', "")
    (folder / "none.am").write_text(text)
    code, _, messages = volengine("info", "none.am")
    assert code == 2
    assert "states no unit of length" in messages
