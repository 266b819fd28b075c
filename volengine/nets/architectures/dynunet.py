"""MemBrain's 3D U-Net: MONAI's DynUNet with the arguments of membrain-seg (extra ``membrain``).

After Lamm et al., bioRxiv 2024.01.05.574336, and the nnU-Net (Isensee et al., Nature Methods 18:203, 2021): six levels
of 32 to 1024 channels, residual blocks with instance normalisation in the encoder, plain blocks in the decoder, two
heads for deep supervision; 91,181,859 parameters. Sides must be multiples of 32. MONAI registers its layers twice (the
second time in the nested modules that it runs); this module registers them once, as 95 tensors with the names that
follow ``_model.`` in a membrain-seg checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from volengine.core.errors import require

FILTERS = (32, 64, 128, 256, 512, 1024)


class MembrainUNet(nn.Module):
    """MemBrain's 3D U-Net.

    The input is ``(batch, 1, z, y, x)``. In evaluation mode the output is ``(batch, channels, z, y, x)`` logits; in
    training mode it is a list of logits at full, half and quarter resolution.

    Parameters
    ----------
    channels
        Number of features.
    filters
        Channels of the levels, the finest first.

    Raises
    ------
    DependencyError
        MONAI is not installed.
    """

    def __init__(self, channels: int = 1, filters: Sequence[int] = FILTERS):
        super().__init__()
        try:
            from monai.networks.nets import DynUNet
        except ImportError as error:
            raise require("monai", "membrain", "MemBrain's network") from error
        steps = len(filters) - 1
        net = DynUNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=channels,
            kernel_size=(3,) * (steps + 1),
            strides=(1, *(2,) * steps),
            upsample_kernel_size=(2,) * steps,
            filters=tuple(filters),
            res_block=True,
            deep_supervision=True,
            deep_supr_num=2,
        )
        self.input_block = net.input_block
        self.downsamples = net.downsamples
        self.bottleneck = net.bottleneck
        self.upsamples = net.upsamples
        self.output_block = net.output_block
        self.deep_supervision_heads = net.deep_supervision_heads

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits; in training mode of three resolutions, the full one first."""
        skips = [self.input_block(x)]
        for block in self.downsamples:
            skips.append(block(skips[-1]))
        x = self.bottleneck(skips[-1])
        features = []
        for block, skip in zip(self.upsamples, reversed(skips), strict=True):
            x = block(x, skip)
            features.append(x)
        logits: torch.Tensor = self.output_block(x)
        if not self.training:
            return logits
        coarser = reversed(features[:-1])
        return [logits, *(head(f) for head, f in zip(self.deep_supervision_heads, coarser, strict=False))]
