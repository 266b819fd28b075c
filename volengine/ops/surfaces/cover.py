"""Area near any of several points: each face is looked at in parts, and each part belongs to its nearest point.

>>> import numpy as np
>>> corners, faces = np.array([[0.0, 0, 0], [0, 0, 8], [0, 8, 0], [0, 8, 8]]), np.array([[0, 1, 2], [1, 3, 2]])
>>> near = Cover(corners, faces, np.ones(2, bool), reach=3.0, width=3.0)
>>> for corner in (0, 3):
...     near.add([0, 1], np.linalg.norm(corners - corners[corner], axis=1))
>>> round(float(near.areas([3.0])[0]) / (np.pi * 9 / 2), 1)
1.0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.ops.surfaces.areas import face_areas

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

PER_WIDTH, MOST_PARTS, MOST_CELLS = 6, 24, 4_000_000
"""Parts of an edge for each width; most of an edge; most parts of a surface (8 bytes each)."""


class Cover:
    """The least distance to any of several points, for parts of faces.

    Parameters
    ----------
    vertices, faces
        The surface: (v, 3) and (m, 3).
    counted
        (m,) bool: faces whose area counts.
    reach
        Largest distance that is asked for.
    width
        Smallest length that matters: the faces' longest edges are divided so that this has :data:`PER_WIDTH` parts.

    Notes
    -----
    At barycentric weights w the squared distance to a point is Σ wᵢ dᵢ² − Σ wᵢ wⱼ eᵢⱼ², with the distances of the
    corners and the lengths of the edges: exact where the way is flat, as in
    :func:`volengine.ops.surfaces.areas.area_within`. The least of several points is not linear between corners, so it
    is taken part by part.
    """

    def __init__(
        self, vertices: Floats, faces: NDArray[np.integer], counted: NDArray[np.bool_], reach: float, width: float
    ):
        self.faces, self.reach = np.asarray(faces, np.int64), reach
        self.area = np.where(counted, face_areas(vertices, self.faces), 0.0)
        corners = vertices[self.faces]
        self.edges = np.square(corners - corners[:, [1, 2, 0]]).sum(axis=2)  # of corners 01, 12, 20
        longest = float(np.sqrt(self.edges.max(initial=0.0)))
        most = max(1, int(np.sqrt(MOST_CELLS / max(len(self.faces), 1))))
        parts = min(max(int(np.ceil(longest / width * PER_WIDTH)), 1), MOST_PARTS, most)
        self.weights = _middles(parts)
        self.pairs = self.weights * self.weights[:, [1, 2, 0]]
        self.squared = np.full((len(self.faces), len(self.weights)), np.inf)

    def add(self, faces: ArrayLike, distance: Floats) -> None:
        """Add a point.

        Parameters
        ----------
        faces
            Numbers of the faces within its reach.
        distance
            (v,) distances of the vertices from it; those of these faces' corners are finite.
        """
        rows = np.asarray(faces, np.int64)
        each = distance[self.faces[rows]]
        near = (each.min(axis=1) <= self.reach + np.sqrt(self.edges[rows].max(axis=1, initial=0.0))) & (
            self.area[rows] > 0
        )
        rows, each = rows[near], each[near]
        found = np.square(each) @ self.weights.T - self.edges[rows] @ self.pairs.T
        self.squared[rows] = np.minimum(self.squared[rows], found)

    def areas(self, radii: ArrayLike) -> Floats:
        """(k,) area within each radius of a point, up to the reach."""
        levels = np.atleast_1d(np.asarray(radii, np.float64))
        touched = np.flatnonzero(np.isfinite(self.squared).any(axis=1))
        distance = np.sqrt(np.maximum(self.squared[touched], 0.0))
        ring = np.searchsorted(levels, distance.ravel(), side="left")
        share = np.repeat(self.area[touched] / len(self.weights), len(self.weights))
        rings = np.bincount(ring, share, minlength=len(levels) + 1).astype(np.float64)
        found: Floats = np.cumsum(rings)[: len(levels)]
        return found


def _middles(parts: int) -> Floats:
    """(parts², 3) barycentric weights of the middles of equal parts of a triangle."""
    i, j = np.meshgrid(np.arange(parts), np.arange(parts), indexing="ij")
    up, down = i + j < parts, i + j < parts - 1
    first = np.stack([i[up] + 1 / 3, j[up] + 1 / 3], axis=1)
    second = np.stack([i[down] + 2 / 3, j[down] + 2 / 3], axis=1)
    both = np.concatenate([first, second]) / parts
    return np.concatenate([both, 1 - both.sum(axis=1, keepdims=True)], axis=1)
