"""Networks with less to compute answer as the networks themselves do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from volengine.nets.architectures.graph import GraphNet
from volengine.nets.lean import enlarging, lean_module
from volengine.nets.predictor import Predictor, Traits
from volengine.nets.registry import build


@settings(deadline=None, max_examples=30)
@given(*[st.integers(1, n) for n in (4, 3, 9, 11)], st.integers(0, 9))
def test_the_small_map_is_convolved_as_if_it_were_enlarged(inputs, outputs, y, x, seed) -> None:
    drawn = torch.Generator().manual_seed(seed)
    small = torch.randn(2, inputs, y, x, generator=drawn)
    weight = torch.randn(outputs, inputs, 3, 3, generator=drawn)
    wanted = functional.conv2d(functional.interpolate(small, scale_factor=2.0, mode="nearest"), weight, padding=1)
    found = functional.conv_transpose2d(small, enlarging(weight), stride=2, padding=1)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", [1, 5])
def test_aiss_unet_has_fewer_multiplications_and_the_same_answer(context: int) -> None:
    torch.manual_seed(0)
    net = build("unet", {"context": context, "channels": 2}).eval()
    less = lean_module(net, context)
    assert isinstance(less, GraphNet)
    kinds = [layer["kind"] for layer in less.description]
    assert "upsample" not in kinds
    assert kinds.count("conv_transpose") == 2
    for shape in ((1, context, 64, 64), (2, context, 36, 100)):
        image = torch.randn(shape)
        with torch.inference_mode():
            wanted, found = net(image), less(image)
        assert float((found - wanted).abs().max()) < 2e-6 * max(1.0, float(wanted.abs().max()))
    again = lean_module(GraphNet(less.description), context)
    assert [layer["kind"] for layer in again.description] == kinds


def test_a_graph_whose_maps_are_read_twice_stays_as_it_is() -> None:
    layers = [
        {"name": "in", "kind": "input", "inputs": []},
        {"name": "a", "kind": "conv", "inputs": ["in"], "channels": [1, 2], "kernel": [3, 3]},
        {"name": "pool", "kind": "pool", "inputs": ["a"], "size": [2, 2], "stride": [2, 2]},
        {"name": "up", "kind": "upsample", "inputs": ["pool"], "factor": [2, 2]},
        {"name": "join", "kind": "join", "inputs": ["up", "a"], "function": "concatenate"},
        {"name": "b", "kind": "conv", "inputs": ["join"], "channels": [4, 2], "kernel": [3, 3]},
    ]
    last = {"name": "out", "kind": "join", "inputs": ["b", "up"], "function": "add"}
    net = GraphNet([*layers, last])
    assert lean_module(net, 1) is net
    torch.manual_seed(1)
    alone = GraphNet(layers).eval()
    less = lean_module(alone, 1)
    assert less is not alone
    image = torch.randn(1, 1, 6, 10)
    torch.testing.assert_close(less(image), alone(image), rtol=1e-5, atol=1e-6)


def test_sums_in_place_leave_what_others_read() -> None:
    layers = [
        {"name": "in", "kind": "input", "inputs": []},
        {"name": "a", "kind": "conv", "inputs": ["in"], "channels": [1, 2], "kernel": [3, 3]},
        {"name": "b", "kind": "conv", "inputs": ["in"], "channels": [1, 2], "kernel": [3, 3]},
        {"name": "small", "kind": "conv", "inputs": ["in"], "channels": [1, 1], "kernel": [3, 3]},
        {"name": "sum", "kind": "join", "inputs": ["a", "b"], "function": "add"},
        {"name": "relu", "kind": "activation", "inputs": ["sum"], "function": "relu"},
        {"name": "wide", "kind": "join", "inputs": ["small", "relu"], "function": "add"},
        {"name": "out", "kind": "join", "inputs": ["wide", "b"], "function": "add"},
    ]
    torch.manual_seed(2)
    net = GraphNet(layers)
    image = torch.randn(1, 1, 5, 7)
    a, b, small = (net.layers[n](image) for n in (1, 2, 3))
    torch.testing.assert_close(net(image), small + (a + b).relu() + b)
    one = GraphNet(
        [
            *layers[:2],
            {"name": "only", "kind": "join", "inputs": ["a"], "function": "add"},
            {"name": "r", "kind": "activation", "inputs": ["only"], "function": "relu"},
            {"name": "o", "kind": "join", "inputs": ["r", "a"], "function": "add"},
        ]
    )
    a = one.layers[1](image)
    torch.testing.assert_close(one(image), a.relu() + a)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9), st.booleans(), st.integers(0, 9))
def test_pooling_before_relu_changes_no_bit(channels, y, x, last, seed) -> None:
    layers = [
        {"name": "in", "kind": "input", "inputs": []},
        {"name": "a", "kind": "conv", "inputs": ["in"], "channels": [1, channels], "kernel": [3, 3]},
        {"name": "relu", "kind": "activation", "inputs": ["a"], "function": "relu"},
        {"name": "pool", "kind": "pool", "inputs": ["relu"], "size": [2, 2], "stride": [2, 2]},
        {"name": "b", "kind": "conv", "inputs": ["pool"], "channels": [channels, 1], "kernel": [3, 3]},
    ]
    torch.manual_seed(seed)
    net = GraphNet(layers).eval()
    less = lean_module(net, 1)
    assert [layer["kind"] for layer in less.description] == ["input", "conv", "pool", "activation", "conv"]
    image = torch.randn(2, 1, y, x)
    if last:
        image = image.contiguous(memory_format=torch.channels_last)
    wanted = functional.max_pool2d(net.layers[1](image).relu(), 2)
    assert torch.equal(net.layers[4](wanted), less(image))
    with torch.inference_mode():
        assert torch.equal(
            functional.max_pool2d(net.layers[1](image).relu(), 2), less.layers[3](less.layers[2](less.layers[1](image)))
        )


def test_vggnet_pools_first_and_answers_the_same() -> None:
    torch.manual_seed(0)
    net = build("vggnet", {}).eval()
    less = lean_module(net, 1)
    assert isinstance(less, GraphNet)
    image = torch.randn(1, 1, 72, 40)
    with torch.inference_mode():
        assert torch.equal(less(image), net(image))


def test_networks_that_neither_enlarge_nor_pool_are_left_alone() -> None:
    for name in ("resnet", "pix2pix"):
        net = build(name, {})
        assert lean_module(net, 1) is net
    predictor = Predictor(build("unet", {}), Traits(volumetric=False))
    with predictor.running():
        assert predictor(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 1, 64, 64)
