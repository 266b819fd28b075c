"""Dilation of a mask by a disc or ball, exact, at a cost that depends little on the radius.

A :class:`Reach` defines which steps (dz, dy, dx) are within the radius, for any voxel size. :func:`near` dilates a mask
by it without a footprint: it computes squared distances one axis after the other (separable, Meijster, Roerdink &
Hesselink 2000), cut off at the radius, in small integers.

Along the first axis, the distance of each voxel to the mask is spread by shifts of 1, 2, 4, ... voxels. Along the last
axis no parabolas are needed: the number of steps that a voxel still reaches is a whole number that falls by one per
step, so it is spread in the same way. Only balls have an axis between these two. Its parabolas are shifted once per
voxel of radius, or, for large radii, come from :mod:`edt`. The cost goes on growing with the radius only for balls
whose voxel sizes differ between y and x.

>>> import numpy as np
>>> mask = np.zeros((1, 1, 7), bool)
>>> mask[0, 0, 3] = True
>>> near(mask, Reach.of_radius(2.0, (10, 10, 10))).astype(int).tolist()
[[[0, 1, 1, 1, 1, 1, 0]]]
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array
from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.units import NM_TO_ANGSTROM

SLACK = 1e-6
"""Relative tolerance: a step counts if it exceeds the radius by no more than this (voxel sizes are 32-bit floats)."""

FAR_VOX = 64
"""From this radius (voxels) on, the distances of a ball within a slice come from :mod:`edt`. It takes 30 to 60 ns per
voxel for any radius; shifting parabolas takes 0.3 to 0.9 ns per voxel and voxel of radius (idle and busy machine)."""

SLAB_VOXELS = 2**15
"""Number of voxels that are processed together, in whole slices, so that the temporaries stay in a core's own cache."""


@dataclass(frozen=True)
class Reach:
    """The steps (dz, dy, dx) from a voxel that are within a radius: ``wz dz^2 + wy dy^2 + wx dx^2 <= limit``.

    Parameters
    ----------
    weights
        Squared voxel side along z, y, x in units of the side along x, so that wx is 1.
    limit
        Squared radius in the same unit.
    planar
        Whether steps stay within the z slice: a disc instead of a ball.
    """

    weights: tuple[float, float, float]
    limit: float
    planar: bool = False

    @classmethod
    def of_radius(cls, radius_nm: float, voxel_size: tuple[float, float, float], *, planar: bool = False) -> Reach:
        """Make the reach of a radius in nm, for a voxel size in angstrom (z, y, x).

        A step may exceed the radius by one millionth of it. Voxel sides that differ by less than one millionth count as
        equal.

        Raises
        ------
        InputError
            The radius is negative, infinite or NaN.
        """
        if not 0 <= radius_nm < math.inf:
            raise InputError(f"A radius must be 0 nm or more, not {radius_nm}.")
        side = voxel_size[2]
        z, y, x = (1.0 if abs(v / side - 1) < SLACK else (v / side) ** 2 for v in voxel_size)
        return cls((z, y, x), (radius_nm * NM_TO_ANGSTROM / side * (1 + SLACK)) ** 2, planar)

    @classmethod
    def of_ais(cls, radius_nm: float, pixel_size: float) -> Reach:
        """Make the disc of Ais (versions 0.4 to 1.2): ``dy^2 + dx^2 < R^2``, R the radius in whole pixels, rounded
        down.

        Parameters
        ----------
        radius_nm
            Radius, nm. It is divided by the pixel size in nm with floor division of floats, as Ais does (so 10 nm are
            99 pixels of 1 A).
        pixel_size
            Pixel size, angstrom.

        Raises
        ------
        InputError
            R is 0. In Ais, ``colocalize`` then erases everything and ``avoid`` does nothing.
        """
        pixel_nm = pixel_size / NM_TO_ANGSTROM
        pixels = int(radius_nm // pixel_nm)
        if pixels < 1:
            raise InputError(
                f"A radius of {radius_nm:g} nm is less than one pixel of {pixel_nm:g} nm: Ais would erase the child "
                f"or do nothing. Use {pixel_nm:g} nm or more, or leave out compat 'ais'."
            )
        return cls((1.0, 1.0, 1.0), float(pixels**2 - 1), planar=True)

    @property
    def halo_vox(self) -> Index3:
        """Longest step along z, y and x, voxels."""
        z, y, x = (int(math.sqrt(self.limit / w)) for w in self.weights)
        return 0 if self.planar else z, y, x

    def rest(self, axis: int, spent: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Return how many steps along ``axis`` are out of reach when ``spent`` of the limit is used.

        0 if the longest step is still within reach; the longest step + 1 if not even the voxel itself is.
        """
        left = (self.limit - spent) / self.weights[axis]
        # float32 may round a square up to the next whole step, which the halo does not hold
        steps = np.minimum(np.sqrt(np.maximum(left, 0)).astype(np.int32), self.halo_vox[axis])
        missing: NDArray[np.int32] = self.halo_vox[axis] - steps + (left < 0)
        return missing


def near(mask: NDArray[np.bool_], reach: Reach) -> NDArray[np.bool_]:
    """Dilate a mask: find the voxels from which a set voxel is within reach.

    Parameters
    ----------
    mask
        bool, (z, y, x). Voxels outside of the array count as not set.
    reach
        Disc or ball. Sums of squares are whole numbers if y and x have the same voxel size. Otherwise they are rounded
        to float32, which is a tenth of the tolerance of :meth:`Reach.of_radius`.

    Returns
    -------
    bool array of the same shape, in which the voxels of ``mask`` are set too.
    """
    halo = reach.halo_vox
    if max(halo) == 0 or not mask.any():
        return mask.copy()
    last = 1 if reach.planar else 0
    missing = np.empty(mask.shape, _small(halo[last]))
    for part in _slabs(mask.shape):
        if not mask[part].any():
            missing[part] = halo[last] + 1
        elif reach.planar:
            _row_distance(mask[part], halo[2], _disc_table(reach), missing[part])
            _spread(missing[part], 1, halo[1])
        else:
            missing[part] = _ball_plane(mask[part], reach)
    if not reach.planar:
        _spread_planes(missing)
    return missing <= halo[last]


def _slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of a volume, some at a time."""
    step = max(1, SLAB_VOXELS // max(1, shape[1] * shape[2]))
    return (slice(z, z + step) for z in range(0, shape[0], step))


def _small(largest: int) -> type[np.uint8] | type[np.uint16]:
    """The integers for distances up to one more than ``largest``, which are added to at most ``largest``."""
    return np.uint8 if 2 * largest + 1 <= 255 else np.uint16


def _distance_squares(reach: Reach) -> NDArray[np.float64]:
    """What of the limit each distance along x uses: 0, 1, ... voxels, and infinity for no set voxel within reach."""
    return np.append(reach.weights[2] * np.arange(reach.halo_vox[2] + 1.0) ** 2, np.inf)


def _disc_table(reach: Reach) -> Array:
    """Missing steps along y for each distance along x."""
    return reach.rest(1, _distance_squares(reach)).astype(_small(reach.halo_vox[1]))


def _row_distance(mask: NDArray[np.bool_], longest: int, table: Array, out: Array) -> None:
    """``table`` of the distance along x to the nearest set voxel (``longest + 1``: none within reach)."""
    kind = _small(longest)
    distance = np.multiply(np.logical_not(mask).view(np.uint8), kind(longest + 1), dtype=kind)
    _spread(distance, 2, longest)
    table.take(distance, out=out, mode="clip")


def _spread(values: Array, axis: int, longest: int) -> None:
    """In place: the smallest of the values within ``longest`` steps along an axis plus the number of steps.

    Shifts of 1, 2, 4, ... one after the other make every number of steps up to their sum. Values are at most
    ``longest + 1``, which means none.
    """
    values = np.moveaxis(values, axis, 0)
    moved = np.empty_like(values)
    left, step = min(longest, len(values) - 1), 1
    while left > 0:
        step = min(step, left)
        np.add(values, values.dtype.type(step), out=moved)
        np.minimum(values[step:], moved[:-step], out=values[step:])
        np.minimum(values[:-step], moved[step:], out=values[:-step])
        left -= step
        step *= 2


def _spread_planes(values: Array) -> None:
    """:func:`_spread` along z, without bound: plane by plane, there and back."""
    moved = np.empty_like(values[0])
    for planes in (values, values[::-1]):
        for before, here in pairwise(planes):
            np.add(before, before.dtype.type(1), out=moved)
            np.minimum(here, moved, out=here)


def _ball_plane(mask: NDArray[np.bool_], reach: Reach) -> Array:
    """Missing steps along z, from the squared distance to the nearest set voxel of each slice."""
    longest = reach.halo_vox[1]
    if reach.weights[1] != 1.0:
        return reach.rest(0, _plane_squares(mask, reach, np.dtype(np.float32)))
    most = int(reach.limit)
    table = reach.rest(0, np.arange(most + 2.0)).astype(_small(reach.halo_vox[0]))
    if longest < FAR_VOX:
        squares = _plane_squares(mask, reach, np.dtype(np.uint16))
    else:
        squares = np.stack([_edt_squares(plane, most + 1) for plane in mask])
    return table.take(squares, mode="clip")


def _plane_squares(mask: NDArray[np.bool_], reach: Reach, dtype: np.dtype[np.generic]) -> Array:
    """What of the limit the way to the nearest set voxel within the slice uses; more than the limit: none."""
    _, longest_y, longest_x = reach.halo_vox
    none = math.inf if dtype.kind == "f" else int(reach.limit) + 1
    table = np.minimum(_distance_squares(reach), none).astype(dtype)
    own = np.empty(mask.shape, dtype)
    _row_distance(mask, longest_x, table, own)
    best, moved = own.copy(), np.empty_like(own)
    for step in range(1, min(longest_y, mask.shape[1] - 1) + 1):
        np.add(own, own.dtype.type(reach.weights[1] * step**2), out=moved)
        np.minimum(best[:, step:], moved[:, :-step], out=best[:, step:])
        np.minimum(best[:, :-step], moved[:, step:], out=best[:, :-step])
    return best


def _edt_squares(plane: NDArray[np.bool_], none: int) -> NDArray[np.int64]:
    """Squared distances in a slice, cut off at ``none``; whole numbers below 2^24 are exact in float32."""
    import edt

    squares = edt.edtsq(np.logical_not(plane).view(np.uint8), black_border=False, parallel=1)
    cut: NDArray[np.int64] = np.minimum(squares, np.float32(none)).astype(np.int64)
    return cut
