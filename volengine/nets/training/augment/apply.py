"""Apply an :class:`~volengine.nets.training.augment.recipe.Augmentation` to a sample.

The order is: flips, quarter turns, exchanged axes; rotation with zoom; the spectrum; then grey values: blur or median,
low resolution, contrast, brightness, gamma, gradient, local gamma, sharpening, noise, erasing. An effect draws from the
generator only if its probability is not 0.

>>> import numpy as np
>>> from volengine.nets.training.augment.recipe import preset
>>> image, labels = np.zeros((8, 8, 8), np.float32), np.zeros((1, 8, 8, 8), np.uint8)
>>> augmented(preset("membrain"), image, labels, np.random.default_rng(0))[0].shape
(8, 8, 8)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from volengine.core.errors import InputError
from volengine.nets.training.augment import fourier, geometry, greys
from volengine.nets.training.augment.recipe import Augmentation


def augmented(how: Augmentation, image: Any, labels: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Augment a sample.

    Parameters
    ----------
    how
        What is changed, and how strongly.
    image
        float32 (slices or z, y, x), normalised to a mean near 0 and a standard deviation near 1. Array or tensor.
    labels
        uint8 (features, z, y, x): 0, 1, 2 = ignore; or float32, the target of a regression. Array or tensor.
    rng
        Source of all random numbers.

    Returns
    -------
    image, labels
        New contiguous arrays or tensors, with the type and shape of the given ones.

    Raises
    ------
    InputError
        Image and labels differ in y and x, or in the number of axes.
    """
    arrays = isinstance(image, np.ndarray)
    x, y = torch.as_tensor(image), torch.as_tensor(labels)
    if x.ndim != 3 or y.ndim != 4 or x.shape[1:] != y.shape[2:] or y.shape[1] not in (1, x.shape[0]):
        raise InputError(
            f"An image {tuple(x.shape)} and labels {tuple(y.shape)} are no sample: (slices or z, y, x) and "
            "(features, z or 1, y, x) are."
        )
    volumetric = y.shape[1] == x.shape[0] > 1
    x = x.to(torch.float32)
    x, y = geometry.rigid(how, x, y, rng)
    x, y = geometry.resampled(how.geometry, x, y, rng, volumetric)
    x = fourier.changed(how.fourier, x, rng, volumetric)
    x = _simple(how, x, rng)
    x = greys.changed(how.greys, x, rng, volumetric)
    x, y = _own(x, image), _own(y, labels)
    return (x.numpy(), y.numpy()) if arrays else (x, y)


def _simple(how: Augmentation, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change contrast and brightness and add noise, as in every sample; random numbers are rounded to float32 first."""
    if how.contrast:
        x = x * float(1 + np.float32(rng.uniform(-how.contrast, how.contrast)))
    if how.brightness:
        x = x + float(np.float32(rng.uniform(-how.brightness, how.brightness)))
    if how.noise:
        sigma = float(np.float32(rng.uniform(0, how.noise)))
        x = x + sigma * greys.normal(x, rng)
    return x


def _own(tensor: torch.Tensor, given: Any) -> torch.Tensor:
    """A contiguous tensor that does not share the memory of the given one."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() == torch.as_tensor(given).data_ptr() else tensor
