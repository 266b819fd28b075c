"""The stages of ``filter`` that look at all voxels before they are normalised; the last one's table has the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from volengine.core.boxes import Box, index3
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.stage import ArrayInput, Stage, TableInput, kernel_bytes
from volengine.ops.normalise import CELL
from volengine.tasks.common.roi import tiling_of
from volengine.tasks.filter.description import STATISTICS_SLICES

MOST_BEYOND = 0.01
"""Share of the voxels that may be beyond the type of integers."""
BLOCK_VOX = 128
"""Side of the blocks whose values are counted."""

_MOMENTS = "volengine.tasks.filter.blocks:moments_block"
_MEAN = "volengine.tasks.filter.blocks:moments_whole"
_UPPER = "volengine.tasks.filter.blocks:upper_block"
_PLACES = "volengine.tasks.filter.blocks:places_whole"
_LOWER = "volengine.tasks.filter.blocks:lower_block"
_RANGE = "volengine.tasks.filter.blocks:range_block"
_BEYOND = "volengine.tasks.filter.blocks:range_whole"
_RANKS = "volengine.tasks.filter.blocks:percentiles_whole"
ONE = Tiling((1, 1, 1), (1, 1, 1))
"""The tiling of a stage that reads tables alone."""


def _images(volume: Volume, mask: Volume | None) -> dict[str, ArrayInput]:
    return {"image": ArrayInput(volume)} | ({} if mask is None else {"mask": ArrayInput(mask)})


def moments_stages(
    volume: Volume, waits: Mapping[str, TableInput], prefix: str, mask: Volume | None = None
) -> list[Stage]:
    """Plan the mean and standard deviation of a volume, where a mask is not 0.

    Parameters
    ----------
    volume, waits
        The volume, and tables for which the stages that read it wait.
    prefix
        Beginning of the names of the stages.
    mask
        Volume of the same shape; ``None``: all voxels count.
    """
    tiling = Tiling(volume.shape, (STATISTICS_SLICES, CELL, CELL))
    parts = Stage(
        f"{prefix}moments",
        _MOMENTS,
        tiling,
        arrays=_images(volume, mask),
        tables=waits,
        emits=True,
        kernel_bytes=kernel_bytes(_MOMENTS),
    )
    _, ny, nx = tiling.grid
    whole = Stage(
        f"{prefix}mean",
        _MEAN,
        ONE,
        tables={"parts": TableInput(parts.name, "all")},
        emits=True,
        kernel_bytes=kernel_bytes(_MEAN, slices=volume.shape[0], cells=ny * nx),
    )
    return [parts, whole]


def percentile_stages(
    volume: Volume, waits: Mapping[str, TableInput], prefix: str, wanted: Sequence[float], mask: Volume | None = None
) -> list[Stage]:
    """Plan two percentiles, exactly (:mod:`volengine.ops.filters.order`); parameters are as for the moments."""
    facts = {"wanted": list(wanted)}
    core = index3(min(BLOCK_VOX, n) for n in volume.shape)
    tiling, voxels = Tiling(volume.shape, core), math.prod(core)
    image = _images(volume, mask)
    upper = Stage(
        f"{prefix}upper",
        _UPPER,
        tiling,
        arrays=image,
        tables=waits,
        emits=True,
        kernel_bytes=kernel_bytes(_UPPER, voxels=voxels),
    )
    places = Stage(
        f"{prefix}places",
        _PLACES,
        ONE,
        params=facts,
        tables={"parts": TableInput(upper.name, "all")},
        emits=True,
        kernel_bytes=kernel_bytes(_PLACES, blocks=len(tiling)),
    )
    lower = Stage(
        f"{prefix}lower",
        _LOWER,
        tiling,
        arrays=image,
        tables={"places": TableInput(places.name, "all"), **waits},
        emits=True,
        kernel_bytes=kernel_bytes(_LOWER, voxels=voxels),
    )
    ranks = Stage(
        f"{prefix}percentiles",
        _RANKS,
        ONE,
        params=facts,
        tables={"places": TableInput(places.name, "all"), "parts": TableInput(lower.name, "all")},
        emits=True,
        kernel_bytes=kernel_bytes(_RANKS, blocks=len(tiling)),
    )
    return [upper, places, lower, ranks]


def range_stages(
    volume: Volume, waits: Mapping[str, TableInput], prefix: str, how: tuple[str, float], part: Box | None
) -> list[Stage]:
    """Plan to count the voxels that are beyond a type of integers (``how``: type and scale), and to refuse too many."""
    dtype, scale = how
    core = index3(min(BLOCK_VOX, n) for n in volume.shape)
    tiling = tiling_of(volume.shape, core, part)
    parts = Stage(
        f"{prefix}range",
        _RANGE,
        tiling,
        params={"dtype": dtype, "scale": scale},
        arrays={"image": ArrayInput(volume)},
        tables=waits,
        emits=True,
        kernel_bytes=kernel_bytes(_RANGE, voxels=math.prod(core)),
    )
    whole = Stage(
        f"{prefix}beyond",
        _BEYOND,
        ONE,
        params={"dtype": dtype, "scale": scale, "most": MOST_BEYOND},
        tables={"parts": TableInput(parts.name, "all")},
        emits=True,
        kernel_bytes=kernel_bytes(_BEYOND, blocks=len(tiling)),
    )
    return [parts, whole]
