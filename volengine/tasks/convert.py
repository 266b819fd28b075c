"""convert: MRC, TIFF or Zarr to a chunked OME-Zarr image with its pyramid, voxel size, header and history.

One pass: each block reads its voxels once and writes its part of every level of the pyramid.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.paths import PathLike, path_text
from volengine.core.recipe import Recipe
from volengine.core.tiling import Tiling
from volengine.core.volume import Kind, Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import choose_core
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_plan
from volengine.engine.stage import ArrayInput, Stage, TableInput
from volengine.io import OpenVolume, is_packed, open_volume, suffix_of
from volengine.io.codecs import check_codec
from volengine.tasks.images import core_unit, factors_of, image_spec, levels_of, outputs_of
from volengine.tasks.layout import history, join_url, plan_folder, run_dir_for, run_dir_in

LARGEST_BLOCK = 2**23
"""Voxels per block: 32 MB of float32, so that reading, computing and writing overlap within 500 MB."""


@dataclass(frozen=True)
class ConvertRecipe(Recipe):
    """What to write.

    Parameters
    ----------
    voxel_size
        Angstrom, one number or z, y, x; overrides the file's.
    chunk, shard
        Storage in voxels, z, y, x; chosen by the volume's size unless given.
    ngff
        ``0.5`` (Zarr v3, sharded) or ``0.4`` (Zarr v2).
    levels
        Number of resolution levels; default: until no axis is longer than 128 voxels.
    codec
        See ``volengine.io.codecs``; ``auto`` chooses by dtype and kind.
    kind
        ``intensity`` or ``probability`` (levels are means) or ``labels`` (levels are modes).
    name
        The tomogram's name; default: the file's stem.
    """

    voxel_size: float | tuple[float, float, float] | None = None
    chunk: tuple[int, int, int] | None = None
    shard: tuple[int, int, int] | None = None
    ngff: Literal["0.4", "0.5"] = "0.5"
    levels: int | None = None
    codec: str = "auto"
    kind: Literal["intensity", "probability", "labels"] = "intensity"
    name: str | None = None

    def check(self) -> None:
        sizes = self.voxel_size if isinstance(self.voxel_size, tuple) else (self.voxel_size,)
        if any(v is not None and v <= 0 for v in sizes):
            raise InputError(f"--voxel-size must be positive (angstrom), not {self.voxel_size}.")
        if any(s is not None and min(s) < 1 for s in (self.chunk, self.shard)):
            raise InputError(f"Chunk {self.chunk} and shard {self.shard} must be positive.")
        if self.levels is not None and self.levels < 1:
            raise InputError(f"--levels must be 1 or more, not {self.levels}.")
        check_codec(self.codec)


def convert(
    source: PathLike, out: PathLike, recipe: ConvertRecipe | None = None, options: RunOptions | None = None
) -> OpenVolume:
    """Convert a file or store to OME-Zarr and return the handle of the result.

    Parameters
    ----------
    source
        ``.mrc .rec .map .st .ali`` (also ``.gz .bz2``), ``.tif``, or an OME-Zarr store.
    out
        The store to write (``.ome.zarr``); a path or URL.
    recipe, options
        What to write and how to run.

    Raises
    ------
    InputError
        The source cannot be read, has no usable voxel size, or ``out`` exists and is another run's.
    """
    source, out = path_text(source), path_text(out)
    recipe, options = recipe or ConvertRecipe(), options or RunOptions()
    volume = open_volume(source, voxel_size=recipe.voxel_size, name=recipe.name)
    run_dir = options.run_dir or run_dir_for(out)
    run_plan(plan_convert(volume, recipe, out, plan_folder(run_dir, volume.name), options), run_dir, options)
    return open_volume(out)


def convert_jobs(sources: list[str], out: str, recipe: ConvertRecipe, options: RunOptions) -> tuple[list[Job], str]:
    """Jobs for many sources, and their run folder.

    ``out`` is the store itself for one source if it ends with ``.zarr``; else the folder that gets
    ``<name>.ome.zarr`` for each source.
    """
    single = out.rstrip("/").endswith(".zarr")
    if single and len(sources) > 1:
        raise InputError(f"--out {out} is one store, but there are {len(sources)} sources; give a folder.")
    run_dir = options.run_dir or (run_dir_for(out) if single else run_dir_in(out, "convert.run"))

    def job(source: str) -> Job:
        def plan() -> Plan:
            volume = open_volume(source, voxel_size=recipe.voxel_size, name=recipe.name)
            store = out if single else join_url(out, f"{volume.name}.ome.zarr")
            return plan_convert(volume, recipe, store, plan_folder(run_dir, volume.name), options)

        return Job(source, plan)

    return [job(source) for source in sources], run_dir


def plan_convert(volume: Volume, recipe: ConvertRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Stages that write ``volume`` to the store ``out``; ``images[0]`` of the plan is the result."""
    spec = image_spec(
        out,
        volume,
        dtype=volume.dtype,
        kind=recipe.kind,
        chunk=recipe.chunk,
        shard=recipe.shard,
        ngff=recipe.ngff,
        codec=recipe.codec,
        levels=recipe.levels,
        facts={**volume.facts, "history": history(volume, "convert", recipe)},
    )
    stages: list[Stage] = []
    source = volume
    if is_packed(volume.url):
        unpacked = str(folder.scratch / f"source{suffix_of(volume.url)}")
        stages.append(unpack_stage(volume, unpacked))
        source = volume.with_(url=unpacked)

    def build(core: Index3) -> Stage:
        return _copy_stage(source, spec, core, unpacked=bool(stages))

    core = options.block or choose_core(
        volume.shape,
        core_unit(spec),
        options.limit_bytes(),
        build,
        wanted=options.processes,
        largest=LARGEST_BLOCK,
    )
    stages.append(build(core))
    return Plan(volume.name, tuple(stages), (spec,), recipe={"convert": recipe.to_json()})


def _copy_stage(source: Volume, spec: ImageSpec, core: Index3, *, unpacked: bool) -> Stage:
    voxels = int(np.prod([min(c, n) for c, n in zip(core, source.shape, strict=True)]))
    return Stage(
        "convert",
        "volengine.tasks.convert:copy_block",
        Tiling(source.shape, core),
        params={"factors": factors_of(spec), "kind": spec.kind},
        arrays={"source": ArrayInput(source)},
        tables={"unpacked": TableInput("unpack", "all")} if unpacked else {},
        outputs=outputs_of(spec),
        kernel_bytes=voxels * 8,  # the float64 sums of the first mean
    )


def copy_block(block: Block, factors: list[list[int]], kind: Kind) -> Result:
    """Kernel: a block of the source on every level."""
    return Result(levels_of(block.arrays["source"], factors, kind))


def unpack_stage(volume: Volume, target: str) -> Stage:
    """The stage that unpacks a compressed file into ``target``, which goes with the end of the run."""
    return Stage(
        "unpack",
        "volengine.tasks.convert:unpack_file",
        Tiling((1, 1, 1), (1, 1, 1)),
        params={"source": volume.url, "target": target, "identity": volume.identity},
        emits=True,
        transient=True,
    )


def unpack_file(block: Block, source: str, target: str, identity: str) -> Result:
    """Kernel: decompress a ``.gz`` or ``.bz2`` file into the run's scratch folder.

    The one kernel that knows paths: a compressed file can only be read from its beginning. ``identity`` makes the
    unit another one when the file changes.
    """
    from volengine.io.mrc import decompress

    Path(target).parent.mkdir(parents=True, exist_ok=True)
    decompress(source, target)
    return Result(table={"bytes": np.array([Path(target).stat().st_size])})
