"""Training on every kind of source, from beginning to end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter
from scnt_write import ScntSample, write_scnt

from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.nets.checkpoint import load_facts, load_model
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.verb import train

SHAPE = (6, 48, 96)


def write(path: Path, array: np.ndarray) -> str:
    with mrcfile.new(path, data=array) as mrc:
        mrc.voxel_size = 10.0
    return str(path)


def made(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Bright blobs in noise, and where they are."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=shape), 2)
    truth = (smooth > np.quantile(smooth, 0.85)).astype(np.int8)
    return (rng.normal(size=shape) + 2.5 * truth).astype(np.float32), truth


@pytest.fixture
def samples(tmp_path: Path) -> tuple[TrainSample, ...]:
    """A volume, a volume with boxes in two slices, and a training set."""
    volumes = []
    for name in ("one", "two"):
        image, truth = made(len(volumes), SHAPE)
        labels = write(tmp_path / f"{name}_labels.mrc", truth)
        volumes.append(TrainSample(volume=write(tmp_path / f"{name}.mrc", image), labels=(labels,), token=name))
    boxes = []
    for k in range(12):
        image, truth = made(100 + k, (1, 24, 24))
        boxes.append(ScntSample(image, truth[0], f"TS_{k % 3}", "blob", (k, 0, 0)))
    write_scnt(str(tmp_path / "set.scnt"), boxes, 10.0)
    return (
        volumes[0],
        volumes[1].with_(slices=(2, 4), boxes="auto", box_vox=16),
        TrainSample(volume=str(tmp_path / "set.scnt"), weight=2.0),
    )


def recipe(samples: tuple[TrainSample, ...], **changes: Any) -> TrainRecipe:
    values = {
        "samples": samples,
        "features": ("blob",),
        "network": "unet",
        "patch": (1, 16, 16),
        "epochs": 2,
        "steps": 3,
        "batch": 4,
        "learning_rate": 1e-3,
        "device": "cpu",
    }
    return TrainRecipe(**{**values, **changes})


def test_volumes_boxes_and_sets_together(tmp_path: Path, samples: tuple[TrainSample, ...]) -> None:
    outs = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    histories = [train(recipe(samples), str(out), progress=False) for out in outs]
    for row in histories[0]:
        assert all(math.isfinite(row[k]) for k in ("loss", "validation_loss", "validation_dice"))
    assert [r["loss"] for r in histories[0]] == [r["loss"] for r in histories[1]]
    one, two = (load_model(out)[0].state_dict() for out in outs)
    assert all(torch.equal(one[k], two[k]) for k in one)
    facts = load_facts(outs[0])
    assert facts.voxel_size == (10.0, 10.0, 10.0)
    assert facts.history[-1]["recipe"]["samples"][1]["boxes"] == "auto"


def test_it_learns_from_boxes_alone(tmp_path: Path, samples: tuple[TrainSample, ...]) -> None:
    settings = recipe(samples[1:2], epochs=4, steps=12, batch=8, learning_rate=3e-3, augment="none")
    history = train(settings, str(tmp_path / "m.safetensors"), progress=False)
    assert history[-1]["validation_dice"] > 0.5  # calling everything a blob has a Dice of about 0.26


def test_losses_may_look_at_some_data_sets_only(tmp_path: Path, samples: tuple[TrainSample, ...]) -> None:
    terms = [{"loss": "bce_dice"}, {"loss": "focal", "datasets": ["set"]}]
    one = train(recipe(samples, losses=terms, epochs=1), str(tmp_path / "a.safetensors"), progress=False)
    terms[1]["datasets"] = ["nobody"]
    other = train(recipe(samples, losses=terms, epochs=1), str(tmp_path / "b.safetensors"), progress=False)
    assert one[0]["loss"] != other[0]["loss"]


def test_whole_tomograms_for_validation(tmp_path: Path, samples: tuple[TrainSample, ...]) -> None:
    settings = recipe(samples, validation="tomogram", validation_share=0.4, epochs=1)
    assert math.isfinite(train(settings, str(tmp_path / "m.safetensors"), progress=False)[0]["validation_loss"])
    alone = recipe(samples[:1], validation="tomogram")
    with pytest.raises(InputError, match="there is only 'one'"):
        train(alone, str(tmp_path / "n.safetensors"), progress=False)


def test_a_training_set_on_the_command_line(tmp_path: Path, samples: tuple[TrainSample, ...]) -> None:
    out = str(tmp_path / "m.safetensors")
    args = ["train", "--volume", samples[2].volume, "--features", "blob", "--network", "unet", "--patch", "1,16,16"]
    done = CliRunner().invoke(cli, [*args, "--epochs", "1", "--steps", "2", "--device", "cpu", "--out", out])
    assert done.exit_code == 0, done.output
    assert ": epoch 1 of 1 (the lowest" in done.output
    wrong = CliRunner().invoke(cli, [*args, "--volume", samples[0].volume, "--out", out])
    assert wrong.exit_code == 2
    assert "1 --volume, but 0 --labels or --points" in wrong.output
