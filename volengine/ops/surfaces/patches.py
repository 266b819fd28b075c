"""Patches of a tomogram around places on a surface, on a cylinder about the normal: height, radius, angle.

A rotation about the normal by one step of the angle is a shift of the patch by one place, so a correlation over all
rotations is one Fourier transform, and a network that shifts its filters around the ring sees every rotation alike.

>>> grid = Cylinder(heights=(0.0, 10.0), radii=(0.0, 10.0), angles=8)
>>> grid.shape, grid.offsets().shape
((2, 2, 8), (2, 2, 8, 3))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.ops.surfaces.points import tangents

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cylinder:
    """Places around an axis.

    Parameters
    ----------
    heights
        Distances along the axis, angstrom, rising.
    radii
        Distances from the axis, angstrom, from 0 in equal steps.
    angles
        Number of angles, equally far apart; the first is the direction of the particle's x axis, and they turn towards
        its y axis.
    """

    heights: tuple[float, ...]
    radii: tuple[float, ...]
    angles: int

    def __post_init__(self) -> None:
        if not self.heights or not self.radii or self.angles < 1:
            raise InputError("A cylinder needs heights, radii and angles, at least one of each.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of heights, radii, angles."""
        return len(self.heights), len(self.radii), self.angles

    @property
    def step_deg(self) -> float:
        """Degrees from one angle to the next."""
        return 360.0 / self.angles

    def offsets(self) -> Floats:
        """(heights, radii, angles, 3) places in the particle's own frame, x, y, z, angstrom."""
        turn = np.arange(self.angles) * (2 * np.pi / self.angles)
        height, radius, angle = np.meshgrid(self.heights, self.radii, turn, indexing="ij")
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1)

    def volumes(self) -> Floats:
        """(heights, radii, angles) share of space of each place; they add up to 1."""
        radii = np.asarray(self.radii)
        half = 0.5 * (radii[1] - radii[0]) if len(radii) > 1 else 1.0
        ring = (radii + half) ** 2 - np.maximum(radii - half, 0) ** 2
        found = np.broadcast_to(ring[None, :, None], self.shape)
        return np.asarray(found / found.sum(), np.float64)


def places_around(place: Floats, normal: Floats, grid: Cylinder) -> Floats:
    """(n, heights, radii, angles, 3) places around points of a surface, angstrom, z, y, x.

    Parameters
    ----------
    place, normal
        (n, 3) each, z, y, x.
    grid
        The cylinder; its axis is the normal, its first angle the x axis of a particle with rot = 0.
    """
    x_axis, y_axis = tangents(normal)
    frame = np.stack([x_axis, y_axis, normal], axis=1)  # n, axis of the particle, zyx
    found: Floats = place[:, None, None, None] + np.einsum("hrap,npk->nhrak", grid.offsets(), frame)
    return found


def correlations(patches: Floats, template: Floats, weights: Floats) -> Floats:
    """Normalised cross-correlation of patches with a template, for every rotation about the axis.

    Parameters
    ----------
    patches
        (n, heights, radii, angles); patches with NaN correlate with nothing.
    template
        (heights, radii, angles).
    weights
        (heights, radii, angles), 0 or more, the same at all angles: :meth:`Cylinder.volumes`, times a mask.

    Returns
    -------
    (n, angles): number k is the correlation with rot = k steps, -1 to 1; NaN where a patch has NaN. Patches or
    templates without contrast give 0.

    Notes
    -----
    A particle with the angle rot shows at the angle θ of its patch what the template has at θ + rot, because rot turns
    the template about its own z axis by -rot before it is tilted (:mod:`volengine.core.orientation`).
    """
    total = weights.sum()
    if not total > 0:
        raise InputError("The mask of the template leaves nothing to compare.")
    w = weights / total
    mean_t = (w * template).sum()
    centred = template - mean_t
    norm_t = np.sqrt((w * centred**2).sum())
    mean_p = np.einsum("nhra,hra->n", patches, w)
    apart = patches - mean_p[:, None, None, None]
    norm_p = np.sqrt(np.einsum("nhra,hra->n", apart**2, w))
    # sum over θ of P(θ) T(θ + rot): the conjugate of the patch's spectrum times the template's
    product = np.einsum("nhra,hra->na", np.conj(np.fft.fft(apart, axis=3)), np.fft.fft(w * centred, axis=2))
    raw = np.fft.ifft(product, axis=1).real
    scale = norm_p[:, None] * norm_t
    found: Floats = np.where(scale > 1e-12 * max(norm_t, 1e-300), raw / np.where(scale > 0, scale, 1), 0.0)
    found[~np.isfinite(norm_p)] = np.nan
    return found
