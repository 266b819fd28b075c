"""Membranes from a real segmentation: the distance of voxels from the mid-surface of a label several voxels thick.

A label shows where a membrane was drawn, but not how thick it is. Only its mid-surface is used: the ridge of the
smoothed label, located with subvoxel accuracy where the first derivative along the direction of largest curvature is 0
(C. Steger, IEEE Trans. Pattern Anal. 20, 1998, 113). A profile of potential around the mid-surface
(:mod:`volengine.sim.shapes.membranes`) gives a bilayer of the right thickness without the steps of the label.

>>> label = np.zeros((20, 20, 20), np.uint8)
>>> label[:, :, 8:11] = 3  # the middle is at 9
>>> how = LabelRidge(voxel_size_a=10.0)
>>> found = label_distance(label, 3, how)
>>> np.round(found[10, 10, 6:13], 3).tolist()
[30.0, 20.0, 10.0, 0.0, 10.0, 20.0, 30.0]

The distance has no sign, because a label need not enclose a volume. At the rim of a label, the mid-surface ends about
one standard deviation of the Gaussian earlier than the label. The distance of a voxel depends only on the
:attr:`LabelRidge.halo` voxels around it; it has the same bytes in every block that is read with this halo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe

Floats = NDArray[np.float64]
Axes = tuple[Floats, Floats, Floats]

_TRUNCATE = 4.0  # the Gaussian is cut off at this number of standard deviations
_NEIGHBOURS = 6
_MARGIN = 0.75  # voxels: ridge points that are farther than the nearest by this have weight 0
_BEND, _STEEP = 0.15, 0.3  # of a ridge: least curvature, and largest slope along it, relative to those of the Gaussian
_FLAT = 1.5  # voxels: distance along the surface up to which the plane through a ridge point is used
_BATCH = 1 << 17  # voxels at a time, so that the memory of a block does not grow with the label in it


@dataclass(frozen=True)
class LabelRidge(Recipe):
    """How the mid-surface of a label is found.

    Parameters
    ----------
    voxel_size_a
        Voxel size of the label volume, angstrom; voxels are cubes.
    smoothing_vox
        Standard deviation of the Gaussian, voxels, 0.7 to 6: about half of the label's thickness, so that the steps of
        the label vanish but the ridge remains.
    reach_a
        Largest distance, angstrom, at least two voxels; voxels farther away get this value.
    least
        Smallest value of the smoothed label on a ridge, above 0 and below 1. Thinner or smaller parts of the label are
        ignored.

    Raises
    ------
    InputError
        A value is out of its range.
    """

    voxel_size_a: float
    smoothing_vox: float = 1.5
    reach_a: float = 60.0
    least: float = 0.1

    def check(self) -> None:
        if not (self.voxel_size_a > 0 and self.reach_a >= 2 * self.voxel_size_a):
            raise InputError(f"The reach, {self.reach_a} A, is at least two voxels of {self.voxel_size_a} A.")
        if not 0.7 <= self.smoothing_vox <= 6 or not 0 < self.least < 1:
            raise InputError(f"smoothing_vox {self.smoothing_vox} is 0.7 to 6 and least {self.least} between 0 and 1.")

    @property
    def halo(self) -> int:
        """Number of voxels around a voxel on which its distance depends: reach, Gaussian, 4 for slopes and offsets."""
        return math.ceil(self.reach_a / self.voxel_size_a) + int(_TRUNCATE * self.smoothing_vox + 0.5) + 4


def label_distance(
    labels: NDArray[Any], label: int, how: LabelRidge, start: Index3 = (0, 0, 0), at: Axes | None = None
) -> NDArray[np.float32]:
    """The distance of every voxel, or of the points of another grid, from the mid-surface of a label.

    Parameters
    ----------
    labels
        (z, y, x), integers: a block of the label volume, including its halo.
    label
        The label of the membrane.
    how
        How the mid-surface is found.
    start
        Position of the block's first voxel in the volume, z, y, x, voxels.
    at
        Coordinates of the grid along z, y and x, (n,) each, in voxels of the volume. They are inside of the block, or
        less than a voxel outside of its faces. Default: the voxels of the block.

    Returns
    -------
    (z, y, x) float32, angstrom, from 0 to ``how.reach_a``. Voxels that are nearer to a face of the block than the halo
    are right only if this is a face of the volume; beyond it the label is continued with its values at the face.
    """
    z, y, x = at or [np.arange(n, dtype=np.float64) + a for n, a in zip(labels.shape, start, strict=True)]
    axes = (z, y, x)
    far = np.full([len(axis) for axis in axes], how.reach_a, np.float32)
    window = _window(labels == label, how.halo)
    if window is None:
        return far
    points, normals = _ridge(labels[window] == label, how)
    if not len(points):
        return far
    corner = [s.start + a for s, a in zip(window, start, strict=True)]
    points[:, :3] += corner  # coordinates of the volume give the same bytes in every block
    shape = [s.stop - s.start for s in window]
    voxels = [
        np.minimum(np.maximum(np.rint(axis).astype(np.int64) - a, 0), n - 1)
        for axis, a, n in zip(axes, corner, shape, strict=True)
    ]
    near = _near(points[:, :3].astype(np.int64) - corner, index3(shape), how)[np.ix_(*voxels)]
    _from_ridge(points, normals, axes, np.flatnonzero(near), far.reshape(-1), how)
    return far


def _window(mask: NDArray[np.bool_], halo: int) -> tuple[slice, slice, slice] | None:
    """The bounding box of the mask, enlarged by a halo; None if the mask is empty."""
    found = []
    for axis, n in enumerate(mask.shape):
        (where,) = np.nonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(where):
            return None
        found.append(slice(max(int(where[0]) - halo, 0), min(int(where[-1]) + halo + 1, n)))
    return found[0], found[1], found[2]


def _near(seeds: NDArray[np.int64], shape: Index3, how: LabelRidge) -> NDArray[np.bool_]:
    """Voxels that, or whose surroundings within one voxel, may have a ridge point within the reach."""
    import edt

    away = np.ones(shape, np.uint8)
    away[tuple(seeds.T)] = 0
    reach = how.reach_a / how.voxel_size_a + 2.8
    found: NDArray[np.bool_] = edt.edtsq(away, black_border=False, parallel=1) <= reach * reach
    return found


def _ridge(mask: NDArray[np.bool_], how: LabelRidge) -> tuple[Floats, Floats]:
    """Find the points of the ridge.

    Returns the points (n, 6) and their unit normals (n, 3). The first three columns of a point are its voxel, from the
    corner of the window; the last three are the offset from the centre of this voxel, in voxels.
    """
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(mask.astype(np.float32), how.smoothing_vox, mode="nearest", truncate=_TRUNCATE)
    padded = np.pad(smooth, 1, mode="edge").astype(np.float64)
    candidates = np.flatnonzero(smooth >= how.least)
    shape = mask.shape
    found = [
        _bends(padded, np.stack(np.unravel_index(candidates[first : first + _BATCH], shape), axis=1), how)
        for first in range(0, len(candidates), _BATCH)
    ]
    none = np.zeros((0, 6)), np.zeros((0, 3))
    points, normals = zip(*(found or [none]), strict=True)
    return np.concatenate(points), np.concatenate(normals)


def _bends(padded: Floats, at: NDArray[np.int64], how: LabelRidge) -> tuple[Floats, Floats]:
    """Find the ridge points in voxels ``at`` (n, 3), as :func:`_ridge`; ``padded`` has one more voxel on each side."""
    here = at + 1

    def value(dz: int, dy: int, dx: int) -> Floats:
        found: Floats = padded[here[:, 0] + dz, here[:, 1] + dy, here[:, 2] + dx]
        return found

    centre = value(0, 0, 0)
    gradient, hessian = np.zeros((len(at), 3)), np.zeros((len(at), 3, 3))
    unit = np.eye(3, dtype=int)
    for i in range(3):
        up, down = value(*unit[i]), value(*-unit[i])
        gradient[:, i] = (up - down) / 2
        hessian[:, i, i] = up - 2 * centre + down
        for j in range(i):
            plus, minus = unit[i] + unit[j], unit[i] - unit[j]
            mixed = (value(*plus) - value(*minus) - value(*-minus) + value(*-plus)) / 4
            hessian[:, i, j] = hessian[:, j, i] = mixed
    values, vectors = np.linalg.eigh(hessian)
    bend, normal = values[:, 0], vectors[:, :, 0]
    slope = gradient[:, 0] * normal[:, 0] + gradient[:, 1] * normal[:, 1] + gradient[:, 2] * normal[:, 2]
    # On the flank of a curved label there are voxels whose largest curvature is along the label. They are no ridge: the
    # curvature is small there, and the slope perpendicular to its direction is large.
    steep = np.sqrt(np.maximum((gradient * gradient).sum(axis=1) - slope * slope, 0.0))
    sharp = (bend < -_BEND * centre / how.smoothing_vox**2) & (steep < _STEEP * centre / how.smoothing_vox)
    offset = (slope / np.where(sharp, -bend, 1e-3))[:, None] * normal
    # a little more than half a voxel, so that no ridge is lost between two voxels
    on = sharp & (np.abs(offset).max(axis=1) <= 0.6)
    return np.concatenate([at[on], offset[on]], axis=1), normal[on]


def _from_ridge(
    points: Floats,
    normals: Floats,
    axes: Axes,
    where: NDArray[np.int64],
    distance: NDArray[np.float32],
    how: LabelRidge,
) -> None:
    """Compute the distances, angstrom, of some points of a grid from a ridge, and write them into ``distance`` (flat).

    The distance of a point is the mean of its distances from the planes through the nearest ridge points, with larger
    weights for nearer ridge points. Beyond the rim of the ridge, the distance to the rim is included.
    """
    from scipy.spatial import cKDTree

    ridge = points[:, :3] + points[:, 3:]
    tree = cKDTree(ridge)
    shape = [len(axis) for axis in axes]
    for first in range(0, len(where), _BATCH):
        some = where[first : first + _BATCH]
        index = np.unravel_index(some, shape)
        places = np.stack([axis[i] for axis, i in zip(axes, index, strict=True)], axis=1)
        away, nearest = tree.query(places, k=_NEIGHBOURS)
        found = _blended(places, away, ridge, normals, nearest)
        distance[some] = np.minimum(found * how.voxel_size_a, how.reach_a)


def _blended(places: Floats, away: Floats, ridge: Floats, normals: Floats, nearest: NDArray[np.int64]) -> Floats:
    """Distances (n,), voxels, from the planes through the nearest ridge points (n, k).

    The nearest point is the first one; ``away`` (n, k) is the distance to each point, infinite if there is none.
    """
    found = np.isfinite(away)
    nearest = np.where(found, nearest, 0)
    step = places[:, None, :] - ridge[nearest]
    normal = normals[nearest]
    height = np.abs(step[..., 0] * normal[..., 0] + step[..., 1] * normal[..., 1] + step[..., 2] * normal[..., 2])
    aside = np.sqrt(np.maximum(away * away - height * height, 0.0, where=found, out=np.zeros_like(away)))
    beyond = np.maximum(aside - _FLAT, 0.0)
    plane = np.sqrt(height * height + beyond * beyond)
    # The last neighbour, and all that are as far as it, have weight 0: which of several equally distant neighbours is
    # found depends on the tree, and the tree differs between blocks. The order of the sum must not depend on it either.
    further = away - away[:, :1]
    margin = np.minimum(further[:, -1:], _MARGIN)
    weight = np.zeros_like(away)
    np.divide(margin - further, margin, out=weight, where=found & (further < margin))
    weight[:, 0] = np.where(margin[:, 0] > 0, weight[:, 0], 1.0)
    order = np.lexsort((plane, weight), axis=1)
    weight, plane = np.take_along_axis(weight, order, 1), np.take_along_axis(plane, order, 1)
    total, share = np.zeros(len(places)), np.zeros(len(places))
    for k in range(_NEIGHBOURS):
        total += weight[:, k] * plane[:, k]
        share += weight[:, k]
    return total / share
