"""Tomograms from tilt series: weighted back-projection and SIRT, slice by slice across the tilt axis.

Images are line integrals (volt angstrom, as :meth:`~volengine.sim.imaging.projector.Projector.project` makes them),
tomograms are in the object's own unit (volt). Of the object's Fourier transform the measured sections are brought back
at their own height and the missing wedge stays empty: over the full range (-89 to 89 degrees by 1) the amplitude of a
broad object is right; over -60 to 60 a round one keeps 2/3 of it, what is flat across the beam keeps less, and what is
long in z keeps all.

>>> import numpy as np
>>> from volengine.sim.imaging.projector import Projector
>>> volume = np.zeros((33, 1, 33), np.float32)
>>> volume[8:25, :, 8:25] = 2.0
>>> projector = Projector((33, 33), np.arange(-89, 90), voxel_size=10.0)
>>> round(float(wbp(projector.project(volume), projector)[12:21, 0, 12:21].mean()), 1)
2.0

Every slice (all z and x at one y) is a problem of its own: blocks along y of any size give the same bytes. Nothing but
the images is known beyond the detector's sides: lines are filled up with zeros there (``padding="zero"``: the potential
in excess of ice is 0 in empty ice), or from edge to edge (``"edge"``: for images that end in the midst of things).
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
"""Slices that are filtered at once: always as many, so that their number never chooses another code path."""
FINE = 2
"""Samples per pixel of the lines that are brought back: the linear interpolation between pixels themselves smooths by
where a voxel falls, which moved a point's peak by up to 0.24 voxel; between half pixels it moves by 0.03."""


@dataclass(frozen=True)
class Filter(Recipe):
    """The weights of weighted back-projection.

    Parameters
    ----------
    weighting
        ``ramp``: by frequency and by the tilts' local density (:func:`angular_weights`). ``exact``: by how many
        sections of the object's transform overlap at each frequency (after Harauz & van Heel, Optik 73:146, 1986).
    cutoff, sigma
        Cycles per pixel: the weights hold up to ``cutoff``; beyond it they stay as they are there, times a Gaussian of
        standard deviation ``sigma`` about it (IMOD's radial filter, with true sigma). ``cutoff=0.5`` is no fall-off.
    padding
        What lies beyond an image's sides: ``zero``, or ``edge``, a straight line from one edge's value to the other's.
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
    """The range of angles each tilt stands for, (n,) float64, radian: half of the way to either neighbour.

    Directions that differ by 180 degrees are the same, so the first and the last tilt are neighbours too. Where they
    are far apart (the largest gap of all: the missing wedge) each stands for no more on that side than on its other
    one. Equal tilts share. The sum of a full range is pi.
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
    """Pixels of a padded line: at least twice the width, so that no line reaches round to its other end."""
    from scipy import fft

    return int(fft.next_fast_len(2 * width, real=True))


def weights_of(projector: Projector, how: Filter) -> Floats:
    """(tilts, frequencies) float64, 1/angstrom: real-valued weights on ``rfft`` of padded lines, angles included.

    |nu| times the range of angles that a tilt stands for, radian. |nu| is the transform of the band-limited ramp's
    samples (Ramachandran & Lakshminarayanan, PNAS 68:2236, 1971: 1/4, -1/pi^2, 0, -1/(3 pi)^2 ...): sampling |nu|
    itself would lose the mean.

    ``ramp``: the range is :func:`angular_weights`.

    ``exact``: the range is that in which sections of a body of depth D overlap, over how many do: at frequency nu they
    overlap as t(D nu sin(theta - theta_j)) with the triangle t(a) = max(0, 1 - |a|), and the range is t's integral
    over all angles by its sum over the tilts. D is the central beam's way through the plane at that tilt. The integral
    is 1 / (D nu) where that is small, which gives Harauz & van Heel's weights 1 / (D sum t); it ends at pi, so that an
    even full range has the ramp down to the mean. Low frequencies near the missing wedge take its part.
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
    """Radian: the angles in which sections overlap one tilt's at each frequency, over the sections in them."""
    angle = np.radians(projector.angle_deg)
    nz, nx = projector.shape_zx
    cos, sin = abs(math.cos(angle[tilt])), abs(math.sin(angle[tilt]))
    steepness = min(nz / max(cos, 1e-9), nx / max(sin, 1e-9)) * np.maximum(cycles, 1e-9)
    sections = np.maximum(0, 1 - steepness[:, None] * np.abs(np.sin(angle - angle[tilt]))).sum(axis=1)
    end = np.arcsin(np.minimum(1, 1 / steepness))
    return np.asarray(2 * (end - steepness * (1 - np.cos(end))) / sections)


def filtered(projections: NDArray[np.number], projector: Projector, how: Filter, fine: int = 1) -> Images:
    """Images (tilts, y, width) times :func:`weights_of` along x; (tilts, y, fine * (width - 1) + 1) float32.

    With ``fine`` above 1 there are as many samples to a pixel, and what linear interpolation between them will smooth
    on the average is made good: sinc(nu / fine)^2.
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
    """Weighted back-projection: of filtered lines, interpolated at each voxel's centre.

    Peak memory beside images and tomogram: the matrices of ``projector.sampled(FINE)``, and filtered lines (twice
    :data:`FINE` times the images) and tomogram once more; of some slices only, where the cache holds all matrices.

    Parameters
    ----------
    projections
        (tilts, y, width), line integrals: volt angstrom.
    projector
        Geometry of the tomogram: the nominal angles, its plane, its voxel size.
    how
        Weights; :class:`Filter`'s defaults where not given.

    Returns
    -------
    (z, y, x) float32, volt.
    """
    given = _checked(projections, projector)
    lines_to_volume = projector.sampled(FINE)
    rows = given.shape[1]
    step = SLICES if lines_to_volume.matrix_bytes <= lines_to_volume.cache_bytes else rows
    volume = np.empty((projector.shape_zx[0], rows, projector.shape_zx[1]), np.float32)
    for first in range(0, rows, step):
        part = slice(first, first + step)
        volume[:, part] = lines_to_volume.back(filtered(given[:, part], projector, how or Filter(), FINE))
    volume /= np.float32(projector.voxel_size)  # the adjoint's line element; what is summed here are values
    return volume


def sirt(projections: NDArray[np.number], projector: Projector, iterations: int) -> Images:
    """Simultaneous iterative reconstruction (Gilbert, J. Theor. Biol. 36:105, 1972, weighted by rows and columns).

    Each iteration adds ``C A' R (projections - A volume)`` to a volume that begins as zeros, where A projects and R and
    C are one over the sums of A's rows and columns: the weighted residual falls at each one.

    Parameters
    ----------
    projections
        (tilts, y, width), line integrals: volt angstrom. What lies outside of the volume is taken for 0.
    projector
        Geometry of the tomogram.
    iterations
        At least 1; few (10 to 30) for noisy images.

    Returns
    -------
    (z, y, x) float32, volt.
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
    """One over each sum; 0 where nothing was summed."""
    found = np.zeros_like(sums)
    np.divide(1, sums, out=found, where=sums > 0)
    return found


def _checked(projections: NDArray[np.number], projector: Projector) -> Images:
    wanted = (len(projector), projector.width)
    shape = projections.shape
    if len(shape) != 3 or (shape[0], shape[2]) != wanted or not shape[1]:
        raise InputError(f"Images are of shape {shape}; the geometry has {wanted[0]} tilts and {wanted[1]} pixels.")
    return projections.astype(np.float32, copy=False)
