"""Pix2pix: a U-Net generator with strided 4x4 convolutions, and its discriminator, a PatchGAN.

After Isola et al., CVPR 2017, in the form of Ais. The encoder has convolutions with stride 2, leaky ReLU (0.2) and
batch normalisation. The decoder has nearest upsampling, 4x4 convolution, ReLU, batch normalisation and concatenation
with the encoder's features; a 4x4 convolution gives logits. Batch normalisation keeps 0.8 of its running moments. 4x4
convolutions of stride 1 pad one zero before and two after, as Keras does. According to the parameter counts, the first
level is normalised in the paper's network (Table 1: 29,249,409 parameters), and not in the current one. The loss of the
generator is the output of ``PatchGAN`` (least squares) plus the distance to the labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from volengine.nets.architectures.layers import batch_norm, conv

KEEP = 0.8
SLOPE = 0.2


def _down(inputs: int, outputs: int, norm: bool) -> nn.Sequential:
    layers = [conv(2, inputs, outputs, 4, 2), nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers, *([batch_norm(2, outputs, keep=KEEP)] if norm else []))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        conv(2, inputs, outputs, 4),
        nn.ReLU(inplace=True),
        batch_norm(2, outputs, keep=KEEP),
    )


class Pix2pix(nn.Module):
    """The generator.

    The input is ``(batch, context, y, x)`` with sides that are multiples of ``2 ** len(widths)``, the output
    ``(batch, channels, y, x)`` logits.

    Parameters
    ----------
    context, channels
        Number of input slices, number of features.
    widths
        Channels of the encoder's levels, each with half the resolution of the previous one.
    norm_first
        Whether the first level is batch-normalised.
    """

    def __init__(
        self,
        context: int = 1,
        channels: int = 1,
        widths: Sequence[int] = (64, 128, 256, 512, 512, 512),
        norm_first: bool = True,
    ):
        super().__init__()
        inputs = [context, *widths[:-1]]
        self.down = nn.ModuleList(
            _down(i, o, level > 0 or norm_first) for level, (i, o) in enumerate(zip(inputs, widths, strict=True))
        )
        self.up = nn.ModuleList()
        width = widths[-1]
        for skip in reversed(widths[:-1]):
            self.up.append(_up(width, skip))
            width = 2 * skip
        self.head = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv(2, width, channels, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = torch.cat([block(x), skip], 1)
        logits: torch.Tensor = self.head(x)
        return logits


def pix2pix_s(context: int = 1, channels: int = 1) -> Pix2pix:
    """The generator with five levels, as in the current Ais; 16,661,121 parameters."""
    return Pix2pix(context, channels, (64, 128, 256, 512, 512), norm_first=False)


class PatchGAN(nn.Module):
    """The discriminator, which distinguishes labels from predictions patch by patch; 2,767,297 parameters.

    ``forward(x, answer)`` takes the input ``(batch, context, y, x)`` and labels or probabilities ``(batch, channels, y,
    x)``, and returns ``(batch, 1, y / 16, x / 16)``: near 1 for labels, near 0 for predictions (no activation, as the
    loss is least squares).
    """

    def __init__(self, context: int = 1, channels: int = 1):
        super().__init__()
        widths = (64, 128, 256, 512)
        inputs = (context + channels, *widths[:-1])
        layers = zip(inputs, widths, strict=True)
        self.body = nn.Sequential(*(_down(i, o, level > 0) for level, (i, o) in enumerate(layers)))
        self.head = conv(2, widths[-1], 1, 4)

    def forward(self, x: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """The discriminator's output."""
        verdict: torch.Tensor = self.head(self.body(torch.cat([x, answer], 1)))
        return verdict
