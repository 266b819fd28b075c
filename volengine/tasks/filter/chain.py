"""The stages of a list of filters: consecutive steps of one kind are one pass over the volume.

- Steps in Fourier space are one transform out of core: ``forward`` (slices), ``columns``, ``inverse`` (slices). A step
  that matches a spectrum has two stages before ``columns`` that measure the volume's own.
- In blocks they are one stage of blocks with a halo instead, if their kernel is short.
- Steps of single voxels and of neighbourhoods are one stage with the sum of their halos.
- ``normalise`` looks at the whole volume first: what was before it is written to a scratch array, and two stages
  compute the statistics (four for percentiles).

Scratch arrays are float32. The last pass writes the image with its pyramid. Of a part of the result, passes in blocks
compute the blocks that it needs (:mod:`volengine.tasks.filter.needed`); statistics and transforms see the whole volume.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError, MemoryRefusedError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import check_stage
from volengine.engine.options import RunOptions
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput, kernel_bytes
from volengine.ops.filters import local, rescale, short
from volengine.ops.filters.faces import FaceRule
from volengine.ops.filters.short import Bound
from volengine.ops.filters.spectra import Shells
from volengine.ops.filters.transforms import SpectralGrid, padded_grid
from volengine.tasks.common.images import core_unit, factors_of, outputs_of, scratch_spec
from volengine.tasks.common.roi import size_of, start_of, tiling_of
from volengine.tasks.filter.description import Stored, grid_to_json, shells_to_json
from volengine.tasks.filter.slabs import column_core, slab_chunk, slab_slices, spectrum_chunk
from volengine.tasks.filter.statistics import ONE, moments_stages, percentile_stages, range_stages

LARGEST_BLOCK = 2**23
"""Voxels per block of neighbourhoods."""
SCRATCH_VOX = 128
"""Longest side of a chunk of a scratch volume."""

_FORWARD = "volengine.tasks.filter.blocks:forward_block"
_QUANTUM = "volengine.tasks.filter.blocks:mean_square"
_SPECTRUM = "volengine.tasks.filter.blocks:spectrum_block"
_WHOLE = "volengine.tasks.filter.blocks:spectrum_whole"
_FILTER = "volengine.tasks.filter.blocks:filter_block"
_INVERSE = "volengine.tasks.filter.blocks:inverse_block"
_LOCAL = "volengine.tasks.filter.blocks:local_block"
_RESCALE = "volengine.tasks.filter.blocks:rescale_block"
_SHORT = "volengine.tasks.filter.blocks:short_block"

IN_BLOCKS = (_LOCAL, _RESCALE, _SHORT)
"""Kernels that need a block with its halo and no more, so that of a part only the blocks it needs are computed."""


@dataclass
class Chain:
    """The stages of a list of filters, step by step.

    Parameters
    ----------
    volume
        What the next step reads: at first the source.
    waits
        Tables for which stages wait that read the source.
    folder, options
        Folder of the plan, for scratch arrays; and how to run.
    faces
        What transforms see beyond the faces of the volume, and how many voxels of it at least.
    tolerance
        Of filters of frequencies in blocks (:mod:`volengine.ops.filters.short`); ``None``: of the whole volume.
    """

    volume: Volume
    waits: Mapping[str, TableInput]
    folder: PlanFolder
    options: RunOptions
    faces: tuple[FaceRule, int] = ("periodic", 0)
    tolerance: float | None = None
    stages: list[Stage] = field(default_factory=list)
    images: list[ImageSpec] = field(default_factory=list)
    bounds: list[Bound] = field(init=False, default_factory=list)
    _gains: list[dict[str, Any]] = field(init=False, default_factory=list)
    _grid: SpectralGrid | None = field(init=False, default=None)
    _spectrum: Volume | None = field(init=False, default=None)
    _slices: int = field(init=False, default=1)
    _local: list[dict[str, Any]] = field(init=False, default_factory=list)
    _tables: dict[str, TableInput] = field(init=False, default_factory=dict)
    _passes: int = field(init=False, default=0)
    _measures: int = field(init=False, default=0)

    # -- what a planner asks for ---------------------------------------------------------------------------

    @property
    def shape(self) -> Index3:
        """Shape of the result so far."""
        return self.volume.shape if self._grid is None else self._grid.written

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Voxel size of the result so far, angstrom, z, y, x."""
        return self.volume.voxel_size if self._grid is None else self._grid.out_voxel_size

    def local(self, kind: str, values: Mapping[str, Any] | None = None) -> None:
        """Add a filter of single voxels, or of neighbourhoods (:mod:`volengine.ops.filters.local`)."""
        self._end_transform()
        self._local.append({"kind": kind, **({} if values is None else {"values": dict(values)})})

    def gain(self, gain: Mapping[str, Any]) -> None:
        """Add a gain in Fourier space (:mod:`volengine.ops.filters.gains`)."""
        if self.tolerance is None:
            self._begin_transform()
        elif not self._gains:
            self._materialise()
        self._gains.append(dict(gain))

    def end(self) -> None:
        """Add the stages of all filters of frequencies so far."""
        self._end_transform()

    def match(self, target: Mapping[str, Any], most: float, shells: Mapping[str, Any]) -> None:
        """Add the gain that gives the result so far the amplitude spectrum ``target``.

        Amplitudes are those of the volume without added voxels, which would change them.
        """
        if self.faces[0] == "periodic":
            self._begin_transform()
            assert self._grid is not None
            table = self._own_spectrum(Shells(self._grid, **shells))
        else:
            table = self._measured(shells)
            self._begin_transform()
        axis = shells.get("axis", "y")
        self._gains.append({"kind": "match", "table": table, "target": dict(target), "most": most, "axis": axis})

    def resize(self, shape: Index3, wanted: Sequence[float], taper: float) -> None:
        """Change the number of voxels in Fourier space, to those of a wanted voxel size."""
        if self._grid is not None and (
            self._grid.out_shape != self._grid.shape or any(gain["kind"] == "match" for gain in self._gains)
        ):
            self._end_transform()
        self._begin_transform((shape, wanted))
        if taper:
            assert self._grid is not None
            limits = [max(1, min(n, m) / 2) for n, m in zip(self._grid.shape, self._grid.out_shape, strict=True)]
            self._gains.append({"kind": "taper", "limits": limits, "width": taper})

    def rescale(self, shape: Index3, how: rescale.Method) -> None:
        """Change the number of voxels by means of neighbours."""
        self._materialise()
        size = [n * v / m for n, v, m in zip(self.volume.shape, self.volume.voxel_size, shape, strict=True)]
        spec = self._scratch("rescaled", shape, size)
        halo = index3(rescale.reach(n, m) for n, m in zip(self.volume.shape, shape, strict=True))

        def build(core: Index3) -> Stage:
            return Stage(
                self._name("rescale"),
                _RESCALE,
                Tiling(shape, core),
                params={"shape": self.volume.shape, "how": how},
                arrays={"image": ArrayInput(self.volume, halo, halo, scaled=True)},
                tables=self.waits,
                outputs={"image": Output(spec.volume())},
                kernel_bytes=kernel_bytes(_RESCALE, core=core, shape=self.volume.shape, out_shape=shape),
            )

        core = self.options.core_for(shape, core_unit(spec), build, largest=LARGEST_BLOCK)
        self._next(build(core), spec)

    def normalise(self, how: str, wanted: Sequence[float], clip: bool, mask: Volume | None = None) -> None:
        """Divide by the standard deviation (``std``), or by the distance of two percentiles, of what a mask names."""
        self._materialise()
        if how == "std":
            stages = moments_stages(self.volume, self.waits, self._name(""), mask)
        else:
            stages = percentile_stages(self.volume, self.waits, self._name(""), wanted, mask)
        self.stages += stages
        table = stages[-1].name
        self._tables[table] = TableInput(table, "all")
        self._local.append({"kind": "scale", "table": table, "clip": clip})

    def spectrum(self) -> str:
        """Measure the amplitude spectrum of the result so far; returns the stage whose table has it."""
        return self._measured({})

    def store(self, spec: ImageSpec, dtype: str, scale: float | None, part: Box | None) -> str:
        """Add the pass that writes the image ``spec``, of the whole result or of its part.

        Returns the stage whose table says how many voxels are beyond the type; empty for floats.
        """
        checked = "" if scale is None else self._check_range(dtype, scale, part)
        self._end_transform()
        how = Stored(dtype, scale, tuple(index3(f) for f in factors_of(spec)))  # type: ignore[arg-type]
        shape = self.volume.shape

        def build(core: Index3) -> Stage:
            return self._local_stage(
                tiling_of(shape, core, part),
                outputs_of(spec, at=start_of(part)),
                {"store": how.to_json()},
            )

        core = self.options.core_for(size_of(shape, part), core_unit(spec), build, largest=LARGEST_BLOCK)
        self.stages.append(build(core))
        self.images.append(spec)
        return checked

    # -- passes --------------------------------------------------------------------------------------------

    def _name(self, what: str) -> str:
        return f"filter-{self._passes}-{what}"

    def _scratch(self, what: str, shape: Index3, size: Sequence[float], chunk: Index3 | None = None) -> ImageSpec:
        longest = self.options.block or (SCRATCH_VOX,) * 3
        chunk = chunk or index3(min(c, n) for c, n in zip(longest, shape, strict=True))
        return scratch_spec(str(self.folder.scratch / self._name(what)), shape, "float32", chunk, size)

    def _next(self, stage: Stage, spec: ImageSpec) -> None:
        """Add a stage that writes a scratch volume, which the next step reads."""
        self.stages.append(stage)
        self.images.append(spec)
        self.volume = spec.volume().with_(name=self.volume.name)
        self.waits = {}
        self._local, self._tables = [], {}
        self._passes += 1

    def _materialise(self) -> None:
        """Write what the steps so far make to a scratch volume, unless it is stored already."""
        self._end_transform()
        if not self._local:
            return
        shape = self.volume.shape
        spec = self._scratch("local", shape, self.volume.voxel_size)

        def build(core: Index3) -> Stage:
            return self._local_stage(Tiling(shape, core), {"image": Output(spec.volume())}, {})

        self._next(build(self.options.core_for(shape, core_unit(spec), build, largest=LARGEST_BLOCK)), spec)

    def _local_stage(self, tiling: Tiling, outputs: dict[str, Output], params: dict[str, Any]) -> Stage:
        kinds = [(step["kind"], step.get("values", {})) for step in self._local]
        margin = sum(local.reach(kind, values) for kind, values in kinds)
        core = tiling.box(0).shape
        return Stage(
            self._name("local"),
            _LOCAL,
            tiling,
            params={"steps": self._local, **params},
            arrays={"image": ArrayInput(self.volume, (margin,) * 3, (margin,) * 3, edge="reflect")},
            tables={**self.waits, **self._tables},
            outputs=outputs,
            kernel_bytes=kernel_bytes(
                _LOCAL,
                read=math.prod(c + 2 * margin for c in core),
                inside=math.prod(core),
                copies=max((local.working_copies(kind) for kind, _ in kinds), default=1),
                stored=bool(params),
            ),
        )

    def _check_range(self, dtype: str, scale: float, part: Box | None) -> str:
        """Add the stages that refuse a scale before anything is stored; returns the second one."""
        self._materialise()
        stages = range_stages(self.volume, self.waits, self._name(""), (dtype, scale), part)
        self.stages += stages
        self._tables["range"] = TableInput(stages[-1].name, "all")
        return stages[-1].name

    # -- transforms ----------------------------------------------------------------------------------------

    def _measured(self, shells: Mapping[str, Any]) -> str:
        """Measure the amplitude spectrum of the result so far as it is, by a transform of its own."""
        self._materialise()
        self._measures += 1
        self._begin_transform(faces=("periodic", 0), what=f"measure{self._measures}-")
        assert self._grid is not None
        table = self._own_spectrum(Shells(self._grid, **shells), f"measure{self._measures}-")
        self._grid = self._spectrum = None
        return table

    def _begin_transform(
        self,
        result: tuple[Index3, Sequence[float]] | None = None,
        faces: tuple[FaceRule, int] | None = None,
        what: str = "",
    ) -> None:
        """Add the stage ``forward``, unless a transform has begun; ``result``: its shape and wanted voxel size."""
        if self._grid is not None:
            if result is None or result[0] == self._grid.written:
                return
            gains = self._gains  # nothing is measured yet: begin again with another result
            self._gains, self._grid = [], None
            self._undo()
            self._begin_transform(result)
            self._gains = gains
            return
        self._materialise()
        shape, size = self.volume.shape, self.volume.voxel_size
        out, wanted = result or (shape, size)
        self._grid = grid = padded_grid(shape, out, size, wanted, faces or self.faces)
        _, ny, nx = grid.shape

        def build(slices: int) -> tuple[Stage, ImageSpec]:
            chunk = spectrum_chunk(self.options, grid.before, slices)
            spec = self._scratch(f"{what}spectrum", grid.before, (1, 1, 1), chunk)
            stage = Stage(
                self._name(f"{what}forward"),
                _FORWARD,
                Tiling(grid.before, (slices, *grid.before[1:])),
                params={"grid": grid_to_json(grid)},
                arrays={"image": ArrayInput(self.volume, scaled=True)},
                tables=self.waits,
                outputs={"spectrum": Output(spec.volume())},
                emits=True,
                kernel_bytes=kernel_bytes(_FORWARD, plane=ny * nx, voxels=slices * ny * nx),
            )
            return stage, spec

        self._slices = slab_slices(self.options, grid.before[0], ny * nx, lambda slices: build(slices)[0])
        stage, spec = build(self._slices)
        self.stages.append(stage)
        self.images.append(spec)
        self._spectrum = spec.volume()

    def _undo(self) -> None:
        """Take back the stage ``forward``, whose result has become another one."""
        self.stages.pop()
        self.images.pop()
        self._spectrum = None

    def _own_spectrum(self, shells: Shells, what: str = "") -> str:
        """Measure the spectrum of the transform with its gains so far; returns the name of the stage with its table."""
        assert self._grid is not None
        assert self._spectrum is not None
        grid, spectrum, before = self._grid, self._spectrum, self._name(f"{what}forward")
        number = sum(gain["kind"] == "match" for gain in self._gains)
        name = self._name(f"{what}amplitudes-{number}")
        params = {"grid": grid_to_json(grid), "shells": shells_to_json(shells)}
        quantum = Stage(
            f"{name}-quantum",
            _QUANTUM,
            ONE,
            params={"voxels": math.prod(grid.read), "transformed": math.prod(grid.shape)},
            tables={"slices": TableInput(before, "all")},
            emits=True,
            kernel_bytes=kernel_bytes(_QUANTUM, slices=grid.read[0]),
        )

        def build(core: Index3) -> Stage:
            return Stage(
                f"{name}-sums",
                _SPECTRUM,
                Tiling(grid.after, core),
                params={**params, "gains": list(self._gains)},
                arrays={"spectrum": ArrayInput(spectrum, scaled=True)},
                tables={"quantum": TableInput(quantum.name, "all"), **self._matched()},
                emits=True,
                kernel_bytes=kernel_bytes(
                    _SPECTRUM, length=max(grid.shape[0], grid.out_shape[0]), row=min(core[2], grid.after[2]) // 2
                ),
            )

        sums = build(column_core(self.options, grid.after, self._slices, build))
        whole = Stage(
            name,
            _WHOLE,
            ONE,
            params=params,
            tables={"quantum": TableInput(quantum.name, "all"), "sums": TableInput(sums.name, "all")},
            emits=True,
            kernel_bytes=kernel_bytes(_WHOLE, blocks=len(sums.tiling), rows=shells.count * shells.sectors),
        )
        self.stages += [quantum, sums, whole]
        return name

    def _matched(self) -> dict[str, TableInput]:
        """The tables of the spectra that the gains read."""
        return {gain["table"]: TableInput(gain["table"], "all") for gain in self._gains if gain["kind"] == "match"}

    def _end_transform(self) -> None:
        """Add the stages ``columns`` and ``inverse``, if a transform has begun; or that of blocks."""
        if self.tolerance is not None and self._gains:
            self._in_blocks(self.tolerance)
        if self._grid is None:
            return
        assert self._spectrum is not None
        grid, spectrum, gains = self._grid, self._spectrum, self._gains
        filtered = self._scratch(
            "filtered", grid.after, (1, 1, 1), spectrum_chunk(self.options, grid.after, self._slices)
        )

        def columns(core: Index3) -> Stage:
            return Stage(
                self._name("columns"),
                _FILTER,
                Tiling(grid.after, core),
                params={"grid": grid_to_json(grid), "gains": gains},
                arrays={"spectrum": ArrayInput(spectrum, scaled=True)},
                tables=self._matched(),
                outputs={"filtered": Output(filtered.volume())},
                kernel_bytes=kernel_bytes(
                    _FILTER, length=max(grid.shape[0], grid.out_shape[0]), row=min(core[2], grid.after[2]) // 2
                ),
            )

        self.stages.append(columns(column_core(self.options, grid.after, self._slices, columns)))
        self.images.append(filtered)
        self._inverse(grid, filtered)

    def _in_blocks(self, tolerance: float) -> None:
        """Add the stage that filters the volume so far in blocks, whose size the filters say, not the options.

        Raises
        ------
        InputError
            The kernel is not short enough.
        """
        volume, gains = self.volume, self._gains
        found = short.shortest(gains, volume.voxel_size, tolerance)
        if found.bound.gain > tolerance:
            raise InputError(_too_far(gains, found, tolerance))
        reach, core = found.reach, found.core(volume.shape)
        chunk = index3(c // 2 if c < n and c > SCRATCH_VOX else c for c, n in zip(core, volume.shape, strict=True))
        spec = self._scratch("short", volume.shape, volume.voxel_size, chunk)
        stage = Stage(
            self._name("short"),
            _SHORT,
            Tiling(volume.shape, core),
            params={"gains": gains, "voxel_size": list(volume.voxel_size), "reach": reach, "core": core},
            arrays={"image": ArrayInput(volume, reach, reach, edge="reflect")},
            tables=self.waits,
            outputs={"image": Output(spec.volume())},
            kernel_bytes=kernel_bytes(_SHORT, core=core, reach=reach),
            fixed_bytes=short.transfer_bytes(core, reach),
        )
        try:
            check_stage(stage, self.options.limit_bytes())
        except MemoryRefusedError as error:
            more = "The size of a block follows from the filters; --transform whole needs less memory."
            raise MemoryRefusedError(f"{error} {more}") from None
        self.bounds.append(found.bound)
        self._gains = []
        self._next(stage, spec)

    def _inverse(self, grid: SpectralGrid, filtered: ImageSpec) -> None:
        (nz, ny, nx), (_, my, mx) = grid.written, grid.out_shape

        def build(slices: int) -> tuple[Stage, ImageSpec]:
            chunk = slab_chunk(self.options, grid.written, slices)
            spec = self._scratch("transformed", grid.written, grid.out_voxel_size, chunk)
            stage = Stage(
                self._name("inverse"),
                _INVERSE,
                Tiling(grid.written, (slices, ny, nx)),
                params={"grid": grid_to_json(grid)},
                arrays={"filtered": ArrayInput(filtered.volume(), scaled=True)},
                outputs={"image": Output(spec.volume())},
                kernel_bytes=kernel_bytes(_INVERSE, plane=my * mx),
            )
            return stage, spec

        slices = slab_slices(self.options, nz, my * mx, lambda count: build(count)[0], self._slices)
        self._gains, self._grid, self._spectrum = [], None, None
        self._next(*build(slices))


def _too_far(gains: Sequence[Mapping[str, Any]], found: short.Short, tolerance: float) -> str:
    kinds = ", ".join(str(gain["kind"]) for gain in gains)
    return (
        f"filter: in blocks these filters ({kinds}) would differ by {found.bound.gain:.2g} of their largest gain with "
        f"a reach of {max(found.reach)} voxels, and the tolerance is {tolerance:g}: they look too far. Take "
        "--transform whole; or a wider edge, a higher highpass, or a larger --tolerance."
    )
