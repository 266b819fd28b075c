"""segment through the engine: any blocks, workers and models give the bytes of the whole-volume sliding window."""

from __future__ import annotations

import json

import mrcfile
import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from volengine.core.boxes import Box
from volengine.core.errors import InputError, PlanError
from volengine.core.model import ModelFacts
from volengine.engine.memory import peak_bytes
from volengine.engine.options import RunOptions
from volengine.engine.run import run_jobs
from volengine.io.open import open_source, open_volume
from volengine.nets.checkpoint import load_model, save_model
from volengine.nets.registry import build, reach
from volengine.ops.pyramid import downsample
from volengine.ops.quantise import quantise
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.segment.nets import lattice_of, nets_of
from volengine.tasks.segment.plan import plan_segment
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import SEGMENT, segment

SHAPE = (36, 48, 56)
QUIET = RunOptions(progress=False)


def model(folder, name, network, arguments=None, seed=0, **facts):
    """A model file with random weights that answer between 0 and 1 all over."""
    torch.manual_seed(seed)
    arguments = arguments or {}
    module = build(network, arguments).eval()
    context, patch = arguments.get("context", 1), facts["patch"]
    noise = torch.randn((1, 1, 16, 16, 16) if patch[0] > 1 else (1, context, 32, 32))
    with torch.inference_mode():
        logits = module(noise)
        module.head.weight.mul_(1.5 / logits.std())
        module.head.bias.zero_()
        module.head.bias.sub_(module(noise).mean())
    values = {"features": (name,), "voxel_size": (10, 10, 10), "network": network, "arguments": arguments, **facts}
    path = folder / f"{name}.safetensors"
    save_model(path, module, ModelFacts(**values))
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tomogram as int16 OME-Zarr with small shards, and four models."""
    folder = tmp_path_factory.mktemp("segment")
    rng = np.random.default_rng(0)
    z = np.arange(SHAPE[0])[:, None, None]
    volume = (rng.normal(0, 300, SHAPE) + 40 * z + 100).astype(np.int16)
    with mrcfile.new(folder / "TS_01.mrc") as file:
        file.set_data(volume)
        file.voxel_size = 10.0
    store = str(folder / "TS_01.ome.zarr")
    convert(str(folder / "TS_01.mrc"), store, ConvertRecipe(chunk=(16, 16, 16), shard=(16, 16, 16), levels=1), QUIET)
    small = {"width": 4, "levels": 2}
    models = {
        "shell": model(folder, "shell", "unet3d", small, patch=(16, 16, 16), stride=(2, 2, 2), overlap=0.5),
        "core": model(folder, "core", "unet3d", small, 1, patch=(8, 12, 20), overlap=0.25, window="hann"),
        "plane": model(
            folder,
            "plane",
            "unet2d",
            {"context": 3, **small},
            patch=(1, 32, 32),
            context=3,
            overlap=0.0,
            normalisation="per_slice",
        ),
        "two": model(
            folder,
            "two",
            "unet3d",
            {**small, "channels": 3},
            features=("background", "a", "b"),
            patch=(16, 16, 16),
            activation="softmax",
            normalisation="none",
        ),
    }
    return folder, store, volume, models


def test_the_pyramid_is_made_from_the_blended_prediction(data):
    folder, _, _, models = data
    store = str(folder / "levels.ome.zarr")
    recipe = ConvertRecipe(chunk=(16, 16, 16), shard=(32, 32, 32), levels=2)
    convert(str(folder / "TS_01.mrc"), store, recipe, QUIET)
    made = SegmentRecipe(models=(models["shell"],), levels=2)
    found = segment(store, str(folder / "levels"), made, RunOptions(progress=False, block=(32, 32, 32)))
    fine, coarse = (read(found["shell"].url, level) for level in (0, 1))
    np.testing.assert_array_equal(coarse, downsample(fine, (2, 2, 2), "probability"))


def test_predictions_of_an_earlier_model_are_named_and_left(data):
    folder, store, _, models = data
    out = folder / "older"

    def said(*names):
        jobs, run_dir = jobs_of(SEGMENT, [store], str(out), SegmentRecipe(models=[models[n] for n in names]), QUIET)
        return run_jobs(jobs, run_dir, QUIET).check().data["plans"]["TS_01"]["made"]

    def older(*names):
        return [line for line in said(*names) if "not made by this recipe" in line]

    assert older("two") == []
    (out / "TS_010__a.ome.zarr").mkdir()  # of another tomogram
    assert older("shell") == [
        f"{out / f'TS_01__{name}.ome.zarr'}: not made by this recipe, and left as it is" for name in ("a", "b")
    ]
    assert open_volume(str(out / "TS_01__a.ome.zarr")).kind == "probability"
    assert older("shell", "two") == []


def read(url, level=0):
    volume = open_volume(url, level=level)
    return open_source(volume).read(Box.of_shape(volume.shape))


def run(data, out, models, options=QUIET, **recipe):
    folder, store, _, known = data
    made = SegmentRecipe(models=tuple(known[m] for m in models), **recipe)
    return segment(store, str(folder / out), made, options)


def report(folder, out):
    return json.loads((folder / out / "segment.run" / "report.json").read_text())


def patches_run(value):
    """All patch counts anywhere in a report."""
    if isinstance(value, dict):
        own = value["patches"] if isinstance(value.get("patches"), int) else 0
        return max(own, max((patches_run(v) for v in value.values()), default=0))
    return max((patches_run(v) for v in value), default=0) if isinstance(value, list) else 0


def monai(path, volume, overlap, mode="gaussian"):
    module, facts = load_model(path)
    scaled = (volume - volume.mean()) / volume.std()
    with torch.inference_mode():
        return sliding_window_inference(
            torch.from_numpy(scaled.astype(np.float32))[None, None],
            facts.patch,
            2,
            lambda x: module(x).sigmoid(),
            overlap=overlap,
            mode=mode,
        )[0, 0].numpy()


def test_equals_monai_and_keeps_voxel_size_and_feature(data):
    folder, _, volume, models = data
    found = run(data, "float", ["shell"], dtype="float32")
    expected = monai(models["shell"], volume.astype(np.float64), 0.5)
    np.testing.assert_allclose(read(found["shell"].url), expected, atol=1e-5)
    assert expected.std() > 0.05  # the network's answers differ from place to place
    assert found["shell"].url == str(folder / "float" / "TS_01__shell.ome.zarr")
    assert (found["shell"].name, found["shell"].voxel_size) == ("TS_01", (10, 10, 10))
    assert found["shell"].facts["feature"] == "shell"
    assert [h["verb"] for h in found["shell"].facts["history"]] == ["convert", "segment"]


@pytest.mark.parametrize("models", [["shell", "core"], ["plane", "two"]], ids=lambda m: "+".join(m))
def test_the_same_bytes_for_any_block_and_each_patch_once(data, models):
    folder = data[0]
    tag = "-".join(models)
    whole = run(data, f"{tag}-whole", models, RunOptions(progress=False, block=SHAPE))
    lattices = [
        net.lattice
        for nets in nets_of(open_volume(data[1]), SegmentRecipe(models=[data[3][m] for m in models]), QUIET).values()
        for net in nets
    ]
    count = sum(map(len, lattices))
    assert patches_run(report(folder, f"{tag}-whole")) == count
    for number, block in enumerate([(16, 16, 32), (36, 16, 56), None]):
        out = f"{tag}-{number}"
        again = run(data, out, models, RunOptions(progress=False, block=block))
        assert patches_run(report(folder, out)) == count
        assert set(again) == set(whole)
        for feature in whole:
            np.testing.assert_array_equal(read(again[feature].url), read(whole[feature].url))
    assert all(read(v.url).std() > 2 for v in whole.values())


def test_softmax_leaves_the_background_out(data):
    found = run(data, "softmax", ["two"], dtype="float32")
    assert set(found) == {"a", "b"}
    total = read(found["a"].url) + read(found["b"].url)
    assert total.max() <= 1 + 1e-6
    assert total.min() < 0.95


def test_slices_are_normalised_by_themselves_and_see_their_neighbours(data):
    _, _, volume, models = data
    found = run(data, "slices", ["plane"], dtype="float32", patch="slice")
    module, _ = load_model(models["plane"])
    flat = volume.astype(np.float64)
    scaled = (flat - flat.mean((1, 2), keepdims=True)) / flat.std((1, 2), keepdims=True)
    z = np.clip(np.arange(-1, SHAPE[0] + 1), 0, SHAPE[0] - 1)
    height, width = (-(-n // 32) * 32 + 64 for n in SHAPE[1:])
    low_y, low_x = (height - SHAPE[1]) // 2, (width - SHAPE[2]) // 2
    padded = np.pad(
        scaled[z],
        ((0, 0), (low_y, height - SHAPE[1] - low_y), (low_x, width - SHAPE[2] - low_x)),
        mode="reflect",
    ).astype(np.float32)
    with torch.inference_mode():
        expected = [
            module(torch.from_numpy(padded[k : k + 3].copy())[None]).sigmoid()[0, 0].numpy() for k in (0, 17, 35)
        ]
    inside = np.s_[low_y : low_y + SHAPE[1], low_x : low_x + SHAPE[2]]
    np.testing.assert_allclose(read(found["plane"].url)[[0, 17, 35]], [e[inside] for e in expected], atol=1e-5)


@pytest.mark.parametrize("name", ["shell", "plane", "two"])  # of the volume, of slices, none
def test_the_other_contrast_is_seen_as_its_own(data, tmp_path, name):
    _, _, volume, known = data
    with mrcfile.new(tmp_path / "minus.mrc") as file:
        file.set_data(-volume)
        file.voxel_size = 10.0
    recipe = SegmentRecipe(models=(known[name],), invert=True)
    found = segment(str(tmp_path / "minus.mrc"), str(tmp_path / "out"), recipe, QUIET)
    want = run(data, f"upright_{name}", [name])
    for feature in want:
        np.testing.assert_array_equal(read(found[feature].url), read(want[feature].url))
    as_it_is = segment(str(tmp_path / "minus.mrc"), str(tmp_path / "other"), recipe.with_(invert=False), QUIET)
    assert any((read(as_it_is[feature].url) != read(want[feature].url)).any() for feature in want)


def test_slices_are_rounded_a_few_at_a_time(data, monkeypatch):
    whole = run(data, "slabs-whole", ["plane"], patch="slice", dtype="float32")
    monkeypatch.setattr("volengine.tasks.segment.blocks.SLAB_VOXELS", 1)
    options = RunOptions(progress=False, block=(16, 48, 56))
    again = run(data, "slabs", ["plane"], options, patch="slice", dtype="float32")
    np.testing.assert_array_equal(read(again["plane"].url), read(whole["plane"].url))


def test_predictions_are_stored_in_shards_that_fit_the_network(data, tmp_path):
    folder, _, _, models = data

    def shards(volume, *names):
        recipe = SegmentRecipe(models=tuple(models[n] for n in names), overlap=0.5)
        plan = plan_segment(volume, recipe, str(tmp_path), plan_folder(str(tmp_path / "run"), "a"), QUIET)
        return {s.levels[0].shards for s in plan.images if not s.scratch}, plan.stages[2].tiling.core

    large = open_volume(str(folder / "TS_01.mrc")).with_(shape=(500, 1024, 1440))
    assert shards(large, "shell")[0] == {(128, 128, 128)}
    flat, core = shards(large, "plane")
    assert flat == {(64, 128, 128)}
    assert core[1] >= 1024
    assert core[2] >= 1440  # whole slices: no patch crosses a block
    foreign = large.with_(path="0", chunks=(256, 256, 256))
    assert shards(foreign, "shell")[0] == {(128, 128, 128)}


def test_exact_mode_is_the_whole_volume_at_once(data):
    folder, _, volume, _ = data
    arguments = {"width": 4, "levels": 2}
    radius, stride = reach(build("unet3d", arguments), True)
    exact = model(folder, "exact", "unet3d", arguments, 3, patch=(16, 16, 16), receptive_field=radius, stride=stride)
    found = run((*data[:3], {"exact": exact}), "exact", ["exact"], dtype="float32", exact=True)
    again = run(
        (*data[:3], {"exact": exact}),
        "exact-blocks",
        ["exact"],
        RunOptions(progress=False, block=(32, 16, 48)),
        dtype="float32",
        exact=True,
    )
    module, _ = load_model(exact)
    scaled = ((volume - volume.mean()) / volume.std()).astype(np.float32)
    with torch.inference_mode():
        whole = module(torch.from_numpy(scaled)[None, None]).sigmoid()[0, 0].numpy()
    np.testing.assert_allclose(read(found["exact"].url), whole, atol=1e-5)
    np.testing.assert_array_equal(read(found["exact"].url), read(again["exact"].url))


def test_predictions_are_truncated_or_stored_as_float16_when_asked(data):
    plain = read(run(data, "t32", ["shell"], dtype="float32")["shell"].url)
    cut = read(run(data, "t8", ["shell"], rounding="truncate")["shell"].url)
    half = read(run(data, "t16", ["shell"], dtype="float16")["shell"].url)
    near = np.abs(plain.astype(np.float64) * 255 % 1) > 1e-4
    np.testing.assert_array_equal(cut[near], np.trunc(plain.astype(np.float64) * 255)[near])
    np.testing.assert_allclose(half, plain, atol=5e-4)
    rounded = read(run(data, "t8r", ["shell"])["shell"].url)
    sums = np.rint(plain.astype(np.float64) * 2**30).astype(np.int32)
    assert np.abs(quantise(sums, 2.0**30).astype(int) - rounded).max() <= 1
    assert (quantise(sums, 2.0**30) == rounded).mean() > 0.9999


def test_two_workers_give_the_same_bytes(data):
    options = RunOptions(progress=False, workers=2, memory_limit="3GB")
    alone = run(data, "alone", ["shell"])
    shared = run(data, "shared", ["shell"], options)
    np.testing.assert_array_equal(read(alone["shell"].url), read(shared["shell"].url))


def test_blocks_that_no_patch_crosses_need_no_scratch(data, tmp_path):
    _, store, _, models = data
    volume = open_volume(store)
    for names, scratch, options in (
        (["plane"], False, RunOptions(workers=2, memory_limit="4GB")),
        (["shell"], False, RunOptions()),  # one block
        (["shell"], True, RunOptions(workers=2, memory_limit="4GB")),
    ):
        recipe = SegmentRecipe(models=tuple(models[n] for n in names))
        plan = plan_segment(volume, recipe, str(tmp_path), plan_folder(str(tmp_path / "run"), "a"), options)
        assert any(s.scratch for s in plan.images) is scratch
        assert any(s.name.endswith("blend") for s in plan.stages) is scratch
        plan.check(options.limit_bytes())


def test_memory_grows_with_the_block_and_with_the_batch(data, tmp_path):
    _, store, _, models = data
    folder = plan_folder(str(tmp_path / "run"), "a")

    def peak(batch, block):
        recipe = SegmentRecipe(models=(models["shell"],), batch=batch)
        plan = plan_segment(open_volume(store), recipe, str(tmp_path), folder, RunOptions(block=block))
        return peak_bytes(plan.stages[2])

    assert peak(1, (16, 16, 16)) < peak(1, (32, 32, 32)) < peak(64, (32, 32, 32))


def test_refusals_say_the_numbers(data, tmp_path):
    folder, store, _, models = data
    volume = open_volume(store)
    run_folder = plan_folder(str(tmp_path / "run"), "a")

    def plan(options=QUIET, out=str(tmp_path), **recipe):
        recipe.setdefault("models", (models["shell"],))
        return plan_segment(volume, SegmentRecipe(**recipe), out, run_folder, options)

    coarse = model(folder, "coarse", "unet3d", {"width": 4, "levels": 2}, patch=(16, 16, 16), voxel_size=(14, 14, 14))
    with pytest.raises(InputError, match=r"trained at 14 angstrom.*has 10 along z \(-29%\).*--any-voxel-size"):
        plan(models=(coarse,))
    assert plan(models=(coarse,), any_voxel_size=True).stages
    with pytest.raises(PlanError, match=r"patch \(15, 16, 16\) is not a multiple .* axis z; use 14 or 16"):
        plan(patch=(15, 16, 16))
    with pytest.raises(PlanError, match=r"reach 12 voxels beyond blocks of \(4, 40, 40\) on axis z"):
        plan(RunOptions(block=(4, 40, 40)))
    with pytest.raises(InputError, match="no finite receptive field"):
        plan(exact=True)
    with pytest.raises(InputError, match="'shell': average them with --ensemble"):
        plan(models=(models["shell"], models["shell"]))
    with pytest.raises(InputError, match="give a folder"):
        plan(models=(models["shell"], models["core"]), out=str(tmp_path / "x.zarr"))
    with pytest.raises(InputError, match="tta is 9"):
        plan(models=(model(folder, "flat", "unet", patch=(1, 32, 32)),), tta=9)
    with pytest.raises(InputError, match="one voxel thick"):
        plan(models=(models["plane"],), patch=(16, 16, 16))
    with pytest.raises(InputError, match="exact"):
        plan(exact=True, overlap=0.5)
    with pytest.raises(InputError, match="one store"):
        jobs_of(SEGMENT, ["a.mrc", "b.mrc"], "x.ome.zarr", SegmentRecipe(models=("m",)), QUIET)


@pytest.mark.parametrize(("feature", "activation"), [("", "sigmoid"), ("background", "softmax")])
def test_a_model_without_features_is_refused(data, tmp_path, feature, activation):
    small = {"width": 4, "levels": 2}
    path = model(tmp_path, "m", "unet3d", small, features=(feature,), patch=(16, 16, 16), activation=activation)
    with pytest.raises(InputError, match=r"m\.safetensors predicts no feature"):
        segment(data[1], tmp_path / "out", SegmentRecipe(models=(path,)), QUIET)


def test_a_model_that_changed_since_planning_is_refused(data, tmp_path):
    from volengine.nets.predictor import Execution, load_predictor

    _, _, _, models = data
    with pytest.raises(InputError, match="has changed since this run was planned"):
        load_predictor(models["shell"], "0" * 20, Execution(device="cpu"))


def test_voxels_that_are_no_numbers_are_refused(data, tmp_path):
    volume = np.zeros((16, 16, 16), np.float32)
    volume[3, 4, 5] = np.nan
    with mrcfile.new(tmp_path / "nan.mrc") as file:
        file.set_data(np.nan_to_num(volume, nan=1))
        file.voxel_size = 10.0
        file.data[...] = volume
    recipe = SegmentRecipe(models=(data[3]["two"],))
    with pytest.raises(Exception, match="not finite"):
        segment(str(tmp_path / "nan.mrc"), str(tmp_path / "out"), recipe, QUIET)


def test_margin_and_recipe_override_the_model(data):
    _, _, _, models = data
    from volengine.nets.checkpoint import load_facts

    facts = load_facts(models["shell"])
    recipe = SegmentRecipe(models=("m",), overlap=0.25, margin_vox=4)
    lattice = lattice_of(SHAPE, recipe, facts, "m")
    assert lattice.z.start(0) == -4
    assert lattice.z.step == 12
    assert lattice_of(SHAPE, SegmentRecipe(models=("m",)), facts, "m").z.step == 8
