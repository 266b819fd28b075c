"""A light 3D residual U-Net, for CPUs and small GPUs.

It has residual blocks (two 3x3x3 convolutions in parallel with a 1x1x1 one; He et al., CVPR 2016), strided convolutions
in the encoder, transposed ones in the decoder, and skip connections by concatenation (a smaller form of Lee et al.,
arXiv:1706.00120). The input is ``(batch, 1, z, y, x)``, the output ``(batch, channels, z, y, x)`` logits; sides must be
multiples of ``2 ** (levels - 1)``.

Without normalisation layers (the default) an output voxel depends only on its receptive field, and the network can be
applied exactly in blocks. The second convolution of each block is then initialised with zeros, so that the network
starts as a chain of its shortcuts and trains stably (Zhang et al., ICLR 2019).
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import nn

from volengine.core.errors import InputError
from volengine.nets.architectures.layers import up_conv

Norm = Literal["none", "instance", "group"]
GROUPS = 8
SLOPE = 0.01


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    return nn.GroupNorm(GROUPS, channels) if norm == "group" else nn.Identity()


class ResidualBlock(nn.Module):
    """conv, norm, leaky ReLU, conv, norm; plus the shortcut; leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, stride: int = 1):
        super().__init__()
        bias = norm == "none"
        self.branch = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=bias),
            _norm(norm, outputs),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv3d(outputs, outputs, 3, padding=1, bias=bias),
            _norm(norm, outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride > 1:
            self.shortcut = nn.Sequential(nn.AvgPool3d(stride), nn.Conv3d(inputs, outputs, 1))
        if norm == "none":
            nn.init.zeros_(self.branch[3].weight)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's features."""
        answer: torch.Tensor = self.branch(x) + self.shortcut(x)
        return nn.functional.leaky_relu_(answer, SLOPE)


class ResidualUNet3d(nn.Module):
    """A light 3D residual U-Net; with its defaults it has 1,422,433 parameters.

    Parameters
    ----------
    channels
        Number of features.
    width
        Channels of the first level; they double on each further level. With ``group`` it must be a multiple of 8.
    levels
        Number of resolutions.
    norm
        ``none``, or ``instance`` or ``group`` normalisation (over the patch, which excludes exact mode).
    """

    def __init__(self, channels: int = 1, width: int = 16, levels: int = 4, norm: Norm = "none"):
        super().__init__()
        if norm not in ("none", "instance", "group") or (norm == "group" and width % GROUPS):
            raise InputError(
                f"ResidualUNet3d: norm is none, instance or group, and for group the width a multiple of {GROUPS}; "
                f"not norm {norm!r} with width {width}."
            )
        widths = [width * 2**n for n in range(levels)]
        self.down = nn.ModuleList([ResidualBlock(1, width, norm)])
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in itertools.pairwise(widths):
            self.down.append(ResidualBlock(fine, coarse, norm, stride=2))
            self.grow.append(up_conv(3, coarse, fine))
            self.up.append(ResidualBlock(2 * fine, fine, norm))
        self.head = nn.Conv3d(width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        for grow, block, skip in zip(reversed(self.grow), reversed(self.up), reversed(skips[:-1]), strict=True):
            x = block(torch.cat([grow(x), skip], 1))
        logits: torch.Tensor = self.head(x)
        return logits
