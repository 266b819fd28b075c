"""Place rigid particles in a box, at random positions and rotations, without overlap.

>>> import numpy as np
>>> from volengine.core.specimen import Template
>>> from volengine.sim.seeds import stream
>>> at = np.stack(np.meshgrid(*[np.arange(-40, 41, 4.0)] * 3), -1).reshape(-1, 3).astype("f4")
>>> at = at[(at**2).sum(1) < 1600]
>>> ball = Template("ball", ("ball",), at, np.ones(len(at), "f4"), np.zeros(len(at), "u1"), 1.0)
>>> box = Occupancy((60, 60, 20), voxel_size_a=12.0, walls="z")
>>> layer = Layer((Species("ball", templates=(0,), count=20),))
>>> placements, reports = fill(box, [ball], [layer], stream(1, "particles"))
>>> len(placements), reports[0].stopped
(20, 'count')

Layers are filled one after the other. An *iteration* draws a species (by weight), one of its templates, and up to
``tries`` poses: the pivot is uniform over the free cells of the species' region, the rotation is uniform. The first
pose that needs no taken cell and meets no wall is kept. A layer stops at its number of iterations, at its density, or
when every species has its count.

Iterations are processed in batches of a fixed size: the first tries of all iterations, then the second tries of those
that failed, and so on, each in order. The same seed gives the same table on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.specimen import Placements, Template
from volengine.sim.placing.cells import REGIONS, FreeCells
from volengine.sim.placing.groups import grow_bundle, grow_cluster
from volengine.sim.placing.layers import PER_UM_A3, TRIES, Layer, LayerReport, Species, SpeciesReport
from volengine.sim.placing.occupancy import HEAD, Occupancy
from volengine.sim.placing.regions import Regions, seated
from volengine.sim.placing.solids import Solid
from volengine.sim.rotations import random_quaternions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BATCH = 128


def fill(
    occupancy: Occupancy,
    templates: Sequence[Template | Solid],
    layers: Sequence[Layer],
    rng: np.random.Generator,
    first_instance: int = 1,
    regions: Regions | None = None,
) -> tuple[Placements, list[LayerReport]]:
    """Fill a box with layers of particles.

    Parameters
    ----------
    occupancy
        The occupied cells; the cells of new particles are added.
    templates
        The templates; or their solids (:meth:`Occupancy.solid`), which saves time if many similar boxes are filled.
    layers
        The layers, in order.
    rng
        Source of all random numbers.
    first_instance
        Number of the first placement; the others follow. ``group`` of the members of a group is the number of their
        first particle, that of membrane proteins the number of their membrane.
    regions
        What membranes enclose, and where proteins may be placed on them.

    Returns
    -------
    Placements, list of LayerReport
        The placements in the order in which they were made, and a report per layer.

    Raises
    ------
    InputError
        A species has a template that is not in the list.
    """
    for species in (s for layer in layers for s in layer.species):
        if not 0 <= min(species.templates) <= max(species.templates) < len(templates):
            raise InputError(f"Species {species.name!r}: templates {species.templates} of {len(templates)}.")
    used = {t for layer in layers for s in layer.species for t in s.templates}
    solids = {}
    for index in sorted(used):
        template = templates[index]
        solids[index] = template if isinstance(template, Solid) else occupancy.solid(template)
    rows = _Rows(first_instance)
    reports = [_Filling(occupancy, solids, layer, rng, regions or Regions(), rows).run() for layer in layers]
    return rows.placements(), reports


class _Rows:
    """The growing table of placements."""

    def __init__(self, first_instance: int):
        self._first = first_instance
        self._template: list[int] = []
        self._group: list[int] = []
        self._position: list[Floats] = []
        self._quaternion: list[Floats] = []

    def add(self, template: int, position: Floats, quaternion: Floats, group: int) -> int:
        """Add a row and return its instance; a group of -1 stands for this instance."""
        instance = self._first + len(self._template)
        self._template.append(template)
        self._group.append(instance if group == -1 else group)
        self._position.append(position)
        self._quaternion.append(quaternion)
        return instance

    def placements(self) -> Placements:
        count = len(self._template)
        return Placements(
            np.array(self._template, np.int32),
            np.arange(self._first, self._first + count, dtype=np.int32),
            np.array(self._position, float).reshape(count, 3),
            np.array(self._quaternion, float).reshape(count, 4),
            np.array(self._group, np.int32),
        )


@dataclass
class _State:
    """The state of a species while its layer is filled."""

    species: Species
    kind: str
    cells: FreeCells
    asked: int | None
    placed: int = 0
    iterations: int = 0
    misses: int = 0
    given_up: bool = False

    @property
    def satisfied(self) -> bool:
        return self.asked is not None and self.placed >= self.asked


@dataclass
class _Poses:
    """Candidate poses, one per row; ``there`` is true if a position was found."""

    position: Floats
    quaternion: Floats
    own: Ints
    group: Ints
    there: NDArray[np.bool_]


class _Filling:
    """The filling of one layer."""

    def __init__(
        self,
        occupancy: Occupancy,
        solids: dict[int, Solid],
        layer: Layer,
        rng: np.random.Generator,
        regions: Regions,
        rows: _Rows,
    ):
        self._occupancy, self._solids, self._layer = occupancy, solids, layer
        self._rng, self._surfaces, self._rows = rng, regions.surfaces, rows
        self._heads = {t: np.resize(s.test[:HEAD], (HEAD, 3)) for t, s in solids.items()}
        self._cells = {name: FreeCells(occupancy, regions, name) for name in REGIONS}
        self._states = [self._state(s) for s in layer.species]

    def _state(self, species: Species) -> _State:
        seatless = species.kind == "membrane" and self._surfaces is None
        cells = self._cells["anywhere" if species.kind == "membrane" else species.region]
        asked = species.count
        if species.concentration_um is not None:
            asked = round(species.concentration_um * PER_UM_A3 * cells.volume)
        return _State(species, "single" if seatless else species.kind, cells, asked)

    def run(self) -> LayerReport:
        iterations, limit = 0, self._layer.iterations
        while (stopped := self._stopped(iterations)) is None:
            batch = _BATCH if limit is None else min(_BATCH, limit - iterations)
            self._batch(batch)
            iterations += batch
        species = tuple(SpeciesReport(s.species.name, s.asked, s.placed, s.iterations) for s in self._states)
        return LayerReport(stopped, iterations, self._occupancy.density, species)

    def _stopped(self, iterations: int) -> str | None:
        if all(s.satisfied for s in self._states):
            return "count"
        if self._dense:
            return "density"
        if self._layer.iterations is not None and iterations >= self._layer.iterations:
            return "iterations"
        return "full" if all(s.satisfied or s.given_up for s in self._states) else None

    @property
    def _dense(self) -> bool:
        return self._layer.density is not None and self._occupancy.density >= self._layer.density

    def _batch(self, count: int) -> None:
        """Process this many iterations."""
        active = [s for s in self._states if not (s.satisfied or s.given_up)]
        bound = np.cumsum([s.species.weight for s in active])
        drawn = np.searchsorted(bound, self._rng.random(count) * bound[-1], side="right")
        states = [active[min(i, len(active) - 1)] for i in drawn]
        for state in states:
            state.iterations += 1
        part = self._rng.random(count)
        template = [s.species.templates[int(p * len(s.species.templates))] for s, p in zip(states, part, strict=True)]
        tries = np.array([s.species.tries or TRIES[s.kind] for s in states])
        pending = np.ones(count, bool)
        for attempt in range(int(tries.max())):
            rows = np.flatnonzero(pending & (tries > attempt))
            if len(rows) == 0:
                break
            for row in self._attempt(rows, states, template):
                pending[row] = False
            if self._dense:
                return
        for state, missed in zip(states, pending.tolist(), strict=True):
            state.misses = state.misses + 1 if missed else 0
            if self._layer.iterations is None and state.misses >= self._layer.patience:
                state.given_up = True

    def _attempt(self, rows: Ints, states: list[_State], template: list[int]) -> list[int]:
        """Try one pose for each row; return the rows that were placed."""
        poses = self._poses([states[r] for r in rows], [template[r] for r in rows])
        heads = np.stack([self._heads[template[r]] for r in rows])
        clash = self._occupancy.screen(heads, poses.position, poses.quaternion, poses.own)
        placed = []
        for index in np.flatnonzero(poses.there & ~clash):
            row = int(rows[index])
            state, at, turn = states[row], poses.position[index], poses.quaternion[index]
            solid = self._solids[template[row]]
            if state.satisfied or not self._occupancy.place(solid, at, turn, int(poses.own[index])):
                continue
            placed.append(row)
            state.placed += 1
            grows = state.kind in ("cluster", "bundle")
            instance = self._rows.add(template[row], at, turn, -1 if grows else int(poses.group[index]))
            if grows:
                self._grow(state, template[row], at, turn, instance)
            if self._dense:
                break
        return placed

    def _poses(self, states: list[_State], template: list[int]) -> _Poses:
        """A random pose for each row."""
        count = len(states)
        quaternion = random_quaternions(self._rng, count)
        poses = _Poses(
            np.zeros((count, 3)),
            quaternion,
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            np.zeros(count, bool),
        )
        for cells in self._cells.values():
            rows = np.array([i for i, s in enumerate(states) if s.kind != "membrane" and s.cells is cells], np.int64)
            if len(rows) == 0:
                continue
            position = cells.draw(self._rng, len(rows))
            rows = rows[: len(position)]
            poses.position[rows], poses.there[rows] = position, True
        if self._surfaces is not None:
            for state in self._states:
                rows = np.array([i for i, s in enumerate(states) if s is state and s.kind == "membrane"], np.int64)
                if len(rows) == 0:
                    continue
                solids = [self._solids[template[r]] for r in rows]
                position, turn, at = seated(self._surfaces, solids, state.species.seat, self._rng)
                poses.position[rows], poses.quaternion[rows], poses.there[rows] = position, turn, True
                poses.own[rows], poses.group[rows] = self._surfaces.owner[at], self._surfaces.group[at]
        return poses

    def _grow(self, state: _State, template: int, position: Floats, quaternion: Floats, instance: int) -> None:
        """Grow a group around the particle that was just placed."""

        def admit(index: int, at: Floats, turn: Floats) -> bool:
            if state.satisfied or self._dense or not state.cells.holds(at):
                return False
            if not self._occupancy.place(self._solids[index], at, turn):
                return False
            self._rows.add(index, at, turn, instance)
            state.placed += 1
            return True

        if state.kind == "cluster":
            grow_cluster(self._rng, state.species.templates, self._solids, (template, position), admit)
        else:
            grow_bundle(self._rng, self._solids[template], (template, position, quaternion), admit)
