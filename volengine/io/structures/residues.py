"""Residues of which a structure lists a part: a C-alpha trace, side chains that were not modelled.

>>> ALL["GLY"]
{6: 2, 7: 1, 8: 1}
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

_ELEMENTS = {"C": 6, "N": 7, "O": 8, "P": 15, "S": 16, "Se": 34}
_FORMULAS = (
    "ALA C3NO ARG C6N4O ASN C4N2O2 ASP C4NO3 CYS C3NOS GLN C5N2O2 GLU C5NO3 GLY C2NO HIS C6N3O ILE C6NO LEU C6NO "
    "LYS C6N2O MET C5NOS MSE C5NOSe PHE C9NO PRO C5NO SER C3NO2 THR C4NO2 TRP C11N2O TYR C9NO2 VAL C5NO "
    "A C10N5O6P G C10N5O7P C C9N3O7P U C9N2O8P DA C10N5O5P DG C10N5O6P DC C9N3O6P DT C10N2O7P"
)


def _counted(formula: str) -> dict[int, int]:
    return {_ELEMENTS[name]: int(count or 1) for name, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula)}


_WORDS = _FORMULAS.split()
ALL = {name: _counted(formula) for name, formula in zip(_WORDS[::2], _WORDS[1::2], strict=True)}
"""Numbers of atoms without hydrogens, by atomic number, of residues within a chain."""


def completed(
    residue: NDArray[np.int64], name: NDArray[np.bytes_], number: NDArray[np.uint8], position: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]:
    """The atoms that residues lack, at the centroid of the atoms that they have.

    Parameters
    ----------
    residue
        (n,) number of each atom's residue; the atoms of a residue follow each other.
    name
        (n,) name of each atom's residue; of names that :data:`ALL` does not have nothing is added.
    number, position
        (n,) atomic numbers; (n, 3) positions.

    Returns
    -------
    ndarray, ndarray, ndarray
        For each atom that is added: a row of its residue, its atomic number, its position.
    """
    first = np.flatnonzero(np.diff(residue, prepend=residue[:1] - 1))
    count = np.diff(np.append(first, len(residue)))
    which = np.repeat(np.arange(len(first)), count)
    centre = np.stack([np.bincount(which, position[:, axis], len(first)) / count for axis in range(3)], axis=1)
    names = [word.decode("latin-1").strip() for word in name[first]]
    rows, numbers = [], []
    for element in _ELEMENTS.values():
        wanted = np.array([ALL.get(word, {}).get(element, 0) for word in names], np.int64)
        there = np.bincount(which, number == element, len(first)).astype(np.int64)
        lacking = np.maximum(wanted - there, 0)
        rows.append(np.repeat(np.arange(len(first)), lacking))
        numbers.append(np.full(len(rows[-1]), element, np.uint8))
    found = np.concatenate(rows)
    return first[found], np.concatenate(numbers), centre[found]
