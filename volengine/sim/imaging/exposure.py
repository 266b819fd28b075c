"""One image of a tilt series: from projected potential to counted electrons.

In the order of a microscope: the specimen has suffered what fell on it before (:mod:`volengine.sim.imaging.damage`);
the ice takes away electrons that lose energy, exp(-path / mean free path); the lens turns potential into contrast,
1 - 2 s (v * h) (:mod:`volengine.sim.imaging.ctf`); the detector counts.

Counting: of the electrons that arrive, a share as large as the DQE is counted, each on its own, so counts are Poisson
with mean = variance = DQE times the arriving number. That is what a DQE means: the squared ratio of signal to noise is
DQE times that of the arriving electrons, and no gain hides it.

>>> import numpy as np
>>> from volengine.sim.imaging.optics import Exposure
>>> from volengine.sim.seeds import stream
>>> ice = np.zeros((64, 64), np.float32)
>>> shot = Shot(tilt_deg=60, dose_e_per_a2=2.0, thickness_a=600)
>>> taken = expose(ice, 10.0, shot, Exposure(), stream(1, "counts", 0))
>>> round(taken.flat, 1), bool(abs(taken.counts.mean() / taken.flat - 1) < 0.01)  # 2 * 100 * 0.84 * exp(-1200 / 3800)
(122.5, True)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError
from volengine.sim.imaging.ctf import apply_ctf, checked_tilt, interaction_constant
from volengine.sim.imaging.damage import damaged
from volengine.sim.imaging.fourier import Floats, Image, Plane, checked_image, checked_voxel
from volengine.sim.imaging.optics import Detector, Exposure

MOST_COUNTS = 2.0**24
"""Electrons per pixel up to which float32 holds every whole number."""


@dataclass(frozen=True, eq=False)
class Shot:
    """The settings that differ between the images of a tilt series.

    Parameters
    ----------
    tilt_deg
        Tilt angle about y, within 89.9 degrees.
    dose_e_per_a2
        Dose of this image, electrons per square angstrom. 0: nothing is counted; the result is the expected image at
        1 e/A^2.
    before_e_per_a2
        Dose that the specimen received before this image, in the order of acquisition.
    thickness_a
        Thickness of the ice along z of the untilted specimen, angstrom: a number, or a map (y, x) of the image's shape.
    """

    tilt_deg: float
    dose_e_per_a2: float
    before_e_per_a2: float = 0.0
    thickness_a: float | NDArray[np.floating] = 0.0

    def __post_init__(self) -> None:
        checked_tilt(self.tilt_deg)
        for name in ("dose_e_per_a2", "before_e_per_a2"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} is {value:g}; it must be 0 or more.")
        thickness = np.asarray(self.thickness_a, float)
        if not (np.isfinite(thickness).all() and (thickness >= 0).all()):
            raise InputError("thickness_a has values that are negative or not finite; it is in angstrom.")


@dataclass(frozen=True, eq=False)
class Exposed:
    """A simulated image.

    Parameters
    ----------
    counts
        (y, x) float32: counted electrons per pixel; the expected image if the dose was 0.
    expected
        (y, x) float32: the image without noise, which is the mean of ``counts``.
    flat
        Expected count per pixel where there is only ice.
    clipped
        Number of pixels whose contrast was below -1; their expected count is set to 0. If there are many, the specimen
        is too thick or too dense for the weak-contrast approximation.
    halves
        Two images of independent electrons whose sum is ``counts``, if requested.
    """

    counts: Image
    expected: Image
    flat: float
    clipped: int
    halves: tuple[Image, Image] | None = None

    def normalised(self) -> Image:
        """:func:`normalise` of the counts."""
        return normalise(self.counts, self.flat)


def normalise(counts: ArrayLike, flat: float) -> Image:
    """Contrast, counts / flat - 1, float32; it is comparable between images of any dose, tilt and pixel size.

    ``flat`` is the expected count for ice alone, as in :attr:`Exposed.flat` (half of it for half of the electrons).
    """
    if not (math.isfinite(flat) and flat > 0):
        raise InputError(f"The expected counts are {flat:g} per pixel; they must be positive.")
    contrast: Image = np.asarray(counts, np.float32) / np.float32(flat) - np.float32(1)
    return contrast


def halved(counts: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """Divide the counted electrons at random between two images, whose sum is ``counts``.

    Both are Poisson distributed with half the mean, and independent of each other.
    """
    first = rng.binomial(counts.astype(np.int64), 0.5).astype(np.float32)
    return first, counts - first


# -- transmission ------------------------------------------------------------------------------------------


def path_a(shot: Shot, shape: tuple[int, int], limit_a: float = math.inf) -> float | Floats:
    """Length of the ray through the ice at every pixel, angstrom: thickness / cos(tilt), at most ``limit_a``.

    A map of the thickness is interpolated linearly where the ray crosses the middle of the specimen, at
    x = x' / cos(tilt) from the centre; beyond the map its border is repeated.
    """
    cosine = math.cos(math.radians(shot.tilt_deg))
    if np.ndim(shot.thickness_a) == 0:
        return min(float(shot.thickness_a) / cosine, limit_a)
    thickness = np.asarray(shot.thickness_a, float)
    if thickness.shape != shape:
        raise InputError(f"The map of thickness has the shape {thickness.shape}; the image has {shape}.")
    centre = (shape[1] - 1) / 2
    at = np.clip((np.arange(shape[1], dtype=np.float64) - centre) / cosine + centre, 0, shape[1] - 1)
    left = np.minimum(at.astype(np.int64), max(shape[1] - 2, 0))
    share = at - left
    crossed = thickness[:, left] * (1 - share) + thickness[:, np.minimum(left + 1, shape[1] - 1)] * share
    path: Floats = np.minimum(crossed / cosine, limit_a)
    return path


def transmission(shot: Shot, shape: tuple[int, int], exposure: Exposure) -> float | Floats:
    """Share of the electrons that lose no energy on their way: exp(-scatter path / mean free path), 0 to 1."""
    path = path_a(shot, shape, exposure.max_path_imfp * exposure.imfp_a)
    through: float | Floats = np.exp(-path * (exposure.scatter / exposure.imfp_a))
    return through


# -- detector ----------------------------------------------------------------------------------------------


def apply_mtf(image: Image, voxel_a: float, detector: Detector) -> Image:
    """An image (y, x) blurred by the modulation transfer of the detector; its border goes on beyond it."""
    if not detector.mtf:
        return image
    room = 16
    wide = np.pad(image, room, mode="edge")
    plane = Plane((wide.shape[0], wide.shape[1]), voxel_a)
    steps = np.linspace(0, 1, len(detector.mtf))
    transfer = np.interp(np.sqrt(plane.k2) * 2 * voxel_a, steps, detector.mtf)
    mean = np.float32(wide.mean(dtype=float))  # kept as it is, or the plane's empty room would darken the border
    return plane.filtered(wide - mean, transfer)[room:-room, room:-room] + mean


# -- exposure ----------------------------------------------------------------------------------------------


def expose(
    projected: ArrayLike, voxel_a: float, shot: Shot, exposure: Exposure, rng: np.random.Generator, halves: bool = False
) -> Exposed:
    """Simulate one image.

    Parameters
    ----------
    projected
        (y, x), volt angstrom: the potential in excess of ice, integrated along the beam. Beyond the image there is ice.
    voxel_a
        Pixel size, angstrom.
    shot
        Tilt, doses and thickness of this image.
    exposure
        Optics, detector, damage, and the order of counting and optics.
    rng
        Generator of this image; the same generator gives the same image. Damage with noise draws first, then the
        counts, then the halves, so ``halves`` does not change the counts.
    halves
        Whether to divide the electrons between two images as well.

    Returns
    -------
    Exposed
        Counts per pixel are proportional to the area of a pixel.

    Notes
    -----
    ``ctf-first``: Poisson(flat (1 - 2 s v * h)). ``counts-first``, the order of CryoTomoSim's papers: the lens acts on
    Poisson(flat exp(-2 s v)) (the exponential, so that dense places do not run out of electrons), so that noise has the
    colour of the CTF; such counts are no whole numbers and may be negative. Their mean is that of ``ctf-first`` for
    weak potentials.

    Raises
    ------
    InputError
        Values that are not finite, other axes, a map of thickness of another shape, more than 2^24 counts per pixel.
    """
    image = checked_image(projected, "The projection")
    checked_voxel(voxel_a)
    optics, detector = exposure.optics, exposure.detector
    doses = (shot.before_e_per_a2, shot.dose_e_per_a2)
    potential = damaged(image, voxel_a, exposure.damage, doses, rng, optics.voltage_kv)
    per_pixel = (shot.dose_e_per_a2 or 1.0) * voxel_a**2 * detector.dqe
    blank = per_pixel * transmission(shot, (image.shape[0], image.shape[1]), exposure)
    contrast = potential * np.float32(2 * interaction_constant(optics.voltage_kv))
    if exposure.order == "ctf-first":
        rate = (blank * (1 - apply_ctf(contrast, voxel_a, optics, shot.tilt_deg))).astype(np.float32)
    else:
        rate = (blank * np.exp(-contrast.astype(float))).astype(np.float32)
    if detector.mtf_noise == "white":
        rate = apply_mtf(rate, voxel_a, detector)
    clipped = int((rate < 0).sum())
    rate = np.maximum(rate, np.float32(0))

    def after(electrons: Image, share: float = 1.0) -> Image:
        return _after_counting(electrons, share * blank, voxel_a, shot, exposure)

    expected = after(rate)
    flat = float(np.mean(blank))
    if shot.dose_e_per_a2 == 0:
        half = expected * np.float32(0.5)
        return Exposed(expected, expected, flat, clipped, (half, half) if halves else None)
    electrons = _counted(rate, rng)
    pair = halved(electrons, rng) if halves else None
    return Exposed(
        after(electrons), expected, flat, clipped, (after(pair[0], 0.5), after(pair[1], 0.5)) if pair else None
    )


def _counted(rate: Image, rng: np.random.Generator) -> Image:
    most = float(rate.max())
    if most > MOST_COUNTS / 2:
        raise InputError(
            f"{most:.3g} electrons per pixel are expected; at most {MOST_COUNTS / 2:.3g} can be counted. "
            f"Is the dose in e/A^2, and the voxel size in angstrom?"
        )
    return rng.poisson(rate).astype(np.float32)


def _after_counting(electrons: Image, blank: float | Floats, voxel_a: float, shot: Shot, exposure: Exposure) -> Image:
    """Apply the lens (``counts-first``) or the detector's MTF (``filtered``) to counted electrons; else nothing."""
    image = electrons
    if exposure.order == "counts-first":
        excess = (image - blank).astype(np.float32)
        image = (blank + apply_ctf(excess, voxel_a, exposure.optics, shot.tilt_deg)).astype(np.float32)
    if exposure.detector.mtf_noise == "filtered":
        image = apply_mtf(image, voxel_a, exposure.detector)
    return image
