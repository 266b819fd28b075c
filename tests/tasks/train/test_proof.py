"""From a recipe to a prediction: every way to train that a recipe can name is followed to its end.

Context slices, features that exclude each other, deep supervision, stores with labels inside, an Ais set of the older
form, early stop, no number, TensorBoard, and several processes started as users start them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
import torch
import yaml
from scipy.ndimage import gaussian_filter

from volengine import ScoreRecipe, SegmentRecipe, score, segment
from volengine.core.boxes import Box
from volengine.core.errors import InputError, VolengineError
from volengine.core.image import ImageSpec
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.omezarr.image import create_image, finish_image
from volengine.io.omezarr.levels import plan_levels
from volengine.io.open import open_source, open_volume
from volengine.nets.checkpoint import load_facts, load_model
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.verb import train

SHAPE = (12, 32, 24)
UNET = {"network": "unet", "arguments": {}}


def write(path: Path, array: np.ndarray) -> str:
    with mrcfile.new(path, data=array) as mrc:
        mrc.voxel_size = 10
    return str(path)


def read(path: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(open_source(open_volume(path)).read(Box.of_shape(shape)))


def recipe(sample: TrainSample, **changes: Any) -> TrainRecipe:
    values = {
        "samples": (sample,), "features": ("one",), "arguments": {"width": 2, "levels": 2}, "patch": (8, 8, 8),
        "epochs": 1, "steps": 2, "batch": 2, "device": "cpu",
    }  # fmt: skip
    return TrainRecipe(**{**values, **changes})


def classes_of(seed: int, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of two classes, bright and brighter, in noise."""
    rng = np.random.default_rng(seed)
    classes = np.zeros(shape, np.int8)
    for k, (z, y, x) in enumerate(rng.integers(0, np.array(shape) - 4, (30, 3))):
        classes[z : z + 4, y : y + 4, x : x + 4] = 1 + k % 2
    return (rng.normal(0, 0.3, shape) + classes).astype(np.float32), classes


@pytest.fixture
def case(tmp_path: Path) -> TrainSample:
    image, classes = classes_of(0)
    labels = write(tmp_path / "classes.mrc", classes)
    return TrainSample(volume=write(tmp_path / "image.mrc", image), labels=(labels,), ids=(1, 2))


# -- 2.5D ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("context", [5, 11])
def test_the_outermost_slices_of_a_context_count(tmp_path: Path, context: int) -> None:
    """The truth of a slice lies in the last (5) or first (11) slice that the network sees, and nowhere else: it can be
    learnt only if training and prediction give it all its slices, in one order."""
    shape, below = (28, 32, 32), context // 2
    away = below if context == 5 else -below
    marks = [gaussian_filter(np.random.default_rng((7, k)).normal(size=shape), (0, 2, 2)) > 0.1 for k in range(2)]
    files = []
    for k, mark in enumerate(marks):
        truth = np.full(shape, 2, np.int8)
        inside = slice(below, shape[0] - below)
        truth[inside] = np.roll(mark, -away, 0)[inside]
        files.append((write(tmp_path / f"{k}.mrc", 4 * mark.astype(np.float32)), write(tmp_path / f"{k}_l.mrc", truth)))
    out, store = str(tmp_path / "m.safetensors"), str(tmp_path / "p.ome.zarr")
    how = recipe(
        TrainSample(volume=files[0][0], labels=(files[0][1],)), context=context, patch=(1, 16, 16), augment="none",
        epochs=2, steps=30, batch=4, learning_rate=2e-3, **UNET,
    )  # fmt: skip
    train(how, out, progress=False)
    facts = load_facts(out)
    assert (facts.context, facts.patch) == (context, (1, 16, 16))
    segment(files[1][0], store, SegmentRecipe(models=(out,)))
    assert score(store, files[1][1], ScoreRecipe())["one"]["dice"] > 0.9  # of everything: 0.6


# -- what networks answer ------------------------------------------------------------------------------------


def test_features_that_exclude_each_other_are_predicted_and_scored(tmp_path: Path, case: TrainSample) -> None:
    out = str(tmp_path / "m.safetensors")
    how = recipe(
        case, features=("one", "two"), loss="cross_entropy", epochs=5, steps=50, learning_rate=0.01,
        arguments={"width": 6, "levels": 2},
    )  # fmt: skip
    train(how, out, progress=False)
    image, classes = classes_of(1)
    seen, truth = write(tmp_path / "other.mrc", image), write(tmp_path / "truth.mrc", classes)
    made = segment(seen, str(tmp_path / "out"), SegmentRecipe(models=(out,), dtype="float32"))
    assert sorted(made) == ["one", "two"]
    chances = [read(made[name].url, SHAPE) for name in ("one", "two")]
    assert (chances[0] + chances[1] <= 1 + 1e-5).all()
    found = score(str(tmp_path / "out"), truth, ScoreRecipe(ids=(1, 2), features=("one", "two")))
    assert min(found[name]["dice"] for name in ("one", "two")) > 0.5  # of everything: below 0.3


def test_deep_supervision_from_a_recipe(tmp_path: Path, case: TrainSample) -> None:
    """Resolutions weigh 1, 1/2, 1/4 while it learns, the full one alone when it is validated."""
    pytest.importorskip("monai")
    single = case.with_(ids=(1,))
    how = recipe(
        single, network="dynunet", arguments={"filters": [2, 4, 8, 8]}, patch=(8, 16, 16), loss="bce", augment="none",
        learning_rate=1e-30, schedule="constant", steps=12,
    )  # fmt: skip
    (row,) = train(how, str(tmp_path / "m.safetensors"), progress=False)
    assert 1.4 < row["loss"] / row["validation_loss"] < 2.2
    with pytest.raises(InputError, match=r"Patches of \(8, 8, 8\) are too small for 'dynunet'"):
        train(how.with_(patch=(8, 8, 8)), str(tmp_path / "small.safetensors"), progress=False)


# -- what is read --------------------------------------------------------------------------------------------


def test_labels_inside_of_a_store_are_those_of_files(tmp_path: Path, case: TrainSample) -> None:
    """OME-Zarr with its labels in it (ignored voxels among them) and MRC files train the same network, to the bit."""
    labels = read(case.labels[0], SHAPE).astype(np.uint8)
    url, levels = str(tmp_path / "image.ome.zarr"), plan_levels(SHAPE, chunk=(8, 8, 8), shard=(8, 16, 16), smallest=64)
    for group, array in (("", read(case.volume, SHAPE)), ("labels/core", labels)):
        kind = "labels" if group else "intensity"
        spec = ImageSpec(url, "image", str(array.dtype), kind, (10.0, 10.0, 10.0), levels, (0.0, 0.0, 0.0), group)
        create_image(spec, token="token")
        ZarrSink(spec.volume(0)).write(Box.of_shape(SHAPE), array)
        finish_image(spec)
    plain = case.with_(ids=())
    outs = [str(tmp_path / f"{k}.safetensors") for k in range(2)]
    for out, sample in zip(outs, (plain, plain.with_(volume=url, labels=(f"{url}#labels/core",))), strict=True):
        train(recipe(sample), out, progress=False)
    one, two = (load_model(out)[0].state_dict() for out in outs)
    assert (labels == 2).any()
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_an_ais_set_of_the_older_form_trains(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = gaussian_filter(rng.normal(size=(24, 16, 16)), (0, 2, 2)) > 0.15
    boxes = np.stack([rng.normal(size=truth.shape) + 3 * truth, truth], axis=1).astype(np.float32)
    tifffile.imwrite(tmp_path / "old.scnt", boxes, description="apix=10")
    sample = TrainSample(volume=str(tmp_path / "old.scnt"))
    how = recipe(
        sample, patch=(1, 16, 16), validation_share=0.0, epochs=2, steps=20, batch=4, learning_rate=2e-3,
        normalisation="per_patch", loss="bce", **UNET,
    )  # fmt: skip
    history = train(how, str(tmp_path / "m.safetensors"), progress=False)
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]


# -- when it ends --------------------------------------------------------------------------------------------


def test_it_stops_where_nothing_becomes_better(tmp_path: Path, case: TrainSample) -> None:
    still = {"learning_rate": 1e-30, "schedule": "constant", "epochs": 9, "patience": 2}
    history = train(recipe(case.with_(ids=(1,)), **still), str(tmp_path / "m.safetensors"), progress=False)
    assert len(history) == 3
    again = train(recipe(case.with_(ids=(1,)), **still), str(tmp_path / "m.safetensors"), progress=False)
    assert again == history


def test_weights_that_are_no_numbers_are_never_kept(tmp_path: Path, case: TrainSample) -> None:
    """A single step may ruin them while its own loss is fine; only the validation sees it."""
    out = tmp_path / "m.safetensors"
    wild = {"learning_rate": 1e35, "schedule": "constant", "clip": 0.0, "epochs": 4, "steps": 1, "loss": "bce"}
    with pytest.raises(VolengineError, match=r"Epoch 1: the loss of validation patch 1 is NaN.* Lower the") as error:
        train(recipe(case.with_(ids=(1,)), optimiser="sgd", **wild), str(out), progress=False)
    assert "\n" not in str(error.value)
    assert not out.exists()
    assert not (tmp_path / "m.safetensors.training" / "last.safetensors").exists()


@pytest.mark.parametrize("normalisation", ["none", "per_patch", "volume"])
def test_voxels_that_are_no_numbers_are_named(tmp_path: Path, case: TrainSample, normalisation: Any) -> None:
    image = read(case.volume, SHAPE).copy()
    image[4, :, ::4] = np.nan
    stored = np.memmap(case.volume, np.float32, "r+", offset=1024, shape=SHAPE)
    stored[:] = image
    stored.flush()
    message = "voxels that are not finite" if normalisation == "volume" else "A patch of cells holds voxels that"
    with pytest.raises(VolengineError, match=message):
        train(
            recipe(case.with_(ids=(1,), token="cells"), normalisation=normalisation, steps=20),
            str(tmp_path / "m.safetensors"),
            progress=False,
        )


def test_tensorboard_reads_the_log(tmp_path: Path, case: TrainSample) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = train(
        recipe(case.with_(ids=(1,)), tensorboard=True, epochs=2), str(tmp_path / "m.safetensors"), progress=False
    )
    log = EventAccumulator(str(tmp_path / "m.safetensors.training" / "tensorboard"))
    log.Reload()
    for name in ("loss", "validation_loss", "validation_dice"):
        got = [(event.step, event.value) for event in log.Scalars(name)]
        assert got == [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in history]


@pytest.mark.slow
def test_torchrun_with_two_processes_makes_the_model_of_one(tmp_path: Path, case: TrainSample) -> None:
    """Started from the command line, with losses for one of two data sets; one of the processes speaks."""
    samples = (case.with_(token="real"), case.with_(token="simulated", weight=2.0))
    losses = [{"loss": "bce_dice"}, {"loss": "bce", "weight": 0.5, "datasets": ["real"]}]
    how = recipe(
        case, samples=samples, features=("one", "two"), losses=losses, epochs=2, steps=4, batch=4, optimiser="sgd",
        momentum=0.5, learning_rate=0.05,
    )  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(how.to_json()))
    command = [str(Path(sys.executable).with_name("volengine")), "train", str(tmp_path / "recipe.yaml"), "--out"]
    together = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "--no-python"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    said = []
    for name, before in (("alone", []), ("both", together)):
        whole = [*before, *command, str(tmp_path / f"{name}.safetensors")]
        done = subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        said.append(done.stdout)
    assert [text.count("(the l") for text in said] == [1, 1]
    one, two = (load_model(tmp_path / f"{name}.safetensors")[0].state_dict() for name in ("alone", "both"))
    assert all(torch.allclose(one[k], two[k], rtol=1e-3, atol=1e-5) for k in one)
    entries = [load_facts(tmp_path / f"{name}.safetensors").history[-1] for name in ("alone", "both")]
    for a, b in zip(*(entry["epochs"] for entry in entries), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["validation_loss"] == pytest.approx(b["validation_loss"], rel=1e-4)
