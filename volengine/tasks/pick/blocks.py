"""Kernels of ``pick``, and the memory that they need; the method is in :mod:`volengine.ops.basins` and ``regions``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import index3
from volengine.core.errors import MemoryRefusedError
from volengine.ops.ais_peaks import block_peaks, spaced
from volengine.ops.basins import block_basins
from volengine.ops.heights import BasinRules
from volengine.ops.inside import inside_only
from volengine.ops.plateaus import plateaus
from volengine.ops.regions import block_labels, join_seams, relabel, resolve
from volengine.ops.stored import as_prediction, checked_span, mask_in
from volengine.tasks.common.cell_tables import covered
from volengine.tasks.common.levels import levels_of
from volengine.tasks.pick.description import COLUMN, SPAN, VOXELS_PER_REGION, region_rules
from volengine.tasks.pick.filaments import GATHERED_BYTES, SHEET, WALL, FilamentRules, traced
from volengine.tasks.pick.middles import middles_bytes, middles_of


def basins_block(
    block: Block, where: str, scale: float | None = None, roi: list[int] | None = None, **rules: Any
) -> Result:
    """Kernel: find the local regions (basins) of a block.

    The prediction has a halo; if that is too narrow for the thickness of the foreground, the block is read again with a
    wider one.

    Parameters
    ----------
    where
        How messages name the volume.
    scale
        The number by which values are divided, or ``None``.
    roi
        Only this part of the volume is picked: z0, y0, x0, z1, y1, x1 in voxels. The rest is background.
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
    prediction = inside_only(prediction, crop, covered(block, roi))
    basin, table = block_basins(prediction, crop, block.box, block.shape, BasinRules(**rules))
    return Result({"basin": basin}, {**table, SPAN: np.array([low_high])})


def basins_block_bytes(crop: int, inside: int, itemsize: int, copies: int) -> int:
    """Bytes that :func:`basins_block` needs for ``crop`` voxels with the halo, ``inside`` of them in the core.

    A voxel of the prediction has ``itemsize`` bytes; ``copies``: how many times it is made of what is stored.
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
    picks, lookup = resolve(block.tables["seams"], index3(shape), region_rules(rules), middles)
    spans = np.concatenate([one[SPAN] for one in block.tables["seams"].values()])
    whole = np.array([[spans[:, 0].min(), spans[:, 1].max()]])
    table = {**{COLUMN + key: column for key, column in picks.items()}, **lookup, SPAN: whole}
    return Result(table=table, counts={"picks": picks["label"].size})


def resolve_picks_bytes(voxels: int) -> int:
    """Bytes that :func:`resolve_picks` needs for a prediction of ``voxels`` voxels."""
    return 550 * (voxels // VOXELS_PER_REGION)


def plateaus_of_regions(block: Block, shape: list[int], rules: dict[str, Any]) -> Result:
    """Reduce kernel: where each region of the volume is highest, see :func:`volengine.ops.plateaus.plateaus`.

    The parameters are those of :func:`resolve_picks`.
    """
    return Result(table=plateaus(block.tables["seams"], index3(shape), region_rules(rules)))


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
    return Result(table=middles_of(block, block.tables["plateaus"][0], rules, scale))


def middles_block_bytes(inside: int, plane: int, itemsize: int, copies: bool) -> int:
    """Bytes that :func:`middles_block` needs for ``inside`` voxels in slices of ``plane`` voxels.

    ``itemsize`` and ``copies`` are those of :func:`basins_block_bytes`.
    """
    return middles_bytes(inside, plane, itemsize, copies)


def filament_voxels(block: Block, memory_bytes: float = math.inf) -> Result:
    """Kernel: the voxels of all components in a block, with their labels.

    Parameters
    ----------
    memory_bytes
        Memory for the voxels of the whole volume, which the stage behind gathers.

    Returns
    -------
    Result
        The table has ``label`` (n,) and ``index`` (n, 3), z, y, x in the volume.

    Raises
    ------
    MemoryRefusedError
        The voxels of all components need more.
    """
    lookup = next(iter(block.tables["resolve"].values()))
    total = int(lookup[f"{COLUMN}size_vox"].sum())
    if GATHERED_BYTES * total > memory_bytes:
        raise MemoryRefusedError(
            f"The filaments have {total} voxels, which need {GATHERED_BYTES * total / 1e9:.2f} GB together; "
            f"{memory_bytes / 1e9:.2f} GB are planned. Give workers more memory, raise the threshold, or pick parts."
        )
    basin = block.arrays["basin"].astype(np.uint32, copy=False)
    label = relabel(basin, block_labels(block.number, lookup))
    index = np.argwhere(label)
    table = {"label": label[tuple(index.T)], "index": (index + np.array(block.box.start)).astype(np.int32)}
    return Result(table=table)


def filament_voxels_bytes(inside: int) -> int:
    """Bytes that :func:`filament_voxels` needs for a block of ``inside`` voxels, up to all of them in components."""
    return 44 * inside


def trace_filaments(
    block: Block,
    shape: list[int],
    scale: list[float],
    side_nm: float,
    spacing: float,
    least: float,
    twist_deg: float,
    margin_vox: list[int],
    min_picks: int,
    memory_bytes: float = math.inf,
) -> Result:
    """Reduce kernel: points along the filaments of all components, one component after the other.

    Parameters
    ----------
    shape
        Shape of the volume, voxels z, y, x.
    scale, side_nm
        Sides of a voxel in units of the shortest one, and that one in nm.
    spacing, least
        Distance of points, and least length of filaments, in the shortest side.
    twist_deg
        Turn about the tangent from point to point.
    margin_vox, min_picks
        As in the recipe.
    memory_bytes
        Memory that may be used.

    Returns
    -------
    Result
        One table, as that of :func:`resolve_picks` without the columns that map regions to labels.
    """
    tables = [block.tables["voxels"][n] for n in sorted(block.tables["voxels"])]
    label = np.concatenate([t["label"] for t in tables])
    index = np.concatenate([t["index"] for t in tables])
    rules = FilamentRules(scale, side_nm, spacing, least, twist_deg, margin_vox)
    picks, components = traced(label, index, shape, rules, memory_bytes)
    n = len(picks["label"])
    few = n < min_picks
    picks = {COLUMN + key: column[: 0 if few else n] for key, column in picks.items()}
    table = {**picks, "left": np.array([n if few else 0]), SPAN: block.tables["resolve"][0][SPAN]}
    table |= {name: np.array([components[name].sum()]) for name in (WALL, SHEET)}
    return Result(table=table, counts={"picks": 0 if few else n, "filaments": int(components["filaments"].sum())})


def trace_filaments_bytes(memory_bytes: int) -> int:
    """Bytes that :func:`trace_filaments` needs: as many as it may use, because it refuses what does not fit."""
    return memory_bytes


def ais_peaks_block(block: Block, reach: int, limit: int) -> Result:
    """Kernel: the voxels of a block that may be picks of Ais, see :func:`volengine.ops.ais_peaks.block_peaks`.

    Parameters
    ----------
    reach, limit
        Half the side of the cube in which a pick is a maximum, and the largest distance, voxels.
    """
    found = block_peaks(block.arrays["label"], block.boxes["label"], block.box, block.shape, reach, limit)
    return Result(table=found)


def ais_peaks_block_bytes(crop: int) -> int:
    """Bytes that :func:`ais_peaks_block` needs for ``crop`` voxels with the halo: masks, distances, maxima."""
    return 20 * crop


def ais_picks(block: Block, shape: list[int], reach: int, margin_vox: list[int], min_picks: int) -> Result:
    """Reduce kernel: the picks of Ais among the candidates of all blocks, by descending distance.

    Parameters
    ----------
    shape
        Shape of the volume, voxels z, y, x.
    reach
        Least distance of two picks along some axis, voxels.
    margin_vox, min_picks
        As in the recipe.

    Returns
    -------
    Result
        One table, as that of :func:`resolve_picks` without the columns that map regions to labels; the weight is the
        distance to the background, voxels.
    """
    tables = [block.tables["peaks"][n] for n in sorted(block.tables["peaks"])]
    index, squared, label = (np.concatenate([t[key] for t in tables]) for key in ("index", "squared", "label"))
    order = np.lexsort((index[:, 2], index[:, 1], index[:, 0], -squared))
    order = order[spaced(index[order], reach)]
    margin = np.array(margin_vox)
    order = order[((index[order] >= margin) & (index[order] < np.array(shape) - margin)).all(axis=1)]
    left = order.size
    order = order if left >= min_picks else order[:0]
    picks = {
        "position_vox": index[order].astype(np.float64),
        "weight": np.sqrt(squared[order].astype(np.float64)),
        "label": label[order],
    }
    table = {COLUMN + key: column for key, column in picks.items()}
    table |= {"left": np.array([left]), SPAN: block.tables["resolve"][0][SPAN]}
    return Result(table=table, counts={"picks": order.size})


def ais_picks_bytes(voxels: int) -> int:
    """Bytes that :func:`ais_picks` needs for a prediction of ``voxels`` voxels."""
    return resolve_picks_bytes(voxels)


def relabel_block(block: Block, factors: list[list[int]]) -> Result:
    """Kernel: replace the numbers of a block's regions by labels; returns all levels ``@0``, ``@1`` ..., uint32."""
    lookup = next(iter(block.tables["resolve"].values()))
    basin = block.arrays["basin"].astype(np.uint32, copy=False)
    return Result(levels_of(relabel(basin, block_labels(block.number, lookup)), factors, "labels"))


def relabel_block_bytes(inside: int) -> int:
    """Bytes that :func:`relabel_block` needs for a block of ``inside`` voxels."""
    return 8 * inside
