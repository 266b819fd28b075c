"""Match: resample a tomogram to the models' voxel size, and their predictions back onto the tomogram's grid.

Three steps: the stage ``match`` writes a float32 copy of the tomogram at the models' voxel size; the networks read the
copy and write float32 predictions (:class:`volengine.tasks.segment.stages.GridStages`); the stage ``restore`` resamples
these onto the tomogram's grid and stores them. The copies are scratch arrays, which the engine deletes at the end of
the run. The method is in :mod:`volengine.ops.resample`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from volengine.core.boxes import Box, Index3, index3
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.stage import ArrayInput, Output, Stage, kernel_bytes
from volengine.io.omezarr.levels import auto_chunk
from volengine.ops.resample import Filter, reach
from volengine.tasks.common.images import core_unit, factors_of, outputs_of, scratch_spec
from volengine.tasks.common.layout import file_name
from volengine.tasks.common.roi import size_of, start_of, tiling_of
from volengine.tasks.segment.description import Net
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.stages import GridStages

SCRATCH_VOX = 128
"""Longest side of a scratch chunk."""

_MATCH = "volengine.tasks.segment.match_blocks:match_block"
_RESTORE = "volengine.tasks.segment.match_blocks:restore_block"


@dataclass(frozen=True)
class MatchStages:
    """The stages that predict a tomogram on a grid of another voxel size.

    Parameters
    ----------
    volume, shape
        The tomogram, and the shape (z, y, x) of the grid that the networks see.
    recipe, specs, folder, options, unsigned, label
        As in :class:`volengine.tasks.segment.stages.GridStages`; ``specs`` are on the tomogram's grid.
    part
        The part of the tomogram that is predicted; ``None``: all of it. The matched copy is whole, because patches and
        statistics are those of the whole; predicted is what the part is resampled from.
    """

    volume: Volume
    shape: Index3
    recipe: SegmentRecipe
    specs: dict[str, ImageSpec]
    folder: PlanFolder
    options: RunOptions
    unsigned: bool = False
    label: str = ""
    part: Box | None = None

    def plan(self, nets: list[Net], *, flat: bool) -> Plan:
        """Plan all stages; ``flat``: the networks see slices, so that blocks should cover whole slices."""
        seen, answers = self.predicted(nets, flat=flat)
        counted = list(dict.fromkeys(name for net in nets for name in net.probable))
        tag = seen.stages[0].name.removesuffix("-match")
        restore = self._choose(
            size_of(self.volume.shape, self.part),
            core_unit(*self.specs.values()),
            lambda core: self._restore(answers, core, tag, counted),
        )
        return replace(seen, stages=(*seen.stages, restore), images=(*seen.images, *self.specs.values()))

    def predicted(self, nets: list[Net], *, flat: bool) -> tuple[Plan, dict[str, ImageSpec]]:
        """Plan the stages up to the predictions on the networks' grid, and return their float32 scratch arrays, too."""
        chunk = self._chunk(flat=flat)
        copy = self._scratch("matched", chunk)
        seen_part = self._needed()
        if seen_part is not None:
            nets = [replace(net, lattice=net.lattice.within(seen_part)) for net in nets]
        answers = {name: self._scratch(name, chunk, seen_part) for name in self.specs}
        how = (self.recipe, nets, answers, self.folder, self.options)
        inner = GridStages(
            copy.volume(), *how, native=self.volume, unsigned=self.unsigned, label=self.label, part=seen_part
        )
        seen = inner.plan()
        match = self._choose(self.shape, core_unit(copy), lambda core: self._match(copy, core, inner.tag))
        z, y, x = (n * v / m for n, v, m in zip(self.volume.shape, self.volume.voxel_size, self.shape, strict=True))
        note = f"matched: {self.volume.shape} voxels become {self.shape} of {z:.4g}, {y:.4g}, {x:.4g} angstrom"
        made = Plan(self.volume.name, (match, *seen.stages), (copy, *seen.images), notes=(note, *seen.notes))
        return made, answers

    @property
    def _filter(self) -> Filter:
        """How predictions are resampled onto the tomogram's grid."""
        return "corners" if self.recipe.compat == "ais" else "linear"

    def _read(self, volume: Volume, part: Box | None) -> ArrayInput:
        """A prediction on the networks' grid, or on the part of it that is predicted, as it is resampled."""
        halo = reach(self.shape, self.volume.shape, self._filter)
        if part is None:
            return ArrayInput(volume, halo, halo, scaled=True)
        return ArrayInput(volume, halo, halo, scaled=True, extent=self.shape, at=part.start)

    def _needed(self) -> Box | None:
        """The voxels of the networks' grid from which those of the part are resampled; ``None``: all."""
        if self.part is None:
            return None
        whole = self.volume.with_(shape=self.shape, chunks=None, shards=None)
        return self._read(whole, None).box(self.part, self.volume.shape)

    def _chunk(self, *, flat: bool) -> Index3:
        if self.options.block is not None:
            return index3(min(b, n) for b, n in zip(self.options.block, self.shape, strict=True))
        thin = auto_chunk(self.shape)
        z, y, x = (c * max(1, SCRATCH_VOX // c) for c in thin)
        return (thin[0] if flat else z), y, x

    def _scratch(self, name: str, chunk: Index3, part: Box | None = None) -> ImageSpec:
        z, y, x = self.shape
        shape = size_of(self.shape, part)
        names = "+".join(map(file_name, self.specs))
        url = str(self.folder.scratch / f"match-{names}@{file_name(name)}-{z}x{y}x{x}{self.label}")
        size = [n * v / m for n, v, m in zip(self.volume.shape, self.volume.voxel_size, self.shape, strict=True)]
        return scratch_spec(url, shape, "float32", index3(map(min, chunk, shape)), size)

    def _choose(self, shape: Index3, unit: Index3, build: Callable[[Index3], Stage]) -> Stage:
        core = self.options.core_for(shape, unit, build)
        return build(core)

    def _match(self, copy: ImageSpec, core: Index3, tag: str) -> Stage:
        how: Filter = "lanczos" if self.recipe.resolved().match == "isotropic" else "linear"
        halo = reach(self.volume.shape, self.shape, how)
        return Stage(
            f"{tag}-match",
            _MATCH,
            Tiling(self.shape, core),
            params={"shape": self.volume.shape, "how": how, **({"unsigned": True} if self.unsigned else {})},
            arrays={"image": ArrayInput(self.volume, halo, halo, scaled=True)},
            outputs={"matched": Output(copy.volume())},
            kernel_bytes=kernel_bytes(_MATCH, core=core, halo=halo, shape=self.volume.shape, out_shape=self.shape),
        )

    def _restore(self, answers: dict[str, ImageSpec], core: Index3, tag: str, counted: list[str]) -> Stage:
        how = self._filter
        halo = reach(self.shape, self.volume.shape, how)
        spec = next(iter(self.specs.values()))
        outputs: dict[str, Output] = {}
        for name, each in self.specs.items():
            outputs |= outputs_of(each, name, start_of(self.part))
        return Stage(
            f"{tag}-restore",
            _RESTORE,
            tiling_of(self.volume.shape, core, self.part),
            params={
                "shape": self.shape,
                "how": how,
                "dtype": self.recipe.dtype,
                "rounding": self.recipe.resolved().rounding,
                "factors": factors_of(spec),
            },
            arrays={name: self._read(each.volume(), self._needed()) for name, each in answers.items()},
            outputs=outputs,
            hints={"counted": counted},
            kernel_bytes=kernel_bytes(_RESTORE, core=core, halo=halo, shape=self.shape, out_shape=self.volume.shape),
        )
