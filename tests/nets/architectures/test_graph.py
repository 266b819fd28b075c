"""Graphs of plain layers: what they save (copies, memory) changes no number."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from volengine.nets.architectures.graph import Conv, GraphNet, Upsample, same_padding


def layer(name, kind, *inputs, **extra):
    return {"name": name, "kind": kind, "inputs": list(inputs), **extra}


def conv(name, source, channels):
    return layer(name, "conv", source, channels=channels, kernel=[3, 3])


@pytest.mark.parametrize("function", ["relu", "leaky_relu"])
def test_what_others_read_is_not_overwritten(function):
    shared = [
        layer("in", "input"),
        conv("made", "in", [1, 4]),
        layer("cut", "activation", "made", function=function, slope=0.1),
        layer("sum", "join", "cut", "made", function="add"),
    ]
    alone = [
        layer("in", "input"),
        layer("cut", "activation", "in", function=function, slope=0.1),
        conv("made", "cut", [1, 4]),
        layer("last", "activation", "made", function=function, slope=0.1),
    ]
    torch.manual_seed(0)
    x = torch.randn(2, 1, 12, 10)
    before = x.clone()
    act = functional.relu if function == "relu" else lambda t: functional.leaky_relu(t, 0.1)
    with torch.inference_mode():
        first, second = GraphNet(shared), GraphNet(alone)
        made = first.layers[1](x)
        assert torch.equal(first(x), act(made) + made)
        assert torch.equal(second(x), act(second.layers[2](act(x))))
    assert torch.equal(x, before)
    assert [m.inplace for m in (first.layers[2], second.layers[1], second.layers[3])] == [False, False, True]


def test_gradients_go_through_what_is_overwritten():
    net = GraphNet(
        [
            layer("in", "input"),
            conv("a", "in", [1, 3]),
            layer("norm", "norm", "a", channels=3),
            layer("b", "activation", "norm", function="relu"),
            conv("c", "b", [3, 1]),
        ]
    ).double()
    x = torch.randn(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert net.layers[3].inplace
    assert torch.autograd.gradcheck(net, (x,))


@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (1, 3), (5, 2), (3, 3, 3), (2, 3, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_is_keras(kernel, stride, dilation):
    steps, holes = (stride,) * len(kernel), (dilation,) * len(kernel)
    torch.manual_seed(0)
    made = Conv([2, 3], kernel, steps, holes)
    x = torch.randn(1, 2, *(7, 8, 9)[: len(kernel)])
    plain = functional.conv3d if len(kernel) == 3 else functional.conv2d
    padded = functional.pad(x, same_padding(x.shape[2:], kernel, steps, holes))
    expected = plain(padded, made.conv.weight, made.conv.bias, steps, 0, holes)
    found = made(x)
    assert found.shape[2:] == tuple(-(-n // stride) for n in x.shape[2:])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("factor", [(2, 2), (1, 2), (3, 2), (2, 2, 2), (1, 1, 2), (7, 3)])
def test_nearest_repeats_voxels(factor):
    sides = (83, 61, 12)[: len(factor)]
    x = torch.randn(1, 2, *sides)
    expected = x
    for axis, times in enumerate(factor, 2):
        expected = expected.repeat_interleave(times, axis)
    assert torch.equal(Upsample(factor)(x), expected)
