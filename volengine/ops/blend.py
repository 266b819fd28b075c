"""Blending of overlapping patches as integer sums, with the same bits for any blocks, order or number of workers.

The blended value of a voxel is ``sum_i p_i w_i / W`` over the patches that cover it (:mod:`volengine.ops.windows`).
Floating-point addition is not associative, so a sum of floats would depend on the order of the patches. Here each
patch's contribution is rounded once to a fixed-point int32, ``round(p * w / W * scale)``, and the integers are added.
For probabilities the scale is 2^30: the shares add up to 1, so no sum exceeds 2^30 (1 + 2^-22), and int32 holds it. The
product is computed in float32, so a sum differs from the exact one by at most 2^-23 of its value (1.2e-7) and 2^-31 per
patch. For networks without a final activation the scale is 2^20, and values are clipped to ±1023.

A patch is run by the block that holds its first voxel (:mod:`volengine.core.lattice`) and may reach over that block's
upper faces by at most ``h`` voxels. A block therefore sums its patches over its core *and* ``h`` voxels behind it, and
returns up to eight pieces: the ``core``, and for every set of axes (z, y, x, zy, zx, yx, zyx) the piece that lies
beyond the core along exactly these axes. The piece beyond ``z`` belongs to the core of the next block along z, and so
on: :func:`join` adds a block's core and the pieces of its (up to seven) lower neighbours.

>>> total = np.ones((80, 64, 64), np.int32)
>>> pieces = split(total, (64, 64, 64), over=(16, 0, 0), full=(64, 64, 64))
>>> sorted(pieces), pieces["z"].shape
(['core', 'z'], (16, 64, 64))
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Index3, index3
from volengine.core.lattice import Lattice, PatchIndex
from volengine.ops.windows import Neighbours, Window, share

PROBABILITY_SCALE = 2.0**30
VALUE_SCALE = 2.0**20
VALUE_LIMIT = 1023.0

Fixed = NDArray[np.int32]


class Shares:
    """The shares of a lattice's patches times the fixed-point scale, computed on first use and cached.

    When the cache exceeds ``keep_bytes``, the shares that were not used for the longest time are dropped. If the
    patches of a block are sorted by :meth:`key`, each share is computed once.

    Parameters
    ----------
    lattice
        The patches.
    window
        Name of the blend window.
    scale
        ``PROBABILITY_SCALE`` or ``VALUE_SCALE``.
    keep_bytes
        Size of the cache, bytes.
    """

    def __init__(self, lattice: Lattice, window: Window, scale: float, keep_bytes: int = 64_000_000):
        self.lattice = lattice
        self.window: Window = window
        self.scale = scale
        self.keep_bytes = keep_bytes
        self._kept: OrderedDict[Neighbours, NDArray[np.float32]] = OrderedDict()

    def key(self, index: PatchIndex) -> Neighbours:
        """Return the key of a patch; patches with the same key have the same shares."""
        return self.lattice.neighbours(index)

    def __getitem__(self, key: Neighbours) -> NDArray[np.float32]:
        """Return the shares as a read-only float32 array of the patch's shape, values from 0 to ``scale``."""
        found = self._kept.get(key)
        if found is None:
            found = (share(self.window, self.lattice.patch, key) * self.scale).astype(np.float32)
            found.flags.writeable = False
            self._kept[key] = found
            while len(self._kept) > 1 and sum(a.nbytes for a in self._kept.values()) > self.keep_bytes:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return found


def directions(over: Sequence[int]) -> list[str]:
    """Return the names of the pieces beyond the core: every set of the axes along which ``over`` is not 0."""
    axes = [axis for axis, h in zip("zyx", over, strict=True) if h]
    sets = itertools.chain.from_iterable(itertools.combinations(axes, k) for k in range(1, len(axes) + 1))
    return ["".join(s) for s in sets]


def offset(name: str) -> Index3:
    """Return the grid offset of the lower neighbour whose piece ``name`` belongs to this block: -1 along its axes."""
    return index3(-1 if axis in name else 0 for axis in "zyx")


def piece_shape(name: str, core: Sequence[int], over: Sequence[int]) -> Index3:
    """Return the shape of a piece: ``over`` along its axes, the core's size along the others."""
    return index3(h if axis in name else c for axis, c, h in zip("zyx", core, over, strict=True))


def split(total: Fixed, core_shape: Sequence[int], over: Sequence[int], full: Sequence[int]) -> dict[str, Fixed]:
    """Split a block's sums into its core and the pieces beyond it.

    Parameters
    ----------
    total
        int32 sums over the core and up to ``over`` voxels behind it (fewer at the volume's end).
    core_shape
        Shape of this block's core, cut off at the volume's end.
    over
        Overhang, voxels z, y, x.
    full
        Shape of the core of a block that is not cut off.

    Returns
    -------
    dict
        ``core`` of shape ``core_shape``, and the pieces of shape ``piece_shape(name, full, over)``, padded with zeros
        where the volume ends earlier.
    """
    inside = [slice(0, c) for c in core_shape]
    pieces: dict[str, Fixed] = {"core": total[tuple(inside)]}
    for name in directions(over):
        where = tuple(
            slice(c, c + h) if axis in name else s
            for axis, c, h, s in zip("zyx", core_shape, over, inside, strict=True)
        )
        found = total[where]
        piece = np.zeros(piece_shape(name, full, over), np.int32)
        piece[tuple(slice(0, n) for n in found.shape)] = found
        pieces[name] = piece
    return pieces


def join(core: Fixed, pieces: Mapping[str, Fixed]) -> Fixed:
    """Add the pieces of a block's lower neighbours to its core, in place.

    Parameters
    ----------
    core
        int32 sums of the block itself; changed in place and returned.
    pieces
        int32 pieces by name. Each begins at the core's first voxel; it must be 0 outside of the core.
    """
    for piece in pieces.values():
        where = tuple(slice(0, min(a, b)) for a, b in zip(piece.shape, core.shape, strict=True))
        core[where] += piece[where]
    return core
