"""Weights' gradients in bfloat16 on a CPU, where PyTorch's own are wrong: against float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from volengine.nets.training.fit.optimise import Descent
from volengine.nets.training.fit.recipe import Optimiser

CPU = torch.device("cpu")


def gradient(layer: nn.Module, x: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
    """The gradient of the weights as a training computes it in bfloat16."""
    descent = Descent(layer, Optimiser(), "bfloat16", CPU)
    layer.zero_grad()
    with descent.autocast():
        answer = layer(x)
    (answer.float() * way).sum().backward()
    return layer.weight.grad  # type: ignore[union-attr, return-value]


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("side", "shape"), [(3, (2, 2, 2)), (3, (2, 8, 8)), (3, (1, 4, 4)), (3, (3, 3, 3)), (5, (4, 4, 4))]
)
def test_gradients_of_few_slices_are_right(side: int, shape: tuple[int, ...], order: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = nn.Conv3d(16, 16, side, padding=side // 2)
    x, way = torch.randn(2, 16, *shape), torch.randn(2, 16, *shape)
    exact = nn.Conv3d(16, 16, side, padding=side // 2).double()
    exact.load_state_dict(layer.state_dict())
    (exact(x.double()) * way).sum().backward()
    wanted = exact.weight.grad
    layer, x = layer.to(memory_format=order), x.contiguous(memory_format=order)  # type: ignore[call-overload]
    for _ in range(3):  # what is wrong is what the memory held before
        torch.full((4 * layer.weight.numel(),), 7.0)
        found = gradient(layer, x, way)
        assert float((found - wanted).norm() / wanted.norm()) < 0.02


def test_only_they_are_computed_in_float32() -> None:
    descent = Descent(nn.Conv3d(1, 1, 3), Optimiser(), "bfloat16", CPU)
    layer = nn.Conv3d(1, 1, 3, padding=1)
    with descent.autocast():
        types = [layer(torch.zeros(1, 1, n, 4, 4)).dtype for n in (1, 2, 3, 4)]
        plain = nn.functional.conv3d(input=torch.zeros(1, 1, 2, 4, 4), weight=layer.weight, padding=1).dtype
        flat = nn.Conv2d(1, 1, 3, padding=1)(torch.zeros(1, 1, 2, 2)).dtype
    assert types == [torch.float32, torch.float32, torch.bfloat16, torch.bfloat16]
    assert (plain, flat) == (torch.float32, torch.bfloat16)
    assert layer(torch.zeros(1, 1, 2, 4, 4)).dtype == torch.float32
