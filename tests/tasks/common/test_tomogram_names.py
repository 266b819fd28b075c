"""Names of tomograms: tables of Warp and AreTomo, matched with volumes and with each other in every verb."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mrc_files import write

import volengine
from volengine.core.boxes import Box
from volengine.core.errors import InputError, MissingError
from volengine.engine.options import RunOptions
from volengine.io.names import same_tomogram, tomogram_key, tomogram_name
from volengine.io.open import open_volume
from volengine.tasks.train.labels import LabelPoints

QUIET = RunOptions(progress=False)
SHAPE = (8, 9, 10)
POINTS = {"TS_01": (3, 4, 5), "TS_02": (6, 2, 7)}


def table(path: Path, names: dict[str, str], label: str = "rlnTomoName") -> Path:
    """A STAR file of one particle of each tomogram, which the file calls by the names."""
    labels = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", label, "rlnPixelSize"]
    rows = [f"{x} {y} {z} {names[name]} 10.0\n" for name, (z, y, x) in POINTS.items()]
    path.write_text("data_particles\n\nloop_\n" + "".join(f"_{label}\n" for label in labels) + "".join(rows))
    return path


@pytest.mark.parametrize("volume", ["TS_02", "TS_02_Vol", "TS_02_EVN_Vol", "TS_02_10.00Apx"])
@pytest.mark.parametrize("label", ["rlnTomoName", "rlnMicrographName"])
def test_training_takes_the_rows_of_its_volume(tmp_path: Path, volume: str, label: str) -> None:
    path = write(tmp_path / f"{volume}.mrc", np.zeros(SHAPE, "i2"), 1)
    star = table(tmp_path / "all.star", {name: f"{name}.tomostar" for name in POINTS}, label)
    points = LabelPoints.from_files([str(star)], [5.0], open_volume(path))
    labels = points.read(Box.of_shape(SHAPE))[0]
    assert [tuple(at) for at in np.argwhere(labels == 1)] == [POINTS["TS_02"]]


def test_training_refuses_a_volume_of_another_name(tmp_path: Path) -> None:
    path = write(tmp_path / "TS_03.mrc", np.zeros(SHAPE, "i2"), 1)
    star = table(tmp_path / "all.star", {name: f"{name}.tomostar" for name in POINTS})
    with pytest.raises(InputError, match="has no rows of 'TS_03'"):
        LabelPoints.from_files([str(star)], [5.0], open_volume(path))


def test_score_and_stats_match_names_of_any_program(tmp_path: Path) -> None:
    ours = table(tmp_path / "a__r.star", {name: f"{name}.tomostar" for name in POINTS})
    theirs = tmp_path / "b__r.csv"
    rows = [f"{name}_10.00Apx,{z},{y},{x}\n" for name, (z, y, x) in POINTS.items()]
    theirs.write_text("tomogram,z,y,x\n" + "".join(rows))
    recipe = {"voxel_size": 10.0, "features": ["r"], "radius_nm": 1.0}
    row = volengine.score(ours, theirs, recipe)["r"]
    assert (row["recall"], row["precision"], row["error_nm"]) == (1, 1, 0)
    stats = volengine.stats(
        [ours], tmp_path / "out", {"plots": False, "radius_nm": 1.0, "voxel_size": 10.0}, QUIET, truth=theirs
    )
    assert {row["tomogram"]: row["recall"] for row in stats.tables["counting"]} == {"all": 1, "TS_01": 1, "TS_02": 1}
    theirs.write_text("tomogram,z,y,x\nTS_01,1,2,3\nTS_07,1,2,3\n")
    with pytest.raises(MissingError, match=r"no known positions of tomogram 'TS_02'.*--volume"):
        volengine.score(ours, theirs, recipe)


def test_score_refuses_two_names_of_one_tomogram(tmp_path: Path) -> None:
    ours = tmp_path / "a__r.csv"
    ours.write_text("tomogram,z,y,x\nTS_01_8.00Apx,1,2,3\nTS_01_10.00Apx,1,2,3\n")
    theirs = table(tmp_path / "b__r.star", {name: name for name in POINTS})
    with pytest.raises(InputError, match="both mean tomogram 'TS_01'"):
        volengine.score(ours, theirs, {"voxel_size": 10.0, "features": ["r"], "radius_nm": 1.0})


def test_the_functions() -> None:
    assert tomogram_name("a/b/TS_01_Vol.mrc.gz") == "TS_01"
    assert tomogram_name("TS_01_10.00Apx.mrc") == "TS_01_10.00Apx"
    assert tomogram_key("TS_01_10.00Apx") == tomogram_key("TS_01") == tomogram_key("TS_01_ODD_Vol.mrc") == "TS_01"
    assert tomogram_key("a/TS_01") != tomogram_key("b/TS_01")
    assert same_tomogram("TS_01", ["TS_01_Vol", "TS_01"]) == "TS_01"
    assert same_tomogram("TS_01", ["TS_01_EVN_Vol", "TS_01_ODD_Vol"]) is None  # which of them is not said
    assert same_tomogram("TS_1", ["TS_01", "TS_10"]) is None
