"""Membranes from a label volume: the part that is used, and the stage that measures distances to the membranes.

The stage ``labels`` reads the segmentation block by block with a halo. It writes one array of distances per label to
the scratch folder, which the stage ``render`` reads, and a table of the voxels that membranes occupy, which the stage
``place`` reads.
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
from volengine.io.identity import How
from volengine.io.names import split_group
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
        The whole label volume.
    corner, extent
        First voxel and shape of the piece, voxels z, y, x.
    """

    volume: Volume
    corner: Index3
    extent: Index3


def checked_flags(specimen: SpecimenRecipe, files: Mapping[str, StructureFile]) -> None:
    """Refuse particles that need a membrane or a vesicle if the membranes come from a label volume.

    Such membranes take no proteins and have no inside.

    Raises
    ------
    InputError
        The specimen has a label volume, and a species has the flag ``membrane`` or ``vesicle``.
    """
    for species in (s for layer in specimen.layers for s in layer.species if specimen.labels):
        wants = sorted({"membrane", "vesicle"} & flags_of(species, files[species.structure]))
        if wants:
            raise InputError(
                f"{species.structure}: the flag {wants[0]} cannot be met; membranes that follow a label volume take no "
                "proteins and have no inside. Use vesicles instead of labels, or leave the particle out."
            )


def label_piece(specimen: SpecimenRecipe, base: str = ".", identity: How = "quick") -> LabelPiece | None:
    """Open the label volume of a specimen (metadata only); ``None`` if the specimen has none.

    Raises
    ------
    InputError
        The voxels are not cubes, or not whole numbers; the piece leaves the volume, or differs in size from the
        specimen.
    MissingError, FormatError
        The volume does not exist, or is damaged.
    """
    recipe = specimen.labels
    if recipe is None:
        return None
    volume = _opened(recipe, base, identity)
    size = volume.voxel_size[0]
    if max(volume.voxel_size) > 1.01 * min(volume.voxel_size):
        raise InputError(
            f"{recipe.path}: its voxels are {volume.voxel_size} angstrom, not cubes; give labels: voxel_size."
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
            f"{recipe.path}: {extent} voxels of {size:g} A do not have the size of the specimen, {specimen.shape} "
            f"voxels of {specimen.voxel_size:g} A. Leave out labels: shape, or make them fit."
        )
    return LabelPiece(volume, recipe.start, extent)


def _opened(recipe: LabelsRecipe, base: str, identity: How) -> Volume:
    from volengine.io.open import open_volume

    whole = recipe.path if "://" in recipe.path else str(Path(base) / recipe.path)
    url, group = split_group(whole)
    volume = open_volume(url, voxel_size=recipe.voxel_size, group=group, identity=identity)
    return volume.with_(kind="labels")


@dataclass(frozen=True)
class LabelStages:
    """The stages that come before ``place`` if a specimen has a label volume.

    Parameters
    ----------
    sample
        The sample.
    piece
        The piece of the label volume that is used.
    chunk
        Chunk of the arrays in the scratch folder, voxels z, y, x; it divides the blocks of ``render``.
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
        """The recipe of the label volume."""
        assert self.specimen.labels is not None
        return self.specimen.labels

    def images(self) -> dict[str, ImageSpec]:
        """The scratch arrays of distances (angstrom), one per label, by the names that stages use for them."""
        return {
            f"distance {label}": scratch_spec(
                str(self.sample.folder.scratch / f"label-{label}"), self.specimen.shape, "float32", self.chunk
            )
            for label in self.recipe.names
        }

    def stages(self) -> list[Stage]:
        """The stage that unpacks the volume, if it is compressed, and the stage that measures distances."""
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
        """How the mid-surface of a label is found, and for each label half the thickness of its membrane, angstrom."""
        from volengine.sim.build import ice_potential, label_thickness
        from volengine.sim.render import DISTANCE_CUT, profile_of

        specimen = self.specimen
        thickness = label_thickness(self.recipe, self.sample.recipe.seed, self.sample.number)
        ice, size = ice_potential(specimen.scale), self.piece.volume.voxel_size[0]
        reach = max(profile_of(t, specimen.scale, ice, specimen.voxel_size).reach for t in thickness.values())
        least = DISTANCE_CUT if self.sample.recipe.keep.distance else 0.0
        return LabelRidge(size, self.recipe.smooth_vox, max(reach, least, 2 * size)), thickness
