"""U-Nets with batch normalisation and transposed convolutions, in 2D and 3D, from a table of their widths.

One class builds the deep U-Nets of Ais's library (:mod:`volengine.nets.architectures.ais2d_deep`,
:mod:`volengine.nets.architectures.ais3d`). A level of the encoder is a chain of convolutions (ReLU, then batch
normalisation), dropout and pooling. A level of the decoder is a transposed convolution whose kernel equals its stride,
concatenation with the encoder's features, dropout, and a chain of convolutions. A last 1x1 convolution gives logits.

>>> layout = UNetLayout(encoder=((8, 8), (16, 16)), decoder=((8, 8),))
>>> ConvUNet(layout, 1, 2)(torch.zeros(1, 1, 6, 8)).shape
torch.Size([1, 2, 6, 8])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from volengine.nets.architectures.layers import conv, conv_chain, max_pool, up_conv

Kernel = int | tuple[int, ...]


@dataclass(frozen=True)
class UNetLayout:
    """The layout of a U-Net.

    Parameters
    ----------
    encoder
        For each level, the finest first, the output channels of its convolutions; the last level is the bottom.
    decoder
        For each level, the coarsest first, the output channels of its convolutions; the transposed convolution before
        them has as many as the first.
    ndim
        2 or 3.
    pools
        Pooling factor between neighbouring levels, the finest first; empty: 2 along all axes.
    kernels
        For each level of the encoder, the kernels of its convolutions; empty: 3 everywhere.
    decoder_kernels
        For each level of the decoder, the kernels of its convolutions.
    dropout
        Share of features that training drops after each level of the encoder except the bottom, and before each level
        of the decoder.
    bottom_dropout
        Share of features that training drops after the bottom level.
    """

    encoder: tuple[tuple[int, ...], ...]
    decoder: tuple[tuple[int, ...], ...]
    ndim: int = 2
    pools: tuple[Kernel, ...] = ()
    kernels: tuple[tuple[Kernel, ...], ...] = field(default=())
    decoder_kernels: tuple[tuple[Kernel, ...], ...] = field(default=())
    dropout: float = 0.0
    bottom_dropout: float = 0.0


def plain_layout(widths: Sequence[int], *, encoder_convs: int = 2, dropout: float = 0.0) -> UNetLayout:
    """Layout of a 2D U-Net with ``encoder_convs`` convolutions per level of the encoder, and two in the decoder."""
    return UNetLayout(
        encoder=tuple((w,) * encoder_convs for w in widths),
        decoder=tuple((w,) * 2 for w in reversed(widths[:-1])),
        dropout=dropout,
    )


class ConvUNet(nn.Module):
    """A U-Net with a given layout.

    Parameters
    ----------
    layout
        Widths, kernels, poolings, dropout.
    inputs
        Input channels: number of slices in 2D, 1 in 3D.
    channels
        Number of features.
    """

    def __init__(self, layout: UNetLayout, inputs: int, channels: int):
        super().__init__()
        ndim, steps = layout.ndim, len(layout.decoder)
        pools = layout.pools or (2,) * steps
        kernels = layout.kernels or ((),) * len(layout.encoder)
        upper = layout.decoder_kernels or ((),) * steps
        self.down = nn.ModuleList()
        for widths, sizes in zip(layout.encoder, kernels, strict=True):
            self.down.append(conv_chain(ndim, inputs, widths, sizes))
            inputs = widths[-1]
        self.pool = nn.ModuleList(max_pool(ndim, factor) for factor in pools)
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        skips = [widths[-1] for widths in layout.encoder[-2::-1]]
        for widths, skip, factor, sizes in zip(layout.decoder, skips, reversed(pools), upper, strict=True):
            self.grow.append(up_conv(ndim, inputs, widths[0], factor))
            self.up.append(conv_chain(ndim, widths[0] + skip, widths, sizes))
            inputs = widths[-1]
        self.head = conv(ndim, inputs, channels, 1)
        self.drop = nn.Dropout(layout.dropout)
        self.bottom_drop = nn.Dropout(layout.bottom_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        skips = []
        for block, pool in zip(self.down, self.pool, strict=False):
            x = block(x)
            skips.append(x)
            x = self.drop(pool(x))
        x = self.bottom_drop(self.down[-1](x))
        for grow, block, skip in zip(self.grow, self.up, reversed(skips), strict=True):
            x = block(self.drop(torch.cat([grow(x), skip], 1)))
        logits: torch.Tensor = self.head(x)
        return logits
