"""Blending as integer sums: the same bits for any block shape, order of execution or number of workers.

The blended value of a voxel is ``sum_i p_i w_i / W`` over the patches that touch it
(:mod:`volengine.ops.windows`). Floating point addition is not associative, so who adds first would show. Here
each patch's contribution is rounded to a fixed-point int32 once (``round(p * w / W * scale)``) and integers are
added: their sum does not depend on order. For probabilities the scale is 2^30: since the shares add up to 1, no
sum exceeds 2^30 (1 + 2^-22), far from int32's 2^31. The multiplication is done in float32, so a sum differs from
the exact one by at most 2^-23 of its value (1.2e-7) + 2^-31 per patch. Networks without a final activation get a
scale of 2^20, and values beyond ±1023 are cut off there.

Who adds what. A patch is run by the block that holds its first voxel (:mod:`volengine.core.lattice`) and may
reach over that block's upper faces by at most ``h`` voxels. A block therefore sums its patches over its core
*and* ``h`` voxels behind it, and hands on up to eight pieces: the ``core``, and for every set of directions (z, y,
x, zy, zx, yx, zyx) the piece that lies beyond the core along exactly those axes. The piece beyond ``z`` belongs to
the core of the next block along z, and so on: :func:`join` adds a block's core and the pieces of its (up to
seven) lower neighbours.

>>> pieces = split(total, (64, 64, 64), over=(16, 0, 0), full=(64, 64, 64))     # total: 80 x 64 x 64
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
    """The shares of a lattice's patches, times the fixed-point scale, made when first asked for.

    Only as many as fit into ``keep_bytes`` are kept, the last one used longest; sort the patches of a block by
    :meth:`key` and each is made once.

    Parameters
    ----------
    lattice
        The patches.
    window
        Name of the blend window.
    scale
        ``PROBABILITY_SCALE`` or ``VALUE_SCALE``.
    """

    def __init__(self, lattice: Lattice, window: Window, scale: float, keep_bytes: int = 64_000_000):
        self.lattice = lattice
        self.window: Window = window
        self.scale = scale
        self.keep_bytes = keep_bytes
        self._kept: OrderedDict[Neighbours, NDArray[np.float32]] = OrderedDict()

    def key(self, index: PatchIndex) -> Neighbours:
        """Patches with the same key have the same shares."""
        return self.lattice.neighbours(index)

    def __getitem__(self, key: Neighbours) -> NDArray[np.float32]:
        """float32, of the patch's shape, in 0..scale; read-only."""
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
    """Names of the pieces beyond the core: every set of the axes along which patches reach over."""
    axes = [axis for axis, h in zip("zyx", over, strict=True) if h]
    sets = itertools.chain.from_iterable(itertools.combinations(axes, k) for k in range(1, len(axes) + 1))
    return ["".join(s) for s in sets]


def offset(name: str) -> Index3:
    """Where the lower neighbour lies whose piece ``name`` belongs to this block: -1 along each of its axes."""
    return index3(-1 if axis in name else 0 for axis in "zyx")


def piece_shape(name: str, core: Sequence[int], over: Sequence[int]) -> Index3:
    """Shape of a piece: ``over`` along its axes, the core's along the others."""
    return index3(h if axis in name else c for axis, c, h in zip("zyx", core, over, strict=True))


def split(total: Fixed, core_shape: Sequence[int], over: Sequence[int], full: Sequence[int]) -> dict[str, Fixed]:
    """A block's sums as core and pieces.

    Parameters
    ----------
    total
        Sums over the core and up to ``over`` voxels behind it (fewer at the volume's end).
    core_shape
        Shape of this block's core (cut off at the volume's end).
    over
        Overhang, voxels.
    full
        Shape of a whole block's core.

    Returns
    -------
    dict
        ``core`` of shape ``core_shape``; the pieces of shape ``piece_shape(name, full, over)``, filled up with
        zeros where the volume ends earlier.
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
    """A block's whole sums: its own core and the pieces of its lower neighbours, added in place.

    Parameters
    ----------
    core
        The block's own sums; changed.
    pieces
        By name; each begins at the core's first voxel. What lies outside of the core must be zero.
    """
    for piece in pieces.values():
        where = tuple(slice(0, min(a, b)) for a, b in zip(piece.shape, core.shape, strict=True))
        core[where] += piece[where]
    return core
