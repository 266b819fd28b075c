"""The lines in which a plane cuts a surface.

>>> corners = [[0, 0, 0], [10, 0, 10], [10, 10, 0]]
>>> section(Surface(corners, [[0, 1, 2]]), 0, 5.0).tolist()
[[[5.0, 0.0, 5.0], [5.0, 5.0, 0.0]]]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface


def section(surface: Surface, axis: int, place: float) -> NDArray[np.float64]:
    """Cut a surface by a plane perpendicular to an axis.

    Parameters
    ----------
    surface
        The surface.
    axis
        0, 1, 2 for z, y, x.
    place
        Where the plane is, angstrom.

    Returns
    -------
    (n, 2, 3) places of both ends of each piece, z, y, x, in the order of the faces. A vertex in the plane counts as
    above it, so each edge is cut once or not at all, and the pieces of a closed surface make closed lines; a face that
    lies in the plane has none of its own.
    """
    at, faces = surface.vertices, surface.faces
    above = at[:, axis] >= place
    crossing = faces[above[faces].any(axis=1) & ~above[faces].all(axis=1)]
    if not len(crossing):
        return np.zeros((0, 2, 3))
    up = above[crossing]
    single = np.where(up.sum(axis=1) == 1, up.argmax(axis=1), (~up).argmax(axis=1))  # the corner alone on its side
    rows = np.arange(len(crossing))
    alone = crossing[rows, single]
    ends = []
    for step in (1, 2):
        other = crossing[rows, (single + step) % 3]
        low, high = np.minimum(alone, other), np.maximum(alone, other)  # both faces of an edge compute the same place
        a, b = at[low, axis], at[high, axis]
        share = ((place - a) / (b - a))[:, None]
        end = at[low] + share * (at[high] - at[low])
        end[:, axis] = place
        ends.append(end)
    return np.stack(ends, axis=1)


def joined(pieces: NDArray[np.float64], step: float) -> list[NDArray[np.int64]]:
    """Join pieces of lines to long ones, on a grid.

    Parameters
    ----------
    pieces
        (n, 2, 2) both ends of each piece.
    step
        Distance of the grid's points: ends are moved to the nearest one. Pieces that become a point, or equal to
        another one, are left out.

    Returns
    -------
    list of (m, 2)
        Lines through points of the grid, in steps. Each piece is in one of them, once; the order of the pieces changes
        neither lines nor their order.

    Examples
    --------
    >>> [line.tolist() for line in joined(np.array([[[0, 0], [0, 2]], [[4, 4], [0, 2]]], float), 2.0)]
    [[[0, 0], [0, 1], [2, 2]]]
    """
    ends = np.rint(np.asarray(pieces, np.float64).reshape(-1, 2, 2) / step).astype(np.int64)
    pairs = sorted({(min(a, b), max(a, b)) for a, b in (map(tuple, piece) for piece in ends.tolist()) if a != b})
    at: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
    for a, b in pairs:
        at.setdefault(a, {})[b] = None
        at.setdefault(b, {})[a] = None
    lines = []
    starts = [*sorted(point for point, others in at.items() if len(others) % 2), *sorted(at)]  # ends, then closed lines
    for start in starts:
        while at[start]:
            line = [start]
            while others := at[line[-1]]:
                here, there = line[-1], next(iter(others))
                del at[here][there], at[there][here]
                line.append(there)
            lines.append(np.array(line, np.int64))
    return lines
