"""Spacing of points: of two points that are too close to each other, the weaker one is dropped.

Greedy suppression visits the points from the strongest to the weakest, and keeps a point if no kept point is closer
than the distance. This is not local: a dropped point no longer suppresses its neighbours, and so on along any chain. So
:func:`suppress` runs over the table of all points of a volume. :func:`suppress_part` decides, part by part, what no
other part can change (:mod:`volengine.ops.spacing`).

>>> suppress(np.array([[0.0, 0, 0], [0, 0, 2], [0, 0, 4]]), distance=3).tolist()
[True, False, True]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BATCH = 1 << 14

_DROPPED, _UNDECIDED, _KEPT = 0, 1, 2


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
    count = len(np.asarray(points))
    kept, _ = suppress_part(points, distance, np.zeros(count, bool), np.zeros(count, bool), group, batch)
    return kept


def suppress_part(
    points: ArrayLike,
    distance: float,
    near: NDArray[np.bool_],
    known: NDArray[np.bool_],
    group: NDArray[np.integer] | None = None,
    batch: int = _BATCH,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Decide about the points of a part of space as far as the points of the other parts do not matter.

    A point is dropped if a stronger kept one is too close. Else it is *undecided* if an unknown point may be too close,
    or if an undecided stronger one is. Else it is kept. Whatever the other parts hold, the decisions are those of
    :func:`suppress` for the points of all parts.

    Parameters
    ----------
    points, distance, group, batch
        As for :func:`suppress`.
    near
        (n,) bool: points to which an unknown stronger point, of another part, may be too close.
    known
        (n,) bool: points that were decided to be kept before.

    Returns
    -------
    Which points are kept, and which are undecided: two arrays (n,) of bool. The others are dropped.
    """
    where = np.asarray(points, np.float64)
    kept, undecided = np.zeros((2, len(where)), bool)
    if distance <= 0:
        return ~kept, undecided
    if group is not None:
        where = np.column_stack([where, group.astype(np.float64) * (4 * distance)])
    strong, doubtful = _Forest(distance), _Forest(distance)
    for start in range(0, len(where), batch):
        rows = np.arange(start, min(start + batch, len(where)))
        rows = rows[known[rows] | ~strong.close(where[rows])]
        unsure = near[rows] | doubtful.close(where[rows])
        state = _greedy(where[rows], distance, unsure, known[rows])
        kept[rows], undecided[rows] = state == _KEPT, state == _UNDECIDED
        strong.add(where[rows[state == _KEPT]])
        doubtful.add(where[rows[state == _UNDECIDED]])
    return kept, undecided


class _Forest:
    """Points in KD-trees of doubling size."""

    def __init__(self, distance: float):
        self.distance = distance
        self.points: list[NDArray[np.float64]] = []
        self.trees: list[Any] = []

    def add(self, points: NDArray[np.float64]) -> None:
        from scipy.spatial import cKDTree

        if not len(points):
            return
        self.points.append(points)
        while len(self.points) > 1 and len(self.points[-2]) <= 2 * len(self.points[-1]):
            self.points[-2:] = [np.concatenate(self.points[-2:])]
        self.trees = [*self.trees[: len(self.points) - 1], cKDTree(self.points[-1])]

    def close(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points are strictly closer to one of the trees' points than the distance."""
        close = np.zeros(len(points), bool)
        for tree in self.trees:
            rest = np.flatnonzero(~close)
            nearest, _ = tree.query(points[rest], distance_upper_bound=self.distance * (1 + 1e-9))
            close[rest] = nearest < self.distance
        return close


def _greedy(
    where: NDArray[np.float64], distance: float, unsure: NDArray[np.bool_], known: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """Decide point by point, over the close pairs among them."""
    from scipy.spatial import cKDTree

    state = np.where(unsure & ~known, _UNDECIDED, _KEPT).astype(np.int8)
    if len(where) < 2:
        return state
    pairs = cKDTree(where).query_pairs(distance * (1 + 1e-9), output_type="ndarray")
    apart = np.sqrt(np.square(where[pairs[:, 0]] - where[pairs[:, 1]]).sum(axis=1))
    pairs = np.sort(pairs[apart < distance], axis=1)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    strong, first = np.unique(pairs[:, 0], return_index=True)
    for i, start, stop in zip(strong, first, [*first[1:], len(pairs)], strict=False):
        if state[i] == _DROPPED:
            continue
        weaker = pairs[start:stop, 1]
        weaker = weaker[~known[weaker]]
        state[weaker] = _DROPPED if state[i] == _KEPT else np.minimum(state[weaker], _UNDECIDED)
    return state
