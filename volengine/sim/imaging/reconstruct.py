"""Reconstruction of tomograms from tilt series: weighted back-projection (WBP) and SIRT, slice by slice.

Images are line integrals (volt angstrom, as returned by
:meth:`~volengine.sim.imaging.projector.Projector.project`); tomograms have the unit of the object (volt). Inside of the
measured range of angles, WBP keeps the amplitudes of the object's Fourier transform; the missing wedge stays empty.
With tilts from -89 to 89 degrees in steps of 1, the amplitude of a broad object is right. With tilts from -60 to 60, a
round object keeps 2/3 of its amplitude, an object that is flat in the plane of the untilted specimen keeps less, and an
object that is long in z keeps all of it.

>>> import numpy as np
>>> from volengine.sim.imaging.projector import Projector
>>> volume = np.zeros((33, 1, 33), np.float32)
>>> volume[8:25, :, 8:25] = 2.0
>>> projector = Projector((33, 33), np.arange(-89, 90), voxel_size=10.0)
>>> round(float(wbp(projector.project(volume), projector)[12:21, 0, 12:21].mean()), 1)
2.0

Every slice (all z and x at one y) is reconstructed independently, so blocks along y of any size give the same bytes.
Beyond the sides of the detector, image lines are padded with zeros (``padding="zero"``: the potential in excess of ice
is 0 in empty ice), or with a straight line from one edge to the other (``"edge"``: for images that cut through
structures).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.sim.imaging.projector import SLICES, Projector

Floats = NDArray[np.float64]
Images = NDArray[np.float32]
LINES = 16
"""Number of slices that are filtered at once; always the same, so that every block takes the same path of the FFT."""
FINE = 2
"""Samples per pixel of the lines that are back-projected. Linear interpolation smooths each voxel by an amount that
depends on its position between the samples: with one sample per pixel it moved a point's peak by up to 0.24 voxel, with
two by 0.03 voxel."""


@dataclass(frozen=True)
class Filter(Recipe):
    """The filter of weighted back-projection.

    Parameters
    ----------
    weighting
        ``ramp``: the frequency times the angular spacing of the tilts. ``exact``: the weights also depend on how many
        sections of the object's transform overlap at each frequency (after Harauz & van Heel, Optik 73:146, 1986).
    cutoff, sigma
        Cycles per pixel. Above ``cutoff`` the weight no longer rises: it is that at the cutoff times a Gaussian
        fall-off of standard deviation ``sigma`` (as IMOD's radial filter, but sigma is a true standard deviation).
        With ``cutoff=0.5`` there is no fall-off.
    padding
        How image lines are continued beyond their sides: ``zero``, or ``edge``: a straight line from the value of one
        edge to that of the other.

    Raises
    ------
    InputError
        The cutoff is not above 0 and at most 0.5, or sigma is not positive.
    """

    weighting: Literal["ramp", "exact"] = "ramp"
    cutoff: float = 0.35
    sigma: float = 0.035
    padding: Literal["zero", "edge"] = "zero"

    def check(self) -> None:
        if not 0 < self.cutoff <= 0.5:
            raise InputError(f"Filter.cutoff is {self.cutoff}; it must be above 0 and at most 0.5 cycles per pixel.")
        if not 0 < self.sigma < np.inf:
            raise InputError(f"Filter.sigma is {self.sigma}; it must be above 0 cycles per pixel.")


def angular_weights(angle_deg: ArrayLike) -> Floats:
    """The range of angles that each tilt represents: half of the distance to the neighbour on each side.

    Directions that differ by 180 degrees are the same, so the first and the last tilt are neighbours as well. At the
    largest gap (the missing wedge), a tilt represents at most as much on the side of the gap as on its other side.
    Tilts with equal angles share their range.

    Parameters
    ----------
    angle_deg
        (n,): tilt angles, degrees, in any order.

    Returns
    -------
    (n,) float64, radian; the sum over a full range of tilts is pi.
    """
    turned = np.round(np.asarray(angle_deg, float), 9) % 180.0
    angle, which, count = np.unique(turned, return_inverse=True, return_counts=True)
    gap = np.diff(angle, append=angle[0] + 180.0)  # behind each
    widest = int(np.argmax(gap))
    after, ahead = gap / 2, np.roll(gap, 1) / 2
    if len(angle) > 1:
        first = (widest + 1) % len(angle)
        after[widest] = min(after[widest], ahead[widest])
        ahead[first] = min(ahead[first], after[first])
    return np.asarray(np.radians((after + ahead) / count)[which])


def padded_width(width: int) -> int:
    """Number of pixels of a padded line: at least twice the width, so that the filter does not wrap around."""
    from scipy import fft

    return int(fft.next_fast_len(2 * width, real=True))


def weights_of(projector: Projector, how: Filter) -> Floats:
    """The weights of the back-projection, for the ``rfft`` of padded lines.

    A weight is |nu| times the range of angles that a tilt represents, in radian. |nu| is the transform of the samples
    of the band-limited ramp (Ramachandran & Lakshminarayanan, PNAS 68:2236, 1971: 1/4, -1/pi^2, 0, -1/(3 pi)^2 ...);
    samples of |nu| itself would set the mean to 0.

    ``ramp``: the range is :func:`angular_weights`.

    ``exact``: the range is that in which the sections of an object of depth D overlap, divided by the number of
    sections in it. At frequency nu two sections overlap by t(D nu sin(theta - theta_j)), with the triangle
    t(a) = max(0, 1 - |a|); the range is the integral of t over all angles, divided by its sum over the tilts. D is the
    length of the central beam within the plane at that tilt. For large D nu the integral is 1 / (D nu), which gives the
    weights 1 / (D sum t) of Harauz & van Heel. The integral is limited to pi, so that evenly spaced tilts over the full
    range have the ramp down to frequency 0. At low frequencies the tilts next to the missing wedge represent a part of
    it.

    Parameters
    ----------
    projector
        The geometry: angles, plane, voxel size.
    how
        The filter.

    Returns
    -------
    (tilts, padded_width // 2 + 1) float64, 1/angstrom.
    """
    size = padded_width(projector.width)
    cycles = np.fft.rfftfreq(size)
    sample = np.arange(size)
    distance = np.minimum(sample, size - sample)
    odd = distance % 2 == 1
    kernel = np.zeros(size)
    kernel[odd] = -1 / (math.pi * distance[odd]) ** 2
    kernel[0] = 0.25
    held = np.minimum(cycles, how.cutoff)
    ramp: Floats = np.interp(held, cycles, np.fft.rfft(kernel).real) / projector.voxel_size
    ramp *= np.exp(-0.5 * ((cycles - held) / how.sigma) ** 2)
    if how.weighting == "ramp":
        return np.asarray(angular_weights(projector.angle_deg)[:, None] * ramp)
    return np.asarray(ramp * np.stack([_overlap(projector, tilt, held) for tilt in range(len(projector))]))


def _overlap(projector: Projector, tilt: int, cycles: Floats) -> Floats:
    """The range of angles, radian, that overlaps one tilt's section at each frequency, per section in this range."""
    angle = np.radians(projector.angle_deg)
    nz, nx = projector.shape_zx
    cos, sin = abs(math.cos(angle[tilt])), abs(math.sin(angle[tilt]))
    steepness = min(nz / max(cos, 1e-9), nx / max(sin, 1e-9)) * np.maximum(cycles, 1e-9)
    sections = np.maximum(0, 1 - steepness[:, None] * np.abs(np.sin(angle - angle[tilt]))).sum(axis=1)
    end = np.arcsin(np.minimum(1, 1 / steepness))
    return np.asarray(2 * (end - steepness * (1 - np.cos(end))) / sections)


def filtered(projections: NDArray[np.number], projector: Projector, how: Filter, fine: int = 1) -> Images:
    """Filter images along x with :func:`weights_of`.

    Parameters
    ----------
    projections
        (tilts, y, width): line integrals.
    projector
        The geometry.
    how
        The filter.
    fine
        Samples per pixel of the result. Above 1, the spectrum is also divided by sinc(nu / fine)^2, which compensates
        on average for the later linear interpolation between the samples.

    Returns
    -------
    (tilts, y, fine * (width - 1) + 1) float32.

    Raises
    ------
    InputError
        The shape does not fit the geometry.
    """
    from scipy import fft

    given = _checked(projections, projector)
    tilts, rows, width = given.shape
    size = padded_width(width)
    weights = weights_of(projector, how)
    if fine > 1:
        weights *= fine / np.sinc(np.fft.rfftfreq(size) / fine) ** 2
        weights[:, -1] /= 2 - size % 2  # the highest frequency of an even length stands for two
    factors = weights.astype(np.float32)[:, None]
    samples = fine * (width - 1) + 1
    found = np.empty((tilts, rows, samples), np.float32)
    lines = np.zeros((tilts, LINES, size), np.float32)
    way = np.linspace(0, 1, size - width + 2, dtype=np.float32)[1:-1]
    for first in range(0, rows, LINES):
        part = given[:, first : first + LINES]
        here = part.shape[1]
        lines[:, :here, :width] = part
        lines[:, here:] = 0
        if how.padding == "edge":
            left, right = part[..., :1], part[..., -1:]
            lines[:, :here, width:] = right + (left - right) * way
        spectrum = fft.rfft(lines, axis=2)
        spectrum *= factors
        whole = fft.irfft(spectrum, size * fine, axis=2, overwrite_x=True)
        found[:, first : first + LINES] = whole[:, :here, :samples]
    return found


def wbp(projections: NDArray[np.number], projector: Projector, how: Filter | None = None) -> Images:
    """Reconstruct by weighted back-projection: filter the images along x, then interpolate at the centre of each voxel.

    Peak memory in addition to images and tomogram: the matrices of ``projector.sampled(FINE)``, the filtered lines
    (twice :data:`FINE` times the images) and a second tomogram. If the cache holds all matrices, lines and second
    tomogram are those of :data:`~volengine.sim.imaging.projector.SLICES` slices only.

    Parameters
    ----------
    projections
        (tilts, y, width): line integrals, volt angstrom.
    projector
        The geometry of the tomogram: its nominal angles, its plane, its voxel size.
    how
        The filter; default: ``Filter()``.

    Returns
    -------
    (z, y, x) float32, volt.

    Raises
    ------
    InputError
        The shape of the images does not fit the geometry.
    """
    given = _checked(projections, projector)
    lines_to_volume = projector.sampled(FINE)
    rows = given.shape[1]
    step = SLICES if lines_to_volume.matrix_bytes <= lines_to_volume.cache_bytes else rows
    volume = np.empty((projector.shape_zx[0], rows, projector.shape_zx[1]), np.float32)
    for first in range(0, rows, step):
        part = slice(first, first + step)
        volume[:, part] = lines_to_volume.back(filtered(given[:, part], projector, how or Filter(), FINE))
    volume /= np.float32(projector.voxel_size)  # the adjoint multiplies by the line element; here values are summed
    return volume


def sirt(projections: NDArray[np.number], projector: Projector, iterations: int) -> Images:
    """Reconstruct by SIRT (Gilbert, J. Theor. Biol. 36:105, 1972, with weights for rows and columns).

    The volume starts as zeros. Each iteration adds ``C A' R (projections - A volume)``: A is the projection, A' its
    adjoint, and R and C are the inverse sums of the rows and columns of A. The weighted residual falls in each
    iteration.

    Parameters
    ----------
    projections
        (tilts, y, width): line integrals, volt angstrom. Everything outside of the volume is assumed to be 0.
    projector
        The geometry of the tomogram.
    iterations
        Number of iterations, at least 1; for noisy images few (10 to 30).

    Returns
    -------
    (z, y, x) float32, volt.

    Raises
    ------
    InputError
        The shape of the images does not fit the geometry, or there are no iterations.
    """
    given = _checked(projections, projector)
    if iterations < 1:
        raise InputError(f"sirt: {iterations} iterations; use 1 or more.")
    nz, nx = projector.shape_zx
    rows = _inverse(projector.project(np.ones((nz, 1, nx), np.float32)))
    columns = _inverse(projector.back(np.ones((len(projector), 1, projector.width), np.float32)))
    volume = np.zeros((nz, given.shape[1], nx), np.float32)
    residual = given * rows
    for left in range(iterations - 1, -1, -1):
        volume += columns * projector.back(residual)
        if left:
            residual = (given - projector.project(volume)) * rows
    return volume


def _inverse(sums: Images) -> Images:
    """One over each sum; 0 where the sum is 0."""
    found = np.zeros_like(sums)
    np.divide(1, sums, out=found, where=sums > 0)
    return found


def _checked(projections: NDArray[np.number], projector: Projector) -> Images:
    wanted = (len(projector), projector.width)
    shape = projections.shape
    if len(shape) != 3 or (shape[0], shape[2]) != wanted or not shape[1]:
        raise InputError(f"Images are of shape {shape}; the geometry has {wanted[0]} tilts and {wanted[1]} pixels.")
    return projections.astype(np.float32, copy=False)
