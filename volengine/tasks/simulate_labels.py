"""A label volume as specimen: the piece that is used, and the stage that measures how far its membranes are.

The stage ``labels`` reads the segmentation with its halo, block by block, and leaves one array of distances per label
in the scratch folder, which ``render`` reads, and a table of the voxels that membranes take, which ``place`` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput
from volengine.sim.recipe.membranes import LabelsRecipe
from volengine.sim.recipe.specimen import SpecimenRecipe
from volengine.sim.shapes.label_membranes import LabelRidge
from volengine.tasks.convert import unpack_stage
from volengine.tasks.images import scratch_spec
from volengine.tasks.simulate_structures import Source, flags_of

KERNEL_BYTES = 130_000_000
"""Of a batch of voxels, whatever the block."""
VOXEL_BYTES = 48
"""Of each voxel that is read."""

Chooser = Callable[[Index3, Index3, Callable[[Index3], Stage]], Index3]


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


def checked_flags(specimen: SpecimenRecipe, sources: Mapping[str, Source]) -> None:
    """Membranes of a label volume take no proteins and have no inside: particles that need one are refused.

    Raises
    ------
    InputError
        A species with the flag ``membrane`` or ``vesicle``; without labels all is well.
    """
    for species in (s for layer in specimen.layers for s in layer.species if specimen.labels):
        wants = sorted({"membrane", "vesicle"} & flags_of(species, sources[species.structure]))
        if wants:
            raise InputError(
                f"{species.structure}: the flag {wants[0]} cannot be met; membranes that follow a label volume take no "
                "proteins and have no inside. Use vesicles instead of labels, or leave the particle out."
            )


def label_piece(specimen: SpecimenRecipe, base: str = ".") -> LabelPiece | None:
    """The label volume of a specimen, looked at but not read; None without one.

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
    from volengine.io import open_volume

    path, _, group = recipe.path.partition("#")
    url = path if "://" in path else str(Path(base) / path)
    volume = open_volume(url, voxel_size=recipe.voxel_size, group=group)
    return volume.with_(kind="labels")


@dataclass(frozen=True)
class LabelStages:
    """The stages before ``place`` of a specimen with a label volume.

    Parameters
    ----------
    piece
        What is used of it.
    specimen
        The recipe.
    keep_distance
        Distances are kept, so they must reach :data:`~volengine.sim.render.DISTANCE_CUT`.
    seed, sample
        Of the random streams.
    chunk
        Of the arrays in the scratch folder: a divisor of the blocks of ``render``.
    folder
        The plan's.
    """

    piece: LabelPiece
    specimen: SpecimenRecipe
    keep_distance: bool
    seed: int
    sample: int
    chunk: Index3
    folder: PlanFolder

    @property
    def recipe(self) -> LabelsRecipe:
        """What the user wants of the labels."""
        assert self.specimen.labels is not None
        return self.specimen.labels

    def images(self) -> dict[str, ImageSpec]:
        """Distances of each label, angstrom, by the names of inputs and outputs."""
        return {
            f"distance {label}": scratch_spec(
                str(self.folder.scratch / f"label-{label}"), self.specimen.shape, "float32", self.chunk
            )
            for label in self.recipe.names
        }

    def stages(self, choose: Chooser) -> list[Stage]:
        """Unpack the volume if it is packed, and measure distances; ``choose`` says how large blocks are."""
        from volengine.io import is_packed, suffix_of

        volume, before = self.piece.volume, []
        if is_packed(volume.url):
            target = str(self.folder.scratch / f"drawn{suffix_of(volume.url)}")
            before.append(unpack_stage(volume, target))
            volume = volume.with_(url=target)

        def build(core: Index3) -> Stage:
            return self._measure(volume, core, bool(before))

        return [*before, build(choose(self.specimen.shape, self.chunk, build))]

    def _measure(self, volume: Volume, core: Index3, unpacked: bool) -> Stage:
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
            "volengine.tasks.simulate_blocks:label_block",
            Tiling(self.specimen.shape, core),
            params=params,
            arrays={"drawn": drawn},
            tables={"unpacked": TableInput("unpack", "all")} if unpacked else {},
            outputs={name: Output(spec.volume()) for name, spec in self.images().items()},
            emits=True,
            kernel_bytes=KERNEL_BYTES + VOXEL_BYTES * wide + 12 * int(np.prod(inside)),
        )

    def _ridge(self) -> tuple[LabelRidge, dict[int, float]]:
        """How the middle of labels is found, and how thick each membrane is."""
        from volengine.sim.build import ice_potential, label_thickness
        from volengine.sim.render import DISTANCE_CUT, profile_of

        specimen = self.specimen
        thickness = label_thickness(self.recipe, self.seed, self.sample)
        ice, size = ice_potential(specimen.scale), self.piece.volume.voxel_size[0]
        reach = max(profile_of(t, specimen.scale, ice, specimen.voxel_size).reach for t in thickness.values())
        least = DISTANCE_CUT if self.keep_distance else 0.0
        return LabelRidge(size, self.recipe.smooth_vox, max(reach, least, 2 * size)), thickness
