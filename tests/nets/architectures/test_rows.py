"""Inception modules that are computed some rows at a time: the network's own answers, whatever its layers are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.nets.architectures import rows
from volengine.nets.architectures.chains import rows_in, with_rows
from volengine.nets.architectures.graph import GraphNet
from volengine.nets.architectures.rows import Rows
from volengine.nets.architectures.trace import describe
from volengine.nets.lean import LeanNet, lean_module
from volengine.nets.registry import build

THEN = st.none() | st.builds(
    lambda y, x, w, r: {"kernel": [2 * y + 1, 2 * x + 1], "width": w, "relu": r},
    *(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.booleans()),
)
BRANCH = st.fixed_dictionaries(
    {"width": st.integers(1, 4), "pooled": st.booleans(), "relu": st.booleans(), "then": THEN}
)


def layer_by_layer(net: Rows, x: torch.Tensor) -> torch.Tensor:
    convs = iter(net.convs)
    for module in net.chain:
        found = []
        for branch in module:
            y = torch.nn.functional.max_pool2d(x, 3, 1, 1) if branch["pooled"] else x
            for part in (branch, branch["then"]):
                if part is not None:
                    conv = next(convs)
                    y = torch.conv2d(y, conv.weight, conv.bias, padding=[n // 2 for n in conv.kernel_size])
                    y = y.relu() if part["relu"] else y
            found.append(y)
        x = torch.cat(found, 1)
    return x


@settings(max_examples=80, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 3), st.integers(1, 14), st.integers(1, 9)),
    chain=st.lists(st.lists(BRANCH, min_size=1, max_size=4), min_size=1, max_size=3),
    channels=st.integers(1, 3),
    chunk=st.integers(1, 60),
    piece=st.integers(1, 30),
)
def test_rows_are_the_modules_layer_by_layer(sides, chain, channels, chunk, piece):
    batch, height, width = sides
    torch.manual_seed(0)
    net = Rows(chain, channels).eval()
    x = torch.randn(batch, channels, height, width)
    before = rows.CHUNK, rows.POOLED
    rows.CHUNK, rows.POOLED = chunk, piece
    try:
        with torch.inference_mode():
            found, wanted = net(x), layer_by_layer(net, x)
    finally:
        rows.CHUNK, rows.POOLED = before
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_a_nan_stays_where_its_pixels_see_it():
    torch.manual_seed(0)
    branches = [
        {"width": 2, "pooled": True, "relu": True, "then": None},
        {"width": 2, "pooled": False, "relu": True, "then": {"kernel": [5, 5], "width": 2, "relu": True}},
    ]
    net = Rows([branches], 1).eval()
    x = torch.randn(1, 1, 20, 20)
    x[0, 0, 10, 10] = torch.nan
    with torch.inference_mode():
        odd = net(x).isnan()[0]
    assert [int(one.sum()) for one in odd] == [9, 9, 25, 25]


@pytest.mark.parametrize("context", [1, 5])
def test_inceptionnet_is_one_layer_and_keeps_its_answers(context):
    torch.manual_seed(0)
    net = build("inceptionnet", {"context": context}).eval()
    made = lean_module(net, context)
    assert [layer["kind"] for layer in made.description] == ["input", "rows"]
    x = torch.randn(2, context, 70, 83)
    with torch.inference_mode():
        wanted, found = net(x), made(x)
        assert float((found - wanted).abs().max() / wanted.std()) < 2e-5
        for last in (torch.channels_last, torch.contiguous_format):
            again = made.to(memory_format=last)(x.contiguous(memory_format=last))
            assert float((again - wanted).abs().max() / wanted.std()) < 2e-5
        assert torch.equal(made(x[1:]), made(x)[1:])  # whatever else is in its batch


def test_double_precision_goes_through_rows():
    torch.manual_seed(0)
    net = build("inceptionnet").eval().double()
    made = LeanNet(lean_module(build("inceptionnet").eval(), 1).description).double()
    made.load_state_dict(dict(zip(made.state_dict(), net.state_dict().values(), strict=True)))
    x = torch.randn(1, 1, 9, 11, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(made(x), net(x), atol=1e-12, rtol=1e-9)


MODULE = [
    {"name": "in", "kind": "input", "inputs": []},
    {"name": "a", "kind": "conv", "inputs": ["in"], "channels": [1, 2], "kernel": [1, 1]},
    {"name": "b", "kind": "conv", "inputs": ["in"], "channels": [1, 2], "kernel": [1, 1], "bias": False},
    {"name": "b3", "kind": "conv", "inputs": ["b"], "channels": [2, 3], "kernel": [3, 3]},
    {"name": "ab", "kind": "join", "inputs": ["b3", "a"], "function": "concatenate"},
]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({}, ["input", "rows"]),
        ({"b3": {"stride": [2, 2]}, "a": {"stride": [2, 2]}}, None),
        ({"b3": {"padding": "valid", "kernel": [1, 3]}, "a": {"kernel": [1, 3], "padding": "valid"}}, None),
        ({"b3": {"dilation": [2, 2]}}, None),
        ({"b3": {"kernel": [2, 2]}}, None),
        ({"b3": {"channels": [2, 2]}, "ab": {"function": "add"}}, None),
        ({"b3": {"inputs": ["a"]}, "ab": {"inputs": ["b3", "a", "b"]}}, None),
        ({"ab": {"inputs": ["b3", "a", "in"]}}, None),
        ({"ab": {"inputs": ["b3", "a", "a"]}}, None),
    ],
)
def test_only_whole_modules_are_rewritten(change, kinds):
    torch.manual_seed(0)
    layers = [{**layer, **change.get(layer["name"], {})} for layer in MODULE]
    net = GraphNet(layers).eval()
    made, state = with_rows(layers, net.state_dict())
    assert [layer["kind"] for layer in made] == (kinds or [layer["kind"] for layer in layers])
    assert rows_in(layers) == bool(kinds)
    again = LeanNet(made).eval()
    again.load_state_dict(state)
    x = torch.randn(1, 1, 9, 7)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), net(x))


def test_what_follows_a_module_stays():
    torch.manual_seed(0)
    layers = [
        *MODULE,
        {"name": "c", "kind": "conv", "inputs": ["ab"], "channels": [5, 2], "kernel": [1, 1]},
        {"name": "relu", "kind": "activation", "inputs": ["c"], "function": "relu"},
        {"name": "d", "kind": "conv", "inputs": ["relu"], "channels": [2, 2], "kernel": [3, 3]},
        {"name": "last", "kind": "join", "inputs": ["d", "relu"], "function": "add"},
    ]
    net = GraphNet(layers).eval()
    made, state = with_rows(layers, net.state_dict())
    assert [layer["name"] for layer in made] == ["in", "relu", "d", "last"]  # what two layers read is kept
    again = LeanNet(made).eval()
    again.load_state_dict(state)
    x = torch.randn(2, 1, 9, 7)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), net(x))


@pytest.mark.parametrize("name", ["vggnet", "unet", "eman2", "resnet_s"])
def test_other_networks_stay_as_they_are(name):
    layers, state = describe(build(name), torch.zeros(1, 1, 64, 64))
    made, kept = with_rows(layers, state)
    assert made == layers
    assert list(kept) == list(state)


@pytest.mark.parametrize("layers", [7, "conv", [1], [{}], [{"name": "a", "kind": "conv", "inputs": ["b"]}]])
def test_what_is_no_description_has_no_rows(layers):
    assert not rows_in(layers)


def test_a_file_cannot_ask_for_rows():
    with pytest.raises(InputError, match="unknown kind 'rows'"):
        GraphNet([{"name": "in", "kind": "input", "inputs": []}, {"name": "a", "kind": "rows", "inputs": ["in"]}])
