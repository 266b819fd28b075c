"""The recipe of a specimen.

>>> SpecimenRecipe.from_json({
...     "shape": [50, 200, 200],
...     "voxel_size": 12.0,
...     "layers": [{"species": [{"structure": "ribosome"}], "density": 0.1}],
...     "vesicles": [{"count": 2}],
... }).layers[0].species[0].structure
'ribosome'
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.sim.recipe.checks import is_name, positive
from volengine.sim.recipe.filaments import FilamentsRecipe
from volengine.sim.recipe.film import FilmRecipe, IceRecipe
from volengine.sim.recipe.membranes import LabelsRecipe, SheetsRecipe, VesiclesRecipe
from volengine.sim.recipe.particles import BeadsRecipe, LayerRecipe

SMALLEST_VOXEL_A, LARGEST_VOXEL_A = 1.0, 100.0
"""Limits of the voxel size."""


def wall_faces(walls: str) -> tuple[tuple[bool, bool], ...]:
    """Which faces are walls: for each of z, y, x whether the low and the high face are.

    Parameters
    ----------
    walls
        ``"none"``, or axes with or without a sign: ``"z"`` (both faces), ``"xyz"``, ``"+z"`` (the high one),
        ``"+z -x"``.

    Raises
    ------
    InputError
        The text is none of these.
    """
    faces = {axis: [False, False] for axis in "zyx"}
    text = walls.replace(" ", "").replace(",", "")
    if text != "none":
        if not re.fullmatch(r"([+-]?[xyz])+", text):
            raise InputError(f"Walls {walls!r}: write 'none' or axes such as 'z', 'xyz', '+z', '-x'.")
        for sign, axis in re.findall(r"([+-]?)([xyz])", text):
            faces[axis][0] |= sign != "+"
            faces[axis][1] |= sign != "-"
    return tuple((low, high) for low, high in faces.values())


@dataclass(frozen=True)
class SpecimenRecipe(Recipe):
    """A specimen.

    Parameters
    ----------
    shape
        Shape in voxels, z, y, x.
    voxel_size
        Voxel size in angstrom.
    layers
        Layers of particles.
    vesicles, sheets, filaments
        Membranes and filaments; they are placed before the particles.
    labels
        Membranes from a label volume, instead of vesicles and sheets; default: none.
    beads, film
        Gold beads and carbon film; default: none.
    ice
        Surfaces of the ice.
    walls
        Faces that particles do not cross: ``none``, or axes such as ``z``, ``xyz``, ``+z``.
    tolerance_a
        Depth in angstrom to which neighbours may overlap; above 0 they pack more densely.
    scale
        Scale of the potentials: ``peng`` (electron scattering factors, volt) or ``cts`` (atomic numbers, after
        CryoTomoSim's first version).
    classes
        Ids of class names in the atlas, 1 to 255, or 0 for classes that count as background; other names get the free
        ids in alphabetical order.
    """

    shape: tuple[int, int, int] = (50, 400, 400)
    voxel_size: float = 12.0
    layers: tuple[LayerRecipe, ...] = ()
    vesicles: tuple[VesiclesRecipe, ...] = ()
    sheets: tuple[SheetsRecipe, ...] = ()
    filaments: tuple[FilamentsRecipe, ...] = ()
    labels: LabelsRecipe | None = None
    beads: BeadsRecipe | None = None
    film: FilmRecipe | None = None
    ice: IceRecipe = field(default_factory=IceRecipe)
    walls: str = "z"
    tolerance_a: float = 0.0
    scale: Literal["peng", "cts"] = "peng"
    classes: dict[str, int] | None = None

    def check(self) -> None:
        positive("specimen: voxel_size", self.voxel_size)
        if not SMALLEST_VOXEL_A <= self.voxel_size <= LARGEST_VOXEL_A:
            raise InputError(
                f"specimen: voxel_size is {self.voxel_size:g} A; it must be from {SMALLEST_VOXEL_A:g} to "
                f"{LARGEST_VOXEL_A:g}: finer voxels show atoms, which are points here, coarser ones show nothing of a "
                "specimen. It is in angstrom."
            )
        wall_faces(self.walls)
        if not 0 <= self.tolerance_a < math.inf:
            raise InputError(f"specimen: tolerance_a must be 0 or more, not {self.tolerance_a}.")
        if min(self.shape) < 4:
            raise InputError(f"specimen: the shape {self.shape} is too small; at least 4 voxels on each axis.")
        if self.labels is not None and (self.vesicles or self.sheets):
            raise InputError(
                "specimen: vesicles and sheets do not see where a label volume has membranes; give one or the other."
            )
        for name, number in (self.classes or {}).items():
            if not 0 <= number <= 255 or not is_name(name):
                raise InputError(
                    f"specimen: classes gives {name!r} the id {number}; ids are 0 to 255, names plain words."
                )
        self._check_vacuum()
        given = [n for n in (self.classes or {}).values() if n]
        if len(set(given)) < len(given):
            raise InputError(f"specimen: classes gives an id twice: {self.classes}.")

    def _check_vacuum(self) -> None:
        """Refuse what crosses the whole volume if the ice is thinner than the volume."""
        thick, deep = self.ice.thickness_nm, self.size_a[0] / 10
        if thick is None or thick >= deep:
            return
        crossing = {
            "sheets": bool(self.sheets),
            "labels": self.labels is not None,
            "film": self.film is not None,
            "vesicles with cut: true": any(one.cut for one in self.vesicles),
        }
        if found := [name for name, there in crossing.items() if there]:
            raise InputError(
                f"specimen: the ice is {thick:g} nm thick and the volume {deep:g} nm deep; {found[0]} would reach into "
                f"the vacuum. Use ice of {deep:g} nm or more, or at most {int(thick * 10 // self.voxel_size)} voxels "
                "along z."
            )

    @property
    def size_a(self) -> tuple[float, float, float]:
        """Size of the volume, angstrom, z, y, x."""
        z, y, x = (n * self.voxel_size for n in self.shape)
        return z, y, x

    def class_ids(self, names: set[str]) -> dict[str, int]:
        """The id of each name: the given ones, and the lowest free numbers in alphabetical order.

        Raises
        ------
        InputError
            There are more than 255 classes.
        """
        found = dict(self.classes or {})
        free = (n for n in range(1, 256) if n not in found.values())
        for name in sorted(names - set(found)):
            number = next(free, None)
            if number is None:
                raise InputError(f"The specimen has {len(names)} classes; an atlas holds at most 255.")
            found[name] = number
        return found
