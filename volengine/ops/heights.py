"""Squared distances to the background, whose basins are found: the same values in every crop of a volume.

A distance that was computed in a crop equals that of the whole volume if it is not larger than the distance to the
nearest voxel outside of the crop. :func:`heights` checks this for every voxel that a block needs, and asks for a wider
halo if it does not hold. Distances are cut off at :attr:`BasinRules.max_distance_vox`, which bounds the halo.

>>> import numpy as np
>>> squared_distance(np.array([[[False, True, True, True]]]), limit=2).astype(int).tolist()
[[[0, 1, 4, 4]]]
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError, WiderHaloError

Heights = NDArray[np.uint16] | NDArray[np.int32]

SHIFT = 5
"""Number of low bits of a height, below the squared distance; they can hold the number of a neighbour (27 at most)."""


@dataclass(frozen=True)
class BasinRules:
    """Parameters that define the basins of a prediction.

    Parameters
    ----------
    level
        A voxel is foreground if its stored value is strictly greater than this.
    connectivity
        6, 18 or 26 neighbours. With ``planar`` only those in the same slice: 4, 8 and 8.
    planar
        Treat every z slice by itself: distances, basins and passes stay within it.
    max_distance_vox
        Distances to the background are cut off here (1 to 4095), so that a block never needs a wider halo.
    products
        Also sum the products of the voxels' coordinates, of which the axes of a region are computed.

    Raises
    ------
    InputError
        ``connectivity`` or ``max_distance_vox`` is another number.
    """

    level: float
    connectivity: int = 26
    planar: bool = False
    max_distance_vox: int = 64
    products: bool = False

    def __post_init__(self) -> None:
        if self.connectivity not in (6, 18, 26):
            raise InputError(f"connectivity is {self.connectivity}; it must be 6, 18 or 26.")
        if not 1 <= self.max_distance_vox <= 4095:
            raise InputError(f"max_distance_vox is {self.max_distance_vox}; it must be from 1 to 4095.")

    @property
    def offsets(self) -> tuple[Index3, ...]:
        """The steps to the neighbours, in lexicographic order (which is the order of linear indices)."""
        reach = {6: 1, 18: 2, 26: 3}[self.connectivity]
        steps = itertools.product((-1, 0, 1), repeat=3)
        near = (index3(s) for s in steps if 0 < sum(map(abs, s)) <= reach)
        return tuple(s for s in near if not (self.planar and s[0]))

    @property
    def halo_vox(self) -> Index3:
        """The widest halo that a block can ask for, voxels z, y, x."""
        d = self.max_distance_vox
        return (0 if self.planar else d, d, d)


def squared_distance(mask: NDArray[np.bool_], limit: int, planar: bool = False) -> NDArray[np.float32]:
    """Squared Euclidean distance of every voxel to the nearest background voxel, in voxels.

    Parameters
    ----------
    mask
        bool, (z, y, x): the foreground. Voxels outside of the array do not count as background.
    limit
        Larger distances are set to this many voxels; at most 4095, since float32 is exact for integers below 2**24.
    planar
        Look for background only within the voxel's own z slice.

    Returns
    -------
    float32 array of the same shape with whole numbers; 0 in the background.
    """
    import edt

    # As uint8 edt takes its path for labels, three times as fast on sparse masks as the one for truth values.
    mask = np.ascontiguousarray(mask).view(np.uint8)
    if not planar:
        d2: NDArray[np.float32] = edt.edtsq(mask, black_border=False, parallel=1)
    else:
        d2 = np.empty(mask.shape, np.float32)
        for z, plane in enumerate(mask):
            d2[z] = edt.edtsq(plane, black_border=False, parallel=1)
    return np.minimum(d2, np.float32(limit * limit), out=d2)


def heights(prediction: Array, crop: Box, core: Box, shape: Index3, rules: BasinRules) -> Heights:
    """Compute the exact squared distances of a block to the background, times ``2**SHIFT``.

    Parameters
    ----------
    prediction, crop
        Stored values, and the box that they cover. It must contain the core and one voxel around it, as far as the
        volume reaches.
    core, shape
        The block's core, and the shape of the volume.
    rules
        Which voxels are foreground. The core must contain some.

    Returns
    -------
    uint16 array over the core and one voxel around it, int32 if the largest distance is 45.3 voxels or more; 0 in the
    background and outside of the volume.

    Raises
    ------
    WiderHaloError
        A distance may depend on voxels outside of the crop.
    """
    step = (0, 1, 1) if rules.planar else (1, 1, 1)
    ring = core.grow(step).clip(shape)
    if not crop.contains(ring):
        raise WiderHaloError(index3(min(8, rules.max_distance_vox) * s for s in step))
    ring_mask = prediction[ring.slices_in(crop)] > rules.level
    found = bounding_box(ring_mask).shift(ring.start)
    del ring_mask
    gap = _gap(crop, core, shape, rules)
    near = found.grow(index3(gap * s for s in step)).intersect(crop)
    d2 = squared_distance(prediction[near.slices_in(crop)] > rules.level, rules.max_distance_vox, rules.planar)
    d2 = d2[found.slices_in(near)]
    _certify(d2, found, near, shape, rules, gap)
    frame = core.grow((1, 1, 1))
    small = d2.max() < 1 << (16 - SHIFT)
    height: Heights = np.zeros(frame.shape, np.uint16) if small else np.zeros(frame.shape, np.int32)
    np.multiply(d2, 1 << SHIFT, out=height[found.slices_in(frame)], casting="unsafe", dtype=np.float32)
    return height


def _gap(crop: Box, core: Box, shape: Index3, rules: BasinRules) -> int:
    """Return the crop's narrowest halo, over the sides on which the volume goes on."""
    gap = rules.max_distance_vox
    for axis in (1, 2) if rules.planar else (0, 1, 2):
        if crop.start[axis] > 0:
            gap = min(gap, core.start[axis] - crop.start[axis])
        if crop.stop[axis] < shape[axis]:
            gap = min(gap, crop.stop[axis] - core.stop[axis])
    return gap


def bounding_box(mask: NDArray[np.bool_]) -> Box:
    """Return the smallest box that contains all foreground voxels (there is at least one)."""
    sides = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        where = np.flatnonzero(mask.any(axis=others))
        sides.append((int(where[0]), int(where[-1]) + 1))
    return Box(index3(a for a, _ in sides), index3(b for _, b in sides))


def _certify(d2: NDArray[np.float32], found: Box, near: Box, shape: Index3, rules: BasinRules, gap: int) -> None:
    """Raise :class:`WiderHaloError` unless every distance in ``found`` is the same in the whole volume.

    A distance is exact if it is not larger than the distance to the nearest voxel outside of ``near``.
    """
    axes = (1, 2) if rules.planar else (0, 1, 2)
    unseen = [np.full(n, rules.max_distance_vox, np.int32) for n in found.shape]
    for axis in axes:
        at = np.arange(found.start[axis], found.stop[axis], dtype=np.int32)
        if near.start[axis] > 0:
            np.minimum(unseen[axis], at - (near.start[axis] - 1), out=unseen[axis])
        if near.stop[axis] < shape[axis]:
            np.minimum(unseen[axis], near.stop[axis] - at, out=unseen[axis])
    least = min(int(u.min()) for u in unseen)
    if d2.max() <= least * least:
        return
    plane = np.minimum(unseen[1][:, None], unseen[2][None, :])
    worst = 0.0
    for z, part in enumerate(d2):
        bound = np.minimum(plane, unseen[0][z])
        bad = part > bound * bound
        if bad.any():
            worst = max(worst, float(part[bad].max()))
    if worst:
        wide = min(math.isqrt(int(worst) - 1) + 1, max(2 * gap, 8), rules.max_distance_vox)
        raise WiderHaloError((0 if rules.planar else wide, wide, wide))
