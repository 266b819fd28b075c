"""A network of one's own, in one file: a 2D U-Net with a tenth of the work of Ais's, and batch normalisation."""

from __future__ import annotations

import torch
from torch import nn


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n in (inputs, outputs):
        layers += [nn.Conv2d(n, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class LightUNet(nn.Module):
    """Logits (batch, channels, y, x) of (batch, context, y, x); ``width`` channels at the finest of ``levels``."""

    def __init__(self, context: int = 1, channels: int = 1, width: int = 16, levels: int = 4):
        super().__init__()
        widths = [width * 2**n for n in range(levels)]
        self.down = nn.ModuleList(_double(i, o) for i, o in zip([context, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(_double(3 * o, o) for o in widths[-2::-1])
        self.head = nn.Conv2d(width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        for number, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if number else x)
            seen.append(x)
        for block, skip in zip(self.up, seen[-2::-1], strict=True):
            x = block(torch.cat([nn.functional.interpolate(x, scale_factor=2.0), skip], 1))
        logits: torch.Tensor = self.head(x)
        return logits
