"""The two leaflets of a membrane in profiles of a tomogram along the normals of a surface.

The leaflets are the two highest peaks of a profile that a valley separates. Where peaks overlap, their tops are nearer
to each other than their middles are, so that a sum of two Gaussians of one width is fitted, as in Medina et al. (J.
Cell Biol. 2025); the thickness is the distance of its middles.

A single band with noise has several tops, too. Therefore two peaks are leaflets only if all of this holds:

- The valley between them is lower than both by five times the noise of the profile, and by a tenth of its range.
- Both Gaussians are higher than five times the noise, and the lower one is at least half as high as the other; so are
  the peaks themselves.
- One Gaussian leaves more than two do: the sums of squares, with one value per voxel, differ by 25 times the square of
  the noise (a test of the ratio of likelihoods for known noise). Two leave less than half of the variance (R² > 0.5).

>>> at = np.arange(-8, 8.01, 0.25)
>>> dark = -np.exp(-((at - 1.5) ** 2) / 2) - np.exp(-((at + 2.5) ** 2) / 2)
>>> found = bilayer(dark[None], at)
>>> found.thickness.round(3).tolist(), found.offset.round(3).tolist(), found.peaks.round(1).tolist()
([4.0], [-0.5], [4.0])
>>> bilayer(dark[None], at, np.array([0.2])).thickness.tolist()
[nan]
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_PEAKS = 6
"""Highest peaks of a profile among which the two leaflets are searched."""

LEAST_VALLEY = 0.1
"""How far the valley must be below the lower of two peaks, as a part of the profile's range."""

SURE = 5.0
"""How many times the noise what tells two leaflets from a single band must be."""

LEAST_SHARE = 0.5
"""Height of the lower leaflet, as a part of that of the higher one, at least."""

LEAST_FIT = 0.5
"""R² of the fit of two leaflets must be above this."""

ROUNDS = 30
AT_ONCE = 1 << 13

BOTH, BAND = (0, 1, 2, 3, 4, 5), (0, 1, 3, 5)
"""Parameters of the model that are fitted for two leaflets, and for a single band."""


class Bilayer(NamedTuple):
    """The leaflets in profiles, (n,) each, in the unit of the distances; NaN where two leaflets are not resolved.

    ``thickness``: distance of the middles of the fitted Gaussians. ``offset``: the middle between them, positive in the
    direction of the normal. ``peaks``: distance of the tops of the profile itself. ``fit``: R² of the fit.
    """

    thickness: Floats
    offset: Floats
    peaks: Floats
    fit: Floats


def bilayer(
    profiles: Floats,
    distances: Floats,
    noise: Floats | None = None,
    *,
    voxel: float = 0.0,
    dark: bool = True,
    least: float = 0.0,
    most: float = np.inf,
) -> Bilayer:
    """Find the two leaflets of a membrane in each profile.

    Parameters
    ----------
    profiles
        (n, k) values along the normals; a profile that is not finite everywhere has no leaflets.
    distances
        (k,) of the values from the vertices, ascending, in equal steps; negative on the inner side. Fewer than five
        hold no leaflets.
    noise
        (n,) standard deviation of the noise of a value of each profile, in the unit of the values; that of
        :func:`noise_of` where it is NaN, and by default.
    voxel
        Side of the voxels from which the profiles were read, in the unit of the distances: values that are nearer to
        each other than that are not independent. Default: they are all independent.
    dark
        Whether the leaflets are darker (lower) than what is around them, as in tomograms where protein is dark.
    least, most
        Distances between which that of the leaflets lies.

    Returns
    -------
    Bilayer
        With NaN where the profile does not have two leaflets for sure, as said above.
    """
    found = [np.full(len(profiles), np.nan) for _ in range(4)]
    if len(distances) < 5:
        return Bilayer(*found)
    lag = int(np.clip(np.ceil(voxel / (distances[1] - distances[0]) - 1e-6), 1, len(distances) // 2))
    known = np.full(len(profiles), np.nan) if noise is None else noise
    for begin in range(0, len(profiles), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        rows = np.flatnonzero(np.isfinite(profiles[part]).all(axis=1)) + begin
        rows = rows[np.ptp(profiles[rows], axis=1) > 0]
        y = -profiles[rows] if dark else profiles[rows]
        span = np.ptp(y, axis=1)
        sigma = np.where(np.isfinite(known[rows]), known[rows], noise_of(y, lag)) / span
        y = (y - y.min(axis=1, keepdims=True)) / span[:, None]
        left, right = _leaflets(y, distances, np.maximum(LEAST_VALLEY, SURE * sigma), least, most)
        two = left > 0
        rows, y, sigma, left, right = rows[two], y[two], sigma[two], left[two], right[two]
        if not len(rows):
            continue
        tops = _top(y, distances, left), _top(y, distances, right)
        weight = _window(y, distances, left, right)
        start = _start(y, distances, weight, left, right)
        p, rest, fit = _fitted(y, distances, weight, start, BOTH)
        middle, apart = p[:, 3], np.abs(p[:, 4])
        good = (apart >= least) & (apart <= most) & (fit > LEAST_FIT) & (np.abs(middle - sum(tops) / 2) < apart / 2)
        good &= _alike(start[:, 1:3]) & _alike(p[:, 1:3]) & (p[:, 1:3].min(axis=1) >= SURE * sigma)
        single = _fitted(y, distances, weight, _as_band(y, distances, weight, start), BAND)[1]
        good &= single - rest >= lag * (SURE * sigma) ** 2
        for out, value in zip(found, (apart, middle, tops[1] - tops[0], fit), strict=True):
            out[rows] = np.where(good, value, np.nan)
    return Bilayer(*found)


def noise_of(profiles: Floats, lag: int = 1) -> Floats:
    """The noise of single profiles, from the quieter parts of each: from how values that lie ``lag`` apart differ.

    Parameters
    ----------
    profiles
        (n, k) finite values.
    lag
        From how many steps on values are independent.

    Returns
    -------
    (n,) standard deviations, as those of a normal distribution: from the lower quartile of the absolute differences,
    because leaflets differ from what is beside them in up to half of a profile. It is rather too large than too small.

    >>> wave = np.random.default_rng(0).normal(size=(1, 2000)) * 3
    >>> noise_of(wave).round(1).tolist()
    [3.0]
    """
    away = np.abs(profiles[:, lag:] - profiles[:, :-lag])
    found: Floats = np.quantile(away, 0.25, axis=1) / (0.31864 * np.sqrt(2))  # that quartile of a normal distribution
    return found


def _alike(heights: Floats) -> NDArray[np.bool_]:
    """Whether two heights (n, 2) are positive, and the lower one is not much lower than the other."""
    low, high = heights.min(axis=1), heights.max(axis=1)
    alike: NDArray[np.bool_] = (low > 0) & (low >= LEAST_SHARE * high)
    return alike


def _leaflets(y: Floats, distances: Floats, deep: Floats, least: float, most: float) -> tuple[Ints, Ints]:
    """The places (n,) of the two peaks of each profile whose heights add up to most; 0 if there are no two.

    The valley between them is ``deep`` (n,) below the lower one, at least.
    """
    rows = np.arange(len(y))
    peak = np.zeros(y.shape, bool)
    peak[:, 1:-1] = (y[:, 1:-1] > y[:, :-2]) & (y[:, 1:-1] >= y[:, 2:])
    high = np.argsort(np.where(peak, -y, np.inf), axis=1, kind="stable")[:, :MOST_PEAKS]
    is_peak = np.take_along_axis(peak, high, axis=1)
    best = np.full(len(y), -np.inf)
    left, right = np.zeros((2, len(y)), np.int64)
    places = np.arange(y.shape[1])
    for a, b in combinations(range(high.shape[1]), 2):
        first, last = np.minimum(high[:, a], high[:, b]), np.maximum(high[:, a], high[:, b])
        between = (places >= first[:, None]) & (places <= last[:, None])
        valley = np.where(between, y, np.inf).min(axis=1)
        lower, total = np.minimum(y[rows, first], y[rows, last]), y[rows, first] + y[rows, last]
        apart = distances[last] - distances[first]
        good = is_peak[:, a] & is_peak[:, b] & (valley <= lower - deep) & (apart >= least) & (apart <= most)
        good &= total > best
        best[good], left[good], right[good] = total[good], first[good], last[good]
    return left, right


def _top(y: Floats, distances: Floats, at: Ints) -> Floats:
    """Where the parabola through a peak and its neighbours is highest."""
    rows = np.arange(len(y))
    before, here, after = y[rows, at - 1], y[rows, at], y[rows, at + 1]
    bend = before - 2 * here + after
    shift = np.where(bend < 0, (before - after) / np.where(bend < 0, 2 * bend, -1), 0)
    top: Floats = distances[at] + np.clip(shift, -0.5, 0.5) * (distances[1] - distances[0])
    return top


def _window(y: Floats, distances: Floats, left: Ints, right: Ints) -> Floats:
    """1 for the values (n, k) that are fitted, 0 for others."""
    middle, reach = (distances[right] + distances[left]) / 2, _reach(y, left, right) * (distances[1] - distances[0])
    window: Floats = (np.abs(distances - middle[:, None]) <= reach[:, None]).astype(np.float64)
    return window


def _start(y: Floats, distances: Floats, weight: Floats, left: Ints, right: Ints) -> Floats:
    """Where the fit of two leaflets begins, (n, 6): level, two heights, middle, distance, width."""
    rows = np.arange(len(y))
    apart, middle = distances[right] - distances[left], (distances[right] + distances[left]) / 2
    low = np.where(weight > 0, y, np.inf).min(axis=1)
    found: Floats = np.stack([low, y[rows, left] - low, y[rows, right] - low, middle, apart, apart / 4], axis=1)
    return found


def _as_band(y: Floats, distances: Floats, weight: Floats, start: Floats) -> Floats:
    """Where the fit of a single band begins, (n, 6): over both peaks, or at the higher one, whichever leaves less."""
    low, first, last, middle, apart, width = start.T
    none, height = np.zeros_like(low), np.maximum(first, last)
    at_higher = middle + np.where(first > last, -apart, apart) / 2
    wide = np.stack([low, height, none, middle, none, apart / 2], axis=1)
    narrow = np.stack([low, height, none, at_higher, none, width], axis=1)
    left = [(_residuals(p, distances, y, weight, BAND)[0] ** 2).sum(axis=1) for p in (wide, narrow)]
    found: Floats = np.where((left[0] <= left[1])[:, None], wide, narrow)
    return found


def _fitted(
    y: Floats, distances: Floats, weight: Floats, start: Floats, free: tuple[int, ...]
) -> tuple[Floats, Floats, Floats]:
    """Fit two Gaussians of one width and a level, by Levenberg and Marquardt.

    Returns
    -------
    Parameters (n, 6), of which those that are not ``free`` are where they began; the sums of squares that are left
    (n,); R² (n,).
    """
    p, index = start.copy(), np.array(free)
    diagonal = np.arange(len(index))
    damp = np.full(len(y), 1e-2)
    cost, slope = _residuals(p, distances, y, weight, free)
    for _ in range(ROUNDS):
        normal = np.einsum("nka,nkb->nab", slope, slope)
        right_side = np.einsum("nka,nk->na", slope, cost)
        size = np.einsum("naa->na", normal) + 1e-12
        normal[:, diagonal, diagonal] += damp[:, None] * size
        step = np.linalg.solve(normal, right_side[:, :, None])[:, :, 0]
        moved = p.copy()
        moved[:, index] += step
        moved[:, 4:] = np.clip(moved[:, 4:], p[:, 4:] / 2, p[:, 4:] * 2)
        cost_there, slope_there = _residuals(moved, distances, y, weight, free)
        better = (cost_there**2).sum(axis=1) < (cost**2).sum(axis=1)
        p[better], cost[better], slope[better] = moved[better], cost_there[better], slope_there[better]
        damp = np.clip(np.where(better, damp / 5, damp * 4), 1e-9, 1e6)
    mean = (weight * y).sum(axis=1) / weight.sum(axis=1)
    spread = (weight * (y - mean[:, None]) ** 2).sum(axis=1)
    rest = (cost**2).sum(axis=1)
    return p, rest, 1 - rest / np.where(spread > 0, spread, 1)


def _reach(y: Floats, left: Ints, right: Ints) -> Floats:
    """Half the width of what is fitted, in steps: to the nearer of the minima outside of the peaks."""
    rows, count = np.arange(len(y)), y.shape[1]
    inner, outer = left.copy(), right.copy()
    for _ in range(count):
        on = (inner > 0) & (y[rows, np.maximum(inner - 1, 0)] < y[rows, inner])
        inner[on] -= 1
        off = (outer < count - 1) & (y[rows, np.minimum(outer + 1, count - 1)] < y[rows, outer])
        outer[off] += 1
        if not (on.any() or off.any()):
            break
    half = (right - left) / 2
    most = 2.2 * half + 2
    reach: Floats = np.clip(np.minimum(left - inner, outer - right) + half, half + 2, most)
    return reach


def _residuals(p: Floats, distances: Floats, y: Floats, weight: Floats, free: tuple[int, ...]) -> tuple[Floats, Floats]:
    """What is missing to ``y`` (n, k), and the derivatives (n, k, f) of the model by its f free parameters."""
    low, first, last, middle, apart, width = (p[:, k, None] for k in range(6))
    u, v = (distances - middle + apart / 2) / width, (distances - middle - apart / 2) / width
    a, b = np.exp(-u * u / 2), np.exp(-v * v / 2)
    ga, gb = first * a * u / width, last * b * v / width
    by = (np.ones_like(a), a, b, ga + gb, (gb - ga) / 2, ga * u + gb * v)
    slope = np.stack([by[k] for k in free], axis=2)
    return weight * (y - low - first * a - last * b), slope * weight[:, :, None]
