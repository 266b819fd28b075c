"""Targets: numbers are read and scaled as said, wrong combinations are refused, and training removes noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volengine import SegmentRecipe, segment
from volengine.cli.main import cli
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.io.open import open_source, open_volume
from volengine.nets.checkpoint import load_facts
from volengine.nets.training.losses.recipe import Term
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.sources import open_sources
from volengine.tasks.train.targets import TargetFiles
from volengine.tasks.train.verb import train

SHAPE = (16, 40, 24)


def write(path: Path, array: np.ndarray) -> str:
    with mrcfile.new(path, data=array, overwrite=True) as mrc:
        mrc.voxel_size = 10
    return str(path)


def overwrite(path: str, array: np.ndarray) -> None:
    """Other voxels, without the header's statistics (of which holes make warnings)."""
    stored = np.memmap(path, array.dtype, "r+", offset=1024, shape=array.shape)
    stored[:] = array
    stored.flush()


def blobs(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Smooth density with a mean of 50 and a deviation of 3."""
    clean = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0, mode="wrap")
    return (50 + 3 * (clean - clean.mean()) / clean.std()).astype(np.float32)


def noisy(clean: np.ndarray, seed: int, sigma: float = 3.0) -> np.ndarray:
    """Blurred, with noise of ``sigma``, on a scale of its own."""
    blurred = ndimage.gaussian_filter(clean, 0.7)
    return (7 - 2 * (blurred + np.random.default_rng(seed).normal(0, sigma, clean.shape))).astype(np.float32)


@pytest.fixture
def case(tmp_path: Path) -> tuple[str, str]:
    clean = blobs(SHAPE, 0)
    return write(tmp_path / "noisy.mrc", noisy(clean, 1)), write(tmp_path / "ideal.mrc", clean)


def recipe(case: tuple[str, str], **changes: Any) -> TrainRecipe:
    sample = {"volume": case[0], "targets": (case[1],), **changes.pop("sample", {})}
    values = {
        "samples": (TrainSample(**sample),), "features": ("density",), "arguments": {"width": 2, "levels": 2},
        "patch": (8, 8, 8), "epochs": 1, "steps": 2, "batch": 2, "loss": "l2", "device": "cpu",
    }  # fmt: skip
    return TrainRecipe(**{**values, **changes})


# -- what is read --------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32), kind=st.sampled_from(["float32", "int16", "uint8"]),
    units=st.sampled_from(["volume", "none"]), holes=st.booleans(),
)  # fmt: skip
def test_numbers_are_those_of_the_file_in_the_units_asked_for(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str, units: Any, holes: bool
) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 21, 3).tolist())
    values = rng.integers(0, 200, shape).astype(kind)
    folder = tmp_path_factory.mktemp("target")
    volume = open_volume(write(folder / "image.mrc", np.zeros(shape, np.float32)))
    path = write(folder / "target.mrc", values)
    if kind == "float32" and holes:
        values[rng.random(shape) < 0.2] = rng.choice([np.nan, np.inf])
        overwrite(path, values)
    start = [int(rng.integers(0, n - 2)) for n in shape]
    region = Box(tuple(start), tuple(int(rng.integers(a + 2, n + 1)) for a, n in zip(start, shape, strict=True)))
    target = TargetFiles([path, path], volume, region, units)
    whole = np.where(np.isfinite(values), values.astype(np.float64), np.nan)
    if units == "volume":
        part = whole[region.slices]
        whole = (whole - np.nanmean(part)) / np.nanstd(part)
    got = target.read(Box.of_shape(shape))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.stack([whole, whole]), rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(target.read(region), got[(slice(None), *region.slices)])


def test_a_patch_and_its_target_are_of_the_same_place(case: tuple[str, str]) -> None:
    """With the volume as its own target, both scaled alike, image and target are equal; also with context."""
    for changes in ({}, {"network": "unet", "arguments": {}, "patch": (1, 8, 8), "context": 3}):
        how = recipe((case[0], case[0]), **changes)
        source = open_sources(how.samples, how.rules())[0]
        assert source.positives == (1,)
        below = how.rules().below
        for image, target in [source.draw(np.random.default_rng(k)) for k in range(9)] + [*source.validation()]:
            np.testing.assert_allclose(image[below : below + target.shape[1]], target[0], atol=1e-5)


def test_targets_that_a_sample_does_not_know_do_not_count(case: tuple[str, str]) -> None:
    known = TrainSample(volume=case[0], targets=(case[1],), features=("b",))
    both = TrainSample(volume=case[0], targets=(case[0], case[1]))
    how = recipe(case, samples=(known, both), features=("a", "b"))
    one, two = open_sources(how.samples, how.rules())
    assert (one.positives, two.positives) == ((0, 1), (1, 1))
    target = one.draw(np.random.default_rng(0))[1]
    assert np.isnan(target[0]).all()
    assert np.isfinite(target[1]).all()
    with pytest.raises(InputError, match="No voxel of 'a'"):
        train(how.with_(samples=(known,)), "no.safetensors", progress=False)


# -- what does not fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "bce"}, "the loss bce needs labels; with targets give --loss l2"),
        ({"loss": "bce_dice"}, "the loss bce_dice needs labels"),
        ({"loss": "cross_entropy"}, "the loss cross_entropy needs labels"),
        ({"sample": {"targets": (), "labels": ("a.mrc",)}}, "the loss l2 compares numbers; give targets"),
        ({"sample": {"targets": (), "volume": "a.scnt"}}, "the loss l2 compares numbers; give targets"),
        ({"losses": (Term("l1"), Term("dice"))}, "l1 and l2 compare numbers .*cannot be added"),
        ({"sample": {"labels": ("a.mrc",)}}, "give either labels or points"),
        ({"sample": {"boxes": "auto"}}, "boxes, slices and ids are for labels"),
        ({"sample": {"slices": (3,)}}, "boxes, slices and ids are for labels"),
        ({"features": ("a", "b")}, "truth of 1 for 2 features"),
        ({"adversarial": True}, "--adversarial trains on labels"),
        ({"target_normalisation": "per_slice"}, "must be one of volume, none"),
    ],
)
def test_wrong_combinations_are_refused_in_one_line(case: tuple[str, str], changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        recipe(case, **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "units", "message"),
    [
        (np.zeros((16, 40, 23), np.float32), "volume", r"has the shape \(16, 40, 23\), its volume .* \(16, 40, 24\)"),
        (np.full(SHAPE, 5, np.int16), "volume", "the target is 5 everywhere in the region"),
        (np.full(SHAPE, np.nan, np.float32), "none", "the target is no number in the region"),
        (np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), "none", r"from 0 to 15359; .* within ±1023"),
    ],
)
def test_targets_that_do_not_fit_are_refused_before_training(
    tmp_path: Path, case: tuple[str, str], values: np.ndarray, units: Any, message: str
) -> None:
    path = write(tmp_path / "odd.mrc", np.zeros_like(values))
    overwrite(path, values)
    how = recipe((case[0], path), target_normalisation=units)
    with pytest.raises(InputError, match=message):
        train(how, str(tmp_path / "m.safetensors"), progress=False)
    assert not (tmp_path / "m.safetensors").exists()


# -- what comes out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", ["volume", "none"])
def test_the_model_says_what_it_answers_and_shows_it(tmp_path: Path, case: tuple[str, str], units: Any) -> None:
    from PIL import Image

    out = tmp_path / "m.safetensors"
    history = train(recipe(case, target_normalisation=units, loss="l1"), str(out), progress=False)
    assert math.isfinite(history[0]["validation_loss"])
    assert math.isnan(history[0]["validation_dice"])
    facts = load_facts(out)
    assert (facts.activation, facts.target, facts.features) == ("none", units, ("density",))
    picture = np.asarray(Image.open(tmp_path / "m.safetensors.training" / "validation.png"))
    assert picture.shape[0] == 3 * 192 + 2 * 6
    assert (picture[192:198] == 255).all()
    assert (picture[390:396] == 255).all()
    pictures = [picture[k * 198 : k * 198 + 192, :192] for k in range(3)]
    assert all(part.std() > 10 for part in (pictures[0], pictures[2]))
    assert (pictures[0] != pictures[2]).any()


def test_two_halves_of_one_tomogram_from_the_command_line(tmp_path: Path, case: tuple[str, str]) -> None:
    """Even to odd and odd to even, whole tomograms for validation: everything by options, then applied."""
    clean = [blobs(SHAPE, k) for k in range(2)]
    halves = [[write(tmp_path / f"t{k}_{h}.mrc", noisy(c, 10 * k + h)) for h in range(2)] for k, c in enumerate(clean)]
    out, store = str(tmp_path / "m.safetensors"), str(tmp_path / "out.ome.zarr")
    pairs = [word for one in halves for a, b in (one, one[::-1]) for word in ("--volume", a, "--target", b)]
    args = [
        "train", *pairs, "--loss", "l2", "--features", "denoised", "--network", "eman2", "--patch", "1,16,16",
        "--context", "3", "--epochs", "1", "--steps", "2", "--batch", "2", "--device", "cpu", "--validation",
        "tomogram", "--validation-share", "0.5", "--out", out,
    ]  # fmt: skip
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, done.output
    assert ": epoch 1 of 1 (the lowest" in done.output
    assert "Dice" not in done.output
    done = CliRunner().invoke(cli, ["segment", halves[0][0], "--models", out, "--dtype", "float32", "--out", store])
    assert done.exit_code == 0, done.output
    shown = CliRunner().invoke(cli, ["models", "show", out])
    assert shown.exit_code == 0, shown.output
    assert "target" in shown.output
    assert "validation_loss" in shown.output
    assert "validation_dice" not in shown.output
    answer = open_volume(store)
    assert (answer.dtype, answer.shape) == (np.dtype("float32"), SHAPE)
    wrong = CliRunner().invoke(cli, ["train", "--volume", "a.mrc", "--target", "b.mrc", "--labels", "c.mrc", *args[-2:],
                                     "--features", "x"])  # fmt: skip
    assert wrong.exit_code == 2
    assert "one of --labels, --points and --target" in wrong.output


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ideal", "noise2noise"])
def test_noise_is_removed_from_a_volume_that_was_not_seen(tmp_path: Path, kind: str) -> None:
    """Blurred and noisy volumes to ideal ones, or to another noisy one of the same (so without the deblurring)."""
    shape = (24, 64, 64)
    clean = [blobs(shape, k) for k in range(2)]
    inputs = [write(tmp_path / f"in{k}.mrc", noisy(c, 10 + k)) for k, c in enumerate(clean)]
    targets = clean if kind == "ideal" else [noisy(c, 20 + k) for k, c in enumerate(clean)]
    target = write(tmp_path / "target.mrc", targets[0])
    how = TrainRecipe(
        samples=(TrainSample(volume=inputs[0], targets=(target,)),), features=("denoised",), loss="l2",
        patch=(16, 16, 16), arguments={"width": 6, "levels": 2}, epochs=6, steps=40, batch=4, learning_rate=3e-3,
        device="cpu",
    )  # fmt: skip
    out, store = str(tmp_path / "m.safetensors"), str(tmp_path / "out.ome.zarr")
    train(how, out, progress=False)
    segment(inputs[1], store, SegmentRecipe(models=(out,), dtype="float32"))
    answer = np.asarray(open_source(open_volume(store)).read(Box.of_shape(shape)), np.float64)
    plain = np.asarray(open_source(open_volume(inputs[1])).read(Box.of_shape(shape)), np.float64)
    truth = clean[1].astype(np.float64)
    # every one on the scale on which it comes closest to the truth: nobody is helped by a shift or a factor
    errors = [_error(a, truth) for a in (answer, plain)]
    # measured: 0.075 and 0.085 of the truth's variance, against 0.546 (0.077 with the best of all Gaussian filters,
    # which for a truth like this is nearly the best there is)
    assert errors[0] < 0.25 * errors[1]
    if kind == "ideal":  # and its own numbers are those of the normalised target
        units = (truth - truth.mean()) / truth.std()
        assert np.mean((answer - units) ** 2) < 0.2  # measured: 0.076


def _error(values: np.ndarray, truth: np.ndarray) -> float:
    """Smallest mean square of ``a * values + b - truth`` over all a and b, in units of the truth's variance."""
    return float(1 - np.corrcoef(values.ravel(), truth.ravel())[0, 1] ** 2)
