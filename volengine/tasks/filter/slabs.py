"""How large the slabs of a transform are: of whole slices, and of whole columns; and the chunks between them."""

from __future__ import annotations

from collections.abc import Callable

from volengine.core.boxes import Index3, index3
from volengine.core.errors import MemoryRefusedError
from volengine.engine.memory import HEADROOM, check_stage, choose_core, peak_bytes
from volengine.engine.options import RunOptions
from volengine.engine.stage import Stage

LARGEST_SLAB = 2**26
"""Voxels of a slab of slices, beyond which it gains nothing; a slab of columns has a quarter of it."""
MOST_SLICES = 64
"""Slices of a slab at most."""
CHUNK_FLOATS = 2**18
"""Numbers in a chunk: 1 MB, so that there are neither too many files nor too large ones."""
IN_BLOCKS = "where its kernel is short, --transform blocks does without that."
"""What else helps than a larger worker."""
CHUNK_X = 256
"""Longest side of a spectrum's chunk along x, numbers."""


def slab_slices(
    options: RunOptions, slices: int, plane: int, build: Callable[[int], Stage], most: int = MOST_SLICES
) -> int:
    """Choose the number of slices of a slab: as many as fit, in enough slabs for all workers.

    Parameters
    ----------
    options
        How to run; with ``block`` its first number is taken.
    slices, plane
        Number of slices of the volume, and of voxels of each.
    build
        Makes the stage for a number of slices.
    most
        Not more than these.

    Raises
    ------
    MemoryRefusedError
        Not even one slice fits.
    """
    if options.block is not None:
        return min(options.block[0], slices)
    shared = max(1, -(-slices // (2 * options.processes)))
    most = max(1, min(most, shared, LARGEST_SLAB // plane))
    limit = options.limit_bytes()
    counts: set[int] = {most, *(1 << k for k in range(7) if 1 << k < most)}
    for count in sorted(counts, reverse=True):
        if peak_bytes(build(count)) <= limit * HEADROOM:
            return count
    try:
        check_stage(build(1), limit, divisible=False)
    except MemoryRefusedError as error:
        raise MemoryRefusedError(f"{error} A filter in Fourier space reads whole slices; {IN_BLOCKS}") from None
    return 1


def spectrum_chunk(options: RunOptions, shape: Index3, slices: int) -> Index3:
    """The chunk of a spectrum of this shape: the slices of a slab along z, and a part of the columns."""
    if options.block is not None:
        _, y, x = options.block
        return index3(min(c, n) for c, n in zip((slices, y, 2 * x), shape, strict=True))
    slices = min(slices, shape[0])
    x = min(shape[2], CHUNK_X)
    return slices, min(shape[1], max(1, CHUNK_FLOATS // (slices * x))), x


def slab_chunk(options: RunOptions, shape: Index3, slices: int) -> Index3:
    """The chunk of a volume of this shape that is written in slabs of whole slices, and then read in blocks."""
    side = 128 if slices >= 16 else 256 if slices >= 4 else 512
    _, y, x = options.block or (slices, side, side)
    return index3(min(c, n) for c, n in zip((slices, y, x), shape, strict=True))


def column_core(options: RunOptions, shape: Index3, slices: int, build: Callable[[Index3], Stage]) -> Index3:
    """Choose a block of whole columns of a spectrum of this shape, in whole chunks.

    Raises
    ------
    MemoryRefusedError
        Not even the columns of one chunk fit.
    """
    unit = (shape[0], *spectrum_chunk(options, shape, slices)[1:])
    if options.block is not None:
        return unit
    limit, wanted = options.limit_bytes(), options.processes
    try:
        return choose_core(shape, unit, limit, build, wanted=wanted, largest=LARGEST_SLAB // 4)
    except MemoryRefusedError as error:
        raise MemoryRefusedError(
            f"{error} A filter in Fourier space reads whole columns along z; {IN_BLOCKS}"
        ) from None
