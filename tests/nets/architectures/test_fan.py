"""1x1 convolutions of one map that are computed together, row by row: the network's own answers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.nets.architectures import fan
from volengine.nets.architectures.fan import Fan, fans_in, with_fans
from volengine.nets.architectures.graph import GraphNet
from volengine.nets.architectures.trace import describe
from volengine.nets.lean import LeanNet
from volengine.nets.predictor import Execution, Predictor, Traits
from volengine.nets.registry import build


@settings(max_examples=60, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    channels=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    parts=st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), min_size=1, max_size=4),
    strip=st.integers(1, 60),
)
def test_a_fan_is_its_convolutions_one_by_one(sides, channels, parts, strip):
    batch, height, width = sides
    torch.manual_seed(0)
    maps = [torch.randn(batch, c, height, width) for c in channels]
    net = Fan([{"width": w, "pooled": p, "relu": r} for w, p, r in parts], sum(channels))
    torch.nn.init.normal_(net.weight)
    torch.nn.init.normal_(net.bias)
    whole, start = torch.cat(maps, 1), 0
    before, fan.STRIP = fan.STRIP, strip
    try:
        found = net(*maps)
    finally:
        fan.STRIP = before
    for answer, (wide, pooled, relu) in zip(found, parts, strict=True):
        seen = torch.nn.functional.max_pool2d(whole, 3, 1, 1) if pooled else whole
        weight, bias = net.weight[start : start + wide], net.bias[start : start + wide]
        wanted = torch.nn.functional.conv2d(seen, weight[:, :, None, None], bias)
        torch.testing.assert_close(answer, wanted.relu() if relu else wanted, atol=1e-5, rtol=1e-5)
        start += wide


def test_lower_precision_goes_through_rewritten_layers():
    predictor = Predictor(
        build("inceptionnet"), Traits(volumetric=False), Execution(device="cpu", precision="bfloat16")
    )
    full = Predictor(build("inceptionnet"), Traits(volumetric=False), Execution(device="cpu"))
    full._call.load_state_dict(predictor._call.state_dict())
    x = torch.randn(1, 1, 32, 32)
    with predictor.running():
        found = predictor(x)
    with full.running():
        torch.testing.assert_close(found, full(x), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["vggnet", "unet", "eman2", "resnet_s"])
def test_other_networks_stay_as_they_are(name):
    layers, state = describe(build(name), torch.zeros(1, 1, 64, 64))
    assert not fans_in(layers)
    made, kept = with_fans(layers, state)
    assert made == layers
    assert list(kept) == list(state)


@pytest.mark.parametrize(
    "layers", [7, "conv", [1], [{}], [{"name": "a", "kind": "conv", "inputs": ["b"]}], [{"name": [], "inputs": []}]]
)
def test_what_is_no_description_has_no_fans(layers):
    assert not fans_in(layers)


def test_a_joined_map_that_others_read_stays():
    torch.manual_seed(0)
    layers = [
        {"name": "in", "kind": "input", "inputs": []},
        {"name": "a", "kind": "conv", "inputs": ["in"], "channels": [1, 2], "kernel": [3, 3]},
        {"name": "ab", "kind": "join", "inputs": ["a", "in"], "function": "concatenate"},
        {"name": "one", "kind": "conv", "inputs": ["ab"], "channels": [3, 2], "kernel": [1, 1]},
        {"name": "two", "kind": "conv", "inputs": ["ab"], "channels": [3, 2], "kernel": [1, 1], "bias": False},
        {"name": "relu", "kind": "activation", "inputs": ["two"], "function": "relu"},
        {"name": "last", "kind": "join", "inputs": ["one", "relu", "two", "ab"], "function": "concatenate"},
    ]
    net = GraphNet(layers).eval()
    made, state = with_fans(layers, net.state_dict())
    assert [layer["kind"] for layer in made] == ["input", "conv", "join", "fan", "part", "part", "activation", "join"]
    again = LeanNet(made)
    again.load_state_dict(state)
    x = torch.randn(1, 1, 9, 7)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), net(x))


def test_a_file_cannot_ask_for_a_fan():
    with pytest.raises(InputError, match="unknown kind 'fan'"):
        GraphNet([{"name": "in", "kind": "input", "inputs": []}, {"name": "a", "kind": "fan", "inputs": ["in"]}])
