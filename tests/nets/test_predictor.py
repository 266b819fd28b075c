"""The predictor: the sliding window as a plain loop and as MONAI does it; bits that depend on nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from torch import nn

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.lattice import AxisLattice, Lattice
from volengine.core.tiling import Tiling
from volengine.nets.footprint import forward_bytes
from volengine.nets.predictor import Execution, Predictor, Traits, resolve_device
from volengine.nets.registry import build
from volengine.nets.tiles import PatchJob, predict_patches
from volengine.nets.tta import View, views
from volengine.ops.blend import Shares
from volengine.ops.patches import PatchReader
from volengine.ops.quantise import quantise
from volengine.ops.windows import importance

EDGE = ("reflect", "reflect", "reflect")
WINDOWS = ("gaussian", "hann", "constant", "crop")


def net3d(features=1, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv3d(8, features, 3, padding=1),
    )


def net2d(slices=1, features=1):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(slices, 8, 3, padding=1), nn.ReLU(), nn.InstanceNorm2d(8), nn.Conv2d(8, features, 3, padding=1)
    )


def tomogram(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def predict(module, volume, lattice, window="gaussian", traits=None, execution=None, core=None, edges=EDGE, shuffle=0):
    """Sums of the whole volume, from one block or from many."""
    predictor = Predictor(module, traits or Traits(), execution or Execution(device="cpu"))
    shares = Shares(lattice, window, predictor.scale)
    total = np.zeros((predictor.traits.features, *volume.shape), np.int32)
    patches = 0
    core = core or volume.shape
    over = lattice.overhang(core)
    low, high = lattice.halo(core, edges)
    for box in Tiling(volume.shape, core):
        read = box.grow(low, high).clip(volume.shape)
        reader = PatchReader(volume[read.slices].copy(), read, volume.shape, edges)
        region = box.grow((0, 0, 0), over).clip(volume.shape)
        owned = list(lattice.owned(box))
        np.random.default_rng(shuffle).shuffle(owned)
        patches += len(owned)
        owned = [tuple(int(i) for i in index) for index in owned]
        total[(slice(None), *region.slices)] += predict_patches(
            predictor, PatchJob(lattice, reader, shares), owned, region
        )
    assert patches == len(lattice)
    return total, predictor


def loop(module, volume, lattice, window):
    """The oracle: a plain loop over all patches of the whole volume, in float64."""
    low = [max(0, -a.start(0)) for a in lattice.axes]
    high = [max(0, a.span(a.count - 1)[1] - a.n) for a in lattice.axes]
    padded = np.pad(volume, list(zip(low, high, strict=True)), mode="reflect")
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    weight = importance(window, lattice.patch).astype(np.float64)
    for index in np.ndindex(*lattice.grid):
        where = lattice.box(index).shift(low).slices
        with torch.inference_mode():
            logits = module(torch.from_numpy(padded[where].copy())[None, None])[0, 0]
        total[where] += weight / (1 + np.exp(-logits.double().numpy()))
        weights[where] += weight
    inside = tuple(slice(a, a + n) for a, n in zip(low, volume.shape, strict=True))
    return (total / weights)[inside]


@settings(deadline=None, max_examples=8)
@given(st.data())
def test_any_blocks_give_the_plain_loop_and_the_same_bits(data):
    shape = data.draw(st.tuples(*[st.integers(4, 30)] * 3))
    patch = data.draw(st.tuples(*[st.sampled_from([4, 8, 12])] * 3))
    overlap = data.draw(st.tuples(*[st.sampled_from([0, 0.25, 0.5])] * 3))
    window = data.draw(st.sampled_from(WINDOWS))
    volume, module = tomogram(shape), net3d()
    lattice = Lattice.sliding(shape, patch, overlap)
    whole, predictor = predict(module, volume, lattice, window, execution=Execution(batch=3, device="cpu"))
    if window != "crop":
        np.testing.assert_allclose(whole[0] / predictor.scale, loop(module, volume, lattice, window), atol=1e-6)
    for seed in (1, 2):
        core = tuple(data.draw(st.integers(min(p - 1, n), n)) for p, n in zip(patch, shape, strict=True))
        blocked, _ = predict(
            module, volume, lattice, window, execution=Execution(batch=3, device="cpu"), core=core, shuffle=seed
        )
        np.testing.assert_array_equal(blocked, whole)
        np.testing.assert_array_equal(quantise(blocked[0], 2.0**30), quantise(whole[0], 2.0**30))


@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.25, 0.6])
def test_a_sliding_window_equals_monais(mode, overlap):
    volume, module = tomogram((40, 52, 37)), net3d()
    lattice = Lattice.sliding(volume.shape, (16, 24, 20), (overlap,) * 3)
    mine, predictor = predict(module, volume, lattice, mode, core=(24, 26, 37))
    with torch.inference_mode():
        theirs = sliding_window_inference(
            torch.from_numpy(volume)[None, None],
            (16, 24, 20),
            2,
            lambda x: torch.sigmoid(module(x)),
            overlap=overlap,
            mode=mode,
        )[0, 0].numpy()
    np.testing.assert_allclose(mine[0] / predictor.scale, theirs, atol=1e-6)


def test_equals_monai_in_2d():
    volume, module = tomogram((3, 50, 61)), net2d()
    lattice = Lattice.sliding(volume.shape, (1, 32, 32), (0, 0.5, 0.5))
    mine, predictor = predict(module, volume, lattice, traits=Traits(volumetric=False), core=(2, 32, 61))
    with torch.inference_mode():
        theirs = sliding_window_inference(
            torch.from_numpy(volume)[:, None],
            (32, 32),
            4,
            lambda x: torch.sigmoid(module(x)),
            overlap=0.5,
            mode="gaussian",
        )[:, 0].numpy()
    np.testing.assert_allclose(mine[0] / predictor.scale, theirs, atol=1e-6)


def test_context_slices_are_channels_clamped_at_the_ends():
    volume, module = tomogram((5, 16, 16)), net2d(slices=5)
    lattice = Lattice.sliding(volume.shape, (1, 16, 16), low=(2, 0, 0), high=(2, 0, 0))
    edges = ("edge", "reflect", "reflect")
    traits = Traits(volumetric=False, slices=5)
    mine, predictor = predict(module, volume, lattice, traits=traits, core=(2, 16, 16), edges=edges)
    stack = volume[np.clip(np.arange(-2, 7), 0, 4)]
    with torch.inference_mode():
        expected = [module(torch.from_numpy(stack[z : z + 5].copy())[None])[0, 0].sigmoid().numpy() for z in range(5)]
    np.testing.assert_allclose(mine[0] / predictor.scale, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 33, 26), (9, 16, 50)])
@pytest.mark.parametrize("core", [(8, 16, 16), (16, 8, 24), (64, 64, 64)])
def test_exact_mode_equals_the_whole_volume(shape, core):
    volume, module = tomogram(shape), net3d()
    radius, stride = 6, 2  # 1 + 2 (coarse) + pooling and upsampling + 1, with something to spare
    axes = [AxisLattice.tiles(n, 8, radius, stride) for n in shape]
    mine, predictor = predict(
        module, volume, Lattice(*axes), "constant", core=core, execution=Execution(batch=4, device="cpu")
    )
    even = [-(-n // stride) * stride for n in shape]
    padded = np.pad(volume, [(0, e - n) for e, n in zip(even, shape, strict=True)], mode="reflect")
    with torch.inference_mode():
        whole = module(torch.from_numpy(padded)[None, None]).sigmoid()[0, 0].numpy()
    inside = tuple(slice(n) for n in shape)
    np.testing.assert_allclose(mine[0] / predictor.scale, whole[inside], atol=1e-6)
    one, _ = predict(module, volume, Lattice(*axes), "constant", execution=Execution(batch=4, device="cpu"))
    np.testing.assert_array_equal(mine, one)


def test_bits_do_not_depend_on_the_place_in_the_batch_nor_on_its_company():
    module, x = net3d(features=2), torch.from_numpy(tomogram((6, 1, 16, 16, 16)))
    predictor = Predictor(module, Traits(2), Execution(batch=3, device="cpu"))
    with predictor.running():
        first = predictor(x[:3].clone())
        moved = predictor(torch.stack([x[5], x[0], torch.zeros_like(x[0])]))
    assert torch.equal(first[0], moved[1])


@pytest.mark.parametrize("network", ["unet3d", "unet"])
def test_bits_do_not_depend_on_threads(network):
    torch.manual_seed(0)
    module, solid = build(network), network == "unet3d"
    volume = tomogram((16, 40, 40) if solid else (2, 72, 72))
    lattice = Lattice.sliding(volume.shape, (16, 16, 16) if solid else (1, 32, 32), (0, 0.5, 0.5))
    predictor = Predictor(module, Traits(volumetric=solid), Execution(batch=2, device="cpu"))
    reader = PatchReader(volume, Box.of_shape(volume.shape), volume.shape, EDGE)
    job = PatchJob(lattice, reader, Shares(lattice, "gaussian", predictor.scale))
    indices = list(lattice.owned(Box.of_shape(volume.shape)))
    before = torch.get_num_threads()
    answers = []
    try:
        for available, threads in ((1, 1), (2, 1), (2, 2), (4, 3)):
            torch.set_num_threads(available)
            answers.append(predict_patches(predictor, job, indices, Box.of_shape(volume.shape), threads))
            assert torch.get_num_threads() == available
    finally:
        torch.set_num_threads(before)
    for other in answers[1:]:
        np.testing.assert_array_equal(answers[0], other)
    some = predict_patches(predictor, job, indices[::2], Box.of_shape(volume.shape))
    both = predict_patches(predictor, job, indices[1::2], Box.of_shape(volume.shape), before=some)
    np.testing.assert_array_equal(both, answers[0])


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_activations_are_right_and_the_same_at_any_place_of_a_tensor(activation):
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 6, (5, 3, 7, 11, 13)).astype(np.float32))
    logits[0, 0, 0, 0, :2] = torch.tensor([-200.0, 200.0])

    class Same(nn.Module):
        def forward(self, x):
            return x

    predictor = Predictor(Same(), Traits(3, activation=activation), Execution(device="cpu"))
    whole = predictor(logits)
    reference = torch.sigmoid(logits.double()) if activation == "sigmoid" else logits.double().softmax(1)
    np.testing.assert_allclose(whole.numpy(), reference.numpy(), rtol=2e-6, atol=1e-37)
    for k in range(5):
        assert torch.equal(predictor(logits[k : k + 1].clone())[0], whole[k])


@pytest.mark.parametrize("tta", [2, 4, 8, 16, "flips"])
def test_augmentation_is_undone_exactly(tta):
    class Same(nn.Module):
        def forward(self, x):
            return x

    class Slice(nn.Module):
        def forward(self, x):
            return x[:, 2:3]

    volume = tomogram((3, 1, 5, 8, 8))
    for module, traits, expected in (
        (Same(), Traits(activation="none"), volume),
        (Slice(), Traits(volumetric=False, slices=5, activation="none"), volume[:, 0, 2][:, None, None]),
    ):
        predictor = Predictor(module, traits, Execution(device="cpu", tta=tta))
        given_ = torch.from_numpy(volume.copy() if traits.volumetric else volume[:, 0].copy())
        with predictor.running():
            answer = predictor(given_)
        np.testing.assert_allclose(answer.numpy(), expected, atol=1e-6)
        assert answer.shape == expected.shape


def test_augmentation_is_the_mean_over_the_turned_views_in_aiss_order():
    volume, module = tomogram((1, 1, 8, 12, 12)), net3d()
    predictor = Predictor(module, Traits(), Execution(device="cpu", tta=6))
    expected = []
    for flip in (False, True):
        for k in range(4):
            seen = np.flip(volume, -1) if flip else volume
            seen = np.rot90(seen, k, (-2, -1)).copy()
            with torch.inference_mode():
                answer = module(torch.from_numpy(seen)).sigmoid().numpy()
            answer = np.rot90(answer, -k, (-2, -1))
            expected.append(np.flip(answer, -1) if flip else answer)
    with predictor.running():
        mine = predictor(torch.from_numpy(volume)).numpy()
    np.testing.assert_allclose(mine, np.mean(expected[:6], axis=0), atol=1e-6)


def test_every_set_of_views_is_complete_and_without_repetition():
    assert len(set(views(16, 2))) == 16
    x = torch.arange(60).reshape(1, 1, 3, 4, 5)
    seen = {tuple(v.apply(x).flatten().tolist()) for v in views("flips", 2)}
    wanted = [a for z in ([], [-3]) for a in (z, [*z, -1], [*z, -2], [*z, -1, -2])]
    assert seen == {tuple(x.flip(axes).flatten().tolist()) for axes in wanted}
    assert views("3", 1) == (View(), View(1), View(2))
    for wrong, depth in ((0, 2), (17, 2), (9, 1), ("mirror", 1)):
        with pytest.raises(InputError, match="tta"):
            views(wrong, depth)


def test_softmax_shares_one_among_its_features():
    volume, module = tomogram((8, 8, 8)), net3d(features=3)
    lattice = Lattice.sliding(volume.shape, (8, 8, 8))
    sums, predictor = predict(module, volume, lattice, traits=Traits(3, activation="softmax"))
    np.testing.assert_allclose(sums.sum(0) / predictor.scale, 1, atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"channels_last": True}, {"precision": "bfloat16"}, {"precision": "tf32"}, {"batch": 2}]
)
def test_ways_to_run_agree(change):
    volume, module = tomogram((16, 24, 24)), net3d()
    lattice = Lattice.sliding(volume.shape, (16, 16, 16), (0, 0.5, 0.5))
    plain, predictor = predict(module, volume, lattice)
    other, _ = predict(module, volume, lattice, execution=Execution(device="cpu", **change))
    np.testing.assert_allclose(
        other / predictor.scale, plain / predictor.scale, atol=2e-2 if "precision" in change else 1e-5
    )


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm3d(4, affine=True)])
def test_instance_normalisation_keeps_the_plain_memory_order_on_a_cpu(norm):
    module = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), norm, nn.Conv3d(4, 2, 3, padding=1))
    patch = torch.randn(1, 1, 8, 8, 8)
    with torch.inference_mode():
        expected = module(patch).sigmoid()
    predictor = Predictor(module, Traits(features=2, volumetric=True), Execution(device="cpu"))
    plain = module[2].weight.is_contiguous() and not module[2].weight.is_contiguous(
        memory_format=torch.channels_last_3d
    )
    assert plain == isinstance(norm, nn.InstanceNorm3d)
    with predictor.running():
        torch.testing.assert_close(predictor(patch), expected, rtol=1e-5, atol=1e-6)


def test_devices_that_cannot_be_used_are_refused():
    assert resolve_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="cuda"):
            resolve_device("cuda")
    with pytest.raises(InputError, match="warp"):
        resolve_device("warp")
    with pytest.raises(InputError, match="float16 needs a GPU"):
        Predictor(net3d(), Traits(), Execution(device="cpu", precision="float16"))
    with pytest.raises(InputError, match="1 patch or more"):
        Execution(batch=-1)


def test_footprint_counts_what_is_alive():
    chain = nn.Sequential(*[nn.Conv2d(1 if i == 0 else 8, 8, 3, padding=1) for i in range(10)])
    tensor = 8 * 32 * 32 * 4
    assert 2 * tensor <= forward_bytes(chain, (1, 1, 32, 32)) / 1.5 < 3 * tensor
    assert forward_bytes(chain, (4, 1, 32, 32)) == 4 * forward_bytes(chain, (1, 1, 32, 32))


@pytest.mark.gpu
def test_gpu_agrees_with_cpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    volume, module = tomogram((40, 52, 36)), net3d()
    lattice = Lattice.sliding(volume.shape, (16, 16, 16), (0.5,) * 3)
    cpu, predictor = predict(module, volume, lattice)
    gpu, _ = predict(module, volume, lattice, execution=Execution(batch=5, device="cuda"))
    blocked, _ = predict(module, volume, lattice, execution=Execution(batch=5, device="cuda"), core=(20, 26, 36))
    np.testing.assert_allclose(gpu / predictor.scale, cpu / predictor.scale, atol=1e-5)
    np.testing.assert_array_equal(gpu, blocked)
    assert Box.of_shape(volume.shape).size == gpu[0].size
