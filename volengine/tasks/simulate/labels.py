"""A label volume as specimen: the piece that is used, and the stage that measures how far its membranes are.

The stage ``labels`` reads the segmentation with its halo, block by block, and leaves one array of distances per label
in the scratch folder, which ``render`` reads, and a table of the voxels that membranes take, which ``place`` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.stage import ArrayInput, Output, Stage, kernel_bytes
from volengine.sim.recipe.membranes import LabelsRecipe
from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.sim.shapes.label_membranes import LabelRidge
from volengine.tasks.common.images import scratch_spec
from volengine.tasks.common.unpack import unpacked, waits_for
from volengine.tasks.simulate.sample import Sample
from volengine.tasks.simulate.structures import StructureFile, flags_of

_LABEL = "volengine.tasks.simulate.blocks:label_block"


@dataclass(frozen=True)
class LabelPiece:
    """A piece of a label volume.

    Parameters
    ----------
    volume
        All of it.
    corner, extent
        Where the piece begins, and its voxels, z, y, x.
    """

    volume: Volume
    corner: Index3
    extent: Index3


def checked_flags(specimen: SpecimenRecipe, files: Mapping[str, StructureFile]) -> None:
    """Membranes of a label volume take no proteins and have no inside: particles that need one are refused.

    Raises
    ------
    InputError
        A species with the flag ``membrane`` or ``vesicle``; without labels all is well.
    """
    for species in (s for layer in specimen.layers for s in layer.species if specimen.labels):
        wants = sorted({"membrane", "vesicle"} & flags_of(species, files[species.structure]))
        if wants:
            raise InputError(
                f"{species.structure}: the flag {wants[0]} cannot be met; membranes that follow a label volume take no "
                "proteins and have no inside. Use vesicles instead of labels, or leave the particle out."
            )


def label_piece(specimen: SpecimenRecipe, base: str = ".") -> LabelPiece | None:
    """The label volume of a specimen, of which only the metadata is read; ``None`` without one.

    Raises
    ------
    InputError
        Voxels that are no cubes or no labels; a piece that leaves the volume, or is not as large as the specimen.
    MissingError, FormatError
        There is no such volume.
    """
    recipe = specimen.labels
    if recipe is None:
        return None
    volume = _opened(recipe, base)
    size = volume.voxel_size[0]
    if max(volume.voxel_size) > 1.01 * min(volume.voxel_size):
        raise InputError(
            f"{recipe.path}: its voxels are {volume.voxel_size} angstrom, no cubes; give labels: voxel_size."
        )
    if np.dtype(volume.dtype).kind not in "iub":
        raise InputError(f"{recipe.path}: labels are whole numbers, but its voxels are {volume.dtype}.")
    extent = recipe.shape or index3(max(1, round(side / size)) for side in specimen.size_a)
    if any(a + n > m for a, n, m in zip(recipe.start, extent, volume.shape, strict=True)):
        raise InputError(
            f"{recipe.path}: a piece of {extent} voxels from {recipe.start} on leaves the volume of {volume.shape}. "
            f"The specimen has {specimen.shape} voxels of {specimen.voxel_size:g} A, the labels {size:g} A."
        )
    if any(
        abs(n * size - side) > max(size, specimen.voxel_size) for n, side in zip(extent, specimen.size_a, strict=True)
    ):
        raise InputError(
            f"{recipe.path}: {extent} voxels of {size:g} A are not as large as the specimen's {specimen.shape} voxels "
            f"of {specimen.voxel_size:g} A. Leave out labels: shape, or make them fit."
        )
    return LabelPiece(volume, recipe.start, extent)


def _opened(recipe: LabelsRecipe, base: str) -> Volume:
    from volengine.io.open import open_volume

    path, _, group = recipe.path.partition("#")
    url = path if "://" in path else str(Path(base) / path)
    volume = open_volume(url, voxel_size=recipe.voxel_size, group=group)
    return volume.with_(kind="labels")


@dataclass(frozen=True)
class LabelStages:
    """The stages before ``place`` of a specimen with a label volume.

    Parameters
    ----------
    sample
        The sample that has the specimen.
    piece
        What is used of the label volume.
    chunk
        Of the arrays in the scratch folder: a divisor of the blocks of ``render``.
    """

    sample: Sample
    piece: LabelPiece
    chunk: Index3

    @property
    def specimen(self) -> SpecimenRecipe:
        """The recipe of the specimen."""
        return self.sample.recipe.specimen

    @property
    def recipe(self) -> LabelsRecipe:
        """What the user wants of the labels."""
        assert self.specimen.labels is not None
        return self.specimen.labels

    def images(self) -> dict[str, ImageSpec]:
        """Distances of each label, angstrom, by the names of inputs and outputs."""
        return {
            f"distance {label}": scratch_spec(
                str(self.sample.folder.scratch / f"label-{label}"), self.specimen.shape, "float32", self.chunk
            )
            for label in self.recipe.names
        }

    def stages(self) -> list[Stage]:
        """Unpack the volume if it is packed, and measure distances."""
        volume, before = unpacked(self.piece.volume, self.sample.folder, "drawn")

        def build(core: Index3) -> Stage:
            return self._measure(volume, core, before)

        return [*before, build(self.sample.core(self.specimen.shape, self.chunk, build))]

    def _measure(self, volume: Volume, core: Index3, before: list[Stage]) -> Stage:
        from volengine.sim.shapes.membranes import HEAD

        ridge, thickness = self._ridge()
        halo = (ridge.halo,) * 3
        drawn = ArrayInput(volume, halo, halo, scaled=True, corner=self.piece.corner, extent=self.piece.extent)
        inside = [min(c, n) for c, n in zip(core, self.specimen.shape, strict=True)]
        ratios = zip(inside, self.piece.extent, self.specimen.shape, volume.shape, strict=True)
        wide = int(np.prod([min(-(-c * n // m) + 2 * ridge.halo + 1, whole) for c, n, m, whole in ratios]))
        params: dict[str, Any] = {
            "ridge": ridge.to_json(),
            "half_a": {str(label): thick / 2 + HEAD for label, thick in thickness.items()},
            "corner": self.piece.corner,
            "extent": self.piece.extent,
        }
        return Stage(
            "labels",
            _LABEL,
            Tiling(self.specimen.shape, core),
            params=params,
            arrays={"drawn": drawn},
            tables=waits_for(before),
            outputs={name: Output(spec.volume()) for name, spec in self.images().items()},
            emits=True,
            kernel_bytes=kernel_bytes(_LABEL, voxels=int(np.prod(inside)), read=wide),
        )

    def _ridge(self) -> tuple[LabelRidge, dict[int, float]]:
        """How the middle of labels is found, and how thick each membrane is."""
        from volengine.sim.build import ice_potential, label_thickness
        from volengine.sim.render import DISTANCE_CUT, profile_of

        specimen = self.specimen
        thickness = label_thickness(self.recipe, self.sample.recipe.seed, self.sample.number)
        ice, size = ice_potential(specimen.scale), self.piece.volume.voxel_size[0]
        reach = max(profile_of(t, specimen.scale, ice, specimen.voxel_size).reach for t in thickness.values())
        least = DISTANCE_CUT if self.sample.recipe.keep.distance else 0.0
        return LabelRidge(size, self.recipe.smooth_vox, max(reach, least, 2 * size)), thickness
