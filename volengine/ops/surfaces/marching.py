"""Marching cubes in blocks: the pieces of surfaces that fit together without a gap, whatever the blocks.

A *cube* has eight voxel centres as corners. Where some belong to an object and others do not, its surface goes through
the cube: it has a vertex on each edge whose ends differ. A vertex is named by its edge (a *key*: number of the edge's
first voxel, and the axis), so all cubes and blocks around an edge have the same vertex, and
:func:`volengine.ops.surfaces.merge.merge_pieces` joins them by name.

The method is that of Lorensen and Cline (1987) with one rule for ambiguous faces: where two diagonal corners are
inside, they are joined. The rule looks at the four corners of a face only, so both cubes at a face draw the same lines,
and every edge of the mesh has two triangles. Polygons are divided along diagonals that lie in no face of a cube, so
no two cubes have the same one. Therefore the mesh is a manifold for any mask.

>>> mask = np.zeros((4, 4, 4), np.int32); mask[1:3, 1:3, 1:3] = 1
>>> piece = pieces_of(mask, Box((0, 0, 0), (4, 4, 4)), Box((0, 0, 0), (4, 4, 4)), (4, 4, 4))
>>> piece["faces"].shape, piece["keys"].size, set(piece["objects"].tolist())
((44, 3), 24, {1})
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table
from volengine.core.boxes import Box, Index3

Array = NDArray[Any]
Int64 = NDArray[np.int64]

NAMES_PER_VOXEL = 3
"""Keys of a voxel: the edges that begin there, along z, y and x."""

NEAREST = 1 / 64
"""Vertices keep this distance from the ends of their edge, in voxels: so no two vertices have the same place."""

_CHUNK = 1 << 17  # cubes that are meshed together: bounds the memory of their vertices

CORNERS = tuple((c >> 2 & 1, c >> 1 & 1, c & 1) for c in range(8))
"""Corners of a cube, z, y, x, in the order of voxels in memory."""

EDGES = tuple((a, a | 4 >> axis, axis) for axis in range(3) for a in range(8) if not a & 4 >> axis)
"""Edges of a cube: first corner, last corner, axis."""

# The corners of each face, counterclockwise as seen from outside the cube, in the frame x, y, z.
_FACES = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5))


@cache
def cases() -> tuple[NDArray[np.int8], Int64]:
    """Return the triangles of the 256 cases of a cube, derived from the rule for faces.

    Bit c of a case says that corner c is inside.

    Returns
    -------
    corners, starts
        (820, 3): the edges of the cube on which the corners of each triangle lie, case after case; (257,): where the
        triangles of each case begin.
    """
    corners: list[tuple[int, int, int]] = []
    starts = [0]
    for case in range(256):
        for loop in _loops(case):
            corners += _triangles(loop)
        starts.append(len(corners))
    return np.array(corners, np.int8), np.array(starts, np.int64)


def _loops(case: int) -> list[tuple[int, ...]]:
    """Polygons of a case as edges of the cube, counterclockwise seen from outside of the object."""
    edge = {frozenset((a, b)): n for n, (a, b, _) in enumerate(EDGES)}
    after: dict[int, int] = {}
    for face in _FACES:
        inside = [bool(case >> c & 1) for c in face]
        for at in range(4):
            if not (inside[at] and not inside[(at + 1) % 4]):
                continue
            end = next(k for k in range(at + 1, at + 5) if not inside[k % 4] and inside[(k + 1) % 4])
            leaves = edge[frozenset((face[at], face[(at + 1) % 4]))]
            comes = edge[frozenset((face[end % 4], face[(end + 1) % 4]))]
            after[comes] = leaves  # a line that cuts off the corners outside between them
    loops = []
    while after:
        at = first = min(after)
        loop = []
        while True:
            loop.append(at)
            at = after.pop(at)
            if at == first:
                break
        loops.append(tuple(loop))
    return loops


def _triangles(loop: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Triangles of a polygon whose diagonals lie in no face of the cube; every polygon of the 256 cases has some."""
    sides = [{n for n, (a, b, _) in enumerate(EDGES) if a in face and b in face} for face in _FACES]

    def inner(i: int, j: int) -> bool:
        neighbours = j - i == 1 or (i == 0 and j == len(loop) - 1)
        return neighbours or not any(loop[i] in side and loop[j] in side for side in sides)

    def cut(i: int, j: int) -> list[tuple[int, int, int]] | None:
        if j - i < 2:
            return []
        for k in range(i + 1, j):
            if inner(i, k) and inner(k, j):
                first, last = cut(i, k), cut(k, j)
                if first is not None and last is not None:
                    return [*first, (loop[i], loop[k], loop[j]), *last]
        return None

    found = cut(0, len(loop) - 1)
    assert found is not None
    return found


def pieces_of(
    objects: Array,
    crop: Box,
    core: Box,
    shape: Index3,
    values: Array | None = None,
    level: float = 0.5,
    numbers: Array | None = None,
) -> Table:
    """Return the pieces of the surfaces of all objects that belong to a block.

    Parameters
    ----------
    objects
        Number of the object of each voxel of ``crop``, integers; 0: none. Each number has a surface of its own, also
        where it touches another one.
    crop, core, shape
        What the arrays cover: one voxel more than the block's core on each side, as far as the volume goes, or beyond
        it; the core; the shape of the volume. Where the crop reaches beyond the volume (zeros there), surfaces are
        closed at its faces; else they end there.
    values, level
        The prediction and its threshold in values, from which the place of a vertex on its edge is interpolated.
        Without, vertices lie halfway.
    numbers
        If ``objects`` is a mask: the number of the component of each voxel of the core (26 neighbours), 0: its surface
        is left out. All voxels of a mask at one cube belong to one component.

    Returns
    -------
    ``keys`` (n,) int64, ``places`` (n, 3) float64 (voxel indices z, y, x) and ``objects`` (n,) of the vertices, by
    object, then by key; ``faces`` (m, 3) int32, rows of these. A cube belongs to the block that holds its first corner
    of an object; so each triangle is in one block.
    """
    at = _mixed(objects)
    if not at.size:
        return no_pieces()
    found: list[tuple[Array, Array, Array]] = []
    for start in range(0, len(at), _CHUNK):
        found += _cubes_of(at[start : start + _CHUNK], objects, crop, core, numbers)
    cubes, owners, case = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if not len(cubes):
        return no_pieces()
    grid = _Grid(crop, shape, None if values is None else values.reshape(-1), level)
    return _meshed(cubes, owners, case, grid)


def _cubes_of(
    at: Int64, objects: Array, crop: Box, core: Box, numbers: Array | None
) -> list[tuple[Int64, Array, NDArray[np.uint8]]]:
    """The cubes whose first corner of an object lies in the core: first voxel, number of the object, case."""
    offsets = np.array([np.ravel_multi_index(c, objects.shape) for c in CORNERS], np.int64)
    corner = objects.reshape(-1)[at[:, None] + offsets]
    owned = _in_core(at, crop, core)
    found = []
    for first in range(8):
        one = corner[:, first]
        new = (one != 0) & owned[:, first]
        for before in range(first):
            new &= corner[:, before] != one
        rows = np.flatnonzero(new)
        inside = corner[rows] == one[rows, None]
        name = one[rows]
        if numbers is not None:
            place = np.array(np.unravel_index(at[rows] + offsets[first], crop.shape))
            name = numbers[tuple(place + np.subtract(crop.start, core.start)[:, None])]
            kept = name != 0
            rows, name, inside = rows[kept], name[kept], inside[kept]
        found.append((at[rows], name, (inside @ (1 << np.arange(8))).astype(np.uint8)))
    return found


def no_pieces() -> Table:
    """Return the pieces of no surface."""
    none = np.zeros(0, np.int64)
    return {"keys": none, "places": np.zeros((0, 3)), "objects": none, "faces": np.zeros((0, 3), np.int32)}


def _mixed(objects: Array) -> Int64:
    """Cubes (by their first voxel) whose corners are not all the same."""
    if min(objects.shape) < 2:
        return np.zeros(0, np.int64)
    z, y, x = objects.shape
    mixed = np.zeros(objects.shape, bool)
    inner = mixed[: z - 1, : y - 1, : x - 1]
    first = objects[: z - 1, : y - 1, : x - 1]
    for a, b, c in CORNERS[1:]:
        inner |= objects[a : z - 1 + a, b : y - 1 + b, c : x - 1 + c] != first
    return np.flatnonzero(mixed)


def _in_core(at: Int64, crop: Box, core: Box) -> NDArray[np.bool_]:
    """(n, 8) whether each corner of cubes lies in the core."""
    place = np.unravel_index(at, crop.shape)
    owned = np.ones((len(at), 8), bool)
    for axis, p in enumerate(place):
        first = p + crop.start[axis]
        for n, c in enumerate(CORNERS):
            owned[:, n] &= (first + c[axis] >= core.start[axis]) & (first + c[axis] < core.stop[axis])
    return owned


@dataclass(frozen=True)
class _Grid:
    """The arrays of a block: shape of the crop, where it begins, shape of the volume; values and their threshold."""

    crop: Box
    shape: Index3
    values: Array | None
    level: float

    @property
    def offsets(self) -> Int64:
        """How far the corners of a cube are from its first one in the flat arrays."""
        return np.array([np.ravel_multi_index(c, self.crop.shape) for c in CORNERS], np.int64)


def _meshed(cubes: Int64, numbers: Array, case: Int64, grid: _Grid) -> Table:
    """Triangles of cubes (first voxels in the crop) of objects, each with its case; vertices once for each object."""
    parts = []
    rows = 0
    for start in range(0, len(cubes), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        keys, places, owner, faces = _of_cubes(cubes[chunk], numbers[chunk], case[chunk], grid)
        parts.append((keys, places, owner, faces + rows))
        rows += len(keys)
    keys, places, owner, faces = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    del parts
    kept, row = _once(keys, owner)
    return {"keys": keys[kept], "places": places[kept], "objects": owner[kept], "faces": row[faces]}


def _of_cubes(cubes: Int64, numbers: Array, case: Int64, grid: _Grid) -> tuple[Int64, Array, Array, NDArray[np.int32]]:
    """Keys, places and owners of the vertices of cubes, each edge of each cube once, and the faces."""
    corners, starts = cases()
    count = np.diff(starts)[case]
    pair = np.repeat(np.arange(len(case)), count)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count)
    edges = corners[starts[case[pair]] + within].astype(np.int64)
    unique, faces = np.unique(pair[:, None] * len(EDGES) + edges, return_inverse=True)
    pair, edge = np.divmod(unique, len(EDGES))
    places, keys = _on_edges(cubes[pair], edge, grid)
    owner = numbers[pair]
    kept, row = _once(keys, owner)  # neighbouring cubes share edges
    return keys[kept], places[kept], owner[kept], row[faces.reshape(-1, 3)]


def _once(keys: Int64, owner: Array) -> tuple[Int64, NDArray[np.int32]]:
    """Vertices of which each is there once, by object and key, and the row of all others among them."""
    order = np.lexsort((keys, owner))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(keys[order]) != 0) | (owner[order][1:] != owner[order][:-1])
    row = np.empty(len(order), np.int32)
    row[order] = np.cumsum(new, dtype=np.int32) - 1
    return order[new], row


def _on_edges(cubes: Int64, edge: Int64, grid: _Grid) -> tuple[Array, Int64]:
    """Places and keys of vertices on edges of cubes; from the two ends of an edge alone, so the same in every cube."""
    first, last, axis = (np.array(column)[edge] for column in zip(*EDGES, strict=True))
    a, b = cubes + grid.offsets[first], cubes + grid.offsets[last]
    part = np.full(len(cubes), 0.5)
    if grid.values is not None:
        va, vb = grid.values[a].astype(np.float64), grid.values[b].astype(np.float64)
        apart = va != vb
        part[apart] = (grid.level - va[apart]) / (vb[apart] - va[apart])
        part = np.clip(part, NEAREST, 1 - NEAREST)
    place = np.stack(np.unravel_index(a, grid.crop.shape), axis=1) + np.array(grid.crop.start)
    places = place.astype(np.float64)
    places[np.arange(len(a)), axis] += part
    return places, _number(place, grid.shape) * NAMES_PER_VOXEL + axis


def _number(place: Array, shape: Index3) -> Int64:
    """Number of voxels of the volume and of the layer around it, in which closed surfaces end."""
    z, y, x = (place[:, n].astype(np.int64) + 1 for n in range(3))
    return (z * (shape[1] + 2) + y) * (shape[2] + 2) + x
