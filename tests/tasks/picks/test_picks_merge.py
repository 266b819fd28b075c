"""picks merge: picks of the same tomogram in one table, and what is said of columns, features and origins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picks_files import POSITIONS, SHAPE, VOXEL

from volengine.core.errors import InputError, MissingError
from volengine.core.picks import Picks
from volengine.io.picks import imod_file, read_all, read_picks, write_picks
from volengine.tasks.picks.convert import filter_picks, merge_picks


def test_merge_joins_by_tomogram_and_drops_doubles(tmp_path: Path, picks: Picks) -> None:
    fine = picks.with_(
        position_vox=np.array(POSITIONS) * 2, voxel_size=(5, 5, 5), shape=(80, 100, 120), tomogram="TS_01_Vol"
    )
    write_picks(tmp_path / "a.csv", picks)
    write_picks(tmp_path / "b.star", fine)
    write_picks(tmp_path / "c.tbl", picks[:1].with_(tomogram="TS_02"))
    sources = [tmp_path / name for name in ("a.csv", "b.star", "c.tbl")]
    made = merge_picks(sources, tmp_path / "all.csv", {"mask_grid": "centres"})
    assert made.counts == {"TS_01": 8, "TS_02": 1}
    assert "Dropped, because not all tomograms have it: note." in made.notes
    assert read_all(made.files[0])["TS_01"].place.tolist() == [*picks.place.tolist(), *picks.place.tolist()]
    made = merge_picks(sources, tmp_path / "once.csv", {"spacing_nm": 0.5, "mask_grid": "centres"})
    assert made.counts == {"TS_01": 4, "TS_02": 1}
    assert "4 picks were closer than 0.5 nm to one of higher weight." in made.notes


def test_merge_refuses_what_does_not_fit(tmp_path: Path, picks: Picks) -> None:
    write_picks(tmp_path / "a.csv", picks)
    write_picks(tmp_path / "b.csv", picks.with_(shape=(80, 100, 120)))
    with pytest.raises(InputError, match=r"measures 80 x 100 x 120 nm .* 40 x 50 x 60"):
        merge_picks([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out.csv")
    write_picks(tmp_path / "c.csv", picks.with_(origin=(100, 0, 0)))
    write_picks(tmp_path / "d.csv", picks.with_(origin=(300, 0, 0)))
    with pytest.raises(InputError, match="origin"):
        merge_picks([tmp_path / "c.csv", tmp_path / "d.csv"], tmp_path / "out.csv")
    with pytest.raises(MissingError):
        merge_picks([tmp_path / "none.csv"], tmp_path / "out.csv")


def test_origins_that_differ_are_said(tmp_path: Path, picks: Picks) -> None:
    """An origin that one side does not state moves nothing, but is not passed over in silence."""
    write_picks(tmp_path / "a.csv", picks)
    write_picks(tmp_path / "b.csv", picks.with_(origin=(300, 0, 0)))
    said = "compared from the first voxel of each"
    made = merge_picks([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out.csv")
    assert any(said in note for note in made.notes)
    made = filter_picks(tmp_path / "b.csv", tmp_path / "near.csv", {"near": str(tmp_path / "a.csv"), "near_nm": 1.0})
    assert any(said in note for note in made.notes)
    write_picks(tmp_path / "c.csv", picks)
    same = filter_picks(tmp_path / "a.csv", tmp_path / "same.csv", {"near": str(tmp_path / "c.csv"), "near_nm": 1.0})
    assert not same.notes


def test_merge_of_features_keeps_their_names_as_a_column(tmp_path: Path, picks: Picks) -> None:
    write_picks(tmp_path / "a.csv", picks[:1])
    write_picks(tmp_path / "b.csv", picks[1:2].with_(feature="proteasome"))
    made = merge_picks([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out.csv")
    found = read_picks(made.files[0])
    assert found.feature == ""
    assert found.extra["feature"].tolist() == ["ribosome", "proteasome"]


def test_features_of_a_merged_file_are_kept_by_a_further_merge(tmp_path: Path, picks: Picks) -> None:
    names = [tmp_path / f"{n}.csv" for n in range(4)]
    for n, feature in enumerate(["ribosome", "proteasome", "vault"]):
        write_picks(names[n], picks[n : n + 1].with_(feature=feature))
    write_picks(names[3], picks[3:].with_(tomogram="TS_02", feature="vault"))
    first = merge_picks(names[:2], tmp_path / "first.csv")
    made = merge_picks([first.files[0], *names[2:]], tmp_path / "out.csv")
    found = read_all(made.files[0])
    assert found["TS_01"].extra["feature"].tolist() == ["ribosome", "proteasome", "vault"]
    assert found["TS_02"].extra["feature"].tolist() == ["vault"]
    assert not made.notes


def test_columns_that_a_merge_leaves_out_are_said(tmp_path: Path, picks: Picks) -> None:
    write_picks(tmp_path / "a.csv", picks)
    bare = Picks(np.array(POSITIONS) + 1, VOXEL, shape=SHAPE, tomogram="TS_01", weight=[1] * 4)
    write_picks(tmp_path / "b.csv", bare)
    made = merge_picks([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out.csv")
    assert "TS_01: dropped, because not all of its files have it: euler, note." in made.notes
    assert read_picks(made.files[0]).weight is not None


@pytest.mark.parametrize("tomogram", ["TS_01", "TS_02"])
@pytest.mark.parametrize("last", [False, True])
def test_a_file_without_picks_takes_no_columns_away(tmp_path: Path, picks: Picks, tomogram: str, last: bool) -> None:
    """Those of copick and EMAN2 without points state no weights and no poses."""
    write_picks(tmp_path / "a.csv", picks)
    write_picks(tmp_path / "b.csv", Picks(np.zeros((0, 3)), VOXEL, shape=SHAPE, tomogram=tomogram, feature="ribosome"))
    sources = [tmp_path / "a.csv", tmp_path / "b.csv"]
    made = merge_picks(sources if last else sources[::-1], tmp_path / "out.csv")
    found = read_all(made.files[0])
    assert found["TS_01"] == picks
    assert len(found.get("TS_02", ())) == 0
    assert not made.notes


def test_features_of_a_merged_table_are_objects_of_these_names(tmp_path: Path) -> None:
    """Objects were one, without a name; or all points had the name of the first."""
    for name in ("ribosome", "membrane"):
        picks = Picks([[1, 2, 3], [4, 5, 6]], (10.0,) * 3, shape=(9, 9, 9), tomogram="T", feature=name)
        write_picks(tmp_path / f"{name}.csv", picks)
    sources = [tmp_path / "ribosome.csv", tmp_path / "membrane.csv"]
    made = merge_picks(sources, tmp_path / "all.mod")
    assert "Features are written as names of objects." in made.notes
    assert [one.name for one in imod_file.read_model(tmp_path / "all.mod").objects] == ["ribosome", "membrane"]
    assert read_picks(tmp_path / "all.mod").extra["object_name"].tolist() == ["ribosome"] * 2 + ["membrane"] * 2


def test_tables_of_a_binned_tomogram_lie_on_it(tmp_path: Path, picks: Picks) -> None:
    """Voxel i of 2 x 2 x 2 voxels has its centre half a fine voxel behind that of fine voxel 2 i."""
    coarse = picks.with_(position_vox=np.array(POSITIONS) / 2 - 0.25, voxel_size=(20, 20, 20), shape=(20, 25, 30))
    write_picks(tmp_path / "a.csv", picks)
    write_picks(tmp_path / "b.csv", coarse.with_(size_vox=[1, 2, 3, 4]))
    write_picks(tmp_path / "c.csv", picks.with_(size_vox=[8, 16, 24, 32]))
    made = merge_picks([tmp_path / "c.csv", tmp_path / "b.csv"], tmp_path / "all.csv")
    assert any("begin at the same face" in note for note in made.notes)
    assert any("size_vox" in note for note in made.notes)
    places = read_all(made.files[0])["TS_01"].place
    np.testing.assert_allclose(places, np.concatenate([picks.place, picks.place]), atol=1e-9)
    near = {"near": str(tmp_path / "b.csv"), "near_nm": 0.01, "mask_grid": "faces"}
    assert filter_picks(tmp_path / "a.csv", tmp_path / "near.csv", near).counts == {"TS_01": len(picks)}
    with pytest.raises(InputError, match="--mask-grid"):
        filter_picks(tmp_path / "a.csv", tmp_path / "far.csv", near | {"mask_grid": "auto"})
    write_picks(tmp_path / "d.csv", coarse.with_(shape=(20, 25, 20)))
    with pytest.raises(InputError, match="measures"):
        filter_picks(tmp_path / "a.csv", tmp_path / "far.csv", near | {"near": str(tmp_path / "d.csv")})
