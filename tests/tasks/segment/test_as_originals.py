"""segment as other programs do it: membrain-seg's windows, mirrors and logits; Ais's whole slices; uncertainty."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import DynUNet

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.nets.checkpoint import load_model, save_model
from volengine.nets.registry import build
from volengine.nets.tta import views
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.segment.nets import nets_of
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import segment

SHAPE = (36, 54, 58)  # windows of 32 every 16: mirrored grids differ along y and x (two windows lie symmetrically)
FILTERS = (4, 6, 8, 10)
QUIET = RunOptions(progress=False)
FLIPS = [axes for z in ((), (2,)) for y in ((), (3,)) for x in ((), (4,)) for axes in [(*z, *y, *x)]]


def write(folder, name, volume):
    path = folder / f"{name}.mrc"
    with mrcfile.new(path) as file:
        file.set_data(volume)
        file.voxel_size = 10.0
    store = str(folder / f"{name}.ome.zarr")
    convert(str(path), store, ConvertRecipe(chunk=(16, 16, 16), shard=(16, 16, 16), levels=1), QUIET)
    return store


def read(volume):
    handle = open_volume(volume.url)
    return open_source(handle).read(Box.of_shape(handle.shape))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tomogram, a small DynUNet and a 2.5D U-Net, both with random weights."""
    folder = tmp_path_factory.mktemp("originals")
    rng = np.random.default_rng(5)
    volume = (rng.normal(0, 300, SHAPE) + 40 * np.arange(SHAPE[0])[:, None, None] + 100).astype(np.int16)
    torch.manual_seed(2)
    module = build("dynunet", {"filters": FILTERS})
    solid = folder / "membrane.safetensors"
    facts = {"voxel_size": (10, 10, 10), "normalisation": "volume"}
    arguments = {"filters": list(FILTERS)}
    save_model(
        solid,
        module,
        ModelFacts(network="dynunet", arguments=arguments, features=("membrane",), patch=(32, 32, 32), **facts),
    )
    torch.manual_seed(3)
    flat = build("unet", {"context": 3})
    with torch.inference_mode():
        flat.head.weight.mul_(1.5 / flat(torch.randn(1, 3, 32, 32)).std())
    plane = folder / "plane.safetensors"
    save_model(
        plane,
        flat,
        ModelFacts(
            network="unet",
            arguments={"context": 3},
            features=("plane",),
            patch=(1, 32, 32),
            context=3,
            overlap=0.0,
            edge="zero",
            voxel_size=(10, 10, 10),
            normalisation="per_slice",
        ),
    )
    return folder, write(folder, "TS_01", volume), volume, str(solid), str(plane)


def as_membrain(path, volume, *, overlap=0.5, window=32, flips=FLIPS, sigmoid=False):
    """Logits (or blended probabilities) of each mirrored pass over the whole volume, turned back.

    MONAI's DynUNet under MONAI's inferer.
    """
    mine, _ = load_model(path)
    net = DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        kernel_size=(3,) * 4,
        strides=(1, 2, 2, 2),
        upsample_kernel_size=(2, 2, 2),
        filters=FILTERS,
        res_block=True,
        deep_supervision=True,
        deep_supr_num=2,
    )
    known = mine.state_dict()
    theirs = {k: v for k, v in net.state_dict().items() if not k.startswith(("skip_layers", "deep_supervision"))}
    net.load_state_dict({k: known[k] for k in theirs}, strict=False)
    assert len(theirs) > 20
    net.eval()
    exact = volume.astype(np.float64)
    scaled = torch.from_numpy(((exact - exact.mean()) / exact.std()).astype(np.float32))[None, None]
    infer = SlidingWindowInferer((window,) * 3, 1, overlap, mode="gaussian", sigma_scale=0.125)
    with torch.inference_mode():
        answer = (lambda x: net(x).sigmoid()) if sigmoid else net
        return np.stack([infer(scaled.flip(f), answer).flip(f)[0, 0].double().numpy() for f in flips])


def membrain(data, out, options=QUIET, store=None, **recipe):
    folder, known, _, solid, _ = data
    recipe = {"patch": (32, 32, 32), "dtype": "float32", **recipe}
    return segment(
        store or known, str(folder / out), SegmentRecipe(models=(solid,), compat="membrain", **recipe), options
    )


def test_membrain_logits_and_probabilities_are_membrains(data):
    _, _, volume, solid, _ = data
    passes = as_membrain(solid, volume)
    scores = passes.mean(0)
    mine = read(membrain(data, "logits", answer="logits")["membrane"])
    assert np.abs(mine - scores).max() < 1e-3 * scores.std()
    assert np.abs(passes[0] - scores).max() > 0.1 * scores.std()  # the mirrors matter
    patch = read(membrain(data, "by-patch", answer="logits", tta_of="patch")["membrane"])
    assert np.abs(patch - scores).max() > 0.01 * scores.std()  # and so does where their windows lie
    chance = read(membrain(data, "chance")["membrane"])
    np.testing.assert_allclose(chance, 1 / (1 + np.exp(-scores)), atol=1e-3 * scores.std())


def test_the_mean_of_probabilities_is_that_over_windows_and_mirrors(data):
    _, _, volume, solid, _ = data
    flips = [f for f in FLIPS if len(f) % 2 == 0]
    expected = as_membrain(solid, volume, flips=flips, sigmoid=True).mean(0)
    mine = read(membrain(data, "mean-p", mean_of="probabilities", tta="flips4")["membrane"])
    np.testing.assert_allclose(mine, expected, atol=1e-5)


@pytest.mark.parametrize("tta", [1, "flips4"])
def test_cheaper_modes_are_those_of_membrain_seg(data, tta):
    _, _, volume, solid, _ = data
    flips = [f for f in FLIPS if len(f) % 2 == 0] if tta == "flips4" else [()]
    scores = as_membrain(solid, volume, overlap=0.25, flips=flips).mean(0)
    mine = read(membrain(data, f"cheap-{tta}", answer="logits", tta=tta, overlap=0.25)["membrane"])
    assert np.abs(mine - scores).max() < 1e-3 * scores.std()


def test_a_volume_smaller_than_the_window_is_padded_with_zeros(data, tmp_path):
    small = data[2][:21, :40, :27].copy()
    store = write(tmp_path, "small", small)
    scores = as_membrain(data[3], small).mean(0)
    mine = read(membrain(data, tmp_path / "out", store=store, answer="logits")["membrane"])
    assert np.abs(mine - scores).max() < 1e-3 * scores.std()


@pytest.mark.parametrize("how", ["blocks", pytest.param("workers", marks=pytest.mark.slow)])
def test_mirrored_volumes_have_the_same_bytes_for_any_block(data, how):
    features = ("membrane", "membrane uncertainty")
    options = {
        "blocks": RunOptions(progress=False, block=(32, 32, 48)),
        "workers": RunOptions(progress=False, workers=2, memory_limit="3GB"),
    }[how]
    asked = {"dtype": "uint8", "uncertainty": True, "tta": "flips" if how == "blocks" else "flips4"}
    whole = membrain(data, f"whole-{how}", RunOptions(progress=False, block=SHAPE), **asked)
    assert set(whole) == set(features)
    assert min(len(np.unique(read(whole[f]))) for f in features) > 20
    again = membrain(data, how, options, **asked)
    for feature in features:
        np.testing.assert_array_equal(read(again[feature]), read(whole[feature]))


def only_net(volume, recipe):
    ((net,),) = nets_of(volume, recipe, QUIET).values()
    return net


def test_grids_that_fall_together_are_run_together(data):
    volume = open_volume(data[1])
    recipe = SegmentRecipe(models=(data[3],), compat="membrain", patch=(32, 32, 32))
    net = only_net(volume, recipe)
    assert len(net.passes) == 4
    assert len(only_net(volume.with_(shape=(50, 54, 58)), recipe).passes) == 8
    assert net.patches == 4 * len(net.lattice)
    fits = only_net(volume.with_(shape=(32, 48, 64)), recipe)
    assert [(len(p.views), p.share) for p in fits.passes] == [(8, 1.0)]
    one = only_net(volume.with_(shape=(36, 48, 58)), recipe)
    assert [(len(p.views), p.share) for p in one.passes] == [(4, 0.5), (4, 0.5)]


def test_uncertainty_is_the_spread_over_views(data):
    _, _, volume, solid, _ = data
    small = volume[:32, :32, :32].copy()
    store = write(data[0], "cube", small)
    passes = 1 / (1 + np.exp(-as_membrain(solid, small)))
    for mean_of in ("logits", "probabilities"):  # one window: the spread is that over the eight mirrors alone
        found = membrain(data, f"spread-{mean_of}", store=store, mean_of=mean_of, uncertainty=True)
        np.testing.assert_allclose(read(found["membrane uncertainty"]), passes.std(0), atol=2e-3)
    assert passes.std(0).max() > 0.01


def test_uncertainty_leaves_the_prediction_alone(data):
    for mean_of in ("logits", "probabilities"):
        plain = membrain(data, f"plain-{mean_of}", mean_of=mean_of, tta=1)
        both = membrain(data, f"both-{mean_of}", mean_of=mean_of, tta=1, uncertainty=True)
        np.testing.assert_array_equal(read(plain["membrane"]), read(both["membrane"]))


def as_ais(path, volume, tta):
    """Ais's command line, written out plainly: uint8 of a 2.5D network of three slices."""
    module, _ = load_model(path)
    exact = volume.astype(np.float64)
    scaled = (exact - exact.mean((1, 2), keepdims=True)) / (exact.std((1, 2), keepdims=True) + 1e-6)
    pads = [(-n % 32) + 64 for n in volume.shape[1:]]
    split = [(p // 2, p - p // 2) for p in pads]
    padded = np.pad(scaled, ((0, 0), *split), mode="reflect").astype(np.float32)
    out = np.empty(volume.shape)
    for z in range(len(volume)):
        stack = padded[np.clip([z - 1, z, z + 1], 0, len(volume) - 1)]
        total = np.zeros(padded.shape[1:])
        for k in range(tta):
            seen = stack[..., ::-1] if k >= 4 else stack
            seen = np.rot90(seen, k % 4, (1, 2)).copy()
            with torch.inference_mode():
                answer = module(torch.from_numpy(seen)[None]).sigmoid()[0, 0].numpy()
            answer = np.rot90(answer, -(k % 4))
            total += answer[:, ::-1] if k >= 4 else answer
        inside = tuple(slice(low, low + n) for (low, _), n in zip(split, volume.shape[1:], strict=True))
        out[z] = (total / tta)[inside]
    return out


@pytest.mark.parametrize("tta", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_ais_whole_slices_and_truncation(data, tta):
    folder, store, volume, _, plane = data
    part = volume[:6].copy()
    store = write(folder, f"part-{tta}", part)
    expected = as_ais(plane, part, tta) * 255
    found = segment(store, str(folder / f"ais-{tta}"), SegmentRecipe(models=(plane,), compat="ais", tta=tta), QUIET)
    mine = read(found["plane"])
    clear = np.abs(expected - np.rint(expected)) > 1e-3  # not where the last bit decides
    np.testing.assert_array_equal(mine[clear], expected.astype(np.uint8)[clear])
    assert clear.mean() > 0.99
    assert expected.std() > 5


def test_what_compat_leaves_open_can_be_said():
    recipe = SegmentRecipe(models=("m",), compat="membrain", tta=1, overlap=0.25).resolved()
    assert (recipe.patch, recipe.overlap, recipe.tta, recipe.mean_of) == ((160,) * 3, 0.25, 1, "logits")
    assert SegmentRecipe(models=("m",), compat="ais").resolved().rounding == "truncate"
    assert SegmentRecipe(models=("m",)).resolved().tta == 1
    assert SegmentRecipe(models=("m",), answer="logits", dtype="float32").resolved().mean_of == "logits"
    assert len(views("flips4", 2)) == 4


def test_contradictions_of_compat_are_refused(data):
    volume = open_volume(data[1])
    for recipe, words in (
        ({"answer": "logits"}, "--dtype float32"),
        ({"answer": "logits", "dtype": "float32", "mean_of": "probabilities"}, "not --mean-of probabilities"),
        ({"compat": "ais", "dtype": "float32"}, "uint8"),
        ({"tta_of": "volume", "tta": 4}, "mirrors only"),
        ({"exact": True, "compat": "membrain"}, "lays out patches in its own way"),
    ):
        with pytest.raises(InputError, match=words):
            SegmentRecipe(models=("m",), **recipe)
    for path, compat, words in ((data[3], "ais", "3D network"), (data[4], "membrain", "sees slices")):
        with pytest.raises(InputError, match=words):
            nets_of(volume, SegmentRecipe(models=(path,), compat=compat), QUIET)
