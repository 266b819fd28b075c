"""A surface: a triangle mesh of one membrane or object in a tomogram, with its normals and numbers for each vertex.

Vertices are *places*: angstrom from the centre of the tomogram's first voxel, z, y, x. Faces go counterclockwise seen
from the side to which the surface's normals point, in the right-handed frame x, y, z.

>>> corners = [[0, 0, 0], [0, 0, 10], [0, 10, 0]]
>>> flat = Surface(corners, [[0, 1, 2]], normals=[[1, 0, 0]] * 3, columns={"score": [1, 2, 3]})
>>> flat.columns["score"].tolist(), flat.closed
([1, 2, 3], False)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError

Floats = NDArray[np.float64]
Faces = NDArray[np.int32]
Column = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh of one object.

    Parameters
    ----------
    vertices
        (n, 3) float64, z, y, x, angstrom from the centre of the tomogram's first voxel.
    faces
        (m, 3) int32, numbers of vertices, from 0.
    normals
        (n, 3) float64, unit vectors z, y, x; ``None`` if the surface has none.
    columns
        Numbers of each vertex, (n,), by name: ``thickness_nm``, ``mean_curvature_per_nm`` ...
    number
        Number of the surface in its set, from 1; 0: it stands alone.

    Raises
    ------
    InputError
        Vertices that are not finite, faces that name vertices that are not there, columns or normals of another length.
    """

    vertices: Floats
    faces: Faces
    normals: Floats | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    number: int = 0

    def __post_init__(self) -> None:
        at = np.asarray(self.vertices, np.float64).reshape(-1, 3)
        corners = np.asarray(self.faces).reshape(-1, 3)
        if not np.isfinite(at).all():
            raise InputError(f"{self.name}: a vertex is not three finite numbers.")
        if len(corners) and not 0 <= corners.min() <= corners.max() < len(at):
            raise InputError(
                f"{self.name}: the faces name vertices {corners.min()} to {corners.max()}; there are {len(at)}, from 0."
            )
        normals = None if self.normals is None else np.asarray(self.normals, np.float64)
        if normals is not None and normals.shape != at.shape:
            raise InputError(f"{self.name}: {normals.shape} normals for {len(at)} vertices.")
        columns = {name: np.asarray(column) for name, column in self.columns.items()}
        for name, column in columns.items():
            if column.shape != (len(at),):
                raise InputError(f"{self.name}: column {name!r} has the shape {column.shape}; {len(at)} vertices.")
        for name, value in (("vertices", at), ("faces", corners.astype(np.int32)), ("normals", normals)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "columns", columns)

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"Surface {self.number}" if self.number else "The surface"

    @cached_property
    def borders(self) -> NDArray[np.int64]:
        """(k, 2) edges that only one face has, as numbers of vertices; none if the surface is closed."""
        sides = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).astype(np.int64), axis=1)
        edges, counts = np.unique(sides, axis=0, return_counts=True)
        found: NDArray[np.int64] = edges[counts == 1]
        return found

    @property
    def closed(self) -> bool:
        """Whether every edge has two faces at least."""
        return len(self.faces) > 0 and not len(self.borders)

    @cached_property
    def areas(self) -> Floats:
        """(m,) area of each face, square angstrom."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        found: Floats = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
        return found

    @cached_property
    def vertex_areas(self) -> Floats:
        """(n,) a third of the areas of the faces around each vertex, square angstrom."""
        shares = np.repeat(self.areas / 3, 3)
        summed = np.bincount(self.faces.ravel(), shares, minlength=len(self.vertices))
        return summed.astype(np.float64, copy=False)  # without faces they are whole numbers

    def with_columns(self, **columns: ArrayLike) -> Surface:
        """The same surface with further columns; those of the same name are replaced."""
        return replace(self, columns={**self.columns, **{k: np.asarray(v) for k, v in columns.items()}})
