"""Dividing the surface of membranes that touch: along the groove around each place where they do.

Where two membranes touch, their surface has a groove around the spot, in which it bends sharply towards its normal;
no membrane bends so sharply by itself. Without the grooves the mesh falls apart into *patches*. Those that are the two
faces of one membrane lie opposite of each other, through it, over most of their area, and belong together. What is
left, the grooves and what is small, belongs to the membrane that is nearest along the mesh: a geodesic watershed from
the patches. A part that is small beside its spot, as protein on a membrane is, is none; and where nothing is sure,
nothing is divided: with a roughness of 1.2 voxels (standard deviation) such spots go unnoticed, with 0.6 they do not.

>>> parts_that_touch(np.zeros((0, 3)), np.zeros((0, 3), np.int32), 100.0, 500.0).shape
(0,)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.ops.surfaces.normals import area_vectors, vertex_normals
from volengine.ops.surfaces.sides import opposite
from volengine.ops.surfaces.smooth import smoothed
from volengine.ops.surfaces.topology import edges_of, parts_of

Floats = NDArray[np.float64]
Array = NDArray[Any]
Int64 = NDArray[np.int64]

SMOOTH = 5.0
"""Waves shorter than so many edges are smoothed before bends are looked at: the steps of masks are no grooves."""

BEND_EDGES = 2.2
"""A groove bends with a radius of less than so many edges ..."""

BEND_THICKNESS = 0.5
"""... or of this part of the membrane's thickness, if that is more."""

WEAK, RINGS = 0.5, 3
"""Beside a groove vertices that bend by this part belong to it, too, so many edges far: it has no gaps."""

FACING = 0.25
"""Two patches are faces of one membrane if this part of the smaller one's area is opposite of the other."""

SPOT = 8.0
"""A part has at least so many times the area of the disc at which it touches: protein on a membrane has less."""

LEAST = 300.0
"""Patches of less than so many squares of edges, the area of a ball of five, belong to a neighbour."""


def parts_that_touch(vertices: Floats, faces: Array, max_thickness: float, widest: float) -> Int64:
    """Number the membranes of which a surface consists.

    Parameters
    ----------
    vertices, faces
        (n, 3), (m, 3) of the whole surface, normals out of the membranes; as fine as voxels, and not smoothed.
    max_thickness
        Of a membrane, in the unit of the vertices.
    widest
        Spots that are wider than this do not count: the two sides stay one membrane.

    Returns
    -------
    (m,) number of the membrane of each face, from 0; the largest first.
    """
    if not len(faces):
        return np.zeros(0, np.int64)
    faces = np.asarray(faces, np.int64)
    edges, _ = edges_of(faces)
    edge = float(np.linalg.norm(vertices[edges[:, 1]] - vertices[edges[:, 0]], axis=1).mean())
    at = smoothed(vertices, faces, SMOOTH * edge)
    normals = vertex_normals(at, faces)
    depth, other = opposite(at, faces, normals, max_thickness)
    thick = float(np.nanmedian(depth)) if (other >= 0).any() else 0.0
    radius = max(BEND_EDGES * edge, BEND_THICKNESS * thick)
    groove = _grooves(_bend(at, normals, edges) * radius, edges)
    area = _vertex_areas(at, faces)
    label = _patches(faces, groove, len(at))
    label = _grouped(label, other, area)
    label = _large_only(label, area, LEAST * edge**2)
    label = flooded(at, edges, label)
    of_face = _narrow_only(at, faces, face_labels(faces, label), widest, LEAST * edge**2)
    return _by_area(at, faces, of_face)


def _bend(at: Floats, normals: Floats, edges: Int64) -> Floats:
    """(n,) the least curvature along the edges of each vertex, 1 over length, at most 0: towards the normal."""
    way = at[edges[:, 1]] - at[edges[:, 0]]
    square = np.einsum("ij,ij->i", way, way)
    bend = np.einsum("ij,ij->i", normals[edges[:, 1]] - normals[edges[:, 0]], way) / np.where(square > 0, square, 1)
    least = np.zeros(len(at))
    for end in (0, 1):
        np.minimum.at(least, edges[:, end], bend)
    return least


def _grooves(bend: Floats, edges: Int64) -> NDArray[np.bool_]:
    """(n,) whether a vertex lies in a groove: it bends by -1 or less, or by half of it a few edges from there."""
    groove = bend < -1
    weak = bend < -WEAK
    for _ in range(RINGS):
        near = np.zeros(len(bend), bool)
        for a, b in ((0, 1), (1, 0)):
            near[edges[groove[edges[:, a]], b]] = True
        groove = groove | (near & weak)
    return groove


def _vertex_areas(at: Floats, faces: Array) -> Floats:
    size = 0.5 * np.linalg.norm(area_vectors(at, faces), axis=1)
    return np.bincount(faces.ravel(), np.repeat(size / 3, 3), minlength=len(at)).astype(np.float64, copy=False)


def _patches(faces: Array, groove: NDArray[np.bool_], count: int) -> Int64:
    """(n,) the connected part of each vertex without grooves; -1 in a groove."""
    kept = faces[~groove[faces].any(axis=1)]
    part = parts_of(kept, count)
    part[groove] = -1
    return np.unique(part, return_inverse=True)[1].reshape(-1).astype(np.int64) - bool(groove.any())


def _grouped(label: Int64, other: Int64, area: Floats) -> Int64:
    """Join patches that lie opposite of each other over much of their area."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(label.max(initial=-1)) + 1
    if not count:
        return label
    rows = np.flatnonzero((other >= 0) & (label >= 0))
    rows = rows[label[other[rows]] >= 0]
    a, b = label[rows], label[other[rows]]
    pairs, where = np.unique(a * count + b, return_inverse=True)
    shared = np.bincount(where, area[rows], minlength=len(pairs))
    first, second = np.divmod(pairs, count)
    sizes = np.bincount(label[label >= 0], area[label >= 0], minlength=count)
    joined = shared > FACING * np.minimum(sizes[first], sizes[second])
    graph = coo_array((np.ones(int(joined.sum())), (first[joined], second[joined])), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    return np.where(label >= 0, group[np.maximum(label, 0)], -1).astype(np.int64)


def _large_only(label: Int64, area: Floats, least: float) -> Int64:
    """Take the label of patches that are too small from their vertices, but for the largest patch."""
    sizes = np.bincount(label[label >= 0], area[label >= 0])
    if not len(sizes):
        return np.zeros_like(label)
    small = sizes < min(least, sizes.max())
    return np.where((label >= 0) & ~small[np.maximum(label, 0)], label, -1)


def flooded(at: Floats, edges: Int64, label: Int64) -> Int64:
    """Give each vertex without a label that of the nearest one along edges, or else in space."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import cKDTree

    known = np.flatnonzero(label >= 0)
    if len(known) == len(label):
        return label
    length = np.linalg.norm(at[edges[:, 0]] - at[edges[:, 1]], axis=1)
    graph = csr_array((length, (edges[:, 0], edges[:, 1])), shape=(len(at),) * 2)
    _, _, source = dijkstra(graph, directed=False, indices=known, min_only=True, return_predecessors=True)
    reached = source >= 0
    found = label.copy()
    found[reached] = label[source[reached]]
    if (left := np.flatnonzero(found < 0)).size:
        _, near = cKDTree(at[known]).query(at[left])
        found[left] = label[known[near]]
    return found


def _narrow_only(at: Floats, faces: Array, label: Int64, widest: float, least: float) -> Int64:
    """Join parts again that are too small, or meet along a line too wide for a spot; (m,) labels of faces."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = 0.5 * np.linalg.norm(area_vectors(at, faces), axis=1)
    label = np.unique(label, return_inverse=True)[1].reshape(-1).astype(np.int64)
    meets = _meetings(at, faces, label)
    while True:
        areas = np.bincount(label, size)
        small = np.array([min(areas[label[a]], areas[label[b]]) for a, b, _ in meets])
        wide = np.array([width for _, _, width in meets])
        apart = np.array([label[a] != label[b] for a, b, _ in meets], bool)
        joined = apart & ((wide > widest) | (np.maximum(SPOT * np.pi / 4 * wide**2, least) > small))
        if not joined.any():
            return label
        pairs = np.array([(label[a], label[b]) for a, b, _ in meets])[joined]
        graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(areas), len(areas)))
        label = connected_components(graph, directed=False)[1][label].astype(np.int64)


def _meetings(at: Floats, faces: Array, label: Int64) -> list[tuple[int, int, float]]:
    """The lines along which parts meet: a face of each part, and how wide the line is across."""
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    ends, row = np.unique(sides, axis=0, return_inverse=True)
    low, high = np.full(len(ends), label.max(initial=0) + 1), np.full(len(ends), -1)
    np.minimum.at(low, row.reshape(-1), np.repeat(label, 3))
    np.maximum.at(high, row.reshape(-1), np.repeat(label, 3))
    between = np.flatnonzero(low < high)
    face_of = np.unique(label, return_index=True)[1]
    pairs, which = np.unique(np.stack([low[between], high[between]], axis=1), axis=0, return_inverse=True)
    found = []
    for number, (a, b) in enumerate(pairs.tolist()):
        line, inverse = np.unique(ends[between[which.reshape(-1) == number]], return_inverse=True)
        inverse = inverse.reshape(-1, 2)
        part = parts_of(np.concatenate([inverse, inverse[:, :1]], axis=1), len(line))
        for one in range(int(part.max()) + 1):
            loop = at[line[part == one]]
            width = 2 * float(np.linalg.norm(loop - loop.mean(axis=0), axis=1).max())
            found.append((int(face_of[a]), int(face_of[b]), width))
    return found


def face_labels(faces: Array, label: Int64) -> Int64:
    """(m,) the label of most corners of each face, else that of the first in their order."""
    of_face = np.sort(label[faces], axis=1)
    return np.where(of_face[:, 1] == of_face[:, 2], of_face[:, 1], of_face[:, 0])


def _by_area(at: Floats, faces: Array, of_face: Int64) -> Int64:
    size = np.linalg.norm(area_vectors(at, faces), axis=1)
    names, row = np.unique(of_face, return_inverse=True)
    sizes = np.bincount(row.reshape(-1), size)
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((np.arange(len(names)), -sizes))] = np.arange(len(names))
    return rank[row.reshape(-1)]
