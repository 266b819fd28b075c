"""Remeshing: triangles of nearly the same size and shape, for a wanted area of each vertex.

A mesh that is much finer than wanted is coarsened by quadric errors first (:mod:`volengine.ops.surfaces.decimate`). The
method is the incremental one of Botsch and Kobbelt (2004, "A remeshing approach to multiresolution modeling"): in
rounds, long edges are split, short ones collapsed, edges flipped towards six neighbours for each vertex (four at a
border), and vertices moved within the surface to the middle of their neighbours, then back onto the surface that was
given. Triangles between points of a bent surface lie on its inner side: of small objects by a tenth of the volume. So
at last vertices go as far outwards as the triangles around them lie inside on average, which gives each place its
volume back. Each step works on many edges at once, of which no two touch a common face; which ones follows from their
length and numbers alone, so the result is the same in every run. An edge is collapsed or flipped only where the surface
stays a manifold of the same topology and no face turns over; coarsening a mesh is the same with longer edges.

>>> grid = np.stack(np.meshgrid([0.0], np.arange(9.0), np.arange(9.0), indexing="ij"), -1).reshape(-1, 3)
>>> a = np.array([9 * y + x for y in range(8) for x in range(8)])
>>> faces = np.concatenate([np.stack([a, a + 10, a + 1], 1), np.stack([a, a + 9, a + 10], 1)])
>>> at, made = remeshed(grid, faces, 4.0)
>>> len(at) < 40
True
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.ops.surfaces.decimate import decimated
from volengine.ops.surfaces.edges import Edges, collapsed, flipped, split
from volengine.ops.surfaces.merge import in_order, used_only
from volengine.ops.surfaces.normals import area_vectors, face_normals, vertex_normals
from volengine.ops.surfaces.project import project
from volengine.ops.surfaces.topology import parts_of

Floats = NDArray[np.float64]
Array = NDArray[Any]

ROUNDS = 6
LEAST = 1000
"""Meshes are coarsened by quadric errors first if they will have more vertices than this."""
SMALL = 30
"""Islands of fewer wanted areas than this keep their vertices before the rounds: quadric errors would flatten them."""
FEW = 0.1
"""A round stops collapsing when a turn has less than this part of the edges that the first one had."""
PUSHES = 3
"""Moves at the end that give the volume back; each leaves few percent of what was missing."""
DEEPEST = 0.5
"""The middle of an edge is at most this part of the mean edge above or below the surface, as far as it counts."""
LONG, SHORT = 4 / 3, 4 / 5
"""Edges longer and shorter than these times the wanted length are split and collapsed; the values are the source's."""


def edge_of_area(area: float) -> float:
    """Edge of equal triangles of which each vertex has this area: six thirds of a triangle.

    >>> round(edge_of_area(0.5 * 3**0.5), 12)
    1.0
    """
    return math.sqrt(2 * area / math.sqrt(3))


def remeshed(vertices: Floats, faces: Array, vertex_area: float) -> tuple[Floats, NDArray[np.int32]]:
    """Return a mesh of the same surface whose vertices have about the wanted area.

    Parameters
    ----------
    vertices, faces
        (n, 3), (m, 3) of a manifold, closed or with borders.
    vertex_area
        Wanted area of a vertex, in the square of the unit of the vertices.

    Returns
    -------
    vertices, faces
        The new mesh, of the same topology and the same volume. Where the surface is as small as few such areas,
        vertices have less.
    """
    length = edge_of_area(vertex_area)
    given, given_faces, normals = vertices, faces, vertex_normals(vertices, faces)
    at, faces = _coarse(vertices, faces, vertex_area)
    for _ in range(ROUNDS):
        at, faces = _split_long(at, faces, LONG * length)
        at, faces = _collapse_short(at, faces, SHORT * length, LONG * length)
        faces = _flip(at, faces)
        at = _relaxed(at, faces)
        at = _on_surface(at, faces, given, normals)
    at, faces = used_only(at, faces)
    at = _volume_kept(at, faces, given, given_faces)
    order = np.lexsort(at.T[::-1])
    number = np.empty(len(at), np.int64)
    number[order] = np.arange(len(at))
    return at[order], in_order(number[faces])


def _coarse(at: Floats, faces: Array, vertex_area: float) -> tuple[Floats, Array]:
    """The mesh with three times the wanted number of vertices, if it is much finer and can be had quickly.

    The errors of a small island are small whatever becomes of it, even two faces back to back, so it stays as it is.
    """
    faces = np.asarray(faces, np.int64)
    part = parts_of(faces, len(at))[faces[:, 0]] if len(faces) else np.zeros(0, np.int64)
    area = np.linalg.norm(area_vectors(at, faces), axis=1) / 2
    small = np.bincount(part, area)[part] < SMALL * vertex_area
    large, corners = used_only(at, faces[~small])
    wanted = 3 * int(area[~small].sum() / vertex_area)
    for more in (1, 2, 4):
        if more * wanted > 0.7 * len(large) or more * wanted < LEAST:
            break
        if (made := decimated(large, corners, more * wanted)) is not None:
            rest, others = used_only(at, faces[small])
            both = [made[1].astype(np.int64), others.astype(np.int64) + len(made[0])]
            return np.concatenate([made[0], rest]), np.concatenate(both)
    return at.copy(), faces


def _split_long(at: Floats, faces: Array, longest: float) -> tuple[Floats, Array]:
    """Split edges until none is longer; the longest of a face comes first."""
    while True:
        edges = Edges.of(faces)
        size = edges.lengths(at)
        chosen = edges.apart(size > longest, -size)
        if not len(chosen):
            return at, faces
        at, faces = split(at, faces, edges, chosen)


def _collapse_short(at: Floats, faces: Array, shortest: float, longest: float) -> tuple[Floats, Array]:
    """Collapse edges to their middles, the shortest first, until hardly one is shorter and may be."""
    first = 0
    refused = np.zeros(0, np.int64)
    while True:
        edges = Edges.of(faces)
        size = edges.lengths(at)
        names = edges.ends[:, 0] * len(at) + edges.ends[:, 1]
        wanted = (size < shortest) & ~np.isin(names, refused)
        tried = edges.apart(wanted, size)
        at, faces, done = collapsed(at, faces, edges, tried, size, longest)
        refused = np.union1d(refused, names[np.setdiff1d(tried, done)])
        first, number = first or len(tried), len(tried)
        if number <= FEW * first:
            return at, faces


def _flip(at: Floats, faces: Array) -> Array:
    """Flip edges where that brings the numbers of neighbours nearer to six, or four at borders."""
    for _ in range(8):
        faces, number = flipped(at, faces, Edges.of(faces))
        if not number:
            break
    return faces


def _relaxed(at: Floats, faces: Array) -> Floats:
    """Move vertices within the surface to the mean of their neighbours; those of borders stay."""
    edges = Edges.of(faces)
    total, count = np.zeros_like(at), np.bincount(edges.ends.reshape(-1), minlength=len(at))
    for axis in range(3):
        for a, b in ((0, 1), (1, 0)):
            total[:, axis] += np.bincount(edges.ends[:, a], at[edges.ends[:, b], axis], minlength=len(at))
    move = total / np.maximum(count, 1)[:, None] - at
    normals = vertex_normals(at, faces)
    move -= np.einsum("ij,ij->i", move, normals)[:, None] * normals
    move[edges.on_border(len(at)) | (count == 0)] = 0
    return _unfolded(at, at + move, faces)


def _on_surface(at: Floats, faces: Array, given: Floats, normals: Floats) -> Floats:
    """Move vertices along the normal onto the plane that touches the given surface at its nearest vertex."""
    from scipy.spatial import cKDTree

    _, near = cKDTree(given).query(at)
    off = np.einsum("ij,ij->i", at - given[near], normals[near])
    moved: Floats = at - off[:, None] * normals[near]
    border = Edges.of(faces).on_border(len(at))
    moved[border] = at[border]
    return moved


def _volume_kept(at: Floats, faces: Array, given: Floats, given_faces: Array) -> Floats:
    """Move vertices along their normals until the faces around each lie on the given surface on average.

    Heights above it are taken at the middles of edges: the mean of three is that over a face, exactly if heights are
    quadratic. Borders stay, and vertices whose face would turn over.
    """
    if not len(faces):
        return at
    edges = Edges.of(faces)
    border = edges.on_border(len(at))
    most = DEEPEST * float(edges.lengths(at).mean())
    outside = face_normals(given, given_faces)
    for _ in range(PUSHES):
        vectors = area_vectors(at, faces)
        area = np.linalg.norm(vectors, axis=1) / 2
        found = project(at[edges.ends].mean(axis=1), given, given_faces)
        other = np.where(edges.border, edges.faces[:, 0], edges.faces[:, 1])
        looks = vectors[edges.faces[:, 0]] + vectors[other]
        mine = np.einsum("ij,ij->i", outside[found.face], looks) > 0  # of a thin slab, not its other side
        height = np.where(mine, np.clip(found.signed, -most, most), 0)[edges.of_face].mean(axis=1)
        total, around = (
            np.bincount(faces.reshape(-1), np.repeat(w, 3), minlength=len(at)) for w in (area * height, area)
        )
        move = -(total / np.where(around > 0, around, 1))[:, None] * vertex_normals(at, faces)
        move[border] = 0
        at = _unfolded(at, at + move, faces)
    return at


def _unfolded(at: Floats, moved: Floats, faces: Array) -> Floats:
    """The moved vertices; those whose faces would turn over stay where they are."""
    for _ in range(3):
        bad = np.einsum("ij,ij->i", area_vectors(moved, faces), area_vectors(at, faces)) <= 0
        if not bad.any():
            return moved
        moved[faces[bad].reshape(-1)] = at[faces[bad].reshape(-1)]
    return moved if not bad.any() else at
