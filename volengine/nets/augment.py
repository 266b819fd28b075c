"""Augmentation that keeps voxels where they are: flips, right-angle turns in the plane, noise, contrast.

Images are (slices or z, y, x), labels (features, z, y, x); whatever moves the image moves the label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """How strongly samples are changed; zeros change nothing.

    Parameters
    ----------
    flips
        Mirror along each axis with probability 1/2 (z as well: tomograms have no preferred hand for a network). An
        even number of context slices has no middle and is not mirrored along z.
    turns
        Turn by a random multiple of 90 degrees in the plane (square patches only; else by 180).
    noise
        Largest standard deviation of added Gaussian noise, in units of the normalised image.
    contrast, brightness
        Largest relative and absolute change of the grey values.
    """

    flips: bool = True
    turns: bool = True
    noise: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0

    def __call__(self, image: Image, labels: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
        """A changed sample (new arrays)."""
        if self.flips:
            context = image.shape[0] != labels.shape[1]
            for axis in (-2, -1) if context and image.shape[0] % 2 == 0 else (-3, -2, -1):
                if rng.random() < 0.5:
                    image, labels = np.flip(image, axis), np.flip(labels, axis)
        if self.turns:
            square = image.shape[-1] == image.shape[-2]
            k = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
            image, labels = np.rot90(image, k, (-2, -1)), np.rot90(labels, k, (-2, -1))
        image = image.astype(np.float32, copy=True)
        if self.contrast:
            image *= 1 + np.float32(rng.uniform(-self.contrast, self.contrast))
        if self.brightness:
            image += np.float32(rng.uniform(-self.brightness, self.brightness))
        if self.noise:
            sigma = np.float32(rng.uniform(0, self.noise))
            image += sigma * rng.standard_normal(image.shape, dtype=np.float32)
        return image, np.ascontiguousarray(labels)
