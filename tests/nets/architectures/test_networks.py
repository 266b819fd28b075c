"""Architectures: parameter counts, layouts against plain functional ones, receptive fields against impulses."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from volengine.core.errors import DependencyError, InputError
from volengine.nets import registry
from volengine.nets.architectures.ais2d_flat import Residual
from volengine.nets.architectures.ais2d_pix2pix import PatchGAN, Pix2pix
from volengine.nets.architectures.complexity import macs_per_voxel
from volengine.nets.architectures.encdec import ConvUNet, UNetLayout
from volengine.nets.architectures.layers import conv, conv_chain
from volengine.nets.architectures.receptive import dimensions, stride_of

VOLUMETRIC = ("unet3d", "residual3d", "easymode_3d", "easymode_3d_wide", "dynunet")
VOLUMETRIC += ("unet_membrain", "unet_membrain_groupnorm", "unet_easymode", "unet_easymode_deeper", "easymode_denoise")
PUBLISHED: dict[str, tuple[int, float | None]] = {
    # weights, and thousands of multiply-adds per voxel where they are known
    "eman2": (378_081, 101),
    "inceptionnet": (550_529, 549),
    "resnet": (4_887_265, None),
    "resnet_s": (1_215_457, 1214),
    "unet": (922_881, 259),
    "unet_m": (7_771_297, 184),
    "unet_l": (38_791_489, 1137),
    "vggnet": (1_493_059, 171),
    "vggnet_m": (5_053_955, 616),
    "vggnet_l": (38_239_489, 1517),
    "vggnet_l_paper": (17_521_921, None),
    "vggnet_x": (38_420_097, 480),
    "pix2pix": (29_249_409, None),
    "pix2pix_s": (16_661_121, 244),
    "easymode_2d": (43_634_689, 918),
    "pom": (31_054_145, None),
    "easymode_3d": (19_579_265, 195),
    "easymode_3d_wide": (30_981_761, 996),
    "dynunet": (91_181_859, 233.9),
    "unet_membrain": (128_917_537, None),
    "unet_membrain_groupnorm": (128_897_505, None),
    "unet_easymode": (7_968_225, None),
    "unet_easymode_deeper": (14_454_881, None),
    "easymode_denoise": (7_972_896, None),
    "unet2d": (1_087_417, None),
    "unet3d": (198_865, None),
    "residual3d": (1_422_433, None),
}


def hollow_network(name: str, arguments: dict[str, Any]) -> nn.Module:
    if name == "dynunet":
        pytest.importorskip("monai", reason="the extra membrain is not installed")
    with torch.device("meta"):
        return registry.build(name, arguments)


OWN = [name for name in registry.NETWORKS if name not in registry.IMPORTED]


@pytest.mark.parametrize("name", OWN)
def test_parameters_and_operations_are_as_many_as_published(name: str) -> None:
    count, kmacs = PUBLISHED[name]
    net = hollow_network(name, {})
    assert registry.parameters(net) == count
    if kmacs is not None:
        assert round(macs_per_voxel(net) / 1e3, 1 if kmacs % 1 else 0) == kmacs


def test_the_wide_network_has_the_kernels_of_its_model_files() -> None:
    net = hollow_network("easymode_3d_wide", {})
    assert isinstance(net, ConvUNet)

    def kernels(chains: Any) -> list[list[str]]:
        return [["x".join(map(str, m.kernel_size)) for m in chain if isinstance(m, nn.Conv3d)] for chain in chains]

    deep = ["1x3x3", "3x1x1", "1x3x3"]
    assert kernels(net.down) == [["3x3x3"] * 3] * 2 + [[*deep, "1x3x3"]] * 3
    assert kernels(net.up) == [deep] * 2 + [["3x3x3"] * 2] * 2
    assert [grow.kernel_size for grow in net.grow] == [(1, 2, 2)] * 2 + [(2, 2, 2)] * 2


def test_the_discriminator_has_its_count_and_judges_patches() -> None:
    with torch.device("meta"):
        net = PatchGAN()
        x = torch.empty(2, 1, 64, 96)
        assert net(x, x).shape == (2, 1, 4, 6)
    assert registry.parameters(net) == 2_767_297


@pytest.mark.parametrize("name", OWN)
def test_answers_have_the_input_s_sides_and_the_features_asked_for(name: str) -> None:
    net = hollow_network(name, {"channels": 3}).eval()
    ndim = dimensions(net)
    sides = [n * s for n, s in zip((1, 2, 3), stride_of(net, ndim == 3), strict=True)]
    if ndim == 3:
        sides = [2 * n for n in sides]  # instance normalisation wants more than one voxel
    assert net(torch.empty((2, 1, *sides[3 - ndim :]), device="meta")).shape == (2, 3, *sides[3 - ndim :])


@pytest.mark.parametrize("name", [n for n in OWN if n not in VOLUMETRIC])
def test_context_changes_the_first_layers_alone(name: str) -> None:
    flat, deep = hollow_network(name, {}).state_dict(), hollow_network(name, {"context": 5}).state_dict()
    changed = {k for k in flat if flat[k].shape != deep[k].shape}
    assert flat.keys() == deep.keys()
    assert changed
    assert all(flat[k].shape[1] == 1 and deep[k].shape[1] == 5 for k in changed)


def test_unet_is_this_chain_of_functions() -> None:
    torch.manual_seed(0)
    net = registry.build("unet", {"context": 2, "channels": 3})
    x = torch.randn(2, 2, 16, 24)
    w = dict(net.named_parameters())

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1).relu()

    def double(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    a = conv("down1", x)
    b = conv("down2", F.max_pool2d(a, 2))
    c = conv("down3", F.max_pool2d(b, 2))
    d = conv("up2", torch.cat([double(c), b], 1))
    e = conv("up1", torch.cat([double(d), a], 1))
    want = F.conv2d(e, w["head.weight"], w["head.bias"])
    torch.testing.assert_close(net(x), want, rtol=1e-5, atol=1e-6)
    assert want.shape == (2, 3, 16, 24)


def test_vggnet_is_this_chain_of_functions() -> None:
    """Appendix 1 of the paper: linear transposed convolutions, each followed by a convolution with ReLU."""
    torch.manual_seed(0)
    net = registry.build("vggnet")
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * 0.02)  # so that a ReLU in the wrong place changes something
    weights = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim == 1]
    assert [tuple(p.shape[:2]) for p in weights] == [
        (64, 1), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256),
        (256, 128), (128, 128), (128, 64), (64, 64), (64, 1), (1, 1),
    ]  # fmt: skip
    x = want = torch.randn(1, 1, 16, 24)
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if k in (6, 8, 10):
            want = F.conv_transpose2d(want, weight, bias, stride=2)
        elif k == 11:
            want = F.conv2d(want, weight, bias)
        else:
            want = F.conv2d(want, weight, bias, padding=1).relu()
            want = F.max_pool2d(want, 2) if k in (1, 3, 5) else want
    torch.testing.assert_close(net(x), want, rtol=1e-5, atol=1e-6)


NETWORKS = [
    ("unet", {}, False, 13, 4),
    ("vggnet", {}, False, 27, 8),
    ("unet2d", {"width": 4, "levels": 2}, False, 9, 2),
    ("unet3d", {"width": 2, "levels": 2}, True, 9, 2),
    ("unet3d", {"width": 2}, True, 23, 4),
    ("eman2", {"width": 4}, False, 36, 2),
    ("inceptionnet", {"width": 2}, False, 6, 1),
    ("resnet", {"blocks": 2}, False, 4, 1),
    ("pix2pix", {"widths": (2, 4), "norm_first": False}, False, 12, 4),
    ("residual3d", {"width": 2, "levels": 2}, True, 8, 2),
]


def influence(net: nn.Module, size: int, stride: int, channels: int) -> tuple[int, int]:
    """How far answers are seen to depend on the input: largest distance below and above, by gradients.

    Random weights and inputs, several draws: one draw may hide a dependence (ReLU, maximum), none can invent one.
    """
    ndim = 3 if dimensions(net) == 3 else 2
    low = high = 0
    for seed in range(4):
        torch.manual_seed(seed)
        net = net.double().eval()  # batch normalisation looks at the whole batch while it trains
        for p in net.parameters():
            nn.init.normal_(p, std=(2 / max(1, p[0].numel() if p.ndim > 1 else 100)) ** 0.5)
        x = torch.randn((1, channels, *[stride * 2] * (ndim - 1), size), dtype=torch.float64, requires_grad=True)
        answer = net(x)
        for at in range(size // 2, size // 2 + stride):
            (gradient,) = torch.autograd.grad(answer[..., at].sum(), x, retain_graph=True)
            seen = gradient.abs().sum(dim=tuple(range(gradient.ndim - 1))).nonzero().flatten()
            low, high = max(low, at - int(seen.min())), max(high, int(seen.max()) - at)
    return low, high


@pytest.mark.parametrize(("name", "arguments", "volumetric", "radius", "stride"), NETWORKS)
def test_receptive_field_is_reached_and_never_left(
    name: str, arguments: dict[str, Any], volumetric: bool, radius: int, stride: int
) -> None:
    net = registry.build(name, arguments)
    depth = radius if volumetric else 0
    step = stride if volumetric else 1
    assert registry.reach(net, volumetric) == ((depth, radius, radius), (step, stride, stride))
    size = 2 * ((radius + stride) // stride + 1) * stride
    assert max(influence(net, size, stride, 1)) == radius


def test_probing_leaves_the_network_alone() -> None:
    net = registry.build("unet3d", {"width": 2})
    before = {k: v.clone() for k, v in net.state_dict().items()}
    registry.reach(net, True)
    assert net.training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_normalisation_over_the_patch_has_no_receptive_field_but_a_stride() -> None:
    net = registry.build("unet3d", {"width": 4, "groups": 2})
    with pytest.raises(InputError, match="GroupNorm looks at the whole patch"):
        registry.reach(net, True)
    assert stride_of(net, True) == (4, 4, 4)


def test_batch_normalisation_is_pointwise_when_applied() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    assert registry.reach(net, False) == ((0, 3, 3), (1, 1, 1))


def test_registry_names_what_it_knows_and_what_was_wrong() -> None:
    assert {"unet", "vggnet", "unet3d"} <= set(registry.names())
    with pytest.raises(InputError, match=r"no network 'unett'\. Did you mean unet or .* Known are .*unet3d"):
        registry.build("unett")
    with pytest.raises(InputError, match=r"cannot be built with .*colour"):
        registry.build("unet", {"colour": 3})


def test_other_packages_may_add_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("mine", "torch.nn:Identity", registry.GROUP)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    assert isinstance(registry.build("mine"), nn.Identity)
    assert "mine" in registry.names()


# -- own parts against their definitions -------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 20), kernel=st.integers(1, 6), stride=st.integers(1, 4), seed=st.integers(0, 99))
def test_same_convolution_is_keras_s(length: int, kernel: int, stride: int, seed: int) -> None:
    """Keras's rule: ceil(n / s) answers; the odd zero of the padding lies behind."""
    torch.manual_seed(seed)
    net = conv(2, 1, 1, (kernel, 1), (stride, 1))
    inner = getattr(net, "conv", net).requires_grad_(False)
    weight, bias = inner.weight.flatten(), float(inner.bias)
    x = torch.randn(length)
    count = -(-length // stride)
    total = max((count - 1) * stride + kernel - length, 0)
    want = []
    for i in range(count):
        places = [i * stride - total // 2 + k for k in range(kernel)]
        want.append(bias + sum(float(w) * float(x[p]) for w, p in zip(weight, places, strict=True) if 0 <= p < length))
    got = net(x.reshape(1, 1, -1, 1)).flatten()
    torch.testing.assert_close(got, torch.tensor(want), rtol=1e-4, atol=1e-5)


def test_pix2pix_is_this_chain_of_functions() -> None:
    torch.manual_seed(0)
    net = Pix2pix(2, 3, widths=(4, 8, 8), norm_first=False).eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert (part.eps, round(part.momentum or 0, 6)) == (1e-3, 0.2)
            part.running_mean.normal_()  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.normal_(part.weight)
    x = torch.randn(1, 2, 16, 24)
    w = net.state_dict()

    def norm(x: torch.Tensor, at: str) -> torch.Tensor:
        mean, var, scale, shift = (w[f"{at}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        shape = (1, -1, 1, 1)
        return (x - mean.view(shape)) / (var.view(shape) + 1e-3).sqrt() * scale.view(shape) + shift.view(shape)

    def strided(x: torch.Tensor, at: str) -> torch.Tensor:
        return F.leaky_relu(F.conv2d(F.pad(x, (1, 1, 1, 1)), w[f"{at}.weight"], w[f"{at}.bias"], stride=2), 0.2)

    def doubled(x: torch.Tensor, at: str) -> torch.Tensor:
        x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return F.conv2d(F.pad(x, (1, 2, 1, 2)), w[f"{at}.weight"], w[f"{at}.bias"])

    a = strided(x, "down.0.0.conv")
    b = norm(strided(a, "down.1.0.conv"), "down.1.2")
    c = norm(strided(b, "down.2.0.conv"), "down.2.2")
    d = torch.cat([norm(doubled(c, "up.0.1.conv").relu(), "up.0.3"), b], 1)
    e = torch.cat([norm(doubled(d, "up.1.1.conv").relu(), "up.1.3"), a], 1)
    torch.testing.assert_close(net(x), doubled(e, "head.1.conv"), rtol=1e-4, atol=1e-5)


def test_residual_blocks_of_ais_are_linear_inside() -> None:
    """Two convolutions without a ReLU between them: the block without its last ReLU is an affine map."""
    torch.manual_seed(0)
    block = Residual(1, 3)
    x, y = torch.randn(2, 1, 1, 9, 9)
    affine = lambda v: block.branch(v) + block.shortcut(v)  # noqa: E731
    torch.testing.assert_close(affine(x) + affine(y), affine(x + y) + affine(torch.zeros_like(x)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(block(x), affine(x).relu())


def test_deep_networks_forward_in_the_order_convolution_relu_norm() -> None:
    chain = conv_chain(2, 1, (4, 6))
    assert [type(part).__name__ for part in chain] == ["Conv2d", "ReLU", "BatchNorm2d"] * 2
    assert {(p.eps, round(1 - (p.momentum or 0), 6)) for p in chain if isinstance(p, nn.BatchNorm2d)} == {(1e-3, 0.99)}


def test_unet_of_a_layout_is_this_chain_of_modules() -> None:
    torch.manual_seed(0)
    layout = UNetLayout(((4, 6), (8, 8), (10,)), ((8, 5), (4,)), ndim=3, pools=((1, 2, 2), (2, 2, 2)))
    net = ConvUNet(layout, 1, 2).eval()
    x = torch.randn(1, 1, 4, 8, 8)
    a = net.down[0](x)
    b = net.down[1](F.max_pool3d(a, (1, 2, 2)))
    c = net.down[2](F.max_pool3d(b, 2))
    d = net.up[0](torch.cat([net.grow[0](c), b], 1))
    e = net.up[1](torch.cat([net.grow[1](d), a], 1))
    torch.testing.assert_close(net(x), net.head(e))
    assert registry.reach(net, True)[1] == (2, 4, 4)


def test_receptive_fields_of_unlike_axes() -> None:
    net = nn.Sequential(
        nn.Conv3d(1, 2, (1, 3, 5), padding=(0, 1, 2)), nn.MaxPool3d((1, 1, 2)), nn.Upsample(scale_factor=(1, 1, 2))
    )
    assert registry.reach(net, True) == ((0, 1, 3), (1, 1, 2))


def test_receptive_field_of_a_network_that_splits_its_channels() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 6, 3, padding=1)
            self.second = nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            near, _, far = self.first(x).chunk(3, 1)
            answer: torch.Tensor = self.second(near) + far.mean(1, keepdim=True)
            return answer

    assert registry.reach(Split(), False) == ((0, 2, 2), (1, 1, 1))


def test_receptive_field_of_outputs_that_reach_unlike_far() -> None:
    """Of four outputs in a stride one inside sees 41 voxels, the others those of their pool and one more."""

    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 41, padding=20)
            self.pool = nn.AvgPool2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows, columns = (torch.arange(n, device=x.device) % 4 == 1 for n in x.shape[2:])
            far: torch.Tensor = self.far(x) * (rows[:, None] & columns)
            return far + F.interpolate(self.pool(self.near(x)), scale_factor=4)

    assert registry.reach(Uneven(), False) == ((0, 20, 20), (1, 4, 4))


def test_answers_that_depend_on_nothing_have_no_receptive_field() -> None:
    """Every second output of a transposed convolution with one weight and a step of two; also inside of a stride."""
    for size, step, rest in ((1, 2, 1), (2, 4, 2)):
        up = nn.ConvTranspose2d(1, 1, size, step, output_padding=rest)
        net = nn.Sequential(nn.MaxPool2d(step), nn.Conv2d(1, 1, 3, padding=1), up, nn.Sigmoid())
        with pytest.raises(InputError, match="depend on no voxel"):
            registry.reach(net, False)


def test_the_residual_network_begins_as_its_shortcuts_and_learns() -> None:
    torch.manual_seed(0)
    net = registry.build("residual3d", {"width": 4, "levels": 2})
    x = torch.randn(2, 1, 8, 8, 8)
    truth = (F.avg_pool3d(x, 3, 1, 1) > 0).float()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = F.binary_cross_entropy_with_logits(net(x), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_residual_network_refuses_what_it_does_not_know() -> None:
    with pytest.raises(InputError, match=r"norm is none, instance or group.*'batch'"):
        registry.build("residual3d", {"norm": "batch"})
    with pytest.raises(InputError, match="multiple of 8"):
        registry.build("residual3d", {"norm": "group", "width": 4})
    for norm in ("instance", "group"):
        with pytest.raises(InputError, match="looks at the whole patch"):
            registry.reach(registry.build("residual3d", {"norm": norm, "width": 8, "levels": 2}), True)


# -- MemBrain's --------------------------------------------------------------------------------------------


def test_membrain_s_network_is_monai_s() -> None:
    nets = pytest.importorskip("monai.networks.nets", reason="the extra membrain is not installed")
    torch.manual_seed(0)
    ours = registry.build("dynunet", {"filters": (2, 3, 4, 5), "channels": 2})
    theirs = nets.DynUNet(
        3, 1, 2, (3,) * 4, (1, 2, 2, 2), (2,) * 3, (2, 3, 4, 5), res_block=True, deep_supervision=True, deep_supr_num=2
    )
    theirs.load_state_dict(ours.state_dict(), strict=False)  # the rest are other names of the same tensors
    x = torch.randn(1, 1, 16, 24, 16)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    full, half, quarter = ours.train()(x)
    whole = theirs.train()(x)
    torch.testing.assert_close(full, whole[:, 0])
    for coarse, k, factor in ((half, 1, 2), (quarter, 2, 4)):  # MONAI repeats the coarser ones to full size
        torch.testing.assert_close(coarse, whole[:, k, :, ::factor, ::factor, ::factor])


def test_membrain_s_network_has_the_names_of_its_checkpoints() -> None:
    state = hollow_network("dynunet", {}).state_dict()
    assert len(state) == 95
    assert state["downsamples.3.conv1.conv.weight"].shape == (512, 256, 3, 3, 3)
    assert state["upsamples.0.transp_conv.conv.weight"].shape == (1024, 512, 2, 2, 2)
    assert state["deep_supervision_heads.0.conv.conv.weight"].shape == (1, 64, 1, 1, 1)
    assert state["deep_supervision_heads.1.conv.conv.weight"].shape == (1, 128, 1, 1, 1)
    assert state["output_block.conv.conv.bias"].shape == (1,)


def test_without_monai_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(DependencyError, match=r"volengine\[membrain\]"):
        registry.build("dynunet")
