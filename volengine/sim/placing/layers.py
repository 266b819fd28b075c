"""Species and layers of particles, the rules by which a layer stops, and reports of the result.

>>> ribosome = Species("ribosome", templates=(0, 1), count=40, region="cytosol")
>>> layer = Layer((ribosome, Species("hsp70", templates=(2,))), iterations=400, density=0.4)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from volengine.core.errors import InputError
from volengine.sim.placing.cells import REGIONS
from volengine.sim.placing.regions import Seat

TRIES = {"single": 4, "cluster": 3, "bundle": 4, "membrane": 6}  # CryoTomoSim's
PER_UM_A3 = 6.02214076e-10  # particles per cubic angstrom at 1 micromolar


@dataclass(frozen=True)
class Species:
    """One kind of particle in a layer.

    Parameters
    ----------
    name
        Name in the report.
    templates
        Indices into the list of templates; one is drawn at each iteration (conformers).
    weight
        How often it is drawn, relative to the other species of its layer.
    kind
        ``"single"``; ``"cluster"``, ``"bundle"``: each placement is the seed of a group; ``"membrane"``: in or on a
        membrane (without membranes: single and anywhere). A particle with several kinds becomes several species.
    region
        Region of the pivot: ``"anywhere"``, ``"vesicle"`` (inside) or ``"cytosol"`` (outside).
    count
        Number of particles to place, including members of groups.
    concentration_um
        Concentration in the region instead of a count, micromolar.
    tries
        Poses per iteration; ``None``: 4 (cluster 3, membrane 6).
    seat
        How a membrane protein is placed on its membrane.

    Raises
    ------
    InputError
        A kind or region is unknown, there is no template, both count and concentration are given, or a number is out of
        range.
    """

    name: str
    templates: tuple[int, ...]
    weight: float = 1.0
    kind: str = "single"
    region: str = "anywhere"
    count: int | None = None
    concentration_um: float | None = None
    tries: int | None = None
    seat: Seat = field(default_factory=Seat)

    def __post_init__(self) -> None:
        where = f"Species {self.name!r}"
        if self.kind not in TRIES:
            raise InputError(f"{where}: its kind is one of {', '.join(TRIES)}, not {self.kind!r}.")
        if self.region not in REGIONS:
            raise InputError(f"{where}: its region is one of {', '.join(REGIONS)}, not {self.region!r}.")
        if not self.templates:
            raise InputError(f"{where} has no template.")
        if self.count is not None and self.concentration_um is not None:
            raise InputError(f"{where}: give a count or a concentration, not both.")
        if self.kind == "membrane" and self.concentration_um is not None:
            raise InputError(f"{where}: a membrane protein has no concentration in a volume; give a count.")
        numbers = (self.count, self.concentration_um)
        few = self.tries is not None and self.tries < 1
        if not self.weight > 0 or few or any(n is not None and n < 0 for n in numbers):
            raise InputError(f"{where}: weight and tries are positive, count and concentration from 0.")


@dataclass(frozen=True)
class Layer:
    """Species that are placed together, and when to stop.

    Parameters
    ----------
    species
        The species; one with a count is no longer drawn when it has it.
    iterations
        Largest number of iterations.
    density
        Stop when this share of the box's cells is taken, including cells of earlier objects.
    patience
        Without ``iterations``: a species is no longer drawn after this many iterations in a row that placed nothing.

    Raises
    ------
    InputError
        There is no species, no rule to stop, or a number is out of range.
    """

    species: tuple[Species, ...]
    iterations: int | None = None
    density: float | None = None
    patience: int = 100

    def __post_init__(self) -> None:
        if not self.species:
            raise InputError("A layer has no species.")
        counted = all(s.count is not None or s.concentration_um is not None for s in self.species)
        if self.iterations is None and self.density is None and not counted:
            raise InputError("A layer needs iterations, a density, or a count or concentration for each species.")
        if (self.iterations or 0) < 0 or not 0 <= (self.density or 0) <= 1 or self.patience < 1:
            raise InputError("Iterations are from 0, a density from 0 to 1, patience from 1.")


@dataclass(frozen=True)
class SpeciesReport:
    """The result for a species: the requested count (``None`` if there is none) and the number of placed particles."""

    name: str
    asked: int | None
    placed: int
    iterations: int


@dataclass(frozen=True)
class LayerReport:
    """The result for a layer; ``stopped`` is iterations, density, count (all placed), or full (no space for some)."""

    stopped: str
    iterations: int
    density: float
    species: tuple[SpeciesReport, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)
