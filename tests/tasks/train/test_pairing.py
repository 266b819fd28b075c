"""train --volume with folders and globs: the truth of a tomogram is found by its name."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from volengine.core.errors import InputError, MissingError
from volengine.tasks.train.pairing import paired


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder, names in {
        "tomograms": ["TS_1_Vol.mrc", "TS_10.mrc", "TS_2.mrc"],
        "labels": ["TS_10__membrane.mrc", "TS_1_labels.mrc", "TS_2.mrc"],
        "points": ["TS_1__core.star", "TS_10__core.star", "TS_2.csv"],
    }.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    return tmp_path


@pytest.mark.parametrize("volumes", ["tomograms", "tomograms/*.mrc"])
@pytest.mark.parametrize(
    ("key", "truth", "want"),
    [
        ("labels", "labels", ["labels/TS_1_labels.mrc", "labels/TS_10__membrane.mrc", "labels/TS_2.mrc"]),
        ("targets", "labels/*", ["labels/TS_1_labels.mrc", "labels/TS_10__membrane.mrc", "labels/TS_2.mrc"]),
        ("points", "points", ["points/TS_1__core.star", "points/TS_10__core.star", "points/TS_2.csv"]),
        ("points", "points/TS*", ["points/TS_1__core.star", "points/TS_10__core.star", "points/TS_2.csv"]),
    ],
)
def test_names_and_not_the_order_decide(here: Path, volumes: str, key: str, truth: str, want: list[str]) -> None:
    """Sorted, the labels of TS_10 are before those of TS_1."""
    found, given = paired([volumes], {key: [truth]})
    pairs = dict(zip(found, given[key], strict=True))
    names = ["tomograms/TS_1_Vol.mrc", "tomograms/TS_10.mrc", "tomograms/TS_2.mrc"]
    assert pairs == dict(zip(names, want, strict=True))


@pytest.mark.parametrize("single", [False, True])
def test_one_table_is_that_of_all_tomograms(here: Path, single: bool) -> None:
    """Also if the tomograms are given one by one. It names each of them; else points of one would be those of all."""
    names = ["tomograms/TS_10.mrc", "tomograms/TS_1_Vol.mrc", "tomograms/TS_2.mrc"]
    for name in names:
        mrcfile.write(name, np.zeros((4, 4, 4), np.float32), overwrite=True, voxel_size=10)
    volumes, rows = (names if single else ["tomograms"]), ["TS_1 1 2 3", "TS_10 1 2 3", "TS_2 1 2 3"]
    head = ["data_", "loop_", "_rlnTomoName", "_rlnCoordinateX", "_rlnCoordinateY", "_rlnCoordinateZ"]
    Path("all.star").write_text("\n".join([*head, *rows, ""]))
    found, given = paired(volumes, {"points": ["all.star"], "labels": []})
    assert (found, given) == (tuple(names), {"points": ("all.star",) * 3, "labels": ()})
    Path("all.star").write_text("\n".join([*head, *rows[:2], ""]))
    with pytest.raises(InputError, match=r"no rows of 'TS_2'.*must name the tomogram of each row"):
        paired(volumes, {"points": ["all.star"]})
    for name in ("TS_2.csv", "picks.csv"):
        Path(name).write_text("x,y,z\n1,2,3\n")
        with pytest.raises(InputError, match=r"no rows of 'TS_10', 'TS_1_Vol'"):
            paired(volumes, {"points": [name]})


def test_single_files_are_taken_as_they_are_given(here: Path) -> None:
    volumes, truth = ["tomograms/TS_2.mrc", "set.scnt", "x.mrc"], {"labels": ["labels/TS_10__membrane.mrc", "y.mrc"]}
    assert paired(volumes, truth) == (tuple(volumes), {"labels": tuple(truth["labels"])})


def test_what_does_not_belong_together_is_refused(here: Path) -> None:
    (here / "labels" / "TS_2.mrc").unlink()
    with pytest.raises(InputError, match=r"tomograms/TS_2\.mrc have no labels of their name"):
        paired(["tomograms"], {"labels": ["labels"]})
    for name in ("TS_2_a.mrc", "TS_2_b.mrc"):
        (here / "labels" / name).touch()
    with pytest.raises(InputError, match=r"tomograms/TS_2\.mrc have more than one file of labels"):
        paired(["tomograms"], {"labels": ["labels"]})
    (here / "labels" / "TS_2_b.mrc").rename(here / "labels" / "TS_20.mrc")
    with pytest.raises(InputError, match=r"labels/TS_20\.mrc belong to no tomogram"):
        paired(["tomograms"], {"labels": ["labels"]})
    with pytest.raises(MissingError):
        paired(["tomograms/*.rec"], {"labels": ["labels"]})
    (here / "empty").mkdir()
    with pytest.raises(MissingError, match="no table of picks"):
        paired(["tomograms"], {"points": ["empty"]})


def test_a_further_number_is_that_of_another_tomogram(here: Path) -> None:
    """PACEtomo and others number the tomograms of one stage position: TS_2, TS_2_2, TS_2_3."""
    (here / "labels" / "TS_2.mrc").rename(here / "labels" / "TS_2_3_labels.mrc")
    with pytest.raises(InputError, match=r"tomograms/TS_2\.mrc have no labels"):
        paired(["tomograms"], {"labels": ["labels"]})
    (here / "tomograms" / "TS_2.mrc").rename(here / "tomograms" / "TS_2_3.mrc")
    found, given = paired(["tomograms"], {"labels": ["labels"]})
    assert dict(zip(found, given["labels"], strict=True))["tomograms/TS_2_3.mrc"] == "labels/TS_2_3_labels.mrc"
    (here / "labels" / "TS_10__membrane.mrc").rename(here / "labels" / "TS_10_10.00Apx_2d_membrane.mrc")
    assert paired(["tomograms"], {"labels": ["labels"]})[0] == found
