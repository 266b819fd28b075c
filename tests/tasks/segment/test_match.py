"""segment of a tomogram whose voxel size is not the model's: resampled on the way, back on the tomogram's grid."""

from __future__ import annotations

import warnings

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.nets.checkpoint import load_model, save_model
from volengine.nets.registry import build
from volengine.ops.normalise import mad_sample, mad_statistics
from volengine.ops.quantise import store
from volengine.ops.resample import resample
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.segment.plan import plan_segment
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import segment

SHAPE = (26, 37, 45)
QUIET = RunOptions(progress=False)


def write(folder, name, volume, voxel_size):
    with mrcfile.new(folder / f"{name}.mrc") as file:
        file.set_data(volume)
        file.voxel_size = voxel_size
    url = str(folder / f"{name}.ome.zarr")
    convert(str(folder / f"{name}.mrc"), url, ConvertRecipe(chunk=(16, 16, 16), shard=(16, 16, 16), levels=1), QUIET)
    return url


def model(folder, name, network, arguments, **facts):
    torch.manual_seed(7)
    module = build(network, arguments).eval()
    with torch.inference_mode():
        seen = torch.randn((1, 1, 16, 16, 16) if facts["patch"][0] > 1 else (1, arguments["context"], 32, 32))
        module.head.weight.mul_(1.5 / module(seen).std())
    values = {"features": (name,), "voxel_size": (10, 10, 10), "network": network, "arguments": arguments}
    save_model(folder / f"{name}.safetensors", module, ModelFacts(**values, **facts))
    return str(folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tomogram at 8 angstrom, one at 13, and networks for 10."""
    folder = tmp_path_factory.mktemp("match")
    rng = np.random.default_rng(0)
    volume = (rng.normal(0, 300, SHAPE) + 40 * np.arange(SHAPE[0])[:, None, None] + 100).astype(np.int16)
    small = {"width": 4, "levels": 2}
    flat = {"patch": (1, 32, 32), "overlap": 0.0}
    models = {
        "solid": model(folder, "solid", "unet3d", small, patch=(16, 16, 16), stride=(2, 2, 2)),
        "plane": model(folder, "plane", "unet2d", {"context": 1, **small}, normalisation="per_slice", **flat),
        "mad": model(folder, "mad", "unet2d", {"context": 1, **small}, normalisation="global_mad", **flat),
        "coarse": model(folder, "coarse", "unet3d", small, patch=(16, 16, 16), stride=(2, 2, 2)),
    }
    module, facts = load_model(models["coarse"])
    save_model(models["coarse"], module, ModelFacts(**{**facts.to_json(), "voxel_size": (14.0, 14.0, 14.0)}))
    stores = {size: write(folder, f"TS_{size}", volume, float(size)) for size in (8, 13)}
    return folder, stores, volume, models


def read(volume):
    handle = open_volume(volume.url)
    return open_source(handle).read(Box.of_shape(handle.shape))


def run(data, out, models, size=8, options=QUIET, **recipe):
    folder, stores, _, known = data
    made = SegmentRecipe(models=tuple(known[m] for m in models), **recipe)
    return segment(stores[size], str(folder / out), made, options)


@pytest.mark.parametrize(("size", "shape"), [(8, (21, 30, 36)), (13, (34, 48, 58))])
def test_it_is_what_three_steps_by_hand_give(data, size, shape):
    folder, stores, volume, models = data
    recipe = SegmentRecipe(models=(models["solid"],), match="isotropic", dtype="float32")
    found = segment(stores[size], str(folder / f"auto-{size}"), recipe, QUIET)["solid"]
    assert found.shape == SHAPE
    assert found.voxel_size == (size,) * 3
    copy = write(folder, f"by-hand-{size}", resample(volume, shape, "lanczos", "reflect"), 10.0)
    seen = SegmentRecipe(models=(models["solid"],), dtype="float32")
    there = read(segment(copy, str(folder / f"hand-{size}"), seen, QUIET)["solid"])
    by_hand = resample(there, SHAPE, "linear", "edge")
    np.testing.assert_array_equal(read(found), by_hand)
    assert by_hand.std() > 0.01
    small = read(run(data, f"bytes-{size}", ["solid"], size, match="isotropic")["solid"])
    np.testing.assert_array_equal(small, store(by_hand, "uint8"))


BLOCKS = st.tuples(st.sampled_from([16, 32]), st.sampled_from([32, 48, 64]), st.sampled_from([32, 48, 64]))


@settings(deadline=None, max_examples=5)
@given(block=BLOCKS, size=st.sampled_from([8, 13]), match=st.sampled_from(["xy", "isotropic"]))
def test_the_same_bytes_for_any_block(data, tmp_path_factory, block, size, match):
    names = ("mad", "plane") if match == "xy" else ("solid", "coarse")
    whole = run(data, f"{match}-{size}", names, size, match=match)  # made once, and found again by later examples
    options = RunOptions(progress=False, block=block)
    again = run(data, tmp_path_factory.mktemp("blocks"), names, size, options, match=match)
    for name in names:
        np.testing.assert_array_equal(read(whole[name]), read(again[name]))


@pytest.mark.slow
def test_the_same_bytes_for_workers(data):
    whole = run(data, "whole", ["solid", "plane", "coarse"], match="isotropic")
    workers = RunOptions(progress=False, workers=2, memory_limit="2GB")
    again = run(data, "workers", ["solid", "plane", "coarse"], options=workers, match="isotropic")
    for name, volume in whole.items():
        assert len(np.unique(read(volume))) > 10
        np.testing.assert_array_equal(read(volume), read(again[name]))


def test_within_the_tolerance_nothing_is_resampled(data):
    folder, stores, _, models = data
    near = open_volume(stores[8]).with_(voxel_size=(9.7, 9.7, 9.7))

    def stages(**recipe):
        made = SegmentRecipe(models=(models["solid"],), **recipe)
        plan = plan_segment(near, made, str(folder / "t"), plan_folder(str(folder / "t.run"), "t"), QUIET)
        return [stage.name.rpartition("-")[2] for stage in plan.stages]

    assert stages() == stages(match="isotropic")
    assert "match" not in stages()
    finer = stages(match="isotropic", match_tolerance=0.01)
    assert finer[0] == "match"
    assert finer[-1] == "restore"


def test_in_the_range_that_a_model_has_learnt_nothing_is_resampled(data, tmp_path):
    _, stores, _, models = data
    module, facts = load_model(models["solid"])
    wide = str(tmp_path / "wide.safetensors")
    save_model(wide, module, facts.with_(voxel_size=(11.4, 11.4, 11.4), voxel_range=(10.0, 13.0)))

    def first(size):
        volume = open_volume(stores[8]).with_(voxel_size=size)
        made = SegmentRecipe(models=(wide,), match="isotropic")
        plan = plan_segment(volume, made, str(tmp_path), plan_folder(str(tmp_path / "run"), "t"), QUIET)
        return plan.stages[0].name.rpartition("-")[2]

    assert all(first((size,) * 3) != "match" for size in (9.6, 10.0, 11.4, 13.0, 13.6))
    assert all(first(size) == "match" for size in ((9.4,) * 3, (13.8,) * 3, (16.0, 10.0, 10.0)))


def as_ais(path, volume, size, per_slice):
    """Ais's command line for a tomogram of another voxel size, written out plainly with skimage and scipy."""
    from scipy.ndimage import zoom
    from skimage.transform import resize

    module, _ = load_model(path)
    image = volume.astype(np.float32)
    if not per_slice:
        sample = mad_sample(image, Box.of_shape(image.shape), image.shape)
        centre, scale = mad_statistics([sample])
    wanted = (len(image), *(int(np.round(n * size / 10)) for n in image.shape[1:]))
    seen = resize(image, wanted, anti_aliasing=True)
    if per_slice:
        seen = (seen - seen.mean((1, 2), keepdims=True)) / seen.std((1, 2), keepdims=True)
    else:
        seen = (seen - centre) / scale
    pads = [(-n % 32) + 64 for n in wanted[1:]]
    split = [(p // 2, p - p // 2) for p in pads]
    padded = np.pad(seen, ((0, 0), *split), mode="reflect")
    with torch.inference_mode():
        answers = np.stack([module(torch.from_numpy(s[None, None]))[0, 0].sigmoid().numpy() for s in padded])
    inside = tuple(slice(low, low + n) for (low, _), n in zip(split, wanted[1:], strict=True))
    back = [n / m for n, m in zip(image.shape, wanted, strict=True)]
    return zoom(answers[:, *inside], back, order=1, mode="nearest", prefilter=False)


@pytest.mark.parametrize("name", ["plane", "mad"])
@pytest.mark.parametrize("size", [8, 13])
def test_as_ais_does_it(data, name, size):
    expected = as_ais(data[3][name], data[2], size, name == "plane") * 255
    mine = read(run(data, f"ais-{name}-{size}", [name], size, compat="ais")[name])
    assert expected.shape == mine.shape
    assert expected.std() > 3
    clear = np.abs(expected - np.rint(expected)) > 2e-3  # not where the last bit decides
    np.testing.assert_array_equal(mine[clear], expected.astype(np.uint8)[clear])
    assert clear.mean() > 0.98


def test_uncertainty_and_logits_come_back_too(data):
    both = run(data, "spread", ["solid"], match="isotropic", uncertainty=True, tta=4)
    assert set(both) == {"solid", "solid uncertainty"}
    assert {v.shape for v in both.values()} == {SHAPE}
    assert read(both["solid uncertainty"]).max() > 2
    logits = read(run(data, "logits", ["solid"], match="isotropic", answer="logits", dtype="float32")["solid"])
    chance = read(run(data, "chance", ["solid"], match="isotropic", dtype="float32")["solid"])
    assert logits.min() < 0
    assert np.corrcoef(logits.ravel(), chance.ravel())[0, 1] > 0.9


def test_refusals_say_the_numbers(data):
    folder, stores, _, models = data

    def plan(volume, model="solid", **recipe):
        made = SegmentRecipe(models=(models[model],), **recipe)
        return plan_segment(volume, made, str(folder / "r"), plan_folder(str(folder / "r.run"), "r"), QUIET)

    volume = open_volume(stores[8])
    with pytest.raises(InputError, match=r"has 8 along z \(-20%\).*--match isotropic"):
        plan(volume)
    with pytest.raises(InputError, match=r"has 8 along y \(-20%\).*--match xy"):
        plan(volume, "plane")
    with pytest.raises(InputError, match=r"has 8 along z.*--match isotropic"):
        plan(volume, match="xy")
    with pytest.raises(InputError, match=r"says 1 along z: more than a factor of 8"):
        plan(volume.with_(voxel_size=(1, 1, 1)), match="isotropic")
    with pytest.raises(InputError, match="contradict"):
        SegmentRecipe(models=("m",), match="xy", any_voxel_size=True)
    with pytest.raises(InputError, match="match-tolerance"):
        SegmentRecipe(models=("m",), match_tolerance=-1)
    assert plan(volume, any_voxel_size=True).stages


def test_voxels_that_are_no_numbers_are_refused(data, tmp_path):
    image = np.ones((16, 16, 16), np.float32)
    image[3, 4, 5] = np.nan
    with warnings.catch_warnings(action="ignore"):  # mrcfile's, of the NaN
        url = write(tmp_path, "nan", image, 8.0)
    with pytest.raises(InputError, match="not finite"):
        segment(url, str(tmp_path / "o"), SegmentRecipe(models=(data[3]["solid"],), match="isotropic"), QUIET)
