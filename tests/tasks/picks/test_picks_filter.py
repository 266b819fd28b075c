"""picks filter: every condition, values by hand."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from mrc_files import write
from picks_files import SHAPE, VOXEL, volume

from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks
from volengine.tasks.picks.convert import filter_picks


@pytest.mark.parametrize(
    ("recipe", "kept"),
    [
        ({"min_weight": 2}, [0, 1, 2]),
        ({"max_weight": 3, "min_weight": 2}, [1, 2]),
        ({"region": (0, 0, 0, 11, 21, 31)}, [0, 1]),  # voxel 10.25 lies in voxel 10; x = 31 is behind the last
        ({"region": (5, 6, 7, 6, 7, 8)}, [0]),
        ({"spacing_nm": 1.5}, [0, 1, 3]),
        ({"spacing_nm": 1.0}, [0, 1, 2, 3]),
        ({"number": 0}, []),
        ({"min_weight": 2, "region": (0, 0, 30, 40, 50, 60)}, [1, 2]),
    ],
)
def test_conditions(tmp_path: Path, csv: Path, recipe: dict[str, object], kept: list[int]) -> None:
    made = filter_picks(csv, tmp_path / "out.csv", recipe)
    assert read_picks(made.files[0]).extra["note"].tolist() == ["abcd"[i] for i in kept]
    assert bool(made.notes) == (len(kept) < 4)


def test_a_mask_and_labels(tmp_path: Path, csv: Path) -> None:
    """Values at the nearest voxels of the picks; a mask of half the voxels holds two of them in each of its own."""
    for name, shape, size in (("full.mrc", SHAPE, 10.0), ("half.mrc", (20, 25, 30), 20.0)):
        array = np.zeros(shape, "i2")
        step = int(size // 10)
        for value, at in ((1, (5, 6, 7)), (2, (10, 20, 30)), (3, (39, 49, 59))):
            array[tuple(np.array(at) // step)] = value
        z, y, x = shape
        write(tmp_path / name, array, 1, cell=(size * x, size * y, size * z))

    def kept(**recipe: object) -> str:
        made = filter_picks(csv, tmp_path / "out.csv", {"overwrite": True, **recipe})
        return "".join(read_picks(made.files[0]).extra["note"].tolist())

    mask = str(tmp_path / "full.mrc")
    assert kept(mask=mask) == "abd"
    assert kept(mask=mask, outside=True) == "c"
    assert kept(mask=mask, labels=(2, 3)) == "bd"
    assert kept(mask=mask, threshold=1.5) == "bd"
    assert kept(mask=str(tmp_path / "half.mrc"), labels=(1,)) == "a"
    volume(tmp_path / "other.mrc", (40, 50, 30))
    with pytest.raises(InputError, match="measures 40 x 50 x 30 nm"):
        kept(mask=str(tmp_path / "other.mrc"))


def test_a_mask_is_of_one_tomogram(tmp_path: Path, csv: Path, picks: Picks) -> None:
    """Picks of several tomograms, or of another one of the series, are filtered only if one is named."""
    for name in ("TS_02__membrane.mrc", "membrane.mrc"):
        volume(tmp_path / name)
    named, unnamed = str(tmp_path / "TS_02__membrane.mrc"), str(tmp_path / "membrane.mrc")
    out = tmp_path / "out.csv"
    with pytest.raises(InputError, match=r"are of 'TS_01', and the mask .* is of 'TS_02'.*--tomogram TS_01"):
        filter_picks(csv, out, {"mask": named})
    assert not out.exists()
    done = filter_picks(csv, out, {"mask": named, "tomogram": "TS_01", "outside": True})
    assert done.counts == {"TS_01": 4}
    assert any("'TS_01', and the mask" in note and note.endswith("is of 'TS_02'.") for note in done.notes)
    done = filter_picks(csv, tmp_path / "b.csv", {"mask": unnamed, "outside": True})
    assert done.counts == {"TS_01": 4}
    assert not done.notes
    volume(tmp_path / "TS_02_mito.mrc")
    with pytest.raises(InputError, match=r"are of 'TS_01', and the mask .* is of 'TS_02_mito'"):
        filter_picks(csv, out, {"mask": str(tmp_path / "TS_02_mito.mrc"), "overwrite": True})
    volume(tmp_path / "lamella7__mito.mrc")
    done = filter_picks(csv, out, {"mask": str(tmp_path / "lamella7__mito.mrc"), "outside": True, "overwrite": True})
    assert any("is of 'lamella7'" in note for note in done.notes)
    write_picks(tmp_path / "two.csv", [picks, picks.with_(tomogram="TS_02")])
    for mask in (named, unnamed):
        with pytest.raises(InputError, match=r"a mask of one tomogram.*picks of 2 \(TS_01, TS_02\)"):
            filter_picks(tmp_path / "two.csv", out, {"mask": mask, "overwrite": True})
    chosen = {"mask": named, "tomogram": "TS_02", "outside": True, "overwrite": True}
    assert filter_picks(tmp_path / "two.csv", out, chosen).counts == {"TS_02": 4}
    with pytest.raises(InputError, match=r"mask .* is of 'TS_02', of which the file has picks, too"):
        filter_picks(tmp_path / "two.csv", out, {**chosen, "tomogram": "TS_01"})


def test_picks_beyond_the_faces_of_a_mask_are_said(tmp_path: Path, csv: Path, picks: Picks) -> None:
    """A table without the shape of its tomogram cannot be compared with the mask; its picks can."""
    volume(tmp_path / "m.mrc")
    some = picks.with_(shape=None, position_vox=[*picks.position_vox[:-1].tolist(), [3, 4, 4000]])
    write_picks(tmp_path / "some.csv", some)
    done = filter_picks(tmp_path / "some.csv", tmp_path / "out.csv", {"mask": str(tmp_path / "m.mrc")})
    assert any("1 of 4 picks of TS_01 lie beyond the faces" in note for note in done.notes)
    write_picks(tmp_path / "all.csv", some.with_(position_vox=some.position_vox + 5000))
    with pytest.raises(InputError, match="4 of 4 picks of TS_01 lie beyond the faces"):
        filter_picks(tmp_path / "all.csv", tmp_path / "b.csv", {"mask": str(tmp_path / "m.mrc")})


def test_distance_to_other_picks(tmp_path: Path, csv: Path, picks: Picks) -> None:
    other = picks[:1].with_(position_vox=[[10.25, 20, 28]])  # 2, 3 voxels from b, c
    write_picks(tmp_path / "other.star", other)

    def kept(**recipe: object) -> str:
        near = {"overwrite": True, "near": str(tmp_path / "other.star")}
        made = filter_picks(csv, tmp_path / "out.csv", near | recipe)
        return "".join(read_picks(made.files[0]).extra["note"].tolist())

    assert kept(near_nm=2.0) == "b"
    assert kept(near_nm=3.0) == "bc"
    assert kept(far_nm=2.5) == "acd"
    assert kept(far_nm=2.5, near_nm=3.5) == "c"
    write_picks(tmp_path / "other.star", other[:0])
    assert kept(near_nm=100.0) == ""
    assert kept(far_nm=100.0) == "abcd"


def test_a_pick_is_not_its_own_neighbour(tmp_path: Path) -> None:
    """Of the same file, also by another name of it, the other picks count: 1 nm, 1 nm, 5 nm; two at one place."""
    picks = Picks([[0, 0, 0], [0, 0, 1], [0, 0, 6], [9, 9, 9], [9, 9, 9]], (10, 10, 10), tomogram="T")
    write_picks(tmp_path / "a.csv", picks)
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")

    def kept(**recipe: object) -> list[float]:
        near = {"overwrite": True, "near": str(tmp_path / "link.csv")}
        made = filter_picks(tmp_path / "a.csv", tmp_path / "out.csv", near | recipe)
        return read_picks(made.files[0]).position_vox[:, 2].tolist()

    assert kept(near_nm=1.0) == [0, 1, 9, 9]
    assert kept(far_nm=1.0) == [0, 1, 6]
    assert kept(far_nm=1.5) == [6]
    write_picks(tmp_path / "a.csv", picks[:1])
    assert kept(far_nm=1.5) == [0]
    assert kept(near_nm=1.5) == []


def test_masks_and_other_picks_are_those_of_the_same_tomogram(tmp_path: Path, picks: Picks) -> None:
    """What belongs to one tomogram is not applied to the picks of another one."""
    other = picks.with_(tomogram="TS_02")
    write_picks(tmp_path / "both.csv", [picks, other])
    write_picks(tmp_path / "one.csv", other)
    write_picks(tmp_path / "near.csv", picks)
    write_picks(tmp_path / "cell.csv", picks.with_(tomogram="cell"))
    volume(tmp_path / "TS_01__membrane.mrc")
    mask = {"mask": str(tmp_path / "TS_01__membrane.mrc"), "outside": True, "overwrite": True}
    out = tmp_path / "out.csv"
    for source, name in (("both.csv", "TS_01"), ("one.csv", "TS_02"), ("near.csv", None), ("cell.csv", None)):
        assert filter_picks(tmp_path / source, out, mask | {"tomogram": name}).counts
    near = {"near": str(tmp_path / "near.csv"), "near_nm": 1.0, "overwrite": True}
    for source in ("both.csv", "one.csv"):
        with pytest.raises(InputError, match=r"has no picks of 'TS_02'; there are TS_01"):
            filter_picks(tmp_path / source, out, near)
    assert filter_picks(tmp_path / "both.csv", out, near | {"tomogram": "TS_01"}).counts == {"TS_01": 4}
    assert filter_picks(tmp_path / "cell.csv", out, near).counts == {"cell": 4}


def test_a_random_subset_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    many = Picks(np.random.default_rng(1).uniform(0, 99, (200, 3)), voxel_size=VOXEL, tomogram="T")
    write_picks(tmp_path / "in.csv", many)
    found = []
    for seed in (0, 0, 1):
        made = filter_picks(tmp_path / "in.csv", tmp_path / "out.csv", {"number": 50, "seed": seed, "overwrite": True})
        found.append(read_picks(made.files[0]).position_vox.tolist())
    assert found[0] == found[1] != found[2]
    assert len(found[0]) == 50
    rows = [many.position_vox.tolist().index(at) for at in found[0]]
    assert rows == sorted(rows)  # the order is kept


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"labels": (1,)}, "give mask"),
        ({"near": "a.star"}, "give near, and near_nm or far_nm"),
        ({"near_nm": 3.0}, "give near, and near_nm or far_nm"),
        ({"near": "a", "near_nm": 1.0, "far_nm": 2.0}, "No pick is at most"),
        ({"region": (0, 0, 0, 5, 0, 5)}, "holds no voxel"),
        ({"min_weight": 2.0, "max_weight": 1.0}, "No weight"),
        ({"number": -1}, "must not be negative"),
        ({"to": "nonsense", "min_weight": 1.0}, "no format 'nonsense'"),
    ],
)
def test_conditions_without_sense(tmp_path: Path, csv: Path, recipe: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        filter_picks(csv, tmp_path / "out.csv", recipe)
    assert not (tmp_path / "out.csv").exists()


def test_a_condition_on_weights_needs_weights(tmp_path: Path) -> None:
    write_picks(tmp_path / "in.csv", Picks([[1, 2, 3]], voxel_size=VOXEL, tomogram="T"))
    with pytest.raises(InputError, match="have no weights"):
        filter_picks(tmp_path / "in.csv", tmp_path / "out.csv", {"min_weight": 1})


# -- info and the command line -------------------------------------------------------------------------------------


def test_the_threshold_of_a_prediction_is_a_probability(tmp_path: Path) -> None:
    import volengine

    values = np.zeros((8, 8, 8), np.uint8)
    values[2], values[5] = 100, 200  # probabilities of 0.39 and 0.78
    mrcfile.write(tmp_path / "TS_01.mrc", values.astype(np.uint16), voxel_size=10)
    quiet = volengine.RunOptions(progress=False)
    volengine.convert(tmp_path / "TS_01.mrc", tmp_path / "TS_01.ome.zarr", {"kind": "probability"}, quiet)
    volume = volengine.open_volume(tmp_path / "TS_01.ome.zarr")
    picks = Picks([[z, 4, 4] for z in range(8)], (10, 10, 10), shape=(8, 8, 8), tomogram="TS_01")
    write_picks(tmp_path / "p.csv", picks)
    for threshold, kept in ((0.0, [2, 5]), (0.5, [5])):
        recipe = {"mask": volume.url, "threshold": threshold, "overwrite": True}
        filter_picks(tmp_path / "p.csv", tmp_path / "kept.csv", recipe)
        assert read_picks(tmp_path / "kept.csv").position_vox[:, 0].tolist() == kept


def test_a_condition_as_an_argument(tmp_path: Path, csv: Path) -> None:
    """Before or behind the output, and with --out; the same as --where."""
    out = str(tmp_path / "out.csv")

    def kept(*arguments: str) -> str:
        told = CliRunner().invoke(cli, ["picks", "filter", str(csv), *arguments, "--overwrite"])
        assert told.exit_code == 0, told.output
        return "".join(read_picks(out).extra["note"].tolist())

    for condition, found in (("weight > 2", "ab"), ("note in ('a', 'd')", "ad"), ("not weight <= 3", "a")):
        for given in ([condition, "--out", out], [condition, out], [out, condition], ["--where", condition, out]):
            assert kept(*given) == found
    assert kept("weight > 1", "--out", out, "--max-weight", "3") == "bc"


def test_arguments_that_are_no_condition(tmp_path: Path, csv: Path) -> None:
    def told(*arguments: str) -> str:
        found = CliRunner().invoke(cli, ["picks", "filter", str(csv), *arguments])
        assert found.exit_code != 0
        return found.output + str(found.exception)

    out = str(tmp_path / "out.csv")
    assert "There are 2 conditions; give one, joined by and: weight > 2 and label == 1" in told(
        "weight > 2", out, "--where", "label == 1"
    )
    assert "A condition on the columns is also given with --where" in told("inside", "--out", out)
    assert "weight >" in told("weight >", out)
    assert not Path(out).exists()
    named = tmp_path / "picks in cells.csv"  # a file may be called as it likes
    assert CliRunner().invoke(cli, ["picks", "filter", str(csv), "weight > 2", str(named)]).exit_code == 0
    assert len(read_picks(named)) == 2
