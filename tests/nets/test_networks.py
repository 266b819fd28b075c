"""Architectures: parameter counts, layouts against plain functional ones, receptive fields against impulses."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from volengine.core.errors import InputError
from volengine.nets import registry
from volengine.nets.receptive import dimensions, stride_of


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("unet", {}, 922_881),
        ("vggnet", {}, 1_493_059),
        ("unet", {"context": 5}, 922_881 + 4 * 64 * 9),
        ("vggnet", {"context": 5}, 1_493_059 + 4 * 64 * 9),
        ("unet3d", {}, 198_865),
    ],
)
def test_parameter_counts(name: str, arguments: dict[str, Any], count: int) -> None:
    assert registry.parameters(registry.build(name, arguments)) == count


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
    ("unet3d", {"width": 2, "levels": 2}, True, 9, 2),
    ("unet3d", {"width": 2}, True, 23, 4),
]


def influence(net: nn.Module, size: int, stride: int, channels: int) -> tuple[int, int]:
    """How far answers are seen to depend on the input: largest distance below and above, by gradients.

    Random weights and inputs, several draws: one draw may hide a dependence (ReLU, maximum), none can invent one.
    """
    ndim = 3 if dimensions(net) == 3 else 2
    low = high = 0
    for seed in range(4):
        torch.manual_seed(seed)
        net = net.double()
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
    with pytest.raises(InputError, match=r"no network 'unett'; known are .*unet3d"):
        registry.build("unett")
    with pytest.raises(InputError, match=r"cannot be built with .*colour"):
        registry.build("unet", {"colour": 3})


def test_other_packages_may_add_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("mine", "torch.nn:Identity", registry.GROUP)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    assert isinstance(registry.build("mine"), nn.Identity)
    assert "mine" in registry.names()
