"""How models are scored on annotations."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.tasks.segment.recipe import Match


@dataclass(frozen=True)
class ModelScoresRecipe(Recipe):
    """How models are scored on what is annotated now.

    Parameters
    ----------
    features
        Which features; default: all that a model predicts and that have training boxes.
    threshold
        Voxels with a higher probability are found.
    match
        Predict at the model's voxel size, as ``volengine segment --match`` does.
    any_voxel_size
        Take models of other voxel sizes as they are.
    invert
        Swap dark and bright, for models of the other contrast.

    Examples
    --------
    >>> ModelScoresRecipe(features=("membrane",)).threshold
    0.5
    """

    features: tuple[str, ...] = ()
    threshold: float = 0.5
    match: Match | None = None
    any_voxel_size: bool = False
    invert: bool = False

    def check(self) -> None:
        if not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is {self.threshold:g}; it must be from 0 to below 1.")
