"""A 2D U-Net of any width and depth, small enough to be trained on a CPU and to ship with a program.

Levels of two 3x3 convolutions, each followed by ReLU and batch normalisation; max pooling, transposed 2x2 convolutions
up, skips by concatenation (Ronneberger et al., MICCAI 2015), as Ais's UNet M is built. Input ``(batch, context, y,
x)``, answer ``(batch, channels, y, x)`` as logits; sides must be multiples of ``2 ** (levels - 1)``.

>>> sum(weights.numel() for weights in unet2d(5, 5).parameters())
1088381
"""

from __future__ import annotations

from volengine.nets.architectures.encdec import ConvUNet, plain_layout


def unet2d(context: int = 1, channels: int = 1, width: int = 24, levels: int = 4, dropout: float = 0.0) -> ConvUNet:
    """A U-Net.

    Parameters
    ----------
    context, channels
        Slices seen, features answered.
    width
        Feature maps of the finest level; doubled on each coarser one.
    levels
        Number of resolutions.
    dropout
        Share of features dropped in training behind each pooling and each concatenation.
    """
    return ConvUNet(plain_layout([width * 2**n for n in range(levels)], dropout=dropout), context, channels)
