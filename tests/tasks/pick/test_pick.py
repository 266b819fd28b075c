"""pick through the engine: whatever the blocks, the same picks and labels as the whole array gives."""

from __future__ import annotations

import json
import math
from pathlib import Path

import fsspec
import mrcfile
import numpy as np
import pytest

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.io.picks import read_picks
from volengine.ops.heights import BasinRules, squared_distance
from volengine.ops.regions import RegionRules, pick_array
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.pick.plan import FIRST_HALO_VOX
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.verb import PICK, pick

SHAPE = (40, 50, 60)
VOXEL = 12.5


def make_prediction():
    """Balls of several sizes, some touching, one thicker than the first halo, and a sheet across the volume."""
    rng = np.random.default_rng(4)
    z, y, x = np.indices(SHAPE)
    prediction = rng.integers(0, 100, SHAPE)
    ball = (z - 20) ** 2 + (y - 25) ** 2 + (x - 30) ** 2 < 19**2
    sheet = np.abs(z + y // 4 - 25) < 2
    mask = ball | (sheet & (x > 10))
    for centre in rng.uniform(0, 1, (12, 3)) * SHAPE:
        mask |= sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)) < rng.uniform(2, 5) ** 2
    return np.where(mask, rng.integers(129, 256, SHAPE), prediction).astype(np.uint8)


@pytest.fixture(scope="module")
def prediction():
    return make_prediction()


@pytest.fixture(scope="module")
def store(tmp_path_factory, prediction):
    """The prediction as an OME-Zarr store with small chunks."""
    assert squared_distance(prediction > 127, 64).max() > FIRST_HALO_VOX**2
    folder = tmp_path_factory.mktemp("prediction")
    path = folder / "TS_01.mrc"
    with mrcfile.new(path) as file:
        file.set_data(prediction.astype(np.uint16))
        file.voxel_size = VOXEL
    out = str(folder / "TS_01.ome.zarr")
    recipe = ConvertRecipe(chunk=(16, 16, 16), shard=(16, 16, 16), levels=1, kind="probability")
    convert(str(path), out, recipe, RunOptions(progress=False))
    return out


def labels_of(url, feature):
    volume = open_volume(url, group=f"labels/{feature}")
    return volume, open_source(volume).read(Box.of_shape(volume.shape))


RECIPE = PickRecipe(spacing_nm=6, min_volume_nm3=20, seed_distance_nm=5)
BASINS = BasinRules(127)
REGIONS = RegionRules(unit=255, spacing_vox=4.8, min_voxels=11, seed_distance_vox=4.0)


@pytest.mark.parametrize(
    ("block", "changes", "basins", "regions"),
    [
        ((16, 16, 32), {}, {}, {}),
        ((48, 64, 64), {}, {}, {}),
        (None, {}, {}, {}),
        ((16, 16, 16), {"mode": "2d"}, {"planar": True}, {"planar": True}),
        (
            (32, 16, 16),
            {"position": "maximum", "margin_vox": (0, 5, 5)},
            {},
            {"position": "maximum", "margin_vox": (0, 5, 5)},
        ),
        ((16, 64, 32), {"split": False, "connectivity": 6}, {"connectivity": 6}, {"split": False}),
        ((16, 16, 16), {"max_distance_vox": 5}, {"max_distance_vox": 5}, {}),
        (
            (16, 32, 16),
            {"orient": "normal", "orient_sign": "out"},
            {"products": True},
            {"orient": "normal", "orient_sign": "out"},
        ),
    ],
)
def test_the_engine_gives_what_the_whole_array_gives(tmp_path, store, prediction, block, changes, basins, regions):
    feature = "-".join(["pick", *map(str, block or ()), *changes])
    recipe = RECIPE.with_(feature=feature, **changes)
    picks = pick(store, str(tmp_path / "picks.csv"), recipe, RunOptions(block=block, progress=False))
    want_labels, want = pick_array(prediction, BasinRules(127, **basins), RegionRules(**{**vars(REGIONS), **regions}))
    volume, labels = labels_of(store, feature)
    assert volume.kind == "labels"
    assert volume.voxel_size == (VOXEL,) * 3
    assert np.array_equal(labels, want_labels)
    assert len(picks) == len(want["label"]) > (0 if "margin_vox" in changes else 3)
    assert np.array_equal(picks.position_vox, want["position_vox"])
    assert np.array_equal(picks.weight, want["weight"])
    assert np.array_equal(picks.label, want["label"])
    if "orient" in changes:
        assert np.array_equal(picks.normal, want["normal"])
        assert np.array_equal(picks.extra["axis_ratio"], want["axis_ratio"])
    assert np.allclose(picks.volume_a3, want["size_vox"] * VOXEL**3)
    assert picks.tomogram == "TS_01"


def test_a_plain_file_and_a_star_table(tmp_path, prediction):
    path = tmp_path / "pred.mrc"
    with mrcfile.new(path) as file:
        file.set_data(prediction.astype(np.float32) / 255)
        file.voxel_size = VOXEL
    recipe = RECIPE.with_(feature="core", threshold=127.5 / 255)
    picks = pick(str(path), str(tmp_path / "core.star"), recipe, RunOptions(progress=False))
    want_labels, want = pick_array(prediction, BASINS, REGIONS)
    assert np.allclose(picks.position_vox, want["position_vox"], atol=1e-4)
    _, labels = labels_of(str(tmp_path / "core.star.ome.zarr"), "core")
    assert np.array_equal(labels, want_labels)


def test_without_labels_only_the_table_is_written(tmp_path, prediction):
    path = tmp_path / "pred.mrc"
    with mrcfile.new(path) as file:
        file.set_data(np.zeros((8, 9, 10), np.float32))
        file.voxel_size = VOXEL
    recipe = PickRecipe(labels=False)
    picks = pick(str(path), str(tmp_path / "none.csv"), recipe, RunOptions(progress=False))
    assert len(picks) == 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".run") == ["none.csv", "pred.mrc"]


def test_labels_are_those_of_the_table_or_none(tmp_path, store):
    """A recipe that writes them to another place, or nowhere, leaves none of the former table behind."""
    feature, table, beside = "forgotten", tmp_path / "a.csv", tmp_path / "a.csv.ome.zarr"
    recipe = RECIPE.with_(feature=feature)
    pick(store, tmp_path / "other.csv", RECIPE.with_(feature="other"), RunOptions(progress=False))
    part = "0:30,:,:"
    for changes, in_store, at_table in (
        ({}, True, False),
        ({"roi": part}, False, True),
        ({}, True, False),
        ({"labels": False}, False, False),
        ({"roi": part}, False, True),
        ({"labels": False, "roi": part}, False, False),
    ):
        picks = pick(store, table, recipe.with_(**changes), RunOptions(progress=False))
        assert (Path(store, "labels", feature).exists(), beside.exists()) == (in_store, at_table)
        for place in [store] * in_store + [str(beside)] * at_table:
            _, labels = labels_of(place, feature)
            assert set(np.unique(labels)) == {0, *picks.label}
    assert labels_of(store, "other")[1].any()


def test_too_few_picks_are_none_and_it_is_said(tmp_path, prediction, capsys):
    path = tmp_path / "pred.mrc"
    with mrcfile.new(path) as file:
        file.set_data(prediction.astype(np.float32) / 255)
        file.voxel_size = VOXEL
    found = len(pick(str(path), str(tmp_path / "a.star"), RECIPE, RunOptions(progress=False)))
    for least, kept in ((found, found), (found + 1, 0)):
        out, recipe = tmp_path / f"{least}.star", RECIPE.with_(min_picks=least)
        assert len(pick(str(path), str(out), recipe, RunOptions(progress=False))) == kept
        (plan,) = json.loads((tmp_path / f"{least}.star.run" / "report.json").read_text())["plans"].values()
        assert any(f"only {found}, fewer than --min-picks" in line for line in plan["made"]) == (kept == 0)


def test_a_table_in_an_object_store(tmp_path, prediction, monkeypatch):
    """URLs of tables go through fsspec; the run folder stays local."""
    monkeypatch.chdir(tmp_path)
    with mrcfile.new("pred.mrc") as file:
        file.set_data(prediction.astype(np.float32) / 255)
        file.voxel_size = VOXEL
    recipe = RECIPE.with_(feature="core", labels=False)
    local = pick("pred.mrc", "core.star", recipe, RunOptions(progress=False))
    remote = pick("pred.mrc", "memory://picks/core.star", recipe, RunOptions(progress=False))
    assert np.array_equal(remote.position_vox, local.position_vox)
    kept = fsspec.filesystem("memory").cat("/picks/core.star")
    assert kept == (tmp_path / "core.star").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {
        "pred.mrc",
        "core.star",
        "core.star.run",
        "memory_picks_core.star.run",
    }


def test_lengths_become_voxels():
    volume = Volume("a.mrc", (9, 9, 9), "uint8", (20.0, 10.0, 10.0), facts={"feature": "a b/c"})
    recipe = PickRecipe(spacing_nm=12, min_volume_nm3=10)
    rules = recipe.region_rules(volume)
    assert (rules.spacing_vox, rules.seed_distance_vox, rules.scale) == (12.0, 12.0, (2.0, 1.0, 1.0))
    assert rules.min_voxels == math.ceil(10 / 2)
    assert recipe.with_(spacing_nm=1).region_rules(volume).seed_distance_vox == 3
    assert recipe.with_(seed_distance_nm=0.5).region_rules(volume).seed_distance_vox == 0.5
    assert recipe.feature_of(volume) == "a b/c"
    assert recipe.feature_of(volume.with_(facts={}, name="TS_01")) == "TS_01"
    assert recipe.with_(feature="ribosome").feature_of(volume) == "ribosome"


@pytest.mark.parametrize(("feature", "name"), [("a/b", "a~2Fb"), ("ER membrane", "ER~20membrane"), ("..", "~2E.")])
def test_every_feature_has_a_table_and_labels_of_its_own(tmp_path, prediction, feature, name):
    path = tmp_path / "TS_01.mrc"
    with mrcfile.new(path) as file:
        file.set_data(prediction.astype(np.float32)[:16, :24, :24] / 255)
        file.voxel_size = VOXEL
    picks = pick(str(path), str(tmp_path / "picks"), RECIPE.with_(feature=feature), RunOptions(progress=False))
    table = tmp_path / "picks" / f"TS_01__{name}.star"
    assert len(read_picks(table, voxel_size=(VOXEL,) * 3, shape=(16, 24, 24), tomogram="TS_01")) == len(picks)
    labels = open_volume(f"{table}.ome.zarr", group=f"labels/{name}")
    assert labels.facts["feature"] == feature


def test_thresholds_in_stored_values():
    volume = Volume("a.mrc", (9, 9, 9), "uint8", (10.0, 10.0, 10.0))
    levels = [PickRecipe(threshold=n / 255).basin_rules(volume).level for n in range(255)]
    assert levels == list(range(255))
    assert PickRecipe().basin_rules(volume).level == 127
    assert PickRecipe().basin_rules(volume.with_(dtype="float32")).level == 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": 128}, "threshold is a probability"),
        ({"spacing_nm": -1}, "spacing-nm"),
        ({"seed_distance_nm": float("nan")}, "seed-distance-nm"),
        ({"margin_vox": (0, 0, -1)}, "margin-vox"),
        ({"max_distance_vox": 0}, "max-distance-vox"),
        ({"connectivity": 8}, "connectivity"),
    ],
)
def test_wrong_recipes_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        PickRecipe(**wrong)


@pytest.mark.parametrize(
    ("name", "size", "feature", "message"),
    [
        ("T", (13.0, 7.0, 4.5), "x", "one pixel size only"),
        ("o'h", (10.0, 10.0, 10.0), "x", "rlnTomoName"),
        ("T", (10.0, 10.0, 10.0), 'x"', "has a quote"),
    ],
)
def test_what_a_table_cannot_hold_is_refused_before_anything_is_computed(tmp_path, name, size, feature, message):
    with mrcfile.new(tmp_path / f"{name}.mrc", data=np.ones((6, 8, 10), np.float32)) as file:
        file.voxel_size = size[::-1]
    out = tmp_path / "out"
    options = RunOptions(progress=False)
    with pytest.raises(InputError, match=message):
        pick(tmp_path / f"{name}.mrc", out / "x.star", PickRecipe(feature=feature), options)
    assert not list(tmp_path.rglob("*.zarr"))
    assert not list(tmp_path.rglob("receipts*"))
    if feature == "x":
        assert len(pick(tmp_path / f"{name}.mrc", out / "x.csv", PickRecipe(feature=feature), options)) == 1


def test_a_recipe_is_json():
    recipe: Recipe = PickRecipe(feature="a", margin_vox=(1, 2, 3), seed_distance_nm=4)
    assert PickRecipe.from_json(recipe.to_json()) == recipe


def test_jobs_for_one_table_and_for_a_folder(tmp_path):
    with pytest.raises(InputError, match="one file, but there are 2"):
        jobs_of(PICK, ["a.zarr", "b.zarr"], str(tmp_path / "x.star"), PickRecipe(), RunOptions())
    jobs, run_dir = jobs_of(PICK, ["a.zarr", "b.zarr"], str(tmp_path), PickRecipe(), RunOptions())
    assert [j.name for j in jobs] == ["a.zarr", "b.zarr"]
    assert run_dir.endswith("pick.run")
