"""Ais's plain 2D networks: UNet S (922,881 parameters), VGGNet S (1,493,059) and M (5,053,955).

Layouts after Last et al., eLife 13:RP98552 (2024): the parameter counts of Table 1 and, for VGGNet, the listing in
Appendix 1 (its transposed convolutions are linear, and it has no skip connections). The input is
``(batch, context, y, x)``, the output ``(batch, features, y, x)`` logits; y and x must be multiples of 4 (UNet) or 8
(VGGNet). Convolutions keep the size by padding with zeros. More input slices (2.5D) change only the first layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class UNet2d(nn.Module):
    """Ais's UNet: one 3x3 convolution per level (64, 128, 256), nearest upsampling, skips by concatenation."""

    def __init__(self, context: int = 1, channels: int = 1):
        super().__init__()
        self.down1 = _conv(context, 64)
        self.down2 = _conv(64, 128)
        self.down3 = _conv(128, 256)
        self.up2 = _conv(256 + 128, 128)
        self.up1 = _conv(128 + 64, 64)
        self.head = nn.Conv2d(64, channels, 1)
        self.pool = nn.MaxPool2d(2)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        first = self.down1(x).relu_()
        second = self.down2(self.pool(first)).relu_()
        third = self.down3(self.pool(second)).relu_()
        x = self.up2(torch.cat([self.upsample(third), second], 1)).relu_()
        x = self.up1(torch.cat([self.upsample(x), first], 1)).relu_()
        logits: torch.Tensor = self.head(x)
        return logits


class VGGNet(nn.Module):
    """Ais's VGGNet: double 3x3 convolutions with pooling, transposed convolutions up, no skips.

    Parameters
    ----------
    context, channels
        Number of input slices, number of features.
    widths
        Channels of the encoder's levels, the finest first.
    ups
        Channels of the decoder's levels, the coarsest first; a last transposed convolution gives the features.
    """

    def __init__(
        self,
        context: int = 1,
        channels: int = 1,
        widths: Sequence[int] = (64, 128, 256),
        ups: Sequence[int] = (128, 64),
    ):
        super().__init__()
        layers: list[nn.Module] = []
        width = context
        for outputs in widths:
            layers += [_conv(width, outputs), nn.ReLU(inplace=True)]
            layers += [_conv(outputs, outputs), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            width = outputs
        for outputs in ups:
            layers += [nn.ConvTranspose2d(width, outputs, 2, stride=2), _conv(outputs, outputs), nn.ReLU(inplace=True)]
            width = outputs
        layers.append(nn.ConvTranspose2d(width, channels, 2, stride=2))
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.head(self.body(x))
        return logits


def vggnet_m(context: int = 1, channels: int = 1) -> VGGNet:
    """Ais's VGGNet M, its default: encoder 128, 256, 512; decoder 128, 64 channels."""
    return VGGNet(context, channels, (128, 256, 512), (128, 64))
