"""Which voxels lie within a radius of a mask: exact, at a cost that hardly knows the radius.

A :class:`Reach` says which steps (dz, dy, dx) are short enough, for any voxel size. :func:`near` answers for a whole
mask what a dilation with that disc or ball as its footprint would, without the footprint: one axis after the other
(separable squared distances, Meijster, Roerdink & Hesselink 2000), cut off at the radius, in small integers.

Along the first axis a voxel's distance to the mask is spread by shifts of 1, 2, 4, ... voxels. The last axis needs no
parabolas: how far a voxel still reaches along it is a whole number that falls by one per step, so it is spread the
same way. Only balls have an axis between, whose parabolas are shifted once per voxel of radius, or, for large
radii, come from :mod:`edt`; only where y and x differ in voxel size does the cost go on growing.

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
"""Relative: a step is within the radius if it is not longer by more than this. Voxel sizes come from 32-bit headers."""

FAR_VOX = 64
"""From this radius on the distances of a ball within a slice come from :mod:`edt`: measured 30 to 60 ns per voxel for
any radius, where shifting parabolas takes 0.3 to 0.9 ns per voxel of radius (on an idle and on a busy machine)."""

SLAB_VOXELS = 2**15
"""Slices are worked on together up to this many voxels: the temporaries stay in a core's own cache."""


@dataclass(frozen=True)
class Reach:
    """The steps from a voxel that are short enough: ``wz dz^2 + wy dy^2 + wx dx^2 <= limit``.

    Parameters
    ----------
    weights
        Squared side of a voxel along z, y, x, in units of the side along x (so that wx is 1).
    limit
        Squared radius in the same unit.
    planar
        Steps stay within the z slice: a disc instead of a ball.
    """

    weights: tuple[float, float, float]
    limit: float
    planar: bool = False

    @classmethod
    def of_radius(cls, radius_nm: float, voxel_size: tuple[float, float, float], *, planar: bool = False) -> Reach:
        """Steps of length ``radius_nm`` or less, for a voxel size in angstrom (z, y, x).

        "Or less" has a slack of one millionth of the radius. Sides of a voxel that differ by less than one millionth
        count as equal.

        Raises
        ------
        InputError
            A negative radius.
        """
        if not 0 <= radius_nm < math.inf:
            raise InputError(f"A radius must be 0 nm or more, not {radius_nm}.")
        side = voxel_size[2]
        z, y, x = (1.0 if abs(v / side - 1) < SLACK else (v / side) ** 2 for v in voxel_size)
        return cls((z, y, x), (radius_nm * NM_TO_ANGSTROM / side * (1 + SLACK)) ** 2, planar)

    @classmethod
    def of_ais(cls, radius_nm: float, pixel_size: float) -> Reach:
        """The disc of Ais (0.4 to 1.2): ``dy^2 + dx^2 < R^2`` with R the radius in whole pixels, rounded down.

        Parameters
        ----------
        radius_nm
            Divided by the pixel size in nm with floating floor division, as there (so 10 nm are 99 pixels of 1 A).
        pixel_size
            Angstrom.

        Raises
        ------
        InputError
            R is 0. In Ais, colocalising then erases everything and avoiding does nothing.
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
        """Longest step along z, y and x."""
        z, y, x = (int(math.sqrt(self.limit / w)) for w in self.weights)
        return 0 if self.planar else z, y, x

    def rest(self, axis: int, spent: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Steps along ``axis`` that are out of reach when ``spent`` of the limit is used: 0 if it reaches farthest,
        one more than the longest step if not even the voxel itself is within reach."""
        left = (self.limit - spent) / self.weights[axis]
        # float32 may round a square up to the next whole step, which the halo does not hold
        steps = np.minimum(np.sqrt(np.maximum(left, 0)).astype(np.int32), self.halo_vox[axis])
        missing: NDArray[np.int32] = self.halo_vox[axis] - steps + (left < 0)
        return missing


def near(mask: NDArray[np.bool_], reach: Reach) -> NDArray[np.bool_]:
    """Voxels from which a set voxel is within reach.

    Parameters
    ----------
    mask
        Shape (z, y, x). Outside of the array nothing is set.
    reach
        Disc or ball. Sums of squares are whole numbers where y and x have one voxel size; else they are rounded to
        float32, by a tenth of the slack of :meth:`Reach.of_radius`.

    Returns
    -------
    bool array of the same shape; the set voxels are in it.
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
