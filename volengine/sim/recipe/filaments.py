"""Recipes of filaments: the structure of each kind, and the filaments of a specimen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.sim.recipe.checks import Range, named, ordered, positive


@dataclass(frozen=True)
class FilamentKind(Recipe):
    """The structure of a kind of filament.

    Parameters
    ----------
    twist_deg, rise_a
        Twist (degrees) and rise (angstrom) from one node to the next, about and along the template's z axis.
    persistence_um
        Persistence length, micrometre.
    protofilaments
        Number of units in a ring at each node; 1: one unit whose pivot lies on the axis.
    radius_a
        Radius of the ring, angstrom.
    start_a
        Offset along the axis from one protofilament to the next, angstrom.
    minimum_units
        Smallest number of nodes of a filament.
    """

    twist_deg: float
    rise_a: float
    persistence_um: float
    protofilaments: int = 1
    radius_a: float = 0.0
    start_a: float = 0.0
    minimum_units: int = 10

    def check(self) -> None:
        if not self.rise_a > 0 or self.protofilaments < 1 or self.minimum_units < 1 or self.radius_a < 0:
            raise InputError(
                f"A filament cannot be built with a rise of {self.rise_a} A, {self.protofilaments} protofilaments at "
                f"{self.radius_a} A and at least {self.minimum_units} units."
            )
        if not self.persistence_um * 1e4 >= 5 * self.rise_a:
            raise InputError(
                f"A persistence length of {self.persistence_um} um is too short for a rise of {self.rise_a} A: "
                "it is at least five times the rise."
            )

    @property
    def bend(self) -> float:
        """Standard deviation (radian) of the turn per node about each of the two axes across the filament."""
        return math.sqrt(self.rise_a / (self.persistence_um * 1e4))


KINDS = {
    # Egelman, Francis & DeRosier 1982; Gittes et al. 1993 (persistence)
    "actin": FilamentKind(-166.15, 27.3, 9.0, minimum_units=20),
    # McGough et al. 1997 (twist); McCullough et al. 2008 (persistence)
    "cofilactin": FilamentKind(-162.0, 27.6, 2.2, minimum_units=20),
    # 13 protofilaments, three-start helix of monomers of 40.6 A; Gittes et al. 1993; of short ones less: Pampaloni 2006
    "microtubule": FilamentKind(0.0, 81.2, 1000.0, 13, 112.0, 3 * 40.6 / 13, 10),
}

OWN = {"persistence_um": 10.0}
"""Values for filaments of the kind ``own`` that the recipe does not give."""


@dataclass(frozen=True)
class FilamentsRecipe(Recipe):
    """Filaments of one kind.

    Parameters
    ----------
    kind
        ``actin``, ``cofilactin`` or ``microtubule`` provide values for fields that are not given; ``own`` does not.
    structure
        Structure of the monomer (microtubule: of the dimer), with its z axis along the filament; default: a procedural
        stand-in. The file's z axis is the axis of the filament if it passes through the box of the atoms; otherwise the
        monomer is centred on the axis. The centre of a dimer lies on the ring, with its +x axis outward; a dimer that
        lies across the filament is turned so that its longest direction is along it.
    count
        Number of filaments that are tried.
    length_nm
        Smallest and largest length; a filament ends where it leaves the volume.
    twist_deg, rise_a
        Twist and rise from one unit to the next.
    persistence_um
        Persistence length.
    minimum_units
        Filaments with fewer units are removed.
    inclination_deg
        Largest angle to the plane of the specimen.
    name
        Their class in the atlas; default: the kind.
    """

    kind: Literal["actin", "cofilactin", "microtubule", "own"] = "actin"
    structure: str = ""
    count: int = 5
    length_nm: Range = (100.0, 400.0)
    twist_deg: float | None = None
    rise_a: float | None = None
    persistence_um: float | None = None
    minimum_units: int | None = None
    inclination_deg: float = 15.0
    name: str = ""

    def check(self) -> None:
        if self.count < 0:
            raise InputError(f"filaments: count must be 0 or more, not {self.count}.")
        ordered("filaments: length_nm", self.length_nm, 1.0)
        named("filaments", self.class_name)
        positive("filaments: persistence_um", self.persistence_um)
        positive("filaments: rise_a", self.rise_a)
        positive("filaments: minimum_units", self.minimum_units)
        if self.twist_deg is not None and not math.isfinite(self.twist_deg):
            raise InputError(f"filaments: twist_deg is {self.twist_deg}; it is a number of degrees.")
        if not 0 <= self.inclination_deg <= 90:
            raise InputError(f"filaments: inclination_deg is from 0 to 90, not {self.inclination_deg}.")
        if self.kind == "own" and (not self.structure or self.twist_deg is None or not self.rise_a):
            raise InputError("filaments of the kind own need a structure, twist_deg and rise_a.")
        _ = self.built  # refuses a filament that bends too sharply

    @cached_property
    def built(self) -> FilamentKind:
        """Their structure: that of their kind, with the values of this recipe."""
        names = ("twist_deg", "rise_a", "persistence_um", "minimum_units")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return FilamentKind(**{**OWN, **given}) if self.kind == "own" else KINDS[self.kind].with_(**given)

    @property
    def class_name(self) -> str:
        """Name of their class in the atlas."""
        return self.name or self.kind
