"""What a training has read: changed samples, doubtful ones, and a model that is there already."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from train_cases import SHAPE, case_in, numbers, recipe

from volengine.core.errors import ChangedError, InputError
from volengine.core.picks import Picks
from volengine.io.picks import write_picks
from volengine.nets.checkpoint import load_facts
from volengine.nets.training.fit.fit import Fit
from volengine.tasks.train.data import TrainingData
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.verb import train


@pytest.fixture
def case(tmp_path: Path) -> dict[str, str]:
    return case_in(tmp_path)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("own_cache")
def test_a_training_whose_labels_were_corrected_is_not_the_same(tmp_path: Path, case: dict[str, str]) -> None:
    """Of the same name, size and recipe: the old network was returned in silence."""
    out = tmp_path / "model.safetensors"
    first = train(recipe(case), str(out), progress=False)
    kept, before = out.read_bytes(), Path(case["labels"]).read_bytes()
    assert numbers(train(recipe(case), str(out), progress=False)) == numbers(first)  # the same training, finished
    with mrcfile.open(case["labels"]) as mrc:
        labels = mrc.data.copy()
    write_again(case["labels"], 1 - labels)
    with pytest.raises(InputError, match=r"other data: .*labels\.mrc changed") as error:
        train(recipe(case), str(out), progress=False)
    assert "image.mrc" not in str(error.value)
    assert out.read_bytes() == kept
    Path(case["labels"]).write_bytes(before)  # as it was: time and inode do not matter
    assert numbers(train(recipe(case), str(out), progress=False)) == numbers(first)
    history = load_facts(out).history[-1]
    assert set(history["data"]) == {case["image"], case["labels"]}


def write_again(path: str, array: np.ndarray) -> None:
    with mrcfile.new(path, data=array, overwrite=True) as mrc:
        mrc.voxel_size = 10.0


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("kind", ["image", "labels", "points", "targets", "boxes", "start"])
def test_every_file_of_a_training_counts(tmp_path: Path, case: dict[str, str], kind: str) -> None:
    picks = tmp_path / "points.csv"
    write_picks(picks, Picks([[3, 10, 12], [8, 30, 5]], voxel_size=(10, 10, 10), shape=SHAPE))
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"a model")
    boxes = {"boxes": str(picks)}
    sample: dict[str, Any] = {
        "points": {"labels": (), "points": (str(picks),), "radius_nm": (2.0,)},
        "targets": {"labels": (), "targets": (case["index"],)},
        "boxes": boxes,
    }.get(kind, {})
    changes = {"loss": "l2"} if kind == "targets" else {"start": str(start)} if kind == "start" else {}
    made = recipe(case, sample=sample, **changes)
    before = TrainingData.of(made)
    before.check()
    assert TrainingData.of(made).to_json() == before.to_json()
    changed = {"image": case["image"], "labels": case["labels"], "targets": case["index"], "start": str(start)}
    path = Path(changed.get(kind, str(picks)))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChangedError, match=re.escape(path.name)):
        before.check()
    now = TrainingData.of(made).to_json()
    assert [name for name, value in before.to_json().items() if now[name] != value] == [str(path)]


def test_a_truth_that_may_be_of_another_tomogram_is_noted(
    tmp_path: Path, case: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert TrainingData.of(recipe(case)).notes == ()
    for name in ("image", "labels"):
        with mrcfile.open(case[name], "r+") as mrc:
            mrc.header.origin.z = {"image": 500, "labels": 100}[name]
            mrc.voxel_size = {"image": 10.0, "labels": 20.0}[name]
    size, origin = TrainingData.of(recipe(case)).notes
    assert "(20.0, 20.0, 20.0)" in size
    assert "voxel by voxel" in size
    assert "40, 0, 0 voxels apart" in origin
    train(recipe(case, epochs=1, steps=1), str(tmp_path / "said.safetensors"))
    assert "voxels apart" in capsys.readouterr().err


def test_points_outside_of_the_tomogram_are_noted(tmp_path: Path, case: dict[str, str]) -> None:
    path = str(tmp_path / "points.csv")
    sample = {"labels": (), "points": (path,), "radius_nm": (2.0,)}
    points = [[3, 10, 12], [15.4, 39, 23], [3, 90, 12], [-2, 0, 0]]
    write_picks(path, Picks(points, voxel_size=(10, 10, 10), origin=(0, 0, 70), shape=SHAPE))
    with mrcfile.open(case["image"], "r+") as mrc:
        mrc.header.origin.x = 70
    (said,) = TrainingData.of(recipe(case, sample=sample)).notes
    assert said.startswith(f"2 of 4 points of {path} are outside")


@pytest.mark.usefixtures("own_cache")
def test_a_training_ends_if_its_labels_are_replaced_under_it(
    tmp_path: Path, case: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model.safetensors"
    save = Fit._save

    def replaced_after_the_first_epoch(self: Fit) -> None:
        save(self)
        with mrcfile.open(case["labels"]) as mrc:
            labels = mrc.data.copy()
        write_again(case["labels"], 1 - labels)

    monkeypatch.setattr(Fit, "_save", replaced_after_the_first_epoch)
    with pytest.raises(ChangedError, match=r"labels\.mrc has changed"):
        train(recipe(case), str(out), progress=False)
    monkeypatch.setattr(Fit, "_save", save)
    with pytest.raises(InputError, match=r"other data: .*labels\.mrc changed"):
        train(recipe(case), str(out), progress=False)


def test_a_model_of_another_origin_is_not_replaced(tmp_path: Path) -> None:
    """A shared model may lie there, or one whose training was removed; it is kept, byte for byte."""
    out = tmp_path / "shared.safetensors"
    out.write_bytes(b"weights of a month")
    sample = TrainSample(volume=str(tmp_path / "none.mrc"), labels=(str(tmp_path / "none.mrc"),))
    recipe = TrainRecipe(samples=(sample,), features=("f",), network="unet3d", patch=(8, 8, 8))
    with pytest.raises(InputError, match=r"shared.safetensors exists and no training is beside it"):
        train(recipe, str(out), progress=False)
    assert out.read_bytes() == b"weights of a month"


def test_a_place_where_no_model_can_be_written_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sample = TrainSample(volume=str(tmp_path / "none.mrc"), labels=(str(tmp_path / "none.mrc"),))
    recipe = TrainRecipe(samples=(sample,), features=("f",), network="unet3d", patch=(8, 8, 8))
    with pytest.raises(InputError, match="file is a file, and no folder"):
        train(recipe, str(tmp_path / "file" / "m.safetensors"), progress=False)
