"""picks merge: equal numbers of two files are two things. Values by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calling import Command
from picks_files import SHAPE, VOXEL

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks
from volengine.io.picks.imod_file import read_model
from volengine.tasks.picks.convert import convert_picks, merge_picks
from volengine.tasks.picks.numbering import renumbered


def lines(first: float, feature: str = "actin", **extra: object) -> Picks:
    """Two contours of two points each."""
    at = [[first, 1, 1], [first, 1, 5], [first + 1, 1, 1], [first + 1, 1, 5]]
    return Picks(at, VOXEL, shape=SHAPE, tomogram="TS_01", feature=feature, extra={"contour": [1, 1, 2, 2], **extra})


def merged(folder: Path, out: str, *tables: Picks) -> tuple[Picks, tuple[str, ...]]:
    names = [str(folder / f"{i}.csv") for i in range(len(tables))]
    for name, one in zip(names, tables, strict=True):
        write_picks(name, one)
    made = merge_picks(names, folder / out)
    return read_picks(made.files[0], voxel_size=VOXEL), made.notes


def test_contours_of_two_models_stay_apart(tmp_path: Path) -> None:
    found, notes = merged(tmp_path, "all.mod", lines(2), lines(12), lines(22))
    assert found.extra["contour"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    assert found.position_vox[:, 0].tolist() == pytest.approx([2, 2, 3, 3, 12, 12, 13, 13, 22, 22, 23, 23])
    assert any("1.csv: numbers of contour were raised" in note for note in notes)


@pytest.mark.parametrize("column", ["filament", "rlnHelicalTubeID", "subtomo_num"])
def test_numbers_of_lines_and_particles_are_raised(tmp_path: Path, column: str) -> None:
    one, two = (lines(z).with_(extra={column: [3, 3, 7, 7]}) for z in (2, 12))
    found, _ = merged(tmp_path, "all.csv", one, two)
    assert found.extra[column].tolist() == [3, 3, 7, 7, 10, 10, 14, 14]


def test_labels_are_raised_but_for_0(tmp_path: Path) -> None:
    one, two = (lines(z).with_(extra={}, label=[0, 1, 2, 5]) for z in (2, 12))
    found, notes = merged(tmp_path, "all.csv", one, two)
    assert found.label is not None
    assert found.label.tolist() == [0, 1, 2, 5, 0, 6, 7, 10]
    assert any("label" in note for note in notes)


def test_numbers_of_which_none_is_there_twice_are_kept(tmp_path: Path) -> None:
    one, two = lines(2), lines(12).with_(extra={"contour": [8, 8, 9, 9]})
    found, notes = merged(tmp_path, "all.csv", one, two)
    assert found.extra["contour"].tolist() == [1, 1, 2, 2, 8, 8, 9, 9]
    assert notes == ()


def test_objects_are_classes_unless_they_have_other_names(tmp_path: Path) -> None:
    """The same object of two models gets the contours of both; objects of other names become further ones."""
    ones = [1, 1, 1, 1]
    found, _ = merged(tmp_path, "a.csv", lines(2, object=ones), lines(12, object=ones))
    assert found.extra["object"].tolist() == [1] * 8
    assert found.extra["contour"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    found, _ = merged(tmp_path, "b.csv", lines(2, object=ones), lines(12, "tubulin", object=ones))
    assert found.extra["object"].tolist() == [1] * 4 + [2] * 4
    assert found.extra["contour"].tolist() == [1, 1, 2, 2] * 2
    assert found.extra["object_name"].tolist() == ["actin"] * 4 + ["tubulin"] * 4
    merged(tmp_path, "b.mod", lines(2, object=ones), lines(12, "tubulin", object=ones))
    assert [one.name for one in read_model(tmp_path / "b.mod").objects] == ["actin", "tubulin"]


def test_names_by_which_relion_knows_particles_are_dropped_if_they_are_there_twice(tmp_path: Path) -> None:
    names = {"rlnTomoParticleName": [f"TS_01/{i}" for i in range(4)]}
    one, two = (lines(z).with_(extra=names) for z in (2, 12))
    found, notes = merged(tmp_path, "all.csv", one, two)
    assert "rlnTomoParticleName" not in found.extra
    assert any("rlnTomoParticleName" in note for note in notes)
    found, _ = merged(tmp_path, "b.csv", one, two.with_(extra={"rlnTomoParticleName": list("abcd")}))
    assert found.extra["rlnTomoParticleName"].tolist() == [*names["rlnTomoParticleName"], *"abcd"]


def test_texts_and_numbers_that_are_too_large() -> None:
    one = lines(2).with_(extra={"filament": list("aabb")})
    _, two = renumbered([("a", one), ("b", one)], [])
    assert two.extra["filament"].tolist() == ["a_2", "a_2", "b_2", "b_2"]
    large = lines(2).with_(extra={}, label=np.array([1, 2, 3, 2**62]))
    with pytest.raises(InputError, match="b: numbers of label are too large"):
        renumbered([("a", large), ("b", large)], [])


def test_a_quoted_glob_names_the_files(tmp_path: Path, volengine: Command) -> None:
    for name, z in (("b1.csv", 2), ("b2.csv", 12)):
        write_picks(name, lines(z))
    code, out, _ = volengine("picks", "merge", "b*.csv", "--out", "all.star")
    assert code == 0
    assert "TS_01: 8 picks" in out
    code, _, err = volengine("picks", "merge", "c*.csv", "--out", "all.tbl")
    assert code != 0
    assert "c*.csv: nothing matches" in err
    code, out, _ = volengine("picks", "info", "b*.csv")
    assert out.count("TS_01: 4 picks") == 2


@pytest.mark.parametrize(
    ("objects", "names"), [([1, 1], ["mt", "mt"]), ([1, 2], ["mt", "actin"]), ([2, 2], ["a", "a"])]
)
def test_names_of_objects_come_back_from_imod(tmp_path: Path, objects: list[int], names: list[str]) -> None:
    extra = {"object": np.array(objects), "object_name": np.array(names)}
    picks = Picks([[1, 2, 3], [3, 4, 5]], VOXEL, tomogram="a", shape=(9, 9, 9), extra=extra)
    write_picks(tmp_path / "a.csv", picks)
    made = convert_picks(tmp_path / "a.csv", tmp_path / "a.mod")
    assert not any("Dropped" in note for note in made.notes)
    assert read_picks(tmp_path / "a.mod").extra["object_name"].tolist() == names


@pytest.mark.parametrize("names", [["mt", "actin"], ["x" * 70] * 2, [" mt"] * 2])
def test_names_that_imod_cannot_hold_are_said_to_be_dropped(tmp_path: Path, names: list[str]) -> None:
    """Two names of one object, one too long, and one with a blank that readers strip."""
    extra = {"object": np.array([1, 1]), "object_name": np.array(names)}
    write_picks(tmp_path / "a.csv", Picks([[1, 2, 3], [3, 4, 5]], VOXEL, tomogram="a", extra=extra))
    made = convert_picks(tmp_path / "a.csv", tmp_path / "a.mod")
    assert "Dropped, because imod does not hold it: object_name." in made.notes
