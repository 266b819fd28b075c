"""The inputs of a sample beside its recipe: the structures that the recipe names, and its label volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from volengine.io.identity import How
from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.tasks.simulate.labels import LabelPiece, label_piece
from volengine.tasks.simulate.structures import StructureFile, structure_files


@dataclass(frozen=True)
class SampleInputs:
    """The inputs of a sample's plan.

    Parameters
    ----------
    number, name
        Number of the sample, for its streams of random numbers; its name, for its files.
    structures
        The file of each structure, by its name in the recipe.
    piece
        The part of a label volume that is used; ``None`` without a label volume.
    """

    number: int
    name: str
    structures: Mapping[str, StructureFile]
    piece: LabelPiece | None = None

    @classmethod
    def find(
        cls, number: int, name: str, specimen: SpecimenRecipe, base: str = ".", identity: How = "quick"
    ) -> SampleInputs:
        """Find the structures and the label volume of a specimen; relative paths begin at ``base``.

        PDB entries are downloaded once. Of a label volume only the metadata is read; ``identity`` is how it is
        identified (:mod:`volengine.io.identity`).

        Raises
        ------
        InputError, MissingError, FormatError
            A structure or the label volume does not exist or cannot be used.
        """
        return cls(number, name, structure_files(specimen, base), label_piece(specimen, base, identity))
