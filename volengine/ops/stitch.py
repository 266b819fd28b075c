"""Placing overlapping pieces on one grid, with linear ramps in their overlaps.

A piece is an array and the box of the grid that it covers. Along each axis its weight rises linearly from its faces
over the width of the overlap with its neighbours on that side, as between two pieces that overlap by n voxels the
weights ``1/(n+1), 2/(n+1) ... n/(n+1)`` and the same backwards. The weights of all pieces at a voxel are divided by
their sum. They depend only on the boxes of the pieces, and each voxel is summed in the order of the pieces, so a result
does not depend on the blocks in which it is computed.

Where all pieces agree, their value is the result to the last bit: what is weighted is each piece's difference from the
first one that covers the voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box

BAND_VOX = 2**18
"""Voxels that are summed at a time (in float64), or one row."""

BAND_BYTES = 64 * BAND_VOX
"""Bytes of the sums of one band: values, weights and differences."""

ALONG = 0.5
"""A neighbour lies along an axis if its distance there, in lengths of pieces, is this share of the largest one."""

Boxes = NDArray[np.int64]
"""Boxes of pieces, (pieces, 2, 3): start and stop along z, y, x."""


@dataclass(frozen=True)
class Placed:
    """A piece, or a part of it, on the grid.

    Parameters
    ----------
    voxels
        The values.
    box
        The box of the grid that ``voxels`` cover.
    whole
        The box of the whole piece.
    widths
        Widths of its ramps, (3, 2): along z, y, x at the lower and the upper face; see :func:`ramp_widths`.
    """

    voxels: NDArray[Any]
    box: Box
    whole: Box
    widths: NDArray[np.int64]


def boxes_array(boxes: Sequence[Box]) -> Boxes:
    """Return boxes as one array, (pieces, 2, 3)."""
    return np.array([[box.start, box.stop] for box in boxes], np.int64).reshape(-1, 2, 3)


def ramp_widths(boxes: Boxes, piece: int) -> NDArray[np.int64]:
    """Return the widths of a piece's ramps: how far its neighbours reach into it, at most.

    A neighbour counts along the axes on which it is displaced; one that is displaced mainly along y and by some voxels
    along x makes no ramp along x.

    Parameters
    ----------
    boxes
        The boxes of all pieces, (pieces, 2, 3).
    piece
        Its number.

    Returns
    -------
    int64, (3, 2): voxels along z, y, x at the lower and the upper face. 0 where there is no neighbour.
    """
    start, stop = boxes[:, 0], boxes[:, 1]
    mine = boxes[piece]
    common = np.minimum(stop, mine[1]) - np.maximum(start, mine[0])
    touching = (common > 0).all(axis=1)
    touching[piece] = False
    widths = np.zeros((3, 2), np.int64)
    start, stop = start[touching], stop[touching]
    if not len(start):
        return widths
    moved = (start + stop) - (mine[0] + mine[1])
    far = np.abs(moved) / ((stop - start) + (mine[1] - mine[0]))
    along = far >= ALONG * far.max(axis=1, keepdims=True)
    for axis in range(3):
        below = along[:, axis] & (moved[:, axis] < 0)
        above = along[:, axis] & (moved[:, axis] > 0)
        length = mine[1, axis] - mine[0, axis]
        if below.any():
            widths[axis, 0] = min(length, (stop[below, axis] - mine[0, axis]).max())
        if above.any():
            widths[axis, 1] = min(length, (mine[1, axis] - start[above, axis]).max())
    return widths


def ramp(first: int, last: int, start: int, stop: int, widths: Sequence[int]) -> NDArray[np.float64]:
    """Return the weights of a piece from ``start`` to ``stop`` at the places ``first`` to ``last`` along one axis.

    >>> ramp(0, 5, 0, 5, (0, 3)).tolist()
    [1.0, 1.0, 0.75, 0.5, 0.25]
    """
    at = np.arange(first, last)
    low = np.minimum(1.0, (at - start + 1) / (widths[0] + 1))
    high = np.minimum(1.0, (stop - at) / (widths[1] + 1))
    weights: NDArray[np.float64] = low * high
    return weights


def blend(core: Box, pieces: Sequence[Placed], fill: float, dtype: str) -> tuple[NDArray[Any], int]:
    """Blend pieces in a box of the grid.

    Parameters
    ----------
    core
        The box.
    pieces
        All pieces that cover voxels of it, in the order of their numbers.
    fill
        Value of the voxels that no piece covers.
    dtype
        Type of the result. Integers are rounded, halves to even.

    Returns
    -------
    array, int
        The voxels (z, y, x) in ``dtype``, and how many of them no piece covers.
    """
    out = np.empty(core.shape, dtype)
    empty = 0
    rows = max(1, BAND_VOX // max(1, core.shape[2]))
    for z in range(core.start[0], core.stop[0]):
        for y in range(core.start[1], core.stop[1], rows):
            band = Box((z, y, core.start[2]), (z + 1, min(y + rows, core.stop[1]), core.stop[2]))
            values, seen = _band(band, pieces, fill)
            out[band.slices_in(core)] = as_type(values, dtype)
            empty += seen.size - int(np.count_nonzero(seen))
    return out, empty


def _band(band: Box, pieces: Sequence[Placed], fill: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The blended values of some rows of one slice, and which of them a piece covers."""
    first = np.zeros(band.shape)
    total = np.zeros(band.shape)
    differences = np.zeros(band.shape)
    seen = np.zeros(band.shape, bool)
    for piece in pieces:
        part = piece.box.intersect(piece.whole).intersect(band)
        if part.empty:
            continue
        here = part.slices_in(band)
        values = piece.voxels[part.slices_in(piece.box)].astype(np.float64)
        before = seen[here].copy()
        np.copyto(first[here], values, where=~before)
        seen[here] = True
        weight = _weights(part, piece)
        total[here] += weight
        difference = np.zeros_like(values)
        with np.errstate(invalid="ignore"):  # infinities of two pieces
            np.subtract(values, first[here], out=difference, where=before)
            differences[here] += weight * difference
    np.divide(differences, total, out=differences, where=seen)
    first += differences
    first[~seen] = fill
    return first, seen


def _weights(part: Box, piece: Placed) -> NDArray[np.float64]:
    """The weights of a piece, not yet divided by those of the others."""
    z, y, x = (
        ramp(part.start[a], part.stop[a], piece.whole.start[a], piece.whole.stop[a], piece.widths[a].tolist())
        for a in range(3)
    )
    return z[:, None, None] * y[:, None] * x


def as_type(values: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    """Convert to a type: integers are rounded (halves to even) and kept within its range."""
    wanted = np.dtype(dtype)
    if wanted.kind == "f":
        return values.astype(wanted)
    info = np.iinfo(wanted)
    return np.clip(np.rint(values), info.min, info.max).astype(wanted)


def uncovered(boxes: Boxes, shape: Sequence[int]) -> int:
    """Count the voxels of a grid that no box covers.

    >>> uncovered(np.array([[[0, 0, 0], [1, 4, 4]], [[0, 2, 2], [1, 6, 6]]]), (1, 6, 6))
    8
    """
    clipped = np.clip(boxes, 0, np.asarray(shape))
    edges = [np.unique(np.concatenate([[0, n], clipped[:, :, a].ravel()])) for a, n in enumerate(shape)]
    lengths = [np.diff(e) for e in edges]
    at = np.stack([np.searchsorted(edges[a], clipped[:, :, a]) for a in range(3)], axis=-1)
    empty = 0
    for z, height in enumerate(lengths[0]):
        free = np.ones((len(lengths[1]), len(lengths[2])), bool)
        for (z0, y0, x0), (z1, y1, x1) in at:
            if z0 <= z < z1:
                free[y0:y1, x0:x1] = False
        empty += int(height) * int(lengths[1] @ free @ lengths[2])
    return empty
