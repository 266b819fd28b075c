"""Folds: every part is kept once, in any order; a table over them; each is a training that can be resumed."""

from __future__ import annotations

import csv
import json
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scnt_write import ScntSample, write_scnt
from train_cases import SHAPE, case_in, recipe, write

from volengine import train, train_folds
from volengine.cli.command import split_list
from volengine.cli.main import cli
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.nets.checkpoint import load_facts, load_model
from volengine.tasks.train.folds import lines
from volengine.tasks.train.parts import Marks, split
from volengine.tasks.train.samples import PatchRules, TrainSample
from volengine.tasks.train.sources import check_folds, held_out_of, open_sources


def place(region: Box, shape: tuple[int, int, int], rules: PatchRules, marks: Any = tuple) -> Any:
    volume = Volume(url="v.mrc", name="v", shape=shape, dtype="float32", voxel_size=(10.0, 10.0, 10.0))
    return split(region, rules, volume, "both", marks)


@settings(deadline=None, max_examples=100)
@given(
    shape=st.tuples(*[st.integers(8, 60)] * 3),
    folds=st.integers(2, 6),
    context=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_slabs_are_disjoint_cover_the_region_and_never_meet_the_training(
    shape: Any, folds: int, context: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, shape, (30, 3))
    region = Box((0, 0, 0), shape)
    held, seen = np.zeros(shape, int), []
    for fold in range(folds, 0, -1):
        rules = PatchRules(("f",), (1 if context > 1 else 4, 4, 4), context=context, folds=folds, fold=fold)
        try:
            parts = place(region, shape, rules, lambda: [Marks.voxels(rows)])
        except InputError as error:
            if "cannot be divided" in str(error) and max(shape) // folds < 4 + context:
                return
            raise
        (slab,) = parts.held_out
        held[slab.slices] += 1
        seen.append(slab)
        below, above = context // 2, context - 1 - context // 2
        known = slab.grow((below, 0, 0), (above, 0, 0))
        for box in parts.training:
            grown = box.grow((below, 0, 0), (above, 0, 0))
            assert grown.intersect(known.clip(shape)).empty
    assert held.max() == 1
    if context == 1:
        assert held.min() == 1
    sizes = [box.size for box in seen]
    assert max(sizes) <= 2 * min(sizes) + np.prod(shape) // min(shape) * context


def test_slabs_lie_along_the_axis_where_every_one_holds_the_feature() -> None:
    rows = np.argwhere(np.ones((12, 40, 4))) + np.array([0, 0, 40])  # all in a few columns of the longest axis

    def marks() -> list[Marks]:
        return [Marks.voxels(rows)]

    rules = PatchRules(("f",), (4, 4, 4), folds=4)
    for fold in range(1, 5):
        parts = place(Box((0, 0, 0), (12, 40, 96)), (12, 40, 96), PatchRules(**{**vars(rules), "fold": fold}), marks)
        assert parts.held_out == (Box((0, 10 * fold - 10, 0), (12, 10 * fold, 96)),)


def many(tmp_path: Path, count: int, **sample: Any) -> list[TrainSample]:
    rng = np.random.default_rng(0)
    labels = write(tmp_path / "l.mrc", (rng.random(SHAPE) < 0.1).astype(np.int8))
    names = [write(tmp_path / f"t{k}.mrc", rng.normal(size=SHAPE).astype(np.float32)) for k in range(count)]
    return [TrainSample(volume=name, labels=(labels,), **sample) for name in names]


def test_with_enough_tomograms_each_is_kept_once_as_a_whole(tmp_path: Path) -> None:
    samples = many(tmp_path, 7)
    kept: list[str] = []
    counts = []
    for fold in (3, 1, 2):
        rules = PatchRules(("f",), (8, 8, 8), folds=3, fold=fold)
        sources = open_sources([*samples, samples[0].with_(weight=2.0)], rules)  # two samples of one tomogram
        held = held_out_of(sources)
        names = {part["tomogram"] for part in held}
        assert all("box" in part for part in held)
        assert {s.name for s in sources if s.weight} == {f"t{k}" for k in range(7)} - names
        kept += names
        counts.append(len(names))
    assert sorted(kept) == sorted(f"t{k}" for k in range(7))
    assert sorted(counts) == [2, 2, 3]


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    samples = many(tmp_path, 1)
    rules = PatchRules(("f",), (8, 8, 8), folds=3, fold=1)
    with pytest.raises(InputError, match=r"nothing to divide"):
        check_folds([], [], rules)
    with pytest.raises(InputError, match=r"t0.mrc.*cannot be divided into 5 slabs"):
        open_sources(samples, PatchRules(("f",), (16, 16, 16), folds=5, fold=1))
    case = case_in(tmp_path)
    for wrong in ({"folds": 1}, {"folds": 3, "fold": 4}, {"fold": 1}):
        with pytest.raises(InputError, match="--folds is 2 or more"):
            recipe(case, **wrong)
    with pytest.raises(InputError, match=r"a sample with use: validate would be there in each fold"):
        recipe(case, folds=2, sample={"use": "validate"})
    with pytest.raises(InputError, match="call train_folds, or give fold"):
        train(recipe(case, folds=2), str(tmp_path / "m.safetensors"))
    with pytest.raises(InputError, match="needs a recipe with folds"):
        train_folds(recipe(case), str(tmp_path / "m.safetensors"))


def test_boxes_lie_in_the_slab_of_one_fold_each(tmp_path: Path) -> None:
    sample = many(tmp_path, 1, boxes="auto", box_vox=8, slices=(2, 5, 11))
    seen: list[tuple[int, ...]] = []
    for fold in (1, 2):
        (source,) = open_sources(sample, PatchRules(("f",), (1, 8, 8), folds=2, fold=fold))
        assert source.held_out_boxes  # type: ignore[attr-defined]
        seen += source.held_out_boxes  # type: ignore[attr-defined]
        assert not {*source.held_out_boxes} & {*source.training_boxes}  # type: ignore[attr-defined]
    assert len(seen) == len({*seen})


def test_the_tomograms_of_a_training_set_are_divided_or_the_set_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def boxes(tomograms: list[str]) -> list[TrainSample]:
        path = tmp_path / f"{len(tomograms)}.scnt"
        image, labels = rng.normal(size=(1, 16, 16)).astype(np.float32), np.eye(16, dtype=np.uint8)
        some = [ScntSample(image, labels, name, "f", (k, 0, 0)) for k, name in enumerate(tomograms)]
        write_scnt(path, some, pixel_size=10.0)
        return [TrainSample(volume=str(path))]

    rules = PatchRules(("f",), (1, 16, 16), normalisation="per_patch")
    kept = []
    for fold in (1, 2):
        sources = open_sources(boxes(["a", "a", "b", "c"]), replace(rules, folds=2, fold=fold))
        kept += [part["tomogram"] for part in held_out_of(sources)]
        assert len(sources[0].validation()) >= 1
    assert sorted(kept) == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"3 tomograms are fewer than 5 folds, .* give --folds 3"):
        open_sources(boxes(["a", "a", "b", "c"]), replace(rules, folds=5, fold=1))
    with pytest.raises(InputError, match=r"does not say of which tomograms"):
        open_sources(boxes(["", "a", "b"]), replace(rules, folds=2, fold=1))


def test_folds_trained_alone_or_together_are_the_same_and_the_table_says_what_they_are(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    how = recipe(case, folds=3, epochs=1, steps=2)
    one, two = str(tmp_path / "one.safetensors"), str(tmp_path / "two.safetensors")
    rows = train_folds(how, one, progress=False)
    for fold in (3, 1):
        some = train_folds(how.with_(fold=fold), two, progress=False)
    assert [row["fold"] for row in some] == [1, 3]
    told = json.loads((tmp_path / "two_folds.json").read_text())
    assert told["finished"] == [1, 3]
    train_folds(how, two, progress=False)  # the last one is made, the others stand
    for fold in (1, 2, 3):
        a, b = (tmp_path / f"{n}_fold{fold}.safetensors" for n in ("one", "two"))
        assert a.read_bytes()[-1000:] == b.read_bytes()[-1000:]
        said = load_facts(a).history[-1]
        assert (said["recipe"]["fold"], said["recipe"]["folds"]) == (fold, 3)
        assert said["held_out"] == rows[fold - 1]["held_out"]
    boxes = [row["held_out"][0]["box"] for row in rows]
    assert boxes == [[0, 0, 0, 16, 13, 24], [0, 13, 0, 16, 26, 24], [0, 26, 0, 16, 40, 24]]
    told = json.loads((tmp_path / "one_folds.json").read_text())
    dice = [row["validation_dice"] for row in rows]
    assert told["summary"]["validation_dice"]["mean"] == pytest.approx(np.mean(dice))
    assert told["summary"]["validation_dice"]["std"] == pytest.approx(statistics.stdev(dice))
    with (tmp_path / "one_folds.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["fold"] for line in table] == ["1", "2", "3", "mean", "std"]
    assert float(table[1]["validation_dice"]) == dice[1]
    assert float(table[3]["validation_dice"]) == pytest.approx(np.mean(dice))
    assert table[0]["held_out"] == "image [0, 0, 0] to [16, 13, 24]"
    command = lines(rows, "my, model.safetensors", 3)[-1].partition(": ")[2]
    models = shlex.split(command)[shlex.split(command).index("--models") + 1]
    assert split_list(models) == [f"my, model_fold{fold}.safetensors" for fold in (1, 2, 3)]
    new = str(tmp_path / "new.safetensors")
    train_folds(how.with_(fold=2, seed=5), new, progress=False)
    for name in ("fold1.safetensors", "fold1.safetensors.training"):
        (tmp_path / f"one_{name}").rename(tmp_path / f"new_{name}")
    with pytest.raises(InputError, match=r"Fold 1 and fold 2 .* trained with other recipe"):
        train_folds(how.with_(fold=2, seed=5), new, progress=False)


def test_the_command_line_says_the_table_and_how_to_apply_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    small = {"arguments": {"width": 2, "levels": 2}, "patch": [8, 8, 8], "device": "cpu", "features": ["block"]}
    (tmp_path / "r.yaml").write_text(json.dumps({**small, "epochs": 1, "steps": 2, "batch": 2}))
    base = ["train", "r.yaml", "--volume", "image.mrc", "--labels", "labels.mrc", "--out", "m.safetensors"]
    done = CliRunner().invoke(cli, [*base, "--folds", "2", "--fold", "2"])
    assert done.exit_code == 0, done.output
    assert "1 of 2 folds" in done.output
    assert "--ensemble" not in done.output
    done = CliRunner().invoke(cli, [*base, "--folds", "2", "--auto"])
    assert done.exit_code != 0  # fold 2 was trained with another recipe: its positive_share was not proposed
    assert "with another recipe" in str(done.exception) + done.output


def test_folds_that_were_killed_go_on_with_the_same_result(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    how = recipe(case, folds=2, epochs=8, steps=3)
    whole, killed = str(tmp_path / "whole.safetensors"), str(tmp_path / "killed.safetensors")
    (tmp_path / "r.yaml").write_text(json.dumps(how.to_json()))
    command = [sys.executable, "-m", "volengine.cli.main", "train", str(tmp_path / "r.yaml"), "--out", killed]
    state = tmp_path / "killed_fold1.safetensors.training" / "last.safetensors"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            while not state.exists() and process.poll() is None:
                time.sleep(0.01)
        finally:
            process.kill()
    assert state.exists()
    assert not (tmp_path / "killed_folds.json").exists()
    rows = train_folds(how, killed, progress=False)
    again = train_folds(how, whole, progress=False)
    for name in ("held_out", "epoch", "epochs", "loss", "validation_loss", "validation_dice"):
        assert [row[name] for row in rows] == [row[name] for row in again]
    for fold in (1, 2):
        a, b = (load_model(tmp_path / f"{n}_fold{fold}.safetensors")[0].state_dict() for n in ("whole", "killed"))
        assert all((a[k] == b[k]).all() for k in a)
