"""Spacing of points: of two points that are too close to each other, the weaker one is dropped.

Greedy suppression visits the points from the strongest to the weakest, and keeps a point if no kept point is closer
than the distance. This is not local: a dropped point no longer suppresses its neighbours, and so on along any chain. So
it runs once over the table of all points of a volume, and not in blocks.

>>> suppress(np.array([[0.0, 0, 0], [0, 0, 2], [0, 0, 4]]), distance=3).tolist()
[True, False, True]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BATCH = 1 << 14


def suppress(
    points: ArrayLike, distance: float, group: NDArray[np.integer] | None = None, batch: int = _BATCH
) -> NDArray[np.bool_]:
    """Select points such that no kept point is strictly closer than ``distance`` to a stronger kept point.

    Parameters
    ----------
    points
        (n, axes) positions, from the strongest to the weakest.
    distance
        Smallest distance, in the unit of the positions. Points at exactly this distance are both kept; 0 keeps all.
    group
        (n,) integers. Points of different groups do not suppress each other.
    batch
        Number of points that are handled together. It bounds the memory and does not change the result.

    Returns
    -------
    (n,) bool: which points are kept.

    Notes
    -----
    Points are handled in batches. Those near a kept point of an earlier batch are dropped (by KD-trees of doubling
    size); the others are decided one by one over the close pairs within the batch. It takes about 10 microseconds per
    point.
    """
    from scipy.spatial import cKDTree

    where = np.asarray(points, np.float64)
    if distance <= 0 or len(where) < 2:
        return np.ones(len(where), bool)
    if group is not None:
        where = np.column_stack([where, group.astype(np.float64) * (4 * distance)])
    kept = np.zeros(len(where), bool)
    forest: list[NDArray[np.float64]] = []
    trees: list[cKDTree] = []
    for start in range(0, len(where), batch):
        rows = np.arange(start, min(start + batch, len(where)))
        for tree in trees:
            nearest, _ = tree.query(where[rows], distance_upper_bound=distance * (1 + 1e-9))
            rows = rows[nearest >= distance]
        rows = rows[_greedy(where[rows], distance)]
        kept[rows] = True
        if not len(rows):
            continue
        forest.append(where[rows])
        while len(forest) > 1 and len(forest[-2]) <= 2 * len(forest[-1]):
            forest[-2:] = [np.concatenate(forest[-2:])]
        trees = [*trees[: len(forest) - 1], cKDTree(forest[-1])]
    return kept


def _greedy(where: NDArray[np.float64], distance: float) -> NDArray[np.bool_]:
    from scipy.spatial import cKDTree

    alive = np.ones(len(where), bool)
    if len(where) < 2:
        return alive
    pairs = cKDTree(where).query_pairs(distance * (1 + 1e-9), output_type="ndarray")
    apart = np.sqrt(np.square(where[pairs[:, 0]] - where[pairs[:, 1]]).sum(axis=1))
    pairs = np.sort(pairs[apart < distance], axis=1)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    strong, first = np.unique(pairs[:, 0], return_index=True)
    for i, start, stop in zip(strong, first, [*first[1:], len(pairs)], strict=False):
        if alive[i]:
            alive[pairs[start:stop, 1]] = False
    return alive
