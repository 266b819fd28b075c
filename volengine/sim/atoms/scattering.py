"""Atoms as scatterers of electrons: the potential that each atom adds, and the volume of ice that it displaces.

The integral of an atom's electrostatic potential over space is ``C f_e(0)``: ``f_e(0)`` is its amplitude of electron
scattering in the forward direction, in angstrom, and C = h^2 / (2 pi m e) = 47.878 V A^2 (Peng 1999, Micron 30, 625,
eq. 7). The potential of a voxel is the sum of these integrals over its atoms, divided by the voxel's volume. The
integral over a volume therefore does not depend on the voxel size.

>>> from volengine.sim.atoms.scattering import ICE_POTENTIAL, potentials
>>> [round(float(w), 1) for w in potentials([6, 8])]  # bare carbon and oxygen, V A^3
[120.1, 95.0]
>>> round(ICE_POTENTIAL, 2)
4.53

Most atomic models contain no hydrogens. :func:`bound_hydrogens` gives the mean number of hydrogens that are bound to an
atom of an element, in protein and in nucleic acid; ``potentials(number, hydrogens=...)`` adds the potential of these
hydrogens to that of the atoms to which they are bound.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError

Floats = NDArray[np.float64]
Scale = Literal["peng", "cts"]
Kind = Literal["protein", "nucleic", "cts"]

POTENTIAL_OF_AMPLITUDE = 47.878
"""V A^2: integrated potential (V A^3) per angstrom of scattering amplitude."""

DALTON_PER_A3 = 0.602214
"""Dalton per cubic angstrom at 1 g/cm^3."""

WATER_VOLUME = 18.01528 / (0.93 * DALTON_PER_A3)
"""Volume per water molecule, cubic angstrom, in vitreous ice of 0.93 g/cm^3 (low-density amorphous ice)."""

HYDROGENS: dict[Kind, dict[int, float]] = {
    "protein": {6: 1.22, 7: 1.17, 8: 0.10, 16: 0.5},
    "nucleic": {6: 0.82, 7: 0.53, 8: 0.14},
    "cts": {6: 1.3, 7: 1.1, 8: 0.2, 16: 0.6},
}
"""Mean number of hydrogens bound to an atom of an element.

``protein``: the mean residue C 4.94 H 7.76 N 1.36 O 1.48 S 0.04 (Senko 1995, J. Am. Soc. Mass Spectrom. 6, 229) with
its hydrogens assigned to the elements by their chemistry at pH 7. ``nucleic``: the four nucleotides of RNA in equal
parts, phosphate without hydrogen. ``cts``: the numbers of CryoTomoSim.
"""

VOLUME = {
    1: 4.98,
    6: 15.90,
    7: 2.41,
    8: 8.83,
    15: 27.0,
    16: 19.20,
    12: 17.2,
    20: 31.9,
    25: 9.2,
    26: 8.0,
    29: 8.8,
    30: 9.9,
}
"""Volume of solvent that an atom displaces, cubic angstrom, by atomic number.

The values of Fraser, MacRae and Suzuki 1978 (J. Appl. Cryst. 11, 693), as in CRYSOL (Svergun 1995, J. Appl. Cryst. 28,
768), times 0.967. With this factor the mean residue has 1.21 A^3 per dalton (0.73 cm^3/g: Harpaz, Gerstein and Chothia
1994, Structure 2, 641). The value of phosphorus is chosen so that RNA has 0.945 A^3 per dalton (0.569 cm^3/g: Voss and
Gerstein 2005, J. Mol. Biol. 346, 477): it includes the volume by which the two charged oxygens of a phosphate exceed
the carbonyl oxygens of the table.
"""

OTHER_VOLUME = 10.0
"""Volume, cubic angstrom, of elements that are not in the table: about that of the transition metals in it."""

MEAN_RESIDUE = {6: 4.9384, 1: 7.7583, 7: 1.3577, 8: 1.4773, 16: 0.0417}
"""Atoms in the mean residue of proteins (Senko 1995)."""

LIGHT = {1: 0.5288, 6: 2.5088, 7: 2.2135, 8: 1.9834, 16: 5.1604}
"""f_e(0), angstrom, by atomic number, of the elements of proteins (Peng 1996); used for the constants below."""

ICE_POTENTIAL = POTENTIAL_OF_AMPLITUDE * (LIGHT[8] + 2 * LIGHT[1]) / WATER_VOLUME
"""Mean potential of vitreous ice, volt, computed from isolated atoms like all potentials of this module."""

RESIDUE_POTENTIAL = POTENTIAL_OF_AMPLITUDE * sum(count * LIGHT[z] for z, count in MEAN_RESIDUE.items())
"""Integrated potential of the mean residue, V A^3."""

PROTEIN_POTENTIAL = RESIDUE_POTENTIAL / sum(count * VOLUME[z] for z, count in MEAN_RESIDUE.items())
"""Mean potential inside of proteins, volt; 3.5 V more than that of ice."""

CTS_UNIT = RESIDUE_POTENTIAL / sum(n * (z + HYDROGENS["cts"].get(z, 0.0)) for z, n in MEAN_RESIDUE.items() if z > 1)
"""Integrated potential, V A^3, of one unit of the ``cts`` scale; the mean residue has the same total in both scales."""


@cache
def _amplitudes() -> Floats:
    """f_e(0) by atomic number, angstrom; NaN for elements that have no factors (index 0, and from einsteinium on)."""
    import gemmi

    found = np.full(119, np.nan)
    for number in range(1, 119):
        factors = gemmi.Element(number).c4322
        if factors is not None:
            found[number] = sum(factors.a)
    found.setflags(write=False)
    return found


def _by_number(table: dict[int, float], other: float) -> Floats:
    found = np.full(119, other)
    found[list(table)] = list(table.values())
    return found


def amplitude(number: ArrayLike) -> Floats:
    """Electron scattering amplitude of neutral atoms at s = 0.

    The sum of the five amplitudes of Peng, Ren, Dudarev and Whelan 1996 (Acta Cryst. A52, 257; International Tables C,
    table 4.3.2.2).

    Parameters
    ----------
    number
        Atomic numbers, 0 to 118, of any shape.

    Returns
    -------
    float64, angstrom, of the same shape.

    Raises
    ------
    InputError
        The tables have no factors for an element (number 0, and from einsteinium on).
    """
    numbers = np.asarray(number, np.int64)
    found: Floats = _amplitudes()[numbers]
    if np.isnan(found).any():
        import gemmi

        names = sorted({gemmi.Element(int(n)).name for n in np.unique(numbers[np.isnan(found)])})
        raise InputError(f"There are no electron scattering factors for {', '.join(names)}.")
    return found


def bound_hydrogens(number: ArrayLike, kind: Kind = "protein") -> Floats:
    """Mean number of hydrogens bound to an atom, by its atomic number and the kind of molecule (:data:`HYDROGENS`)."""
    return _by_number(HYDROGENS[kind], 0.0)[np.asarray(number, np.int64)]


def missing_hydrogens(number: ArrayLike) -> Floats:
    """Estimate the hydrogens that are bound to the atoms of a model but that the model does not list.

    Every phosphorus stands for one nucleotide, with 9.5 carbons. The share of the carbons that belong to nucleotides is
    taken as the share of nucleic acid in the model; the rest is protein. Hydrogens that the model lists reduce the
    result of all atoms by the same factor; a model that lists all of its hydrogens gets none.

    Parameters
    ----------
    number
        (n,): atomic numbers of the whole model, including the hydrogens that it lists.

    Returns
    -------
    (n,) float64, at least 0: the mean number of missing hydrogens bound to each atom; 0 for hydrogens.
    """
    numbers = np.asarray(number, np.int64)
    count = np.bincount(numbers, minlength=119)
    nucleic = min(1.0, 9.5 * count[15] / count[6]) if count[6] else 0.0
    expected = nucleic * bound_hydrogens(numbers, "nucleic") + (1 - nucleic) * bound_hydrogens(numbers, "protein")
    total = float(expected.sum())
    return expected * max(0.0, 1 - count[1] / total) if total else expected


def potentials(number: ArrayLike, *, scale: Scale = "peng", hydrogens: ArrayLike | bool = False) -> Floats:
    """Integrated potential of atoms, V A^3 (volt times cubic angstrom).

    Parameters
    ----------
    number
        (n,): atomic numbers.
    scale
        ``peng``: the physical value, ``47.878 V A^2 * f_e(0)``. ``cts``: the atomic number, as in CryoTomoSim, times
        :data:`CTS_UNIT`. A mean protein has the same total in both scales; single elements differ (in ``cts``, listed
        hydrogens are 0 and heavy elements are larger).
    hydrogens
        Number of hydrogens bound to each atom (see :func:`missing_hydrogens`); their potential is added. ``True``: the
        mean numbers of proteins. ``False``: none. The ``cts`` scale always uses the mean numbers of CryoTomoSim: every
        number above 0 counts as ``True``.

    Returns
    -------
    (n,) float64.

    Raises
    ------
    InputError
        The scale is unknown, or (``peng``) the tables have no factors for an element.
    """
    numbers = np.asarray(number, np.int64)
    if scale == "cts":
        extra = np.asarray(hydrogens, bool) * bound_hydrogens(numbers, "cts")
        return (np.where(numbers == 1, 0.0, numbers) + extra) * CTS_UNIT
    if scale != "peng":
        raise InputError(f"scale is 'peng' or 'cts', not {scale!r}.")
    if hydrogens is True:
        hydrogens = bound_hydrogens(numbers, "protein")
    bare = amplitude(numbers) + np.asarray(hydrogens, float) * float(_amplitudes()[1])
    return bare * POTENTIAL_OF_AMPLITUDE


def displaced_volume(number: ArrayLike, *, hydrogens: ArrayLike | bool = False) -> Floats:
    """Volume of solvent that each atom displaces together with the hydrogens bound to it (:data:`VOLUME`).

    Parameters
    ----------
    number, hydrogens
        As in :func:`potentials`, scale ``peng``.

    Returns
    -------
    (n,) float64, cubic angstrom.
    """
    numbers = np.asarray(number, np.int64)
    if hydrogens is True:
        hydrogens = bound_hydrogens(numbers, "protein")
    return _by_number(VOLUME, OTHER_VOLUME)[numbers] + np.asarray(hydrogens, float) * VOLUME[1]
