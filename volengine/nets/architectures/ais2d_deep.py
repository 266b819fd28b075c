"""Ais's deep 2D networks: UNet M and L, easymode 2D and Pom's U-Net, VGGNet L and X.

The input is ``(batch, context, y, x)``, the output ``(batch, channels, y, x)`` logits. Sides must be multiples of 16
(VGGNet X: 32). The layouts follow from the published descriptions, parameter counts and multiply-adds per pixel, which
a test checks: ReLU and batch normalisation follow every convolution of a level; transposed convolutions are linear and
not normalised. The exact places of dropout are not published; they change neither the counts nor predictions. Here
dropout follows each pooling and each concatenation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from volengine.nets.architectures.encdec import ConvUNet, UNetLayout, plain_layout
from volengine.nets.architectures.layers import conv, conv_chain, max_pool, up_conv


def unet_m(context: int = 1, channels: int = 1) -> ConvUNet:
    """Ais's UNet M: 32 to 512 channels, two convolutions per level; 7,771,297 parameters."""
    return ConvUNet(plain_layout((32, 64, 128, 256, 512), dropout=0.25), context, channels)


def unet_l(context: int = 1, channels: int = 1) -> ConvUNet:
    """Ais's UNet L: encoder 64, 128, 256, 512, 512, 1024; decoder 512, 512, 128, 64 channels; 38,791,489 parameters."""
    encoder = ((64, 64), (128, 128), (256, 512), (512, 512), (1024, 1024))
    decoder = ((512, 512), (512, 512), (128, 128), (64, 64))
    return ConvUNet(UNetLayout(encoder, decoder, bottom_dropout=0.5), context, channels)


def easymode_2d(context: int = 1, channels: int = 1) -> ConvUNet:
    """easymode's 2D U-Net: 64 to 1024 channels, three convolutions per level (decoder: two); 43,634,689 parameters."""
    return ConvUNet(plain_layout((64, 128, 256, 512, 1024), encoder_convs=3, dropout=0.25), context, channels)


def pom(context: int = 1, channels: int = 1) -> ConvUNet:
    """The U-Net of Ais's former cryoPom models: 64 to 1024 channels, two convolutions per level; 31,054,145 parameters.

    Its dropout is not published; it is that of UNet M here.
    """
    return ConvUNet(plain_layout((64, 128, 256, 512, 1024), dropout=0.25), context, channels)


DROPOUT = 0.25
"""Share of features that training drops after each pooling."""


class DeepVGGNet(nn.Module):
    """VGGNet with batch normalisation and without skip connections.

    The encoder has two convolutions and a pooling per level, the decoder a transposed 2x2 and one 3x3 convolution per
    level; a 1x1 convolution gives logits.

    Parameters
    ----------
    context, channels
        Number of input slices, number of features.
    widths
        Channels of the encoder's levels, the finest first.
    ups
        Channels of the decoder's levels, the coarsest first; as many as levels of the encoder.
    """

    def __init__(
        self,
        context: int = 1,
        channels: int = 1,
        widths: Sequence[int] = (128, 256, 512, 1024),
        ups: Sequence[int] = (1024, 512, 256, 128),
    ):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = context
        for width in widths:
            layers += [*conv_chain(2, inputs, (width, width)), max_pool(2), nn.Dropout(DROPOUT)]
            inputs = width
        for width in ups:
            layers += [up_conv(2, inputs, width), *conv_chain(2, width, (width,))]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.head = conv(2, inputs, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.head(self.body(x))
        return logits


def vggnet_l(context: int = 1, channels: int = 1) -> DeepVGGNet:
    """Ais's VGGNet L: 128 to 1024, four poolings; 38,239,489 parameters."""
    return DeepVGGNet(context, channels)


def vggnet_l_paper(context: int = 1, channels: int = 1) -> DeepVGGNet:
    """VGGNet L of the paper: encoder 128, 256, 512, 512; decoder 512, 512, 256, 128 channels; 17,521,921 parameters.

    Only the number of parameters is published; this is the layout in the style of VGGNet L that has it.
    """
    return DeepVGGNet(context, channels, (128, 256, 512, 512), (512, 512, 256, 128))


def vggnet_x(context: int = 1, channels: int = 1) -> DeepVGGNet:
    """Ais's VGGNet X: 64 to 1024, five poolings; 38,420,097 parameters."""
    return DeepVGGNet(context, channels, (64, 128, 256, 512, 1024), (1024, 512, 256, 128, 64))
