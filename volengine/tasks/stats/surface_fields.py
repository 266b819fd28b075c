"""What is seen from each particle and each simulated one along its surface: one geodesic field for each.

These fields are nearly all of the time of ``stats --surface``, and do not depend on each other: workers can share them
(:mod:`volengine.engine.side_by_side`). Of a field only what is asked for is handed back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from volengine.engine.options import RunOptions
from volengine.engine.side_by_side import side_by_side
from volengine.ops.surfaces.areas import Discs
from volengine.ops.surfaces.geodesic import Field, Geodesics
from volengine.ops.surfaces.ripley import ring_areas, rings

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

TOGETHER = 16
"""Fields that are computed in one call."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A surface with particles as vertices, and what is asked of each.

    Parameters
    ----------
    geodesics
        The surface.
    counts
        (m,) bool: the faces whose area counts.
    vertex, group
        (n,) the vertices of the particles, and the numbers of their classes.
    pool
        (M,) the vertices of simulated particles.
    radii
        (k,) ends of rings; none: no areas.
    reach
        Distance within which all pairs are listed.
    neighbours
        Number of particles of each class that must be among the pairs, as far as there are so many.
    paired
        (n,) bool: particles from which pairs and rings are asked.
    kept_within
        (n,) distance within which distances of vertices are handed back; 0: none.
    """

    geodesics: Geodesics
    counts: NDArray[np.bool_]
    vertex: Int64
    group: Int64
    pool: Int64
    radii: Floats
    reach: float
    neighbours: int
    paired: NDArray[np.bool_]
    kept_within: Floats

    @cached_property
    def discs(self) -> Discs:
        """The faces, as areas of rings need them."""
        return Discs(self.geodesics.vertices, self.geodesics.faces)

    def within(self, field: Field) -> Floats:
        """(k,) areas of the rings around the one source of a field that count."""
        faces = field.faces[self.counts[field.faces]]
        return ring_areas(self.discs.within(faces, self.full(field.vertices, field.distance), self.radii))

    def full(self, vertices: Int64, distance: Floats) -> Floats:
        """Distances of some vertices for all vertices."""
        found = np.full(len(self.geodesics.vertices), np.inf)
        found[vertices] = distance
        return found


@dataclass(frozen=True, eq=False)
class Seen:
    """What is seen from one particle.

    Parameters
    ----------
    row
        Number of the particle; of a simulated one its number in the pool.
    to, far
        (p,) the other particles within reach, and their distances; empty for a simulated one.
    pool, ring
        (q,) the simulated particles in rings, and the ring; for a simulated one only later ones of the pool.
    areas
        (k,) areas of rings.
    near
        What is known of the field within ``kept_within``.
    """

    row: int
    to: Int64
    far: Floats
    pool: Int64
    ring: Int64
    areas: Floats
    near: Field


def seen_from(scene: Scene, rows: Int64) -> list[Seen]:
    """What is seen from some particles."""
    return [_particle(scene, int(row)) for row in rows]


def seen_from_pool(scene: Scene, rows: Int64) -> list[Seen]:
    """What is seen from some simulated particles."""
    return [_simulated(scene, int(row)) for row in rows]


def all_seen(scene: Scene, options: RunOptions, name: str) -> Iterator[Seen]:
    """What is seen from all particles of which something is asked, in their order."""
    rows = np.flatnonzero(scene.paired | (scene.kept_within > 0))
    for some in side_by_side(seen_from, scene, _parts(rows), options, f"{name}, particles"):
        yield from some


def all_seen_from_pool(scene: Scene, options: RunOptions, name: str) -> Iterator[Seen]:
    """The same for all simulated particles."""
    rows = np.arange(len(scene.pool))
    for some in side_by_side(seen_from_pool, scene, _parts(rows), options, f"{name}, simulated particles"):
        yield from some


def _parts(rows: Int64) -> list[Int64]:
    return [rows[k : k + TOGETHER] for k in range(0, len(rows), TOGETHER)]


NONE = np.zeros(0, np.int64)


def _particle(scene: Scene, row: int) -> Seen:
    source, near = int(scene.vertex[row]), float(scene.kept_within[row])
    if not scene.paired[row]:
        field = scene.geodesics.from_vertices([source], near)
        return Seen(row, *_others(scene, field, row, near), NONE, NONE, np.zeros(0), _cut(scene, field, near))
    reach = max(scene.reach, near)
    field = scene.geodesics.from_vertices([source], reach)
    to, far = _others(scene, field, row, reach)
    if not _enough(scene, row, to):
        reach = _reach_of_neighbours(scene, row, reach)
        field = scene.geodesics.from_vertices([source], reach)
        to, far = _others(scene, field, row, reach)
    return Seen(row, to, far, *_rings(scene, field, 0), _cut(scene, field, near))


def _simulated(scene: Scene, row: int) -> Seen:
    field = scene.geodesics.from_vertices([int(scene.pool[row])], float(scene.radii[-1]))
    return Seen(row, NONE, np.zeros(0), *_rings(scene, field, row + 1), _cut(scene, field, 0.0))


def _rings(scene: Scene, field: Field, first: int) -> tuple[Int64, Int64, Floats]:
    """The simulated particles from a number on that lie in rings, their rings, and the areas of these."""
    if not len(scene.radii):
        return NONE, NONE, np.zeros(0)
    ring = rings(field.at(scene.pool[first:]), scene.radii)
    inside = np.flatnonzero(ring < len(scene.radii))
    return inside + first, ring[inside], scene.within(field)


def _others(scene: Scene, field: Field, row: int, reach: float) -> tuple[Int64, Floats]:
    far = field.at(scene.vertex)
    to = np.flatnonzero(far <= reach)
    to = to[to != row]
    return to, far[to]


def _cut(scene: Scene, field: Field, reach: float) -> Field:
    """What is known of a field within a distance: all corners of all faces that it touches."""
    if not reach:
        return Field(NONE, np.zeros(0), NONE)
    kept = field.distance <= reach + scene.geodesics.longest_edge * (1 + 1e-9)
    inside = np.isin(scene.geodesics.faces[field.faces], field.vertices[kept]).all(axis=1)
    return Field(field.vertices[kept], field.distance[kept], field.faces[inside])


def _needs(scene: Scene, row: int) -> dict[int, int]:
    """How many neighbours of each class a particle has on its part of the surface, at most so many as are wanted."""
    part = scene.geodesics.components[scene.vertex]
    there = part == part[row]
    there[row] = False
    counts = np.bincount(scene.group[there])
    return {group: min(scene.neighbours, int(count)) for group, count in enumerate(counts) if count}


def _enough(scene: Scene, row: int, to: Int64) -> bool:
    found = np.bincount(scene.group[to], minlength=int(scene.group.max(initial=0)) + 1)
    return all(found[group] >= need for group, need in _needs(scene, row).items())


def _reach_of_neighbours(scene: Scene, row: int, reach: float) -> float:
    """A distance within which the neighbours of a particle lie: along edges, never too small."""
    needs, graph = _needs(scene, row), scene.geodesics
    tried = max(reach, 4 * graph.mean_edge)
    while True:
        bound = graph.bounds(int(scene.vertex[row]), tried)[scene.vertex]
        bound[row] = np.inf
        reached = [np.sort(bound[scene.group == group])[need - 1] for group, need in needs.items()]
        if np.isfinite(reached).all():
            return float(max(reach, *reached)) * (1 + 1e-9)
        tried *= 2
