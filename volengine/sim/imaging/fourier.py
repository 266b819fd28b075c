"""Fourier filters for images: padding, frequencies, and the transforms in both directions.

The image is padded with zeros, so that a filter does not wrap around from one side to the other. Filters are functions
of k^2 alone; :class:`Plane` therefore keeps k^2 for one quarter of the frequency plane only, the rest is symmetric.

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
    """Convert an image to float32 and check it.

    Parameters
    ----------
    image
        (y, x), real.
    what
        What the message calls it.

    Returns
    -------
    (y, x) float32; the same array if it is float32 already.

    Raises
    ------
    InputError
        The array is not two-dimensional, is empty or complex, or has values that are not finite.
    """
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
    """Return a voxel size (angstrom) as float; raise :class:`InputError` if it is not a positive number."""
    if not (math.isfinite(voxel_a) and voxel_a > 0):
        raise InputError(f"The voxel size is {voxel_a:g} A; it must be positive.")
    return float(voxel_a)


@dataclass(frozen=True, eq=False)
class Plane:
    """The Fourier transform, with padding, of images of one shape.

    Parameters
    ----------
    shape
        Shape of the image, (y, x), pixels.
    voxel_a
        Pixel size, angstrom.
    pad_vox
        Smallest number of pixels added to each axis: at least the reach of the filter. Both sides of the image share
        this padding, because the transform is periodic.
    """

    shape: tuple[int, int]
    voxel_a: float
    pad_vox: int = 0

    @cached_property
    def padded(self) -> tuple[int, int]:
        """Shape of the padded image (y, x), pixels: the next lengths that the FFT computes fast."""
        y, x = (int(scipy.fft.next_fast_len(n + self.pad_vox, real=True)) for n in self.shape)
        return y, x

    @cached_property
    def k2(self) -> Floats:
        """Squared frequencies, 1/A^2, of the quarter plane: (y // 2 + 1, x // 2 + 1) float64, of the padded shape."""
        y, x = (scipy.fft.rfftfreq(n, self.voxel_a) ** 2 for n in self.padded)
        squared: Floats = y[:, None] + x
        return squared

    def whole(self, quarter: Floats) -> Image:
        """Expand a filter from the quarter plane to the half plane of a real FFT.

        Values are rounded to multiples of 2^-22: the last bits of vectorised sines and exponentials differ between
        machines, and images must not.

        Parameters
        ----------
        quarter
            (y // 2 + 1, x // 2 + 1): the filter at the frequencies of :attr:`k2`.

        Returns
        -------
        (y, x // 2 + 1) float32, of the padded shape.
        """
        rounded = (np.rint(quarter * 2.0**22) * 2.0**-22).astype(np.float32)
        rows = np.arange(self.padded[0])
        mirrored: Image = rounded[np.minimum(rows, self.padded[0] - rows)]
        return mirrored

    def forward(self, image: Image) -> Waves:
        """Transform an image (y, x), padded with zeros: its half-plane spectrum, complex64."""
        along_x = scipy.fft.rfft(image, self.padded[1], axis=1)
        waves: Waves = scipy.fft.fft(along_x, self.padded[0], axis=0, overwrite_x=True)
        return waves

    def inverse(self, waves: Waves) -> Image:
        """Transform a half-plane spectrum back to the image (y, x) float32, without the padding."""
        rows = scipy.fft.ifft(waves, axis=0)[: self.shape[0]]
        image: Image = scipy.fft.irfft(rows, self.padded[1], axis=1)[:, : self.shape[1]]
        return image

    def filtered(self, image: Image, quarter: Floats) -> Image:
        """Filter an image (y, x); the filter is given on the quarter plane."""
        return self.inverse(self.forward(image) * self.whole(quarter))
