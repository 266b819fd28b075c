"""Scoring picks and masks against what is known.

Points are (n, 3) in voxels, z, y, x, 0-based, voxel centres at integers; masks are 3D arrays where non-zero is set.

>>> import numpy as np
>>> from volengine.ops.score import match_picks
>>> match = match_picks(found=np.array([[0, 0, 1], [9, 9, 9]]), truth=np.array([[0, 0, 0]]), radius_vox=2)
>>> match.precision, match.recall, match.localisation_error_vox
(0.5, 1.0, 1.0)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError
from volengine.ops.score_masks import count, scores

Floats = NDArray[np.float64]

_QUERY = 1 << 18
"""Voxels that are looked up at a time."""


@dataclass(frozen=True)
class Match:
    """Which found pick is which true particle.

    Parameters
    ----------
    pairs
        (m, 2) int64: index of the found pick, index of the true particle; sorted by the former.
    distance_vox
        (m,) float64: distance of each pair.
    n_found, n_truth
        How many there are of each.
    """

    pairs: NDArray[np.int64]
    distance_vox: Floats
    n_found: int
    n_truth: int

    @property
    def precision(self) -> float:
        """Share of the found picks that are true; NaN if nothing was found."""
        return _share(len(self.pairs), self.n_found)

    @property
    def recall(self) -> float:
        """Share of the true particles that were found; NaN if there are none."""
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
        """Indices of the found picks that are no true particle."""
        return np.setdiff1d(np.arange(self.n_found), self.pairs[:, 0])

    @property
    def missed(self) -> NDArray[np.int64]:
        """Indices of the true particles that were not found."""
        return np.setdiff1d(np.arange(self.n_truth), self.pairs[:, 1])


def match_picks(found: ArrayLike, truth: ArrayLike, radius_vox: float) -> Match:
    """Pair found picks with true particles, one to one: as many pairs as possible, then the shortest in sum.

    Parameters
    ----------
    found, truth
        (n, 3) and (m, 3) points.
    radius_vox
        A pair is at most this far apart (the radius itself counts).

    Notes
    -----
    An assignment problem on the pairs within the radius, solved by ``min_weight_full_bipartite_matching`` (the sparse
    form of Jonker and Volgenant's algorithm). Every found pick also has the choice of a partner of its own that costs
    more than any rearrangement can save, so that staying alone is the last choice. Time and memory grow with the
    number of pairs within the radius, not with n × m. Greedy pairing, nearest first, can find fewer pairs.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    found, truth = _points("found", found), _points("truth", truth)
    if not radius_vox >= 0:
        raise InputError(f"radius_vox is {radius_vox}; it must not be negative.")
    row, column, distance = _pairs_within(found, truth, radius_vox)
    n, m = len(found), len(truth)
    none = Match(np.zeros((0, 2), np.int64), np.zeros(0), n, m)
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
    return Match(pairs, np.linalg.norm(found[pairs[:, 0]] - truth[pairs[:, 1]], axis=1), n, m)


def _pairs_within(a: Floats, b: Floats, radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Indices and distances of all pairs with distance <= radius."""
    from scipy.spatial import KDTree

    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    near = KDTree(b).query_ball_point(a, np.nextafter(radius * (1 + 1e-9), np.inf), return_sorted=True)
    row = np.repeat(np.arange(len(a)), [len(n) for n in near])
    column = np.concatenate([np.asarray(n, np.int64) for n in near])
    distance = np.linalg.norm(a[row] - b[column], axis=1)
    keep = distance <= radius
    return row[keep], column[keep], distance[keep]


def dice(prediction: ArrayLike, truth: ArrayLike, ignore: ArrayLike | None = None) -> float:
    """Dice coefficient 2|A ∩ B| / (|A| + |B|) of two masks of the same shape.

    Parameters
    ----------
    prediction, truth
        Masks.
    ignore
        Where this mask is set, voxels do not count.

    Returns
    -------
    In [0, 1]; 1 if both are empty.
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
    """Share of the points whose voxel is set; points outside of the volume count as not covered.

    A point belongs to the voxel whose centre is nearest, halves to the upper one: floor(x + 0.5). NaN without points.
    """
    at, volume = _points("points", points), np.asarray(mask)
    index = np.floor(at + 0.5)
    inside = np.all((index >= 0) & (index < volume.shape), axis=1)
    covered = volume[tuple(index[inside].astype(np.int64).T)] != 0
    return _share(int(np.count_nonzero(covered)), len(at))


def share_within(mask: ArrayLike, points: ArrayLike, distance_vox: float, region: ArrayLike | None = None) -> float:
    """Share of a mask's voxels that are at most ``distance_vox`` away from a point.

    Parameters
    ----------
    mask
        3D; non-zero is set.
    points
        (n, 3).
    distance_vox
        From the voxel's centre to the point; the distance itself counts.
    region
        Count only the voxels where this mask (of the same shape) is set.

    Returns
    -------
    In [0, 1]; NaN if no voxel of the mask counts.
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
    tree, near = KDTree(at), 0
    for start in range(0, len(index), _QUERY):
        voxels = np.stack(np.unravel_index(index[start : start + _QUERY], volume.shape), axis=-1)
        distance, _ = tree.query(voxels, distance_upper_bound=distance_vox * (1 + 1e-9) + 1e-9)
        near += int(np.count_nonzero(distance <= distance_vox))
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
