"""A 2D U-Net of any width and depth, small enough to be trained on a CPU and to ship with a program.

Each level has two 3x3 convolutions, each followed by ReLU and batch normalisation; the encoder has max pooling, the
decoder transposed 2x2 convolutions and skip connections by concatenation (Ronneberger et al., MICCAI 2015), as in Ais's
UNet M. The input is ``(batch, context, y, x)``, the output ``(batch, channels, y, x)`` logits; sides must be multiples
of ``2 ** (levels - 1)``.

>>> from volengine.nets.registry import parameters
>>> parameters(unet2d(5, 5))
1088381
"""

from __future__ import annotations

from volengine.nets.architectures.encdec import ConvUNet, plain_layout


def unet2d(context: int = 1, channels: int = 1, width: int = 24, levels: int = 4, dropout: float = 0.0) -> ConvUNet:
    """Build the U-Net.

    Parameters
    ----------
    context, channels
        Number of input slices, number of features.
    width
        Channels of the finest level; they double on each coarser level.
    levels
        Number of resolutions.
    dropout
        Share of features that training drops after each pooling and each concatenation.
    """
    return ConvUNet(plain_layout([width * 2**n for n in range(levels)], dropout=dropout), context, channels)
