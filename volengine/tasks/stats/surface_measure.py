"""Measuring the particles on one surface: pairs, rings, occupancy, clusters and simulated particles.

Everything is measured from each particle once, by one geodesic field whose reach is the largest that anything needs.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.units import format_bytes
from volengine.engine.options import RunOptions
from volengine.ops.stats_points import Clusters
from volengine.ops.surfaces.areas import area_below
from volengine.ops.surfaces.concentration import areas_in, counts_in
from volengine.ops.surfaces.cover import Cover
from volengine.ops.surfaces.envelopes import (
    LEAST_POOL,
    POOL,
    Pool,
    random_points,
    simulated_across,
    simulated_within,
)
from volengine.ops.surfaces.geodesic import Geodesics
from volengine.ops.surfaces.insert import insert_points
from volengine.ops.surfaces.nearest import Neighbours, clusters_of, nearest_of
from volengine.ops.surfaces.ripley import RipleySums, observed, ring_areas
from volengine.tasks.stats.surface_fields import Scene, all_seen, all_seen_from_pool
from volengine.tasks.stats.surface_mesh import Prepared, simplified
from volengine.tasks.stats.surface_pairs import PER_PAIR, PER_SIMULATED, Pairs
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]
Pair = tuple[str, str]

EDGES_TO_LAST = 12
"""Simulated particles of one class lie on a surface that is simplified to so many edges within the last radius."""

MOST_POINTS = 50_000
"""Particles and simulated ones on one surface; more are refused."""


@dataclass(frozen=True, eq=False)
class OnSurface:
    """The particles of one class on one surface.

    Parameters
    ----------
    row
        (n,) int64: their rows among the objects of the class in the tomogram.
    face, weights
        (n,) and (n, 3): where they lie on the surface.
    place_nm, signed_nm, normal
        (n, 3) the nearest point of the surface, (n,) the distance from it, positive in front, and (n, 3) the surface's
        unit normal there, z, y, x.
    kept
        (n,) bool: whether they count; others lie near a border.
    euler
        (n, 3) their orientations, or ``None``.
    """

    row: Int64
    face: Int64
    weights: Floats
    place_nm: Floats
    signed_nm: Floats
    normal: Floats
    kept: NDArray[np.bool_]
    euler: Floats | None = None

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class Binned:
    """Areas (nm²) and numbers of particles in classes of a value, for each class of particles."""

    levels: Floats
    areas: Floats
    counts: Mapping[str, Int64]


@dataclass(eq=False)
class Measured:
    """What was measured on one surface.

    Parameters
    ----------
    surface, points
        The surface, and the particles on it by class.
    neighbours
        For each pair of classes the nearest neighbours of the particles that count.
    clusters
        For each class the clusters of the particles that count.
    ripley, simulated
        For each pair of classes the sums of the data, and of the simulations.
    occupied
        For each class the area that counts within reach of a particle, whether that counts or not, nm².
    by_class, by_column
        Concentrations by the distance to a class, and by a column.
    """

    surface: Prepared
    points: Mapping[str, OnSurface]
    neighbours: dict[Pair, Neighbours] = field(default_factory=dict)
    clusters: dict[str, Clusters] = field(default_factory=dict)
    ripley: dict[Pair, RipleySums] = field(default_factory=dict)
    simulated: dict[Pair, RipleySums] = field(default_factory=dict)
    occupied: dict[str, float] = field(default_factory=dict)
    by_class: dict[str, Binned] = field(default_factory=dict)
    by_column: dict[str, Binned] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Limits:
    """The cluster radius and least number of points, and the levels of columns, which are the same for all surfaces."""

    eps_nm: float
    min_points: int
    levels: Mapping[str, Floats]


class Measurer:
    """Measures one surface.

    Parameters
    ----------
    surface
        The surface.
    points
        The particles on it, by class; each class of the call has an entry.
    recipe, limits
        What is measured.
    tomogram
        Its name, of which with the surface's the random numbers are made: they depend on nothing else.
    options
        ``workers`` and ``progress``.
    """

    def __init__(
        self,
        surface: Prepared,
        points: Mapping[str, OnSurface],
        recipe: SurfaceStatsRecipe,
        limits: Limits,
        tomogram: str,
        options: RunOptions,
    ):
        self.surface, self.points, self.recipe, self.limits = surface, points, recipe, limits
        key = zlib.crc32(f"{tomogram}\n{surface.set}\n{surface.number}".encode())
        self.seed = (recipe.seed, key)
        self.options, self.label = options, f"{tomogram}, {surface.set} {surface.number}"
        self.names = list(points)
        self.radii = recipe.radii if recipe.ripley_nm else np.zeros(0)
        counts = [len(one) for one in points.values()]
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.rows = {name: np.arange(ends[i], ends[i + 1]) for i, name in enumerate(self.names)}
        self.kept = np.concatenate([np.zeros(0, bool), *(one.kept for one in points.values())])
        self.inside = {name: rows[self.kept[rows]] for name, rows in self.rows.items()}
        self.total = int(ends[-1])
        self.group = np.repeat(np.arange(len(counts)), counts)
        self._insert()

    def _insert(self) -> None:
        """Make vertices of the particles and, where there are several classes, of the pool of random points."""
        mesh, recipe = self.surface, self.recipe
        most = max((len(rows) for rows in self.inside.values()), default=0)
        simulated = recipe.simulations and recipe.ripley_nm and most and mesh.kept_area > 0
        pool = self.pool_size = max(POOL * most, LEAST_POOL) if simulated else 0
        if self.total + pool > MOST_POINTS:
            raise InputError(
                f"{mesh.name} has {self.total} particles and needs {pool} random points for --simulations; at most "
                f"{MOST_POINTS} are measured together. Choose --classes, or --simulations 0."
            )
        tables = 8 * len(self.radii) * (self.total + pool * (1 + len(self.names)))
        if tables > self.options.limit_bytes() / 2:
            raise InputError(
                f"{self.label}: {len(self.radii)} rings around {self.total} particles and {pool} simulated ones take "
                f"{format_bytes(tables)} of memory, more than half of --memory-limit. Choose a larger --bin-nm."
            )
        face = [one.face for one in self.points.values()]
        weights = [one.weights for one in self.points.values()]
        if pool and sum(len(rows) > 0 for rows in self.inside.values()) > 1:
            chosen, weight = _at_random(mesh, pool, (*self.seed, 1))
            face, weights = [*face, chosen], [*weights, weight]
        every = np.concatenate([np.zeros(0, np.int64), *face])
        fine = insert_points(mesh.vertices, mesh.faces, every, np.concatenate([np.zeros((0, 3)), *weights]))
        wide = dict.fromkeys(recipe.by_class, recipe.ripley_nm)
        within = [np.full(len(one), max(recipe.occupancy_nm, wide.get(name, 0.0))) for name, one in self.points.items()]
        self.scene = Scene(
            geodesics=Geodesics(fine.vertices, fine.faces, recipe.geodesic, mesh.name),
            counts=mesh.kept[fine.parent],
            vertex=fine.vertex[: self.total],
            group=self.group,
            pool=fine.vertex[self.total :],
            radii=self.radii,
            reach=max(self.limits.eps_nm, recipe.ripley_nm, recipe.occupancy_nm),
            neighbours=recipe.neighbours,
            paired=self.kept,
            kept_within=np.concatenate([np.zeros(0), *within]),
        )

    def measure(self) -> Measured:
        """Measure everything."""
        found = Measured(self.surface, self.points)
        self._columns(found)
        if not self.total:
            return found
        self._from_points(found)
        self._from_pool(found)
        return found

    # -- one field for each particle -------------------------------------------------------------------------

    def _from_points(self, found: Measured) -> None:
        """Pairs of particles, areas of rings, what is near particles, and particles around random points."""
        limit, within = self.options.limit_bytes(), f"particles within {self.scene.reach:g} nm"
        pairs = Pairs(PER_PAIR, limit, f"{self.label}: {within}")
        areas = np.zeros((self.total, len(self.radii)))
        self.near = {name: np.zeros((len(self.scene.pool), len(self.radii))) for name in self.names}
        width, wide = self.recipe.occupancy_nm, self.recipe.by_class
        covers = {name: self._cover(width, width / 2) for name in self.names if width and len(self.rows[name])}
        classes = {name: self._cover(self.recipe.ripley_nm, self.recipe.bin_nm) for name in wide}
        to_class = {name: np.full(self.total, np.inf) for name in wide}
        for seen in all_seen(self.scene, self.options, self.label):
            name = self.names[self.group[seen.row]]
            far = self.scene.full(seen.near.vertices, seen.near.distance)
            if self.kept[seen.row]:
                pairs.add(seen.row, seen.to, seen.far)
                if len(self.radii):
                    areas[seen.row] = seen.areas
                    self.near[name][seen.pool, seen.ring] += 1
            if width:  # the area that counts is near particles at the edge, too
                covers[name].add(seen.near.faces, far)
            if name in classes:
                classes[name].add(seen.near.faces, far)
                near = to_class[name]
                near[seen.to] = np.minimum(near[seen.to], seen.far)
                near[seen.row] = 0.0
        self.pairs, self.areas = pairs.joined(np.float64), areas
        found.occupied = {name: float(cover.areas([width])[0]) for name, cover in covers.items()}
        found.by_class = {name: self._by_class(name, cover, to_class[name]) for name, cover in classes.items()}
        self._summarise(found)

    def _summarise(self, found: Measured) -> None:
        of, to, far = self.pairs
        for a in self.names:
            first = self._place_of(a)
            for b in self.names:
                second = self._place_of(b)
                mine = (first[of] >= 0) & (second[to] >= 0)
                pair = first[of[mine]], second[to[mine]], far[mine]
                found.neighbours[a, b] = nearest_of(*pair, count=len(self.rows[a]), neighbours=self.recipe.neighbours)
                if len(self.radii) and self.surface.kept_area > 0:
                    found.ripley[a, b] = self._sums(a, b)
            inner = self._place_of(a, self.inside)
            mine = (inner[of] >= 0) & (inner[to] >= 0) & (far <= self.limits.eps_nm)
            found.clusters[a] = clusters_of(
                inner[of[mine]],
                inner[to[mine]],
                far[mine],
                count=len(self.inside[a]),
                min_points=self.limits.min_points,
            )

    def _place_of(self, name: str, rows: Mapping[str, Int64] | None = None) -> Int64:
        """For each particle its number in a class; -1: it is of another one."""
        chosen = (self.rows if rows is None else rows)[name]
        place = np.full(self.total, -1)
        place[chosen] = np.arange(len(chosen))
        return place

    def _sums(self, a: str, b: str) -> RipleySums:
        of, to, far = self.pairs
        first, second = self._place_of(a, self.inside), self._place_of(b, self.inside)
        mine = (first[of] >= 0) & (second[to] >= 0)
        others = len(self.inside[b]) - (a == b)
        return observed(far[mine], self.radii, self.areas[self.inside[a]], max(others, 0), self.surface.kept_area)

    # -- simulations -----------------------------------------------------------------------------------------

    def _from_pool(self, found: Measured) -> None:
        if not self.pool_size:
            return
        simulations = self.recipe.simulations
        for i, a in enumerate(self.names):
            for j, b in enumerate(self.names):
                count, seed = len(self.inside[b]), (*self.seed, 2, i, j)
                if a == b and count > 1:
                    found.simulated[a, b] = simulated_within(self._pool, count, simulations, seed)
                elif a == b or not count or not len(self.inside[a]):
                    nothing = np.zeros((simulations, len(self.radii)))
                    found.simulated[a, b] = RipleySums(nothing, nothing)
                else:
                    expected = found.ripley[a, b].expected
                    found.simulated[a, b] = simulated_across(self.near[a], expected, count, simulations, seed)

    @cached_property
    def _pool(self) -> Pool:
        """The pairs of the random points, and the rings around them."""
        size, recipe = self.pool_size, self.recipe
        mesh = simplified(self.surface, recipe.edge_exclusion_nm, float(self.radii[-1]) / EDGES_TO_LAST)
        face, weights = _at_random(mesh, size, (*self.seed, 1))
        fine = insert_points(mesh.vertices, mesh.faces, face, weights)
        scene = Scene(
            geodesics=Geodesics(fine.vertices, fine.faces, recipe.geodesic, mesh.name),
            counts=mesh.kept[fine.parent],
            vertex=np.zeros(0, np.int64),
            group=np.zeros(0, np.int64),
            pool=fine.vertex,
            radii=self.radii,
            reach=0.0,
            neighbours=0,
            paired=np.zeros(0, bool),
            kept_within=np.zeros(0),
        )
        areas = np.zeros((size, len(self.radii)))
        within = f"simulated particles within {self.radii[-1]:g} nm"
        pairs = Pairs(PER_SIMULATED, self.options.limit_bytes(), f"{self.label}: {within}")
        for seen in all_seen_from_pool(scene, self.options, self.label):
            areas[seen.row] = seen.areas
            pairs.add(seen.row, seen.pool, seen.ring.astype(np.int16))
        return Pool(size, mesh.kept_area, areas, *pairs.joined(np.int16))

    # -- areas -----------------------------------------------------------------------------------------------

    def _cover(self, reach: float, width: float) -> Cover:
        graph = self.scene.geodesics
        return Cover(graph.vertices, graph.faces, self.scene.counts, reach, width)

    def _by_class(self, name: str, cover: Cover, far: Floats) -> Binned:
        """Areas and particles by the distance to the nearest particle of a class, whether that counts or not."""
        levels = np.concatenate([[0.0], self.radii])
        areas = ring_areas(cover.areas(self.radii))
        counts = {other: counts_in(far[inside], levels) for other, inside in self.inside.items() if other != name}
        return Binned(levels, areas, counts)

    def _columns(self, found: Measured) -> None:
        mesh = self.surface
        faces = mesh.faces[mesh.kept]
        for column, levels in self.limits.levels.items():
            values = mesh.columns[column]
            areas = areas_in(area_below(mesh.vertices, faces, values, levels))
            counts = {}
            for name, one in self.points.items():
                at = np.einsum("ni,ni->n", one.weights, values[mesh.faces[one.face]])
                counts[name] = counts_in(np.clip(at[one.kept], levels[0], levels[-1]), levels)
            found.by_column[column] = Binned(levels, areas, counts)


def _at_random(mesh: Prepared, count: int, seed: tuple[int, ...]) -> tuple[Int64, Floats]:
    """Random points on the faces that count: numbers of faces, and barycentric weights."""
    chosen = np.flatnonzero(mesh.kept)
    where, weights = random_points(mesh.vertices, mesh.faces[chosen], count, seed)
    return chosen[where], weights
