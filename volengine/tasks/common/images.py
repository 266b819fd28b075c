"""Images that stages write: how they are stored, their pyramids, and the outputs of a stage on all levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volengine.core.boxes import Index3
from volengine.core.image import ImageSpec, Level, Ngff
from volengine.core.volume import Kind, Volume
from volengine.engine.stage import Output


def auto_shard(shape: Index3, chunk: Index3) -> Index3:
    """Choose shards of 1, 2 or 4 chunks a side: few files for large volumes, many blocks for small ones."""
    voxels = int(np.prod(shape))
    times = 1 if voxels < 160**3 else 2 if voxels < 700**3 else 4
    z, y, x = (c * times for c in chunk)
    return z, y, x


@dataclass(frozen=True)
class StoreOptions:
    """How an image is stored; a field that is ``None`` follows from the volume whose grid the image has.

    Parameters
    ----------
    chunk, shard
        Voxels z, y, x; default: those of the volume, or, if it is not in a Zarr store, chosen by its size.
    ngff
        ``0.5`` (Zarr v3, sharded), ``0.6`` (the same with coordinate systems) or ``0.4`` (Zarr v2).
    codec
        ``auto``, or a name that ``volengine.io.omezarr.codecs`` knows.
    levels
        Number of levels; default: until no axis is longer than 128 voxels.
    """

    chunk: Index3 | None = None
    shard: Index3 | None = None
    ngff: Ngff = "0.5"
    codec: str = "auto"
    levels: int | None = None


def image_spec(
    url: str,
    like: Volume,
    how: StoreOptions = StoreOptions(),
    *,
    dtype: str,
    kind: Kind,
    group: str = "",
    facts: Mapping[str, Any] | None = None,
) -> ImageSpec:
    """Describe an image that will be written on the grid of a volume.

    Parameters
    ----------
    url
        Path or URL of the store.
    like
        The volume whose shape, voxel size, origin and name the image has.
    how
        How the image is stored.
    dtype, kind
        Type and meaning of its voxels.
    group
        ``labels/NAME`` for a label image inside of the store.
    facts
        Facts that are kept in the image's attributes, JSON values.

    Returns
    -------
    ImageSpec
        All levels of the image; nothing is written.
    """
    from volengine.io.omezarr.levels import auto_chunk, plan_levels
    from volengine.io.stores import located

    stored = like.stored  # or planned to be; the chunks of other files are of any size
    chunk = how.chunk or (like.chunks if stored else None) or auto_chunk(like.shape)
    shard = how.shard or (like.shards if stored else None) or auto_shard(like.shape, chunk)
    return ImageSpec(
        url=located(url),
        name=like.name,
        dtype=dtype,
        kind=kind,
        voxel_size=like.voxel_size,
        origin=like.origin,
        levels=plan_levels(like.shape, chunk=chunk, shard=shard, ngff=how.ngff, levels=how.levels),
        group=group,
        ngff=how.ngff,
        codec=how.codec,
        facts=dict(facts or {}),
    )


def scratch_spec(
    url: str, shape: Index3, dtype: str, chunk: Index3, voxel_size: Sequence[float] = (1, 1, 1)
) -> ImageSpec:
    """Describe an array in the run's scratch folder, with one file per chunk; a block's core must hold whole chunks."""
    z, y, x = map(float, voxel_size)  # as a plan that is read from its file has them, and so its digest
    level = Level("0", shape, (1, 1, 1), chunk)
    return ImageSpec(url, "scratch", dtype, "intensity", (z, y, x), (level,), scratch=True)


def core_unit(*specs: ImageSpec) -> Index3:
    """The smallest core, voxels z, y, x, of which the cores of blocks that write these images must be multiples."""
    from volengine.io.omezarr.levels import block_unit

    units = [block_unit(spec.levels) for spec in specs]
    z, y, x = (int(np.lcm.reduce(axis)) for axis in zip(*units, strict=True))
    return z, y, x


def outputs_of(spec: ImageSpec, name: str = "", at: Index3 = (0, 0, 0)) -> dict[str, Output]:
    """A stage's outputs for all levels of an image, named ``name@level``; ``at``: the voxel at which it begins."""
    return {
        f"{name}@{number}": Output(spec.volume(number), level.factor, at=at) for number, level in enumerate(spec.levels)
    }


def factors_of(spec: ImageSpec) -> list[Index3]:
    """The factors of an image's levels, as JSON, for :func:`volengine.tasks.common.levels.levels_of`."""
    return [level.factor for level in spec.levels]
