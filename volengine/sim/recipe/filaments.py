"""Recipes of filaments: the structure of each kind, and the filaments of a specimen."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.sim.recipe.checks import Range, named, ordered, positive

MONOMER_A = 40.9
"""Length of a tubulin monomer along its protofilament in a microtubule of GDP-tubulin, angstrom."""
LATERAL_A = 48.95
"""Distance between the axes of neighbouring protofilaments, angstrom."""
CONTACT_A = 9.4
"""How much higher the lateral neighbour of a monomer lies, along the protofilament, angstrom."""
STARTS = {11: 3, 12: 3, 13: 3, 14: 3, 15: 4, 16: 4}
"""The usual number of starts of the monomers' helix, by the number of protofilaments."""


@dataclass(frozen=True)
class FilamentKind(Recipe):
    """The structure of a kind of filament.

    Parameters
    ----------
    twist_deg, rise_a
        Twist (degrees) and rise (angstrom) from one node to the next, about and along the template's z axis; a positive
        twist is right-handed.
    persistence_um
        Persistence length, micrometre.
    protofilaments
        Number of units in a ring at each node; 1: one unit whose pivot lies on the axis.
    starts
        Starts of the left-handed helix of monomers of a ring; a unit has two monomers, one above the other.
    radius_a
        Radius of the ring, angstrom.
    minimum_units
        Smallest number of nodes of a filament.
    """

    twist_deg: float
    rise_a: float
    persistence_um: float
    protofilaments: int = 1
    starts: int = 0
    radius_a: float = 0.0
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

    @property
    def stagger_a(self) -> float:
        """Height of a protofilament above the one before it, angstrom; a turn rises by ``starts`` monomers."""
        return self.starts * self.rise_a / 2 / self.protofilaments

    @property
    def skew_deg(self) -> float:
        """Angle of the protofilaments to the axis, degree; positive: they wind about it as a right-handed screw."""
        return math.degrees(math.atan(math.radians(self.twist_deg) * self.radius_a / self.rise_a))


def microtubule(protofilaments: int, starts: int, rise_a: float = 2 * MONOMER_A) -> FilamentKind:
    """The lattice of a microtubule, by lattice accommodation.

    A wall of protofilaments closes to a tube only if ``protofilaments`` steps to the lateral neighbour end ``starts``
    monomers higher. Protofilaments wind about the axis as far as this needs: ``theta = (S a / N - r) / dx`` (Wade,
    Chretien & Job, J. Mol. Biol. 212:775, 1990; numbers of Estevez-Gallego et al., eLife 9:e50155, 2020, for GDP).

    Parameters
    ----------
    protofilaments, starts
        Number N of protofilaments and S of starts: 13 and 3 for 13_3. With odd S the wall has one seam.
    rise_a
        Length of a dimer, angstrom: 81.8 for GDP-tubulin, 84.2 for GMPCPP.

    Returns
    -------
    FilamentKind
        Nodes are rings of dimers at the radius N dx / 2 pi; ``twist_deg`` is what the skew gives per dimer.

    Examples
    --------
    >>> kind = microtubule(14, 3)
    >>> round(kind.skew_deg, 2), round(kind.twist_deg, 2), round(kind.radius_a, 1)
    (-0.74, -0.56, 109.1)
    """
    radius = protofilaments * LATERAL_A / (2 * math.pi)
    slope = (starts * rise_a / 2 / protofilaments - CONTACT_A) / LATERAL_A
    twist = round(math.degrees(slope * rise_a / radius), 9)
    return FilamentKind(twist, rise_a, 1000.0, protofilaments, starts, radius, 10)  # Gittes et al. 1993: persistence


KINDS = {
    # Holmes et al. 1990: the genetic helix is left-handed; its two strands cross every 36.7 nm; Gittes et al. 1993
    "actin": FilamentKind(-166.6, 27.3, 9.0, minimum_units=20),
    # McGough et al. 1997 (twist); McCullough et al. 2008 (persistence)
    "cofilactin": FilamentKind(-162.0, 27.6, 2.2, minimum_units=20),
    "microtubule": microtubule(13, 3),
}

OWN = {"persistence_um": 10.0}
"""Values for filaments of the kind ``own`` that the recipe does not give."""


def nodes_of(length_nm: float, kind: FilamentKind) -> int:
    """Number of units (of microtubules: rings) of a filament of a kind that is at least this long."""
    return max(math.ceil(10 * length_nm / kind.rise_a) + 1, 2)


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
        monomer is centred on the axis, and the command says so. A sub-model ``origin`` marks the axis anywhere. The +x
        axis of a dimer points outward, and its pivot, 5 A inside of its centre, lies on the ring; a dimer that lies
        across the filament is turned so that its longest direction is along it.
    count
        Number of filaments that are tried.
    length_nm
        Smallest and largest length; a filament ends where it leaves the volume.
    twist_deg, rise_a
        Twist and rise from one unit to the next. Of microtubules the rise is the length of a dimer (81.8; GMPCPP:
        84.2); the twist follows from the lattice.
    protofilaments
        Of microtubules: their number of protofilaments, 11 to 16, or the share of each number:
        ``{13: 0.49, 14: 0.45}``; default: 13. The monomers' helix has 3 starts (15 and 16: 4); for another number write
        both, in quotes: ``"15_3"``.
    radius_a
        Of microtubules: distance of the dimers' pivots from the axis; default: 48.95 A per protofilament around it.
    persistence_um
        Persistence length.
    minimum_units
        Filaments with fewer units (of microtubules: rings) are removed; default: 20 of actin and cofilactin, 10 of
        others, or as many as the smallest length has.
    inclination_deg
        Largest angle to the plane of the specimen.
    whole_residues
        Give a residue of which the structure lists a part (a C-alpha trace) the weight of the whole residue.
    name
        Their class in the atlas, for all sub-models of the structure; default: the kind, or, if the sub-models have
        several classes (``actin__cofilin.complex.pdb``), the class of each.
    """

    kind: Literal["actin", "cofilactin", "microtubule", "own"] = "actin"
    structure: str = ""
    count: int = 5
    length_nm: Range = (100.0, 400.0)
    twist_deg: float | None = None
    rise_a: float | None = None
    protofilaments: dict[int | str, float] | int | str | None = None
    radius_a: float | None = None
    persistence_um: float | None = None
    minimum_units: int | None = None
    inclination_deg: float = 15.0
    whole_residues: bool = False
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
        positive("filaments: radius_a", self.radius_a)
        if self.kind != "microtubule" and (self.protofilaments is not None or self.radius_a is not None):
            raise InputError(f"filaments: {self.kind} has no protofilaments and no radius_a; a microtubule has.")
        for kind, _ in self.built:  # refuses a filament that bends too sharply
            if nodes_of(self.length_nm[1], kind) < kind.minimum_units:
                raise InputError(
                    f"filaments: length_nm is at most {self.length_nm[1]:g}, {nodes_of(self.length_nm[1], kind)} units "
                    f"of {kind.rise_a:g} A, but minimum_units is {kind.minimum_units}: none would be placed."
                )

    @cached_property
    def built(self) -> tuple[tuple[FilamentKind, float], ...]:
        """Their structures and the share of each: those of their kind, with the values of this recipe."""
        names = ("twist_deg", "rise_a", "persistence_um", "minimum_units", "radius_a")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.kind == "own":
            found = [(FilamentKind(**{**OWN, **given}), 1.0)]
        elif self.kind != "microtubule":
            found = [(KINDS[self.kind].with_(**given), 1.0)]
        else:
            rise = given.get("rise_a", 2 * MONOMER_A)
            found = [(microtubule(*lattice, rise).with_(**given), share) for lattice, share in self._lattices()]
        if self.minimum_units is None:  # a length that is asked for is long enough
            fewest = [min(kind.minimum_units, nodes_of(self.length_nm[0], kind)) for kind, _ in found]
            found = [(kind.with_(minimum_units=n), share) for n, (kind, share) in zip(fewest, found, strict=True)]
        return tuple(found)

    def _lattices(self) -> list[tuple[tuple[int, int], float]]:
        """Protofilaments and starts of each lattice, and its share of the filaments; the shares sum to 1."""
        said = self.protofilaments if self.protofilaments is not None else 13
        shares = said if isinstance(said, dict) else {said: 1.0}
        found = {_lattice(name): share for name, share in shares.items()}
        if not found or len(found) < len(shares) or not all(0 <= share < math.inf for share in found.values()):
            raise InputError(f"filaments: protofilaments is {said}; it needs each lattice once, with its share.")
        total = sum(found.values())
        if not total > 0:
            raise InputError(f"filaments: protofilaments is {said}; one share is above 0.")
        return [(lattice, share / total) for lattice, share in sorted(found.items()) if share > 0]

    @property
    def class_name(self) -> str:
        """Name of their class in the atlas."""
        return self.name or self.kind


def _lattice(name: int | str) -> tuple[int, int]:
    """Numbers of protofilaments and starts: of 13, ``13`` as text, or ``13_3``."""
    found = re.fullmatch(r"(\d+)(?:_([2-4]))?", str(name))
    number = int(found[1]) if found else 0
    if found is None or number not in STARTS:
        raise InputError(
            f"filaments: {name!r} protofilaments cannot be built; the number is 11 to 16, or with that of the starts "
            'of the helix, 2 to 4, in quotes: "13_3".'
        )
    return number, int(found[2] or STARTS[number])
