"""Mean shift of weighted points, in memory that grows with their neighbours and not with their square.

Each point walks to the weighted mean of the points around it until it stands still; points that end at one place are a
cluster (Y. Cheng, IEEE Trans. Pattern Anal. Mach. Intell. 17 (1995) 790). The weight of a neighbour falls to 0 at the
bandwidth as in MemBrain-pick: (bandwidth - distance) times the point's own weight. Neighbours come from a KD-tree,
2,000 walkers at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from volengine.core.errors import InputError
from volengine.ops.suppress import suppress
from volengine.ops.surfaces.maxima import by_score

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WALKERS = 2000
STILL = 1e-3
"""A walker stands still when it moves by less than this share of the bandwidth."""


def mean_shift(
    place: Floats, weight: Floats, bandwidth: float, *, iterations: int = 150, join: float = 0.4
) -> tuple[Floats, Ints]:
    """Find the clusters of weighted points.

    Parameters
    ----------
    place
        (n, 3) places, angstrom.
    weight
        (n,) positive weights.
    bandwidth
        Distance up to which points attract each other, angstrom.
    iterations
        Most steps of a walker.
    join
        Ends nearer to each other than this share of the bandwidth are one cluster; the denser one is its centre.

    Returns
    -------
    Centres (k, 3), the densest first, and for each point the number of its cluster.

    Raises
    ------
    InputError
        Weights that are not positive, or a bandwidth that is not.
    """
    if not (bandwidth > 0 and np.isfinite(bandwidth)):
        raise InputError(f"The bandwidth must be positive, not {bandwidth} angstrom.")
    if len(weight) != len(place) or not (np.isfinite(weight).all() and (weight > 0).all()):
        raise InputError("Mean shift needs a positive weight for each point.")
    if not len(place):
        return np.empty((0, 3)), np.empty(0, np.int64)
    tree = KDTree(place)
    ends, density = np.empty_like(place), np.empty(len(place))
    for first in range(0, len(place), WALKERS):
        part = slice(first, first + WALKERS)
        ends[part], density[part] = _walk(tree, place, weight, place[part], bandwidth, iterations)
    order = by_score(density)
    centres = ends[order[suppress(ends[order], join * bandwidth)]]
    return centres, np.asarray(KDTree(centres).query(ends)[1], np.int64)


def _walk(
    tree: KDTree, place: Floats, weight: Floats, start: Floats, bandwidth: float, iterations: int
) -> tuple[Floats, Floats]:
    """Where walkers end, and the density there."""
    at, density = start.copy(), np.zeros(len(start))
    moving = np.arange(len(start))
    for _ in range(iterations):
        moved, density[moving] = _means(tree, place, weight, at[moving], bandwidth)
        step = np.linalg.norm(moved - at[moving], axis=1)
        at[moving] = moved
        moving = moving[step > STILL * bandwidth]
        if not len(moving):
            break
    return at, density


def _means(tree: KDTree, place: Floats, weight: Floats, at: Floats, bandwidth: float) -> tuple[Floats, Floats]:
    near = tree.query_ball_point(at, bandwidth, return_sorted=True)
    counts = np.array([len(one) for one in near])
    walker, point = np.repeat(np.arange(len(at)), counts), np.concatenate([np.asarray(one, np.int64) for one in near])
    pull = weight[point] * (bandwidth - np.linalg.norm(place[point] - at[walker], axis=1))
    total = np.bincount(walker, pull, minlength=len(at))
    mean = np.stack([np.bincount(walker, pull * place[point, k], minlength=len(at)) for k in range(3)], axis=1)
    there = total > 0
    moved = np.where(there[:, None], mean / np.where(there, total, 1)[:, None], at)
    return np.asarray(moved, np.float64), np.asarray(total, np.float64)
