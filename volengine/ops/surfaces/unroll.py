"""Surfaces laid flat: where each vertex lies in a picture, what the picture shows, and how much it distorts.

*sphere*: a closed surface by the direction from its middle, in Lambert's cylindrical equal-area projection: the axis
of the picture is z, a column is a longitude (0 in the middle is +x, then +y), a row a height. On a sphere areas are
true everywhere, shapes at the equator; the poles are drawn out to lines. Every place must be seen from the middle.

*conformal*: an open surface by least squares (B. Lévy, S. Petitjean, N. Ray, J. Maillot, ACM Trans. Graph. 21 (2002)
362), so that small shapes keep their angles, and flat or rolled sheets everything. The area is that of the surface on
the whole; faces far out are larger or smaller. A tube is cut along its length before, if it cannot be laid flat else.

*polar*: distance and direction along the surface from a vertex in its middle (the logarithmic map, by the vector heat
method: N. Sharp, Y. Soliman, K. Crane, ACM Trans. Graph. 38 (2019) 24). Distances from that vertex are nearly true;
farther out circles are squeezed or stretched, and behind the farthest points of a closed surface faces overlap.

Pictures are seen from the side of the normals. :attr:`Unrolled.stretch` says how much areas are distorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import DependencyError, InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.sheets import apart, most_faces

Floats = NDArray[np.float64]
How = Literal["auto", "sphere", "conformal", "polar"]
MOST_PIXELS = 50_000_000
EDGE = 1e-6
"""Smallest weight of a corner from which on a pixel lies within a face; on an edge it belongs to two, and is one."""
FAITHFUL = 4.0
"""Ratio of the largest to the smallest stretch (95 % to 5 %) up to which a conformal map is taken as it is."""


@dataclass(frozen=True)
class Unrolled:
    """A surface laid flat.

    Parameters
    ----------
    how
        ``sphere``, ``conformal`` or ``polar``.
    corners
        (m, 3, 2) place of each face's corners in the plane: row and column, angstrom. Faces across the seam of a sphere
        have corners beyond the picture's edge.
    faces
        (m,) numbers of the surface's faces.
    middle
        ``polar``: number of the vertex in the middle; -1 else.
    stretch
        5, 50 and 95 % of the area of faces in the plane divided by that on the surface, weighted by area.
    period
        ``sphere``: width of the picture, angstrom, after which it repeats; 0 else.
    """

    how: str
    corners: Floats
    faces: NDArray[np.int64]
    middle: int
    stretch: tuple[float, float, float]
    period: float = 0.0


@dataclass(frozen=True)
class Raster:
    """The faces in the pixels of a picture.

    Parameters
    ----------
    face
        (rows, columns) number of the face at the middle of each pixel, -1: none.
    weights
        (rows, columns, 3) weights of its corners.
    twice
        Share of the pixels with a face that have another one, too; the face of the lower number is shown.
    """

    face: NDArray[np.int64]
    weights: Floats
    twice: float


def unroll(surface: Surface, how: How = "auto") -> Unrolled:
    """Lay a surface flat; ``auto``: as a sphere if it is one, else in the way that distorts areas less.

    Raises
    ------
    InputError
        ``sphere`` of a surface that is open, or is not seen whole from its middle; ``conformal`` of one that is closed;
        or one without faces.
    DependencyError
        ``potpourri3d`` is not installed (``polar``).
    """
    if not len(surface.faces):
        raise InputError(f"{surface.name}: has no faces to unroll.")
    seen = _seen_from_middle(surface) if how in ("auto", "sphere") else False
    if how == "sphere" and not seen:
        raise InputError(
            f"{surface.name}: is open, or is not seen whole from its middle, so that it cannot be unrolled as a "
            "sphere; use polar."
        )
    if seen and (how == "sphere" or _spread(_sphere(surface)) < FAITHFUL):
        return _sphere(surface)
    if how == "polar":
        return _polar(surface)
    part = _Part.of(surface)
    if part.surface.closed and how == "conformal":
        raise InputError(f"{surface.name}: is closed, and can only be unrolled as a sphere or polar.")
    flat = None if part.surface.closed else _conformal(surface, part)
    if flat is not None and _spread(flat) < FAITHFUL:
        return flat
    opened = _opened(part)
    others = [flat] if flat is not None else [_sphere(surface)] if seen else []
    others += [] if opened is None else [_conformal(surface, opened)]
    if how == "auto" and min(map(_spread, others), default=np.inf) >= FAITHFUL:
        others.append(_polar(surface))
    return min(others, key=_spread)


def _opened(part: _Part) -> _Part | None:
    """A tube cut along the shortest way between its two longest borders, or a long closed part between its ends."""
    from volengine.ops.surfaces.cut_open import border_loops, cut_along, shortest_way

    surface, loops = part.surface, border_loops(part.surface)
    if len(loops) == 1:
        return None
    if loops:
        start, stop = loops[:2]
    else:
        used = np.unique(surface.faces)
        away = surface.vertices[used] - _middle(surface)
        along = away @ np.linalg.eigh(away.T @ away)[1][:, -1]
        start, stop = (used[[k]].astype(np.int64) for k in (np.argmin(along), np.argmax(along)))
    way = shortest_way(surface, start, stop)
    if len(way) < 2:
        return None
    # the vertices of the part keep their numbers, so those that are added are never asked for
    return _Part(cut_along(surface, way), part.vertices, part.faces)


def _spread(flat: Unrolled) -> float:
    """How far the areas of faces are from one scale."""
    low, _, high = flat.stretch
    return high / low if low > 0 else np.inf


def _middle(surface: Surface) -> Floats:
    areas = surface.vertex_areas
    return np.asarray(np.average(surface.vertices, axis=0, weights=areas if areas.sum() > 0 else None))


def _seen_from_middle(surface: Surface) -> bool:
    """Whether a closed surface turns every face outwards, seen from its middle, and goes around it once."""
    if not surface.closed:
        return False
    a, b, c = (surface.vertices[surface.faces[:, k]] - _middle(surface) for k in range(3))
    volumes = np.einsum("ij,ij->i", a, np.cross(b, c))
    if not ((volumes > 0).all() or (volumes < 0).all()):
        return False
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    dots = [np.einsum("ij,ij->i", *pair) for pair in ((a, b), (b, c), (c, a))]
    solid = 2 * np.arctan2(np.abs(volumes), la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb)
    return bool(abs(solid.sum() - 4 * np.pi) < 0.1)


def _sphere(surface: Surface) -> Unrolled:
    away = surface.vertices - _middle(surface)
    length = np.linalg.norm(away, axis=1)
    radius = np.sqrt(surface.areas.sum() / (4 * np.pi))
    longitude = np.arctan2(away[:, 1], away[:, 2])
    row = radius * (1 - away[:, 0] / length)
    turn = longitude[surface.faces]
    turn = turn - 2 * np.pi * np.round((turn - turn[:, :1]) / (2 * np.pi))
    corners = np.stack([row[surface.faces], radius * (turn + np.pi)], axis=2)
    faces, stretch = np.arange(len(surface.faces)), _stretch(surface, corners)
    return Unrolled("sphere", corners, faces, -1, stretch, float(2 * np.pi * radius))


@dataclass(frozen=True)
class _Part:
    """The connected part of a surface with the largest area: as a mesh, and the numbers of its vertices and faces.

    Sheets that touch in a single point, as faces of membranes do beside their rims, are not connected there.
    """

    surface: Surface
    vertices: NDArray[np.int64]
    faces: NDArray[np.int64]

    @classmethod
    def of(cls, surface: Surface) -> _Part:
        """Find it."""
        faces, origin = surface.faces.astype(np.int64), np.arange(len(surface.vertices))
        if most_faces(faces) <= 2:
            faces, origin = apart(faces, len(surface.vertices))
        kept = np.flatnonzero(_largest_part(faces, len(origin), surface.areas))
        names, inner = np.unique(faces[kept], return_inverse=True)
        part = Surface(surface.vertices[origin[names]], inner.reshape(-1, 3).astype(np.int32))
        return cls(part, origin[names], kept)


def _conformal(surface: Surface, part: _Part) -> Unrolled:
    """Least squares conformal map with two vertices held that are far from each other."""
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import spsolve

    at, faces = part.surface.vertices[:, ::-1], part.surface.faces.astype(np.int64)
    first = int(np.argmax(np.linalg.norm(at - at.mean(axis=0), axis=1)))
    held = np.array([first, int(np.argmax(np.linalg.norm(at - at[first], axis=1)))])
    e1, e2 = at[faces[:, 1]] - at[faces[:, 0]], at[faces[:, 2]] - at[faces[:, 0]]
    area = np.linalg.norm(np.cross(e1, e2), axis=1)  # twice
    good = area > 1e-9 * area.max(initial=0)
    faces, e1, e2, area = faces[good], e1[good], e2[good], area[good]
    length = np.linalg.norm(e1, axis=1)
    x1, x2, y2 = length, np.einsum("ij,ij->i", e1, e2) / length, area / length
    weights = np.stack([(x2 - x1) + 1j * y2, -x2 - 1j * y2, x1 + 0j], axis=1) / np.sqrt(area)[:, None]
    rows = np.repeat(np.arange(len(faces)), 3)
    matrix = coo_array((weights.ravel(), (rows, faces.ravel())), shape=(len(faces), len(at))).tocsc()
    free = np.setdiff1d(np.unique(faces), held)
    place = np.zeros(len(at), complex)
    place[held[1]] = np.linalg.norm(at[held[1]] - at[held[0]])
    system = matrix[:, free]
    adjoint = system.conj().T
    place[free] = spsolve((adjoint @ system).tocsc(), -(adjoint @ (matrix[:, held] @ place[held])))
    place[np.unique(faces)] = _upright(place[np.unique(faces)])
    corners = np.stack([-place.imag, place.real], axis=1)[part.surface.faces]
    flat = _flat_areas(corners).sum()
    corners = corners * np.sqrt(part.surface.areas.sum() / flat) if flat > 0 else corners
    corners = corners - corners.reshape(-1, 2).min(axis=0)
    return Unrolled("conformal", corners, part.faces, -1, _stretch(surface, corners, part.faces))


def _upright(place: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Places in the plane, turned so that the smallest rectangle around them lies along rows and columns, long ways."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = place[ConvexHull(np.stack([place.real, place.imag], axis=1)).vertices]
    except QhullError:  # a line
        return place
    side = np.roll(hull, -1) - hull
    turns = np.conj(side) / np.abs(side)
    around = hull[None, :] * turns[:, None]
    wide, high = np.ptp(around.real, axis=1), np.ptp(around.imag, axis=1)
    best = int(np.argmin(wide * high))
    turn = turns[best] * (1 if wide[best] >= high[best] else 1j)
    return np.asarray(place * turn)


def _polar(surface: Surface) -> Unrolled:
    try:
        import potpourri3d
    except ImportError as error:
        raise DependencyError("Unrolling needs potpourri3d: pip install 'volengine[surfaces]'") from error
    if most_faces(surface.faces) > 2:
        raise InputError(
            f"{surface.name}: more than two faces meet at an edge, so that no way leads along it; take conformal."
        )
    part = _Part.of(surface)
    at = part.surface.vertices
    middle = np.average(at, axis=0, weights=part.surface.vertex_areas)
    start = int(np.argmin(np.linalg.norm(at - middle, axis=1)))
    solver = potpourri3d.MeshVectorHeatSolver(np.ascontiguousarray(at[:, ::-1]), part.surface.faces)
    flat = np.asarray(solver.compute_log_map(start))
    corners = np.stack([-flat[:, 1], flat[:, 0]], axis=1)[part.surface.faces]
    corners = corners - corners.reshape(-1, 2).min(axis=0)
    return Unrolled("polar", corners, part.faces, int(part.vertices[start]), _stretch(surface, corners, part.faces))


def _flat_areas(corners: Floats) -> Floats:
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(0.5 * np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]), np.float64)


def _largest_part(faces: NDArray[np.int64], n: int, areas: Floats) -> NDArray[np.bool_]:
    """The faces of the connected part with the largest area."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(2 * len(faces), bool)
    rows, columns = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    _, part = connected_components(coo_array((ones, (rows, columns)), shape=(n, n)), directed=False)
    of_face = part[faces[:, 0]]
    return np.asarray(of_face == np.argmax(np.bincount(of_face, areas)))


def _stretch(surface: Surface, corners: Floats, faces: NDArray[np.int64] | None = None) -> tuple[float, float, float]:
    areas = surface.areas if faces is None else surface.areas[faces]
    flat = _flat_areas(corners)
    there = areas > 0
    ratio, areas = flat[there] / areas[there], areas[there]
    order = np.argsort(ratio, kind="stable")
    share = np.cumsum(areas[order]) / areas.sum() if len(order) else np.zeros(0)
    low, mid, high = (
        float(ratio[order][np.searchsorted(share, q).clip(max=len(order) - 1)]) for q in (0.05, 0.5, 0.95)
    )
    return low, mid, high


def rasterised(unrolled: Unrolled, pixel: float) -> Raster:
    """Find the face at the middle of each pixel of a picture.

    Parameters
    ----------
    unrolled
        The surface laid flat.
    pixel
        Side of a pixel, angstrom.

    Raises
    ------
    InputError
        The picture would have more than 50 million pixels.
    """
    corners = unrolled.corners / pixel
    period = unrolled.period / pixel
    rows = max(1, int(np.ceil(corners[..., 0].max())))
    columns = max(1, int(np.ceil(period or corners[..., 1].max())))
    if rows * columns > MOST_PIXELS:
        raise InputError(f"The picture has {rows} x {columns} pixels, {MOST_PIXELS} are the most; use larger pixels.")
    if period:  # what reaches beyond one edge is drawn at the other one, too
        corners = np.concatenate([corners + np.array([0.0, turn * period]) for turn in (0, -1, 1)])
    face = np.full((rows, columns), np.iinfo(np.int64).max)
    weights, hits = np.zeros((rows, columns, 3)), np.zeros((rows, columns), np.int64)
    inner = np.zeros((rows, columns), np.int64)
    for drawn, row, column, inside in _hits(corners, rows, columns):
        number = drawn % len(unrolled.faces)
        np.add.at(hits, (row, column), 1)
        np.add.at(inner, (row, column), inside.min(axis=1) > EDGE)
        before = face[row, column]
        np.minimum.at(face, (row, column), number)
        won = (face[row, column] == number) & (number < before)
        weights[row[won], column[won]] = inside[won]
    there = hits > 0
    shown = np.where(there, unrolled.faces[np.where(there, face, 0)], -1)
    return Raster(shown, weights, float((inner > 1).sum() / max(1, there.sum())))


def _hits(
    corners: Floats, rows: int, columns: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]]:
    """Faces, rows, columns and weights where the middles of pixels lie in triangles (corners in pixels)."""
    limit = np.array([rows, columns]) - 1
    first = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, limit + 1).astype(np.int64)
    last = np.clip(np.floor(corners.max(axis=1) - 0.5), -1, limit).astype(np.int64)
    size = last - first + 1
    a, u, v = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    able = np.flatnonzero((size > 0).all(axis=1) & (area != 0))
    for down in range(int(size[able, 0].max(initial=0))):
        part = able[size[able, 0] > down]
        for right in range(int(size[part, 1].max(initial=0))):
            now = part[size[part, 1] > right]
            row, column = first[now, 0] + down, first[now, 1] + right
            y, x = row + 0.5 - a[now, 0], column + 0.5 - a[now, 1]
            b = (y * v[now, 1] - x * v[now, 0]) / area[now]
            c = (u[now, 0] * x - u[now, 1] * y) / area[now]
            inside = (b >= -1e-9) & (c >= -1e-9) & (b + c <= 1 + 1e-9)
            weights = np.stack([1 - b - c, b, c], axis=1)[inside]
            yield now[inside], row[inside], column[inside], weights
