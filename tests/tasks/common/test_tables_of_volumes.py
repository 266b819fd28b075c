"""Tables with several tomograms, and with coordinates from the centre, in ``score``, ``stats`` and ``train``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calling import Command
from mrc_files import write

import volengine
from volengine import RunOptions
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.picks import write_picks

SHAPE = (20, 31, 40)
QUIET = RunOptions(progress=False)
POINTS = {
    name: np.random.default_rng(seed).uniform(1, 18, (count, 3))
    for name, seed, count in (("TS_01", 1, 9), ("TS_02", 2, 5))
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both tomograms as files of other programs call them, and their points three times."""
    monkeypatch.chdir(tmp_path)
    for name in POINTS:
        write(tmp_path / f"{name}_Vol.mrc", np.zeros(SHAPE, "i2"), 1)  # voxels of 10 angstrom
    lines = "".join(f"{name},{z},{y},{x}\n" for name, at in POINTS.items() for z, y, x in at)
    (tmp_path / "plain.csv").write_text("tomogram,z_vox,y_vox,x_vox\n" + lines)
    tables = [
        Picks(at, voxel_size=(10.0,) * 3, shape=SHAPE, tomogram=name, feature="ribosome") for name, at in POINTS.items()
    ]
    for own in ("relion5", "relion"):
        write_picks(f"{own}.star", tables, own)
        text = (tmp_path / f"{own}.star").read_text().splitlines(keepends=True)
        (tmp_path / f"{own}.star").write_text("".join(line for line in text if not line.startswith("# volengine")))
    write_picks("TS_01__ribosome.star", tables[0])
    return tmp_path


def test_the_files_are_those_of_other_programs(files: Path) -> None:
    with pytest.raises(InputError, match="set shape"):
        volengine.read_picks(files / "relion5.star", tomogram="TS_01")
    with pytest.raises(InputError, match="voxel_size"):
        volengine.read_picks(files / "plain.csv", tomogram="TS_01")


@pytest.mark.parametrize("volumes", [["TS_01_Vol.mrc", "TS_02_Vol.mrc"], ["."]])
def test_score_takes_shape_and_voxel_size_from_the_volumes(files: Path, volumes: list[str]) -> None:
    for one, other in (("plain.csv", "relion5.star"), ("relion5.star", "plain.csv"), ("relion5.star", "relion.star")):
        scores = volengine.score(one, other, {"features": ["r"], "radius_nm": 0.1}, volumes=volumes)
        row = scores["r"]
        assert (row["found"], row["truth"], row["paired"]) == (14, 14, 14)
        assert row["error_nm"] < 1e-4
        assert "all 14 rows" in scores.text()


def test_score_counts_the_rows_of_one_volume_and_says_so(files: Path) -> None:
    scores = volengine.score(
        "plain.csv", "relion5.star", {"features": ["r"], "radius_nm": 0.1}, volumes="TS_02_Vol.mrc"
    )
    assert (scores["r"]["found"], scores["r"]["truth"], scores["r"]["paired"]) == (5, 5, 5)
    assert "plain.csv: 5 of 14 rows, as those of 'TS_02'." in scores.text()
    assert "relion5.star: 5 of 14 rows, as those of 'TS_02'." in scores.text()


def test_score_says_how_many_rows_lie_outside(files: Path) -> None:
    """Unbinned pixels that no file says to be such, taken for voxels: nothing is found, and the reason is told."""
    rows = "".join(f"TS_01,{z},{y},{4 * x + 200}\n" for z, y, x in POINTS["TS_01"])
    (files / "unbinned.csv").write_text("tomogram,z_vox,y_vox,x_vox\n" + rows)
    said = volengine.score("unbinned.csv", "plain.csv", {"features": ["r"]}, volumes=["TS_01_Vol.mrc"]).text()
    assert "unbinned.csv: TS_01: 9 of 9 picks lie outside of its 20 x 31 x 40 voxels (z, y, x) of 10 A" in said
    assert "plain.csv: TS_01" not in said


def test_the_other_table_may_know_the_shape(files: Path) -> None:
    scores = volengine.score("TS_01__ribosome.star", "relion5.star", {"radius_nm": 0.1})
    row = scores["ribosome"]
    assert (row["found"], row["truth"], row["paired"]) == (9, 9, 9)
    assert "9 of 14 rows, as those of 'TS_01'" in scores.text()


def test_picks_of_one_tomogram_are_scored_against_its_rows(files: Path) -> None:
    """Until now the known positions of the other tomogram counted as missed."""
    scores = volengine.score("TS_01__ribosome.star", "relion.star", {"radius_nm": 0.1})
    assert (scores["ribosome"]["truth"], scores["ribosome"]["recall"]) == (9, 1)
    assert "Known positions: 9 of 14 rows, as those of 'TS_01'." in scores.text()


def test_what_is_missing_names_the_way_out(files: Path) -> None:
    with pytest.raises(InputError, match="--volume"):
        volengine.score("plain.csv", "relion5.star", {"features": ["r"]})
    with pytest.raises(InputError, match="--volume"):
        volengine.stats("relion5.star")
    write(files / "TS_09.mrc", np.zeros(SHAPE, "i2"), 1)
    with pytest.raises(InputError, match=r"no rows of 'TS_09'; there are those of 'TS_01', 'TS_02'"):
        volengine.score("plain.csv", "relion5.star", {"features": ["r"]}, volumes="TS_09.mrc")
    with pytest.raises(InputError, match=r"is for tables of picks, and TS_01_Vol.mrc is none that can be read"):
        volengine.score("TS_01_Vol.mrc", "TS_02_Vol.mrc", volumes="TS_09.mrc")
    (files / "b").mkdir()
    write(files / "b" / "TS_01.mrc", np.zeros((4, 4, 4), "i2"), 1)
    with pytest.raises(InputError, match="Two volumes of tomogram 'TS_01' differ"):
        volengine.score("plain.csv", "relion5.star", {"features": ["r"]}, volumes=["TS_01_Vol.mrc", "b/TS_01.mrc"])


def test_stats_takes_shape_and_voxel_size_from_the_volumes(files: Path) -> None:
    found = volengine.stats("relion5.star", None, {"radius_nm": 0.1}, QUIET, truth="plain.csv", volumes=["."])
    rows = {row["tomogram"]: row for row in found.tables["counting"]}
    assert {name: (row["found"], row["recall"]) for name, row in rows.items() if name != "all"} == {
        "TS_01": (9, 1),
        "TS_02": (5, 1),
    }
    volume = {row["tomogram"]: row["tomogram_um3"] for row in found.tables["classes"]}["TS_01"]
    assert volume == pytest.approx(20 * 31 * 40 * 1e-9)  # voxels of a cubic nanometre
    assert "relion5.star: all 14 rows, as those of 'TS_01', 'TS_02'." in found.text()


def test_stats_asks_the_label_volumes_of_the_same_call(files: Path) -> None:
    labels = np.zeros(SHAPE, "i2")
    labels[5:8, 5:8, 5:8] = 1
    write(files / "TS_01__core.mrc", labels, 1)
    recipe = {"kind": "instances", "plots": False}
    found = volengine.stats(["relion5.star", "TS_01__core.mrc"], None, recipe, QUIET)
    numbers = {(row["tomogram"], row["class"]): row["objects"] for row in found.tables["classes"]}
    assert numbers["TS_01", "core"] == 1
    assert sorted(n for (name, _), n in numbers.items() if name == "TS_01") == [1, 9]
    assert "relion5.star: 9 of 14 rows, as those of 'TS_01'." in found.text()


def test_both_verbs_on_the_command_line(files: Path, volengine: Command) -> None:
    words = ("plain.csv", "relion5.star", "--volume", "TS_01_Vol.mrc,TS_02_Vol.mrc", "--features", "r")
    code, out, messages = volengine("score", *map(str, words))
    assert (code, messages) == (0, "")
    assert "all 14 rows" in out
    code, out, _ = volengine("stats", "relion5.star", "--volume", "TS_02_Vol.mrc")
    assert code == 0
    assert "5 of 14 rows, as those of 'TS_02'" in out
    code, _, messages = volengine("stats", "relion5.star")
    assert code == 2
    assert "--volume" in messages
