"""Augmentation of the spectrum: a random gain per spatial frequency, and a missing wedge of random direction.

After MemBrain v2 (Lamm et al., bioRxiv 2024.01.05.574336, sections 2.3.2 and 2.3.3). Frequencies are in cycles per
voxel along each axis, so patches need not be cubes. The patch is assumed to be periodic. Mean and standard deviation
are restored, which scales all amplitudes except that of the mean by the same factor and does not change phases.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from volengine.nets.training.augment.geometry import rotation
from volengine.nets.training.augment.recipe import Fourier


def changed(how: Fourier, x: torch.Tensor, rng: np.random.Generator, volumetric: bool) -> torch.Tensor:
    """Apply the drawn effects to an image (slices or z, y, x): to its 3D spectrum, or in 2D to that of each slice."""
    if how.wedge_probability > 0 and rng.random() < how.wedge_probability:
        tilt = rng.uniform(*how.wedge_deg)
        axes = rotation(rng.uniform(-math.pi, math.pi, 3))
        along, beam = (axes[0], axes[1]) if volumetric else _in_plane(rng)
        shape = tuple(x.shape) if volumetric else tuple(x.shape[-2:])
        x = filtered(x, wedge(shape, tilt, along, beam).float())
    if how.amplitude_probability > 0 and rng.random() < how.amplitude_probability:
        shape = tuple(x.shape) if volumetric else tuple(x.shape[-2:])
        x = filtered(x, radial(shape, walk(max(shape) // 2, how.amplitude_sigma, rng)))
    return x


def _in_plane(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    angle = rng.uniform(-math.pi, math.pi)
    return np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])


def walk(length: int, sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random walk: x_0 = 1, x_{n+1} = |x_n + N(0, sigma^2)| (equations 3 to 5)."""
    steps = rng.normal(0.0, sigma, max(length, 1) - 1)
    values = [1.0]
    for step in steps:
        values.append(abs(values[-1] + step))
    return np.array(values)


def radial(shape: tuple[int, ...], gains: NDArray[np.float64]) -> torch.Tensor:
    """Gain at each frequency of the full spectrum.

    It is linear between ``gains``, which belong to frequencies from 0 to 1/2 cycles per voxel; higher frequencies, in
    the corners, have the last gain.
    """
    radius = torch.stack([f.expand(shape) ** 2 for f in _frequencies(shape)]).sum(0).sqrt()
    place = (radius * 2 * len(gains)).clamp(max=len(gains) - 1)
    table = torch.as_tensor(gains)
    low = place.floor().long()
    high = (low + 1).clamp(max=len(gains) - 1)
    return torch.lerp(table[low], table[high], place - low).float()


def wedge(
    shape: tuple[int, ...], tilt_deg: float, along: NDArray[np.float64], beam: NDArray[np.float64]
) -> torch.Tensor:
    """Mask of the frequencies that tilts up to ``tilt_deg`` measure (bool, full spectrum).

    Parameters
    ----------
    shape
        Shape of the patch, (z, y, x) or (y, x).
    tilt_deg
        Largest tilt angle, degrees.
    along, beam
        Unit vectors across the tilt axis in the untilted sample, and along the beam. A central section tilted by t
        holds the frequencies k with ``k·beam = tan(t) k·along``; those with ``|k·beam| > tan(tilt) |k·along|`` are
        missing.
    """

    def along_axis(parts: list[torch.Tensor], unit: NDArray[np.float64]) -> torch.Tensor:
        return torch.stack([f.expand(shape) * w for f, w in zip(parts, unit, strict=True)]).sum(0).abs()

    parts = _frequencies(shape)
    # The frequencies +1/2 and -1/2 are the same: both must be measured, so that the result is real.
    mirrored = [torch.where(f == -0.5, 0.5, f) for f in parts]
    kept = torch.ones(shape, dtype=torch.bool)
    for choice in range(2 ** len(shape)):
        signs = [(mirrored if choice >> a & 1 else parts)[a] for a in range(len(shape))]
        kept &= along_axis(signs, beam) <= math.tan(math.radians(tilt_deg)) * along_axis(signs, along) + 1e-12
    return kept


def _frequencies(shape: tuple[int, ...]) -> list[torch.Tensor]:
    """Cycles per voxel along each axis, broadcastable over the full spectrum."""
    axes = [torch.fft.fftfreq(n, dtype=torch.float64) for n in shape]
    return [f.reshape([-1 if a == b else 1 for b in range(len(shape))]) for a, f in enumerate(axes)]


def filtered(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Multiply the spectrum of an image by a symmetric, real gain, and restore mean and standard deviation.

    The spectrum is over the last axes, as many as ``gain`` has. A constant image is not changed.
    """
    axes = tuple(range(-gain.ndim, 0))
    mean = x.mean(axes, keepdim=True)
    std = (x - mean).std(axes, correction=0, keepdim=True)
    half = gain[..., : x.shape[-1] // 2 + 1].to(x.device)
    out = torch.fft.irfftn(torch.fft.rfftn(x - mean, dim=axes) * half, s=x.shape[-gain.ndim :], dim=axes)
    now = out.std(axes, correction=0, keepdim=True)
    factor = torch.where(now > 1e-6 * std, std / now, 1.0)
    restored: torch.Tensor = out * factor + mean
    return restored
