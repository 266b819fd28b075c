"""score --patches: the table of membrain-seg's benchmark, from counts by hand and by plain sums over whole patches."""

from __future__ import annotations

import csv
from pathlib import Path

import mrcfile
import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage

from volengine.cli.main import cli
from volengine.core.errors import InputError, MissingError, RunError
from volengine.ops.skeleton import surface_skeleton
from volengine.tasks.score.benchmark import HEAD, score_patches

SHAPE = (20, 24, 28)


def mrc(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.voxel_size = 10.0


def nifti(path: Path, values: np.ndarray) -> None:
    """As MemBrain's data set holds them: axes z, y, x as NIfTI's x, y, z are those of the array, reversed."""
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), np.eye(4)), path)


def sheets(seed: int, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """A predicted sheet beside a true one, and some voxels that do not count."""
    rng = np.random.default_rng(seed)
    at = int(rng.integers(6, 12))
    truth, found = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
    truth[at : at + 4], found[at + 1 : at + 1 + int(rng.integers(3, 6)), : int(rng.integers(10, 24))] = 1, 1
    truth[:, :3], truth[:, :, -4:] = 2, 2
    return found, truth


def plain(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, float, float]:
    """The four columns by sums over whole patches, with the formulas of the paper."""

    def mean(a: float, b: float, c: float, d: float) -> float:
        precision, recall = a / (b + 1e-6), c / (d + 1e-6)
        return 2 * precision * recall / (precision + recall + 1e-6)

    sums, single = np.zeros((2, 4)), []
    for found, truth in pairs:
        counted = truth != 2
        thin, thin_truth = surface_skeleton(found == 1) & counted, surface_skeleton(truth == 1) & counted
        both = float(((found == 1) & (truth == 1)).sum())
        rows = np.array(
            [
                [(thin & (truth == 1)).sum(), thin.sum(), (thin_truth & (found == 1)).sum(), thin_truth.sum()],
                [both, ((found == 1) & counted).sum(), both, (truth == 1).sum()],
            ],
            float,
        )
        sums += rows
        single.append([mean(*row) for row in rows])
    surface, dice = np.mean(single, axis=0)
    return surface, mean(*sums[0]), dice, mean(*sums[1])


def test_the_table_of_the_benchmark(tmp_path: Path) -> None:
    """Masks as MRC, labels as compressed NIfTI; tokens that are reported together."""
    names = ["chlamy_1", "chlamy_2", "polnet_7", "cts_1", "deepict"]
    pairs = {name: sheets(seed) for seed, name in enumerate(names)}
    for name, (found, truth) in pairs.items():
        mrc(tmp_path / "p" / f"{name}.mrc", found)
        nifti(tmp_path / "t" / f"{name}.nii.gz", truth)
    told = CliRunner().invoke(
        cli, ["score", str(tmp_path / "p"), str(tmp_path / "t"), "--patches", "--out", str(tmp_path / "b.csv")]
    )
    assert told.exit_code == 0, told.output
    with (tmp_path / "b.csv").open() as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == HEAD
    groups = {"chlamy": names[:2], "synthetic": ["cts_1", "polnet_7"], "deepict": ["deepict"], "all": names}
    assert [row[0] for row in rows[1:]] == ["chlamy", "synthetic", "deepict", "all"]
    for row in rows[1:]:
        expected = plain([pairs[name] for name in groups[row[0]]])
        assert [float(v) for v in row[1:]] == pytest.approx(expected, rel=1e-12)
    with (tmp_path / "b.patches.csv").open() as file:
        assert [row["patch"] for row in csv.DictReader(file)] == sorted(names)


def test_by_hand(tmp_path: Path) -> None:
    """2 of 3 found voxels are true, 2 of 4 true ones found; one more of each does not count."""
    found, truth = np.zeros(SHAPE, np.int8), np.zeros(SHAPE, np.int8)
    found[5, 5, 5:8], truth[5, 5, 6:10], found[9, 9, 9], truth[9, 9, 9] = 1, 1, 1, 2
    mrc(tmp_path / "p" / "a_1.mrc", found)
    mrc(tmp_path / "t" / "a_1.mrc", truth)
    row = score_patches(tmp_path / "p", tmp_path / "t", {"skeleton": "none"}).rows[0]
    assert list(row) == ["Dataset", "Dice", "Global Dice"]
    assert row["Dice"] == row["Global Dice"] == pytest.approx(4 / 7, abs=1e-6)


def test_probabilities_and_nothing(tmp_path: Path) -> None:
    """Floats and bytes above the threshold; a patch without anything counts as 0, as in the original."""
    found, truth = sheets(1)
    mrc(tmp_path / "p" / "a_1.mrc", np.where(found == 1, 0.7, 0.2).astype(np.float32))
    rim = 60 * ndimage.uniform_filter1d((found == 1).astype(float), 3)  # or they would look like labels
    mrc(tmp_path / "p" / "b_1.mrc", (np.where(found == 1, 140, 60) + rim).astype(np.uint16))
    mrc(tmp_path / "p" / "c_1.mrc", found * 0)
    for name, labels in (("a_1", truth), ("b_1", truth), ("c_1", truth * 0)):
        mrc(tmp_path / "t" / f"{name}.mrc", labels)
    rows = {row["Dataset"]: row for row in score_patches(tmp_path / "p", tmp_path / "t").rows}
    expected = plain([(found, truth)])
    for name in "ab":
        assert [rows[name][key] for key in HEAD[1:]] == pytest.approx(expected)
    assert [rows["c"][key] for key in HEAD[1:]] == [0, 0, 0, 0]
    assert rows["all"]["Dice"] == pytest.approx(2 / 3 * expected[2])


def test_labels_are_no_probabilities(tmp_path: Path) -> None:
    """Numbered objects as predictions are refused, and taken for what the user says that they are."""
    found, truth = sheets(1)
    numbered = found.astype(np.uint8)
    numbered[:, 12:][numbered[:, 12:] > 0] = 7
    numbered[2, 2, 2:9] = 90
    mrc(tmp_path / "p" / "a_1.mrc", numbered.astype(np.int16))
    mrc(tmp_path / "t" / "a_1.mrc", truth)
    refused = r"a_1\.mrc holds the integers 1, 7, 90.*look like labels.*--prediction-kind labels.*--scale 255"
    with pytest.raises(InputError, match=refused):
        score_patches(tmp_path / "p", tmp_path / "t")
    rows = score_patches(tmp_path / "p", tmp_path / "t", {"prediction_kind": "labels"}).rows
    assert [rows[0][key] for key in HEAD[1:]] == pytest.approx(plain([((numbered > 0).astype(np.int8), truth)]))
    for recipe in ({"scale": 255.0}, {"prediction_kind": "probability"}):
        rows = score_patches(tmp_path / "p", tmp_path / "t", recipe).rows
        assert rows[0]["Dice"] == 0  # 90 / 255 is below the threshold


def test_reversed_axes_are_said(tmp_path: Path) -> None:
    found, truth = sheets(2, (24, 24, 24))
    mrc(tmp_path / "p" / "a_1.mrc", np.ascontiguousarray(found.transpose(2, 1, 0)))
    mrc(tmp_path / "t" / "a_1.mrc", truth)
    assert "axes of the prediction are reversed" in score_patches(tmp_path / "p", tmp_path / "t").text()


def test_what_is_refused(tmp_path: Path) -> None:
    found, truth = sheets(3)
    for name in ("a_1", "a_2"):
        mrc(tmp_path / "p" / f"{name}.mrc", found)
    mrc(tmp_path / "t" / "a_1.mrc", truth)
    assert "1 prediction has no labels" in score_patches(tmp_path / "p", tmp_path / "t").text()
    with pytest.raises(InputError, match="roi: not for patches"):
        score_patches(tmp_path / "p", tmp_path / "t", {"roi": "0:5,:,:"})
    mrc(tmp_path / "t" / "b_9.mrc", truth)
    with pytest.raises(MissingError, match="1 of 2 labels have no prediction of the same name, for example 'b_9'"):
        score_patches(tmp_path / "p", tmp_path / "t")
    mrc(tmp_path / "p" / "b_9.mrc", found[:10])
    with pytest.raises(RunError, match=r"1 of 2 patches could not(.|\n)*b_9.* must be on one grid"):
        score_patches(tmp_path / "p", tmp_path / "t")
    mrc(tmp_path / "p" / "b_9.mrc", found)
    mrc(tmp_path / "t" / "b_9.mrc", truth * 3)
    with pytest.raises(RunError, match="labels are 0"):
        score_patches(tmp_path / "p", tmp_path / "t")


def test_a_damaged_patch_fails_alone(tmp_path: Path) -> None:
    """The rows are those of the others; how many voxels do not count is said."""
    found, truth = sheets(1)
    for name in ("a_1", "a_2"):
        mrc(tmp_path / "p" / f"{name}.mrc", found)
        mrc(tmp_path / "t" / f"{name}.mrc", truth)
    whole = (tmp_path / "p" / "a_2.mrc").read_bytes()
    (tmp_path / "p" / "a_2.mrc").write_bytes(whole[:3000])
    out = tmp_path / "b.csv"
    arguments = [
        "score",
        str(tmp_path / "p"),
        str(tmp_path / "t"),
        "--patches",
        "--skeleton",
        "none",
        "--out",
        str(out),
    ]
    told = CliRunner().invoke(cli, arguments)
    assert told.exit_code != 0
    assert isinstance(told.exception, RunError)
    assert "a_2.mrc" in str(told.exception)
    with out.open() as file:
        rows = {row["Dataset"]: float(row["Dice"]) for row in csv.DictReader(file)}
    assert rows["all"] == pytest.approx(plain([(found, truth)])[2])
    ignored = int((truth == 2).sum())
    assert f"({ignored} of {truth.size}) do not count" in told.output
    with (tmp_path / "b.patches.csv").open() as file:
        assert [row["ignored"] for row in csv.DictReader(file)] == [str(ignored)]
