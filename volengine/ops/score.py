"""Scores of picks and masks against the truth.

Points are (n, 3) in voxels, z, y, x, 0-based, with voxel centres at integers. Masks are 3D arrays in which non-zero
voxels are set.

>>> import numpy as np
>>> from volengine.ops.score import pair_picks
>>> match = pair_picks(found=np.array([[0, 0, 1], [9, 9, 9]]), truth=np.array([[0, 0, 0]]), radius_vox=2)
>>> match.precision, match.recall, match.localisation_error_vox
(0.5, 1.0, 1.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError
from volengine.ops.score_masks import count, scores

Floats = NDArray[np.float64]

ROUNDING = 1e-5
"""Share of a radius by which a distance may exceed it: coordinates and voxel sizes are rounded in files."""

_QUERY = 1 << 18
"""Number of voxels that are looked up at a time."""


@dataclass(frozen=True)
class Pairing:
    """The pairing of found picks with true particles.

    Parameters
    ----------
    pairs
        (m, 2) int64: index of the found pick, index of the true particle; sorted by the former.
    distance_vox
        (m,) float64: distance of each pair, voxels.
    n_found, n_truth
        Numbers of found picks and of true particles.
    """

    pairs: NDArray[np.int64]
    distance_vox: Floats
    n_found: int
    n_truth: int

    @property
    def precision(self) -> float:
        """Share of the found picks that have a pair; NaN if nothing was found."""
        return _share(len(self.pairs), self.n_found)

    @property
    def recall(self) -> float:
        """Share of the true particles that have a pair; NaN if there are none."""
        return _share(len(self.pairs), self.n_truth)

    @property
    def f1(self) -> float:
        """2 · pairs / (found + true); NaN if there are neither."""
        return _share(2 * len(self.pairs), self.n_found + self.n_truth)

    @property
    def localisation_error_vox(self) -> float:
        """Mean distance of the pairs in voxels; NaN if there are none."""
        return float(self.distance_vox.mean()) if len(self.pairs) else float("nan")

    @property
    def extra(self) -> NDArray[np.int64]:
        """Indices of the found picks without a pair (false positives)."""
        return np.setdiff1d(np.arange(self.n_found), self.pairs[:, 0])

    @property
    def missed(self) -> NDArray[np.int64]:
        """Indices of the true particles without a pair (false negatives)."""
        return np.setdiff1d(np.arange(self.n_truth), self.pairs[:, 1])


def pool(matches: Sequence[Pairing]) -> Pairing:
    """Join the pairings of several tomograms or features; indices count on from one to the next."""
    before = np.cumsum([(0, 0), *((m.n_found, m.n_truth) for m in matches)], axis=0)
    return Pairing(
        np.concatenate([np.zeros((0, 2), np.int64), *(m.pairs + at for m, at in zip(matches, before, strict=False))]),
        np.concatenate([np.zeros(0), *(m.distance_vox for m in matches)]),
        int(before[-1, 0]),
        int(before[-1, 1]),
    )


def pair_picks(found: ArrayLike, truth: ArrayLike, radius_vox: float) -> Pairing:
    """Pair found picks with true particles, one to one: as many pairs as possible, and of these the smallest sum.

    Parameters
    ----------
    found, truth
        (n, 3) and (m, 3) points, voxels, z, y, x.
    radius_vox
        Largest distance of a pair, voxels. A distance equal to it counts, within :data:`ROUNDING`.

    Raises
    ------
    InputError
        The points do not have the shape (n, 3), or the radius is negative.

    Notes
    -----
    This is an assignment problem on the pairs within the radius, solved by ``min_weight_full_bipartite_matching`` (the
    sparse form of the algorithm of Jonker and Volgenant). Every found pick may also be assigned to a dummy partner that
    costs more than any rearrangement can save, so it stays alone only if it must. Time and memory grow with the number
    of pairs within the radius, not with n × m. Greedy pairing, nearest first, can find fewer pairs.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    found, truth = _points("found", found), _points("truth", truth)
    if not radius_vox >= 0:
        raise InputError(f"radius_vox is {radius_vox}; it must not be negative.")
    row, column, distance = _pairs_within(found, truth, radius_vox)
    n, m = len(found), len(truth)
    none = Pairing(np.zeros((0, 2), np.int64), np.zeros(0), n, m)
    if not len(row):
        return none
    rows, row_of = np.unique(row, return_inverse=True)
    columns, column_of = np.unique(column, return_inverse=True)
    k = len(rows)
    alone = (min(k, len(columns)) + 2) * (radius_vox + 1.0)
    weight = np.concatenate([distance + 1.0, np.full(k, alone)])  # zero would mean "no edge"
    at = (np.concatenate([row_of, np.arange(k)]), np.concatenate([column_of, len(columns) + np.arange(k)]))
    graph = coo_array((weight, at), shape=(k, len(columns) + k)).tocsr()
    left, right = min_weight_full_bipartite_matching(graph)
    paired = right < len(columns)
    pairs = np.stack([rows[left[paired]], columns[right[paired]]], axis=-1).astype(np.int64)
    pairs = pairs[np.argsort(pairs[:, 0])]
    return Pairing(pairs, np.linalg.norm(found[pairs[:, 0]] - truth[pairs[:, 1]], axis=1), n, m)


def _pairs_within(a: Floats, b: Floats, radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return indices and distances of all pairs with distance <= radius, within :data:`ROUNDING`."""
    from scipy.spatial import KDTree

    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    reach = radius * (1 + ROUNDING)
    near = KDTree(b).query_ball_point(a, np.nextafter(reach * (1 + 1e-9), np.inf), return_sorted=True)
    row = np.repeat(np.arange(len(a)), [len(n) for n in near])
    column = np.concatenate([np.asarray(n, np.int64) for n in near])
    distance = np.linalg.norm(a[row] - b[column], axis=1)
    keep = distance <= reach
    return row[keep], column[keep], distance[keep]


def dice(prediction: ArrayLike, truth: ArrayLike, ignore: ArrayLike | None = None) -> float:
    """Compute the Dice coefficient 2|A ∩ B| / (|A| + |B|) of two masks of the same shape.

    Parameters
    ----------
    prediction, truth
        Masks.
    ignore
        Mask of voxels that do not count.

    Returns
    -------
    From 0 to 1; 1 if both masks are empty, NaN if no voxel counts.

    Raises
    ------
    InputError
        The shapes differ.
    """
    a, b = np.asarray(prediction) != 0, np.asarray(truth) != 0
    if a.shape != b.shape:
        raise InputError(f"The masks have the shapes {a.shape} and {b.shape}; Dice needs the same.")
    if ignore is not None:
        counts = np.asarray(ignore) == 0
        if counts.shape != a.shape:
            raise InputError(f"The masks have the shape {a.shape} and the ignored voxels {counts.shape}.")
        a, b = a & counts, b & counts
    return scores(count(a, b, None))["dice"]


def coverage(points: ArrayLike, mask: ArrayLike) -> float:
    """Compute the share of the points that lie in set voxels of a mask.

    A point belongs to the voxel floor(x + 0.5). A point outside of the mask's array counts as not covered.

    Parameters
    ----------
    points
        (n, 3), voxels, z, y, x.
    mask
        3D; non-zero is set.

    Returns
    -------
    From 0 to 1; NaN if there are no points.
    """
    at, volume = _points("points", points), np.asarray(mask)
    index = np.floor(at + 0.5)
    inside = np.all((index >= 0) & (index < volume.shape), axis=1)
    covered = volume[tuple(index[inside].astype(np.int64).T)] != 0
    return _share(int(np.count_nonzero(covered)), len(at))


def share_within(mask: ArrayLike, points: ArrayLike, distance_vox: float, region: ArrayLike | None = None) -> float:
    """Compute the share of a mask's voxels that are at most ``distance_vox`` away from a point.

    Parameters
    ----------
    mask
        3D; non-zero is set.
    points
        (n, 3), voxels, z, y, x.
    distance_vox
        Largest distance from the voxel's centre to the nearest point, voxels. A distance equal to it counts, within
        :data:`ROUNDING`.
    region
        Mask of the same shape: count only the voxels where it is set.

    Returns
    -------
    From 0 to 1; NaN if no voxel of the mask counts.

    Raises
    ------
    InputError
        The shapes of mask and region differ, or the points do not have the shape (n, 3).
    """
    from scipy.spatial import KDTree

    volume, at = np.asarray(mask) != 0, _points("points", points)
    if region is not None:
        if np.shape(region) != volume.shape:
            raise InputError(f"The mask has the shape {volume.shape} and the region {np.shape(region)}.")
        volume = volume & (np.asarray(region) != 0)
    index = np.flatnonzero(volume)
    if not len(index) or not len(at):
        return _share(0, len(index))
    tree, near, reach = KDTree(at), 0, distance_vox * (1 + ROUNDING)
    for start in range(0, len(index), _QUERY):
        voxels = np.stack(np.unravel_index(index[start : start + _QUERY], volume.shape), axis=-1)
        distance, _ = tree.query(voxels, distance_upper_bound=reach * (1 + 1e-9) + 1e-9)
        near += int(np.count_nonzero(distance <= reach))
    return _share(near, len(index))


def _points(name: str, points: ArrayLike) -> Floats:
    array = np.asarray(points, float)
    if array.size == 0:
        return np.zeros((0, 3))
    if array.ndim != 2 or array.shape[1] != 3:
        raise InputError(f"{name} must be points of shape (n, 3), not {array.shape}.")
    return array


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
