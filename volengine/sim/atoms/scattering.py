"""Atoms as electrons see them: what each adds to the potential, and how much ice it pushes away.

The integral of an atom's electrostatic potential over space is ``C f_e(0)``: ``f_e(0)`` is its electron scattering
amplitude straight ahead, in angstrom, and C = h^2 / (2 pi m e) = 47.878 V A^2 (Peng 1999, Micron 30, 625, eq. 7).
A voxel's potential is the sum of these integrals over its atoms, divided by its volume: so it does not depend on the
size of the voxels.

>>> from volengine.sim.atoms.scattering import ICE_POTENTIAL, potentials
>>> [round(float(w), 1) for w in potentials([6, 8])]  # bare carbon and oxygen, V A^3
[120.1, 95.0]
>>> round(ICE_POTENTIAL, 2)
4.53

Models of atoms rarely hold hydrogens. :func:`bound_hydrogens` says how many of them an element carries on average, in
protein and in nucleic acid, and ``potentials(number, hydrogens=...)`` adds theirs to the atoms that carry them.
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
"""V A^2: volt times cubic angstrom for each angstrom of scattering amplitude."""

DALTON_PER_A3 = 0.602214
"""Dalton per cubic angstrom at 1 g/cm^3."""

WATER_VOLUME = 18.01528 / (0.93 * DALTON_PER_A3)
"""Cubic angstrom of a water molecule in vitreous ice of 0.93 g/cm^3 (low-density amorphous ice)."""

HYDROGENS: dict[Kind, dict[int, float]] = {
    "protein": {6: 1.22, 7: 1.17, 8: 0.10, 16: 0.5},
    "nucleic": {6: 0.82, 7: 0.53, 8: 0.14},
    "cts": {6: 1.3, 7: 1.1, 8: 0.2, 16: 0.6},
}
"""Mean number of hydrogens bound to an atom of an element.

``protein``: the mean residue C 4.94 H 7.76 N 1.36 O 1.48 S 0.04 (Senko 1995, J. Am. Soc. Mass Spectrom. 6, 229) with
its hydrogens shared out by chemistry at pH 7. ``nucleic``: the four nucleotides of RNA in equal parts, phosphate
without hydrogen. ``cts``: the numbers of CryoTomoSim.
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
"""Cubic angstrom of solvent that an atom displaces.

Fraser, MacRae and Suzuki 1978 (J. Appl. Cryst. 11, 693), as in CRYSOL (Svergun 1995, J. Appl. Cryst. 28, 768), times
0.967, which gives the mean residue 1.21 A^3 per dalton (0.73 cm^3/g: Harpaz, Gerstein and Chothia 1994, Structure 2,
641). Phosphorus is set so that RNA has 0.945 A^3 per dalton (0.569 cm^3/g: Voss and Gerstein 2005, J. Mol. Biol. 346,
477): it carries what the two charged oxygens of a phosphate take more than the carbonyl oxygens of the table.
"""

OTHER_VOLUME = 10.0
"""Cubic angstrom for elements that the table has not: about that of the metals in it."""

MEAN_RESIDUE = {6: 4.9384, 1: 7.7583, 7: 1.3577, 8: 1.4773, 16: 0.0417}
"""Atoms in the mean residue of proteins (Senko 1995)."""

LIGHT = {1: 0.5288, 6: 2.5088, 7: 2.2135, 8: 1.9834, 16: 5.1604}
"""f_e(0), angstrom, of the elements of proteins (Peng 1996), for the constants below."""

ICE_POTENTIAL = POTENTIAL_OF_AMPLITUDE * (LIGHT[8] + 2 * LIGHT[1]) / WATER_VOLUME
"""Mean potential of vitreous ice, volt, by the same isolated atoms as everything here."""

RESIDUE_POTENTIAL = POTENTIAL_OF_AMPLITUDE * sum(count * LIGHT[z] for z, count in MEAN_RESIDUE.items())
"""Integrated potential of the mean residue, V A^3."""

PROTEIN_POTENTIAL = RESIDUE_POTENTIAL / sum(count * VOLUME[z] for z, count in MEAN_RESIDUE.items())
"""Mean potential inside of proteins, volt; 3.5 V above ice."""

CTS_UNIT = RESIDUE_POTENTIAL / sum(n * (z + HYDROGENS["cts"].get(z, 0.0)) for z, n in MEAN_RESIDUE.items() if z > 1)
"""V A^3 of one unit of the atomic-number scale: the mean residue weighs the same in both scales."""


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
    """Electron scattering amplitude at s = 0, angstrom, of neutral atoms.

    The sum of the five amplitudes of Peng, Ren, Dudarev and Whelan 1996 (Acta Cryst. A52, 257; International Tables C,
    table 4.3.2.2).

    Raises
    ------
    InputError
        An element from einsteinium on: there are no factors.
    """
    numbers = np.asarray(number, np.int64)
    found: Floats = _amplitudes()[numbers]
    if np.isnan(found).any():
        import gemmi

        names = sorted({gemmi.Element(int(n)).name for n in np.unique(numbers[np.isnan(found)])})
        raise InputError(f"There are no electron scattering factors for {', '.join(names)}.")
    return found


def bound_hydrogens(number: ArrayLike, kind: Kind = "protein") -> Floats:
    """Hydrogens that an atom carries on average, by its atomic number and the kind of molecule (:data:`HYDROGENS`)."""
    return _by_number(HYDROGENS[kind], 0.0)[np.asarray(number, np.int64)]


def missing_hydrogens(number: ArrayLike) -> Floats:
    """Hydrogens that the atoms of a model carry but that the model does not list.

    A phosphorus stands for a nucleotide, which has 9.5 carbons: their share of the carbons is nucleic acid, the rest
    protein. A model with its own hydrogens gets none; one with a part of them gets the difference, shared out.

    Parameters
    ----------
    number
        (n,): atomic numbers of the whole model; its own hydrogens among them.

    Returns
    -------
    (n,) float64, at least 0; 0 for hydrogens.
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
        Atomic numbers.
    scale
        ``peng``: ``47.878 V A^2 * f_e(0)``, physical. ``cts``: the atomic number, as CryoTomoSim has it, times
        :data:`CTS_UNIT`, so that a mean protein weighs the same in both; elements differ (hydrogen 0, heavy ones more).
    hydrogens
        How many bound hydrogens each atom carries (see :func:`missing_hydrogens`); ``True``: as many as in a mean
        protein (in the ``cts`` scale, CryoTomoSim's means). The ``cts`` scale only knows its own means, so there
        any number above 0 counts as ``True``, and hydrogens of the model weigh nothing.

    Returns
    -------
    float64, one for each atom.
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
    """Cubic angstrom of solvent that each atom displaces (:data:`VOLUME`), with the hydrogens it carries.

    Parameters are those of :func:`potentials`.
    """
    numbers = np.asarray(number, np.int64)
    if hydrogens is True:
        hydrogens = bound_hydrogens(numbers, "protein")
    return _by_number(VOLUME, OTHER_VOLUME)[numbers] + np.asarray(hydrogens, float) * VOLUME[1]
