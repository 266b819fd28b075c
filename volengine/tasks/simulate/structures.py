"""Structures of a recipe and their templates: files, PDB entries, structures of the package, and stand-ins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from volengine.core.errors import MissingError
from volengine.core.specimen import Template
from volengine.io.hashing import check_file, file_digest
from volengine.sim.recipe.filaments import FilamentsRecipe
from volengine.sim.recipe.particles import SpeciesRecipe
from volengine.sim.recipe.specimen import SpecimenRecipe

if TYPE_CHECKING:
    from volengine.core.structure import Structure

SHIPPED = {
    "ribosome": "ribosome_4v5d.cif.gz",
    "ferritin": "ferritin_4v1w.cif.gz",
    "spliceosome": "spliceosome_3jb9.cif.gz",
}
"""Files of the structures of the package, by name; entries of the Protein Data Bank are in the public domain (CC0)."""

PivotName = Literal["origin", "centre", "axis"]
ACROSS_DEG = 45.0
"""Largest angle between the filament's axis and a dimer's longest direction; beyond it, the dimer is turned."""

DENSITIES = (".mrc", ".map", ".ccp4", ".rec")
ASSEMBLIES = 12
"""Number of different particles that are made from a structure with the flag ``assembly``."""


@dataclass(frozen=True)
class StructureFile:
    """The file of a structure.

    Parameters
    ----------
    path
        Path of the file; empty for a stand-in.
    name
        Name of the file, or of the structure of the package; it may contain CryoTomoSim's flags.
    digest
        Digest of the file's content; if it changes, the specimen is computed again.
    """

    path: str
    name: str
    digest: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def structure_files(recipe: SpecimenRecipe, base: str = ".") -> dict[str, StructureFile]:
    """The file of each structure of a recipe, by its name in the recipe; PDB entries are downloaded once.

    Raises
    ------
    InputError
        A file, id or name does not exist.
    """
    return {text: structure_file(text, base) for text in wanted(recipe)}


def wanted(recipe: SpecimenRecipe) -> list[str]:
    """The names of all structures in a recipe."""
    named = [species.structure for layer in recipe.layers for species in layer.species]
    return sorted({*named, *(f.structure for f in recipe.filaments if f.structure)})


def structure_file(text: str, base: str) -> StructureFile:
    """The file of one structure; relative paths begin at ``base``."""
    from volengine.io.structures.cache import fetch_structure, pdb_id
    from volengine.sim.atoms.standins import is_standin

    if is_standin(text):
        return StructureFile("", text, text)
    if text in SHIPPED:
        path = Path(str(resources.files("volengine.data") / "structures" / SHIPPED[text]))
        return StructureFile(str(path), text, file_digest(path))
    path = Path(base) / text
    if not path.is_file():
        found = pdb_id(text)
        if found is None:
            raise MissingError(
                f"There is no structure {text!r}: no file {path}, no PDB id, and none of the names "
                f"{', '.join(sorted(SHIPPED))}, globule-KDA, barrel-KDA."
            )
        path = Path(fetch_structure(found))
    return StructureFile(str(path.resolve()), path.name, file_digest(path.resolve()))


def class_names(recipe: SpecimenRecipe, files: Mapping[str, StructureFile]) -> set[str]:
    """Names of all classes that a specimen may have; reads structure files for the names of their sub-models."""
    names = {v.name for v in recipe.vesicles}
    for filaments in recipe.filaments:
        unit = monomers_of(filaments, files, recipe)
        names |= set(unit.classes) if unit else {filaments.class_name}
    names |= {s.name for s in recipe.sheets}
    names |= set(recipe.labels.names.values()) if recipe.labels else set()
    names |= {extra.name for extra in (recipe.beads, recipe.film) if extra is not None}
    for species in (s for layer in recipe.layers for s in layer.species):
        for template in templates_of(species, files[species.structure], recipe):
            names |= set(template.classes)
    return names


def templates_of(species: SpeciesRecipe, file: StructureFile, recipe: SpecimenRecipe) -> tuple[Template, ...]:
    """The templates of a species: one, or one for each sub-model of a group."""
    return tuple(_templates(species, file, recipe.voxel_size, recipe.scale))


def flags_of(species: SpeciesRecipe, file: StructureFile) -> frozenset[str]:
    """CryoTomoSim's flags of a species: those of the recipe and those in the file's name."""
    from volengine.io.structures.names import parse_name

    return frozenset(species.flags) | parse_name(file.name).flags


def monomers_of(
    filaments: FilamentsRecipe, files: Mapping[str, StructureFile], recipe: SpecimenRecipe
) -> Template | None:
    """The template of a filament's unit; ``None`` for the procedural unit.

    The template's z axis is the axis of the filament. For microtubules the pivot of a dimer lies ``OUTWARD_A`` inside
    of its centre, and a dimer whose longest direction is more than :data:`ACROSS_DEG` from the axis is turned.
    Sub-models of several classes keep their classes unless the recipe names one.
    """
    if not filaments.structure:
        return None
    from volengine.sim.atoms.filament_units import OUTWARD_A
    from volengine.sim.atoms.templates import aligned

    ring = filaments.kind == "microtubule"
    species = SpeciesRecipe(
        structure=filaments.structure,
        name=filaments.name,
        flags=("complex",),
        whole_residues=filaments.whole_residues,
    )
    file = files[filaments.structure]
    template = _templates(species, file, recipe.voxel_size, recipe.scale, "centre" if ring else "axis")[0]
    if len(template.classes) == 1:
        template = replace(template, classes=(filaments.class_name,))
    if not ring:
        return template
    upright = aligned(template, tolerance_deg=ACROSS_DEG)
    return replace(upright, point=upright.point + np.array([0, 0, OUTWARD_A], np.float32))


def axis_gap_a(filaments: FilamentsRecipe, files: Mapping[str, StructureFile]) -> float:
    """How far beside its unit's atoms the file's z axis passes, angstrom; 0 if it does not, or does not count.

    Such a unit is centred on the axis of the filament: right for a monomer in the frame of its crystal, and wrong for
    the unit of a hollow helix, which then needs a sub-model ``origin``.
    """
    from volengine.io.structures.read import read_structure
    from volengine.sim.atoms.templates import ORIGIN

    path = files[filaments.structure].path if filaments.structure and filaments.kind != "microtubule" else ""
    if not path or Path(path.removesuffix(".gz")).suffix.lower() in DENSITIES:
        return 0.0
    parts = read_structure(path).sub_models
    if any(ORIGIN in part.name.lower() for part in parts):
        return 0.0
    across = np.concatenate([part.atoms.position for part in parts]).astype(np.float64)[:, 1:]
    y, x = np.maximum(np.maximum(across.min(axis=0), -across.max(axis=0)), 0).tolist()
    return round(math.hypot(y, x), 1)


@lru_cache(maxsize=64)
def _templates(
    species: SpeciesRecipe, file: StructureFile, voxel_size: float, scale: Any, pivot: PivotName | None = None
) -> list[Template]:
    from volengine.sim.atoms.standins import standin

    if not file.path:
        return [_named(standin(file.name), species.name)]
    if Path(file.path.removesuffix(".gz")).suffix.lower() in DENSITIES:
        found = [_of_density(species, file, voxel_size)]
    else:
        found = list(_of_atoms(species, file, voxel_size, scale, pivot))
    check_file(file.path, file.digest)  # after reading: a file that was replaced meanwhile is noticed
    return found


def _of_atoms(
    species: SpeciesRecipe, file: StructureFile, voxel_size: float, scale: Any, pivot: PivotName | None
) -> Iterator[Template]:
    from volengine.core.structure import Structure
    from volengine.io.structures.read import read_structure
    from volengine.sim.atoms.templates import alone, template_of

    given = species.name or (file.name if file.name in SHIPPED else "")
    structure = read_structure(
        file.path, assembly=species.assembly, classes=(given,) if given else None, whole_residues=species.whole_residues
    )
    flags = flags_of(species, file)
    name = given or structure.name
    classes = ("distract",) if "distract" in flags and not given else None
    whole = Structure(name, structure.sub_models)
    pivot = pivot or ("origin" if "membrane" in flags else "centre")
    chosen = [whole] if "complex" in flags else alone(whole)
    if "assembly" in flags:
        chosen = list(_assembled(chosen, file.digest))
    for one in chosen:
        yield template_of(one, voxel_size=voxel_size, scale=scale, pivot=pivot, classes=classes)


def _assembled(singles: list[Structure], digest: str) -> Iterator[Structure]:
    """Particles that consist of the first sub-model and a random choice (none to all) of the others."""
    from volengine.core.structure import Structure
    from volengine.sim.seeds import stream

    (base, *marks), others = singles[0].sub_models, [single.sub_models[0] for single in singles[1:]]
    rng = stream(0, "assembly", digest)
    for _ in range(ASSEMBLIES if others else 1):
        kept = sorted(rng.permutation(len(others))[: int(rng.integers(len(others) + 1))].tolist())
        yield Structure(singles[0].name, (base, *(others[n] for n in kept), *marks))


def _of_density(species: SpeciesRecipe, file: StructureFile, voxel_size: float) -> Template:
    from volengine.io.structures.read import read_density
    from volengine.sim.atoms.templates import template_of_density

    array, size = read_density(file.path, invert=species.invert)
    name = species.name or Path(file.name).stem
    return template_of_density(array, size, name, cell=voxel_size / 3, threshold=species.threshold, total=species.total)


def _named(template: Template, name: str) -> Template:
    """A stand-in, renamed to the class that the recipe gives it."""
    return replace(template, classes=(name,)) if name else template
