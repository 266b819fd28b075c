"""Membranes of a real segmentation: how far voxels lie from the middle of a label that is several voxels thick.

A label says where somebody drew a membrane, not how thick it is. What counts here is its middle: the ridge of the
smoothed label, found to a fraction of a voxel where the gradient along the steepest bend vanishes (C. Steger, IEEE
Trans. Pattern Anal. 20, 1998, 113). A profile laid about that middle (:mod:`volengine.sim.shapes.membranes`) gives a
bilayer of a bilayer's thickness without the label's stairs.

>>> label = np.zeros((20, 20, 20), np.uint8)
>>> label[:, :, 8:11] = 3  # the middle is at 9
>>> how = LabelRidge(voxel_size_a=10.0)
>>> found = label_distance(label, 3, how)
>>> np.round(found[10, 10, 6:13], 3).tolist()
[30.0, 20.0, 10.0, 0.0, 10.0, 20.0, 30.0]

The distance has no sign: a label need not enclose anything. Where a label ends, its middle ends about one standard
deviation of the Gaussian before. Each voxel depends on no more than :meth:`LabelRidge.halo`
voxels around it, and has the same bytes for every block that has this halo.
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

_TRUNCATE = 4.0  # standard deviations after which the Gaussian ends
_NEIGHBOURS = 6
_MARGIN = 0.75  # voxels: ridge points farther than the nearest by this have no say
_BEND, _STEEP = 0.15, 0.3  # of a ridge: least bend and largest slope along it, in units of the Gaussian's
_FLAT = 1.5  # voxels along the surface for which its plane is trusted
_BATCH = 1 << 17  # voxels at a time: what a block needs does not grow with the label in it


@dataclass(frozen=True)
class LabelRidge(Recipe):
    """How the middle of a label is found.

    Parameters
    ----------
    voxel_size_a
        Angstrom; cubes.
    smoothing_vox
        Standard deviation of the Gaussian, voxels: about half the label's thickness, so that its faces and stairs
        vanish and the ridge stays.
    reach_a
        Farther than this a voxel gets this distance.
    least
        Smallest value of the smoothed label (0 to 1) on a ridge: thinner and smaller bits of the label are left out.
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
        """Voxels around a voxel that its distance depends on: the reach, the Gaussian, and two for slopes and steps."""
        return math.ceil(self.reach_a / self.voxel_size_a) + int(_TRUNCATE * self.smoothing_vox + 0.5) + 4


def label_distance(
    labels: NDArray[Any], label: int, how: LabelRidge, start: Index3 = (0, 0, 0), at: Axes | None = None
) -> NDArray[np.float32]:
    """Distance of every voxel, or of the points of another grid, from the middle of a label.

    Parameters
    ----------
    labels
        (z, y, x), with its halo.
    label
        The membrane's.
    how
        How its middle is found.
    start
        Where the array lies in the volume, voxels.
    at
        Places of the grid along z, y and x, (n,) each, in voxels of the volume; they lie in the array, or less than a
        voxel beyond its faces. None: the array's voxels.

    Returns
    -------
    (z, y, x) float32, angstrom, 0 to ``how.reach_a``. Values nearer than the halo to a face of the array are right only
    where that is a face of the volume, beyond which the label goes on as at the face.
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
    points[:, :3] += corner  # in the volume's voxels: the same bytes in every block
    shape = [s.stop - s.start for s in window]
    voxels = [
        np.minimum(np.maximum(np.rint(axis).astype(np.int64) - a, 0), n - 1)
        for axis, a, n in zip(axes, corner, shape, strict=True)
    ]
    near = _near(points[:, :3].astype(np.int64) - corner, index3(shape), how)[np.ix_(*voxels)]
    _from_ridge(points, normals, axes, np.flatnonzero(near), far.reshape(-1), how)
    return far


def _window(mask: NDArray[np.bool_], halo: int) -> tuple[slice, slice, slice] | None:
    """The box around what holds, wider by a halo; None if nothing does."""
    found = []
    for axis, n in enumerate(mask.shape):
        (where,) = np.nonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(where):
            return None
        found.append(slice(max(int(where[0]) - halo, 0), min(int(where[-1]) + halo + 1, n)))
    return found[0], found[1], found[2]


def _near(seeds: NDArray[np.int64], shape: Index3, how: LabelRidge) -> NDArray[np.bool_]:
    """Voxels that may have a point nearer than the reach: of itself, or of what lies up to a voxel beside it."""
    import edt

    away = np.ones(shape, np.uint8)
    away[tuple(seeds.T)] = 0
    reach = how.reach_a / how.voxel_size_a + 2.8
    found: NDArray[np.bool_] = edt.edtsq(away, black_border=False, parallel=1) <= reach * reach
    return found


def _ridge(mask: NDArray[np.bool_], how: LabelRidge) -> tuple[Floats, Floats]:
    """Points of the ridge (n, 3), in voxels from the window's corner as offsets from voxel centres, and normals.

    The first three columns of the points are the voxel, the last three the offset.
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
    """Those of some voxels (n, 3) that are on the ridge, as of :func:`_ridge`; the array is wider by a voxel."""
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
    # On the slope of a curved label there are places whose steepest bend is a weak one along the label. Unlike on
    # a ridge the label is steep there across that bend, and the bend is weak.
    steep = np.sqrt(np.maximum((gradient * gradient).sum(axis=1) - slope * slope, 0.0))
    sharp = (bend < -_BEND * centre / how.smoothing_vox**2) & (steep < _STEEP * centre / how.smoothing_vox)
    offset = (slope / np.where(sharp, -bend, 1e-3))[:, None] * normal
    # a little more than the voxel itself, so that no ridge falls between two of them
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
    """Distances, angstrom, of the places ``where`` of a grid from a ridge, written into ``distance`` (flat).

    A place takes the distances from the planes through the nearest ridge points, weighted by how near they are; where
    it lies beyond the ridge's rim, the way to the rim counts too.
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
    """Distances (n,), voxels, from the planes of the nearest points (n, k), the nearest first, ``away`` far each."""
    found = np.isfinite(away)
    nearest = np.where(found, nearest, 0)
    step = places[:, None, :] - ridge[nearest]
    normal = normals[nearest]
    height = np.abs(step[..., 0] * normal[..., 0] + step[..., 1] * normal[..., 1] + step[..., 2] * normal[..., 2])
    aside = np.sqrt(np.maximum(away * away - height * height, 0.0, where=found, out=np.zeros_like(away)))
    beyond = np.maximum(aside - _FLAT, 0.0)
    plane = np.sqrt(height * height + beyond * beyond)
    # The last neighbour has no say, nor have those as far as it: where several are equally far, it is the tree that
    # chooses, and the tree is another one in every block. The same for the order in which they are added.
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
