"""Reading structures from files: PDB, mmCIF, density maps.

>>> structure = read_structure("7p6z.cif.gz")  # the first biological assembly        # doctest: +SKIP
>>> structure = read_structure("capsid.cif", assembly="file")  # as deposited          # doctest: +SKIP
>>> density, voxel_size = read_density("emd_1234.map.gz")                              # doctest: +SKIP

Waters, ions and single atoms are dropped, because they do not belong to the particle. Of alternative conformations the
one with the highest occupancy is kept. Each sub-model (MODEL of a PDB file, ``data_`` block of a CIF file) becomes a
:class:`~volengine.core.structure.SubModel` with a class of its own; :mod:`volengine.io.structures.names` describes the
names of classes.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.structure import Atoms, Structure, SubModel
from volengine.io.structures.cache import unpacked
from volengine.io.structures.names import ORIGIN, StructureName, block_class, parse_name, stem_and_format
from volengine.io.structures.residues import completed

if TYPE_CHECKING:
    import gemmi

PDB = (".pdb", ".ent", ".pdb1")
CIF = (".cif", ".mmcif")
AS_DEPOSITED = "file"
MAX_ATOMS = 50_000_000
"""Largest number of atoms of an assembly. An atom takes 13 bytes here, and about 100 while a template is made."""

FARTHEST = 1e7
"""Largest plausible coordinate, angstrom (a millimetre)."""


def read_structure(
    path: str | os.PathLike[str],
    *,
    assembly: str | None = None,
    classes: Sequence[str] | None = None,
    whole_residues: bool = False,
) -> Structure:
    """Read the atoms of a structure file.

    Parameters
    ----------
    path
        A file ``.pdb .ent .pdb1 .cif .mmcif``, which may also end in ``.gz``.
    assembly
        Name of a biological assembly (``"1"``), or ``"file"`` for the atoms as deposited. Default: the first assembly
        that the file lists, or ``"file"`` if it lists none. A ``.pdb1`` file is an assembly already: its default is
        ``"file"``, and its models are joined if all have the same class, unless its name has the flag ``group``.
    classes
        Classes of the sub-models, in order, without those that mark the pivot; the last one is also the class of all
        that follow. Default: the names of the blocks of a CIF file with several blocks, else the file's name.
    whole_residues
        Add the atoms that amino acids and nucleotides lack, at the centroid of those that they have: a C-alpha trace
        then weighs what the molecule weighs.

    Returns
    -------
    Structure with its sub-models; positions in the file's frame, angstrom, z, y, x. Waters are dropped, and
    residues of a single atom that are no amino acid or nucleotide (ions, metals, the dummy atoms that mark a membrane),
    except in a sub-model called ``origin``, which marks the pivot. Hydrogens are kept; deuterium counts as hydrogen.

    Raises
    ------
    MissingError
        The file does not exist, or cannot be read.
    FormatError
        It is no structure, is truncated, or has no atoms, atoms of unknown elements or implausible positions.
    InputError
        The file does not have this assembly, or there are more than ``MAX_ATOMS`` atoms.
    """
    path = Path(path)
    named = parse_name(path)
    ending = stem_and_format(path)[1]
    if ending not in PDB + CIF:
        raise FormatError(
            f"{path}: its name does not end as that of a structure: {', '.join(PDB + CIF)}, also with .gz."
        )
    found = _models(path, ending, _content(path))
    if ending == ".pdb1" and assembly is None:
        assembly = AS_DEPOSITED
    parts: list[SubModel] = []
    for block, model in found:
        for rows in model.submodels():
            name = _class_of(named, block if len(found) > 1 else "", classes, [part.name for part in parts])
            parts.append(SubModel(name, _atoms(path, model, rows, assembly, ORIGIN in name.lower(), whole_residues)))
    whole = [part for part in parts if ORIGIN not in part.name.lower()]
    if not any(len(part.atoms) for part in whole):
        raise FormatError(f"{path}: no atoms are left without waters and ions; is it a structure of a molecule?")
    parts = [part for part in parts if len(part.atoms)]
    if ending == ".pdb1" and len({part.name for part in parts}) == 1 and "group" not in named.flags:
        parts = [SubModel(parts[0].name, _joined(part.atoms for part in parts))]
    return Structure(named.name, tuple(parts))


def _class_of(named: StructureName, block: str, classes: Sequence[str] | None, before: list[str]) -> str:
    """Return the class of the next sub-model. A sub-model that marks the pivot keeps its own name."""
    own = block_class(block) if block else named.class_of(len(before))
    if ORIGIN in own.lower():
        return own
    if classes:
        return classes[min(sum(ORIGIN not in name.lower() for name in before), len(classes) - 1)]
    return "distract" if "distract" in named.flags else own


def read_density(
    path: str | os.PathLike[str], *, invert: bool = False
) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Read a density map, for :func:`volengine.sim.atoms.templates.template_of_density`.

    Parameters
    ----------
    path
        An MRC file ``.mrc .map .rec``, which may be compressed.
    invert
        Change the sign, for maps in which the molecule is dark.

    Returns
    -------
    array
        (z, y, x) float32, in which the molecule is bright.
    voxel_size
        Angstrom, z, y, x.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no MRC file.
    InputError
        The molecule is dark, that is, the minimum is farther from the median than the maximum (give ``invert=True``);
        or the map is constant, or has values that are not finite.
    """
    from volengine.core.boxes import Box
    from volengine.io.mrc.open import decompress
    from volengine.io.names import is_packed
    from volengine.io.open import open_source, open_volume

    name = os.fspath(path)
    with tempfile.TemporaryDirectory() as folder:
        volume = open_volume(os.fspath(decompress(name, Path(folder) / "density.mrc")) if is_packed(name) else name)
        array = np.asarray(open_source(volume).read(Box((0, 0, 0), volume.shape)), np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: holds values that are not finite; it cannot be used as a density.")
    array = -array if invert else array
    low, middle, high = (float(v) for v in (array.min(), np.median(array), array.max()))
    if low == high:
        raise InputError(f"{name}: all values are {low:g}; it cannot be used as a density.")
    if middle - low > high - middle:
        raise InputError(
            f"{name}: the molecule seems to be dark: values from {low:g} to {high:g} about a median of {middle:g}. "
            f"Give invert: {'false' if invert else 'true'}."
        )
    return array, volume.voxel_size


def _content(path: Path) -> bytes:
    """Return the unpacked bytes of a file."""
    try:
        data = path.read_bytes()
        return unpacked(data, str(path)) if data[:2] == b"\x1f\x8b" else data
    except FileNotFoundError:
        raise MissingError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise MissingError(f"{path}: cannot be read ({error.strerror}).") from error


def _models(path: Path, ending: str, data: bytes) -> list[tuple[str, _Table]]:
    """Return the structures of a file: one of a PDB file, one per block with atoms of a CIF file."""
    import gemmi

    if not data.strip():
        raise FormatError(f"{path}: the file is empty.")
    try:
        if ending in PDB:
            read = [("", gemmi.read_pdb_string(_ascii(path, data)))]
        else:
            blocks = [b for b in gemmi.cif.read_string(_ascii(path, data)) if b.find_values("_atom_site.Cartn_x")]
            read = [(block.name, gemmi.make_structure_from_block(block)) for block in blocks]
        tables = [(name, _Table(structure)) for name, structure in read if len(structure)]
    except (RuntimeError, ValueError, IndexError, OverflowError, MemoryError) as error:
        raise FormatError(f"{path}: is not a {ending} file, or damaged: {error}") from error
    if not any(len(table.element) for _, table in tables):
        raise FormatError(f"{path}: holds no atoms; is it a whole {ending} file?")
    return tables


def _ascii(path: Path, data: bytes) -> str:
    """Return the text of a file with ``?`` for every sign that is not ASCII.

    Both formats are ASCII; such signs occur in names of people and titles, in UTF-8 or Latin-1. Columns stay in place.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4096]:
        raise FormatError(f"{path}: is in UTF-16, or no text; save it as plain text (UTF-8).")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.encode("ascii", "replace").decode()


class _Table:
    """The atoms of a gemmi structure as columns. There is no object per atom, so a ribosome takes milliseconds."""

    def __init__(self, structure: gemmi.Structure):
        import gemmi

        structure.setup_entities()
        flat = gemmi.FlatStructure(structure)
        flat.strings_as_numbers = False
        self.sizes = [model.count_atom_sites() for model in structure]
        self.assemblies = {assembly.name: _copies(assembly) for assembly in structure.assemblies}
        self.position = np.ascontiguousarray(flat.pos)
        self.element = np.array(flat.elements)
        self.element[self.element > 118] = 1  # gemmi has a number of its own for deuterium
        self.occupancy = np.array(flat.occ)
        self.alternative = np.array(flat.altlocs)
        self.atom = np.array(flat.atom_names)
        self.residue_name = np.array(flat.residue_names)
        self.chain, self.subchain = np.array(flat.chain_ids), np.array(flat.subchains)
        self.sequence = np.stack([np.array(flat.resnums), np.array(flat.icodes).astype(np.int32)], axis=1)

    def submodels(self) -> list[slice]:
        """Return the rows of each model."""
        ends = np.cumsum(self.sizes)
        return [slice(int(end) - size, int(end)) for end, size in zip(ends, self.sizes, strict=True)]

    def residues(self, rows: slice) -> NDArray[np.int64]:
        """Return the number of each atom's site (chain, sequence number); the atoms of a site follow each other."""
        columns = (self.chain[rows], self.subchain[rows], self.sequence[rows, 0], self.sequence[rows, 1])
        new = np.zeros(rows.stop - rows.start, bool)
        for column in columns:
            new[1:] |= column[1:] != column[:-1]
        return np.cumsum(new)


@dataclass(frozen=True)
class _Copy:
    """One generator of an assembly: chains, and the operators (rotation and shift, x, y, z) that copy them."""

    chains: tuple[bytes, ...]
    subchains: tuple[bytes, ...]
    operators: tuple[tuple[Any, Any], ...]


def _copies(assembly: gemmi.Assembly) -> list[_Copy]:
    found = []
    for generator in assembly.generators:
        operators = tuple((np.array(o.transform.mat), np.array(o.transform.vec.tolist())) for o in generator.operators)
        names = [tuple(name.encode()[:8] for name in names) for names in (generator.chains, generator.subchains)]
        found.append(_Copy(names[0], names[1], operators))
    return found


def _atoms(path: Path, table: _Table, rows: slice, assembly: str | None, keep_all: bool, whole: bool) -> Atoms:
    """Return the atoms of one sub-model: the kept ones, and with ``whole`` those that their residues lack.

    They are copied by the operators of the assembly.
    """
    kept = np.ones(rows.stop - rows.start, bool)
    if not keep_all:
        kept &= _highest_occupancy(table, rows)
        kept &= ~_waters_and_ions(table, rows, kept)
    element = table.element[rows]
    unknown = kept & (element == 0)
    if unknown.any() and not keep_all:
        where = np.flatnonzero(unknown)[0] + rows.start
        what = f"{table.atom[where].decode()} of {table.residue_name[where].decode()} {table.sequence[where, 0]}"
        raise FormatError(
            f"{path}: {int(unknown.sum())} atoms are of no known element (the first: {what}); correct or remove them."
        )
    element = np.maximum(element, 1)  # a marker of unknown element still marks a place
    position = table.position[rows]
    if not (np.abs(position[kept]) < FARTHEST).all():
        raise FormatError(f"{path}: an atom has no position, or one beyond {FARTHEST:g} A; is the file damaged?")
    row = np.flatnonzero(kept)
    position, element = position[row], element[row]
    if whole and not keep_all:
        lacking, number, at_centre = completed(
            table.residues(rows)[row], table.residue_name[rows][row], element, position
        )
        row = np.append(row, row[lacking])
        element, position = np.append(element, number), np.append(position, at_centre, axis=0)
    copies = _chosen(path, table, assembly)
    if copies is None or keep_all:
        return Atoms(position[:, ::-1], element)
    if not all((np.abs(np.append(*both)) < FARTHEST).all() for copy in copies for both in copy.operators):
        raise FormatError(
            f"{path}: an operator of the assembly is no number, or beyond {FARTHEST:g}; use assembly 'file'."
        )
    groups = [(np.flatnonzero(_members(table, rows, copy)[row]), copy.operators) for copy in copies]
    count = sum(len(members) * len(operators) for members, operators in groups)
    if count > MAX_ATOMS:
        raise InputError(f"{path}: the assembly has {count:,} atoms, more than {MAX_ATOMS:,}; use assembly 'file'.")
    xyz, number, at = np.empty((count, 3), np.float32), np.empty(count, np.uint8), 0
    for members, operators in groups:
        x, y, z = position[members].T
        for matrix, shift in operators:
            here = slice(at, at + len(members))
            for axis in range(3):
                xyz[here, axis] = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + shift[axis]
            number[here] = element[members]
            at = here.stop
    return Atoms(xyz[:, ::-1], number)


def _chosen(path: Path, table: _Table, assembly: str | None) -> list[_Copy] | None:
    """Return the generators of the wanted assembly; ``None`` for the atoms as deposited."""
    if assembly == AS_DEPOSITED or (assembly is None and not table.assemblies):
        return None
    if assembly is None:
        return next(iter(table.assemblies.values()))
    if assembly not in table.assemblies:
        there = ", ".join(table.assemblies) or "none"
        raise InputError(f"{path}: has no assembly {assembly!r}; there is {there}; 'file' is the atoms as deposited.")
    return table.assemblies[assembly]


def _members(table: _Table, rows: slice, copy: _Copy) -> NDArray[np.bool_]:
    """Return which atoms a generator copies. PDB files name chains, mmCIF files sub-chains (label_asym_id)."""
    if copy.chains or copy.subchains:
        return np.isin(table.chain[rows], copy.chains) | np.isin(table.subchain[rows], copy.subchains)
    return np.ones(rows.stop - rows.start, bool)


def _waters_and_ions(table: _Table, rows: slice, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the atoms of waters, and of residues of one atom that do not belong to a polymer."""
    import gemmi

    names, which = np.unique(table.residue_name[rows], return_inverse=True)
    known = [gemmi.find_tabulated_residue(name.decode("latin-1")) for name in names]
    water = np.array([info.is_water() for info in known], bool)
    link = np.array([info.is_amino_acid() or info.is_nucleic_acid() for info in known], bool)
    site = table.residues(rows)
    size = np.bincount(site[kept], minlength=int(site.max(initial=0)) + 1)
    dropped: NDArray[np.bool_] = water[which] | ((size[site] == 1) & ~link[which])
    return dropped


def _highest_occupancy(table: _Table, rows: slice) -> NDArray[np.bool_]:
    """Return the atoms without alternatives of lower occupancy; of equal ones the first letter is kept.

    If the alternatives of a site have different residues, the residue is chosen first. Then, for each atom name of this
    residue, the alternative with the largest sum of occupancies at the site is kept.
    """
    kept = np.ones(rows.stop - rows.start, bool)
    alternative = table.alternative[rows]
    some = np.flatnonzero(alternative)
    if not len(some):
        return kept
    site, residue, atom = table.residues(rows), table.residue_name[rows], table.atom[rows]
    occupancy = table.occupancy[rows]
    sums: dict[Any, dict[Any, float]] = defaultdict(lambda: defaultdict(float))
    highest: dict[Any, dict[Any, float]] = defaultdict(lambda: defaultdict(float))
    keys = [(int(site[i]), residue[i], atom[i], int(alternative[i])) for i in some]
    for i, (place, name, _, letter) in zip(some, keys, strict=True):
        sums[place, name][letter] += float(occupancy[i])
        highest[place][name] = max(highest[place][name], float(occupancy[i]))
    residues = {place: _best(found, lambda name: name) for place, found in highest.items()}
    letters: dict[Any, list[int]] = defaultdict(list)
    for place, name, what, letter in keys:
        letters[place, name, what].append(letter)
    chosen: dict[Any, int] = {}
    for (place, name, what), found in letters.items():
        there = sums[place, name]
        chosen[place, name, what] = _best({letter: there[letter] for letter in found}, lambda letter: letter)
    for i, (place, name, what, letter) in zip(some, keys, strict=True):
        kept[i] = residues[place] == name and chosen[place, name, what] == letter
    return kept


def _best(amount: dict[Any, float], order: Callable[[Any], Any]) -> Any:
    """Return the key of the largest amount; of equal ones the first in order."""
    return min(amount, key=lambda key: (-amount[key], order(key)))


def _joined(atoms: Iterable[Atoms]) -> Atoms:
    some = list(atoms)
    return Atoms(np.concatenate([a.position for a in some]), np.concatenate([a.number for a in some]))
