"""A small 3D U-Net for tomograms: purely convolutional, so that it can be applied exactly in blocks.

It has two 3x3x3 convolutions with leaky ReLU per level, max pooling, nearest upsampling, and skip connections by
concatenation (after Çiçek et al., MICCAI 2016). By default it has no normalisation layers, so an output voxel depends
only on its receptive field. The input is ``(batch, 1, z, y, x)``, the output ``(batch, channels, z, y, x)`` logits;
sides must be multiples of ``2 ** (levels - 1)``.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn


def _double(inputs: int, outputs: int, groups: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers.append(nn.Conv3d(width, outputs, 3, padding=1))
        if groups:
            layers.append(nn.GroupNorm(groups, outputs))
        layers.append(nn.LeakyReLU(0.01, inplace=True))
    return nn.Sequential(*layers)


class UNet3d(nn.Module):
    """A 3D U-Net.

    Parameters
    ----------
    channels
        Number of features.
    width
        Channels of the first level; they double on each further level.
    levels
        Number of resolutions.
    groups
        Groups of a group normalisation after each convolution; 0: no normalisation, which exact mode requires.
    """

    def __init__(self, channels: int = 1, width: int = 12, levels: int = 3, groups: int = 0):
        super().__init__()
        widths = [width * 2**n for n in range(levels)]
        self.down = nn.ModuleList(_double(i, o, groups) for i, o in zip([1, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(_double(o + i, i, groups) for i, o in itertools.pairwise(widths))
        self.head = nn.Conv3d(width, channels, 1)
        self.pool = nn.MaxPool3d(2)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        skips = []
        for number, block in enumerate(self.down):
            x = block(x if number == 0 else self.pool(x))
            skips.append(x)
        for block, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            x = block(torch.cat([self.upsample(x), skip], 1))
        logits: torch.Tensor = self.head(x)
        return logits
