"""Recipes of particles: species, layers of species, and gold beads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.sim.recipe.checks import Range, named, ordered, positive

Flag = Literal["group", "complex", "assembly", "membrane", "vesicle", "cytosol", "cluster", "bundle", "distract"]


@dataclass(frozen=True)
class SpeciesRecipe(Recipe):
    """One kind of particle.

    Parameters
    ----------
    structure
        A file (PDB, mmCIF, MRC density), a PDB id, or the name of a structure that comes with the package
        (``volengine simulate --list``).
    name
        Its class in the atlas, for all its sub-models; default: each sub-model has the class of its name in the file.
    flags
        CryoTomoSim's flags: ``complex``, ``assembly``, ``group``, ``membrane``, ``vesicle``, ``cytosol``, ``cluster``,
        ``bundle``, ``distract``; they are added to those in the file's name.
    count
        Number of particles to place; default: as many as the layer's rule allows.
    concentration_um
        Concentration, micromolar, instead of a count.
    weight
        How often it is drawn, relative to the layer's other species.
    assembly
        Name of the biological assembly, or ``file`` for the atoms as deposited; default: the file's first assembly.
    whole_residues
        Give a residue of which the structure lists a part (a C-alpha trace) the weight of the whole residue.
    total
        For an MRC density: its integrated potential, V A^3; default: that of protein of the same volume.
    threshold
        For an MRC density: voxels above this value belong to the particle; default: Otsu's threshold.
    invert
        For an MRC density: the particle is dark.
    side
        With the flag ``membrane``: direction of its +z axis.
    peripheral
        With the flag ``membrane``: it sits on the face of the membrane instead of spanning it.
    offset_a
        With the flag ``membrane``: shift along its +z axis, angstrom.
    """

    structure: str
    name: str = ""
    flags: tuple[Flag, ...] = ()
    count: int | None = None
    concentration_um: float | None = None
    weight: float = 1.0
    assembly: str | None = None
    whole_residues: bool = False
    total: float | None = None
    threshold: float | None = None
    invert: bool = False
    side: Literal["outside", "inside", "either"] = "outside"
    peripheral: bool = False
    offset_a: float = 0.0

    def check(self) -> None:
        if not self.structure.strip():
            raise InputError("A species needs a structure: a file, a PDB id, or a name.")
        if self.count is not None and self.concentration_um is not None:
            raise InputError(f"{self.structure}: give a count or a concentration_um, not both.")
        if self.count is not None and self.count < 0:
            raise InputError(f"{self.structure}: count must be 0 or more, not {self.count}.")
        if self.name:
            named(self.structure, self.name)
        for what in ("weight", "concentration_um", "total"):
            positive(f"{self.structure}: {what}", getattr(self, what))


@dataclass(frozen=True)
class LayerRecipe(Recipe):
    """Particles that are placed together. Layers are placed in order, so large particles should come first.

    Parameters
    ----------
    species
        The species from which particles are drawn.
    iterations
        Number of particles that are tried; default: 2500 times the density.
    density
        Stop when this share of the volume is taken.
    tries
        Number of poses that are tried for each particle.
    """

    species: tuple[SpeciesRecipe, ...]
    iterations: int | None = None
    density: float = 0.4
    tries: int = 4

    def check(self) -> None:
        if not self.species:
            raise InputError("A layer needs at least one species.")
        if not 0 < self.density <= 1:
            raise InputError(f"A layer's density is a share from 0 to 1, not {self.density}.")
        if self.tries < 1 or (self.iterations is not None and self.iterations < 0):
            raise InputError(
                f"A layer needs tries of 1 or more and iterations of 0 or more: {self.tries}, {self.iterations}."
            )


@dataclass(frozen=True)
class BeadsRecipe(Recipe):
    """Gold beads: their number, and their smallest and largest radius. They are placed before particles."""

    count: int = 0
    radius_nm: Range = (4.0, 6.0)
    name: str = "gold"

    def check(self) -> None:
        if self.count < 0:
            raise InputError(f"beads: count must be 0 or more, not {self.count}.")
        named("beads", self.name)
        ordered("beads: radius_nm", self.radius_nm, 0.5)
