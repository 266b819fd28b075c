"""What a recipe leaves open is filled in by what it trains on: boxes in slices, or anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from volengine.cli.main import cli
from volengine.nets.checkpoint import load_facts, load_model
from volengine.nets.training.augment.recipe import Augmentation
from volengine.nets.training.fit.fit import Fit
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.verb import train

BOXES = TrainSample(volume="a.mrc", labels=("l.mrc",), boxes="auto")
SET = TrainSample(volume="a.scnt")
WHOLE = TrainSample(volume="b.mrc", labels=("l.mrc",))
FOLDER = TrainSample(volume="folder")
EXPLICIT = {"loss": "bce", "schedule": "constant", "augment": "flips"}


def opened(*samples: TrainSample, **given: Any) -> TrainRecipe:
    return TrainRecipe(samples=samples, features=("f",), **given)


@pytest.mark.parametrize("samples", [(BOXES,), (SET,), (BOXES, SET), (BOXES, WHOLE.with_(use="validate"))])
def test_boxes_alone_get_the_defaults_for_boxes(samples: tuple[TrainSample, ...]) -> None:
    asked = opened(*samples)
    recipe = asked.resolved()
    assert {name: getattr(recipe, name) for name in EXPLICIT} == EXPLICIT
    assert asked.note() == (
        "All samples are boxes in slices; for what the recipe leaves open: --loss bce, --schedule constant, --augment "
        "flips."
    )
    assert (recipe.note(), recipe.resolved()) == ("", recipe)
    assert asked.fitting() == recipe.fitting()
    assert asked.fitting().terms[0].loss == "bce"
    assert asked.fitting().rate(10**6) == asked.learning_rate
    assert asked.changes() == recipe.changes() == Augmentation(flips=True, turns=True)


@pytest.mark.parametrize("samples", [(WHOLE,), (FOLDER,), (BOXES, WHOLE), (SET, FOLDER)])
def test_all_others_get_the_general_defaults(samples: tuple[TrainSample, ...]) -> None:
    recipe = opened(*samples).resolved()
    assert (recipe.loss, recipe.schedule, recipe.augment) == ("bce_dice", "cosine", "light")
    said = opened(*samples).note()
    mixed = samples[0] in (BOXES, SET)
    assert said.startswith("Some samples are boxes, others are not") is mixed
    assert bool(said) is mixed


def test_what_the_user_gives_stays() -> None:
    recipe = opened(BOXES, loss="focal", noise=0.3).resolved()
    assert (recipe.loss, recipe.schedule) == ("focal", "constant")
    assert recipe.changes() == Augmentation(noise=0.3)
    assert opened(BOXES, loss="focal", schedule="cosine", augment="none").note() == ""
    own = opened(BOXES, augmentation={"noise": 0.1}, losses=({"loss": "dice"},))
    assert own.note() == "All samples are boxes in slices; for what the recipe leaves open: --schedule constant."
    assert own.fitting().terms[0].loss == "dice"
    assert own.changes().noise == 0.1


@pytest.fixture
def sample(tmp_path: Path) -> TrainSample:
    rng = np.random.default_rng(0)
    truth = (rng.random((4, 48, 64)) < 0.2).astype(np.int8)
    for name, values in (("v", (truth * 2 + rng.normal(size=truth.shape)).astype(np.float32)), ("l", truth)):
        with mrcfile.new(tmp_path / f"{name}.mrc", data=values) as file:
            file.voxel_size = 10.0
    files = {"volume": str(tmp_path / "v.mrc"), "labels": (str(tmp_path / "l.mrc"),)}
    return TrainSample(**files, slices=(1, 2), boxes="auto", box_vox=16)


def small(sample: TrainSample, **given: Any) -> TrainRecipe:
    return opened(
        sample, network="unet", patch=(1, 16, 16), epochs=2, steps=2, batch=2, device="cpu", normalisation="per_slice",
        **given,
    )  # fmt: skip


def test_a_model_keeps_what_was_filled_in_and_its_training_goes_on(
    tmp_path: Path, sample: TrainSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped with open fields and continued with the same values given: the same bits as at one go."""
    train(small(sample), tmp_path / "whole.safetensors", progress=False)
    facts = load_facts(tmp_path / "whole.safetensors")
    kept = facts.history[-1]["recipe"]
    assert {name: kept[name] for name in EXPLICIT} == EXPLICIT
    step = Fit._step

    class Stop(Exception):
        pass

    def stopping(self: Fit, number: int, samples: Any) -> float:
        if number == 3:
            raise Stop
        return step(self, number, samples)

    monkeypatch.setattr(Fit, "_step", stopping)
    with pytest.raises(Stop):
        train(small(sample), tmp_path / "parts.safetensors", progress=False)
    monkeypatch.setattr(Fit, "_step", step)
    train(small(sample, **EXPLICIT), tmp_path / "parts.safetensors", progress=False)
    names = [f"{name}.safetensors.training/last-epoch.safetensors" for name in ("whole", "parts")]
    one, two = (load_model(tmp_path / name)[0].state_dict() for name in names)
    assert all(torch.equal(one[key], two[key]) for key in one)
    again = TrainRecipe.from_json(kept)  # a recipe from a model repeats its training
    assert again == again.resolved() == small(sample).resolved()


def test_models_of_boxes_see_whole_slices(tmp_path: Path, sample: TrainSample) -> None:
    kinds = {"boxes": sample, "slices": sample.with_(boxes="")}
    for name, each in kinds.items():
        train(small(each).with_(epochs=1, steps=1), tmp_path / f"{name}.safetensors", progress=False)
        assert load_facts(tmp_path / f"{name}.safetensors").whole_slices is (name == "boxes")


def test_the_command_says_what_it_fills_in(tmp_path: Path, sample: TrainSample) -> None:
    recipe = tmp_path / "r.yaml"
    files = [f"volume: {sample.volume}", f"labels: [{sample.labels[0]}]"]
    lines = [*files, "slices: [1, 2]", "boxes: auto", "box_vox: 16"]
    recipe.write_text("features: [f]\nsamples:\n  - " + "\n    ".join(lines) + "\n")
    options = ["--network", "unet", "--patch", "1,16,16", "--epochs", "1", "--steps", "1", "--device", "cpu"]
    told = CliRunner().invoke(cli, ["train", str(recipe), "--out", str(tmp_path / "m.safetensors"), *options])
    assert told.exit_code == 0, told.output
    assert "All samples are boxes in slices; for what the recipe leaves open: --loss bce" in told.output
