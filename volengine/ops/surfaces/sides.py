"""One face of a thick membrane, or the surface in its middle, from the surface of its whole body.

The body of a membrane has two faces, which meet at its rim where it ends. A vertex belongs to a face if
straight inwards of it, within the largest thickness, lies a vertex that looks the other way. The rim does not, and
normals turn over there, so without it the two faces are separate. Which of two faces is the outer one follows from a
place on whose side it is, or from their areas: that of the convex side is larger.

>>> one_side(np.zeros((0, 3)), np.zeros((0, 3), np.int32), "outer", 100.0, None)[1].shape
(0, 3)
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.ops.surfaces.merge import used_only
from volengine.ops.surfaces.normals import area_vectors, vertex_normals
from volengine.ops.surfaces.orient import turned
from volengine.ops.surfaces.smooth import smoothed
from volengine.ops.surfaces.topology import border_edges, edges_of, parts_of

Floats = NDArray[np.float64]
Array = NDArray[Any]
Side = Literal["both", "outer", "inner", "middle"]
Int64 = NDArray[np.int64]

OPPOSITE = -0.8
"""Cosine of normals that look the other way: the rim's shoulders, from 37 degrees on, belong to no face."""

EVEN = 0.8
"""Least cosine between the normals of a face's corners. In membranes of one voxel (a real phagophore of 14 angstrom)
faces across the rim hold the sides together; with 0.7 to 0.95 they come apart, and 97 % of the faces stay."""

STEEP = 0.25
"""Squared sine of the angle between surface and face from which on vertices slide along the surface to the face."""

CRUSHED = 0.15
"""Faces of the mid-surface that have less than this part of their area before belong to the rim."""

RINGS = 4
"""Rings of faces that are taken from the borders of a sheet at most, until its two sides come apart."""

SMALL = 0.02
"""Pieces of faces with less than this part of the largest one's area are remains of the rim."""


def one_side(
    vertices: Floats,
    faces: Array,
    side: Side,
    max_thickness: float,
    towards: ArrayLike | None,
    normals: Floats | None = None,
) -> tuple[Floats, NDArray[np.int32]]:
    """Return one face of a membrane, or its mid-surface.

    Parameters
    ----------
    vertices, faces
        (n, 3), (m, 3) of the surface around the membrane, normals outwards.
    side
        ``outer``, ``inner`` or ``middle``.
    max_thickness
        The two faces are at most so far apart, in the unit of the vertices.
    towards
        A place, or (k, 3) places, on whose side the outer face is; of several the nearest one of each face counts.
        ``None``: it is the one of the larger area, and of two whose areas differ by less than 2 % the one whose mean
        normal comes first (z, then y, then x upwards).
    normals
        (n, 3) unit normals along which the other face is looked for; default: those of the surface. Where voxels are
        longer in one direction, faces have terraces, whose normals say little of the membrane's.

    Returns
    -------
    vertices, faces
        Their normals point out of the outer face. Within about half a thickness of the rim there are none. No faces at
        all if the body has no two faces: it is thicker, or a blob.
    """
    nothing = np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    if not len(faces):
        return nothing
    if normals is None:
        normals = vertex_normals(vertices, faces)
    depth, other = opposite(vertices, faces, normals, max_thickness)
    sheet = np.asarray(faces)[(other >= 0)[faces].all(axis=1) & _even(normals, faces)]
    if not len(sheet):
        return nothing
    looks = _looks(vertices, sheet, other, towards)
    if side == "inner":
        at, corners = used_only(vertices, turned(sheet[looks == -1]))
        return at, corners
    chosen = sheet[looks == 1]
    if side == "outer":
        at, corners = used_only(vertices, chosen)
        return at, corners
    if not len(chosen):
        return nothing
    at, corners = used_only(*_middle(vertices, chosen, depth, normals))
    return at, corners


def _looks(vertices: Floats, sheet: Array, other: Int64, towards: ArrayLike | None) -> NDArray[np.int8]:
    """Of each face: 1 if it is on the outer side, -1 on the inner one, 0 if it is neither.

    Smooth walls of small holes in a membrane may join its two sides, so rings of faces are taken from the borders of a
    piece that is opposite of itself, until it comes apart. Then the sides grow back. A closed piece (a blob) has none.
    """
    part = parts_of(sheet, len(vertices))
    looks = _outer(vertices, sheet, part, other, towards)[part[sheet[:, 0]]]
    areas = np.bincount(part[sheet[:, 0]], np.linalg.norm(area_vectors(vertices, sheet), axis=1))
    joined = (looks == 0) & (areas >= SMALL * areas.max())[part[sheet[:, 0]]]
    core = np.flatnonzero(joined)
    for _ in range(RINGS):
        border = np.zeros(len(vertices), bool)
        border[border_edges(sheet[core]).ravel()] = True
        if not border.any():
            break
        core = core[~border[sheet[core]].any(axis=1)]
        if not len(core):
            break
        part = parts_of(sheet[core], len(vertices))
        found = _outer(vertices, sheet[core], part, other, towards)[part[sheet[core][:, 0]]]
        looks[core] = found
        core = core[found == 0]
        if not len(core):
            break
    return _grown(looks, joined, sheet, len(vertices))


def _grown(looks: NDArray[np.int8], joined: NDArray[np.bool_], sheet: Array, vertices: int) -> NDArray[np.int8]:
    """Give the faces that were joined, and have no side, that of their neighbours, ring by ring."""
    looks = looks.copy()
    near = joined
    for _ in range(RINGS):
        votes = np.zeros(vertices, np.int64)
        np.add.at(votes, sheet, np.where(near, looks, 0).astype(np.int64)[:, None])
        bare = near & (looks == 0)
        looks[bare] = np.sign(votes[sheet[bare]].sum(axis=1))
    return looks


def _middle(vertices: Floats, faces: Array, depth: Floats, normals: Floats) -> tuple[Floats, Array]:
    """Move vertices of a face by half the thickness; what is crushed there, at the rim's shoulders, is left out.

    Only what hangs together with a border is of the rim: elsewhere faces that are crushed, in dents that are narrower
    than the membrane is thick, stay, or there would be holes.
    """
    at = vertices - 0.5 * np.where(np.isfinite(depth), depth, 0)[:, None] * normals
    at = _within(smoothed(at, faces, 4 * _mean_edge(at, faces)), vertices.min(axis=0), vertices.max(axis=0), normals)
    before, after = area_vectors(vertices, faces), area_vectors(at, faces)
    along = np.einsum("ij,ij->i", before, after)
    square = np.einsum("ij,ij->i", before, before)
    size = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    faces = faces[~_at_border(faces, (along <= 0.7 * size) | (along <= CRUSHED * square), len(at))]
    if not len(faces):
        return at, faces
    part = parts_of(faces, len(at))[faces[:, 0]]
    areas = np.bincount(part, np.linalg.norm(area_vectors(at, faces), axis=1))
    return at, faces[areas[part] >= SMALL * areas.max()]


def _at_border(faces: Array, some: NDArray[np.bool_], vertices: int) -> NDArray[np.bool_]:
    """(m,) which of some faces hang together with a border of all faces."""
    part = parts_of(faces[some], vertices)
    reached = np.zeros(vertices, bool)
    reached[part[border_edges(faces).ravel()]] = True
    found: NDArray[np.bool_] = some & reached[part[faces[:, 0]]]
    return found


def _within(at: Floats, low: Floats, high: Floats, normals: Floats) -> Floats:
    """Bring vertices back into the body's box: where a volume's face cuts a body, half a thickness leads out of it.

    They slide along the surface, or where it is nearly parallel to the face, straight to it.
    """
    at = at.copy()
    for axis in range(3):
        over = at[:, axis] - np.clip(at[:, axis], low[axis], high[axis])
        rows = np.flatnonzero(over)
        along = np.eye(3)[axis] - normals[rows, axis, None] * normals[rows]
        steep = np.maximum(along[:, axis], STEEP)
        at[rows] -= (over[rows] / steep)[:, None] * along
    clipped: Floats = np.clip(at, low, high)
    return clipped


def _even(normals: Floats, faces: Array) -> NDArray[np.bool_]:
    """(m,) whether the normals at the corners of faces differ little: across the rim of a thin membrane they do not."""
    corners = normals[faces]
    pairs = [np.einsum("ij,ij->i", corners[:, a], corners[:, b]) for a, b in ((0, 1), (1, 2), (2, 0))]
    found: NDArray[np.bool_] = np.min(pairs, axis=0) > EVEN
    return found


def opposite(vertices: Floats, faces: Array, normals: Floats, max_thickness: float) -> tuple[Floats, Int64]:
    """Find for each vertex the other face, straight inwards.

    Returns
    -------
    depth, vertex
        (n,) the distance along the normal to the plane that touches the other face; (n,) the vertex of it that was met.
        NaN and -1 where there is none within ``max_thickness``.
    """
    from scipy.spatial import cKDTree

    edge = _mean_edge(vertices, faces)
    tree = cKDTree(vertices)
    depth, found = np.full(len(vertices), np.nan), np.full(len(vertices), -1, np.int64)
    pending = np.arange(len(vertices))
    for step in np.arange(edge, max_thickness + edge, 0.7 * edge):
        p, n = vertices[pending], normals[pending]
        _, near = tree.query(p - step * n)
        facing = np.einsum("ij,ij->i", normals[near], n)
        to = p - vertices[near]
        along = np.einsum("ij,ij->i", to, n)
        aside = np.linalg.norm(to - along[:, None] * n, axis=1)
        good = (facing < OPPOSITE) & (aside < 1.5 * edge) & (along > 0)
        hit = pending[good]
        distance = np.einsum("ij,ij->i", to[good], normals[near[good]]) / facing[good]
        depth[hit], found[hit] = distance, near[good]
        pending = pending[~good]
        if not len(pending):
            break
    far = ~(depth <= max_thickness)
    depth[far], found[far] = np.nan, -1
    return depth, found


def _outer(vertices: Floats, sheet: Array, part: Int64, other: Int64, towards: ArrayLike | None) -> NDArray[np.int8]:
    """Of each piece of faces: 1 if it is on the outer side, -1 on the inner one, 0 if it is neither."""
    normal = area_vectors(vertices, sheet)
    area = 0.5 * np.linalg.norm(normal, axis=1)
    of_face = part[sheet[:, 0]]
    count = int(part.max()) + 1
    areas = np.bincount(of_face, area, minlength=count)
    used = np.unique(sheet)
    meets = other[used]
    both = np.isin(meets, used)
    pairs, votes = np.unique(np.stack([part[used[both]], part[meets[both]]], axis=1), axis=0, return_counts=True)
    found = np.zeros(count, np.int8)
    if towards is not None:
        score = np.bincount(of_face, _shows(vertices, sheet, normal, towards), minlength=count)
    mean = np.stack([np.bincount(of_face, normal[:, n], minlength=count) for n in range(3)], axis=1)
    for piece in np.flatnonzero(areas >= SMALL * areas.max()).tolist():
        mine = pairs[:, 0] == piece
        if not mine.any():
            continue
        partner = int(pairs[mine][np.argmax(votes[mine]), 1])
        if partner == piece:
            continue
        if towards is not None:
            first = score[piece] > score[partner]
        elif abs(areas[piece] - areas[partner]) > 0.02 * max(areas[piece], areas[partner]):
            first = areas[piece] > areas[partner]
        else:
            first = tuple(mean[piece]) > tuple(mean[partner])
        found[piece] = 1 if first else -1
    return found


def _shows(vertices: Floats, sheet: Array, normal: Floats, towards: ArrayLike) -> Floats:
    """(m,) how much each face shows its front to the nearest place, weighted by 1 over the distance to the fourth.

    With 1 over its square the sum would be the solid angle, which is 0 of a closed surface for all places outside. With
    a higher power the near part of the surface decides: its side is that of the place.
    """
    from scipy.spatial import cKDTree

    middle = vertices[sheet].mean(axis=1)
    places = np.asarray(towards, np.float64).reshape(-1, 3)
    to = places[cKDTree(places).query(middle)[1]] - middle
    size = np.maximum(np.linalg.norm(to, axis=1), 2 * _mean_edge(vertices, sheet))
    shows: Floats = np.einsum("ij,ij->i", normal, to) / size * (size.min() / size) ** 4
    return shows


def _mean_edge(vertices: Floats, faces: Array) -> float:
    edges, _ = edges_of(faces)
    return float(np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).mean())
