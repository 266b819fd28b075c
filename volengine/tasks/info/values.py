"""The values of a volume: least and largest, mean, standard deviation, share of zeros and of what is no number."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from math import ceil, prod
from typing import Any

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import VolengineError
from volengine.core.volume import Volume
from volengine.io.open import open_source
from volengine.ops.value_stats import ValueStats

SAMPLED = 2**24
"""Voxels up to which all of them are looked at in any case; of larger volumes parts that are spread evenly."""

PART_BYTES = 2**25
"""Bytes of voxels that are read at a time, unless one chunk has more."""


def values_of(
    volumes: Sequence[Volume], *, full: bool, read: Callable[[int], object] = lambda voxels: None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Compute the statistics of the voxels of volumes, which are channels and time points of one image.

    Parameters
    ----------
    volumes
        The volumes.
    full
        Look at all voxels. If not, a volume of more than :data:`SAMPLED` voxels (of all together) is sampled.
    read
        Called with the number of voxels after each part.

    Returns
    -------
    list, dict
        The statistics of each volume, and of all: ``voxels`` (number looked at), ``share_read`` (of all that there
        are), ``min``, ``max``, ``mean``, ``std`` (of finite values; ``None`` if there is none), ``share_nan``,
        ``share_infinite``, ``share_zero``.

    Raises
    ------
    VolengineError
        The voxels cannot be read.
    """
    most = SAMPLED // len(volumes) if not full else None
    each, together = [], ValueStats()
    for volume in volumes:
        found = ValueStats()
        source = open_source(volume)
        for box in boxes_of(volume, most):
            found = found.merged(ValueStats.of(source.read(box)))
            read(prod(box.shape))
        each.append(in_words(found, volume.size))
        together = together.merged(found)
    return each, in_words(together, sum(volume.size for volume in volumes))


def in_words(found: ValueStats, size: int) -> dict[str, Any]:
    """Return statistics under plain names; ``size`` is the number of voxels that there are."""
    return {
        "voxels": found.count,
        "share_read": found.count / size,
        "min": found.least,
        "max": found.largest,
        "mean": found.mean if found.finite else None,
        "std": found.std,
        "share_nan": found.share(found.nan),
        "share_infinite": found.share(found.infinite),
        "share_zero": found.share(found.zero),
    }


def boxes_of(volume: Volume, most: int | None = None) -> Iterator[Box]:
    """Yield boxes of whole chunks (of plain files, whole rows) that cover a volume, each of a bounded size.

    Parameters
    ----------
    volume
        The volume.
    most
        Number of voxels; of a larger volume as many boxes as have about so many voxels, spread evenly.
    """
    part = _part(volume)
    counts = [ceil(n / p) for n, p in zip(volume.shape, part, strict=True)]
    cells: Iterator[tuple[int, ...]] = itertools.product(*(range(n) for n in counts))
    total = prod(counts)
    if most is not None and volume.size > most:
        kept = max(1, min(total, most // prod(part)))
        chosen = [(2 * number + 1) * total // (2 * kept) for number in range(kept)]
        cells = (_cell(number, counts) for number in chosen)
    for cell in cells:
        start = index3(i * p for i, p in zip(cell, part, strict=True))
        stop = index3(min(a + p, n) for a, p, n in zip(start, part, volume.shape, strict=True))
        yield Box(start, stop)


def _cell(number: int, counts: Sequence[int]) -> tuple[int, ...]:
    z, rest = divmod(number, counts[1] * counts[2])
    return (z, *divmod(rest, counts[2]))


def _part(volume: Volume) -> Index3:
    """Return the shape of a box: a chunk (of a plain file, a row), made longer along x, then y, then z."""
    itemsize = max(1, volume.nbytes // volume.size)
    part = list(volume.chunks or (1, 1, volume.shape[2]))
    for axis in (2, 1, 0):
        room = PART_BYTES // (itemsize * prod(part))
        part[axis] = min(volume.shape[axis], part[axis] * max(1, room))
    return index3(part)


def try_values(
    volumes: Sequence[Volume], facts: dict[str, Any], *, full: bool, read: Callable[[int], object]
) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
    """Compute statistics; of a volume that cannot be read note why in ``facts``, unless all voxels were asked for."""
    try:
        return values_of(volumes, full=full, read=read)
    except VolengineError as error:
        if full:
            raise
        facts["values_error"] = str(error)
        return None
