"""The numbers of a page: how often values occur, how many picks other thresholds give, what the picks are like.

All of it is counted in bounded memory: of a pyramid the finest level is read that is small enough, and the page says
which; histograms of predictions are added up block by block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM, format_bytes
from volengine.io.names import is_packed
from volengine.io.open import OpenVolume, open_source
from volengine.io.picks import read_picks
from volengine.ops.regions import pick_array
from volengine.ops.stored import as_prediction, checked_span
from volengine.ops.value_counts import ProbabilityCounts, grey_counts
from volengine.tasks.common.named import stored_name
from volengine.tasks.pick.recipe import PickRecipe

MOST_VALUES = 2**26
"""Voxels of a level of which a histogram is made: 400³."""
MOST_PICKED = 2**22
"""Voxels of a level that is picked with other thresholds: 160³."""
BLOCK_VOXELS = 2**22
"""Voxels that are read at once for a histogram."""
THRESHOLDS = tuple(k / 10 for k in range(1, 10))
LARGEST_TABLE = 2**24
"""Bytes of the largest table of picks that is read; a page of more than about 150,000 picks shows none of them."""
GREYS = 2**22


def level_within(volume: OpenVolume, most: int) -> tuple[OpenVolume, int]:
    """The finest level of a volume of at most so many voxels (the coarsest if all have more), and its number."""
    found, number = volume, 0
    for number in range(len(volume.levels)):
        found = volume.at_level(number)
        if found.size <= most:
            break
    return found, number


def blocks_of(volume: OpenVolume) -> Iterator[Box]:
    """Boxes that cover a volume: whole chunks along y and x, and so many along z and y that they are not too large."""
    z, y, x = volume.shape
    chunk = volume.chunks or (1, y, x)
    deep, tall = min(chunk[0], z), y
    if deep * y * x > BLOCK_VOXELS:
        tall = max(1, BLOCK_VOXELS // (deep * x) // chunk[1]) * chunk[1]
    else:
        deep *= max(1, BLOCK_VOXELS // (deep * y * x))
    for a, b in itertools.product(range(0, z, deep), range(0, y, tall)):
        yield Box((a, b, 0), (min(a + deep, z), min(b + tall, y), x))


def prediction_of(volume: OpenVolume, box: Box, scale: float | None = None) -> NDArray[Any]:
    """The probabilities in a box: uint8 (255 is 1) or floating point.

    Raises
    ------
    InputError
        Values are no probabilities.
    """
    values = open_source(volume).read(box)
    where = stored_name(volume)
    if values.dtype.kind in "iu" and scale is None and values.size:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 255:
            raise InputError(f"{where} holds values from {low} to {high}, and is no prediction (integers: 0 to 255).")
    mask = values.dtype.kind == "b" or (not volume.stored and values.dtype.kind in "iu" and values.max(initial=0) <= 1)
    made = as_prediction(values, mask=bool(mask), scale=scale)
    checked_span(made, box, where, scale)
    return made


@dataclass(frozen=True, eq=False)
class Probabilities:
    """The values of a prediction.

    Parameters
    ----------
    counts
        The counts of values, and of voxels above the thresholds that were asked for.
    level
        The level that was read.
    """

    counts: ProbabilityCounts
    level: int


def probabilities(volume: OpenVolume, thresholds: Sequence[float], scale: float | None = None) -> Probabilities:
    """Count the values of a prediction, block by block.

    Raises
    ------
    InputError
        It is compressed as a whole, or no prediction.
    """
    if is_packed(volume.url):
        raise InputError(f"{volume.url} is compressed as a whole and cannot be read in blocks; convert it first.")
    level, number = level_within(volume, MOST_VALUES)
    counts = ProbabilityCounts(thresholds)
    for box in blocks_of(level):
        counts.add(prediction_of(level, box, scale))
    return Probabilities(counts, number)


def greys(volume: OpenVolume) -> tuple[NDArray[Any], NDArray[np.int64], int] | None:
    """Edges and counts of the grey values of a tomogram, and the level that was read; ``None`` if all are too large."""
    level, number = level_within(volume, GREYS)
    if level.size > MOST_VALUES or is_packed(volume.url):
        return None
    if level.size > GREYS:  # no pyramid: some whole slices, evenly spread
        step = -(-level.size // GREYS)
        source = open_source(level)
        planes = (Box((z, 0, 0), (z + 1, *level.shape[1:])) for z in range(0, level.shape[0], step))
        values = np.concatenate([source.read(box) for box in planes])
    else:
        values = open_source(level).read(Box.of_shape(level.shape))
    edges, counts = grey_counts(values)
    return edges, counts, number


@dataclass(frozen=True, eq=False)
class Curve:
    """Numbers of picks at some thresholds, rising; the level that was picked, and its voxel size, angstrom."""

    thresholds: tuple[float, ...]
    picks: tuple[int, ...]
    level: int
    voxel_size: tuple[float, float, float]


def picks_at(volume: OpenVolume, recipe: PickRecipe) -> Curve | None:
    """How many picks a recipe would find in a prediction with other thresholds.

    The prediction is picked as a whole, as ``volengine pick`` does it, on the finest level of at most 2²² voxels: in a
    small one the numbers are those of the verb.

    Parameters
    ----------
    volume
        The prediction.
    recipe
        The recipe. With ``filament`` or ``compat`` regions are counted instead of picks.

    Returns
    -------
    Curve or None
        The numbers at 0.1, 0.2 ... 0.9 and at the recipe's own threshold; ``None`` if no level is small enough, or the
        recipe picks only a part.
    """
    level, number = level_within(volume, MOST_PICKED)
    if level.size > MOST_PICKED or recipe.roi:
        return None
    prediction = prediction_of(level, Box.of_shape(level.shape), recipe.scale)
    seen = level.with_(dtype=prediction.dtype.name)
    ratios = [a / b for a, b in zip(volume.shape, level.shape, strict=True)]
    margin = tuple(math.ceil(m / r) for m, r in zip(recipe.margin, ratios, strict=True))
    thresholds = tuple(sorted({*THRESHOLDS, recipe.level}))
    found: list[int] = []
    before = -1
    for threshold in thresholds:
        own = recipe.with_(threshold=threshold, margin_vox=margin, labels=False)
        basins = own.basin_rules(seen)
        above = int(np.count_nonzero(prediction > basins.level))
        if above == before:  # the same voxels, as those above a higher threshold are among those above a lower one
            found.append(found[-1])
        elif not above:
            found.append(0)
        else:
            count = len(pick_array(prediction, basins, own.region_rules(seen))[1]["weight"])
            found.append(0 if count < own.min_picks else count)
        before = above
    return Curve(thresholds, tuple(found), number, level.voxel_size)


def read_table(path: str, volume: OpenVolume, name: str) -> Picks:
    """The picks of a tomogram in a table; what it does not state is that of the volume.

    Raises
    ------
    InputError
        The table is damaged, is larger than a page can show, or has no picks of this tomogram.
    """
    if "://" not in path and (size := Path(path).stat().st_size) > LARGEST_TABLE:
        raise InputError(
            f"{path}: has {format_bytes(size)}; a page is made of tables of up to {format_bytes(LARGEST_TABLE)}."
        )
    return read_picks(
        path, voxel_size=volume.voxel_size, shape=volume.shape, tomogram=name, volume_origin=volume.origin
    )


def nearest_nm(picks: Picks) -> NDArray[np.float64]:
    """Distance from each pick to its nearest neighbour, nm; nothing if there are fewer than two."""
    if len(picks) < 2:
        return np.zeros(0)
    from scipy.spatial import KDTree

    places = picks.position
    distance, _ = KDTree(places).query(places, k=2)
    return np.asarray(distance[:, 1], np.float64) / NM_TO_ANGSTROM


def sizes_nm3(picks: Picks) -> NDArray[np.float64]:
    """Volumes of the picks, nm³; nothing if the table has none."""
    if picks.volume_a3 is not None:
        return np.asarray(picks.volume_a3 / NM_TO_ANGSTROM**3, np.float64)
    if picks.size_vox is not None:
        return np.asarray(picks.size_vox * math.prod(v / NM_TO_ANGSTROM for v in picks.voxel_size), np.float64)
    return np.zeros(0)
