"""denoise: the mean of the network's answers to both halves, in the grey values of the tomogram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import volengine
from volengine.cli.main import cli
from volengine.core.errors import InputError, VolengineError
from volengine.core.model import ModelFacts
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.nets.checkpoint import load_facts, save_model
from volengine.nets.registry import build
from volengine.tasks.common.halves import other_half
from volengine.tasks.denoise.recipe import DenoiseRecipe

SHAPE = (21, 37, 45)
QUIET = RunOptions(progress=False, device="cpu")


def mrc(path: Path, seed: int, shape: tuple[int, int, int] = SHAPE, size: float = 10.0) -> np.ndarray:
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    values = (rng.normal(300, 20, shape) + 10 * np.sin(np.arange(shape[2]) / 5)).astype(np.float32)
    write_mrc(path, [values], shape, "float32", (size,) * 3)
    return values


def model(path: Path, normalisation: str = "volume", features: tuple[str, ...] = ("denoised",), **facts: Any) -> str:
    torch.manual_seed(3)
    arguments: dict[str, Any] = {"width": 4, "levels": 2, "channels": len(features)}
    module = build("unet3d", arguments)
    told = {"activation": "none", "target": "volume", "voxel_size": (10.0, 10.0, 10.0), "patch": (8, 16, 16), **facts}
    made = {"network": "unet3d", "arguments": arguments, "features": features, "normalisation": normalisation, **told}
    save_model(path, module, ModelFacts(**made))
    return str(path)


@pytest.fixture
def halves(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    return mrc(tmp_path / "TS_even.mrc", 1), mrc(tmp_path / "TS_odd.mrc", 2)


def answers(folder: Path, path: str, *names: str, **values: Any) -> list[np.ndarray]:
    """What ``segment`` makes of each file, as float64."""
    recipe = volengine.SegmentRecipe(models=(path,), dtype="float32", **values)
    found = [volengine.segment(folder / name, folder / f"seg_{Path(name).stem}", recipe, QUIET) for name in names]
    return [next(iter(f.values()))[:].astype(np.float64) for f in found]


@pytest.mark.parametrize("normalisation", ["volume", "per_slice", "none", "global_mad"])
def test_the_result_is_the_mean_of_both_answers_in_grey_values(halves, tmp_path: Path, normalisation: str) -> None:  # type: ignore[no-untyped-def]
    path = model(tmp_path / "m.safetensors", normalisation)
    recipe = DenoiseRecipe(model=path, other=str(tmp_path / "TS_odd.mrc"))
    found = volengine.denoise(tmp_path / "TS_even.mrc", tmp_path / "out.ome.zarr", recipe, QUIET)
    each = answers(tmp_path, path, "TS_even.mrc", "TS_odd.mrc")
    wanted = np.mean([a * h.std(dtype=float) + h.mean(dtype=float) for a, h in zip(each, halves, strict=True)], axis=0)
    assert (found.kind, found.dtype, found.voxel_size) == ("intensity", "float32", (10.0, 10.0, 10.0))
    assert np.abs(found[:] - wanted).max() <= 1e-6 * np.abs(wanted).max()


def test_blocks_workers_and_parts_change_nothing(halves, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = model(tmp_path / "m.safetensors")
    recipe = DenoiseRecipe(model=path, pair=("even", "odd"), levels=1)
    whole = volengine.denoise(tmp_path / "TS_even.mrc", tmp_path / "a.ome.zarr", recipe, QUIET)[:]
    store = tmp_path / "store"
    for half in ("even", "odd"):
        how = volengine.ConvertRecipe(chunk=(8, 16, 16), shard=(8, 16, 16), levels=1)
        volengine.convert(tmp_path / f"TS_{half}.mrc", store / f"TS_{half}.ome.zarr", how, QUIET)
    options = RunOptions(progress=False, device="cpu", block=(8, 16, 16))
    blocked = volengine.denoise(store / "TS_even.ome.zarr", tmp_path / "b.ome.zarr", recipe, options)[:]
    assert blocked.tobytes() == whole.tobytes()
    part = volengine.denoise(
        store / "TS_even.ome.zarr", tmp_path / "c.ome.zarr", recipe.with_(roi="3:17,5:31,8:40"), QUIET
    )
    assert part.origin == (30.0, 50.0, 80.0)
    assert np.abs(part[:] - whole[3:17, 5:31, 8:40]).max() <= 1e-6 * np.abs(whole).max()


def test_a_tomogram_without_halves_and_answers_as_they_are(halves, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = model(tmp_path / "m.safetensors", target=None)
    recipe = DenoiseRecipe(model=path, units="model", dtype="float16")
    found = volengine.denoise(tmp_path / "TS_even.mrc", tmp_path / "out.ome.zarr", recipe, QUIET)
    (alone,) = answers(tmp_path, path, "TS_even.mrc")
    assert found.dtype == "float16"
    assert np.abs(found[:] - alone).max() <= 1e-3 * np.abs(alone).max()


def test_a_model_of_targets_in_their_own_units_is_not_scaled(halves, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = model(tmp_path / "m.safetensors", target="none")
    found = volengine.denoise(tmp_path / "TS_even.mrc", tmp_path / "out.ome.zarr", DenoiseRecipe(model=path), QUIET)
    (alone,) = answers(tmp_path, path, "TS_even.mrc")
    assert np.abs(found[:] - alone).max() <= 1e-6 * np.abs(alone).max()


def test_a_tomogram_of_another_voxel_size_is_matched(tmp_path: Path) -> None:
    values = mrc(tmp_path / "fine.mrc", 5, size=8.0)
    path = model(tmp_path / "m.safetensors")
    with pytest.raises(VolengineError, match="was trained at 10 angstrom"):
        volengine.denoise(tmp_path / "fine.mrc", tmp_path / "no.ome.zarr", DenoiseRecipe(model=path), QUIET)
    recipe = DenoiseRecipe(model=path, match="isotropic")
    found = volengine.denoise(tmp_path / "fine.mrc", tmp_path / "out.ome.zarr", recipe, QUIET)
    (alone,) = answers(tmp_path, path, "fine.mrc", match="isotropic")
    wanted = alone * values.std(dtype=float) + values.mean(dtype=float)
    assert np.abs(found[:] - wanted).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("facts", "values", "message"),
    [
        ({"activation": "sigmoid", "target": None}, {}, "predicts probabilities of denoised"),
        ({"target": None}, {}, "does not state the unit"),
        ({"features": ("a", "b")}, {}, "has 2 answers"),
        ({}, {"other": "TS_even.mrc"}, "both halves are the same volume"),
        ({}, {"other": "small.mrc"}, r"has the shape \(21, 37, 45\), but"),
        ({}, {"other": "coarse.mrc"}, "has the voxel size"),
        ({}, {"other": "gone.mrc"}, "gone.mrc"),
        ({}, {"pair": ("odd", "even")}, "must hold it once, not 0 times"),
    ],
)
def test_what_does_not_fit_is_refused(
    halves,
    tmp_path: Path,
    facts: dict[str, Any],
    values: dict[str, Any],
    message: str,  # type: ignore[no-untyped-def]
) -> None:
    mrc(tmp_path / "small.mrc", 3, (20, 37, 45))
    mrc(tmp_path / "coarse.mrc", 3, size=12.0)
    path = model(tmp_path / "m.safetensors", **facts)
    if "other" in values:
        values = {"other": str(tmp_path / values["other"])}
    with pytest.raises(VolengineError, match=message):
        volengine.denoise(
            tmp_path / "TS_even.mrc", tmp_path / "out.ome.zarr", DenoiseRecipe(model=path, **values), QUIET
        )
    assert not (tmp_path / "out.ome.zarr").exists()


def test_float16_refuses_grey_values_that_it_does_not_hold(tmp_path: Path) -> None:
    values = mrc(tmp_path / "big.mrc", 1) * 1000
    write_mrc(tmp_path / "big.mrc", [values], SHAPE, "float32", (10.0, 10.0, 10.0))
    recipe = DenoiseRecipe(model=model(tmp_path / "m.safetensors"), dtype="float16")
    with pytest.raises(VolengineError, match="which float16 does not hold"):
        volengine.denoise(tmp_path / "big.mrc", tmp_path / "out.ome.zarr", recipe, QUIET)


@pytest.mark.parametrize(
    ("source", "pair", "message"),
    [("even/TS_1.mrc", ("odd", "x"), "0 times"), ("ts_even_even.mrc", ("even", "odd"), "2 times")],
)
def test_names_that_do_not_say_the_other_half_are_refused(source: str, pair: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        other_half(source, pair)


def test_recipes_that_contradict_themselves_are_refused() -> None:
    for values in ({"other": "a", "pair": ("a", "b")}, {"pair": ("a", "a")}, {"pair": ("", "a")}, {"model": " "}):
        with pytest.raises(InputError):
            DenoiseRecipe(**{"model": "m.safetensors", **values})  # type: ignore[arg-type]


def test_the_command_trains_on_half_sets_and_denoises_several(tmp_path: Path) -> None:
    for number in (1, 2):
        for at, half in enumerate(("even", "odd")):
            mrc(tmp_path / half / f"TS_{number}.mrc", 10 * number + at)
    train = ["train", "--volume", f"{tmp_path}/even/*.mrc", "--pair", "even,odd", "--epochs", "1", "--steps", "2"]
    train += ["--patch", "8,16,16", "--validation-share", "0", "--out", f"{tmp_path}/m.safetensors", "--device", "cpu"]
    done = CliRunner().invoke(cli, train)
    assert done.exit_code == 0, done.output
    facts = load_facts(f"{tmp_path}/m.safetensors")
    samples = facts.history[-1]["recipe"]["samples"]
    assert [(Path(s["volume"]).parent.name, Path(s["targets"][0]).parent.name) for s in samples] == [
        ("even", "odd"),
        ("odd", "even"),
    ] * 2
    assert (facts.activation, facts.target, facts.features) == ("none", "volume", ("denoised",))
    args = ["denoise", f"{tmp_path}/even/*.mrc", "--pair", "even,odd", "--model", f"{tmp_path}/m.safetensors"]
    done = CliRunner().invoke(cli, [*args, "--out", f"{tmp_path}/out", "--device", "cpu", "--no-progress"])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "out").glob("*.zarr")) == [
        "TS_1__denoised.ome.zarr",
        "TS_2__denoised.ome.zarr",
    ]
    assert "denoised" in done.output
    done = CliRunner().invoke(cli, [*args[:2], "--other", "x.mrc", *args[4:], "--out", f"{tmp_path}/out2"])
    assert isinstance(done.exception, InputError)
    assert "--pair even,odd" in str(done.exception)
