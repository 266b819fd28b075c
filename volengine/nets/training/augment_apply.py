"""The order in which an :class:`~volengine.nets.training.augment.Augmentation` changes a sample.

Mirrors, right angles, exchanged axes; rotation with zoom; the spectrum; then grey values: blur or median, low
resolution, contrast, brightness, gamma, gradient, local gamma, sharpening, noise, erasing. An effect draws from the
generator only where its probability is not 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from volengine.core.errors import InputError
from volengine.nets.training import augment_fourier, augment_geometry, augment_greys
from volengine.nets.training.augment import Augmentation


def augmented(how: Augmentation, image: Any, labels: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """See :meth:`volengine.nets.training.augment.Augmentation.__call__`."""
    arrays = isinstance(image, np.ndarray)
    x, y = torch.as_tensor(image), torch.as_tensor(labels)
    if x.ndim != 3 or y.ndim != 4 or x.shape[1:] != y.shape[2:] or y.shape[1] not in (1, x.shape[0]):
        raise InputError(
            f"An image {tuple(x.shape)} and labels {tuple(y.shape)} are no sample: (slices or z, y, x) and "
            "(features, z or 1, y, x) are."
        )
    volumetric = y.shape[1] == x.shape[0] > 1
    x = x.to(torch.float32)
    x, y = augment_geometry.rigid(how, x, y, rng)
    x, y = augment_geometry.resampled(how.geometry, x, y, rng, volumetric)
    x = augment_fourier.changed(how.fourier, x, rng, volumetric)
    x = _simple(how, x, rng)
    x = augment_greys.changed(how.greys, x, rng, volumetric)
    x, y = _own(x, image), _own(y, labels)
    return (x.numpy(), y.numpy()) if arrays else (x, y)


def stacked(some: list[Any]) -> Any:
    """A batch of arrays or of tensors."""
    return np.stack(some) if isinstance(some[0], np.ndarray) else torch.stack(some)


def _simple(how: Augmentation, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Contrast, brightness and noise that every sample gets; numbers are rounded to float32 first."""
    if how.contrast:
        x = x * float(1 + np.float32(rng.uniform(-how.contrast, how.contrast)))
    if how.brightness:
        x = x + float(np.float32(rng.uniform(-how.brightness, how.brightness)))
    if how.noise:
        sigma = float(np.float32(rng.uniform(0, how.noise)))
        x = x + sigma * augment_greys.normal(x, rng)
    return x


def _own(tensor: torch.Tensor, given: Any) -> torch.Tensor:
    """Contiguous, and not the memory of what was given."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() == torch.as_tensor(given).data_ptr() else tensor
