"""easymode's 3D residual U-Nets (mgflast/easymode, ``segmentation/models`` and ``n2n/model.py``, July 2026).

The input is ``(batch, 1, z, y, x)``; the sides are multiples of 2 to the number of levels less one. Each level of the
encoder is a strided 3x3x3 convolution (not the first level) and a residual block; each level of the decoder is a
transposed 2x2x2 convolution, the skip connection behind it, and a residual block. Every convolution has a normalisation
behind it and no bias, as in Keras, whose layers these are: *same* padding puts the odd zero at the end, and 1e-3 is
added to variances.

With group normalisation (8 groups) an answer depends on its whole patch. With batch normalisation it does not.

=======================  ======================  =====  ===========
network                  channels                norm   weights
=======================  ======================  =====  ===========
unet_membrain            32, 64, ... 1024        batch  128,917,537
unet_membrain_groupnorm  32, 64, ... 1024        group  128,897,505
unet_easymode            32, 64, 128, 256        group  7,968,225
unet_easymode_deeper     32, 64, 128, 192, 256   group  14,454,881
easymode_denoise         32, 64, 128, 256        batch  7,972,896
=======================  ======================  =====  ===========
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from volengine.core.errors import InputError
from volengine.nets.architectures.layers import KERAS_EPSILON, same_padding

Norm = Literal["batch", "group"]
GROUPS = 8
MEMBRAIN = (32, 64, 128, 256, 512, 1024)


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm3d(channels, eps=KERAS_EPSILON, momentum=0.01)
    return nn.GroupNorm(min(GROUPS, channels), channels, eps=KERAS_EPSILON)


class Residual(nn.Module):
    """conv, norm, ReLU, conv, norm; plus the input, through a 1x1x1 convolution if the channels differ; ReLU.

    The layers are registered in the order in which Keras stores their weights.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = _norm(norm, outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = _norm(norm, outputs)
        self.skip = nn.Sequential()
        if inputs != outputs:
            self.skip = nn.Sequential(nn.Conv3d(inputs, outputs, 1, bias=False), _norm(norm, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's features."""
        main = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        answer: torch.Tensor = F.relu(main + self.skip(x))
        return answer


class Encoder(nn.Module):
    """A level of the encoder; ``stride`` 1 or 2."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, stride: int):
        super().__init__()
        self.stride = stride
        if stride > 1:
            self.down = nn.Conv3d(inputs, outputs, 3, stride, bias=False)
            self.down_norm = _norm(norm, outputs)
        self.block = Residual(outputs if stride > 1 else inputs, outputs, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The features of the level."""
        if self.stride > 1:
            pads = [n for side in reversed(x.shape[2:]) for n in same_padding(side, kernel=3, stride=self.stride)]
            x = F.relu(self.down_norm(self.down(F.pad(x, pads))))
        answer: torch.Tensor = self.block(x)
        return answer


class Decoder(nn.Module):
    """A level of the decoder: up by 2, the skip connection behind, a residual block."""

    def __init__(self, inputs: int, outputs: int, norm: Norm):
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, outputs, 2, 2, bias=False)
        self.up_norm = _norm(norm, outputs)
        self.block = Residual(2 * outputs, outputs, norm)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """The features of the level."""
        x = F.relu(self.up_norm(self.up(x)))
        answer: torch.Tensor = self.block(torch.cat([x, skip], 1))
        return answer


class EasymodeUNet(nn.Module):
    """A 3D residual U-Net of easymode.

    Parameters
    ----------
    channels
        Number of features.
    filters
        Channels of the levels, the finest first.
    norm
        ``batch`` or ``group``.
    denoise
        The answer is the input less the network's last convolution, which then has no bias; otherwise it is logits.

    Raises
    ------
    InputError
        There is no such normalisation.
    """

    def __init__(
        self, channels: int = 1, filters: Sequence[int] = MEMBRAIN, norm: Norm = "group", denoise: bool = False
    ):
        super().__init__()
        if norm not in ("batch", "group"):
            raise InputError(f"EasymodeUNet: norm is batch or group, not {norm!r}.")
        self.denoise = denoise
        widths = tuple(filters)
        self.encoders = nn.ModuleList([Encoder(1, widths[0], norm, 1)])
        self.encoders.extend(Encoder(fine, coarse, norm, 2) for fine, coarse in pairwise(widths))
        self.decoders = nn.ModuleList(Decoder(coarse, fine, norm) for fine, coarse in reversed([*pairwise(widths)]))
        self.output = nn.Conv3d(widths[0], channels, 1, bias=not denoise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, or the input without noise; (batch, channels, z, y, x)."""
        given, skips = x, []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
        for decoder, skip in zip(self.decoders, reversed(skips[:-1]), strict=True):
            x = decoder(x, skip)
        answer: torch.Tensor = self.output(x)
        return given - answer if self.denoise else answer


def unet_membrain(channels: int = 1) -> EasymodeUNet:
    """easymode's ``unet-membrain`` (``old``): six levels, batch normalisation."""
    return EasymodeUNet(channels, MEMBRAIN, "batch")


def unet_membrain_groupnorm(channels: int = 1) -> EasymodeUNet:
    """easymode's ``unet-membrain-groupnorm`` (``current``), and ``-sgd``: six levels, group normalisation."""
    return EasymodeUNet(channels, MEMBRAIN, "group")


def unet_easymode(channels: int = 1) -> EasymodeUNet:
    """easymode's ``unet-easymode`` (``lite``): four levels, group normalisation."""
    return EasymodeUNet(channels, (32, 64, 128, 256), "group")


def unet_easymode_deeper(channels: int = 1) -> EasymodeUNet:
    """easymode's ``unet-easymode-deeper``: five levels, group normalisation."""
    return EasymodeUNet(channels, (32, 64, 128, 192, 256), "group")


def easymode_denoise(channels: int = 1) -> EasymodeUNet:
    """easymode's networks ``n2n``, ``ddw`` and ``iso``, which remove noise: four levels, batch normalisation."""
    return EasymodeUNet(channels, (32, 64, 128, 256), "batch", denoise=True)
