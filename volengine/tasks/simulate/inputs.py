"""What a sample is made from beside its recipe: the structures that the recipe names, and its label volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.tasks.simulate.labels import LabelPiece, label_piece
from volengine.tasks.simulate.structures import StructureFile, structure_files


@dataclass(frozen=True)
class SampleInputs:
    """What the plan of a sample reads.

    Parameters
    ----------
    number, name
        Which sample it is: for its streams of random numbers, and for its files.
    structures
        Where each structure is, by what the recipe calls it.
    piece
        What is used of a label volume; ``None`` without one.
    """

    number: int
    name: str
    structures: Mapping[str, StructureFile]
    piece: LabelPiece | None = None

    @classmethod
    def find(cls, number: int, name: str, specimen: SpecimenRecipe, base: str = ".") -> SampleInputs:
        """Find what a specimen is made from; paths are relative to ``base``.

        Of a label volume the metadata is read. PDB entries are downloaded once.

        Raises
        ------
        InputError, MissingError, FormatError
            A structure or a label volume that is not there or cannot be used.
        """
        return cls(number, name, structure_files(specimen, base), label_piece(specimen, base))
