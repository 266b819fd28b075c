"""What a specimen is made of, as recipes: plain values only.

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
from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.sim.placing.occupancy import wall_faces
from volengine.sim.shapes.film import FilmShape, IceShape
from volengine.sim.shapes.sheets import SheetRecipe

Range = tuple[float, float]
Flag = Literal["group", "complex", "assembly", "membrane", "vesicle", "cytosol", "cluster", "bundle", "distract"]


def _named(where: str, name: str) -> None:
    if not re.fullmatch(r"[\w.+-]+", name):
        raise InputError(f"{where}: name {name!r}: use letters, digits, '_', '-', '+' and '.'; files are called by it.")


def _positive(where: str, *values: float | None) -> None:
    for value in values:
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{where} must be positive, not {value}.")


def _range(where: str, values: Range, least: float = 0.0) -> None:
    low, high = values
    if not least <= low <= high < math.inf:
        raise InputError(f"{where} is {list(values)}; it needs two numbers from {least:g} on, the smaller one first.")


@dataclass(frozen=True)
class SpeciesRecipe(Recipe):
    """One kind of particle.

    Parameters
    ----------
    structure
        A file (PDB, mmCIF, MRC density), a PDB id, or the name of a structure that comes with the package
        (``volengine simulate --list``).
    name
        Its class in the atlas, that of all its parts; default: what the file's name says, of each part.
    flags
        CryoTomoSim's: ``complex``, ``assembly``, ``group``, ``membrane``, ``vesicle``, ``cytosol``, ``cluster``,
        ``bundle``, ``distract``; added to those in the file's name.
    count
        How many to place; otherwise as many as the layer's rule allows.
    concentration_um
        Micromolar, instead of a count.
    weight
        How often it is drawn, against the layer's other species.
    assembly
        Biological assembly: its name, or ``file`` for the atoms as deposited; default: the file's first one.
    total
        Of an MRC density: its integrated potential, V A^3; default: as protein of its volume.
    threshold
        Of an MRC density: values from here on are the particle; default: Otsu's.
    invert
        Of an MRC density: the particle is dark.
    side
        With the flag ``membrane``: which way its +z points.
    peripheral
        With the flag ``membrane``: it sits on the membrane's face instead of through it.
    offset_a
        With the flag ``membrane``: moves it along its +z.
    """

    structure: str
    name: str = ""
    flags: tuple[Flag, ...] = ()
    count: int | None = None
    concentration_um: float | None = None
    weight: float = 1.0
    assembly: str | None = None
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
            _named(self.structure, self.name)
        for what in ("weight", "concentration_um", "total"):
            _positive(f"{self.structure}: {what}", getattr(self, what))


@dataclass(frozen=True)
class LayerRecipe(Recipe):
    """Particles placed together; layers follow one another, so large ones should come first.

    Parameters
    ----------
    species
        What is drawn from.
    iterations
        How many particles are tried; default: 2500 times the density.
    density
        Stop when this share of the volume is taken.
    tries
        Positions and turns tried for each particle.
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
class VesiclesRecipe(Recipe):
    """Closed bilayers of irregular shape.

    Parameters
    ----------
    count
        How many are tried.
    radius_nm
        Of the mid-plane: smallest and largest.
    sphericity
        1 is a sphere; 0.6 is far from one.
    thickness_a
        From head group to head group: smallest and largest.
    bare
        Share of them that take no proteins.
    cut
        Let the volume's walls cut them off, as the faces of a lamella do; otherwise they keep away from walls, and too
        large ones find no place.
    name
        Their class in the atlas.
    """

    count: int = 3
    radius_nm: Range = (15.0, 40.0)
    sphericity: Range = (0.6, 1.0)
    thickness_a: Range = (36.0, 40.0)
    bare: float = 0.2
    cut: bool = False
    name: str = "membrane"

    def check(self) -> None:
        if self.count < 0 or not 0 <= self.bare <= 1:
            raise InputError(f"vesicles: count {self.count} must be 0 or more, and bare {self.bare} a share.")
        _named("vesicles", self.name)
        _range("vesicles: radius_nm", self.radius_nm, 7.5)
        _range("vesicles: thickness_a", self.thickness_a, 20.0)
        _range("vesicles: sphericity", self.sphericity, 0.3)
        if self.sphericity[1] > 1:
            raise InputError(f"vesicles: sphericity is from 0.3 to 1 (a sphere), not {list(self.sphericity)}.")


@dataclass(frozen=True)
class LabelsRecipe(Recipe):
    """Membranes where a segmentation has drawn them: bilayers about the middle of labels that are several voxels thick.

    The segmentation is read at the size it has: a specimen of other voxels has its membranes at the same places.

    Parameters
    ----------
    path
        A label volume: MRC (also ``.gz``), TIFF, or OME-Zarr; ``STORE.zarr#labels/NAME`` for labels in a store.
    classes
        Class name of each label that is a membrane; other labels are left out.
    start
        The piece that becomes the specimen begins at this voxel, z, y, x. Without ``shape`` it is as large as the
        specimen.
    shape
        Of the piece, voxels of the label volume.
    voxel_size
        Angstrom, where the file's is missing or wrong.
    thickness_a
        From head group to head group: smallest and largest; drawn for each label.
    smooth_vox
        Standard deviation of the Gaussian that takes away the labels' stairs, voxels of the label volume: about half
        of the labels' thickness.
    """

    path: str
    classes: dict[int | str, str]
    start: tuple[int, int, int] = (0, 0, 0)
    shape: tuple[int, int, int] | None = None
    voxel_size: float | None = None
    thickness_a: Range = (36.0, 40.0)
    smooth_vox: float = 1.5

    def check(self) -> None:
        if not self.path.strip() or not self.classes:
            raise InputError("labels: give a path, and the class names of labels, such as {1: outer, 2: inner}.")
        for label, name in self.classes.items():
            if not re.fullmatch(r"[1-9]\d*", str(label)) or not re.fullmatch(r"[\w.+-]+", name):
                raise InputError(f"labels: {label!r}: {name!r}; labels are numbers from 1 on, names plain words.")
        if len(self.names) < len(self.classes):
            raise InputError(f"labels: classes gives a label twice: {self.classes}.")
        if min(self.start) < 0 or min(self.shape or (1,)) < 1:
            raise InputError(f"labels: a piece of shape {self.shape} cannot begin at {self.start}.")
        if not 0.7 <= self.smooth_vox <= 6:
            raise InputError(f"labels: smooth_vox is from 0.7 to 6, not {self.smooth_vox}.")
        _positive("labels: voxel_size", self.voxel_size)
        _range("labels: thickness_a", self.thickness_a, 20.0)

    @property
    def names(self) -> dict[int, str]:
        """Class names by label, in the order of the labels."""
        return dict(sorted((int(label), name) for label, name in self.classes.items()))


@dataclass(frozen=True)
class SheetsRecipe(Recipe):
    """Gently curved bilayers that run through the whole volume, on edge: endoplasmic reticulum, the edge of a cell.

    Parameters
    ----------
    count
        How many; each at a random place and in a random direction across z.
    wavelength_nm, height_nm
        Of their waves, and the root mean square of these.
    thickness_a
        From head group to head group: smallest and largest.
    bare
        Share of them that take no proteins.
    name
        Their class in the atlas.
    """

    count: int = 1
    wavelength_nm: float = 200.0
    height_nm: float = 6.0
    thickness_a: Range = (36.0, 40.0)
    bare: float = 0.2
    name: str = "membrane"

    def check(self) -> None:
        if self.count < 0 or not 0 <= self.bare <= 1:
            raise InputError(f"sheets: count {self.count} must be 0 or more, and bare {self.bare} a share.")
        _named("sheets", self.name)
        _range("sheets: thickness_a", self.thickness_a, 20.0)
        self.shape(0.5)

    def shape(self, position: float) -> SheetRecipe:
        """In angstrom."""
        return SheetRecipe(position=position, wavelength_a=10 * self.wavelength_nm, amplitude_a=10 * self.height_nm)


@dataclass(frozen=True)
class FilamentsRecipe(Recipe):
    """Filaments of one kind.

    Parameters
    ----------
    kind
        ``actin``, ``cofilactin`` or ``microtubule`` fill in what is not given; ``own`` needs all of it.
    structure
        Of the monomer (microtubule: the dimer), its z axis along the filament; default: a procedural stand-in. The
        file's z axis is the filament's where it runs through the box of the atoms, else the monomer is centred on it. A
        dimer stands in the ring with its centre, its +x outward; if it lies across, its longest direction is turned
        along.
    count
        How many are tried.
    length_nm
        Shortest and longest; they end where they leave the volume.
    twist_deg, rise_a
        From one unit to the next.
    persistence_um
        Length over which the direction is forgotten.
    minimum_units
        Shorter ones are taken back.
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
        _range("filaments: length_nm", self.length_nm, 1.0)
        _named("filaments", self.class_name)
        _positive("filaments: persistence_um", self.persistence_um)
        _positive("filaments: rise_a", self.rise_a)
        _positive("filaments: minimum_units", self.minimum_units)
        if self.twist_deg is not None and not math.isfinite(self.twist_deg):
            raise InputError(f"filaments: twist_deg is {self.twist_deg}; it is a number of degrees.")
        if not 0 <= self.inclination_deg <= 90:
            raise InputError(f"filaments: inclination_deg is from 0 to 90, not {self.inclination_deg}.")
        if self.kind == "own" and (not self.structure or self.twist_deg is None or not self.rise_a):
            raise InputError("filaments of the kind own need a structure, twist_deg and rise_a.")

    @property
    def class_name(self) -> str:
        """In the atlas."""
        return self.name or self.kind


@dataclass(frozen=True)
class BeadsRecipe(Recipe):
    """Gold beads: how many, and their smallest and largest radius; placed first, as they are large and dense."""

    count: int = 0
    radius_nm: Range = (4.0, 6.0)
    name: str = "gold"

    def check(self) -> None:
        if self.count < 0:
            raise InputError(f"beads: count must be 0 or more, not {self.count}.")
        _named("beads", self.name)
        _range("beads: radius_nm", self.radius_nm, 0.5)


@dataclass(frozen=True)
class FilmRecipe(Recipe):
    """Carbon film with a round hole.

    Parameters
    ----------
    thickness_nm
        Of the carbon.
    hole_radius_nm
        Of the hole, whose edge crosses the volume.
    cover
        How far carbon reaches into the volume: share of its longer side in the plane.
    name
        Its class in the atlas.
    """

    thickness_nm: float = 15.0
    hole_radius_nm: float = 1000.0
    cover: float = 0.15
    name: str = "carbon"

    def check(self) -> None:
        _named("film", self.name)
        self.shape()

    def shape(self) -> FilmShape:
        """In angstrom."""
        return FilmShape(10 * self.thickness_nm, 10 * self.hole_radius_nm, self.cover)


@dataclass(frozen=True)
class IceRecipe(Recipe):
    """The ice's surfaces, which say how many electrons are lost on the way through.

    Parameters
    ----------
    thickness_nm
        Mean; default: the volume's.
    roughness_nm
        Root mean square of each surface's height.
    taper_deg
        Angle between the surfaces, for milled lamellae.
    curtain_nm
        Root mean square of the ridges that milling leaves.
    """

    thickness_nm: float | None = None
    roughness_nm: float = 3.0
    taper_deg: float = 0.0
    curtain_nm: float = 0.0

    def check(self) -> None:
        _positive("ice: thickness_nm", self.thickness_nm)
        self.shape()

    def shape(self) -> IceShape:
        """In angstrom; a thickness of 0 is the volume's."""
        return IceShape(
            thickness_a=10 * (self.thickness_nm or 0.0),
            roughness_a=10 * self.roughness_nm,
            taper_deg=self.taper_deg,
            curtain_a=10 * self.curtain_nm,
        )


@dataclass(frozen=True)
class SpecimenRecipe(Recipe):
    """A specimen.

    Parameters
    ----------
    shape
        Voxels, z, y, x.
    voxel_size
        Angstrom.
    layers
        Particles.
    vesicles, sheets, filaments
        Membranes and filaments; they come before the particles.
    labels
        Membranes of a real segmentation; none unless asked for, and instead of vesicles and
        sheets.
    beads, film
        Gold and carbon; none unless asked for.
    ice
        Its surfaces.
    walls
        Faces that particles do not cross: ``none``, or axes such as ``z``, ``xyz``, ``+z``.
    tolerance_a
        How far neighbours may reach into one another: above 0 they pack closer.
    scale
        Of the potentials: ``peng`` (electron scattering factors, volt) or ``cts`` (atomic numbers, after
        CryoTomoSim's first version).
    classes
        Ids of class names in the atlas, 1 to 255, or 0 for what shall count as background; names that are not here
        follow in alphabetical order.
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
    ice: IceRecipe = IceRecipe()
    walls: str = "z"
    tolerance_a: float = 0.0
    scale: Literal["peng", "cts"] = "peng"
    classes: dict[str, int] | None = None

    def check(self) -> None:
        _positive("specimen: voxel_size", self.voxel_size)
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
            if not 0 <= number <= 255 or not re.fullmatch(r"[\w.+-]+", name):
                raise InputError(
                    f"specimen: classes gives {name!r} the id {number}; ids are 0 to 255, names plain words."
                )
        given = [n for n in (self.classes or {}).values() if n]
        if len(set(given)) < len(given):
            raise InputError(f"specimen: classes gives an id twice: {self.classes}.")

    @property
    def size_a(self) -> tuple[float, float, float]:
        """Of the volume, angstrom, z, y, x."""
        z, y, x = (n * self.voxel_size for n in self.shape)
        return z, y, x

    def class_ids(self, names: set[str]) -> dict[str, int]:
        """Ids of all names: those that are given, and the lowest free numbers in alphabetical order."""
        found = dict(self.classes or {})
        free = (n for n in range(1, 256) if n not in found.values())
        for name in sorted(names - set(found)):
            number = next(free, None)
            if number is None:
                raise InputError(f"The specimen has {len(names)} classes; an atlas holds at most 255.")
            found[name] = number
        return found
