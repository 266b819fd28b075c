"""Planning ``convert --montage``: each block reads the pieces that cover it, and blends them.

With ``montage_shifts="correlate"`` two stages are before that: a unit for each overlap, and one that solves the shifts
of all pieces of the section together.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import ArrayInput, Stage, TableInput, kernel_bytes
from volengine.tasks.common.images import StoreOptions, core_unit, factors_of, image_spec, outputs_of
from volengine.tasks.common.layout import history
from volengine.tasks.convert.mosaic import Mosaic
from volengine.tasks.convert.recipe import ConvertRecipe

LARGEST_BLOCK = 2**22
"""Voxels per block."""

LEAST_OVERLAP = 16
"""Overlaps that are narrower, voxels, are not correlated."""

LARGEST_OVERLAP = 2**19
"""Voxels of an overlap that are correlated, around its middle."""

SHARE = 10
"""By default a piece may be moved by its shorter side divided by this."""

_PLACE = "volengine.tasks.convert.montage_blocks:place_pieces"
_CORRELATE = "volengine.tasks.convert.montage_blocks:correlate_pair"
_SOLVE = "volengine.tasks.convert.montage_blocks:solve_pieces"


def plan_montage(source: Mosaic, recipe: ConvertRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stages that blend ``source`` into the store ``out``.

    Returns
    -------
    Plan
        ``images[0]`` is the image that it writes.

    Raises
    ------
    InputError
        A value for voxels that no piece covers is needed, and unknown; or pieces are to be correlated that do not
        overlap.
    """
    moving = recipe.montage_shifts == "correlate"
    fill, empty = source.fill_value(moving=moving)
    like = source.like()
    kind = recipe.kind if recipe.kind != "intensity" else like.kind
    facts: dict[str, Any] = dict(source.facts)
    facts["montage"] = {
        **facts.get("montage", {}),
        "shifts": recipe.montage_shifts,
        "fill": fill,
        "empty_vox": empty,  # where the coordinates put the pieces
    }
    facts["history"] = history(source.source.with_(facts={}), "convert", recipe)
    spec = image_spec(
        out,
        like,
        StoreOptions(recipe.chunk, recipe.shard, recipe.ngff, recipe.codec, recipe.levels),
        dtype=like.dtype,
        kind=kind,
        facts=facts,
    )
    notes = source.notes + ((f"{empty} voxels are in no piece and get the value {fill:g}",) if empty else ())
    before: list[Stage] = []
    finish: tuple[Call, ...] = ()
    reach = 0
    if moving:
        reach = recipe.montage_max_shift or max(1, min(min(t.box.shape[1:]) for t in source.tiles) // SHARE)
        before, pairs = _aligning(source, reach)
        finish = (Call("volengine.tasks.convert.montage_finish:say_shifts", {"pairs": pairs}),)

    def build(core: Index3) -> Stage:
        return _stage(source, spec, core, fill, reach)

    core = options.core_for(source.shape, core_unit(spec), build, largest=LARGEST_BLOCK)
    return Plan(source.name, (*before, build(core)), (spec,), {"convert": recipe.to_json()}, finish, notes)


def _stage(source: Mosaic, spec: ImageSpec, core: Index3, fill: float, reach: int) -> Stage:
    """The stage that blends; pieces may be moved by ``reach`` voxels along y and x."""
    voxels = math.prod(min(c, n) for c, n in zip(core, source.shape, strict=True))
    arrays = {
        f"piece{n}": ArrayInput(
            tile.volume, low=(0, reach, reach), high=(0, reach, reach), corner=tile.corner, extent=source.shape
        )
        for n, tile in enumerate(source.tiles)
    }
    return Stage(
        "convert",
        _PLACE,
        Tiling(source.shape, core),
        params={
            "factors": factors_of(spec),
            "kind": spec.kind,
            "corners": [list(tile.corner) for tile in source.tiles],
            "pieces": [[*tile.box.start, *tile.box.stop] for tile in source.tiles],
            "fill": fill,
            "dtype": spec.dtype,
        },
        arrays=arrays,
        tables={"shifts": TableInput("solve", "all")} if reach else {},
        outputs=outputs_of(spec),
        kernel_bytes=kernel_bytes(
            _PLACE, voxels=voxels, itemsize=np.dtype(spec.dtype).itemsize, pieces=len(source.tiles)
        ),
    )


def _aligning(source: Mosaic, reach: int) -> tuple[list[Stage], int]:
    """The stages that correlate the overlaps and solve the shifts, and the number of overlaps."""
    pairs: list[list[int]] = []
    firsts: list[tuple[Index3, Index3]] = []
    seconds: list[tuple[Index3, Index3]] = []
    for (i, one), (j, other) in combinations(enumerate(source.tiles), 2):
        common = one.box.intersect(other.box)
        if common.empty or not _wide(common, one.box, other.box):
            continue
        common = _middle(common)
        pairs.append([i, j])
        for tile, parts in ((one, firsts), (other, seconds)):
            there = common.shift(tile.corner)
            parts.append((there.start, there.stop))
    if not pairs:
        raise InputError(
            f"{source.what}: no two of its {len(source.tiles)} pieces overlap by {LEAST_OVERLAP} voxels, so there is "
            "nothing to correlate. Take --montage-shifts none or mdoc."
        )
    volume = source.tiles[0].volume
    largest = max(Box(*part).size for part in firsts)
    correlate = Stage(
        "correlate",
        _CORRELATE,
        Tiling((len(pairs), 1, 1), (1, 1, 1)),
        params={"reach": [2 * reach, 2 * reach]},  # both pieces may move
        arrays={
            "first": ArrayInput(volume, parts=tuple(firsts)),
            "second": ArrayInput(volume, parts=tuple(seconds)),
        },
        emits=True,
        version=2,
        kernel_bytes=kernel_bytes(_CORRELATE, voxels=largest),
    )
    solve = Stage(
        "solve",
        _SOLVE,
        Tiling((1, 1, 1), (1, 1, 1)),
        params={"pieces": len(source.tiles), "pairs": pairs, "max_shift": reach, "where": source.what},
        tables={"moves": TableInput("correlate", "all")},
        emits=True,
        version=2,
        kernel_bytes=kernel_bytes(_SOLVE, pieces=len(source.tiles), pairs=len(pairs)),
    )
    return [correlate, solve], len(pairs)


def _wide(common: Box, one: Box, other: Box) -> bool:
    """Whether an overlap is along a side of the pieces, and wide enough to be correlated."""
    _, height, width = common.shape
    _, full_height, full_width = (min(a, b) for a, b in zip(one.shape, other.shape, strict=True))
    along = 2 * height >= full_height or 2 * width >= full_width
    return along and min(height, width) >= LEAST_OVERLAP


def _middle(box: Box) -> Box:
    """The middle of a long overlap."""
    (z0, y0, x0), (_, height, width) = box.start, box.shape
    y_side = min(height, max(LARGEST_OVERLAP // width, math.isqrt(LARGEST_OVERLAP)))
    x_side = min(width, max(LARGEST_OVERLAP // y_side, 1))
    y0, x0 = y0 + (height - y_side) // 2, x0 + (width - x_side) // 2
    return Box((z0, y0, x0), (box.stop[0], y0 + y_side, x0 + x_side))
