"""The two faces of the slab of material in a tomogram, and the depth of places below them.

A lamella, or a layer of ice with a specimen, fills a tomogram from one z to another, and both change slowly over the
field. For columns of voxels along z (*cells*) a profile is computed, plane by plane, and divided where it goes up and
down again; a smooth surface of second degree is fitted through the heights of all cells, for each face, by weights that
leave out cells that do not agree (Tukey's biweight, from a start by medians).

- Of a tomogram the profile is the logarithm of the variance of the voxels of a plane of the cell: material has more
  contrast than what surrounds it. It is divided into three parts with the least sum of squares. Where a face is tilted
  it runs through several planes of a cell. The variances of these are mixed by the shares of what lies in them, and the
  logarithm is high already where little of a plane is material: the face is where half of the variance is reached.
- Of a mask it is the share of the plane's voxels that belong to it; a face is where this passes one half.

Heights are in voxels: face ``low`` of a slab that begins with plane 10 is at 9.5.

>>> profile = np.concatenate([np.zeros(20), np.ones(30), np.zeros(14)])
>>> found = faces_of_variance(np.exp(profile)[:, None, None] * 1.0)
>>> found.low.ravel().tolist(), found.high.ravel().tolist()
([19.5], [49.5])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.volume import Vector3

Floats = NDArray[np.float64]

BINS = 256
"""Parts of a profile among which the faces are looked for at first."""

LEAST = 4
"""Planes, at least, outside of each face."""

THINNEST = 0.08
"""Least thickness of a slab, as a share of the planes."""

CONTRAST = 0.15
"""Least rise of the logarithm of the variance: by 16 %."""

LEAST_CELLS = 9
"""Cells in which faces must be seen."""

AGREEING = 0.5
"""Share of these cells that must lie on the fitted face."""

SMOOTH = 100.0
"""Largest robust standard deviation of the cells from a face, angstrom, or three voxels."""

TUNING = 4.685
"""Tukey's constant: deviations of more than so many robust standard deviations do not count."""


class Heights(NamedTuple):
    """Heights of both faces in each cell, (cells along y, along x), voxels along z; NaN where they are not seen."""

    low: Floats
    high: Floats


def faces_of_variance(variance: Floats, ramp: int = 0) -> Heights:
    """Find the faces in the variances of a tomogram.

    Parameters
    ----------
    variance
        (z, y, x): variance of the voxels of each plane of each cell.
    ramp
        Planes, at most, that a tilted face runs up or down from the middle of a cell; 0: faces are flat in a cell.
    """
    planes, *cells = variance.shape
    low, high = np.full(cells, np.nan), np.full(cells, np.nan)
    if planes < 3 * LEAST:
        return Heights(low, high)
    for at in np.ndindex(*cells):
        column = variance[(slice(None), *at)]
        if not (np.isfinite(column) & (column >= 0)).all():
            continue
        least = column[column > 0].min(initial=np.inf)
        found = _three_parts(np.log(np.maximum(column, least))) if np.isfinite(least) else None
        if found is not None:
            first, behind = _half_way(column, *found, ramp) if ramp else found
            low[at], high[at] = first - 0.5, behind - 0.5
    return Heights(low, high)


def _half_way(variance: Floats, first: int, behind: int, ramp: int) -> tuple[int, int]:
    """The division of a column where its variance passes half of the way, at most ``ramp`` planes from the given one.

    The way is that between the medians of as many planes on both sides, beyond those through which the face may run.
    """
    n, middle, wide = len(variance), (first + behind) // 2, max(LEAST, ramp)

    def passed(column: Floats, at: int, half: int) -> int:
        outer = column[max(0, at - ramp - wide) : max(LEAST, at - ramp)]
        begin = min(at + ramp, max(at, half - LEAST))
        inner = column[begin : begin + wide]
        start, stop = max(LEAST, at - ramp), min(half, at + ramp)
        way = float(np.median(inner) - np.median(outer))
        if stop <= start or way <= 0:
            return at
        less = 0.5 - np.clip((column[start:stop] - np.median(outer)) / way, 0, 1)
        return start + int(np.concatenate([[0.0], np.cumsum(less)]).argmax())

    return passed(variance, first, middle), n - passed(variance[::-1], n - behind, n - middle - 1)


def _three_parts(profile: Floats) -> tuple[int, int] | None:
    """First plane of the middle part and first one behind it; ``None`` if there is no higher middle part."""
    n = len(profile)
    factor = -(-n // BINS)
    whole = n // factor
    coarse = profile[: whole * factor].reshape(whole, factor).mean(axis=1)
    margin = max(1, LEAST // factor)
    starts = np.arange(margin, whole - margin)
    first, behind = np.meshgrid(starts, starts + 1, indexing="ij")
    thick = behind - first >= max(1, round(THINNEST * whole))
    if not thick.any():
        return None
    gain = np.where(thick, _explained(coarse, first, behind), -np.inf)
    a, b = np.unravel_index(int(gain.argmax()), gain.shape)
    low, high = int(first[a, b]) * factor, int(behind[a, b]) * factor
    for _ in range(2 * (factor > 1)):
        near = np.arange(max(LEAST, low - factor), min(high - 1, low + factor) + 1)
        low = int(near[_explained(profile, near, np.full_like(near, high)).argmax()])
        near = np.arange(max(low + 1, high - factor), min(n - LEAST, high + factor) + 1)
        high = int(near[_explained(profile, np.full_like(near, low), near).argmax()])
    parts = [profile[:low], profile[low:high], profile[high:]]
    means = [float(part.mean()) for part in parts]
    spread = float(np.concatenate([part - mean for part, mean in zip(parts, means, strict=True)]).std())
    rise = means[1] - max(means[0], means[2])
    return (low, high) if rise > max(CONTRAST, spread) else None


def _explained(profile: Floats, first: NDArray[np.int64], behind: NDArray[np.int64]) -> Floats:
    """Sum of squares that three means explain, for divisions before ``first`` and before ``behind``."""
    sums = np.concatenate([[0.0], np.cumsum(profile - profile.mean())])
    n, wrong = len(profile), behind <= first
    inner = sums[behind] - sums[first]
    outer = sums[first] ** 2 / first + (sums[n] - sums[behind]) ** 2 / np.maximum(1, n - behind)
    found: Floats = np.where(wrong, -np.inf, outer + inner**2 / np.where(wrong, 1, behind - first))
    return found


def faces_of_mask(share: Floats) -> Heights:
    """Find the faces in the shares of a mask.

    Parameters
    ----------
    share
        (z, y, x): share of the voxels of each plane of each cell that belong to the mask.

    Returns
    -------
    The first and last height at which a share passes one half, between planes by its slope; NaN in cells in which it
    does not, or which the mask leaves through the first or the last plane.
    """
    planes, *cells = share.shape
    low, high = np.full(cells, np.nan), np.full(cells, np.nan)
    for at in np.ndindex(*cells):
        column = share[(slice(None), *at)]
        of_it = np.flatnonzero(column >= 0.5)
        if not len(of_it) or of_it[0] == 0 or of_it[-1] == planes - 1:
            continue
        a, b = int(of_it[0]), int(of_it[-1])
        low[at] = a - (column[a] - 0.5) / (column[a] - column[a - 1])
        high[at] = b + (column[b] - 0.5) / (column[b] - column[b + 1])
    return Heights(low, high)


@dataclass(frozen=True)
class Face:
    """A smooth face: its height z as a polynomial of second degree in y and x; all in angstrom.

    Parameters
    ----------
    factors
        Of 1, y, x, y², yx, x², counted from ``middle`` in units of ``scale``.
    middle, scale
        Of y and x.
    spread
        Robust standard deviation of the cells from it.
    seen, used
        Number of cells in which the face is seen, and of those that lie on it.
    """

    factors: Floats
    middle: tuple[float, float]
    scale: float
    spread: float
    seen: int
    used: int

    def height(self, y: Floats, x: Floats) -> Floats:
        """Height at places."""
        found: Floats = _terms((y - self.middle[0]) / self.scale, (x - self.middle[1]) / self.scale) @ self.factors
        return found

    def slope(self, y: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Rise of the height along y and along x."""
        v, u, f = (y - self.middle[0]) / self.scale, (x - self.middle[1]) / self.scale, self.factors
        return (f[1] + 2 * f[3] * v + f[4] * u) / self.scale, (f[2] + f[4] * v + 2 * f[5] * u) / self.scale

    def above(self, places: Floats) -> Floats:
        """(n,) distance of places from the face, positive at larger z."""
        z, y, x = places.T
        at_y, at_x = y.copy(), x.copy()
        for _ in range(20):  # to the foot of the perpendicular; faces are nearly flat
            dy, dx = self.slope(at_y, at_x)
            steep = 1 + dy**2 + dx**2
            off = z - self.height(at_y, at_x)
            along = (off + (at_y - y) * dy + (at_x - x) * dx) / steep
            at_y, at_x = y + dy * along, x + dx * along
        off = z - self.height(at_y, at_x)
        apart = np.sqrt(off**2 + (y - at_y) ** 2 + (x - at_x) ** 2)
        found: Floats = np.where(z >= self.height(y, x), apart, -apart)
        return found


def fit_face(heights: Floats, y: Floats, x: Floats, voxel_size: Vector3, where: str) -> Face:
    """Fit a smooth face through the heights of cells.

    Parameters
    ----------
    heights
        (cells along y, along x) in voxels, NaN where none is known.
    y, x
        Middles of the cells, voxels.
    voxel_size
        Angstrom, z, y, x.
    where
        How messages name the face and its tomogram.

    Raises
    ------
    InputError
        Too few cells show the face, or they do not lie on a smooth one.
    """
    at_y, at_x = (grid.ravel() for grid in np.meshgrid(y * voxel_size[1], x * voxel_size[2], indexing="ij"))
    z = heights.ravel() * voxel_size[0]
    known = np.isfinite(z)
    seen = int(known.sum())
    if seen < min(LEAST_CELLS, max(1, z.size)) or seen < 0.25 * z.size:
        raise InputError(
            f"{where}: the face of the slab is seen in {seen} of {z.size} columns only. If the specimen fills the "
            "tomogram there is none; else give its surfaces, or a mask of it, with --lamella."
        )
    z, at_y, at_x = z[known], at_y[known], at_x[known]
    middle = (float(at_y.mean()), float(at_x.mean()))
    scale = max(float(np.abs(at_y - middle[0]).max()), float(np.abs(at_x - middle[1]).max()), 1.0)
    terms = _terms((at_y - middle[0]) / scale, (at_x - middle[1]) / scale)
    factors = np.zeros(6)
    factors[0] = np.median(z)
    least = 0.1 * voxel_size[0]
    weights = 1 / np.maximum(np.abs(z - factors[0]), least)
    for step in range(60):
        root = np.sqrt(weights)
        factors = np.linalg.lstsq(terms * root[:, None], z * root, rcond=1e-9)[0]
        off = np.abs(z - terms @ factors)
        spread = max(1.4826 * float(np.median(off)), least)
        weights = 1 / np.maximum(off, least) if step < 30 else np.maximum(0, 1 - (off / (TUNING * spread)) ** 2) ** 2
    used = int((off <= TUNING * spread).sum())
    if spread > max(3 * voxel_size[0], SMOOTH) or used < AGREEING * seen:
        raise InputError(
            f"{where}: {used} of {seen} columns agree on a smooth face, {spread / 10:.3g} nm from it; this is no "
            "slab that can be trusted. Give its surfaces, or a mask of it, with --lamella."
        )
    return Face(factors, middle, scale, spread, seen, used)


def _terms(y: Floats, x: Floats) -> Floats:
    return np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], axis=-1)
