"""Points on a surface that keep an exact smallest distance and leave no room for another one (Poisson disc).

*In space* (:func:`poisson_disc`): first random points on the faces, of which each is kept that is not too near to one
kept before; then the gaps. What no point covers is divided into smaller and smaller triangles; one that lies wholly in
the ball of a point has no room and is dropped, in any other a random point is tried. The end is reached when no
triangle is left, so that no further point fits anywhere on the faces (D. Cline, S. Jeschke, K. White, A. Razdan,
P. Wonka, "Dart throwing on surfaces", Computer Graphics Forum 28 (2009) 1217).

*On the surface* (:func:`poisson_disc_geodesic`): distances along the surface, exact, between the corners of a
subdivision with edges of at most an eighth of the distance. Then the gaps between corners: faces on which there may be
room are divided, and a new corner that has room becomes a point, until no face has room but those with edges of less
than 1/512 of the distance. So any place is nearer than 1.002 times the distance.

The random numbers are those of the generator that is given; nothing depends on threads.

>>> import trimesh
>>> ball = trimesh.creation.icosphere(3, radius=100.0)
>>> found = poisson_disc(Surface(ball.vertices[:, ::-1], ball.faces), 40.0, np.random.default_rng(1))
>>> bool(KDTree(found.place).query(found.place, 2)[0][:, 1].min() >= 40)
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.suppress import suppress
from volengine.ops.surfaces.geodesic import Geodesics
from volengine.ops.surfaces.normals import unit, vertex_normals
from volengine.ops.surfaces.points import SurfacePoints, normals_of, on_faces
from volengine.ops.surfaces.subdivision import quartered, subdivided

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PASSES = 8
"""Rounds of random points before gaps are looked for."""
SMALLEST = 1e-6
"""Triangles of gaps are divided down to this share of the distance."""
GEODESIC_EDGE = 1 / 8
"""Longest edge of the subdivision for geodesic distances, as a share of the distance."""
SMALLEST_GEODESIC = 1 / 512
"""Faces with shorter edges are not looked at for further gaps: no place is farther than 1 + this times the distance."""
MOST_POINTS = 5_000_000
BORDER_PARTS = 5
"""Points on borders, from which an excluded edge is measured, are at most its width divided by this apart."""


def poisson_disc(
    surface: Surface, spacing: float, rng: np.random.Generator, allowance: Floats | None = None
) -> SurfacePoints:
    """Sample a surface such that no two points are nearer than ``spacing`` in space, and no further one fits.

    Parameters
    ----------
    surface
        The mesh.
    spacing
        Smallest distance, angstrom.
    rng
        Random numbers.
    allowance
        (n,) a number for each vertex, linear on the faces: points lie only where it is 0 or more. Default: everywhere.

    Returns
    -------
    The points, in the order in which they were found.

    Raises
    ------
    InputError
        The distance is not positive, or so small that there would be more than five million points.
    """
    _check(surface, spacing)
    normals = normals_of(surface)
    state = _State(surface, normals, spacing, allowance)
    area = state.areas.sum()
    for _ in range(PASSES if area > 0 else 0):
        number = int(np.ceil(2 * area / spacing**2)) + 1
        face = rng.choice(len(surface.faces), number, p=state.areas / area)
        u, v = rng.random((2, number))
        root = np.sqrt(u)
        state.try_points(face, np.stack([1 - root, root * (1 - v), root * v], axis=1))
    _fill_gaps(state, rng)
    return on_faces(surface, normals, *state.found())


def _check(surface: Surface, spacing: float) -> None:
    if not 0 < spacing < np.inf:
        raise InputError(f"{surface.name}: the distance of points must be positive, not {spacing} angstrom.")
    expected = surface.areas.sum() / spacing**2
    if expected > MOST_POINTS:
        raise InputError(
            f"{surface.name}: {expected:.3g} points of {spacing:g} angstrom distance would be needed; {MOST_POINTS} is "
            "the most. Give a larger spacing."
        )


class _State:
    """The points that are kept so far."""

    def __init__(self, surface: Surface, normals: Floats, spacing: float, allowance: Floats | None):
        self.surface, self.spacing = surface, spacing
        self.allowance = None if allowance is None else np.asarray(allowance, np.float64)
        self.areas = surface.areas
        if self.allowance is not None:
            self.areas = np.where((self.allowance[surface.faces] >= 0).any(axis=1), self.areas, 0)
        self.corners = surface.vertices[surface.faces]
        self.place = np.empty((0, 3))
        self._face: list[Ints] = []
        self._weights: list[Floats] = []
        self._tree: KDTree | None = None

    def found(self) -> tuple[Ints, Floats]:
        """Faces and weights of the points."""
        return (
            np.concatenate([np.empty(0, np.int64), *self._face]),
            np.concatenate([np.empty((0, 3)), *self._weights]),
        )

    def distance(self, place: Floats) -> Floats:
        """Distance to the nearest point."""
        if self._tree is None:
            return np.full(len(place), np.inf)
        return np.asarray(self._tree.query(place)[0])

    def nearest(self, place: Floats) -> Floats | None:
        """Place of the nearest point."""
        return None if self._tree is None else self.place[self._tree.query(place)[1]]

    def allowed(self, face: Ints, weights: Floats) -> NDArray[np.bool_]:
        """Whether points may lie there."""
        if self.allowance is None:
            return np.ones(len(face), bool)
        return np.asarray(np.einsum("ij,ij->i", weights, self.allowance[self.surface.faces[face]]) >= 0)

    def try_points(self, face: Ints, weights: Floats) -> None:
        """Keep those of the points that fit, the first ones first."""
        fits = self.allowed(face, weights)
        face, weights = face[fits], weights[fits]
        place = np.einsum("ij,ijk->ik", weights, self.corners[face])
        fits = self.distance(place) >= self.spacing
        face, weights, place = face[fits], weights[fits], place[fits]
        kept = np.flatnonzero(suppress(place, self.spacing))
        if len(kept):
            self._face.append(face[kept])
            self._weights.append(weights[kept])
            self.place = np.concatenate([self.place, place[kept]])
            self._tree = KDTree(self.place)


def _fill_gaps(state: _State, rng: np.random.Generator) -> None:
    """Try points in what is left of the faces, in smaller and smaller triangles, until nothing is left."""
    face = np.flatnonzero(state.areas > 0)
    parts = np.broadcast_to(np.eye(3), (len(face), 3, 3))  # part, corner, weight
    while len(face):
        at = np.einsum("pcw,pwk->pck", parts, state.corners[face])
        nearest = state.nearest(at.mean(axis=1))
        open_ = np.ones(len(face), bool)
        if nearest is not None:
            open_ = (np.linalg.norm(at - nearest[:, None], axis=2) >= state.spacing).any(axis=1)
        size = np.linalg.norm(at - np.roll(at, 1, axis=1), axis=2).max(axis=1)
        open_ &= size > SMALLEST * state.spacing
        if state.allowance is not None:
            heights = np.einsum("pcw,pw->pc", parts, state.allowance[state.surface.faces[face]])
            open_ &= (heights >= 0).any(axis=1)
        face, parts = face[open_], parts[open_]
        u, v = rng.random((2, len(face)))
        root = np.sqrt(u)
        inside = np.stack([1 - root, root * (1 - v), root * v], axis=1)
        order = rng.permutation(len(face))
        state.try_points(face[order], np.einsum("pc,pcw->pw", inside, parts)[order])
        face, parts = _quartered(face, parts)


def _quartered(face: Ints, parts: Floats) -> tuple[Ints, Floats]:
    """Four triangles of each."""
    a, b, c = parts[:, 0], parts[:, 1], parts[:, 2]
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    four = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.tile(face, 4), np.concatenate([np.stack(one, axis=1) for one in four])


def poisson_disc_geodesic(
    surface: Surface, spacing: float, rng: np.random.Generator, allowance: Floats | None = None
) -> SurfacePoints:
    """Sample a surface such that no two points are nearer than ``spacing`` along the surface.

    Parameters and errors are those of :func:`poisson_disc`.

    Returns
    -------
    The points in the order in which they were drawn; ``face`` and ``weights`` are those of the subdivision. Every place
    that is allowed is nearer than 1.002 ``spacing`` to one of them.
    """
    _check(surface, spacing)
    carried = surface.with_columns() if allowance is None else surface.with_columns(_allowance=allowance)
    carried = replace(carried, normals=normals_of(surface))  # those of new vertices lie between them
    fine = subdivided(carried, spacing * GEODESIC_EDGE)
    chosen: list[int] = []
    far = np.full(len(fine.vertices), np.inf)
    part, open_ = _Part(fine, np.unique(fine.faces), fine.faces), np.arange(len(fine.faces))
    while True:
        _fill_corners(fine, part, spacing, rng, chosen, far)
        gaps = open_[_have_room(fine, open_, far, spacing)]
        if not len(gaps):
            return _at_vertices(fine, np.array(chosen, np.int64))
        fine = quartered(fine, gaps)
        open_ = np.flatnonzero((fine.faces >= len(far)).any(axis=1))  # others have no room, and get none
        part = _Part.around(fine, np.arange(len(far), len(fine.vertices)), spacing)
        far = np.concatenate([far, np.full(len(part.corners), np.inf)])
        part.update(chosen, spacing, far)


class _Part:
    """The part of a surface on which all ways from some corners lie that are no longer than the distance.

    Gaps are few and small, so ways are looked for around them only.
    """

    def __init__(self, fine: Surface, corners: Ints, faces: NDArray[np.integer]):
        self.corners = corners
        vertices, own = np.unique(faces, return_inverse=True)
        self._vertices: Ints = vertices.astype(np.int64)
        self._geodesics = Geodesics(fine.vertices[vertices], own.reshape(-1, 3), name=fine.name)

    @classmethod
    def around(cls, fine: Surface, corners: Ints, spacing: float) -> _Part:
        """The part around some corners: all faces that a ball of the distance around one touches."""
        reach = spacing * (1 + GEODESIC_EDGE) * (1 + 1e-9)
        away = KDTree(fine.vertices[corners]).query(fine.vertices, distance_upper_bound=reach)[0]
        return cls(fine, corners, fine.faces[np.isfinite(away)[fine.faces].any(axis=1)])

    def update(self, points: Sequence[int], spacing: float, far: Floats) -> Ints:
        """Lower the distance of vertices to the nearest point by that to some points; return those nearer to these."""
        at = np.searchsorted(self._vertices, points)
        there = np.minimum(at, len(self._vertices) - 1)
        at = at[self._vertices[there] == points]
        if not len(at):
            return np.zeros(0, np.int64)
        near, distance = self._geodesics.near(at, spacing)
        found = self._vertices[near]
        far[found] = np.minimum(far[found], distance)
        return found


def _fill_corners(
    fine: Surface, part: _Part, spacing: float, rng: np.random.Generator, chosen: list[int], far: Floats
) -> None:
    """Choose further corners of a part, in random order, until none has room.

    ``far`` is the distance of each to the nearest chosen one; infinite: it is not nearer than ``spacing``.
    """
    open_ = np.zeros(len(far), bool)
    open_[part.corners] = ~np.isfinite(far[part.corners])
    if "_allowance" in fine.columns:
        open_ &= fine.columns["_allowance"] >= 0
    for vertex in rng.permutation(np.flatnonzero(open_)).tolist():
        if open_[vertex]:
            chosen.append(vertex)
            open_[part.update([vertex], spacing, far)] = False


def _have_room(fine: Surface, rows: Ints, far: Floats, spacing: float) -> NDArray[np.bool_]:
    """Whether a place on a face may be as far as the distance from all points: at most as far as a corner and an edge.

    At a corner that is at the distance itself, however it is rounded, there is no room.
    """
    faces = fine.faces[rows]
    at = fine.vertices[faces]
    edges = np.linalg.norm(at - at[:, [1, 2, 0]], axis=2)  # 01, 12, 20
    reach = np.minimum(far, spacing)[faces] + np.maximum(edges, edges[:, [2, 0, 1]])
    room: NDArray[np.bool_] = (reach.min(axis=1) >= spacing) & (edges.max(axis=1) > SMALLEST_GEODESIC * spacing)
    if "_allowance" in fine.columns:
        room &= (fine.columns["_allowance"][faces] >= 0).any(axis=1)
    return room


def _at_vertices(surface: Surface, chosen: Ints) -> SurfacePoints:
    """Points at vertices of a mesh, as points on the first face of each."""
    flat = surface.faces.ravel()
    order = np.argsort(flat, kind="stable")
    corner = order[np.searchsorted(flat[order], chosen)]
    assert surface.normals is not None
    normals = np.array(surface.normals, np.float64)
    weak = np.linalg.norm(normals, axis=1) < 1e-6  # between opposite ones
    if weak.any():
        normals[weak] = vertex_normals(surface.vertices, surface.faces)[weak]
    return on_faces(surface, unit(normals), (corner // 3).astype(np.int64), np.eye(3)[corner % 3])
