"""A sample that is planned: its recipe, its images, and the size of its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from volengine.core.boxes import Index3, index3
from volengine.core.image import ImageSpec
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.stage import Stage
from volengine.io.omezarr.levels import auto_chunk
from volengine.tasks.common.images import StoreOptions, auto_shard, image_spec
from volengine.tasks.common.layout import join_url
from volengine.tasks.simulate.recipe import SimulateRecipe

SLAB = 6_000_000
"""Largest number of voxels in the slices across the tilt axis of one chunk, and of one step of reconstruction."""


@dataclass(frozen=True)
class Sample:
    """One sample.

    Parameters
    ----------
    recipe
        The recipe of this sample, with values in place of all distributions.
    number, name
        Number of the sample, for its streams of random numbers; its name, for its files.
    out
        Folder of all samples.
    folder
        Folder of the plan; its scratch folder holds arrays that are not kept.
    options
        How to run.
    """

    recipe: SimulateRecipe
    number: int
    name: str
    out: str
    folder: PlanFolder
    options: RunOptions

    @property
    def shape(self) -> Index3:
        """Shape of the specimen, voxels z, y, x."""
        return self.recipe.specimen.shape

    def like(self, url: str, shape: Index3) -> Volume:
        """A handle with this URL and shape, and the specimen's voxel size."""
        size = self.recipe.specimen.voxel_size
        return Volume(url=url, shape=shape, dtype="float32", voxel_size=(size, size, size), name=self.name)

    def image(self, kind: str, **facts: Any) -> ImageSpec:
        """Describe a float32 image of the specimen's shape in the folder ``kind``."""
        store = join_url(self.out, kind, f"{self.name}.ome.zarr")
        facts = {"simulated": {"sample": self.number, "seed": self.recipe.seed}, **facts}
        chunk = auto_chunk(self.shape)
        shard = auto_shard(self.shape, chunk)
        if shard[1] * self.shape[0] * self.shape[2] > 4 * SLAB:  # a block spans the other axes
            shard = (shard[0], chunk[1], shard[2])
        like = self.like(store, self.shape)
        return image_spec(store, like, StoreOptions(chunk, shard), dtype="float32", kind="intensity", facts=facts)

    def core(self, shape: Index3, unit: Index3, build: Callable[[Index3], Stage]) -> Index3:
        """The core of a block: the user's, rounded up to a multiple of ``unit``, or the largest that memory allows."""
        if self.options.block is not None:
            return index3(min(-(-b // u) * u, n) for b, u, n in zip(self.options.block, unit, shape, strict=True))
        return self.options.core_for(shape, unit, build)
