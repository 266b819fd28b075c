"""Skeletons of surfaces: the mid-surface of a thick membrane, computed exactly in blocks.

``surface_skeleton`` finds the ridge of the distance to the background, as membrain-seg does for its Surface-Dice
(Lamm et al., MemBrain v2, bioRxiv 2024.01.05.574336). It computes the second differences of the negative distance,
smooths each by a Gaussian of 1 voxel, and takes for each voxel the largest eigenvalue (in size) of their matrix and its
direction. The eigenvalues are smoothed again. A voxel belongs to the skeleton if its value is not smaller than the
values 0.71 voxels away along this direction, on both sides. ``slice_skeleton`` thins each z slice by itself (Zhang &
Suen, 1984).

Distances are cut off at :data:`DEEPEST`, so the method is local: the result at a voxel depends on the voxels within
``SUPPORT + DEEPEST`` of it, and on fewer where the mask is thin.

Two details differ from membrain-seg on purpose. First, the direction keeps its signs. membrain-seg walks along their
absolute values, which makes surfaces that face a mixed diagonal up to five times too thick. Second, ties count as
ridge, so the skeleton of an even number of equal layers is two layers thick; membrain-seg leaves this to rounding.

>>> import numpy as np
>>> slab = np.zeros((30, 30, 30), bool)
>>> slab[12:17] = True
>>> np.unique(np.argwhere(surface_skeleton(slab))[:, 0])
array([14])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

SUPPORT = 12
"""Reach of the method, voxels: two differences (2), two smoothings (4 and 4), the step aside (1), and one more."""

DEEPEST = 40
"""Largest distance, voxels; larger ones are set to it. Masks thicker than 2 · (DEEPEST - 4) have no skeleton inside."""

STEP = 0.71
"""Distance along the direction at which a ridge voxel is compared with its surroundings, voxels."""

_TAPS = np.exp(-0.5 * np.arange(-4, 5) ** 2)
_WEIGHTS = _TAPS / _TAPS.sum()
_LEAST = 0.01
_TIE = 1 + 1e-5
STRAY = 1.1
"""Measured on shells and slabs of 3 to 14 voxels: up to 1.0 on their middle, 1.2 and more on strays near faces."""

_UPRIGHT = 1e-3
"""Components of directions that differ by less are equal, so that rounding does not choose between axes."""
_AT_ONCE = 1 << 17


def depth(mask: Mask) -> Floats:
    """Compute the distance of each mask voxel to the nearest background voxel, at most :data:`DEEPEST` voxels.

    Voxels outside of the array do not count as background. Returns float32 of the mask's shape; 0 in the background.
    """
    import edt

    squares = edt.edtsq(np.ascontiguousarray(mask), black_border=False)
    deep: Floats = np.sqrt(np.minimum(squares, np.float32(DEEPEST**2)), dtype=np.float32)
    return deep


def halo_needed(mask: Mask, box: Box, core: Box, shape: Sequence[int]) -> Index3 | None:
    """Return the halo with which the skeleton in ``core`` is exact, or ``None`` if ``box`` already suffices.

    Parameters
    ----------
    mask
        bool: the mask in ``box``.
    box, core
        The box that was read, and the part of it whose skeleton is wanted.
    shape
        Shape of the volume, z, y, x.
    """
    sides = [
        *(c - b for b, c in zip(box.start, core.start, strict=True) if b > 0),
        *(b - c for b, c, n in zip(box.stop, core.stop, shape, strict=True) if b < n),
    ]
    if not sides:
        return None
    margin = min(sides) - SUPPORT
    wide = core.grow((SUPPORT,) * 3).intersect(box)
    deepest = float(depth(mask)[wide.slices_in(box)].max(initial=0))
    if margin >= min(deepest, DEEPEST):
        return None
    return index3([SUPPORT + int(np.ceil(deepest))] * 3)


class Ridge(NamedTuple):
    """Voxels of a skeleton: places (n, 3), z, y, x, in C order; the direction across the surface (n, 3), unit vectors
    in voxels whose sign means nothing; and the sharpness of the ridge (n,), which decides between neighbours.
    """

    place: NDArray[np.int64]
    direction: Floats
    value: Floats


def surface_skeleton(
    mask: Mask, box: Box | None = None, core: Box | None = None, shape: Sequence[int] | None = None
) -> Mask:
    """Find the ridge of the distance to the background.

    Parameters
    ----------
    mask
        bool, (z, y, x).
    box, core, shape
        For a part of a larger volume: the box that the mask covers, the part of it whose skeleton is wanted (with the
        halo of :func:`halo_needed` around it), and the shape of the volume. Default: the mask is the whole volume.

    Returns
    -------
    bool, of the shape of ``core``: the skeleton. The outermost voxels of the volume never belong to it.
    """
    core = Box.of_shape(mask.shape if shape is None else shape) if core is None else core
    return _mask_of(surface_ridge(mask, box, core, shape).place, core)


def single_layer(
    mask: Mask, box: Box | None = None, core: Box | None = None, shape: Sequence[int] | None = None
) -> Ridge:
    """Find the skeleton of one layer: of neighbours across the surface only the one on the ridge belongs to it.

    The ridge of :func:`surface_skeleton` is two layers thick where two are equally near to the middle, and where the
    surface is oblique for half of all places of its middle between voxels. Here a voxel of it belongs to the skeleton
    if its ridge is sharper than that of its two neighbours along the axis that is most across the surface; of equally
    sharp ones the lower one along the direction, which points to higher z, then y, then x.

    So a plane has one voxel in each column of voxels along that axis.

    Parameters
    ----------
    mask, box, core, shape
        As of :func:`surface_skeleton`, with the same halo.
    """
    shape = mask.shape if shape is None else shape
    core = Box.of_shape(shape) if core is None else core
    wide = core.grow((1, 1, 1)).clip(shape)
    place, direction, value = surface_ridge(mask, box, wide, shape, strays=False)
    field = np.zeros(wide.shape, np.float32)
    field[tuple((place - np.array(wide.start)).T)] = value
    inside = ((place >= core.start) & (place < core.stop)).all(axis=1)
    place, direction, value = place[inside], direction[inside], value[inside]
    first = np.argmax(np.abs(direction) > _UPRIGHT, axis=1)
    rows = np.arange(len(place))
    direction = direction * np.sign(direction[rows, first])[:, None]
    size = np.abs(direction)
    axis = np.argmax(size >= size.max(axis=1, keepdims=True) - _UPRIGHT, axis=1)
    up = np.sign(direction[rows, axis]).astype(np.int64)
    step = np.zeros_like(place)
    step[rows, axis] = up
    keep = np.ones(len(place), bool)
    for sign in (-1, 1):
        beside = field[tuple((np.clip(place + sign * step - wide.start, 0, np.array(wide.shape) - 1)).T)]
        keep &= beside <= (value * np.float32(_TIE) if sign > 0 else value / np.float32(_TIE))
    return Ridge(place[keep], direction[keep], value[keep])


def column_areas(direction: Floats, voxel_size: Sequence[float]) -> NDArray[np.float64]:
    """The area of surface that each voxel of a single layer stands for: that of its column, over the surface's slope.

    Parameters
    ----------
    direction
        (n, 3) of :func:`single_layer`.
    voxel_size
        Sides of a voxel z, y, x; the areas are in the square of its unit.
    """
    size = np.asarray(voxel_size, np.float64)
    rows, axis = np.arange(len(direction)), np.abs(direction).argmax(axis=1)
    normal = direction / size
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    areas: NDArray[np.float64] = np.prod(size) / size[axis] / np.abs(normal[rows, axis])
    return areas


def _mask_of(place: NDArray[np.int64], core: Box) -> Mask:
    out = np.zeros(core.shape, bool)
    out[tuple((place - np.array(core.start)).T)] = True
    return out


def surface_ridge(
    mask: Mask,
    box: Box | None = None,
    core: Box | None = None,
    shape: Sequence[int] | None = None,
    *,
    strays: bool = True,
) -> Ridge:
    """The voxels of :func:`surface_skeleton`, with directions and sharpness.

    Without ``strays`` those are left out that lie near a face of a mask of four layers and more: up to two voxels away
    along each axis the distance to the background is larger by more than :data:`STRAY`.
    """
    shape = mask.shape if shape is None else shape
    box = Box.of_shape(shape) if box is None else box
    core = box if core is None else core
    from scipy.ndimage import maximum_filter

    near = core.grow((SUPPORT,) * 3).intersect(box)
    deep = np.ascontiguousarray(depth(mask)[near.slices_in(box)])
    index = np.argwhere(deep)
    if not len(index) or min(deep.shape) < 2:
        return Ridge(np.zeros((0, 3), np.int64), np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    value, direction = _bending(deep, index)
    field = np.zeros(deep.shape, np.float32)
    field[tuple(index.T)] = value
    field = _smooth(field)
    place = index + np.array(near.start)
    low, high = np.maximum(core.start, 1), np.minimum(core.stop, np.array(shape) - 1)
    asked = ((place >= low) & (place < high)).all(1)
    asked &= (deep[tuple(index.T)] <= DEEPEST - 4) & (field[tuple(index.T)] > _LEAST)
    index, direction, place = index[asked], direction[asked], place[asked]
    value = field[tuple(index.T)]
    here = value * np.float32(_TIE)
    ridge = (here >= _beside(field, index, direction)) & (here >= _beside(field, index, -direction))
    if not strays:
        deepest = maximum_filter(deep, 5, mode="nearest")
        ridge &= deepest[tuple(index.T)] - deep[tuple(index.T)] <= np.float32(STRAY)
    return Ridge(place[ridge], direction[ridge], value[ridge])


def slice_skeleton(mask: Mask) -> Mask:
    """Thin each z slice of a mask by itself; returns bool of the mask's shape."""
    from skimage.morphology import skeletonize

    return np.stack([skeletonize(np.ascontiguousarray(s)) for s in mask]) if len(mask) else mask.copy()


def _smooth(values: Floats) -> Floats:
    """Smooth by a Gaussian of 1 voxel, nine taps along each axis; values outside of the array are 0."""
    from scipy.ndimage import correlate1d

    for axis in range(3):
        values = correlate1d(values, _WEIGHTS, axis=axis, mode="constant")
    return values


def _bending(deep: Floats, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return, at some voxels, the largest eigenvalue (in size) of the second differences, and its direction (n, 3)."""
    at = tuple(index.T)
    six = np.empty((len(index), 6), np.float32)
    pairs = [(a, b) for a in range(3) for b in range(a, 3)]
    for a in range(3):
        first = np.gradient(-deep, axis=a)
        for b in range(a, 3):
            six[:, pairs.index((a, b))] = _smooth(np.gradient(first, axis=b))[at]
    value, direction = np.empty(len(index), np.float32), np.empty((len(index), 3), np.float32)
    for begin in range(0, len(index), _AT_ONCE):
        some = six[begin : begin + _AT_ONCE]
        matrix = np.empty((len(some), 3, 3))
        for k, (a, b) in enumerate(pairs):
            matrix[:, a, b] = matrix[:, b, a] = some[:, k]
        values, vectors = np.linalg.eigh(matrix)
        most = np.abs(values).argmax(axis=1)
        rows = np.arange(len(some))
        value[begin : begin + _AT_ONCE] = values[rows, most]
        direction[begin : begin + _AT_ONCE] = vectors[rows, :, most]
    return value, direction


def _beside(field: Floats, index: NDArray[np.int64], direction: Floats) -> Floats:
    """Interpolate the field at a distance of ``STEP`` along the direction, trilinearly.

    The weights depend on the direction only, so that rounding does not depend on the place of the block in the volume.
    """
    step = np.float32(STEP) * direction
    below = np.floor(step).astype(np.int64)
    part = (step - below).astype(np.float32)
    total = np.zeros(len(index), np.float32)
    for corner in np.ndindex(2, 2, 2):
        weight = np.ones(len(index), np.float32)
        for axis, upper in enumerate(corner):
            weight *= part[:, axis] if upper else 1 - part[:, axis]
        total += weight * field[tuple((index + below + np.array(corner)).T)]
    return total
