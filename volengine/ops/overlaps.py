"""Shifts of overlapping pieces: measured in each overlap, and solved together.

:func:`displacement` compares the same part of the grid in two pieces by normalised cross-correlation, in which each
displacement is normalised by what the two have in common there (Padfield, IEEE Trans. Image Process. 21, 2706, 2012,
without masks). :func:`solve_shifts` finds the shifts of all pieces that fit best to all displacements (least squares
over the graph of overlaps), and leaves out overlaps that contradict the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIGMA_VOX = 1.0
"""Standard deviation of the Gaussian that smooths noise before the correlation."""

COARSE_VOX = 16.0
"""Standard deviation of the Gaussian whose result is subtracted: shading is no structure."""

SURE = 6.0
"""A peak counts if it is so many standard deviations of the correlation of pure noise."""

RIVAL = 0.8
"""A second peak is as good as the best one if its correlation is this share of the best one's, or more."""

VALLEY = 0.5
"""Two peaks are two if the correlation between them falls below this share of the best one."""

OUTLIER_VOX = 2.0
"""A displacement that differs from the solved one by less is never left out."""

OUTLIER = 4.0
"""A displacement is left out if it differs from the solved one by so many times the usual difference."""

STEPS = 60


@dataclass(frozen=True)
class Displacement:
    """How two pieces are displaced in their overlap.

    Parameters
    ----------
    move
        y, x: what is at a place p of the first one is at ``p + move`` in the second, voxels, with fractions.
    score
        The correlation there, -1 to 1.
    sure
        Whether the peak is clear, inside of the range that was searched, and the only one.
    rival
        ``move`` of the second best peak, if that is about as good: the pictures fit in several ways, as a lattice does.
    """

    move: tuple[float, float]
    score: float
    sure: bool
    rival: tuple[float, float] | None = None


def displacement(first: NDArray[np.generic], second: NDArray[np.generic], reach: tuple[int, int]) -> Displacement:
    """Measure how two pictures of the same place are displaced.

    Parameters
    ----------
    first, second
        The same part of the grid in two pieces, (y, x).
    reach
        Largest displacement that is searched along y and x, voxels; at most half of the picture.

    Returns
    -------
    Displacement
        Not ``sure`` where nothing is to be seen (no structure, or pure noise), or where a second place fits about as
        well (``rival``): a structure that repeats within the range gives its shift only up to its period.

    Examples
    --------
    >>> noise = np.random.default_rng(1).normal(size=(64, 96))
    >>> found = displacement(noise[5:45, 3:83], noise[7:47, 0:80], (8, 8))
    >>> [round(v) for v in found.move], found.sure
    ([-2, 3], True)
    """
    shape = first.shape
    ry, rx = (max(1, min(r, n // 2)) for r, n in zip(reach, shape, strict=True))
    a, b = _filtered(first), _filtered(second)
    scores, common = _correlations(a, b, ry, rx)
    # Few common voxels correlate by chance: compare in standard deviations of the correlation of noise.
    deviations = scores * np.sqrt(common / (4 * np.pi * SIGMA_VOX**2))
    y, x = (int(v) for v in np.unravel_index(int(np.argmax(deviations)), deviations.shape))
    inside = 0 < y < 2 * ry and 0 < x < 2 * rx
    clear = bool(inside and deviations[y, x] >= SURE)
    rival = _rival(scores, deviations, y, x) if clear else None
    fine = (_vertex(scores[y - 1 : y + 2, x]), _vertex(scores[y, x - 1 : x + 2])) if inside else (0.0, 0.0)
    other = None if rival is None else (float(rival[0] - ry), float(rival[1] - rx))
    found = (y - ry + fine[0], x - rx + fine[1])
    return Displacement(found, float(scores[y, x]), clear and rival is None, other)


def _rival(scores: NDArray[np.float64], deviations: NDArray[np.float64], y: int, x: int) -> tuple[int, int] | None:
    """Where the second best peak is, if it is about as good as the best one at ``y, x``; else ``None``."""
    from scipy.ndimage import label

    best = scores[y, x]
    hill = label(scores >= VALLEY * best)[0]
    others = (hill != hill[y, x]) & (scores >= RIVAL * best) & (deviations >= SURE)
    if not others.any():
        return None
    at = np.unravel_index(int(np.argmax(np.where(others, scores, -np.inf))), scores.shape)
    return int(at[0]), int(at[1])


def displacement_bytes(voxels: int) -> int:
    """Bytes that :func:`displacement` needs for pictures of that many voxels.

    The pictures and their sums (6 numbers per voxel), four transforms of 1.5 times the sides (9), and the correlations
    at up to as many displacements as there are voxels (17).
    """
    return 8 * voxels * (6 + 9 + 17)


def _filtered(image: NDArray[np.generic]) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter

    values = image.astype(np.float64)
    values = np.where(np.isfinite(values), values, 0.0)
    values -= values.mean()
    for axis, n in enumerate(values.shape):  # a slope, which the filter leaves at the edges
        at = np.arange(n) - (n - 1) / 2
        lines = values.mean(axis=1 - axis)
        slope = float(at @ lines) / max(float(at @ at), 1.0)
        values -= (slope * at)[:, None] if axis == 0 else slope * at
    band: NDArray[np.float64] = gaussian_filter(values, SIGMA_VOX, mode="nearest")
    band -= gaussian_filter(values, COARSE_VOX, mode="nearest")
    return band


def _correlations(
    a: NDArray[np.float64], b: NDArray[np.float64], ry: int, rx: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlations at displacements -ry ... ry, -rx ... rx, and how many voxels are compared in each."""
    from scipy import fft

    n, m = a.shape
    size = [fft.next_fast_len(n + ry, real=True), fft.next_fast_len(m + rx, real=True)]
    cross = fft.irfft2(np.conj(fft.rfft2(a, size)) * fft.rfft2(b, size), size)
    dy, dx = np.arange(-ry, ry + 1), np.arange(-rx, rx + 1)
    products = cross[np.ix_(dy, dx)]
    # The voxels p of a for which p + d is in b, and those of b.
    low_y, high_y, low_x, high_x = np.maximum(0, -dy), np.minimum(n, n - dy), np.maximum(0, -dx), np.minimum(m, m - dx)
    sides_a = (low_y, high_y, low_x, high_x)
    sides_b = (low_y + dy, high_y + dy, low_x + dx, high_x + dx)
    common = np.outer(high_y - low_y, high_x - low_x).astype(np.float64)
    sums = [_sums(values, sides) for values, sides in ((a, sides_a), (b, sides_b), (a * a, sides_a), (b * b, sides_b))]
    tiny = 1e-12 * max(float(np.abs(sums[2]).max()), float(np.abs(sums[3]).max()), 1e-300)
    spread_a, spread_b = sums[2] - sums[0] ** 2 / common, sums[3] - sums[1] ** 2 / common
    usable = (spread_a > tiny) & (spread_b > tiny)
    scores = np.zeros_like(common)
    np.divide(
        products - sums[0] * sums[1] / common,
        np.sqrt(np.where(usable, spread_a, 1) * np.where(usable, spread_b, 1)),
        out=scores,
        where=usable,
    )
    return scores, common


def _sums(values: NDArray[np.float64], sides: tuple[NDArray[np.int64], ...]) -> NDArray[np.float64]:
    """Sums over rectangles: rows from ``sides[0]`` to ``sides[1]``, columns from ``sides[2]`` to ``sides[3]``."""
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    table[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    y0, y1, x0, x1 = sides
    found: NDArray[np.float64] = (
        table[np.ix_(y1, x1)] - table[np.ix_(y0, x1)] - table[np.ix_(y1, x0)] + table[np.ix_(y0, x0)]
    )
    return found


def _vertex(three: NDArray[np.float64]) -> float:
    """Where a parabola through three values at -1, 0, 1 has its maximum."""
    low, middle, high = (float(v) for v in three)
    bend = low - 2 * middle + high
    return 0.0 if bend >= 0 else float(np.clip((low - high) / (2 * bend), -0.5, 0.5))


@dataclass(frozen=True)
class Solution:
    """Shifts of all pieces.

    Parameters
    ----------
    shifts
        y, x of each piece, voxels, (pieces, 2). Pieces that are connected by overlaps have the mean 0.
    kept
        Which displacements agree, (overlaps,).
    residuals
        How far each displacement is from the solved one, voxels, (overlaps,).
    """

    shifts: NDArray[np.float64]
    kept: NDArray[np.bool_]
    residuals: NDArray[np.float64]


def solve_shifts(
    pieces: int, pairs: NDArray[np.int64], moves: NDArray[np.float64], weights: NDArray[np.float64]
) -> Solution:
    """Find the shifts of pieces of which each displacement is the difference.

    First the sum of the lengths of all residuals is made small (iteratively reweighted least squares), which a few
    wrong displacements cannot draw away. A displacement that is far larger than the usual ones counts less, because two
    overlaps of a corner piece that contradict each other are decided by nothing else. Then displacements that differ
    much are left out, and the others are solved by weighted least squares.

    Parameters
    ----------
    pieces
        Number of pieces.
    pairs
        The two pieces of each overlap, (overlaps, 2).
    moves
        ``shift[second] - shift[first]`` as measured, y, x, (overlaps, 2).
    weights
        Weight of each overlap, (overlaps,), not negative.

    Returns
    -------
    Solution
        Pieces without an overlap are not shifted.
    """
    if not len(pairs):
        return Solution(np.zeros((pieces, 2)), np.zeros(0, bool), np.zeros(0))
    lengths = np.hypot(*moves.T)
    usual = float(np.median(lengths)) + 1.0
    believed: NDArray[np.float64] = weights / (1 + (lengths / (2 * usual)) ** 2)
    now = believed
    for _ in range(STEPS):
        shifts = _least_squares(pieces, pairs, moves, now)
        now = believed / np.maximum(_residuals(shifts, pairs, moves), 0.1)
    residuals = _residuals(shifts, pairs, moves)
    kept = residuals <= max(OUTLIER_VOX, OUTLIER * 1.4826 * float(np.median(residuals)))
    shifts = _least_squares(pieces, pairs[kept], moves[kept], weights[kept])
    return Solution(shifts, kept, _residuals(shifts, pairs, moves))


def _residuals(
    shifts: NDArray[np.float64], pairs: NDArray[np.int64], moves: NDArray[np.float64]
) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.hypot(*(shifts[pairs[:, 1]] - shifts[pairs[:, 0]] - moves).T)
    return lengths


def _least_squares(
    pieces: int, pairs: NDArray[np.int64], moves: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted least squares; in each connected group the shifts have the mean 0."""
    first, second = pairs.T
    matrix = np.zeros((pieces, pieces))
    sums = np.zeros((pieces, 2))
    for rows, columns, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
        np.add.at(matrix, (rows, columns), sign * weights)
    np.add.at(sums, second, weights[:, None] * moves)
    np.add.at(sums, first, -weights[:, None] * moves)
    group = groups_of(pieces, pairs)
    scale = max(float(weights.max(initial=0.0)), 1e-12)
    together = (group[:, None] == group[None, :]).astype(np.float64)
    share = scale / np.bincount(group)[group].astype(np.float64)
    solved: NDArray[np.float64] = np.linalg.solve(matrix + together * share[:, None], sums)
    return solved


def groups_of(pieces: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each piece the number of the group that overlaps connect it with, (pieces,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(pieces, pieces))
    group: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return group


def whole_shifts(shifts: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round shifts to whole voxels, such that the pieces of a group keep their places to each other.

    A group as a whole lies where its mean is 0, which is no whole number for any of its pieces. It is first moved by
    less than a voxel, to where its shifts are nearest to whole numbers (the mean direction of their fractions).

    Parameters
    ----------
    shifts
        y, x of each piece, (pieces, 2).
    group
        Number of each piece's group, (pieces,).

    Examples
    --------
    >>> whole_shifts(np.array([[0.4, 0.0], [-0.6, 0.1], [1.41, -0.1]]), np.zeros(3, int)).tolist()
    [[0, 0], [-1, 0], [1, 0]]
    """
    turns = np.exp(2j * np.pi * shifts)
    common = np.zeros((int(group.max(initial=0)) + 1, shifts.shape[1]), complex)
    np.add.at(common, group, turns)
    fraction = np.angle(common) / (2 * np.pi)
    return np.rint(shifts - fraction[group]).astype(np.int64)
