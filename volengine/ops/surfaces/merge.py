"""Joining the pieces of a surface: vertices of the same name are one vertex.

>>> a = {"keys": np.array([3, 5, 9]), "places": np.eye(3), "faces": np.array([[0, 1, 2]])}
>>> b = {"keys": np.array([3, 5, 7]), "places": np.eye(3), "faces": np.array([[1, 0, 2]])}
>>> places, faces = merge_pieces([a, b])
>>> faces.tolist()                                                   # the vertices are those of the keys 3, 5, 7, 9
[[0, 1, 3], [0, 2, 1]]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table

Array = NDArray[Any]


def merge_pieces(pieces: Sequence[Table]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Join pieces of one surface; the result does not depend on how it was divided.

    Parameters
    ----------
    pieces
        Tables with ``keys`` (n,), ``places`` (n, 3) and ``faces`` (m, 3), as
        :func:`~volengine.ops.surfaces.marching.pieces_of` makes them. Equal keys have equal places.

    Returns
    -------
    places, faces
        (n, 3) float64, by key; (m, 3) int32, each beginning with its smallest vertex, in ascending order.
    """
    keys = np.concatenate([np.zeros(0, np.int64), *(p["keys"] for p in pieces)])
    if not len(keys):
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    _, first, row = np.unique(keys, return_index=True, return_inverse=True)
    row = row.reshape(-1)
    begins = np.cumsum([0, *(len(p["keys"]) for p in pieces)])
    faces = np.concatenate([row[p["faces"] + a] for p, a in zip(pieces, begins[:-1], strict=True)])
    places = np.concatenate([p["places"] for p in pieces])[first]
    return places, in_order(faces)


def in_order(faces: Array) -> NDArray[np.int32]:
    """Bring faces into one order: each begins with its smallest vertex, and they ascend. Their sense is kept."""
    first = np.argmin(faces, axis=1)
    turned = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
    order = np.lexsort(turned.T[::-1])
    return turned[order].astype(np.int32)


def used_only(vertices: Array, faces: Array, *more: Array) -> tuple[Array, ...]:
    """Return vertices that faces use, the faces with their new numbers, and the rows of further arrays of vertices."""
    used = np.zeros(len(vertices), bool)
    used[faces.reshape(-1)] = True
    number = np.cumsum(used) - 1
    return vertices[used], number[faces].astype(np.int32).reshape(-1, 3), *(one[used] for one in more)
