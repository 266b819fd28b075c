"""Layers of the networks in two and three dimensions, with the conventions of Keras.

The published parameter counts and weights of Ais's networks come from Keras, so these layers follow it: *same* padding
gives ``ceil(n / stride)`` samples and puts the odd zero at the end; activations come before batch normalisation; batch
normalisation adds 1e-3 to the variance and keeps 0.99 of its running moments.

>>> import torch
>>> same_padding(128, kernel=4, stride=1), same_padding(128, kernel=4, stride=2), same_padding(5, kernel=2, stride=2)
((1, 2), (1, 1), (0, 1))
>>> conv(2, 1, 8, kernel=4)(torch.zeros(1, 1, 6, 7)).shape
torch.Size([1, 8, 6, 7])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

KERAS_EPSILON = 1e-3
"""Number that Keras's batch normalisation adds to the variance."""


def triple(size: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """The size per axis, from one number for all axes or one per axis."""
    return (size,) * ndim if isinstance(size, int) else tuple(size)


def same_padding(length: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros to add before and after an axis of this length, so that the output has ``ceil(length / stride)`` voxels."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


class SameConv(nn.Module):
    """A convolution with Keras's *same* padding, also for even kernels and for strides.

    Parameters
    ----------
    ndim
        2 or 3.
    inputs, outputs
        Channels.
    kernel, stride
        One number for all axes, or one per axis.
    """

    def __init__(
        self, ndim: int, inputs: int, outputs: int, kernel: int | Sequence[int], stride: int | Sequence[int] = 1
    ):
        super().__init__()
        kind: Any = nn.Conv3d if ndim == 3 else nn.Conv2d
        self.conv = kind(inputs, outputs, triple(kernel, ndim), triple(stride, ndim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``ceil(n / stride)`` samples along each axis."""
        pads: list[int] = []
        for n, k, s in zip(x.shape[:1:-1], self.conv.kernel_size[::-1], self.conv.stride[::-1], strict=True):
            pads += same_padding(n, kernel=k, stride=s)
        answer: torch.Tensor = self.conv(F.pad(x, pads))
        return answer


def conv(
    ndim: int, inputs: int, outputs: int, kernel: int | Sequence[int] = 3, stride: int | Sequence[int] = 1
) -> nn.Module:
    """A convolution with *same* padding: PyTorch's own if the padding is symmetric, else :class:`SameConv`."""
    sizes = triple(kernel, ndim)
    if max(triple(stride, ndim)) > 1 or any(k % 2 == 0 for k in sizes):
        return SameConv(ndim, inputs, outputs, kernel, stride)
    kind: Any = nn.Conv3d if ndim == 3 else nn.Conv2d
    module: nn.Module = kind(inputs, outputs, sizes, padding=tuple(k // 2 for k in sizes))
    return module


def up_conv(ndim: int, inputs: int, outputs: int, factor: int | Sequence[int] = 2) -> nn.Module:
    """A transposed convolution whose kernel equals its stride: each voxel becomes a block; blocks do not overlap."""
    kind: Any = nn.ConvTranspose3d if ndim == 3 else nn.ConvTranspose2d
    module: nn.Module = kind(inputs, outputs, triple(factor, ndim), stride=triple(factor, ndim))
    return module


def batch_norm(ndim: int, channels: int, *, keep: float = 0.99) -> nn.Module:
    """Batch normalisation with Keras's numbers; ``keep`` is Keras's momentum (PyTorch's momentum is 1 - ``keep``)."""
    kind: Any = nn.BatchNorm3d if ndim == 3 else nn.BatchNorm2d
    module: nn.Module = kind(channels, eps=KERAS_EPSILON, momentum=1 - keep)
    return module


def max_pool(ndim: int, factor: int | Sequence[int] = 2) -> nn.Module:
    """Maximum pooling over blocks of this size."""
    kind: Any = nn.MaxPool3d if ndim == 3 else nn.MaxPool2d
    module: nn.Module = kind(triple(factor, ndim))
    return module


def conv_chain(
    ndim: int, inputs: int, outputs: Sequence[int], kernels: Sequence[int | Sequence[int]] = ()
) -> nn.Sequential:
    """Convolution, ReLU and batch normalisation, once for each of ``outputs``; kernels default to 3."""
    layers: list[nn.Module] = []
    for width, kernel in zip(outputs, kernels or (3,) * len(outputs), strict=True):
        layers += [conv(ndim, inputs, width, kernel), nn.ReLU(inplace=True), batch_norm(ndim, width)]
        inputs = width
    return nn.Sequential(*layers)
