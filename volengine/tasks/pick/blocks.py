"""Kernels of ``pick``, and the memory that they need; the method is in :mod:`volengine.ops.basins` and ``regions``."""

from __future__ import annotations

from typing import Any

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import index3
from volengine.ops.basin_graph import RegionRules
from volengine.ops.basins import block_basins
from volengine.ops.heights import BasinRules
from volengine.ops.plateaus import block_middles, plateaus
from volengine.ops.regions import block_labels, join_seams, relabel, resolve
from volengine.ops.stored import as_prediction, checked_span, mask_in
from volengine.tasks.common.levels import levels_of
from volengine.tasks.pick.description import COLUMN, SPAN

VOXELS_PER_REGION = 5000
"""Assumed for the memory of ``resolve``, which is planned before regions are known; measured: 900 to 40,000."""


def basins_block(block: Block, where: str, scale: float | None = None, **rules: Any) -> Result:
    """Kernel: find the local regions (basins) of a block.

    The prediction has a halo; if that is too narrow for the thickness of the foreground, the block is read again with a
    wider one.

    Parameters
    ----------
    where
        How messages name the volume.
    scale
        The number by which values are divided, or ``None``.
    rules
        Fields of :class:`~volengine.ops.heights.BasinRules`.

    Returns
    -------
    Result
        The array ``basin`` (z, y, x) numbers the regions of the core; the table describes them, see
        :func:`volengine.ops.basins.block_basins`, and has the smallest and largest probability as ``span`` (1, 2).

    Raises
    ------
    InputError
        A value is no probability.
    """
    crop = block.boxes["prediction"]
    prediction = as_prediction(block.arrays["prediction"], mask=mask_in(block.tables), scale=scale)
    low_high = checked_span(prediction[block.box.slices_in(crop)], block.box, where, scale)
    basin, table = block_basins(prediction, crop, block.box, block.shape, BasinRules(**rules))
    return Result({"basin": basin}, {**table, SPAN: np.array([low_high])})


def basins_block_bytes(crop: int, inside: int, itemsize: int, copies: bool) -> int:
    """Bytes that :func:`basins_block` needs for ``crop`` voxels with the halo, ``inside`` of them in the core.

    A voxel of the prediction has ``itemsize`` bytes; ``copies``: it is not what is stored, but made of it.
    """
    return (6 + itemsize * copies) * crop + (15 + itemsize) * inside


def seams_block(block: Block, **rules: Any) -> Result:
    """Kernel: join the regions of a block with those of its neighbours, from their tables."""
    table = join_seams(block.number, block.tables["basins"], block.box, block.shape, BasinRules(**rules))
    return Result(table={**table, SPAN: block.tables["basins"][block.number][SPAN]})


def seams_block_bytes(shell: int) -> int:
    """Bytes that :func:`seams_block` needs for a block of ``shell`` voxels on its faces."""
    return shell * (27 * 16 + 300)


def resolve_picks(block: Block, shape: list[int], rules: dict[str, Any]) -> Result:
    """Reduce kernel: the picks of the volume, and the label of each local region.

    Parameters
    ----------
    shape
        Shape of the volume, voxels z, y, x.
    rules
        Fields of :class:`~volengine.ops.regions.RegionRules`.

    Returns
    -------
    Result
        One table: the columns of the picks, whose names begin with ``pick.``, columns that map regions to labels, and
        the ``span`` of the whole volume.
    """
    middles = list(block.tables.get("middles", {}).values())
    picks, lookup = resolve(block.tables["seams"], index3(shape), _region_rules(rules), middles)
    spans = np.concatenate([one[SPAN] for one in block.tables["seams"].values()])
    whole = np.array([[spans[:, 0].min(), spans[:, 1].max()]])
    table = {**{COLUMN + key: column for key, column in picks.items()}, **lookup, SPAN: whole}
    return Result(table=table, counts={"picks": picks["label"].size})


def resolve_picks_bytes(voxels: int) -> int:
    """Bytes that :func:`resolve_picks` needs for a prediction of ``voxels`` voxels."""
    return 550 * (voxels // VOXELS_PER_REGION)


def _region_rules(values: dict[str, Any]) -> RegionRules:
    """The rules from JSON values, in which tuples have become lists."""
    triples: dict[str, Any] = {key: tuple(values[key]) for key in ("margin_vox", "scale")}
    return RegionRules(**{**values, **triples})


def plateaus_of_regions(block: Block, shape: list[int], rules: dict[str, Any]) -> Result:
    """Reduce kernel: where each region of the volume is highest, see :func:`volengine.ops.plateaus.plateaus`.

    The parameters are those of :func:`resolve_picks`.
    """
    return Result(table=plateaus(block.tables["seams"], index3(shape), _region_rules(rules)))


def plateaus_of_regions_bytes(voxels: int) -> int:
    """Bytes that :func:`plateaus_of_regions` needs for a prediction of ``voxels`` voxels."""
    return resolve_picks_bytes(voxels)


def middles_block(block: Block, rules: dict[str, Any], scale: float | None = None) -> Result:
    """Kernel: the middle of each region's plateau as far as it lies in the block.

    Parameters
    ----------
    rules
        Fields of :class:`~volengine.ops.basin_graph.RegionRules`.
    scale
        The number by which values are divided, or ``None``.

    Returns
    -------
    Result
        The table of :func:`volengine.ops.plateaus.block_middles`.
    """
    values = as_prediction(block.arrays["prediction"], mask=mask_in(block.tables), scale=scale)
    basin = block.arrays["basin"].astype(np.uint32, copy=False)
    found = block.tables["plateaus"][0]
    table = block_middles(block.number, basin, values, block.box, block.shape, found, _region_rules(rules))
    return Result(table=table)


def middles_block_bytes(inside: int, plane: int, itemsize: int, copies: bool) -> int:
    """Bytes that :func:`middles_block` needs for ``inside`` voxels in slices of ``plane`` voxels.

    ``itemsize`` and ``copies`` are those of :func:`basins_block_bytes`.
    """
    return 160 * plane + 550 * (inside // VOXELS_PER_REGION) + itemsize * copies * inside


def relabel_block(block: Block, factors: list[list[int]]) -> Result:
    """Kernel: replace the numbers of a block's regions by labels; returns all levels ``@0``, ``@1`` ..., uint32."""
    lookup = next(iter(block.tables["resolve"].values()))
    basin = block.arrays["basin"].astype(np.uint32, copy=False)
    return Result(levels_of(relabel(basin, block_labels(block.number, lookup)), factors, "labels"))


def relabel_block_bytes(inside: int) -> int:
    """Bytes that :func:`relabel_block` needs for a block of ``inside`` voxels."""
    return 8 * inside
