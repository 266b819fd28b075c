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
