"""Receptive field and stride of a convolutional network, found by probing a copy of it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError

_WHOLE_PATCH = (
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
)


def probe(module: nn.Module, volumetric: bool) -> tuple[Index3, Index3]:
    """(radius, stride), voxels z, y, x; z is (0, 1) for 2D networks. See :func:`volengine.nets.registry.reach`."""
    for part in module.modules():
        if isinstance(part, _WHOLE_PATCH):
            raise InputError(
                f"{type(part).__name__} looks at the whole patch: this network has no finite receptive field and "
                "cannot be applied exactly in blocks."
            )
    ndim = 3 if volumetric else 2
    steps = stride_of(module, volumetric)
    stride = steps[-1]
    smooth = _transparent(module)
    size = 16 * stride
    while True:
        radius = _radius(smooth, ndim, size, stride)
        if radius is not None:
            break
        size *= 2
    along = (radius,) * ndim if volumetric else (0, radius, radius)
    return index3(along), steps


def stride_of(module: nn.Module, volumetric: bool) -> Index3:
    """Total pooling factor, voxels z, y, x (z is 1 for 2D networks); of any network, whatever its normalisation."""
    if volumetric:
        side = _stride(module, 3)
        return side, side, side
    side = _stride(module, 2)
    return 1, side, side


def dimensions(module: nn.Module) -> int:
    """2 or 3: what kind of convolutions a network has (0: none that is known)."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Conv3d)):
            return 3 if isinstance(part, nn.Conv3d) else 2
    return 0


def _stride(module: nn.Module, ndim: int) -> int:
    """How much smaller the smallest feature map is than the input."""
    side = 64 if ndim == 3 else 512
    smallest = [side]

    def seen(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == ndim + 2:
            smallest.append(min(output.shape[2:]))

    clear = copy.deepcopy(module).to("meta").eval()
    handles = [part.register_forward_hook(seen) for part in clear.modules()]
    clear(torch.empty((1, _inputs(module), *[side] * ndim), device="meta"))
    for handle in handles:
        handle.remove()
    return side // min(smallest)


def _inputs(module: nn.Module) -> int:
    return int(next(p for p in module.parameters() if p.ndim > 1).shape[1])


class _Average(nn.Module):
    """Average pooling in place of maximum pooling: it passes a gradient to every voxel it looks at."""

    def __init__(self, pool: nn.MaxPool2d | nn.MaxPool3d):
        super().__init__()
        kind: Any = nn.AvgPool3d if isinstance(pool, nn.MaxPool3d) else nn.AvgPool2d
        self.pool = kind(pool.kernel_size, pool.stride, pool.padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(x)
        return pooled


def _transparent(module: nn.Module) -> nn.Module:
    """A copy in which no dependence is hidden: positive weights, averages for maxima."""
    clear = copy.deepcopy(module).double().cpu().eval()
    for name, part in list(clear.named_modules()):
        if isinstance(part, (nn.MaxPool2d, nn.MaxPool3d)):
            parent = clear.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], _Average(part))
    with torch.no_grad():
        for name, parameter in clear.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(0.0)
            else:  # one-dimensional ones are the scales of a normalisation
                parameter.fill_(1.0 / parameter[0].numel() if parameter.ndim > 1 else 1.0)
    return clear


def _radius(module: nn.Module, ndim: int, size: int, stride: int) -> int | None:
    """Largest distance of an input that matters for the answers of one stride cell, or ``None``: wider than size.

    One long axis is enough: the networks here treat their axes alike; the others are as short as the network allows.
    """
    sides = [max(stride, 1)] * (ndim - 1) + [size]
    x = torch.ones((1, _inputs(module), *sides), dtype=torch.float64, requires_grad=True)
    answer = module(x)
    start = size // 2 // stride * stride
    reach = 0
    for at in range(start, start + stride):
        (gradient,) = torch.autograd.grad(answer[..., at].sum(), x, retain_graph=True)
        seen = gradient.abs().sum(dim=tuple(range(gradient.ndim - 1))).nonzero().flatten()
        low, high = int(seen.min()), int(seen.max())
        if low == 0 or high == size - 1:
            return None
        reach = max(reach, at - low, high - at)
    return reach
