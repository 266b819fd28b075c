"""The two leaflets of a membrane in profiles of a tomogram along the normals of a surface.

The leaflets are the two highest peaks of a profile that a valley separates. Where peaks overlap, their tops are nearer
to each other than their middles are, so that a sum of two Gaussians of one width is fitted, as in Medina et al. (J.
Cell Biol. 2025); the thickness is the distance of its middles.

>>> at = np.arange(-8, 8.01, 0.25)
>>> dark = -np.exp(-((at - 1.5) ** 2) / 2) - np.exp(-((at + 2.5) ** 2) / 2)
>>> found = bilayer(dark[None], at)
>>> found.thickness.round(3).tolist(), found.offset.round(3).tolist(), found.peaks.round(1).tolist()
([4.0], [-0.5], [4.0])
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_PEAKS = 6
"""Highest peaks of a profile among which the two leaflets are searched."""

LEAST_VALLEY = 0.05
"""How far the valley must be below the lower of two peaks, as a part of the profile's range."""

ROUNDS = 30
AT_ONCE = 1 << 13


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
    profiles: Floats, distances: Floats, *, dark: bool = True, least: float = 0.0, most: float = np.inf
) -> Bilayer:
    """Find the two leaflets of a membrane in each profile.

    Parameters
    ----------
    profiles
        (n, k) values along the normals; a profile that is not finite everywhere has no leaflets.
    distances
        (k,) of the values from the vertices, ascending, in equal steps; negative on the inner side.
    dark
        Whether the leaflets are darker (lower) than what is around them, as in tomograms where protein is dark.
    least, most
        Distances between which that of the leaflets lies.
    """
    found = [np.full(len(profiles), np.nan) for _ in range(4)]
    for begin in range(0, len(profiles), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        rows = np.flatnonzero(np.isfinite(profiles[part]).all(axis=1)) + begin
        y = -profiles[rows] if dark else profiles[rows]
        low, span = y.min(axis=1, keepdims=True), np.ptp(y, axis=1, keepdims=True)
        rows, y = rows[span[:, 0] > 0], ((y - low) / np.where(span > 0, span, 1))[span[:, 0] > 0]
        left, right = _leaflets(y, distances, least, most)
        rows, y, left, right = rows[left > 0], y[left > 0], left[left > 0], right[left > 0]
        if not len(rows):
            continue
        tops = _top(y, distances, left), _top(y, distances, right)
        middle, apart, fit = _fitted(y, distances, left, right)
        good = (apart >= least) & (apart <= most) & (fit > 0.5) & (np.abs(middle - sum(tops) / 2) < apart / 2)
        for out, value in zip(found, (apart, middle, tops[1] - tops[0], fit), strict=True):
            out[rows] = np.where(good, value, np.nan)
    return Bilayer(*found)


def _leaflets(y: Floats, distances: Floats, least: float, most: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places (n,) of the two peaks of each profile whose heights add up to most; 0 if there are no two."""
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
        good = is_peak[:, a] & is_peak[:, b] & (valley <= lower - LEAST_VALLEY) & (apart >= least) & (apart <= most)
        good &= total > best
        best[good], left[good], right[good] = total[good], first[good], last[good]
    return left, right


def _top(y: Floats, distances: Floats, at: NDArray[np.int64]) -> Floats:
    """Where the parabola through a peak and its neighbours is highest."""
    rows = np.arange(len(y))
    before, here, after = y[rows, at - 1], y[rows, at], y[rows, at + 1]
    bend = before - 2 * here + after
    shift = np.where(bend < 0, (before - after) / np.where(bend < 0, 2 * bend, -1), 0)
    top: Floats = distances[at] + np.clip(shift, -0.5, 0.5) * (distances[1] - distances[0])
    return top


def _fitted(
    y: Floats, distances: Floats, left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """Fit two Gaussians of one width and a level, by Levenberg and Marquardt; returns middle, distance and R²."""
    rows = np.arange(len(y))
    apart, middle = distances[right] - distances[left], (distances[right] + distances[left]) / 2
    weight = (
        np.abs(distances - middle[:, None]) <= _reach(y, left, right)[:, None] * (distances[1] - distances[0])
    ) * 1.0
    low = np.where(weight > 0, y, np.inf).min(axis=1)
    p = np.stack([low, y[rows, left] - low, y[rows, right] - low, middle, apart, apart / 4], axis=1)
    damp = np.full(len(y), 1e-2)
    cost, slope = _residuals(p, distances, y, weight)
    for _ in range(ROUNDS):
        normal = np.einsum("nka,nkb->nab", slope, slope)
        right_side = np.einsum("nka,nk->na", slope, cost)
        size = np.einsum("naa->na", normal) + 1e-12
        normal[:, np.arange(6), np.arange(6)] += damp[:, None] * size
        step = np.linalg.solve(normal, right_side[:, :, None])[:, :, 0]
        moved = p + step
        moved[:, 4:] = np.clip(moved[:, 4:], p[:, 4:] / 2, p[:, 4:] * 2)
        cost_there, slope_there = _residuals(moved, distances, y, weight)
        better = (cost_there**2).sum(axis=1) < (cost**2).sum(axis=1)
        p[better], cost[better], slope[better] = moved[better], cost_there[better], slope_there[better]
        damp = np.clip(np.where(better, damp / 5, damp * 4), 1e-9, 1e6)
    mean = (weight * y).sum(axis=1) / weight.sum(axis=1)
    spread = (weight * (y - mean[:, None]) ** 2).sum(axis=1)
    fit = 1 - (cost**2).sum(axis=1) / np.where(spread > 0, spread, 1)
    return p[:, 3], np.abs(p[:, 4]), np.where((p[:, 1] > 0) & (p[:, 2] > 0), fit, 0.0)


def _reach(y: Floats, left: NDArray[np.int64], right: NDArray[np.int64]) -> Floats:
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


def _residuals(p: Floats, distances: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """What is missing to ``y`` (n, k), and the derivatives of the model (n, k, 6)."""
    low, first, last, middle, apart, width = (p[:, k, None] for k in range(6))
    u, v = (distances - middle + apart / 2) / width, (distances - middle - apart / 2) / width
    a, b = np.exp(-u * u / 2), np.exp(-v * v / 2)
    ga, gb = first * a * u / width, last * b * v / width
    slope = np.stack([np.ones_like(a), a, b, ga + gb, (gb - ga) / 2, ga * u + gb * v], axis=2)
    return weight * (y - low - first * a - last * b), slope * weight[:, :, None]
