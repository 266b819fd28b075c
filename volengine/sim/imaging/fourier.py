"""Filters of images: a plane with room around the image, its frequencies, and the way there and back.

The image is set into a larger plane that is 0 elsewhere, so that a filter does not wrap from one side to the other.
A filter is a function of k^2 alone; :class:`Plane` holds k^2 on a quarter of the plane, as the rest mirrors it.

>>> import numpy as np
>>> plane = Plane((5, 7), voxel_a=2.0, pad_vox=3)
>>> image = np.arange(35, dtype=np.float32).reshape(5, 7)
>>> same = plane.inverse(plane.forward(image) * plane.whole(np.ones_like(plane.k2)))
>>> bool(np.allclose(same, image, atol=1e-5))
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Waves = NDArray[np.complex64]


def checked_image(image: ArrayLike, what: str = "The image") -> Image:
    """The image as float32 (y, x), or :class:`InputError` if it has other axes, no pixel, or values not finite."""
    array = np.asarray(image)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{what} has the shape {array.shape}; it must be (y, x) with one pixel or more.")
    if np.iscomplexobj(array):
        raise InputError(f"{what} is complex; it must be real.")
    array = array.astype(np.float32, copy=False)
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise InputError(f"{what} has {bad} of {array.size} pixels that are not finite; mend them before imaging.")
    return array


def checked_voxel(voxel_a: float) -> float:
    """The voxel size, or :class:`InputError` if it is none."""
    if not (math.isfinite(voxel_a) and voxel_a > 0):
        raise InputError(f"The voxel size is {voxel_a:g} A; it must be positive.")
    return float(voxel_a)


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of frequencies for images of one shape.

    Parameters
    ----------
    shape
        Of the image, (y, x), pixels.
    voxel_a
        Pixel size, angstrom.
    pad_vox
        Pixels of room on either axis, at least: the reach of the filter. One room serves both sides.
    """

    shape: tuple[int, int]
    voxel_a: float
    pad_vox: int = 0

    @cached_property
    def padded(self) -> tuple[int, int]:
        """Shape of the plane (y, x)."""
        y, x = (int(scipy.fft.next_fast_len(n + self.pad_vox, real=True)) for n in self.shape)
        return y, x

    @cached_property
    def k2(self) -> Floats:
        """Squared frequency, 1/A^2, of the quarter plane (y // 2 + 1, x // 2 + 1)."""
        y, x = (scipy.fft.rfftfreq(n, self.voxel_a) ** 2 for n in self.padded)
        squared: Floats = y[:, None] + x
        return squared

    def whole(self, quarter: Floats) -> Image:
        """A filter on the half plane (y, x // 2 + 1) of a real FFT, from its values on the quarter plane.

        Values are rounded to 2^-22: vectorised sines and exponentials differ in their last bits from one machine
        to the next, and images must not.
        """
        rounded = (np.rint(quarter * 2.0**22) * 2.0**-22).astype(np.float32)
        rows = np.arange(self.padded[0])
        mirrored: Image = rounded[np.minimum(rows, self.padded[0] - rows)]
        return mirrored

    def forward(self, image: Image) -> Waves:
        """Half-plane spectrum of an image, with zeros around it."""
        along_x = scipy.fft.rfft(image, self.padded[1], axis=1)
        waves: Waves = scipy.fft.fft(along_x, self.padded[0], axis=0, overwrite_x=True)
        return waves

    def inverse(self, waves: Waves) -> Image:
        """The image (y, x) of a half-plane spectrum; the room around it is dropped."""
        rows = scipy.fft.ifft(waves, axis=0)[: self.shape[0]]
        image: Image = scipy.fft.irfft(rows, self.padded[1], axis=1)[:, : self.shape[1]]
        return image

    def filtered(self, image: Image, quarter: Floats) -> Image:
        """An image times a filter given on the quarter plane."""
        return self.inverse(self.forward(image) * self.whole(quarter))
