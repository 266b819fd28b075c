"""Build a specimen from a recipe: place film, membranes, filaments, beads and particles in one box, one by one.

>>> scene, report = build(recipe, particles, {"ribosome": 1}, seed=1, sample=0)                      # doctest: +SKIP
>>> report[0]                                                                                        # doctest: +SKIP
{'layer': 1, 'name': 'ribosome', 'asked': 20, 'placed': 20}

Each step has its own stream of random numbers, so that a change of one step (more vesicles) does not change the random
numbers of another (how filaments bend). All steps share one occupancy grid: later objects avoid earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, index3
from volengine.core.specimen import Membrane, Placements, Template
from volengine.sim.atoms.filament_units import unit_standin
from volengine.sim.atoms.scattering import CTS_UNIT, ICE_POTENTIAL, WATER_VOLUME
from volengine.sim.atoms.templates import bead
from volengine.sim.placing.filaments import place_filaments
from volengine.sim.placing.fill import fill
from volengine.sim.placing.layers import Layer, Species
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.placing.regions import Regions, Seat, Surfaces, enclose
from volengine.sim.recipe.membranes import LabelsRecipe
from volengine.sim.recipe.particles import BeadsRecipe
from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.sim.scene import LABELLED_SHARE, FilmDrawn, LabelBilayer, Scene
from volengine.sim.seeds import stream
from volengine.sim.shapes.film import filled, ice_surfaces
from volengine.sim.shapes.membranes import distance_to, surface_points
from volengine.sim.shapes.sheets import across_z, sheet
from volengine.sim.shapes.vesicles import place_vesicles

SEAT_SPACING = 15.0
"""Angstrom between the points of a membrane at which proteins may be placed."""
SHEET_GAP = 70.0
"""Angstrom between the mid-planes of two sheets."""


@dataclass(frozen=True)
class Particle:
    """A species of a layer, with its templates.

    Parameters
    ----------
    templates
        Its templates; one of them is drawn for each placement.
    flags
        CryoTomoSim's flags.
    """

    templates: tuple[Template, ...]
    flags: frozenset[str] = frozenset()


Report = list[dict[str, Any]]
Walls = Iterable[tuple[Box, NDArray[np.bool_]]]


def label_thickness(recipe: LabelsRecipe, seed: int, sample: int) -> dict[int, float]:
    """Thickness of each label's bilayer, angstrom from head group to head group, drawn in the order of the labels."""
    found = stream(seed, sample, "labels").uniform(*recipe.thickness_a, size=len(recipe.names))
    return dict(zip(recipe.names, found.tolist(), strict=True))


def ice_potential(scale: str) -> float:
    """Potential of vitreous ice in a scale of potentials, volt: that of ``cts`` is 10 of its units per molecule."""
    return 10 * CTS_UNIT / WATER_VOLUME if scale == "cts" else ICE_POTENTIAL


def label_threshold(scale: str) -> float:
    """Potential of particles from which on a voxel is labelled in a scale of potentials, volt."""
    return LABELLED_SHARE * ice_potential(scale)


def build(
    recipe: SpecimenRecipe,
    particles: Sequence[Sequence[Particle]],
    monomers: Sequence[Template | None],
    classes: Mapping[str, int],
    *,
    seed: int,
    sample: int,
    walls: Walls = (),
) -> tuple[Scene, Report]:
    """Draw a specimen from a recipe.

    Parameters
    ----------
    recipe
        The recipe of the specimen.
    particles
        For each layer and each of its species, the templates.
    monomers
        For each recipe of filaments the template of their unit, or ``None`` for the procedural unit.
    classes
        The id of each class name.
    seed, sample
        Seed of the recipe and number of the sample; together they choose the streams of random numbers.
    walls
        For pieces of the specimen, the mask of voxels that membranes of a label volume occupy.

    Returns
    -------
    Scene, Report
        The scene; and for each step the numbers that were requested and placed.
    """
    return _Builder(recipe, classes, seed, sample).run(particles, monomers, walls)


class _Builder:
    def __init__(self, recipe: SpecimenRecipe, classes: Mapping[str, int], seed: int, sample: int):
        self.recipe, self.classes = recipe, dict(classes)
        self.seed, self.sample = seed, sample
        self.occupancy = Occupancy(
            recipe.shape, voxel_size_a=recipe.voxel_size, walls=recipe.walls, tolerance_a=recipe.tolerance_a
        )
        self.templates: list[Template] = []
        self.rows: list[Placements] = []
        self.membranes: list[Membrane] = []
        self.labels: list[LabelBilayer] = []
        self.bare: list[bool] = []
        self.lines: dict[int, NDArray[np.float64]] = {}
        self.next = 1
        self.report: Report = []

    def stream(self, *names: str | int) -> np.random.Generator:
        return stream(self.seed, self.sample, *names)

    def run(
        self, particles: Sequence[Sequence[Particle]], monomers: Sequence[Template | None], walls: Walls
    ) -> tuple[Scene, Report]:
        gap = self._vacuum()
        film = self._film()
        self._labels(walls)
        self._sheets()
        self._vesicles(gap)
        regions = self._enclose()
        for number, monomer in enumerate(monomers):
            self._filaments(number, monomer)
        if self.recipe.beads is not None:
            self._beads(self.recipe.beads, regions)
        for number, species in enumerate(particles):
            self._layer(number, species, regions)
        scene = Scene(
            tuple(self.templates),
            Placements.joined(self.rows),
            tuple(self.membranes),
            self.lines,
            self.classes,
            ice_potential(self.recipe.scale),
            self.recipe.scale,
            film,
            tuple(self.labels),
        )
        return scene, self.report

    def _vacuum(self) -> tuple[float, float]:
        """Make cells outside of the ice vacuum; return the lowest and highest z (angstrom) between which all is ice."""
        depth = self.recipe.size_a[0]
        if self.recipe.ice.thickness_nm is None:  # thick enough, whatever the surfaces do
            return 0.0, depth
        grid = self.occupancy
        surfaces = ice_surfaces(self.stream("ice"), self.recipe.size_a, self.recipe.ice)
        z, y, x = ((np.arange(n) + 0.5) * edge for n, edge in zip(grid.shape, grid.edge, strict=True))
        low, high = (height + depth / 2 for height in surfaces.heights(y[:, None], x))
        for number, level in enumerate(z.tolist()):
            outside = (level < low) | (level > high)
            if outside.any():
                grid.empty_mask(outside[None], corner=(number, 0, 0))
        return max(float(low.max()), 0.0), min(float(high.min()), depth)

    def _film(self) -> FilmDrawn | None:
        recipe = self.recipe.film
        if recipe is None:
            return None
        drawn = FilmDrawn(self.next, recipe.to_json(), self.recipe.size_a, self.seed, self.sample)
        self.next += 1
        grid = self.occupancy
        cell = float(np.mean(grid.edge))
        self.occupancy.take_mask(filled(drawn.draw(), Box.of_shape(grid.shape), cell) > 0.1)
        self._note("film", recipe.name, 1, 1)
        return drawn

    def _labels(self, walls: Walls) -> None:
        if self.recipe.labels is None:
            return
        thickness = label_thickness(self.recipe.labels, self.seed, self.sample)
        for label, name in self.recipe.labels.names.items():
            self.labels.append(LabelBilayer(label, name, self.next, thickness[label]))
            self.next += 1
            self._note("labels", name, 1, 1)
        for box, mask in walls:
            self._take(box, mask)

    def _take(self, box: Box, mask: NDArray[np.bool_]) -> None:
        """Take the cells whose centres lie in voxels of a box for which the mask is true."""
        grid, corner, index = self.occupancy, [], []
        for axis, (start, stop) in enumerate(zip(box.start, box.stop, strict=True)):
            voxel = ((np.arange(grid.shape[axis]) + 0.5) * grid.edge[axis] / self.recipe.voxel_size).astype(np.int64)
            first, last = np.searchsorted(voxel, (start, stop))
            corner.append(first)
            index.append(voxel[first:last] - start)
        grid.take_mask(mask[np.ix_(*index)], corner=index3(corner))

    def _sheets(self) -> None:
        for number, recipe in enumerate(self.recipe.sheets):
            rng = self.stream("sheets", number)
            placed = 0
            for _ in range(recipe.count):
                position = float(rng.uniform(0.1, 0.9))
                thickness = float(rng.uniform(*recipe.thickness_a))
                bare = bool(rng.random() < recipe.bare)
                found = sheet(rng, self.recipe.size_a, recipe, across_z(rng), position, instance=self.next)
                if self._crossed(found):
                    continue
                self.membranes.append(replace(found, thickness=thickness))
                self.bare.append(bare)
                self.next += 1
                placed += 1
            self._note("sheets", recipe.name, recipe.count, placed)

    def _crossed(self, new: Membrane) -> bool:
        """Whether a sheet comes too near to an earlier one."""
        if not self.membranes:
            return False
        points, _ = surface_points(new, 60.0, self.stream("crossing", self.next))
        return any(float(np.abs(distance_to(other, points)).min()) < SHEET_GAP for other in self.membranes)

    def _vesicles(self, gap: tuple[float, float]) -> None:
        """Place vesicles, between two heights (angstrom) beyond which there may be vacuum."""
        depth, *across = self.recipe.size_a
        thin = gap != (0.0, depth)
        size = (max(gap[1] - gap[0], 0.0) if thin else depth, across[0], across[1])
        walls = "".join(axis for axis in "zyx" if axis in self.recipe.walls or (thin and axis == "z"))
        for number, recipe in enumerate(self.recipe.vesicles):
            rng = self.stream("vesicles", number)
            there = tuple(_raised(m, -gap[0]) for m in self.membranes)
            placed = place_vesicles(rng, size, recipe, walls=walls, first_instance=self.next, others=there)
            found = [_raised(m, gap[0]) for m in placed]
            thickness = rng.uniform(*recipe.thickness_a, size=len(found))
            self.membranes += [replace(m, thickness=float(t)) for m, t in zip(found, thickness, strict=True)]
            self.bare += (rng.random(len(found)) < recipe.bare).tolist()
            self.next += len(found)
            self._note("vesicles", recipe.name, recipe.count, len(found))

    def _enclose(self) -> Regions:
        points = [
            None if bare else surface_points(membrane, SEAT_SPACING, self.stream("seats", membrane.instance))
            for membrane, bare in zip(self.membranes, self.bare, strict=True)
        ]
        open_ones = sum(sheet["placed"] for sheet in self.report if sheet["step"] == "sheets")  # they come first
        parts = [
            enclose(self.occupancy, self.membranes[part], points=points[part])
            for part in (slice(open_ones), slice(open_ones, None))
        ]
        standing = [part.surfaces for part in parts if part.surfaces is not None]
        return Regions(parts[1].inside, Surfaces.joined(standing) if standing else None)

    def _filaments(self, number: int, monomer: Template | None) -> None:
        recipe = self.recipe.filaments[number]
        template = monomer or unit_standin(recipe.kind, recipe.class_name)
        found = place_filaments(
            self.stream("filaments", number),
            self.occupancy,
            self.recipe.size_a,
            template,
            recipe,
            template_number=len(self.templates),
            first_instance=self.next,
        )
        self.templates.append(template)
        self.rows.append(found.placements)
        self.lines |= found.centrelines
        self.next += len(found.centrelines)
        self._note("filaments", recipe.class_name, recipe.count, len(found.centrelines))

    def _beads(self, recipe: BeadsRecipe, regions: Regions) -> None:
        rng = self.stream("beads")
        low, high = recipe.radius_nm
        radii = np.round(rng.uniform(10 * low, 10 * high, size=recipe.count), 1)
        first = len(self.templates)
        self.templates += [bead(float(r), self.recipe.voxel_size, name=recipe.name) for r in radii]
        species = tuple(
            Species(recipe.name, (first + n,), region="cytosol", count=1, tries=50) for n in range(recipe.count)
        )
        self._fill("beads", Layer(species, 20 * recipe.count), rng, regions)

    def _layer(self, number: int, particles: Sequence[Particle], regions: Regions) -> None:
        recipe = self.recipe.layers[number]
        species = []
        for how, particle in zip(recipe.species, particles, strict=True):
            first = len(self.templates)
            self.templates += particle.templates
            indices = tuple(range(first, len(self.templates)))
            kinds: list[str] = [flag for flag in ("membrane", "cluster", "bundle") if flag in particle.flags]
            places: list[str] = [flag for flag in ("vesicle", "cytosol") if flag in particle.flags]
            ways = [(kind, place) for kind in kinds or ["single"] for place in places or ["anywhere"]]
            if how.count is not None or how.concentration_um is not None:
                ways = ways[:1]  # a count applies to the first of several exclusive flags
            name, weight = particle.templates[0].name, how.weight / len(ways)
            seat = Seat(how.peripheral, how.side, how.offset_a)
            species += [
                Species(name, indices, weight, kind, place, how.count, how.concentration_um, recipe.tries, seat)
                for kind, place in ways
            ]
        iterations = recipe.iterations
        if iterations is None and any(s.count is None and s.concentration_um is None for s in species):
            iterations = round(2500 * recipe.density)
        layer = Layer(tuple(species), iterations, recipe.density)
        self._fill(f"layer {number + 1}", layer, self.stream("layer", number), regions)

    def _fill(self, step: str, layer: Layer, rng: np.random.Generator, regions: Regions) -> None:
        if not layer.species:
            return
        found, reports = fill(self.occupancy, self.templates, [layer], rng, self.next, regions)
        self.rows.append(found)
        self.next += len(found)
        for report in reports:
            for one in report.species:
                self._note(step, one.name, one.asked, one.placed, stopped=report.stopped)

    def _note(self, step: str, name: str, asked: int | None, placed: int, **more: Any) -> None:
        self.report.append({"step": step, "name": name, "asked": asked, "placed": placed, **more})


def _raised(membrane: Membrane, height_a: float) -> Membrane:
    """A membrane at a place that is higher by ``height_a``."""
    z, y, x = membrane.corner
    return replace(membrane, corner=(z + height_a, y, x)) if height_a else membrane
