"""Ais's networks with full or half resolution: EMAN2's network, InceptionNet and ResNet.

Layouts after Last et al., eLife 13:RP98552 (2024), Table 1, and their published descriptions; EMAN2's after Chen et
al., Nature Methods 14:983 (2017). The input is ``(batch, context, y, x)``, the output ``(batch, channels, y, x)``
logits. Sides may have any length, except that EMAN2's network needs even sides. A test checks the parameter counts and
multiply-adds.
"""

from __future__ import annotations

import torch
from torch import nn

from volengine.nets.architectures.layers import conv, max_pool


class Eman2(nn.Module):
    """EMAN2's network as in Ais: three 15x15 convolutions, one pooling; 378,081 parameters.

    The output of the last convolution has half the resolution; each value is repeated for 2x2 pixels.
    """

    def __init__(self, context: int = 1, channels: int = 1, width: int = 40, kernel: int = 15):
        super().__init__()
        self.body = nn.Sequential(
            conv(2, context, width, kernel),
            nn.ReLU(inplace=True),
            max_pool(2),
            conv(2, width, width, kernel),
            nn.ReLU(inplace=True),
            conv(2, width, channels, kernel),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.body(x)
        return logits


class Inception(nn.Module):
    """Four parallel branches: 1x1; 1x1 and 3x3; 1x1 and 5x5; 3x3 maximum pooling and 1x1; each with ReLU."""

    def __init__(self, inputs: int, width: int):
        super().__init__()

        def part(n: int, kernel: int) -> list[nn.Module]:
            return [conv(2, n, width, kernel), nn.ReLU(inplace=True)]

        self.branches = nn.ModuleList(
            [
                nn.Sequential(*part(inputs, 1)),
                nn.Sequential(*part(inputs, 1), *part(width, 3)),
                nn.Sequential(*part(inputs, 1), *part(width, 5)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *part(inputs, 1)),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature maps, ``4 * width`` channels."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class InceptionNet(nn.Module):
    """Ais's InceptionNet: three modules of four branches of 64 channels; 550,529 parameters."""

    def __init__(self, context: int = 1, channels: int = 1, width: int = 64, modules: int = 3):
        super().__init__()
        inputs = [context, *(4 * width,) * (modules - 1)]
        self.body = nn.Sequential(*(Inception(n, width) for n in inputs))
        self.head = conv(2, 4 * width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.head(self.body(x))
        return logits


class Residual(nn.Module):
    """Two linear 3x3 convolutions in parallel with a 1x1 convolution; ReLU of their sum."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.branch = nn.Sequential(conv(2, inputs, outputs), conv(2, outputs, outputs))
        self.shortcut = conv(2, inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's features."""
        answer: torch.Tensor = self.branch(x)
        return answer.add(self.shortcut(x)).relu_()


class ResNet(nn.Module):
    """Ais's ResNet: residual blocks of 32, 64, 128, 256 and 512 channels.

    Parameters
    ----------
    context, channels
        Number of input slices, number of features.
    blocks
        5: the network of the paper (4,887,265 parameters); 4: that of the current program (1,215,457).
    """

    def __init__(self, context: int = 1, channels: int = 1, blocks: int = 5):
        super().__init__()
        widths = [32 * 2**n for n in range(blocks)]
        self.body = nn.Sequential(*(Residual(i, o) for i, o in zip([context, *widths], widths, strict=False)))
        self.head = conv(2, widths[-1], channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.head(self.body(x))
        return logits


def resnet_s(context: int = 1, channels: int = 1) -> ResNet:
    """ResNet with four blocks, as in the current Ais."""
    return ResNet(context, channels, blocks=4)
