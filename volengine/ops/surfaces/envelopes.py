"""Envelopes: what points without order would give on the same surface, and how unlike them the points are.

Simulated points are drawn from a pool of random points of each surface, whose pairs have been measured once, with
geodesic distances and areas like those of the data. A draw of n from a pool of M deviates less from the pool than
from chance, and the pool itself deviates from chance: both are put right, exactly in the mean and in first order in the
variance (see :func:`simulated_within`). So some hundred simulations cost as much as the distances of 2 n points.

>>> import numpy as np
>>> band(np.arange(101.0)[:, None], 0.90)[0].round(6).tolist()
[5.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.ops.surfaces.areas import face_areas
from volengine.ops.surfaces.ripley import RipleySums

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]
Seed = int | Sequence[int]

POOL, LEAST_POOL = 2, 200
"""Random points in a pool: so many times the points of the largest class, but at least so many."""
ENOUGH = 1 / 16
"""Share of the variance that may be missing: pools of more than four times the points are drawn from as they are."""
LEVEL = 0.95


def random_points(vertices: Floats, faces: NDArray[np.integer], count: int, seed: Seed) -> tuple[Int64, Floats]:
    """Points at random on faces, equally likely everywhere by area.

    Parameters
    ----------
    vertices, faces
        The surface, or the part of it on which points may lie.
    count
        How many.
    seed
        Seed of ``numpy.random.default_rng``.

    Returns
    -------
    (count,) numbers of faces and (count, 3) barycentric weights.
    """
    rng = np.random.default_rng(seed)
    ends = np.cumsum(face_areas(vertices, faces))
    face = np.minimum(np.searchsorted(ends, rng.random(count) * ends[-1], side="right"), len(ends) - 1)
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    return face.astype(np.int64), np.stack([1 - u, u * (1 - v), u * v], axis=1)


@dataclass(frozen=True, eq=False)
class Pool:
    """Random points of one surface, with what is known of them.

    Parameters
    ----------
    size
        M, how many.
    area
        The surface's area.
    areas
        (M, k) areas of the rings around them.
    first, second, ring
        (p,) the pairs whose distance lies in a ring, each once, and the ring.
    """

    size: int
    area: float
    areas: Floats
    first: NDArray[np.integer]
    second: NDArray[np.integer]
    ring: NDArray[np.integer]

    @property
    def rings(self) -> int:
        """Number of rings."""
        return int(self.areas.shape[1])


def draws(size: int, count: int, simulations: int, seed: Seed) -> Int64:
    """(simulations, count) numbers of a pool's points, no point twice in a draw."""
    rng = np.random.default_rng(seed)
    found = [rng.permutation(size)[:count] for _ in range(simulations)]
    return np.array(found, np.int64).reshape(simulations, count)


def simulated_within(pool: Pool, count: int, simulations: int, seed: Seed) -> RipleySums:
    """Ripley's sums of simulated points of one class on one surface, (simulations, k).

    Notes
    -----
    With p = (n / M)², a pair of the pool is in a draw with probability p, so the variance of a draw's count, given the
    pool, is 1 - p of what independent points have. The deviation from the pool's mean is therefore divided by √(1 - p),
    and counted from what is expected by chance.
    """
    chosen = draws(pool.size, count, simulations, seed)
    counted, expected = np.zeros((simulations, pool.rings)), np.zeros((simulations, pool.rings))
    for s, some in enumerate(chosen):
        drawn = np.zeros(pool.size, bool)
        drawn[some] = True
        both = drawn[pool.first] & drawn[pool.second]
        counted[s] = 2 * np.bincount(pool.ring[both], minlength=pool.rings)
        expected[s] = pool.areas[some].sum(axis=0) * (count - 1) / pool.area
    share = count / pool.size
    every = 2 * np.bincount(pool.ring, minlength=pool.rings) * share * (count - 1) / (pool.size - 1)
    chance = pool.areas.sum(axis=0) * share * (count - 1) / pool.area
    return _put_right(counted, expected, every, chance, 1 - share**2)


def simulated_across(near: Floats, expected: Floats, count: int, simulations: int, seed: Seed) -> RipleySums:
    """The same for two classes: the first is as it is, points of the second are drawn.

    Parameters
    ----------
    near
        (M, k) for each point of the pool the number of points of the first class in its rings.
    expected
        (k,) expected pairs, as in the data.
    count, simulations, seed
        Points of the second class; how often; seed.
    """
    chosen = draws(len(near), count, simulations, seed)
    counted = np.array([near[some].sum(axis=0) for some in chosen], np.float64).reshape(simulations, near.shape[1])
    share = count / len(near)
    same = np.broadcast_to(np.asarray(expected, np.float64), counted.shape)
    return _put_right(counted, same, near.sum(axis=0) * share, np.asarray(expected, np.float64), 1 - share)


def _put_right(counted: Floats, expected: Floats, mean: Floats, chance: Floats, variance: float) -> RipleySums:
    if 1 - variance <= ENOUGH:
        return RipleySums(counted, np.array(expected))
    of_pool = np.divide(mean, chance, out=np.ones_like(chance), where=chance > 0)
    away = (counted - expected * of_pool) / np.sqrt(max(variance, 1e-9))
    return RipleySums(np.maximum(expected + away, 0.0), expected)


def band(simulated: ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The pointwise envelope: at each radius the range that holds this share of the simulations."""
    values = np.asarray(simulated, np.float64)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


@dataclass(frozen=True)
class Deviation:
    """A global test: the largest deviation at any radius (MAD; Ripley; Myllymäki et al., J. R. Stat. Soc. B 79, 2017).

    Parameters
    ----------
    p
        Share of curves, that of the data included, that deviate as much as the data.
    critical
        Deviation that 5 % of the curves reach: a curve that leaves ± this anywhere is significant at 5 %. NaN with
        fewer than 19 simulations.
    """

    p: float
    critical: float


def deviation(data: ArrayLike, simulated: ArrayLike, level: float = LEVEL) -> Deviation:
    """Test a curve against simulated ones by its largest deviation from 0.

    Parameters
    ----------
    data
        (k,) the curve. If a part of it is not known (NaN), nothing is: the largest deviation may be there.
    simulated
        (s, k) the simulated curves; all of them must be known, too.
    """
    curve, others = np.asarray(data, np.float64), np.asarray(simulated, np.float64)
    if not curve.size or not len(others) or not np.isfinite(curve).all() or not np.isfinite(others).all():
        return Deviation(np.nan, np.nan)
    far, chance = np.abs(curve).max(), np.sort(np.abs(others).max(axis=1))
    p = (1 + int((chance >= far).sum())) / (len(chance) + 1)
    rank = int(np.ceil(level * (len(chance) + 1)))
    return Deviation(p, float(chance[rank - 1]) if rank <= len(chance) else np.nan)
