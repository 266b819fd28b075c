"""Planning the resolution levels of an image, such that one writer owns whole shards of every level.

>>> levels = plan_levels((400, 1000, 1000))
>>> [level.shape for level in levels]
[(400, 1000, 1000), (200, 500, 500), (100, 250, 250), (50, 125, 125)]
>>> [level.shards for level in levels]
[(256, 256, 256), (128, 128, 128), (64, 64, 64), (32, 32, 32)]
>>> block_unit(levels)
(256, 256, 256)

A block that writes 256 voxels of level 0 writes 128 of level 1, 64 of level 2, and so on. So the shards shrink by the
same factor; where they would become smaller than the chunk, the chunk shrinks too.
"""

from __future__ import annotations

import logging
from math import ceil, gcd, lcm, prod
from typing import Literal

from volengine.core.boxes import Index3, index3
from volengine.core.errors import PlanError
from volengine.core.image import Level, Ngff
from volengine.core.tiling import AXES

MAX_CHUNKS_PER_SHARD = 512
"""With more chunks a shard is slow: its index is read and written as a whole, and each chunk costs a call."""

MIN_CHUNK = 16
"""Smallest side of the chunks of coarse levels, voxels; levels with smaller chunks are left out."""

log = logging.getLogger(__name__)


def plan_levels(
    shape: Index3,
    *,
    chunk: Index3 | None = None,
    shard: Index3 | Literal["auto"] | None = "auto",
    ngff: Ngff = "0.5",
    levels: int | None = None,
    smallest: int = 128,
) -> tuple[Level, ...]:
    """Plan the levels of a pyramid, each half as fine as the one before.

    Levels are added until no axis is longer than ``smallest``. Each level halves the axes that are still longer than
    their chunk, so a thin slab keeps its slices. The sides of a level are those of level 0 divided by the level's
    factor, rounded up.

    Parameters
    ----------
    shape
        Shape of level 0, voxels z, y, x.
    chunk
        Shape of a chunk, the smallest part that is read, z, y, x. On short axes it is cut down to the volume. ``None``:
        :func:`auto_chunk`.
    shard
        Shape of a shard, the smallest part that is written, a multiple of the chunk. ``"auto"``: four chunks along each
        axis. ``None``, and always for NGFF 0.4: no shards. Then each chunk is a file, and coarse levels are planned as
        if there were shards of this shape (four chunks if ``None``), see :func:`block_unit`.
    ngff
        Version of the metadata, on which it depends whether shards can be stored.
    levels
        Number of levels; ``None``: as many as ``smallest`` asks for and the shards allow.
    smallest
        Largest side of the coarsest level, voxels.

    Returns
    -------
    Levels named ``"0"``, ``"1"`` ..., the finest first.

    Raises
    ------
    PlanError
        A size is less than 1, the shard is not a multiple of the chunk, a shard holds more than 512 chunks, or the
        wanted number of levels cannot be made.
    """
    chunk = auto_chunk(shape) if chunk is None else chunk
    if any(n < 1 for n in shape) or any(c < 1 for c in chunk):
        raise PlanError(f"An image needs positive sizes: shape {tuple(shape)}, chunk {tuple(chunk)}.")
    if levels is not None and levels < 1:
        raise PlanError(f"An image needs at least one level, not {levels}.")
    owned = index3(4 * c for c in chunk) if shard is None or shard == "auto" else shard
    _check_shard(chunk, owned)
    sharded = shard is not None and ngff != "0.4"
    planned: list[Level] = []
    factor: Index3 = (1, 1, 1)
    while True:
        level = _level(len(planned), shape, factor, chunk, owned, sharded)
        if level is None:
            _left_out(len(planned), factor, shard=owned, asked=levels)
            break
        planned.append(level)
        if len(planned) == levels or (levels is None and max(level.shape) <= smallest):
            break
        step = index3(2 if n > c else 1 for n, c in zip(level.shape, chunk, strict=True))
        if step == (1, 1, 1):
            if levels is not None:
                raise PlanError(
                    f"{levels} levels of a volume of shape {tuple(shape)} are too many: level {len(planned) - 1}, "
                    f"{level.shape}, already fits into one chunk {tuple(chunk)}. Use at most {len(planned)}."
                )
            break
        factor = index3(f * s for f, s in zip(factor, step, strict=True))
    return tuple(planned)


def auto_chunk(shape: Index3) -> Index3:
    """Return the default chunk: 64 voxels along each axis; for volumes of few slices it is wider along y and x."""
    z = min(shape[0], 64)
    side = next(side for slices, side in ((1, 512), (4, 256), (16, 128), (64, 64)) if z <= slices)
    return z, side, side


def block_unit(levels: tuple[Level, ...]) -> Index3:
    """Return the smallest block of level 0 that owns whole shards of every level; cores must be multiples of it.

    Along an axis on which it would be longer than the volume, it has the length of the volume.
    """
    unit = []
    for axis in range(3):
        length = levels[0].shape[axis]
        needed = lcm(*(level.unit[axis] * level.factor[axis] for level in levels))
        alone = all(level.unit[axis] >= level.shape[axis] for level in levels)
        unit.append(length if alone else min(needed, length))
    return index3(unit)


def _check_shard(chunk: Index3, shard: Index3) -> None:
    for axis, c, s in zip(AXES, chunk, shard, strict=True):
        if s % c:
            above = ceil(s / c) * c
            below = s // c * c
            use = f"{below} or {above}" if below else str(above)
            raise PlanError(
                f"Shard {tuple(shard)} is not a multiple of chunk {tuple(chunk)} on axis {axis}; use {use}."
            )
    count = prod(s // c for s, c in zip(shard, chunk, strict=True))
    if count > MAX_CHUNKS_PER_SHARD:
        raise PlanError(
            f"A shard {tuple(shard)} of chunks {tuple(chunk)} holds {count} chunks; more than "
            f"{MAX_CHUNKS_PER_SHARD} are slow. Use larger chunks or smaller shards."
        )


def _level(number: int, shape: Index3, factor: Index3, chunk: Index3, shard: Index3, sharded: bool) -> Level | None:
    """Plan one level; ``None`` if its shards would not be a whole number of voxels, or its chunks too small."""
    sizes = index3(ceil(n / f) for n, f in zip(shape, factor, strict=True))
    chunks, shards = [], []
    for n, n0, f, c, s in zip(sizes, shape, factor, chunk, shard, strict=True):
        if s >= n0:  # one writer covers the axis: nothing to keep apart
            chunks.append(min(c, n))
            shards.append(ceil(n / min(c, n)) * min(c, n))
            continue
        if s % f:
            return None
        inner = gcd(s // f, c)
        if inner < min(MIN_CHUNK, c):
            return None
        chunks.append(inner)
        shards.append(s // f)
    return Level(str(number), sizes, factor, chunks=index3(chunks), shards=index3(shards) if sharded else None)


def _left_out(number: int, factor: Index3, *, shard: Index3, asked: int | None) -> None:
    reason = (
        f"level {number} (one voxel for {factor} voxels) would need chunks below {MIN_CHUNK} voxels, "
        f"because a block owns shards of {tuple(shard)} voxels"
    )
    if asked is not None:
        raise PlanError(f"{asked} levels cannot be made: {reason}. Use {number} levels or larger shards.")
    log.info("left out: %s", reason)
