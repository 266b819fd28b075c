"""Training: truth from files and points, nothing of the held-out part is seen, stopped equals unstopped to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA
from train_cases import SHAPE, case_in, numbers, recipe, write

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.io.open import open_volume
from volengine.io.picks import write_picks
from volengine.nets.checkpoint import load_facts, load_model
from volengine.nets.training.fit.fit import Fit
from volengine.tasks.train.labels import LabelFiles, LabelPoints
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.verb import train
from volengine.tasks.train.volumes import Patches, Thinned

HIV = DATA / "real" / "hiv_tomogram"


@pytest.fixture
def case(tmp_path: Path) -> dict[str, str]:
    return case_in(tmp_path)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(path)[0].state_dict())


def same(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


# -- truth ---------------------------------------------------------------------------------------------------


def test_points_come_from_picks_files(tmp_path: Path, case: dict[str, str]) -> None:
    picks = Picks([[3, 10, 12], [8, 30, 5]], voxel_size=(10, 10, 10), shape=SHAPE)
    write_picks(tmp_path / "points.csv", picks)
    sample = {"labels": (), "points": (str(tmp_path / "points.csv"),), "radius_nm": (2.0,), "beyond_nm": 3.0}
    patches = Patches(TrainSample(volume=case["image"], **sample), recipe(case).rules())
    labels = patches.labels.read(Box.of_shape(SHAPE))[0]
    for z, y, x in ((3, 10, 12), (8, 30, 5)):
        assert [labels[z, y, x + d] for d in range(5)] == [1, 1, 1, 2, 0]
    assert (labels == 1).sum() == 2 * 33  # voxels within 2 of the middle one


def test_of_a_table_of_several_tomograms_the_rows_of_the_volume_are_taken(tmp_path: Path, case: dict[str, str]) -> None:
    path = str(tmp_path / "both.star")
    places = {"other": [[8, 30, 5]], "image": [[3, 10, 12]]}
    tables = [Picks(at, voxel_size=(10, 10, 10), tomogram=name) for name, at in places.items()]
    write_picks(path, tables)
    volume, box = open_volume(case["image"]), Box.of_shape(SHAPE)
    labels = LabelPoints.from_files([path], [5.0], volume).read(box)[0]
    assert np.argwhere(labels == 1).tolist() == places["image"]
    with pytest.raises(InputError, match=r"both\.star has no rows of 'index'; there are those of 'other', 'image'"):
        LabelPoints.from_files([path], [5.0], open_volume(case["index"]))
    write_picks(path, tables[0])  # a single one may have any name
    labels = LabelPoints.from_files([path], [5.0], volume).read(box)[0]
    assert np.argwhere(labels == 1).tolist() == places["other"]


def test_class_ids_in_one_volume(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 6, SHAPE).astype(np.int16)
    path = write(tmp_path / "classes.mrc", values)
    volume = open_volume(path)
    got = LabelFiles([path], volume, ids=(3, 1), ignore_id=5).read(Box.of_shape(SHAPE))
    for labels, i in zip(got, (3, 1), strict=True):
        np.testing.assert_array_equal(labels, np.where(values == 5, 2, values == i))
    with pytest.raises(InputError, match=r"classes\.mrc: labels are 0 .* but it holds 3.*choose the classes with ids"):
        LabelFiles([path], volume).read(Box.of_shape(SHAPE))


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
def test_class_ids_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    values = np.full(SHAPE, 3, np.float32)
    values[5, 6, 7] = np.nan
    path = write(tmp_path / "classes.mrc", values)
    labels = LabelFiles([path], open_volume(path), ids=(3,))
    assert labels.read(Box((0, 0, 0), (5, 8, 8))).all()
    with pytest.raises(InputError, match=r"classes\.mrc holds NaN or infinity in voxels \(4, 0, 0\) to \(8, 8, 8\)"):
        labels.read(Box((4, 0, 0), (8, 8, 8)))


# -- what is seen --------------------------------------------------------------------------------------------


def seen_boxes(patches: Patches, samples: list[Any]) -> np.ndarray:
    """(n, 2, 3) first and last voxel of each image, for a volume that holds its own indices."""
    corners = [[np.unravel_index(int(f(image)), SHAPE) for f in (np.min, np.max)] for image, _ in samples]
    return np.array(corners)


@pytest.mark.parametrize(
    ("patch", "context", "region"),
    [
        ((8, 8, 8), 1, None),
        ((8, 8, 8), 1, (0, 0, 0, -1, -1, 14)),
        ((1, 8, 8), 5, (4, 0, 0, 12, -1, -1)),
        ((1, 8, 8), 4, (0, 0, 0, 10, 9, 9)),
    ],
)
def test_training_sees_its_part_and_validation_the_rest(
    case: dict[str, str], patch: tuple[int, int, int], context: int, region: Any
) -> None:
    sample = {"volume": case["index"], "region": region}
    settings_ = recipe(case, sample=sample, patch=patch, context=context, normalisation="none")
    patches = Patches(settings_.samples[0], settings_.rules())
    drawn = [patches.draw(np.random.default_rng(s)) for s in range(300)]
    (training,) = patches.training
    trained = seen_boxes(patches, drawn)
    held = seen_boxes(patches, patches.validation())
    low = np.array(patches.region.start)
    high = np.array(patches.region.stop) - 1
    for boxes in (trained, held):
        assert (boxes[:, 0] >= low).all()
        assert (boxes[:, 1] <= high).all()
    axis = int(np.argmax(patches.region.shape))
    assert trained[:, 1, axis].max() < held[:, 0, axis].min()
    assert all(image.shape == (context + patch[0] - 1, *patch[1:]) for image, _ in drawn)
    assert all(labels.shape == (1, *patch) for _, labels in drawn)
    for axis in range(3):  # every place that is allowed is reached
        first, last = trained[:, 0, axis], trained[:, 1, axis]
        assert first.min() == training.start[axis] - (context // 2 if axis == 0 and low[0] > 0 else 0)
        assert last.max() >= training.stop[axis] - 2


def test_validation_covers_the_held_out_slab(case: dict[str, str]) -> None:
    settings_ = recipe(case, sample={"volume": case["index"]}, patch=(9, 7, 10), normalisation="none")
    patches = Patches(settings_.samples[0], settings_.rules())
    seen = np.unique(np.concatenate([image.ravel() for image, _ in patches.validation()]))
    index = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    held = np.concatenate([index[slab.slices].ravel() for slab in patches.held_out])
    np.testing.assert_array_equal(seen, np.sort(held))


def test_labels_are_those_of_the_middle_slice(tmp_path: Path, case: dict[str, str]) -> None:
    index = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    odd = write(tmp_path / "odd.mrc", (index % 3 == 1).astype(np.int8))
    sample = {"volume": case["index"], "labels": (odd,)}
    for context in (1, 3, 4):
        settings_ = recipe(case, sample=sample, patch=(1, 8, 8), context=context, normalisation="none")
        patches = Patches(settings_.samples[0], settings_.rules())
        for seed in range(20):
            image, labels = patches.draw(np.random.default_rng(seed))
            np.testing.assert_array_equal(labels[0, 0], image[context // 2].astype(int) % 3 == 1)


def test_share_of_patches_with_the_feature(tmp_path: Path, case: dict[str, str]) -> None:
    labels = np.zeros(SHAPE, np.int8)
    labels[2, 3, 4] = 1
    sample = {"labels": (write(tmp_path / "one.mrc", labels),)}
    for share in (0.0, 0.5, 1.0):
        settings_ = recipe(case, sample=sample, patch=(2, 2, 2), positive_share=share)
        patches = Patches(settings_.samples[0], settings_.rules())
        found = np.mean([patches.draw(np.random.default_rng(s))[1].any() for s in range(400)])
        assert abs(found - share) < 0.08


@pytest.mark.parametrize("kind", ["volume", "per_slice", "per_patch", "global_mad", "none"])
def test_patches_are_normalised_as_the_recipe_says(case: dict[str, str], kind: Any) -> None:
    settings_ = recipe(case, normalisation=kind)
    patches = Patches(settings_.samples[0], settings_.rules())
    with mrcfile.open(case["image"]) as mrc:
        whole = mrc.data.astype(np.float64)
    part = whole[4:12, 3:11, 5:13]
    if kind == "volume":
        want = (part - whole.mean()) / whole.std()
    elif kind == "per_slice":
        mean, std = whole.mean((1, 2))[4:12, None, None], whole.std((1, 2))[4:12, None, None]
        want = (part - mean) / std
    elif kind == "per_patch":
        want = (part - part.mean()) / part.std()
    elif kind == "global_mad":
        y, x = (min(int(0.2 * n), 64) for n in whole.shape[1:])
        chosen = np.linspace(0, len(whole) - 1, min(32, len(whole))).astype(int)
        seen = whole[chosen, y:-y, x:-x]
        want = (part - seen.mean()) / (1.4826 * np.median(np.abs(seen - np.median(seen))))
    else:
        want = part
    np.testing.assert_allclose(patches.cut((4, 3, 5))[0], want, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(parts=st.lists(st.integers(0, 50), max_size=12), most=st.integers(1, 20))
def test_thinning_keeps_an_even_choice_however_rows_arrive(parts: list[int], most: int) -> None:
    rows = np.repeat(np.arange(sum(parts))[:, None], 3, 1)
    thinned = Thinned(most)
    for part in np.split(rows, np.cumsum(parts)):
        thinned.add(part)
    got = thinned.rows[:, 0]
    assert len(got) <= 2 * most
    assert len(got) >= min(len(rows), most)
    assert len(set(np.diff(got))) <= 1
    assert not len(rows) or got[0] == 0
    assert not len(rows) or len(rows) - 1 - got[-1] < (got[1] - got[0] if len(got) > 1 else len(rows))


# -- fitting -------------------------------------------------------------------------------------------------


def test_it_learns_and_says_what_it_is(tmp_path: Path, case: dict[str, str]) -> None:
    out = tmp_path / "model.safetensors"
    history = train(
        recipe(case, epochs=8, steps=15, learning_rate=1e-2, arguments={"width": 4}), str(out), progress=False
    )
    best = min(history, key=lambda row: row["validation_loss"])
    assert best["validation_dice"] > 0.8
    facts = load_facts(out)
    assert facts.features == ("block",)
    assert facts.voxel_size == (10.0, 10.0, 10.0)
    assert facts.patch == (8, 8, 8)
    assert facts.stride == (4, 4, 4)
    assert facts.receptive_field == (23, 23, 23)
    (entry,) = facts.history
    assert entry["epoch"] == best["epoch"]
    assert entry["recipe"]["learning_rate"] == 1e-2
    lines = (tmp_path / "model.safetensors.training" / "history.csv").read_text().splitlines()
    columns = ["validation_dice_block", "validation_precision_block", "validation_recall_block"]
    fixed = ["epoch", "loss", "validation_loss", "validation_dice", "validation_noise", "seconds", "learning_rate"]
    assert lines[0].split(",") == [*fixed, *columns]
    (dice,) = {float(line.split(",")[7]) - float(line.split(",")[3]) for line in lines[1:]}
    assert dice == 0  # of one feature it is that of all
    assert len(lines) == 9


@pytest.mark.parametrize("changes", [{}, {"network": "unet", "arguments": {}, "patch": (1, 8, 8), "context": 3}])
def test_the_seed_decides_everything(tmp_path: Path, case: dict[str, str], changes: dict[str, Any]) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    small = {"epochs": 1, "steps": 2, **changes}
    one = train(recipe(case, **small), str(tmp_path / "1.safetensors"), progress=False)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(456)
    two = train(recipe(case, **small), str(tmp_path / "2.safetensors"), progress=False)
    train(recipe(case, **small, seed=1), str(tmp_path / "3.safetensors"), progress=False)
    assert numbers(one) == numbers(two)
    assert same(tmp_path / "1.safetensors", tmp_path / "2.safetensors")
    assert not same(tmp_path / "1.safetensors", tmp_path / "3.safetensors")


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [0, 3, 4, 11])
def test_stopped_at_any_step_equals_not_stopped(
    tmp_path: Path, case: dict[str, str], monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """At the first step, in an epoch, at the first step of another, at the last."""
    whole = train(recipe(case), str(tmp_path / "whole.safetensors"), progress=False)
    step = Fit._step
    taken: list[int] = []

    def failing(self: Fit, number: int, samples: Any) -> float:
        if number == stop_at:
            raise Stop
        return step(self, number, samples)

    def counting(self: Fit, number: int, samples: Any) -> float:
        taken.append(number)
        return step(self, number, samples)

    out = tmp_path / "stopped.safetensors"
    monkeypatch.setattr(Fit, "_step", failing)
    with pytest.raises(Stop):
        train(recipe(case), str(out), progress=False)
    monkeypatch.setattr(Fit, "_step", counting)
    again = train(recipe(case), str(out), progress=False)
    assert numbers(again) == numbers(whole)
    assert same(out, tmp_path / "whole.safetensors")
    assert taken == list(range(stop_at // 4 * 4, 12))  # the epoch that was stopped, and what follows
    taken.clear()
    assert numbers(train(recipe(case), str(out), progress=False)) == numbers(whole)
    assert not taken
    state = [tmp_path / f"{n}.safetensors.training" / "last.safetensors" for n in ("whole", "stopped")]
    assert state_of(state[0]).keys() == state_of(state[1]).keys()
    assert all(torch.equal(v, state_of(state[1])[k]) for k, v in state_of(state[0]).items())


def state_of(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))


@pytest.mark.chaos
def test_killed_and_called_again(tmp_path: Path, case: dict[str, str]) -> None:
    code = (
        "import json, sys; from volengine.tasks.train.verb import TrainRecipe, train\n"
        "print(json.dumps(train(TrainRecipe.from_json(json.loads(sys.argv[1])), sys.argv[2], progress=False)))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}

    def arguments(out: Path) -> list[str]:
        # A process of its own for each: what PyTorch keeps from the tests before may change the last bit.
        return [sys.executable, "-c", code, json.dumps(recipe(case, epochs=6).to_json()), str(out)]

    def trained(out: Path) -> list[dict[str, float]]:
        said = subprocess.run(arguments(out), env=environment, check=True, capture_output=True, text=True).stdout
        return list(json.loads(said.splitlines()[-1]))

    whole = trained(tmp_path / "whole.safetensors")
    out = tmp_path / "killed.safetensors"
    state = tmp_path / "killed.safetensors.training" / "last.safetensors"
    for _ in range(2):
        stamp = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen(arguments(out), env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == stamp):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert state.exists()
    assert numbers(trained(out)) == numbers(whole)
    assert same(out, tmp_path / "whole.safetensors")


def test_no_validation_means_the_training_loss_decides(tmp_path: Path, case: dict[str, str]) -> None:
    out = tmp_path / "model.safetensors"
    history = train(recipe(case, validation_share=0.0), str(out), progress=False)
    assert all(np.isnan(row["validation_loss"]) for row in history)
    best = min(history, key=lambda row: row["loss"])
    assert load_facts(out).history[0]["epoch"] == best["epoch"]
    assert numbers(train(recipe(case, validation_share=0.0), str(out), progress=False))[0][1] == history[0]["loss"]


def test_several_features_from_several_volumes(tmp_path: Path, case: dict[str, str]) -> None:
    sample = TrainSample(volume=case["image"], labels=(case["labels"], case["labels"]))
    out = tmp_path / "two.safetensors"
    values = {**recipe(case, epochs=1, steps=2).to_json(), "features": ["a", "b"], "samples": [sample.to_json()] * 2}
    train(TrainRecipe.from_json(values), str(out), progress=False)
    module, facts = load_model(out)
    assert facts.features == ("a", "b")
    assert module(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 2, 8, 8, 8)


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample": {"labels": ()}}, "either labels or points"),
        ({"sample": {"labels": (), "points": ("a.csv",)}}, "radius_nm, a number above 0"),
        (
            {"sample": {"labels": (), "points": ("a.csv",), "radius_nm": (3.0,), "beyond_nm": 2.0}},
            r"beyond_nm is 2\.0, less than the radius 3\.0",
        ),
        ({"sample": {"ids": (1, 1), "labels": ("a", "b")}}, "exactly one label volume, not 2"),
        ({"sample": {"ids": (2,), "ignore_id": 2}}, "ignore_id 2 needs ids"),
        ({"features": ("a", "b")}, "of 1 for 2 features"),
        ({"epochs": 0}, "--epochs must be 1 or more"),
        ({"network": "Unet3D", "epochs": 0, "features": ()}, r"no network 'Unet3D'. Did you mean .*unet3d.*\? Known"),
        ({"network": "no_such"}, r"no network 'no_such'\. Known are"),
        ({"network": "mine.py"}, r"no network 'mine.py'.* is named mine.py:Class"),
        ({"validation_share": 1.0}, "--validation-share must be between"),
        ({"learning_rate": 0.0}, "must be positive"),
        ({"seed": -1}, "--seed must be 0 or more"),
    ],
)
def test_wrong_recipes_are_refused(case: dict[str, str], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(case, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "unet", "arguments": {}}, r"'unet' is 2D, but the patch \(8, 8, 8\) is 3D"),
        ({"patch": (1, 8, 8)}, r"'unet3d' is 3D, but the patch \(1, 8, 8\) is 2D"),
        ({"patch": (7, 8, 8)}, "not a multiple of the network's stride"),
        ({"patch": (8, 8, 32)}, r"no patch \(8, 8, 32\) fits .* has 24 voxels along x. Give .* --patch 8,8,16"),
        (
            {"patch": (32, 8, 8), "validation_share": 0.0},
            r"has 16 voxels along z. Give .* --patch 16,8,8, or a 2D network",
        ),
        ({"patch": (1, 8, 8), "context": 5}, r"'unet3d' sees no context slices, and --context is 5"),
        ({"context": 3}, r"'unet3d' sees no context slices, and --context is 3.*Leave out --context"),
        ({"arguments": {"colour": 1}, "context": 3}, "cannot be built with .*colour"),
        ({"sample": {"region": (0, 0, 0, 16, 40, 99)}}, "empty or leaves the volume"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    tmp_path: Path, case: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(recipe(case, **changes), str(tmp_path / "m.safetensors"), progress=False)
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("normalisation", ["volume", "per_slice", "per_patch", "none", "global_mad"])
@pytest.mark.parametrize("value", [0.0, 999.5])
def test_a_tomogram_without_contrast_is_refused(
    tmp_path: Path, case: dict[str, str], normalisation: str, value: float
) -> None:
    flat = write(tmp_path / "flat.mrc", np.full(SHAPE, value, np.float32))
    made = recipe(case, sample={"volume": flat}, normalisation=normalisation)
    with pytest.raises(InputError, match=rf"flat\.mrc: all 15360 voxels are {value:g}, .* nothing to learn"):
        train(made, str(tmp_path / "m.safetensors"), progress=False)
    half = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    half[:, :, :10] = value
    sample = {"volume": write(tmp_path / "half.mrc", half), "region": (0, 0, 0, -1, -1, 10)}
    with pytest.raises(InputError, match=r"half\.mrc, voxels \(0, 0, 0\) to \(16, 40, 10\)"):
        train(recipe(case, sample=sample), str(tmp_path / "m.safetensors"), progress=False)


def test_labels_without_the_feature_or_of_another_shape_are_refused(tmp_path: Path, case: dict[str, str]) -> None:
    empty = write(tmp_path / "empty.mrc", np.zeros(SHAPE, np.int8))
    with pytest.raises(InputError, match="No voxel of 'block'"):
        train(recipe(case, sample={"labels": (empty,)}), str(tmp_path / "m.safetensors"), progress=False)
    small = write(tmp_path / "small.mrc", np.zeros((4, 4, 4), np.int8))
    with pytest.raises(InputError, match=r"small\.mrc has the shape \(4, 4, 4\)"):
        train(recipe(case, sample={"labels": (small,)}), str(tmp_path / "m.safetensors"), progress=False)
    with pytest.raises(InputError, match=r"ends with \.safetensors"):
        train(recipe(case), str(tmp_path / "model.pt"), progress=False)


def test_states_of_another_recipe_and_broken_ones_are_refused(tmp_path: Path, case: dict[str, str]) -> None:
    out = tmp_path / "m.safetensors"
    train(recipe(case, epochs=1, steps=1), str(out), progress=False)
    with pytest.raises(InputError, match="another recipe"):
        train(recipe(case, epochs=1, steps=1, seed=5), str(out), progress=False)
    state = tmp_path / "m.safetensors.training" / "last.safetensors"
    state.write_bytes(state.read_bytes()[:-5])
    with pytest.raises(FormatError, match="damaged"):
        train(recipe(case, epochs=1, steps=1), str(out), progress=False)


@pytest.mark.slow
@pytest.mark.skipif(not HIV.is_dir(), reason="the HIV-1 tomogram is not beside the repository")
def test_the_real_lattice_is_learnt(tmp_path: Path) -> None:
    sample = TrainSample(
        volume=str(HIV / "hiv_crop_x000-062.mrc"),
        points=(str(HIV / "hiv_crop_x000-062_points.csv"),),
        radius_nm=(8.0,),
    )
    recipe_ = TrainRecipe(
        samples=(sample,), features=("shell",), epochs=4, steps=25, batch=2, learning_rate=2e-3, device="cpu"
    )
    history = train(recipe_, str(tmp_path / "shell.safetensors"), progress=False)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    # 4 % of the slab is lattice: calling all of it lattice has a Dice of 0.07. Particles at the tomogram's rim that
    # nobody annotated count as background here.
    assert history[-1]["validation_dice"] > 0.25
