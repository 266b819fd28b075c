"""NumPy-style indices of a volume: which voxels they select.

>>> ranges, dropped = selected((10, slice(None, None, -2), ...), (20, 6, 8))
>>> ranges
(range(10, 11), range(5, -1, -2), range(0, 8))
>>> dropped
(0,)
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3
from volengine.core.errors import IndexRefusedError, InputError
from volengine.core.tiling import AXES

Ranges = tuple[range, range, range]


def selected(key: Any, shape: Index3) -> tuple[Ranges, tuple[int, ...]]:
    """Return the voxels that an index selects along z, y, x.

    Parameters
    ----------
    key
        The index: whole numbers, slices with steps, ``...``, at most one per axis; or a
        :class:`~volengine.core.boxes.Box`.
    shape
        Shape of the volume, z, y, x.

    Returns
    -------
    The selected indices along each axis, and the axes that are dropped because a single number selects from them.

    Raises
    ------
    IndexRefusedError
        A number is outside of the volume, there are more than three indices, or an index is a mask, a list or ``None``.
    InputError
        A box reaches outside of the volume.
    """
    if isinstance(key, Box):
        if not Box.of_shape(shape).contains(key):
            raise InputError(f"The box from {key.start} to {key.stop} leaves the volume of {shape} voxels (z, y, x).")
        z, y, x = (range(a, max(a, b)) for a, b in zip(key.start, key.stop, strict=True))
        return (z, y, x), ()
    keys = _three(key if isinstance(key, tuple) else (key,))
    z, y, x = (_range(k, n, axis) for k, n, axis in zip(keys, shape, AXES, strict=True))
    return (z, y, x), tuple(axis for axis, k in enumerate(keys) if not isinstance(k, slice))


def _three(keys: Sequence[Any]) -> list[Any]:
    """Return one index per axis; the ellipsis stands for those that are not given."""
    dots = [at for at, key in enumerate(keys) if key is Ellipsis]
    if len(dots) > 1:
        raise IndexRefusedError("An index may have one '...' only.")
    given = len(keys) - len(dots)
    if given > 3:
        raise IndexRefusedError(f"A volume has three axes (z, y, x); the index has {given}.")
    at = dots[0] if dots else len(keys)
    return [*keys[:at], *[slice(None)] * (3 - given), *keys[at + len(dots) :]]


def _range(key: Any, size: int, axis: str) -> range:
    if isinstance(key, slice):
        return range(*key.indices(size))
    try:
        if isinstance(key, bool | np.bool_):
            raise TypeError
        index = operator.index(key)
    except TypeError:
        raise IndexRefusedError(
            f"{key!r:.60} cannot select from a volume; it takes whole numbers, slices and '...'. Read a part first, "
            "then select from that array."
        ) from None
    if not -size <= index < size:
        raise IndexRefusedError(f"Index {index} is outside of axis {axis}, which has {size} voxels.")
    return range(index % size, index % size + 1)


def bounds(ranges: Ranges) -> Box:
    """Return the smallest box that contains the selected voxels, of which there is at least one."""
    z, y, x = ((min(r[0], r[-1]), max(r[0], r[-1]) + 1) for r in ranges)
    return Box((z[0], y[0], x[0]), (z[1], y[1], x[1]))
