"""Facts that the planner of a simulation and its kernels share, as JSON in the parameters of a stage."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.recipe import Recipe
from volengine.sim.recipe.film import IceRecipe


@dataclass(frozen=True)
class SpecimenFacts(Recipe):
    """What a kernel that takes images must know of the specimen beside its projections.

    Parameters
    ----------
    size_a
        Angstrom, z, y, x.
    voxel_size
        Angstrom; the pixels of the images are as large.
    ice
        What it lies in.
    seed, sample
        Seed of the recipe and number of the sample: they name the streams of random numbers.
    """

    size_a: tuple[float, float, float]
    voxel_size: float
    ice: IceRecipe
    seed: int
    sample: int
