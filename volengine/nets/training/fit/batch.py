"""Samples as tensors: a batch of images and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from volengine.core.errors import InputError

Sample = tuple[Any, Any] | tuple[Any, Any, str]
"""Image (slices or z, y, x) float32; labels (features, z, y, x) uint8, or float32 for a regression; arrays or tensors.
For losses that apply to some datasets only, also the name of the sample's dataset."""


class Batch(NamedTuple):
    """Images (n, channels, ...), labels (n, features, ...), and the name of each sample's dataset."""

    images: torch.Tensor
    labels: torch.Tensor
    datasets: list[str]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(self.images.to(device), self.labels.to(device), self.datasets)


def batch_of(samples: Sequence[Sample], *, volumetric: bool) -> Batch:
    """Put samples of one shape together, on the device where they are.

    Raises
    ------
    InputError
        The image of a sample contains NaN or infinity.
    """
    images = torch.stack([torch.as_tensor(s[0]) for s in samples])
    labels = torch.stack([torch.as_tensor(s[1]) for s in samples])
    datasets = [s[2] if len(s) > 2 else "" for s in samples]
    if not torch.isfinite(images).all():
        bad = next(n for n, x in zip(datasets, images, strict=True) if not torch.isfinite(x).all()) or "a sample"
        raise InputError(f"A patch of {bad} holds voxels that are not finite (NaN or infinity); replace them first.")
    if volumetric:
        images = images.unsqueeze(1).contiguous(memory_format=torch.channels_last_3d)
    else:
        labels = labels.squeeze(2)
    return Batch(images, labels, datasets)
