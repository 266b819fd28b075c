"""What pick, interact, score and stats take for a prediction, through the engine and in several blocks."""

from __future__ import annotations

import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import volengine
from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.core.rules import Interact
from volengine.engine.options import RunOptions
from volengine.io.open import open_volume
from volengine.tasks.convert.recipe import ConvertRecipe

QUIET = RunOptions(progress=False)
SHAPE = (24, 40, 70)
BALLS = [(10, 12, 12), (12, 20, 55)]
PICK = {"spacing_nm": 3, "feature": "r", "position": "centroid"}


def probability() -> np.ndarray:
    """Two balls, from 0 to 1; one whole side of the volume holds nothing above 0.004."""
    grid = np.indices(SHAPE)
    far = np.min([sum((g - c) ** 2 for g, c in zip(grid, at, strict=True)) for at in BALLS], axis=0)
    return np.round(np.clip(1.4 - np.sqrt(far) / 8, 0, 1) * 255).astype(np.float32) / 255


def write(path: Path, values: np.ndarray) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # mrcfile's of NaN, which is what the test is about
        with mrcfile.new(path, data=values) as mrc:
            mrc.voxel_size = 10.0
    return path


def picked(source: Path, tmp_path: Path, **recipe: object) -> volengine.Picks:
    out = tmp_path / f"{source.name}-{len(list(tmp_path.iterdir()))}.csv"
    return volengine.pick(source, out, {**PICK, **recipe}, QUIET)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32"])
def test_a_mask_of_any_type_is_picked_scored_and_gated_as_a_mask(dtype: str, tmp_path: Path) -> None:
    mask = probability() > 0.5
    source = write(tmp_path / "T1__r.mrc", mask.astype(dtype))
    wanted = picked(write(tmp_path / "prob.mrc", mask.astype(np.float32)), tmp_path)
    found = picked(source, tmp_path)
    assert len(found) == len(BALLS)
    assert np.array_equal(found.position_vox, wanted.position_vox)
    assert np.array_equal(found.weight, wanted.weight)  # the number of voxels
    assert found.weight[0] == int(mask[:, :, 30:].sum()) or found.weight[0] == int(mask[:, :, :30].sum())
    assert volengine.score(source, source, {"skeleton": "none"}, QUIET)["r"]["dice"] == 1
    other = write(tmp_path / "T1__s.mrc", mask.astype(dtype))
    recipe = volengine.InteractRecipe((Interact("r", "s", "avoid", radius_nm=0.5),))
    gated = volengine.interact({"r": source, "s": other}, tmp_path / "gated", recipe, QUIET)
    assert not gated["r"][:].any()
    keeps = volengine.InteractRecipe((Interact("r", "s", "colocalize", radius_nm=0.5),))
    gated = volengine.interact({"r": source, "s": other}, tmp_path / "kept", keeps, QUIET)
    assert np.array_equal(gated["r"][:] == (1 if dtype == "float32" else 255), mask)


def test_bytes_with_empty_blocks_are_no_mask(tmp_path: Path) -> None:
    """Blocks that hold only 0 and 1 lie beside blocks that go up to 255: 1 is 1/255 in all of them."""
    values = np.round(probability() * 255).astype(np.uint8)
    values[:, :, 35:50] = 1
    group = zarr.create_group(tmp_path / "T1__r.zarr")
    array = group.create_array("0", shape=SHAPE, chunks=(8, 8, 8), dtype="uint8")
    array[:] = values
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": n, "type": "space", "unit": "angstrom"} for n in "zyx"],
                "datasets": [
                    {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [10.0, 10.0, 10.0]}]}
                ],
            }
        ],
    }
    source = tmp_path / "T1__r.zarr"
    wanted = picked(write(tmp_path / "prob.mrc", values.astype(np.float32) / 255), tmp_path)
    found = volengine.pick(source, tmp_path / "a.csv", PICK, QUIET.with_(block=(8, 8, 8)))
    assert len(found) == len(BALLS)
    assert np.array_equal(found.position_vox, wanted.position_vox)
    np.testing.assert_allclose(found.weight, wanted.weight, rtol=1e-6)


def test_probabilities_times_a_number_are_refused_and_scaled(tmp_path: Path) -> None:
    one = probability()
    wanted = picked(write(tmp_path / "one.mrc", one), tmp_path)
    for times, dtype in ((255.0, "float32"), (100.0, "float32"), (255.0 * 257, "uint16")):
        source = write(tmp_path / f"T{times:g}__r.mrc", (one * times).astype(dtype))
        with pytest.raises(InputError, match="--scale"):
            picked(source, tmp_path)
        found = picked(source, tmp_path, scale=times)
        assert np.array_equal(found.position_vox, wanted.position_vox)
        np.testing.assert_allclose(found.weight, wanted.weight, rtol=1e-4)
        rules = (Interact("r", "r2", "colocalize", radius_nm=2),)
        both = {"r": source, "r2": write(tmp_path / f"T{times:g}__r2.mrc", (one * times).astype(dtype))}
        with pytest.raises(InputError, match="--scale"):
            volengine.interact(both, tmp_path / "g", volengine.InteractRecipe(rules), QUIET)
        gated = volengine.interact(both, tmp_path / "g", volengine.InteractRecipe(rules, scale=times), QUIET)
        assert gated["r"].dtype == "float32"
        assert gated["r"][:].max() <= 1.001
        truth = write(tmp_path / f"truth{times:g}.mrc", (one > 0.5).astype(np.int8))
        with pytest.raises(InputError, match="--scale"):
            volengine.score(source, truth, {"skeleton": "none"}, QUIET)
        assert volengine.score(source, truth, {"skeleton": "none", "scale": times}, QUIET)["r"]["dice"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32), "tomogram, or logits"),
        (lambda p: p * 10 - 5, "tomogram, or logits"),
        (lambda p: np.where(p > 0.9, np.nan, p), "NaN"),
        (lambda p: ((p > 0.5) - 128.0).astype(np.int8), "IMOD"),
        (lambda p: (p * 1000).astype(np.int16), "--scale 1000"),
        (lambda p: (p * 50 - 20).astype(np.int16), "negative"),
    ],
)
def test_what_is_no_prediction_is_refused_by_every_verb(change: object, words: str, tmp_path: Path) -> None:
    one = probability()
    values = change(one)  # type: ignore[operator]
    source = write(tmp_path / "T1__r.mrc", values.astype(np.float32) if values.dtype.kind == "f" else values)
    truth = write(tmp_path / "truth.mrc", (one > 0.5).astype(np.int8))
    rules = volengine.InteractRecipe((Interact("r", "s"),))
    other = write(tmp_path / "T1__s.mrc", values.astype(np.float32) if values.dtype.kind == "f" else values)
    with pytest.raises(InputError, match=words):
        picked(source, tmp_path)
    with pytest.raises(InputError, match=words):
        volengine.interact({"r": source, "s": other}, tmp_path / "g", rules, QUIET)
    with pytest.raises(InputError, match=words):
        volengine.score(source, truth, {"skeleton": "none"}, QUIET)
    with pytest.raises(InputError):
        volengine.stats([source], tmp_path / "stats", {"plots": False}, QUIET)


def test_a_tomogram_by_its_own_words_is_refused_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    source = write(tmp_path / "T1.mrc", probability())
    store = tmp_path / "T1.ome.zarr"
    volengine.convert(source, store, ConvertRecipe(), QUIET)
    with pytest.raises(InputError, match=r"kind intensity.*--kind probability.*--scale 1"):
        picked(store, tmp_path)
    with pytest.raises(InputError, match=r"kind intensity.*--kind atlas"):
        volengine.stats([store], tmp_path / "stats", {"plots": False}, QUIET)
    assert len(picked(store, tmp_path, scale=1)) == len(BALLS)
    labels = tmp_path / "L.ome.zarr"
    mask = write(tmp_path / "L.mrc", (probability() > 0.5).astype(np.uint16) * 3)
    volengine.convert(mask, labels, ConvertRecipe(kind="labels"), QUIET)
    with pytest.raises(InputError, match="labels up to 3"):
        picked(labels, tmp_path)


def test_a_mask_beside_probabilities_is_read_as_the_message_says(tmp_path: Path) -> None:
    values = probability()
    both = {
        "r": write(tmp_path / "T1__r.mrc", values.astype(np.float32)),
        "s": write(tmp_path / "T1__s.mrc", (values > 0.5).astype(np.int8)),
    }
    recipe = volengine.InteractRecipe((Interact("r", "s", "avoid", radius_nm=0.5),))
    with pytest.raises(InputError, match=r"float32 and int8.*--scale 1"):
        volengine.interact(both, tmp_path / "refused", recipe, QUIET)
    gated = volengine.interact(both, tmp_path / "gated", recipe.with_(scale=1), QUIET)["r"][:]
    assert not gated[values > 0.5].any()
    assert np.array_equal(gated[values < 0.01], values[values < 0.01].astype(np.float32))


def test_nan_is_never_found(tmp_path: Path) -> None:
    mask = (probability() > 0.5).astype(np.float32)
    odd = mask.copy()
    odd[0, 0, 0] = np.nan
    good, bad = write(tmp_path / "T1__r.mrc", mask), write(tmp_path / "bad.mrc", odd)
    recipe = {"skeleton": "none", "prediction_kind": "labels", "features": ["r"]}
    assert volengine.score(good, good, recipe, QUIET)["r"]["dice"] == 1
    for prediction, truth, more in (
        (bad, good, {}),
        (bad, good, {"prediction_kind": "auto"}),
        (bad, good, {"prediction_ids": [1]}),
        (good, bad, {}),
        (good, bad, {"instances": True}),
        (good, bad, {"ids": [1]}),
    ):
        with pytest.raises(InputError, match=r"nan|NaN"):
            volengine.score(prediction, truth, {**recipe, **more}, QUIET)


def test_it_is_said_what_was_made(tmp_path: Path) -> None:
    mask = write(tmp_path / "T1__r.mrc", (probability() > 0.5).astype(np.int16))
    low = write(tmp_path / "low.mrc", probability() / 4)
    flags = ["--no-progress", "--feature", "r"]

    def said(*args: str) -> str:
        done = CliRunner().invoke(cli, [*args, *flags], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    wide = write(tmp_path / "wide.mrc", np.round(probability() * 200).astype(np.int16))
    told = said("pick", str(wide), "--out", str(tmp_path / "w.csv"))
    assert "holds integers from 0 to 200 (int16), which were read as probabilities times 255" in told
    first = said("pick", str(mask), "--out", str(tmp_path / "a.csv"))
    assert "only 0 and 1 (int16)" in first
    assert "r: 2 picks" in first
    again = said("pick", str(mask), "--out", str(tmp_path / "a.csv"))
    assert "r: 2 picks" in again  # nothing was run, and it is said nevertheless
    assert "the largest is 0.25" in said("pick", str(low), "--out", str(tmp_path / "b.csv"))
    assert "least volume" in said("pick", str(mask), "--out", str(tmp_path / "c.csv"), "--min-volume-nm3", "1000000")
    assert open_volume(tmp_path / "a.csv.ome.zarr", group="labels/r")[:].max() == 2
