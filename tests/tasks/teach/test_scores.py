"""Models scored on training boxes: the Dice of what ``segment`` stores, and which boxes a model has seen."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from threshold_net import save_threshold_model

import volengine
from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.tasks.annotate.store import Annotations, new_annotations

SHAPE = (8, 48, 64)
BOXES = (("core", 2, (16, 16), 16), ("core", 2, (20, 22), 16), ("core", 5, (30, 40), 20), ("shell", 5, (16, 16), 16))


def drawn(folder: Path) -> Path:
    """A tomogram, and annotations with boxes that overlap, voxels to ignore, and two features."""
    rng = np.random.default_rng(3)
    with mrcfile.new(folder / "TS_01.mrc") as mrc:
        mrc.set_data(rng.random(SHAPE).astype(np.float32))
        mrc.voxel_size = 10.0
    place = folder / "TS_01.annotations"
    with new_annotations(folder / "TS_01.mrc", place, ("core", "shell"), user="ada") as made:
        for feature, z, centre, _ in BOXES:
            points = [[centre[0] - 4, centre[1] - 5], [centre[0] + 5, centre[1] + 3]]
            made.do({"op": "brush", "feature": feature, "slice": z, "points": points, "radius": 4}, "ada")
        made.do(
            {"op": "brush", "feature": "core", "slice": 2, "points": [[18, 18]], "radius": 2, "value": "ignore"}, "ada"
        )
        for box in BOXES:
            made.do(box_of(*box), "ada")
    return place


def box_of(feature: str, z: int, centre: tuple[int, int], side: int) -> dict[str, Any]:
    return {"op": "box", "feature": feature, "slice": z, "centre": list(centre), "side": side}


def model(path: Path, feature: str, *exports: str) -> Path:
    """A model that says that it was trained on these label images."""
    samples = [{"volume": "TS_01.mrc", "labels": [one]} for one in exports]
    data = {one: identity(one) for one in exports}
    history = [{"recipe": {"samples": samples}, "data": data}] if exports else []
    facts = {"patch": (8, 32, 32), "overlap": 0.5, "window": "hann", "normalisation": "volume", "history": history}
    return save_threshold_model(path, feature, **facts)


def identity(labels: str) -> str:
    """As a training notes it."""
    url, _, group = labels.partition("#")
    return volengine.open_volume(url, group=group, identity="content").identity if Path(url).exists() else ""


def dice(annotations: Path, prediction: Path, feature: str, chosen: list[int]) -> tuple[float, int]:
    """By NumPy, from a stored prediction: of the boxes with these numbers, and the voxels that count."""
    found = volengine.open_volume(prediction)[:] > 127
    inside = np.zeros(SHAPE, bool)
    with Annotations(annotations) as made:
        boxes = [box for _, box in made.boxes(feature)]
        for number in chosen:
            inside[boxes[number].slices] = True
        labels = volengine.open_volume(annotations / "labels.ome.zarr", group=f"labels/{feature}")[:]
    inside &= labels != 2
    true = labels == 1
    both, either = (found & true & inside).sum(), (found & inside).sum() + (true & inside).sum()
    return 2 * both / either, int(inside.sum())


def test_scores_are_those_of_stored_predictions_and_seen_boxes_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = drawn(tmp_path)
    with Annotations(place) as made:
        exported = volengine.export_training(made, tmp_path / "training", ("core",))
        made.do(box_of("core", 6, (20, 20), 18), "ben")
        volengine.annotate(
            place, [{"op": "brush", "feature": "core", "slice": 6, "points": [[22, 19]], "radius": 5}], "ben"
        )
    before, after = (
        model(tmp_path / "before.safetensors", "core"),
        model(tmp_path / "after.safetensors", "core", exported.labels["core"]),
    )
    shell = model(tmp_path / "shell.safetensors", "shell", exported.labels["core"])
    stored = volengine.segment("TS_01.mrc", "predictions", volengine.SegmentRecipe(models=(str(after),)))["core"]
    table = volengine.score_models([place], [before, after, shell])
    rows = {(Path(row["model"]).stem, row["feature"]): row for row in table.rows}
    assert list(rows) == [("before", "core"), ("after", "core"), ("shell", "shell")]
    whole, voxels = dice(place, stored.url, "core", [0, 1, 2, 3])
    for name in ("before", "after"):
        row = rows[name, "core"]
        assert (row["boxes"], row["voxels"]) == (4, voxels)
        assert row["dice"] == pytest.approx(whole, abs=1e-12)
    assert rows["before", "core"]["new_boxes"] is rows["before", "core"]["data_dice"] is None
    assert any("before.safetensors" in note and "not known" in note for note in table.notes)
    row = rows["after", "core"]
    assert (row["data_boxes"], row["new_boxes"]) == (3, 1)
    assert row["data_dice"] == pytest.approx(dice(place, stored.url, "core", [0, 1, 2])[0], abs=1e-12)
    assert row["new_dice"] == pytest.approx(dice(place, stored.url, "core", [3])[0], abs=1e-12)
    assert (rows["shell", "shell"]["new_boxes"], rows["shell", "shell"]["data_boxes"]) == (
        1,
        0,
    )  # only core was exported

    with Annotations(place) as made:  # the boxes of now in place of those that the model was trained on
        volengine.export_training(made, tmp_path / "training", ("core",), overwrite=True)
    (row,) = volengine.score_models([place], [after]).rows
    assert row["new_boxes"] is row["data_boxes"] is None

    runner = CliRunner()
    asked = ["annotate", "score", str(place), "--models", f"{before},{after}", "--features", "core"]
    (tmp_path / "training").rename(tmp_path / "gone")
    table = volengine.score_models([place], [before, after])
    said = json.loads(runner.invoke(cli, [*asked, "--json", "--csv", "scores.csv"], catch_exceptions=False).stdout)
    assert said["rows"] == [dict(row) for row in table.rows[:2]]
    with Path("scores.csv").open(newline="") as file:
        assert [row["dice"] for row in csv.DictReader(file)] == [repr(row["dice"]) for row in table.rows[:2]]
    assert "never seen" in runner.invoke(cli, asked).stdout
    assert runner.invoke(cli, [*asked, "--csv", "scores.csv"]).exit_code != 0  # it exists


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    place = drawn(tmp_path)
    core = model(tmp_path / "core.safetensors", "core", "gone.ome.zarr#labels/core")
    other = model(tmp_path / "other.safetensors", "other")
    with pytest.raises(InputError, match="There is no training box of a feature that these models predict"):
        volengine.score_models([place], [other])
    with pytest.raises(InputError, match="given twice"):
        volengine.score_models([place], [core, core])
    with pytest.raises(InputError, match="Give models"):
        volengine.score_models([place], [])
    table = volengine.score_models([place], [core, other], volengine.ModelScoresRecipe(features=("core",)))
    assert [note.partition(": ")[2][:5] for note in table.notes] == ["its d", "no bo"]
    with mrcfile.open(tmp_path / "TS_01.mrc", "r+") as mrc:
        mrc.set_data(np.zeros((8, 48, 60), np.float32))
    with pytest.raises(InputError, match="voxels"):
        volengine.score_models([place], [core])
