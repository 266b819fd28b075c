"""Facts that the planner and the kernels of ``simulate`` share; a stage carries them in its parameters, as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.recipe import Recipe
from volengine.sim.recipe.film import IceRecipe


@dataclass(frozen=True)
class SpecimenFacts(Recipe):
    """Facts about the specimen that the simulation of an image needs beside its projection.

    Parameters
    ----------
    size_a
        Size of the specimen in angstrom, z, y, x.
    voxel_size
        Voxel size of the specimen and pixel size of the images, angstrom.
    ice
        The ice around the particles.
    seed, sample
        Seed of the recipe and number of the sample; together they choose the streams of random numbers.
    """

    size_a: tuple[float, float, float]
    voxel_size: float
    ice: IceRecipe
    seed: int
    sample: int
