"""Structures: the atoms of a molecule, divided into sub-models of different classes.

>>> from volengine.core.structure import Atoms, SubModel, Structure
>>> atoms = Atoms(position=[[0, 0, 0], [0, 0, 1.5]], number=[6, 8])
>>> Structure("carbon-monoxide", (SubModel("gas", atoms),)).count
2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Atoms:
    """Positions and elements of atoms.

    Parameters
    ----------
    position
        (n, 3), angstrom, z, y, x; stored as float32.
    number
        (n,) atomic numbers, 1 to 118; stored as uint8.

    Raises
    ------
    InputError
        The lengths differ, a position is not finite, or an atomic number is outside of 1 to 118.
    """

    position: NDArray[np.float32]
    number: NDArray[np.uint8]

    def __init__(self, position: ArrayLike, number: ArrayLike):
        at = np.array(position, np.float32).reshape(-1, 3)
        z = np.array(number).reshape(-1)
        if len(at) != len(z):
            raise InputError(f"There are {len(at)} positions for {len(z)} atoms.")
        if not np.isfinite(at).all():
            raise InputError("A position of an atom is not finite.")
        if len(z) and not 1 <= z.min() <= z.max() <= 118:
            raise InputError(f"Atomic numbers are from 1 to 118, not {z.min()} to {z.max()}.")
        object.__setattr__(self, "position", at)
        object.__setattr__(self, "number", z.astype(np.uint8))

    def __len__(self) -> int:
        return len(self.number)


@dataclass(frozen=True, eq=False)
class SubModel:
    """The atoms of one class; ``name`` is the class in the atlas."""

    name: str
    atoms: Atoms


@dataclass(frozen=True, eq=False)
class Structure:
    """A molecule as deposited or assembled. Its sub-models share one coordinate frame."""

    name: str
    sub_models: tuple[SubModel, ...]

    @property
    def count(self) -> int:
        """Number of atoms of all sub-models."""
        return sum(len(model.atoms) for model in self.sub_models)
