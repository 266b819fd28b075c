"""What a training recipe asks for reaches the fit: losses, changes of samples, networks to begin with."""

from __future__ import annotations

import shutil
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch

from volengine.core.errors import InputError
from volengine.io.open import open_volume
from volengine.nets.checkpoint import load_facts, load_model
from volengine.nets.training.augment.recipe import PRESETS, Augmentation, Greys, preset
from volengine.nets.training.losses.losses import EXCLUSIVE, LOSSES, REGRESSION
from volengine.nets.training.losses.recipe import Term
from volengine.tasks.segment.recipe import check_voxel_size
from volengine.tasks.train import recipe as train_recipe
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.verb import train

SHAPE = (12, 32, 24)


@pytest.fixture
def case(tmp_path: Path) -> tuple[str, ...]:
    rng = np.random.default_rng(0)
    classes = np.zeros(SHAPE, np.int8)
    for k, (z, y, x) in enumerate(rng.integers(0, np.array(SHAPE) - 4, (30, 3))):
        classes[z : z + 4, y : y + 4, x : x + 4] = 1 + k % 2
    image = rng.normal(0, 0.3, SHAPE).astype(np.float32) + classes
    for name, array in (("image", image), ("classes", classes)):
        with mrcfile.new(tmp_path / f"{name}.mrc", data=array) as mrc:
            mrc.voxel_size = 10
    return str(tmp_path / "image.mrc"), str(tmp_path / "classes.mrc")


def recipe(case: tuple[str, ...], **changes: Any) -> TrainRecipe:
    sample = TrainSample(volume=case[0], labels=(case[1],), ids=(1, 2), token="simulated")
    values = {
        "samples": (sample,), "features": ("one", "two"), "arguments": {"width": 2, "levels": 2}, "patch": (8, 8, 8),
        "epochs": 1, "steps": 2, "batch": 2, "device": "cpu",
    }  # fmt: skip
    return TrainRecipe(**{**values, **changes})


def test_words_of_the_recipe_are_those_of_the_registries() -> None:
    hints = typing.get_type_hints(TrainRecipe)
    words = {name: set(typing.get_args(typing.get_args(hints[name])[0])) for name in ("loss", "augment")}
    assert words == {"loss": set(LOSSES), "augment": set(PRESETS)}
    assert set(train_recipe.EXCLUSIVE) == EXCLUSIVE
    assert set(train_recipe.REGRESSION) == REGRESSION


def test_a_recipe_names_the_augmentation(case: tuple[str, ...]) -> None:
    assert recipe(case).changes() == Augmentation(noise=0.2, contrast=0.1, brightness=0.1)
    assert recipe(case, augment="membrain").changes() == preset("membrain")
    assert recipe(case, augment="none", noise=0.3).changes() == Augmentation(flips=False, turns=False, noise=0.3)
    own = Augmentation(turns=False, greys=Greys(blur_probability=1.0))
    assert recipe(case, augmentation=own, contrast=0.5).changes() == own.with_(contrast=0.5)
    assert TrainRecipe.from_json(recipe(case, augmentation=own).to_json()).changes() == own


@pytest.mark.parametrize("name", ["none", "ais", "membrain"])
def test_every_preset_of_augmentation_trains(tmp_path: Path, case: tuple[str, ...], name: str) -> None:
    (row,) = train(recipe(case, augment=name), str(tmp_path / "m.safetensors"), progress=False)
    assert np.isfinite(row["loss"])


def test_features_that_exclude_each_other(tmp_path: Path, case: tuple[str, ...]) -> None:
    """The network gets a background, its facts name it, and it learns."""
    out = tmp_path / "m.safetensors"
    strong = {"learning_rate": 0.01, "schedule": "polynomial", "arguments": {"width": 6, "levels": 2}}
    how = recipe(case, loss="cross_entropy", epochs=5, steps=40, **strong)
    history = train(how, str(out), progress=False)
    facts = load_facts(out)
    assert facts.features == ("background", "one", "two")
    assert facts.activation == "softmax"
    assert max(row["validation_dice"] for row in history) > 0.6


def test_several_losses_by_data_set(tmp_path: Path, case: tuple[str, ...]) -> None:
    """The sample's token decides: a loss for another data set is 0 in training, and says nothing in validation."""
    for token, zero in (("simulated", False), ("real", True)):
        losses = (Term("surface_dice", datasets=(token,)),)
        (row,) = train(recipe(case, losses=losses), str(tmp_path / f"{token}.safetensors"), progress=False)
        assert (row["loss"] == 0) == zero
        assert np.isnan(row["validation_loss"]) == zero


def test_fine_tuning_begins_where_the_other_model_ended(tmp_path: Path, case: tuple[str, ...]) -> None:
    first, second = str(tmp_path / "first.safetensors"), str(tmp_path / "second.safetensors")
    train(recipe(case), first, progress=False)
    single = TrainSample(volume=case[0], labels=(case[1],), ids=(2,))
    still = {"learning_rate": 1e-30, "schedule": "constant"}
    train(recipe(case, samples=(single,), features=("two",), start=first, seed=4, **still), second, progress=False)
    a, b = load_model(first)[0].state_dict(), load_model(second)[0].state_dict()
    assert [k for k in a if not torch.equal(a[k], b[k])] == ["head.weight", "head.bias"]
    history = load_facts(second).history
    assert [entry["recipe"]["features"] for entry in history] == [["one", "two"], ["two"]]
    assert history[1]["begun_anew"] == ["head.weight", "head.bias"]
    with pytest.raises(InputError, match="another architecture"):
        train(recipe(case, start=first, arguments={"width": 2}), str(tmp_path / "x.safetensors"), progress=False)


def test_pix2pix_trains_against_its_discriminator(tmp_path: Path, case: tuple[str, ...]) -> None:
    pytest.importorskip("volengine.nets.architectures.ais2d_pix2pix")
    out = tmp_path / "m.safetensors"
    how = recipe(
        case, network="unet", arguments={}, patch=(1, 16, 16), context=3, adversarial=True, momentum=0.5,
        learning_rate=2e-4, loss="bce",
    )  # fmt: skip
    (row,) = train(how, str(out), progress=False)
    assert row["loss"] > row["validation_loss"]  # 100 times the L1
    state = (tmp_path / "m.safetensors.training" / "last.safetensors").read_bytes()
    assert b'"discriminator.' in state
    with pytest.raises(InputError, match="--adversarial is for 2D networks"):
        train(recipe(case, adversarial=True), str(tmp_path / "x.safetensors"), progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": (Term("cross_entropy"), Term("dice"))}, "cross_entropy needs a channel for the background"),
        ({"loss": "bxe"}, "must be one of bce"),
        ({"augment": "heavy"}, "must be one of none, flips, light"),
        ({"patience": -1}, "--patience must be 0 or more"),
        ({"clip": -1.0}, "--clip must be 0 or more"),
        ({"noise": -0.1}, "--noise must be 0 or more"),
        ({"optimiser": "lion"}, "must be one of adam"),
    ],
)
def test_senseless_recipes_are_refused(case: tuple[str, ...], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(case, **changes)


def test_voxels_that_are_no_cubes_are_those_of_the_model(case: tuple[str, ...], tmp_path: Path) -> None:
    long = str(tmp_path / "long.mrc")
    shutil.copy(case[0], long)
    with mrcfile.open(long, "r+") as mrc:
        mrc.voxel_size = (10, 10, 40)  # x, y, z
    out = str(tmp_path / "long.safetensors")
    samples = (TrainSample(volume=long, labels=(case[1],), ids=(1, 2)),)
    train(recipe(case, samples=samples), out, progress=False)
    facts = load_facts(out)
    assert (facts.voxel_size, facts.voxel_range) == ((40, 10, 10), None)
    both = (*samples, TrainSample(volume=case[0], labels=(case[1],), ids=(1, 2)))
    with pytest.raises(InputError, match=r"differ by more than 5 % \(10 to 40 angstrom\)"):
        train(recipe(case, samples=both), str(tmp_path / "n.safetensors"), progress=False)
    with pytest.raises(InputError, match="cubes, and one has 40 x 10 x 10 angstrom"):
        train(recipe(case, samples=both, any_voxel_size=True), str(tmp_path / "n.safetensors"), progress=False)


def test_samples_of_several_voxel_sizes(case: tuple[str, ...], tmp_path: Path) -> None:
    coarse = str(tmp_path / "coarse.mrc")
    shutil.copy(case[0], coarse)
    with mrcfile.open(coarse, "r+") as mrc:
        mrc.voxel_size = 13
    samples = tuple(TrainSample(volume=path, labels=(case[1],), ids=(1, 2)) for path in (case[0], coarse))
    out = str(tmp_path / "range.safetensors")
    with pytest.raises(InputError, match=r"more than 5 % \(10 to 13 angstrom\).*--any-voxel-size"):
        train(recipe(case, samples=samples), out, progress=False)
    train(recipe(case, samples=samples, any_voxel_size=True), out, progress=False)
    facts = load_facts(out)
    assert facts.voxel_range == (10, 13)
    assert facts.voxel_size == (11.4, 11.4, 11.4)  # sqrt(130)

    volume = open_volume(case[0])
    for size in (9.6, 10, 11.4, 13, 13.6):
        check_voxel_size(replace(volume, voxel_size=(size,) * 3), "range", facts, 0.05)
    for size, said in ((9.4, "-6%"), (13.8, r"\+6%")):
        with pytest.raises(InputError, match=rf"trained at 10 to 13 angstrom per voxel.*{size} along z \({said}\)"):
            check_voxel_size(replace(volume, voxel_size=(size,) * 3), "range", facts, 0.05)
